"""FETCH (rfc3501 6.4.5, rfc9051 6.4.5, RFC 3516, 7162, 8474, 8514, 8970, 9394, 9586): one row of a table for each item.

A chunk of messages is read and rendered by one function on one snapshot and sent as one piece while the next is read,
so memory is bounded whatever is asked. What was parsed at delivery is sent as it is stored. A large section goes from
the blob to the peer piece by piece. Must never hold a transaction while the peer is slow, nor change a letter's bytes.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.codec import mime
from congvu.codec.imap import FetchItem, Section, internal_date, string
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Tx
from congvu.mailstore import message, scan
from congvu.servers.imap.sections import (
    ENOUGH,
    SMALL,
    Letter,
    Piece,
    Stretch,
    UnknownEncodingError,
    binary,
    body_section,
    item_name,
    measure,
    old_name,
    unrolled,
)
from congvu.servers.imap.session import Done, Session
from congvu.servers.imap.view import Selected, flags_text, meet, page
from congvu.servers.listen import Gone

CHUNK = 500  # messages whose rows are rendered at once
GAP = 32  # UIDs further apart than this are looked up by ranges of their own


class Needs(IntEnum):
    """What must be read for an item beside its row, the cheapest first."""

    ROW = 0
    PREVIEW = 1  # the stored first words
    RENDERED = 2  # the stored ENVELOPE and BODYSTRUCTURE
    BODY = 3  # the letter's bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages of one chunk as read from the store."""

    rows: list[message.Row]
    rendered: dict[int, tuple[bytes, bytes]]
    recent_from: int  # UIDs from here on are \\Recent
    first_words: dict[int, str] = field(default_factory=dict)

    def flags(self) -> list[bytes]:
        known: dict[tuple[int, str, bool], bytes] = {}
        found = []
        for row in self.rows:
            key = (row.flags, row.keywords, row.uid >= self.recent_from)
            value = known.get(key)
            if value is None:
                value = known[key] = flags_text(*key).encode("utf-8", "replace")
            found.append(value)
        return found

    def previews(self) -> list[bytes]:
        return [string(self.first_words.get(row.letter_id, "")) for row in self.rows]

    def envelopes(self) -> list[bytes]:
        return [self.rendered.get(row.letter_id, _NONE)[0] for row in self.rows]

    def structures(self) -> list[bytes]:
        return [self.rendered.get(row.letter_id, _NONE)[1] for row in self.rows]


_NONE = (b"NIL", b"NIL")


@dataclass(frozen=True, slots=True)
class Simple:
    """An item with one value from rows or rendered bytes: `form` takes it, `values` gives it for each row."""

    form: bytes
    values: Callable[[Batch], Sequence[object]]
    needs: Needs = Needs.ROW
    capability: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """An item made from the letter's bytes."""

    render: Callable[["Letter", FetchItem], "list[Piece]"]
    seen: bool  # sets \\Seen unless peeked (rfc9051 6.4.5)
    capability: str = ""
    needs: Needs = Needs.BODY


@lru_cache(maxsize=4096)
def _date(received: int) -> bytes:
    return internal_date(received).encode()


SIMPLE: dict[str, Simple] = {
    "UID": Simple(b"UID %d", lambda b: [r.uid for r in b.rows]),
    "FLAGS": Simple(b"FLAGS (%b)", Batch.flags),
    "MODSEQ": Simple(b"MODSEQ (%d)", lambda b: [r.modseq for r in b.rows], capability="CONDSTORE"),
    "EMAILID": Simple(b"EMAILID (M%d)", lambda b: [r.letter_id for r in b.rows], capability="OBJECTID"),
    "THREADID": Simple(b"THREADID (T%d)", lambda b: [r.thread_id for r in b.rows], capability="OBJECTID"),
    "SAVEDATE": Simple(b"SAVEDATE %b", lambda b: [_date(r.saved) for r in b.rows], capability="SAVEDATE"),
    "PREVIEW": Simple(b"PREVIEW %b", Batch.previews, Needs.PREVIEW, "PREVIEW"),
    "INTERNALDATE": Simple(b"INTERNALDATE %b", lambda b: [_date(r.received) for r in b.rows]),
    "RFC822.SIZE": Simple(b"RFC822.SIZE %d", lambda b: [r.size for r in b.rows]),
    "ENVELOPE": Simple(b"ENVELOPE %b", Batch.envelopes, Needs.RENDERED),
    "BODYSTRUCTURE": Simple(b"BODYSTRUCTURE %b", Batch.structures, Needs.RENDERED),
    "BODY": Simple(b"BODY %b", lambda b: list(map(mime.plain_structure, b.structures())), Needs.RENDERED),
}


