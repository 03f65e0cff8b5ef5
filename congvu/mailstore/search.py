"""Full-text search of an account's letters: questions to the index, and the index that follows the change log.

Indexing never holds a delivery up: a cursor (`text_cursor.indexed`) tells how far the change log was read; `plan` lists
what is missing, the text is prepared outside any transaction, `commit_index` adds it in portions and moves the cursor,
by the index's own writer (`Database.write_index`). After a crash, or when two processes did the same, the work is
simply found done. A search looks into the index and then reads the letters that the cursor has not reached, so nothing
delivered is ever missed; the index may be seen a moment earlier or later than the messages, so what it says is compared
with them. A letter that arrived for many accounts is indexed once for all. Losing the index loses no mail: it is made
anew from the messages.
"""

import asyncio
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter, itemgetter

from congvu.base.failure import NotNow
from congvu.base.observe import log, step
from congvu.codec import uidset
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database, IndexedText, TextQuery, Tx
from congvu.mailstore import sheets
from congvu.mailstore.changes import Kind
from congvu.mailstore.sheets import run_of
from congvu.mailstore.words import (
    SHARED,
    Question,
    Reader,
    Source,
    Text,
    holds,
    holds_exactly,
    indexed_text,
    prefix_of,
    prepare,
    sources,
    spoken,
)

RANKED_LIMIT = 5_000  # hits that are put in order, the newest by identifier
_COUNTER = (-1, 0)  # the row of text_doc whose `doc` is the first number not yet given to any process
_DOC_BLOCK = 4096  # document numbers a process takes at once: numbers stay dense, which keeps postings small
CHANGES = 2_000  # rows of the change log that one plan reads


# ---- asking


@dataclass(frozen=True, slots=True)
class Found:
    """`letters`: what the index knows (some may have left the account since). `pending`: letters it has not read yet;
    whoever asks reads them with `sources`, `prepare` and `holds`."""

    letters: set[int]
    pending: list[int]


def find(tx: Tx, account_id: int, question: Question) -> Found:
    """The letters that answer, and those not yet indexed. A question without words is answered by none."""
    if not question.phrases:
        return Found(set(), [])
    return Found(set(_indexed(tx, account_id, question.phrases, question.field.value)), pending_letters(tx, account_id))


def matching(read: Reader, found: Iterable[Source], questions: Sequence[Question]) -> list[set[int]]:
    """For each question the letters among `found` that answer it. Reads bytes: for worker threads, few at a time."""
    answers: list[set[int]] = [set() for _ in questions]
    for source in found:
        text = prepare(read, source)
        for question, answer in zip(questions, answers, strict=True):
            if question.phrases and holds(text, question):
                answer.add(source.letter_id)
    return answers


def ranked(
    tx: Tx,
    account_id: int,
    query: str,
    limit: int,
    read: Reader | None = None,
    read_limit: int = 200,
) -> list[tuple[int, bool]]:
    """Letters that answer what was typed, each with whether it has the marked words exactly so; those come first, and
    the newest first among equals.

    When the words as one phrase find nothing, letters that have all the words anywhere are given. With `read` (a
    keeper's `read`) the newest `read_limit` letters not yet indexed are looked through as well.
    """
    question = spoken(query)
    if not question.phrases or limit <= 0:
        return []
    texts = []
    if read is not None:
        waiting = sorted(pending_letters(tx, account_id))[-read_limit:]
        texts = [prepare(read, source) for source in sources(tx, waiting)]
    hits = _hits(tx, account_id, question, texts)
    if not hits:
        apart = tuple((word,) for run in question.phrases for word in run)
        if len(apart) > len(question.phrases):
            question = replace(question, phrases=apart)
            hits = _hits(tx, account_id, question, texts)
    exact: set[int] = set()
    if question.exact and hits:
        exact.update(_indexed(tx, account_id, tuple((word,) for word in question.exact), "exact"))
        exact.update(text.letter_id for text in texts if holds_exactly(text, question))
    received: dict[int, int] = dict(
        tx.all(
            "SELECT letter_id, max(received) FROM message WHERE account_id = ? AND letter_id IN (?*)"
            " GROUP BY letter_id",
            account_id,
            sorted(hits, reverse=True)[:RANKED_LIMIT],
        )
    )
    order = sorted(received, key=lambda letter: (letter in exact, received[letter], letter), reverse=True)
    return [(letter, letter in exact) for letter in order[:limit]]


