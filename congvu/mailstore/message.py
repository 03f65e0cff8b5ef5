"""Messages: letters placed in mailboxes.

Every function is one step of a caller's transaction and leaves all counters, UIDs and the change log true: a UID is
given
once, modseqs only grow, a letter's row is written before any message speaks of it. Statements are set-based: a letter
for a thousand accounts costs as many statements as one for a single account.
"""

import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from congvu.base.failure import Refused
from congvu.base.vietnamese import fold
from congvu.codec.mime import Scan
from congvu.codec.subjects import BaseSubject
from congvu.db.blobs import Blob, register
from congvu.db.engine import Tx
from congvu.mailstore import changes, outline, seen
from congvu.mailstore.changes import Kind

SEEN, ANSWERED, FLAGGED, DELETED, DRAFT = 1, 2, 4, 8, 16
MAX_MESSAGES = 5_000_000  # of one account: copies cost a letter's row, which a quota of bytes, or none, does not count
MAX_KEYWORDS = 200  # of one mailbox: bounds the FLAGS line of every SELECT
MAX_KEYWORD = 100  # characters of one
SORT_SUBJECT = 200  # characters of a base subject by which letters are sorted
_BLOCK = 1000  # UIDs looked at together by `uids`
_PAIRS = 256  # accounts and thread keys in one statement


@dataclass(frozen=True, slots=True)
class NewLetter:
    """A letter about to be kept. `prefix`: headers added on arrival; `shared`: its text is indexed once for all who got
    it."""

    id: int
    blob: Blob
    prefix: bytes
    scan: Scan
    shared: bool = False

    @property
    def size(self) -> int:
        return len(self.prefix) + self.blob.size


@dataclass(frozen=True, slots=True)
class Target:
    """One mailbox a letter goes to."""

    account_id: int
    mailbox_id: int
    flags: int = 0
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A letter on its way into one account's mailbox; `received` is its INTERNALDATE."""

    letter: NewLetter
    flags: int
    keywords: tuple[str, ...]
    received: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a letter came to lie."""

    account_id: int
    mailbox_id: int
    uid: int
    uid_validity: int
    modseq: int


class Row(NamedTuple):
    """One message as a FETCH needs it (a tuple because fifty thousand are made at a time). Times in seconds since
    1970."""

    uid: int
    letter_id: int
    thread_id: int
    modseq: int
    flags: int
    keywords: str
    received: int
    saved: int
    size: int


@dataclass(frozen=True, slots=True)
class Body:
    """What is needed to read a letter: the bytes are `prefix` followed by the blob; `parts` as codec.mime packs
    them."""

    letter_id: int
    blob: Blob
    prefix: bytes
    parts: bytes


class Op(Enum):
    """How STORE changes flags."""

    SET = "set"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Stored:
    """`changed`: the rows as they are now; `failed`: UIDs that had changed since (rfc7162 3.1.3); `modseq`: of the
    change."""

    changed: list[Row]
    failed: list[int]
    modseq: int


@dataclass(frozen=True, slots=True)
class Copied:
    """Which UIDs became which (rfc9051 COPYUID). `uid_validity` 0: who copied may not know of the target's numbers."""

    uid_validity: int
    source: list[int]
    target: list[int]


_COLUMNS = "uid, letter_id, thread_id, modseq, flags, keywords, received, saved, size"


def keep_letter(tx: Tx, letter: NewLetter, now: float) -> None:
    """The rows of the blob and the letter. The blob's bytes must be safe on disk already."""
    keep_letters(tx, [letter], now)


def keep_letters(tx: Tx, letters: Sequence[NewLetter], now: float) -> None:
    """The same for many."""
    register(tx, [of.blob for of in letters], now)
    columns = ", ".join(PARSED)
    tx.many(
        f"INSERT INTO letter (id, hash, size, prefix, shared, {columns})"  # noqa: S608  constant columns
        f" VALUES (?, ?, ?, ?, ?{', ?' * len(PARSED)})",
        [(of.id, of.blob.hash, of.size, of.prefix, int(of.shared), *parsed(of.scan)) for of in letters],
    )