CONTENT: dict[str, Content] = {
    "BODY[]": Content(body_section, seen=True),
    "BINARY[]": Content(binary, seen=True, capability="BINARY"),
    "BINARY.SIZE[]": Content(binary, seen=False, capability="BINARY"),
    "RFC822": Content(old_name(Section()), seen=True),
    "RFC822.HEADER": Content(old_name(Section(text="HEADER")), seen=False),
    "RFC822.TEXT": Content(old_name(Section(text="TEXT")), seen=True),
}
ITEMS: dict[str, Simple | Content] = {**SIMPLE, **CONTENT}
CAPABILITIES = tuple(dict.fromkeys(item.capability for item in ITEMS.values() if item.capability))


# ---- a chunk


@dataclass(frozen=True, slots=True)
class Wanted:
    """One FETCH, prepared: `form` takes the sequence number and the values of `simple`."""

    account_id: int
    mailbox_id: int
    recent_from: int
    form: bytes
    simple: tuple[Simple, ...]
    contents: tuple[tuple[Content, FetchItem], ...]
    changed_since: int
    tell_flags: bytes  # how FLAGS are told of messages that become \\Seen by this FETCH; b"" when asked for anyway

    @property
    def needs(self) -> Needs:
        if self.contents:
            return Needs.BODY
        return max((item.needs for item in self.simple), default=Needs.ROW)


@dataclass(slots=True)
class Rendered:
    """A chunk's answer. `done`: how many of the chunk's UIDs are dealt with; `missing`: how many of them are gone."""

    pieces: list[Piece]
    done: int
    missing: int = 0
    damaged: bool = False
    unknown: bool = False  # an encoding that BINARY does not know


def _rows(tx: Tx, account_id: int, mailbox_id: int, uids: "array[int]") -> list[message.Row]:
    wanted = set(uids)
    found: list[message.Row] = []
    start = 0
    if uids[-1] - uids[0] >= 2 * len(uids) + GAP:
        for i in range(1, len(uids)):
            if uids[i] - uids[i - 1] > GAP:
                found += message.rows(tx, account_id, mailbox_id, uids[start], uids[i - 1])
                start = i
    found += message.rows(tx, account_id, mailbox_id, uids[start], uids[-1])
    return found if uids[-1] - uids[0] + 1 == len(uids) else [row for row in found if row.uid in wanted]


def _chunk(
    tx: Tx, blobs: BlobKeeper, wanted: Wanted, uids: "array[int]", numbers: Sequence[int], newly: frozenset[int]
) -> Rendered:
    """Reads and renders one chunk on one snapshot. `newly`: UIDs just marked \\Seen by this FETCH."""
    rows = _rows(tx, wanted.account_id, wanted.mailbox_id, uids)
    answer = Rendered([], len(uids), len(uids) - len(rows))
    if answer.missing or wanted.changed_since >= 0:
        number_of = dict(zip(uids, numbers, strict=True))
        rows = [row for row in rows if row.modseq > wanted.changed_since]
        numbers = [number_of[row.uid] for row in rows]
    needs = wanted.needs
    letters = {row.letter_id for row in rows} if needs > Needs.ROW else set()
    rendered: dict[int, tuple[bytes, bytes]] = {}
    if any(item.needs is Needs.RENDERED for item in wanted.simple):
        rendered = message.rendered(tx, letters)
        answer.damaged = len(rendered) < len(letters)
    first_words: dict[int, str] = {}
    if any(item.needs is Needs.PREVIEW for item in wanted.simple):
        first_words = message.previews(tx, letters)
    batch = Batch(rows, rendered, wanted.recent_from, first_words)
    heads = map(wanted.form.__mod__, zip(numbers, *(item.values(batch) for item in wanted.simple), strict=True))
    if needs < Needs.BODY:
        answer.pieces.append(b"".join(heads))
    else:
        bodies = message.bodies(tx, letters)
        _contents(answer, wanted, batch, list(heads), bodies, blobs, uids, newly)
    return answer