def _hits(tx: Tx, account_id: int, question: Question, texts: Iterable[Text]) -> set[int]:
    hits = set(_indexed(tx, account_id, question.phrases, question.field.value))
    hits.update(text.letter_id for text in texts if holds(text, question))
    return hits


def _indexed(tx: Tx, account_id: int, phrases: tuple[tuple[str, ...], ...], field: str) -> Iterable[int]:
    for owner in (account_id, SHARED):
        prefix = prefix_of(owner)
        asked = tuple(tuple(prefix + word for word in run) for run in phrases)
        docs = tx.index_find(TextQuery(asked, field))
        if not docs:
            continue
        letters = [
            row[0] for row in tx.all("SELECT letter_id FROM text_doc WHERE account_id = ? AND doc IN (?*)", owner, docs)
        ]
        if owner == SHARED:
            # Everybody's announcements: only those that this account has.
            letters = [
                row[0]
                for row in tx.all(
                    "SELECT DISTINCT letter_id FROM message WHERE account_id = ? AND letter_id IN (?*)",
                    account_id,
                    letters,
                )
            ]
        yield from letters


def pending_letters(tx: Tx, account_id: int) -> list[int]:
    """Letters of the account that the index has not read yet."""
    row = _position(tx, account_id)
    if row is None or row[1] == row[0]:
        return []
    if not 0 <= row[1] <= row[0]:
        letters = [
            r[0]
            for r in tx.all(
                "SELECT DISTINCT letter_id FROM message WHERE account_id = ? AND letter_id > ?",
                account_id,
                max(-1 - row[1], 0),
            )
        ]
        return _not_indexed(tx, account_id, letters)
    spans: dict[int, list[tuple[int, int]]] = {}
    for box, uids in tx.each(
        "SELECT mailbox_id, uids FROM change WHERE account_id = ? AND modseq > ? AND kind = 1 ORDER BY modseq",
        account_id,
        row[1],
    ):
        for low, high in uidset.ranges(uids):
            _extend(spans.setdefault(box, []), low, high)
    return _not_indexed(tx, account_id, _letters_of(tx, account_id, spans))


def _position(tx: Tx, account_id: int) -> tuple[int, int] | None:
    """The account's last modseq, and how far the index has read. An index that is ahead is that of a database from
    which this one was restored: what it read under those numbers is not what stands there now."""
    at = tx.one(
        "SELECT indexed FROM text_cursor WHERE account_id = ?", account_id
    )  # first: it must not be the newer one
    row = tx.one("SELECT modseq FROM store WHERE account_id = ?", account_id)
    return (row[0], at[0] if at else -1) if row else None


def _extend(spans: list[tuple[int, int]], low: int, high: int) -> None:
    """Letters come one by one but lie side by side: one range for the run."""
    if spans and spans[-1][1] + 1 == low:
        spans[-1] = (spans[-1][0], high)
    else:
        spans.append((low, high))


def _letters_of(tx: Tx, account_id: int, spans: dict[int, list[tuple[int, int]]]) -> list[int]:
    found: dict[int, None] = {}
    for box, ranges in spans.items():
        for low, high in ranges:
            for row in tx.each(
                "SELECT letter_id FROM message WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ?",
                account_id,
                box,
                low,
                high,
            ):
                found[row[0]] = None
    return list(found)


def _not_indexed(tx: Tx, account_id: int, letters: list[int]) -> list[int]:
    if not letters:
        return []
    have = {
        r[0]
        for owner in (account_id, SHARED)
        for r in tx.all("SELECT letter_id FROM text_doc WHERE account_id = ? AND letter_id IN (?*)", owner, letters)
    }
    return [letter for letter in letters if letter not in have]