# The columns of a letter that its bytes say; a repair works them out anew.
PARSED = (
    "outline",
    "envelope",
    "parts",
    "sent",
    "subject",
    "sender",
    "recipients",
    "preview",
    "sort_subject",
    "thread_keys",
)


def parsed(scan: Scan) -> tuple[object, ...]:
    """The values of `PARSED`."""
    return (
        outline.pack(scan.envelope, scan.structure, scan.parts),
        b"",  # and the parts: of rows from before
        b"",
        scan.sent,
        scan.subject,
        scan.sender,
        scan.recipients,
        scan.preview,
        fold(scan.base.text)[:SORT_SUBJECT],
        thread_keys(scan.base, scan.message_id, scan.references[: scan.ancestors]),
    )


def place(
    tx: Tx, letter: NewLetter, targets: Sequence[Target], received: float, now: float, check_quota: bool = True
) -> list[Placed | Refused]:
    """Puts a kept letter into one mailbox each of many accounts; the answers come in the order of the targets.

    A target answers `Refused`: over-quota (row 6.1), too-many-letters, no-such-mailbox, too-many-keywords. Two targets
    in one account are the caller's error.
    """
    by_account = {t.account_id: t for t in targets}
    if len(by_account) != len(targets):
        raise ValueError("one target an account")
    answers: dict[int, Placed | Refused] = {}
    if any(t.mailbox_id != 1 or t.keywords for t in targets):
        changes.hold(tx, sorted(by_account))
    for t in targets:
        if t.mailbox_id != 1 and not _exists(tx, t.account_id, t.mailbox_id):
            answers[t.account_id] = Refused("no-such-mailbox")
        elif t.keywords:
            try:
                learn_keywords(tx, t.account_id, t.mailbox_id, t.keywords)
            except Refused as refused:
                answers[t.account_id] = refused
    # In ascending order, as everywhere: writers that lock several accounts then never wait for each other in a ring.
    wanted = sorted(a for a in by_account if a not in answers)
    modseqs: dict[int, int] = dict(
        tx.all(
            "UPDATE store SET modseq = modseq + 1, used = used + ?, messages = messages + 1"
            " WHERE account_id IN (?*) AND (quota = 0 OR used + ? <= quota OR ? = 0) AND messages < ?"
            " RETURNING account_id, modseq",
            letter.size,
            wanted,
            letter.size,
            int(check_quota),
            MAX_MESSAGES,
        )
    )
    if len(modseqs) < len(wanted):
        answers |= no_room(tx, [account for account in wanted if account not in modseqs], 1)
    by_kind: dict[tuple[int, int], list[int]] = {}
    for account in sorted(modseqs):
        t = by_account[account]
        by_kind.setdefault((t.mailbox_id, t.flags & (SEEN | DELETED)), []).append(account)
    for (mailbox_id, flags), accounts in by_kind.items():
        for account, uid, validity in tx.all(
            "UPDATE mailbox SET uid_next = uid_next + 1, messages = messages + 1, unseen = unseen + ?,"
            " deleted = deleted + ?, size = size + ?,"
            " modseq = (SELECT s.modseq FROM store s WHERE s.account_id = mailbox.account_id)"
            " WHERE id = ? AND account_id IN (?*) RETURNING account_id, uid_next - 1, uid_validity",
            int(not flags & SEEN),
            int(bool(flags & DELETED)),
            letter.size,
            mailbox_id,
            accounts,
        ):
            answers[account] = Placed(account, mailbox_id, uid, validity, modseqs[account])
    ordered = sorted(modseqs)
    thread_of = dict(zip(ordered, threads(tx, [(letter, account) for account in ordered]), strict=True))
    messages: list[tuple[object, ...]] = []
    log: list[tuple[int, int, int, str]] = []
    for account, modseq in modseqs.items():
        placed = answers[account]
        if isinstance(placed, Refused):
            raise LookupError(f"account {account} lost its mailbox between two statements")
        t = by_account[account]
        messages.append(
            (
                account,
                t.mailbox_id,
                placed.uid,
                letter.id,
                thread_of[account],
                modseq,
                t.flags,
                " ".join(t.keywords),
                int(received),
                int(now),
                letter.size,
            )
        )
        log.append((account, modseq, t.mailbox_id, str(placed.uid)))
    insert(tx, messages)
    changes.record_appeared(tx, log)
    return [answers[t.account_id] for t in targets]