def _contents(
    answer: Rendered,
    wanted: Wanted,
    batch: Batch,
    heads: list[bytes],
    bodies: dict[int, message.Body],
    blobs: BlobKeeper,
    uids: "array[int]",
    newly: frozenset[int],
) -> None:
    out: list[bytes] = []
    size = 0
    flags = batch.flags() if newly else []
    for i, row in enumerate(batch.rows):
        if size > ENOUGH:
            answer.done = bisect_left(uids, row.uid)
            answer.missing = answer.done - i
            break
        out.append(heads[i])
        said = bool(wanted.simple)
        if wanted.tell_flags and row.uid in newly:
            values = (flags[i], row.modseq) if b"%d" in wanted.tell_flags else (flags[i],)
            out.append(b" " * said + wanted.tell_flags % values)
            said = True
        body = bodies.get(row.letter_id)
        answer.damaged |= body is None
        letter = Letter(body, blobs) if body is not None else None
        for content, item in wanted.contents:
            pieces: list[Piece] = [item_name(item) + b" NIL"]
            if letter is not None:
                try:
                    pieces = content.render(letter, item)
                except UnknownEncodingError:
                    answer.unknown = True
                    continue
                except (LookupError, ValueError) as error:
                    log.error("account %d: letter %d cannot be read: %s", wanted.account_id, row.letter_id, error)
                    answer.damaged = True
            out.append(b" " * said)
            said = True
            for piece in pieces:
                if isinstance(piece, Stretch):
                    answer.pieces += (b"".join(out), piece)
                    out.clear()
                else:
                    out.append(piece)
        if said:
            out.append(b")\r\n")
        else:
            out.pop()
        size += letter.inline if letter is not None else 0
    answer.pieces.append(b"".join(out))


# ---- the command


async def run(
    session: Session,
    uids: "array[int]",
    items: Sequence[FetchItem],
    changed_since: int | None,
    uid_command: bool,
    partial: tuple[int, int] | None = None,
) -> Done:
    """Answers a FETCH or UID FETCH of messages in the view (ascending UIDs).

    Messages that another session has expunged are passed over and the answer says EXPUNGEISSUED (rfc9051 7.1). Letters
    whose bytes are gone or damaged have NIL; the others come, and the command fails with a code.
    """
    view = session.view()
    names = {item.name for item in items}
    if changed_since is not None or "MODSEQ" in names:
        session.enable("CONDSTORE")  # rfc7162 3.1
    wanted = _prepare(session, items, changed_since, uid_command)
    if changed_since is not None:
        # The few that changed are looked up at once rather than every message be read.
        changed = await session.services.db.read(scan.changed, view.account_id, view.mailbox_id, changed_since)
        uids = meet(uids, changed)
    if partial is not None:
        uids = page(uids, partial)
    marks = not view.read_only and any(content.seen and not item.peek for content, item in wanted.contents)
    total = await (_mark_and_send(session, wanted, uids) if marks else _send_all(session, wanted, uids))
    if total.unknown:
        raise Refused("imap-unknown-encoding")
    if total.damaged:
        raise Refused("letter-damaged")
    return Done("EXPUNGEISSUED") if total.missing else Done()


def _prepare(session: Session, items: Sequence[FetchItem], changed_since: int | None, uid_command: bool) -> Wanted:
    view = session.view()
    names = dict.fromkeys(item.name for item in items if item.name in SIMPLE)
    if uid_command and not session.uid_only:
        names = {"UID": None, **names}  # rfc9051 6.4.9
    if changed_since is not None:
        names["MODSEQ"] = None  # rfc7162 3.1.4.1
    simple = tuple(SIMPLE[name] for name in names)
    contents = tuple((CONTENT[item.name], item) for item in items if item.name in CONTENT)
    forms = b" ".join(item.form for item in simple)
    tell = b"" if "FLAGS" in names else b"FLAGS (%b)"
    if session.condstore and "MODSEQ" not in names:
        tell = b"%b MODSEQ (%%d)" % tell if tell else tell
    return Wanted(
        view.account_id,
        view.mailbox_id,
        0xFFFFFFFF + 1 if session.rev2 else view.recent_from,
        b"* %%d %b (%b" % (b"UIDFETCH" if session.uid_only else b"FETCH", forms) + (b"" if contents else b")\r\n"),
        simple,
        contents,
        -1 if changed_since is None else changed_since,
        tell,
    )


@dataclass(slots=True)
class _Total:
    """What the tagged answer must tell."""

    missing: bool = False
    damaged: bool = False
    unknown: bool = False

    def add(self, answer: Rendered) -> None:
        self.missing |= answer.missing > 0
        self.damaged |= answer.damaged
        self.unknown |= answer.unknown