# ---- indexing


@dataclass(frozen=True, slots=True)
class Plan:
    """What the index lacks of one account. `since`: where the cursor stood; `upto`: where it may go once `letters` are
    in and `gone` are out."""

    account_id: int
    since: int
    upto: int
    letters: tuple[int, ...]
    gone: tuple[int, ...]
    touched: frozenset[tuple[int, int, int]] = frozenset()  # from which runs messages went, as `sheets.worn` takes them


class OvertakenError(Exception):
    """Another process has moved the cursor meanwhile: the batch is undone and planned again."""


def pending(tx: Tx, limit: int, after: int = 0) -> list[int]:
    """Accounts above `after` whose change log has grown since it was indexed, ascending."""
    return [
        r[0]
        for r in tx.all(
            "SELECT s.account_id FROM store s LEFT JOIN text_cursor c ON c.account_id = s.account_id"
            " WHERE coalesce(c.indexed, -1) <> s.modseq AND s.account_id > ? ORDER BY s.account_id LIMIT ?",
            after,
            limit,
        )
    ]


def plan(tx: Tx, account_id: int, limit: int) -> Plan | None:
    """What to do next for an account: at most about `limit` letters. None when the index is up to date."""
    row = _position(tx, account_id)
    if row is None or row[1] == row[0]:
        return None
    modseq, since = row
    if since > modseq:
        return replace(_plan_rebuild(tx, account_id, modseq, -1, limit), since=since)
    if since < 0:
        return _plan_rebuild(tx, account_id, modseq, since, limit)
    rows = tx.all(
        "SELECT modseq, mailbox_id, kind, uids, letters FROM change WHERE account_id = ? AND modseq > ?"
        " AND kind IN (1, 3) ORDER BY modseq LIMIT ?",
        account_id,
        since,
        CHANGES,
    )
    upto = modseq
    if len(rows) == CHANGES:
        # Rows of one modseq belong together and the last ones may have been cut off.
        upto = rows[-1][0] - 1
    spans: dict[int, list[tuple[int, int]]] = {}
    gone: set[int] = set()
    touched: set[tuple[int, int, int]] = set()
    count = 0
    for number, group in groupby(rows, itemgetter(0)):
        if number > upto:
            break
        came: list[tuple[int, int, int]] = []
        for _, box, kind, uids, packed in group:
            if kind == Kind.VANISHED:
                gone.update(struct.unpack(f">{len(packed) // 8}q", packed))
                touched.update((box, run_of(low), run_of(high)) for low, high in uidset.ranges(uids))
            else:
                came += [(box, low, high) for low, high in uidset.ranges(uids)]
        size = sum(high - low + 1 for _, low, high in came)
        if count and count + size > limit:
            upto = number - 1
            break
        count += size
        for box, low, high in came:
            _extend(spans.setdefault(box, []), low, high)
    letters = _not_indexed(tx, account_id, _letters_of(tx, account_id, spans))
    if len(letters) > limit:  # one change brought more than a batch holds: the cursor waits for the rest
        return Plan(account_id, since, since, tuple(letters[:limit]), ())
    left = tuple(_left(tx, account_id, sorted(gone)))
    return Plan(account_id, since, upto, tuple(letters), left, frozenset(touched))