def place_run(
    tx: Tx, account_id: int, mailbox_id: int, arrivals: Sequence[Arrival], now: float
) -> tuple[int, int, int] | None:
    """Puts letters, in their order, into one mailbox as one change: the first UID, UIDVALIDITY and the modseq; None
    when the mailbox does not exist.

    The caller holds the account, has found room for them and has made their keywords known.
    """
    count = len(arrivals)
    sizes = [a.letter.size for a in arrivals]
    modseq = changes.advance(tx, account_id)
    box = tx.one(
        "UPDATE mailbox SET uid_next = uid_next + ?, messages = messages + ?, unseen = unseen + ?,"
        " deleted = deleted + ?, size = size + ?, modseq = ? WHERE account_id = ? AND id = ?"
        " RETURNING uid_next, uid_validity",
        count,
        count,
        sum(not a.flags & SEEN for a in arrivals),
        sum(bool(a.flags & DELETED) for a in arrivals),
        sum(sizes),
        modseq,
        account_id,
        mailbox_id,
    )
    if box is None:
        return None
    tx.run(
        "UPDATE store SET used = used + ?, messages = messages + ? WHERE account_id = ?", sum(sizes), count, account_id
    )
    keep_letters(tx, [a.letter for a in arrivals], now)
    given = threads(tx, [(a.letter, account_id) for a in arrivals])
    first = box[0] - count
    insert(
        tx,
        [
            (
                account_id,
                mailbox_id,
                uid,
                a.letter.id,
                thread,
                modseq,
                a.flags,
                " ".join(a.keywords),
                a.received,
                int(now),
                size,
            )
            for uid, (a, thread, size) in enumerate(zip(arrivals, given, sizes, strict=True), first)
        ],
    )
    changes.record(tx, account_id, modseq, mailbox_id, Kind.APPEARED, range(first, box[0]))
    return first, box[1], modseq


def take_out(tx: Tx, account_id: int, mailbox_id: int, uid: int) -> None:
    r"""Removes one message that exists, \Deleted or not. The caller holds the account."""
    chosen = chosen_rows(tx, account_id, mailbox_id, [uid])
    take_rows(tx, account_id, mailbox_id, chosen, changes.advance(tx, account_id))
    tx.run(
        "UPDATE store SET used = used - ?, messages = messages - ? WHERE account_id = ?",
        sum(r.size for r in chosen),
        len(chosen),
        account_id,
    )


def uids(tx: Tx, account_id: int, mailbox_id: int) -> "array[int]":
    """All UIDs of a mailbox, ascending: four bytes each. Where none is missing between two, none is read."""
    row = tx.one(
        "SELECT messages, (SELECT min(uid) FROM message WHERE account_id = ? AND mailbox_id = ?),"
        " (SELECT max(uid) FROM message WHERE account_id = ? AND mailbox_id = ?)"
        " FROM mailbox WHERE account_id = ? AND id = ?",
        *(account_id, mailbox_id) * 3,
    )
    if row is None or row[1] is None:
        return array("I")
    count, low, high = row
    if high - low + 1 == count:
        return array("I", range(low, high + 1))
    found = array("I")
    low -= 1
    while low < high:
        count, first, last = tx.all(
            "SELECT count(*), min(uid), max(uid) FROM (SELECT uid FROM message"
            " WHERE account_id = ? AND mailbox_id = ? AND uid > ? ORDER BY uid LIMIT ?) AS part",
            account_id,
            mailbox_id,
            low,
            _BLOCK,
        )[0]
        if last - first + 1 == count:
            found.extend(range(first, last + 1))
        else:
            rows = tx.all(
                "SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid",
                account_id,
                mailbox_id,
                first,
                last,
            )
            found.extend([row[0] for row in rows])
        low = last
    return found