async def _send_all(session: Session, wanted: Wanted, uids: "array[int]") -> _Total:
    """Chunk by chunk; the next is read while the last is sent."""
    total = _Total()
    size = CHUNK if wanted.needs < Needs.BODY else CHUNK // 5
    at = 0
    ahead = _start(session, wanted, uids[:size]) if uids else None
    try:
        while ahead is not None:
            answer = await ahead
            at += answer.done
            ahead = _start(session, wanted, uids[at : at + size]) if at < len(uids) else None
            total.add(answer)
            await _write(session, answer, total)
    finally:
        if ahead is not None:
            ahead.cancel()
    return total


def _start(session: Session, wanted: Wanted, uids: "array[int]") -> asyncio.Task[Rendered]:
    return asyncio.create_task(_read(session, wanted, uids, frozenset()))


async def _read(session: Session, wanted: Wanted, uids: "array[int]", newly: frozenset[int]) -> Rendered:
    services = session.services
    numbers = uids if session.uid_only else _numbers(session.view(), uids)
    return await services.db.read(_chunk, services.blobs, wanted, uids, numbers, newly)


def _numbers(view: Selected, uids: "array[int]") -> Sequence[int]:
    first = bisect_left(view.uids, uids[0])
    if view.uids[first : first + len(uids)] == uids:
        return range(first + 1, first + len(uids) + 1)
    return [bisect_left(view.uids, uid) + 1 for uid in uids]


async def _mark_and_send(session: Session, wanted: Wanted, uids: "array[int]") -> _Total:
    r"""As `_send_all`, each chunk after its messages have been marked \Seen, so that the answer tells the new flags."""
    services, view = session.services, session.view()
    total = _Total()
    at = 0
    while at < len(uids):
        size, unseen = await services.db.read(_unseen, wanted, uids[at : at + CHUNK // 5])
        chunk = uids[at : at + size]
        newly: frozenset[int] = frozenset()
        if unseen:
            stored = await services.db.write(
                message.store,
                wanted.account_id,
                wanted.mailbox_id,
                unseen,
                message.Op.ADD,
                message.SEEN,
                (),
                services.clock.now(),
            )
            newly = frozenset(row.uid for row in stored.changed)
            if stored.modseq:
                view.own.add(stored.modseq)
        answer = await _read(session, wanted, chunk, newly)
        while True:
            total.add(answer)
            await _write(session, answer, total)
            at += answer.done
            chunk = chunk[answer.done :]
            if not chunk:
                break
            answer = await _read(session, wanted, chunk, newly)
    return total


def _unseen(tx: Tx, wanted: Wanted, uids: "array[int]") -> tuple[int, list[int]]:
    r"""How many of `uids` make a chunk, and which of those are not \Seen."""
    size = 0
    unseen: list[int] = []
    for row in _rows(tx, wanted.account_id, wanted.mailbox_id, uids):
        if size > ENOUGH:
            return bisect_left(uids, row.uid), unseen
        size += min(row.size, SMALL)
        if not row.flags & message.SEEN and row.modseq > wanted.changed_since:
            unseen.append(row.uid)
    return len(uids), unseen


async def _write(session: Session, answer: Rendered, total: _Total) -> None:
    for piece in answer.pieces:
        if isinstance(piece, Stretch):
            total.damaged |= not await _send_stretch(session, piece)
        elif piece:
            session.stream.write(piece)
        await session.stream.drain()


async def _send_stretch(session: Session, stretch: Stretch) -> bool:
    """A large section from the blob to the peer. False: its bytes are gone and NIL was sent in its place."""
    blobs = session.services.blobs
    try:
        size = await asyncio.to_thread(measure, blobs, stretch)
        source = unrolled(blobs, stretch)
        piece = b"" if stretch.size_only else await asyncio.to_thread(next, source, b"")
    except (LookupError, ValueError, NotNow) as error:
        log.error("letter %d cannot be read: %s", stretch.body.letter_id, error)
        session.stream.write(stretch.name + b" NIL")
        return False
    session.stream.write(stretch.head % size)
    if stretch.size_only:
        return True
    try:
        while piece:
            size -= len(piece)
            session.stream.write(piece)
            await session.stream.drain()
            piece = await asyncio.to_thread(next, source, b"")
    except (LookupError, ValueError, NotNow) as error:
        log.error("letter %d cannot be read to its end: %s", stretch.body.letter_id, error)
        size = -1
    if size:
        # The announced literal cannot be completed: only the end of the connection says so.
        session.stream.abort()
        raise Gone
    return True