def _plan_rebuild(tx: Tx, account_id: int, modseq: int, cursor: int, limit: int) -> Plan:
    """`cursor` = -1 - L: a rebuild has listed the letters up to identifier L. Letters that came meanwhile under a lower
    one are found at the end, when everything is compared once."""
    missing = (
        "SELECT DISTINCT m.letter_id FROM message m WHERE m.account_id = ? AND m.letter_id > ? AND NOT EXISTS"
        " (SELECT 1 FROM text_doc t WHERE t.letter_id = m.letter_id AND t.account_id = m.account_id) AND NOT EXISTS"
        " (SELECT 1 FROM text_doc t WHERE t.letter_id = m.letter_id AND t.account_id = 0)"
        " ORDER BY m.letter_id LIMIT ?"
    )
    letters = [r[0] for r in tx.all(missing, account_id, -1 - cursor, limit)]
    if letters:
        return Plan(account_id, cursor, -1 - letters[-1], tuple(letters), ())
    letters = [r[0] for r in tx.all(missing, account_id, 0, limit)]
    gone = [
        r[0]
        for r in tx.all(
            "SELECT t.letter_id FROM text_doc t WHERE t.account_id = ? AND NOT EXISTS"
            " (SELECT 1 FROM message m WHERE m.account_id = t.account_id AND m.letter_id = t.letter_id) LIMIT ?",
            account_id,
            CHANGES,
        )
    ]
    return Plan(account_id, cursor, cursor if letters or gone else modseq, tuple(letters), tuple(gone))


def _left(tx: Tx, account_id: int, letters: list[int]) -> list[int]:
    """Those of `letters` that are in no mailbox of the account any more."""
    if not letters:
        return []
    stay = _present(tx, account_id, letters)
    return [letter for letter in letters if letter not in stay]


def _present(tx: Tx, account_id: int, letters: Sequence[int]) -> set[int]:
    found = tx.all("SELECT letter_id FROM message WHERE account_id = ? AND letter_id IN (?*)", account_id, letters)
    return {r[0] for r in found}


def claim_docs(tx: Tx, count: int = _DOC_BLOCK) -> int:
    """Takes `count` document numbers for this process; returns the first. Those not used are lost, without harm."""
    # The row stands above all numbers given out, so it never meets one of them in the unique index.
    row = tx.one(
        "INSERT INTO text_doc (account_id, letter_id, doc) VALUES (?, ?, ?) ON CONFLICT (account_id, letter_id)"
        " DO UPDATE SET doc = text_doc.doc + ? RETURNING doc",
        *_COUNTER,
        1 + count,
        count,
    )
    return int(row[0]) - count if row else 1


def commit_index(tx: Tx, plans: Sequence[Plan], texts: Sequence[Text], first_doc: int) -> None:
    """Adds the prepared letters under numbers from `first_doc` on, removes those that left, moves the cursors.

    Whatever was done twice or overtaken leaves the index as it should be. Raises `OvertakenError` when another process
    was there first; the transaction is then undone as a whole.
    """
    by_letter = {text.letter_id: text for text in texts}
    new: list[IndexedText] = []
    for each in plans:
        alive = _present(tx, each.account_id, each.letters) if each.letters else set()
        for letter in each.letters:
            text = by_letter.get(letter)
            if text is None or letter not in alive:
                continue
            owner = SHARED if text.shared else each.account_id
            doc = first_doc + len(new)
            if tx.run(
                "INSERT INTO text_doc (account_id, letter_id, doc) VALUES (?, ?, ?)"
                " ON CONFLICT (account_id, letter_id) DO NOTHING",
                owner,
                letter,
                doc,
            ):
                new.append(indexed_text(owner, text, doc))
    if new:
        tx.index_add(new)
    for each in plans:
        if each.gone:
            _forget(tx, each.account_id, _left(tx, each.account_id, list(each.gone)))
    # Last, and in ascending order: on PostgreSQL the rows stay locked from here to the commit only.
    for each in sorted(plans, key=attrgetter("account_id")):
        if not tx.run(
            "INSERT INTO text_cursor (account_id, indexed) VALUES (?, ?) ON CONFLICT (account_id)"
            " DO UPDATE SET indexed = excluded.indexed WHERE text_cursor.indexed = ?",
            each.account_id,
            each.upto,
            each.since,
        ):
            raise OvertakenError
    step("index-written")