def sizes(tx: Tx, account_id: int, mailbox_id: int) -> tuple["array[int]", "array[int]"]:
    """UIDs, ascending, and octets of all messages of a mailbox: eight bytes each."""
    numbers, octets = array("I"), array("I")
    for uid, size in tx.each(
        "SELECT uid, size FROM message WHERE account_id = ? AND mailbox_id = ? ORDER BY uid", account_id, mailbox_id
    ):
        numbers.append(uid)
        octets.append(size)
    return numbers, octets


def rows(tx: Tx, account_id: int, mailbox_id: int, low: int, high: int) -> list[Row]:
    """The messages with UIDs from `low` to `high`, ascending. The caller bounds the range."""
    return [
        Row._make(r)
        for r in tx.all(
            f"SELECT {_COLUMNS} FROM message"  # noqa: S608  constant columns
            " WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid",
            account_id,
            mailbox_id,
            low,
            high,
        )
    ]


def bodies(tx: Tx, letter_ids: Iterable[int]) -> dict[int, Body]:
    """How to read these letters."""
    return {
        r[0]: Body(r[0], Blob(r[1], r[2], r[3]), r[4], outline.parts_of(r[5], r[6]))
        for r in tx.all(
            "SELECT l.id, b.hash, b.size, b.place, l.prefix, l.outline, l.parts FROM letter l"
            " JOIN blob b ON b.hash = l.hash WHERE l.id IN (?*)",
            list(letter_ids),
        )
    }


def store(
    tx: Tx,
    account_id: int,
    mailbox_id: int,
    uids: Sequence[int],
    op: Op,
    flags: int,
    keywords: tuple[str, ...],
    now: float,
    unchanged_since: int | None = None,
) -> Stored:
    """Changes flags and keywords of the messages that exist among `uids` (ascending).

    A message whose flags are already so keeps its modseq. Raises `Refused("too-many-keywords")`.
    """
    changes.hold(tx, [account_id])
    if keywords and op is not Op.REMOVE:
        learn_keywords(tx, account_id, mailbox_id, keywords)
    todo, failed = [], []
    for row in chosen_rows(tx, account_id, mailbox_id, uids):
        if unchanged_since is not None and row.modseq > unchanged_since:
            failed.append(row.uid)
        else:
            todo.append(row)
    by_value: dict[tuple[int, str], list[Row]] = {}
    for row in todo:
        value = after(row, op, flags, keywords)
        if value != (row.flags, row.keywords):
            by_value.setdefault(value, []).append(row)
    if not by_value:
        return Stored([], failed, 0)
    modseq = changes.advance(tx, account_id)
    unseen = deleted = 0
    changed: list[Row] = []
    for (new_flags, new_keywords), group in by_value.items():
        tx.run(
            "UPDATE message SET flags = ?, keywords = ?, modseq = ?"
            " WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*)",
            new_flags,
            new_keywords,
            modseq,
            account_id,
            mailbox_id,
            [r.uid for r in group],
        )
        for r in group:
            unseen += (not new_flags & SEEN) - (not r.flags & SEEN)
            deleted += bool(new_flags & DELETED) - bool(r.flags & DELETED)
            changed.append(r._replace(flags=new_flags, keywords=new_keywords, modseq=modseq))
    changed.sort()
    count(tx, account_id, mailbox_id, modseq, unseen=unseen, deleted=deleted)
    changes.record(tx, account_id, modseq, mailbox_id, Kind.FLAGS, (r.uid for r in changed))
    return Stored(changed, failed, modseq)


def copy(tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int], target_id: int, now: float) -> Copied:
    """Copies messages within an account: same letter, thread, flags and INTERNALDATE (rfc9051 6.4.7).

    Raises `Refused`: over-quota, too-many-letters, no-such-mailbox, too-many-keywords. Then nothing is copied.
    """
    changes.hold(tx, [account_id])
    chosen = chosen_rows(tx, account_id, mailbox_id, uids)
    size = sum(r.size for r in chosen)
    if not tx.run(
        "UPDATE store SET used = used + ?, messages = messages + ?"
        " WHERE account_id = ? AND (quota = 0 OR used + ? <= quota) AND messages + ? <= ?",
        size,
        len(chosen),
        account_id,
        size,
        len(chosen),
        MAX_MESSAGES,
    ):
        raise no_room(tx, [account_id], len(chosen))[account_id]
    modseq = changes.advance(tx, account_id)
    return put_rows(tx, account_id, chosen, target_id, modseq, now, mailbox_id)


def move(tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int], target_id: int, now: float) -> Copied:
    """Moves messages within an account as one change (RFC 6851). Raises `Refused` as `copy` does, but for room."""
    modseq = changes.advance(tx, account_id)
    chosen = chosen_rows(tx, account_id, mailbox_id, uids)
    if mailbox_id == target_id:
        # The new UIDs need a number of their own: one row tells of one kind of change to one mailbox under one modseq.
        copied = put_rows(tx, account_id, chosen, target_id, modseq, now, mailbox_id)
        take_rows(tx, account_id, mailbox_id, chosen, changes.advance(tx, account_id))
        return copied
    copied = put_rows(tx, account_id, chosen, target_id, modseq, now, mailbox_id)
    take_rows(tx, account_id, mailbox_id, chosen, modseq)
    return copied


def expunge(tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int] | None, now: float) -> list[int]:
    r"""Removes the messages flagged \Deleted, among `uids` when given; returns the UIDs that went."""
    changes.hold(tx, [account_id])
    if uids is None:
        found = tx.all(
            f"SELECT {_COLUMNS} FROM message"  # noqa: S608  constant columns
            " WHERE account_id = ? AND mailbox_id = ? AND (flags & 8) <> 0 ORDER BY uid",
            account_id,
            mailbox_id,
        )
        chosen = [Row._make(r) for r in found]
    else:
        chosen = [r for r in chosen_rows(tx, account_id, mailbox_id, uids) if r.flags & DELETED]
    return _expunge(tx, account_id, mailbox_id, chosen)


def remove(tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int]) -> list[int]:
    r"""Removes exactly these messages (ascending), \Deleted or not; returns the UIDs that went (rfc1939 6)."""
    changes.hold(tx, [account_id])
    return _expunge(tx, account_id, mailbox_id, chosen_rows(tx, account_id, mailbox_id, uids))


def _expunge(tx: Tx, account_id: int, mailbox_id: int, chosen: list[Row]) -> list[int]:
    if chosen:
        modseq = changes.advance(tx, account_id)
        take_rows(tx, account_id, mailbox_id, chosen, modseq)
        tx.run(
            "UPDATE store SET used = used - ?, messages = messages - ? WHERE account_id = ?",
            sum(r.size for r in chosen),
            len(chosen),
            account_id,
        )
    return [r.uid for r in chosen]


def learn_keywords(tx: Tx, account_id: int, mailbox_id: int, keywords: tuple[str, ...]) -> None:
    """Adds to the keywords that the mailbox announces in FLAGS. The caller holds the account.

    Raises `Refused("too-many-keywords")`.
    """
    row = tx.one("SELECT keywords FROM mailbox WHERE account_id = ? AND id = ?", account_id, mailbox_id)
    known = row[0].split() if row else []
    have = {k.lower() for k in known}
    new = [k for k in dict.fromkeys(keywords) if k.lower() not in have]
    if not new:
        return
    if len(known) + len(new) > MAX_KEYWORDS or any(len(k) > MAX_KEYWORD for k in new):
        raise Refused("too-many-keywords")
    tx.run(
        "UPDATE mailbox SET keywords = ? WHERE account_id = ? AND id = ?",
        " ".join(known + new),
        account_id,
        mailbox_id,
    )


def thread_keys(base: BaseSubject, message_id: str, ancestors: Sequence[str]) -> bytes:
    """What THREAD needs of a letter (rfc5256 3), 8 bytes each: its base subject with the lowest bit set in replies, its
    own Message-ID, its ancestors, oldest first. 0 stands for none."""
    subject = thread_key(base.text.casefold()) << 1 if base.text else 0
    own = thread_key(message_id) if message_id else 0
    return struct.pack(f">{2 + len(ancestors)}Q", subject | base.reply, own, *map(thread_key, ancestors))