def _forget(tx: Tx, owner: int, letters: list[int]) -> None:
    if not letters:
        return
    docs = tx.all("SELECT doc FROM text_doc WHERE account_id = ? AND letter_id IN (?*)", owner, letters)
    if docs:
        tx.index_remove([r[0] for r in docs])
        tx.run("DELETE FROM text_doc WHERE account_id = ? AND letter_id IN (?*)", owner, letters)


def forget_letters(tx: Tx, letters: Sequence[int]) -> None:
    """Takes letters for many out of the index; for the sweeper, when no account has them any more."""
    _forget(tx, SHARED, list(letters))


def rebuild(tx: Tx, account_id: int, limit: int = CHANGES) -> bool:
    """Throws the index of one account away in portions of `limit`; True: more is left, call again. The indexer then
    makes it anew from the messages themselves, whatever the change log still holds; meanwhile searches read the
    letters."""
    letters = [r[0] for r in tx.all("SELECT letter_id FROM text_doc WHERE account_id = ? LIMIT ?", account_id, limit)]
    _forget(tx, account_id, letters)
    tx.run(
        "INSERT INTO text_cursor (account_id, indexed) VALUES (?, -1)"
        " ON CONFLICT (account_id) DO UPDATE SET indexed = excluded.indexed",
        account_id,
    )
    return len(letters) == limit


def forget_account(tx: Tx, account_id: int) -> None:
    """After `rebuild` of an account whose mailboxes are gone: the index knows it no more."""
    tx.run("DELETE FROM text_cursor WHERE account_id = ?", account_id)


def settle(tx: Tx) -> int:
    """Before the first change of a start: the index of every account that it has read further than there is, or that
    there is not, is to be compared with the letters again. Returns how many. Later nobody could tell any more: the
    log would have grown past the cursor."""
    return tx.run(
        "UPDATE text_cursor SET indexed = -1 WHERE indexed >= 0 AND NOT EXISTS (SELECT 1 FROM store s"
        " WHERE s.account_id = text_cursor.account_id AND s.modseq >= text_cursor.indexed)"
    )