@lru_cache(maxsize=4096)  # a letter's keys are asked for twice, those of a conversation again and again
def thread_key(message_id: str) -> int:
    """63 bits of a Message-ID: enough that two of one account's letters never meet by accident."""
    return int.from_bytes(blake2b(message_id.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 1


def threads(tx: Tx, arriving: Sequence[tuple[NewLetter, int]]) -> list[int]:
    """The thread of each letter in the account it comes to: that of the nearest letter it refers to, else one of its
    own. The caller holds the accounts, or is about to write to them.

    A thread, once given, never changes (rfc8474 5.2); references not yet seen are noted for letters that come late.
    """
    keys = {number: _keys(letter.scan) for number, letter in {letter.id: letter for letter, _ in arriving}.items()}
    known = _known_threads(tx, list(dict.fromkeys((a, k) for letter, a in arriving for k in keys[letter.id])))
    new: list[tuple[int, int, int]] = []
    found: list[int] = []
    for letter, account in arriving:
        pairs = [(account, key) for key in keys[letter.id]]
        thread = next((known[pair] for pair in pairs if pair in known), letter.id)
        found.append(thread)
        for pair in pairs:
            if pair not in known:
                known[pair] = thread
                new.append((*pair, thread))
    tx.many(
        "INSERT INTO thread_key (account_id, key, thread_id) VALUES (?, ?, ?) ON CONFLICT (account_id, key) DO NOTHING",
        sorted(new),
    )
    return found


def _keys(scan: Scan) -> list[int]:
    """Of the letter itself, then of those it refers to, the nearest first."""
    names = ([scan.message_id] if scan.message_id else []) + list(reversed(scan.references))
    return list(dict.fromkeys(map(thread_key, names)))


def _known_threads(tx: Tx, pairs: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """The threads of those (account, key) that have one. A list is filled up with its last pair to a power of two, so
    that few texts are prepared."""
    known: dict[tuple[int, int], int] = {}
    for start in range(0, len(pairs), _PAIRS):
        some = list(pairs[start : start + _PAIRS])
        some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
        places = ", ".join(["(?, ?)"] * len(some))
        for account, key, thread in tx.all(
            "SELECT account_id, key, thread_id FROM thread_key"  # noqa: S608  placeholders only
            f" WHERE (account_id, key) IN (VALUES {places})",
            *(number for pair in some for number in pair),
        ):
            known[account, key] = thread
    return known


def after(row: Row, op: Op, flags: int, keywords: tuple[str, ...]) -> tuple[int, str]:
    match op:
        case Op.SET:
            # The same words in another order are no change: the message keeps its modseq.
            same = set(keywords) == set(row.keywords.split())
            return flags, row.keywords if same else " ".join(dict.fromkeys(keywords))
        case Op.ADD:
            have = row.keywords.split()
            lower = {k.lower() for k in have}
            return row.flags | flags, " ".join(have + [k for k in dict.fromkeys(keywords) if k.lower() not in lower])
        case Op.REMOVE:
            drop = {k.lower() for k in keywords}
            return row.flags & ~flags, " ".join(k for k in row.keywords.split() if k.lower() not in drop)


def chosen_rows(tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int]) -> list[Row]:
    """The rows of `uids` (ascending): one range when they lie close, else by list."""
    if not uids:
        return []
    if uids[-1] - uids[0] < 2 * len(uids) + 100:
        wanted = set(uids)
        return [r for r in rows(tx, account_id, mailbox_id, uids[0], uids[-1]) if r.uid in wanted]
    return [
        Row._make(r)
        for r in tx.all(
            f"SELECT {_COLUMNS} FROM message"  # noqa: S608  constant columns
            " WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*) ORDER BY uid",
            account_id,
            mailbox_id,
            list(uids),
        )
    ]


def no_room(tx: Tx, accounts: list[int], more: int) -> dict[int, Refused]:
    """Why each of these accounts takes no more messages."""
    held: dict[int, int] = dict(tx.all("SELECT account_id, messages FROM store WHERE account_id IN (?*)", accounts))
    return {
        account: Refused("too-many-letters", limit=MAX_MESSAGES)
        if held.get(account, 0) + more > MAX_MESSAGES
        else Refused("over-quota")
        for account in accounts
    }


def put_rows(
    tx: Tx, account_id: int, chosen: list[Row], target_id: int, modseq: int, now: float, source_id: int | None = None
) -> Copied:
    """Rows for messages that come to a mailbox from another one. `source_id`: they stand in that mailbox of the same
    account and come as they are, so the database copies them itself."""
    words = Counter(k for r in chosen for k in r.keywords.split())
    if words:
        learn_keywords(tx, account_id, target_id, tuple(words))
    target = tx.one(
        "UPDATE mailbox SET uid_next = uid_next + ?, messages = messages + ?, unseen = unseen + ?,"
        " deleted = deleted + ?, size = size + ?, modseq = ?"
        " WHERE account_id = ? AND id = ? RETURNING uid_next, uid_validity",
        len(chosen),
        len(chosen),
        sum(not r.flags & SEEN for r in chosen),
        sum(bool(r.flags & DELETED) for r in chosen),
        sum(r.size for r in chosen),
        modseq,
        account_id,
        target_id,
    )
    if target is None:
        raise Refused("no-such-mailbox")
    first = target[0] - len(chosen)
    new = list(range(first, first + len(chosen)))
    if source_id is None:
        insert(
            tx,
            [
                (
                    account_id,
                    target_id,
                    uid,
                    r.letter_id,
                    r.thread_id,
                    modseq,
                    r.flags,
                    r.keywords,
                    r.received,
                    int(now),
                    r.size,
                )
                for uid, r in zip(new, chosen, strict=True)
            ],
        )
    elif chosen:
        tx.run(
            "INSERT INTO message (account_id, mailbox_id, uid, letter_id, thread_id, modseq, flags, keywords, received,"
            " saved, size) SELECT account_id, ?, ? + row_number() OVER (ORDER BY uid), letter_id, thread_id, ?, flags,"
            " keywords, received, ?, size FROM message WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*)",
            target_id,
            first - 1,
            modseq,
            int(now),
            account_id,
            source_id,
            [r.uid for r in chosen],
        )
    if chosen:
        changes.record(tx, account_id, modseq, target_id, Kind.APPEARED, new)
    return Copied(target[1], [r.uid for r in chosen], new)


def take_rows(tx: Tx, account_id: int, mailbox_id: int, chosen: list[Row], modseq: int) -> None:
    """Takes rows out of a mailbox; the account's own sums are the caller's."""
    if not chosen:
        return
    gone = [r.uid for r in chosen]
    tx.run("DELETE FROM message WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*)", account_id, mailbox_id, gone)
    if count(
        tx,
        account_id,
        mailbox_id,
        modseq,
        messages=-len(chosen),
        unseen=-sum(not r.flags & SEEN for r in chosen),
        deleted=-sum(bool(r.flags & DELETED) for r in chosen),
        size=-sum(r.size for r in chosen),
    ):
        seen.drop(tx, account_id, mailbox_id, gone)
    changes.record(tx, account_id, modseq, mailbox_id, Kind.VANISHED, gone, [r.letter_id for r in chosen])


def count(
    tx: Tx,
    account_id: int,
    mailbox_id: int,
    modseq: int,
    *,
    messages: int = 0,
    unseen: int = 0,
    deleted: int = 0,
    size: int = 0,
) -> bool:
    """Changes a mailbox's counters; has it readers with a \\Seen of their own?"""
    row = tx.one(
        "UPDATE mailbox SET messages = messages + ?, unseen = unseen + ?, deleted = deleted + ?, size = size + ?,"
        " modseq = ? WHERE account_id = ? AND id = ? RETURNING readers",
        messages,
        unseen,
        deleted,
        size,
        modseq,
        account_id,
        mailbox_id,
    )
    return bool(row and row[0])


def insert(tx: Tx, messages: Sequence[tuple[object, ...]]) -> None:
    """Rows whose counters and change the caller writes."""
    tx.many(
        "INSERT INTO message (account_id, mailbox_id, uid, letter_id, thread_id, modseq, flags, keywords, received,"
        " saved, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        messages,
    )


def _exists(tx: Tx, account_id: int, mailbox_id: int) -> bool:
    return tx.one("SELECT 1 FROM mailbox WHERE account_id = ? AND id = ?", account_id, mailbox_id) is not None