class Indexer:
    """The background task that keeps the index near the change log. Several processes may run one each.

    It looks for work every few seconds, so that letters which come together are written together, and works in small
    portions. It rests as long as each took, and much longer while the machine is busy: deliveries first.
    """

    POLL = 2.0  # seconds between looks; a look costs some milliseconds with 30,000 accounts
    TROUBLE = 30.0  # seconds after something failed
    LETTERS = 128  # in one portion: what is written together costs less, and memory is bounded
    ACCOUNTS = 200  # in one portion
    BUSY = 1.5  # a portion that took so many times its processor time had to wait for others …
    GIVE_WAY = 10  # … who then get so many times what it took
    LATE = 0.02  # seconds; an event loop later than this has better to do

    def __init__(self, db: Database, blobs: BlobKeeper) -> None:
        self._db = db
        self._blobs = blobs
        self._next_doc = self._end_doc = 0

    async def run(self) -> None:
        """Works until cancelled."""
        begun = False
        while True:
            pause = self.POLL
            try:
                if not begun:
                    await self._lay_out_what_was_there()
                    begun = True
                if self._db.index_suspect:
                    await self._mend()
                await self.sweep()
            except NotNow as trouble:
                log.warning("the text index waits: %s", trouble.code)
                pause = 0.0 if await self._mend() else self.TROUBLE
            except Exception:
                # A letter that cannot be indexed must not end the indexing of all others; the next round tries again.
                log.exception("the text index stumbled")
                pause = self.TROUBLE
            await asyncio.sleep(pause)

    async def _mend(self) -> bool:
        """Has an index that cannot be used been put aside?"""
        try:
            said = await asyncio.to_thread(self._db.mend_index)
        except NotNow as trouble:
            log.warning("the text index cannot be mended now: %s", trouble.code)
            return False
        if said:
            self._next_doc = self._end_doc = 0  # a fresh one counts anew
        return bool(said)

    async def sweep(self) -> None:
        """Brings every account's index up to its change log."""
        after = 0
        while accounts := await self._db.read(pending, self.ACCOUNTS, after):
            await self._index(accounts)
            after = accounts[-1]

    async def _index(self, accounts: list[int]) -> None:
        todo = accounts
        while todo:
            began, spent = time.monotonic(), time.process_time()
            plans, texts, todo = await self._portion(todo)
            if plans:
                await self._lay_out(plans)
                first = await self._docs(sum(len(p.letters) for p in plans))
                try:
                    await self._db.write_index(commit_index, plans, list(texts.values()), first)
                except OvertakenError:
                    todo = sorted({*todo, *(p.account_id for p in plans)})
                else:
                    step("index-committed")
                    # Only letters without a row of their own (damage) bring a plan no further: they wait for a repair.
                    still = [p for p in plans if p.upto == p.since and not p.gone]
                    stuck = {p.account_id for p in still if texts.keys().isdisjoint(p.letters)}
                    todo = [account for account in todo if account not in stuck]
            worked, spent = time.monotonic() - began, time.process_time() - spent
            await self._rest(worked if worked < self.BUSY * spent else worked * self.GIVE_WAY)

    async def _portion(self, accounts: list[int]) -> tuple[list[Plan], dict[int, Text], list[int]]:
        """Plans for the first accounts, their new letters' words, and the accounts that remain to be done."""
        plans, found, left = await self._db.read(_gather, accounts, self.LETTERS)
        texts = await asyncio.to_thread(lambda: {s.letter_id: prepare(self._blobs.read, s) for s in found})
        return plans, texts, left

    async def _lay_out(self, plans: list[Plan]) -> None:
        """The sheets of what has come to these accounts and gone from them: before the cursors move, after which nobody
        would look here again."""
        accounts = [each.account_id for each in plans]
        while await self._draw(accounts):
            pass
        worn = await self._db.read(lambda tx: [run for p in plans for run in sheets.worn(tx, p.account_id, p.touched)])
        if worn:
            await self._db.write(sheets.clear, worn)

    async def _lay_out_what_was_there(self) -> None:
        """Sheets of accounts in which nothing happens, from before there were any."""
        for account in await self._db.read(sheets.accounts):
            began = time.monotonic()
            while await self._draw([account]):
                await self._rest(time.monotonic() - began)
                began = time.monotonic()

    async def _draw(self, accounts: list[int]) -> bool:
        """Draws some sheets that are due; False: none is."""
        runs = await self._db.read(sheets.due, accounts)
        if runs:
            await self._db.write(sheets.keep, await self._db.read(sheets.draw, runs))
        return bool(runs)

    async def _docs(self, count: int) -> int:
        if self._next_doc + count > self._end_doc:
            size = max(count, _DOC_BLOCK)
            self._next_doc = await self._db.write_index(claim_docs, size)
            self._end_doc = self._next_doc + size
        first = self._next_doc
        self._next_doc += count
        return first

    async def _rest(self, worked: float) -> None:
        """At least half of the time is left to others; all of it while the event loop does not keep up."""
        rest = min(max(worked, 0.001), 1.0)
        for _ in range(50):
            began = time.monotonic()
            await asyncio.sleep(rest)
            if time.monotonic() - began - rest < self.LATE:
                return
            rest = min(rest * 2, 0.2)


def _gather(tx: Tx, accounts: list[int], limit: int) -> tuple[list[Plan], list[Source], list[int]]:
    plans: list[Plan] = []
    letters: dict[int, None] = {}
    left: list[int] = []
    for i, account in enumerate(accounts):
        if len(letters) >= limit:
            left = accounts[i:]
            break
        made = plan(tx, account, limit)
        if made is not None:
            plans.append(made)
            letters.update(dict.fromkeys(made.letters))
    modseqs: dict[int, int] = dict(
        tx.all("SELECT account_id, modseq FROM store WHERE account_id IN (?*)", [p.account_id for p in plans])
    )
    # An account that is not done yet comes again, after the others.
    return plans, sources(tx, letters), left + [p.account_id for p in plans if p.upto < modseqs[p.account_id]]
