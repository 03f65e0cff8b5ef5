"""FETCH (rfc3501 6.4.5, rfc9051 6.4.5, RFC 3516, 7162, 8474, 8514, 8970, 9394, 9586): one row of a table for each item.

A chunk of messages is read and rendered by one function on one snapshot and sent as one piece while the next is read,
so memory is bounded whatever is asked. What was parsed at delivery is sent as it is stored, where there is a sheet
(`mailstore.sheets`) in whole lines. A large section goes from
the blob to the peer piece by piece. Must never hold a transaction while the peer is slow, nor change a letter's bytes.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any, cast

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.codec import mime
from congvu.codec.imap import FetchItem, Section, internal_date, string
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Tx
from congvu.mailstore import message, scan, seen, sheets
from congvu.mailstore.scan import Column
from congvu.mailstore.sheets import Field, Run, run_of
from congvu.servers import turns
from congvu.servers.imap import marks
from congvu.servers.imap.marks import decimals, flags_bytes
from congvu.servers.imap.messages import mark_seen
from congvu.servers.imap.sections import (
    ENOUGH,
    SMALL,
    Letter,
    NotAtHandError,
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
from congvu.servers.imap.session import FEW, Done, Session
from congvu.servers.imap.view import Selected, meet, page
from congvu.servers.stream import Gone

CHUNK = 500  # messages whose letters' rows are read at once
CHUNK_ROWS = 8 * sheets.UIDS  # the same where some forty bytes are said of each, or sheets are read
CHUNK_BODIES = 100  # the same where their letters are read
FEW_LINES = sheets.UIDS // 8  # fewer messages than this are read from their rows although a sheet has them
LINES = 4 << 20  # bytes of an answer after which no more sheets are read at once
GAP = 32  # UIDs further apart than this are looked up by ranges of their own


@dataclass(frozen=True, slots=True)
class Simple:
    """An item with one value: `values` makes it of columns, for all messages of a chunk at once; it stands between
    `before` and `after`. A value of None becomes NIL: its letter's row is missing."""

    before: bytes
    after: bytes
    columns: tuple[Column, ...]
    values: Callable[..., Iterable[bytes | None]]  # (recent_from, *columns)
    capability: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """An item made from the letter's bytes."""

    render: Callable[["Letter", FetchItem], "list[Piece]"]
    seen: bool  # sets \\Seen unless peeked (rfc9051 6.4.5)
    capability: str = ""


def _decimals(_: int, values: Sequence[int]) -> list[bytes]:
    return decimals(values)


def _flags(recent_from: int, uids: Sequence[int], flags: Sequence[int], keywords: Sequence[str]) -> list[bytes]:
    """Texts are made once for each set of flags; in nearly every mailbox there are a handful."""
    found = list(map(flags_bytes, flags, keywords))
    for i in range(bisect_left(uids, recent_from), len(uids)):
        found[i] = flags_bytes(flags[i], keywords[i], True)
    return found


@lru_cache(maxsize=4096)
def _date(received: int) -> bytes:
    return internal_date(received).encode()


def _dates(_: int, times: Iterable[int]) -> Iterable[bytes]:
    return map(_date, times)


def _previews(_: int, first_words: Iterable[str | None]) -> list[bytes | None]:
    return [None if words is None else string(words) for words in first_words]


def _plain(structure: bytes | None) -> bytes | None:
    return None if structure is None else mime.plain_structure(structure)


_WITH_CONTENT = (Column.LETTER, Column.MODSEQ, Column.FLAGS, Column.KEYWORDS)
_FLAGS = (Column.UID, Column.FLAGS, Column.KEYWORDS)
_OF_LETTERS = frozenset((Column.ENVELOPE, Column.STRUCTURE, Column.PREVIEW))  # for which letters' rows are read
SIMPLE: dict[str, Simple] = {
    "UID": Simple(b"UID ", b"", (Column.UID,), _decimals),
    "FLAGS": Simple(b"FLAGS (", b")", _FLAGS, _flags),
    "MODSEQ": Simple(b"MODSEQ (", b")", (Column.MODSEQ,), _decimals, "CONDSTORE"),
    "EMAILID": Simple(b"EMAILID (M", b")", (Column.LETTER,), _decimals, "OBJECTID"),
    "THREADID": Simple(b"THREADID (T", b")", (Column.THREAD,), _decimals, "OBJECTID"),
    "SAVEDATE": Simple(b"SAVEDATE ", b"", (Column.SAVED,), _dates, "SAVEDATE"),
    "PREVIEW": Simple(b"PREVIEW ", b"", (Column.PREVIEW,), _previews, "PREVIEW"),
    "INTERNALDATE": Simple(b"INTERNALDATE ", b"", (Column.RECEIVED,), _dates),
    "RFC822.SIZE": Simple(b"RFC822.SIZE ", b"", (Column.SIZE,), _decimals),
    "ENVELOPE": Simple(b"ENVELOPE ", b"", (Column.ENVELOPE,), lambda _, envelopes: envelopes),
    "BODYSTRUCTURE": Simple(b"BODYSTRUCTURE ", b"", (Column.STRUCTURE,), lambda _, structures: structures),
    "BODY": Simple(b"BODY ", b"", (Column.STRUCTURE,), lambda _, structures: map(_plain, structures)),
}


# Items that stand on sheets.
_FIELDS = {
    "UID": Field.UID,
    "INTERNALDATE": Field.INTERNALDATE,
    "RFC822.SIZE": Field.SIZE,
    "ENVELOPE": Field.ENVELOPE,
    "BODYSTRUCTURE": Field.STRUCTURE,
}
_LINES = Simple(b"", b"", (), lambda _, lines: lines)  # fields that lie side by side on a sheet, with their names


_MARKS = ((SIMPLE["FLAGS"],), (SIMPLE["UID"], SIMPLE["FLAGS"]))  # what `marks` renders


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
class Layout:
    """What an answer is made of. `constants` stand before, between and after the values of `simple`."""

    simple: tuple[Simple, ...]
    constants: tuple[bytes, ...]
    columns: tuple[Column, ...]  # UID first, then all that the items need
    fields: tuple[tuple[Field, Field], ...]  # what is cut from a sheet, from and to; they stand behind the columns
    places: tuple[tuple[int, ...], ...]  # for each of `simple`: where its columns are
    letters: bool  # are letters' rows needed?
    only_flags: bool  # nothing but what `marks` renders


@dataclass(frozen=True, slots=True)
class Wanted:
    """One FETCH, prepared."""

    account_id: int
    mailbox_id: int
    reader: int  # as in `across.Place`
    recent_from: int  # UIDs from here on are \\Recent
    rows: Layout  # from rows alone
    lines: Layout | None  # where there is a sheet; None: it would not help
    contents: tuple[tuple[Content, FetchItem], ...]
    changed_since: int
    tell_flags: bytes  # what is told besides of messages that become \\Seen by this FETCH; b"" when asked for anyway
    chunk: int  # messages at once
    few: int  # messages that are read on the spot
    only_flags: bool  # nothing but what `marks` renders


@dataclass(slots=True)
class Rendered:
    """A chunk's answer. `done`: how many of the chunk's UIDs are dealt with; `missing`: how many of them are gone."""

    pieces: list[Piece]
    done: int
    missing: int = 0
    damaged: bool = False
    unknown: bool = False  # an encoding that BINARY does not know
    keywords: frozenset[str] = frozenset()  # those that it shows, as rows hold them


def _rows(tx: Tx, wanted: Wanted, uids: "array[int]", columns: tuple[Column, ...]) -> list[tuple[Any, ...]]:
    """These columns, UID first, of those of `uids` that are there."""
    account_id, mailbox_id = wanted.account_id, wanted.mailbox_id
    if uids[-1] - uids[0] < 2 * len(uids) + GAP:
        found = scan.table(tx, account_id, mailbox_id, uids[0], uids[-1], columns)
    else:
        found = []
        start = 0
        for i in range(1, len(uids) + 1):
            if i == len(uids) or uids[i] - uids[i - 1] > GAP:
                found += scan.table(tx, account_id, mailbox_id, uids[start], uids[i - 1], columns)
                start = i
    if uids[-1] - uids[0] + 1 != len(uids):
        known = set(uids)
        found = [row for row in found if row[0] in known]
    return (
        _as_read(tx, wanted, found, columns.index(Column.FLAGS)) if wanted.reader and Column.FLAGS in columns else found
    )


def _as_read(tx: Tx, wanted: Wanted, rows: list[tuple[Any, ...]], at: int) -> list[tuple[Any, ...]]:
    r"""The same rows with the reader's own \\Seen among the flags, which stand at `at`."""
    mine = seen.among(tx, wanted.account_id, wanted.mailbox_id, wanted.reader, [row[0] for row in rows])
    own = message.SEEN
    return [(*row[:at], row[at] & ~own | own * (row[0] in mine), *row[at + 1 :]) for row in rows]


def _chunk(
    tx: Tx,
    blobs: BlobKeeper,
    wanted: Wanted,
    uids: "array[int]",
    numbers: Sequence[int],
    newly: frozenset[int],
    near: bool = False,
) -> Rendered:
    """Reads and renders one chunk on one snapshot. `newly`: UIDs just marked \\Seen by this FETCH; `near`: as in
    `Letter`."""
    if wanted.only_flags and isinstance(numbers, range):
        # No message between the first and the last is left out, so as many as wanted are those that are wanted.
        found, count = scan.marks(tx, wanted.account_id, wanted.mailbox_id, uids[0], uids[-1])
        if count == len(uids):
            text = marks.lines(found, numbers, uids, wanted.rows.constants, wanted.recent_from)
            return Rendered([text], count, keywords=marks.keywords_of(found))
    if wanted.lines is None:
        return _rendered(tx, blobs, wanted, uids, numbers, newly, near)
    answer = Rendered([], len(uids))
    size = 0
    for start, end in _stretches(uids):
        if size > LINES:
            answer.done = start
            break
        part = _rendered(tx, blobs, wanted, uids[start:end], numbers[start:end], newly, near)
        answer.pieces += part.pieces
        answer.missing += part.missing
        answer.damaged |= part.damaged
        answer.keywords |= part.keywords
        size += sum(len(piece) for piece in part.pieces if isinstance(piece, bytes))
    return answer


def _stretches(uids: "array[int]") -> list[tuple[int, int]]:
    """Where to cut `uids`, so that each piece is of one run, or of several of which too few messages are wanted for
    sheets to help."""
    found: list[tuple[int, int]] = []
    many = True
    at = 0
    while at < len(uids):
        end = bisect_left(uids, (run_of(uids[at]) + 1) * sheets.UIDS + 1, at)
        before, many = many, end - at >= FEW_LINES
        if before or many or end - found[-1][0] > CHUNK:
            found.append((at, end))
        else:
            found[-1] = (found[-1][0], end)
        at = end
    return found


def _rendered(
    tx: Tx,
    blobs: BlobKeeper,
    wanted: Wanted,
    uids: "array[int]",
    numbers: Sequence[int],
    newly: frozenset[int],
    near: bool,
) -> Rendered:
    layout, columns, missing = _lines(tx, wanted, uids) or _columns(tx, wanted, uids)
    answer = Rendered([], len(uids), missing)
    if not columns:
        return answer
    total = len(columns[0])
    if SIMPLE["FLAGS"] in layout.simple or newly:
        answer.keywords = frozenset(columns[layout.columns.index(Column.KEYWORDS)])
    if total < len(uids):
        number_of = dict(zip(uids, numbers, strict=True))
        numbers = [number_of[uid] for uid in columns[0]]
    # Constants and values take turns, line after line, so that one join makes all of them.
    width = 2 * len(layout.simple) + 3
    parts: list[bytes] = [b""] * (width * total)
    constants = iter(layout.constants)
    parts[0::width] = repeat(b"* ", total)
    parts[1::width] = decimals(numbers)
    for i, (item, places) in enumerate(zip(layout.simple, layout.places, strict=True)):
        values = list(item.values(wanted.recent_from, *(columns[place] for place in places)))
        if not _OF_LETTERS.isdisjoint(item.columns) and None in values:
            answer.damaged = True
            values = [b"NIL" if value is None else value for value in values]
        parts[2 * i + 2 :: width] = [next(constants)] * total
        parts[2 * i + 3 :: width] = cast(list[bytes], values)
    parts[width - 1 :: width] = [next(constants)] * total
    if wanted.contents:
        heads = [b"".join(parts[at : at + width]) for at in range(0, len(parts), width)]
        _contents(tx, answer, wanted, columns, heads, blobs, uids, newly, near)
    else:
        answer.pieces.append(b"".join(parts))
    return answer


def _columns(tx: Tx, wanted: Wanted, uids: "array[int]") -> tuple[Layout, list[Sequence[Any]], int]:
    """From rows; none when there is nothing to tell. And how many messages are gone."""
    layout = wanted.rows
    rows = _rows(tx, wanted, uids, layout.columns)
    missing = len(uids) - len(rows)
    if wanted.changed_since >= 0:
        at = layout.columns.index(Column.MODSEQ)
        rows = [row for row in rows if row[at] > wanted.changed_since]
    return layout, list(zip(*rows, strict=True)), missing


def _lines(tx: Tx, wanted: Wanted, uids: "array[int]") -> tuple[Layout, list[Sequence[Any]], int] | None:
    """The same from a sheet and what can change; None when there is no sheet that has all of them."""
    layout = wanted.lines
    if layout is None or len(uids) < FEW_LINES or run_of(uids[0]) != run_of(uids[-1]):
        return None
    sheet = sheets.find(tx, Run(wanted.account_id, wanted.mailbox_id, run_of(uids[0])))
    if sheet is None:
        return None
    rows = _rows(tx, wanted, uids, layout.columns)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for first, last in layout.fields if rows else ():
        lines = sheet.cut(first, last, columns[0])
        if lines is None:
            return None
        columns.append(lines)
    return layout, columns, len(uids) - len(rows)


def _contents(
    tx: Tx,
    answer: Rendered,
    wanted: Wanted,
    columns: list[Sequence[Any]],
    heads: list[bytes],
    blobs: BlobKeeper,
    uids: "array[int]",
    newly: frozenset[int],
    near: bool,
) -> None:
    out: list[bytes] = []
    size = 0
    letters, modseqs, flags, keywords = (columns[wanted.rows.columns.index(each)] for each in _WITH_CONTENT)
    bodies = message.bodies(tx, set(letters))
    for i, uid in enumerate(columns[0]):
        if size > ENOUGH:
            answer.done = bisect_left(uids, uid)
            answer.missing = answer.done - i
            break
        out.append(heads[i])
        said = bool(wanted.rows.simple)
        if wanted.tell_flags and uid in newly:
            text = flags_bytes(flags[i], keywords[i], uid >= wanted.recent_from)
            values: dict[bytes, bytes | int] = {b"flags": text, b"modseq": modseqs[i], b"uid": uid}
            out.append(b" " * said + wanted.tell_flags % values)
            said = True
        body = bodies.get(letters[i])
        answer.damaged |= body is None
        letter = Letter(body, blobs, near) if body is not None else None
        for content, item in wanted.contents:
            pieces: list[Piece] = [item_name(item) + b" NIL"]
            if letter is not None:
                try:
                    pieces = content.render(letter, item)
                except UnknownEncodingError:
                    answer.unknown = True
                    continue
                except (LookupError, ValueError) as error:
                    log.error("account %d: letter %d cannot be read: %s", wanted.account_id, letters[i], error)
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
    if partial is not None:
        uids = page(uids, partial)  # before what has changed among them (rfc9394 3.4)
    if changed_since is not None:
        # The few that changed are looked up at once rather than every message be read.
        changed = await turns.read(session, scan.changed, view.account_id, view.mailbox_id, changed_since)
        uids = await turns.walk(session, len(changed), meet, uids, changed)
    marks = (
        not view.read_only
        and "s" in view.rights
        and any(content.seen and not item.peek for content, item in wanted.contents)
    )
    total = await (_mark_and_send(session, wanted, uids) if marks else _send_all(session, wanted, uids))
    if total.unknown:
        raise Refused("imap-unknown-encoding")
    if total.damaged:
        raise Refused("letter-damaged")
    return Done("EXPUNGEISSUED") if total.missing else Done()


def _prepare(session: Session, items: Sequence[FetchItem], changed_since: int | None, uid_command: bool) -> Wanted:
    view = session.view()
    names = dict.fromkeys([item.name for item in items if item.name in SIMPLE])
    if uid_command and not session.uid_only:
        names = {"UID": None, **names}  # rfc9051 6.4.9
    if changed_since is not None:
        names["MODSEQ"] = None  # rfc7162 3.1.4.1
    contents = tuple([(CONTENT[item.name], item) for item in items if item.name in CONTENT])
    tell = b"" if "FLAGS" in names else b"FLAGS (%(flags)b)"
    if tell and session.condstore:  # rfc7162 3.2.4
        tell += b"" if "MODSEQ" in names else b" MODSEQ (%(modseq)d)"
        tell = tell if "UID" in names or session.uid_only else b"UID %(uid)d " + tell
    rows, lines = _layouts(tuple(names), bool(contents), session.uid_only)
    if contents or changed_since is not None:
        lines = None
    return Wanted(
        view.account_id,
        view.mailbox_id,
        view.reader,
        0xFFFFFFFF + 1 if session.rev2 else view.recent_from,
        rows,
        lines,
        contents,
        -1 if changed_since is None else changed_since,
        tell,
        CHUNK_BODIES if contents else CHUNK if rows.letters and lines is None else CHUNK_ROWS,
        FEW // 10 if rows.letters else FEW,
        rows.only_flags and changed_since is None and not view.reader,
    )


@lru_cache(maxsize=256)  # mail programs ask for the same few items all day long
def _layouts(names: tuple[str, ...], contents: bool, uid_only: bool) -> tuple[Layout, Layout | None]:
    """From rows alone, and where there is a sheet: that does not help where no letter's row is needed, or one is needed
    anyway."""
    start = b" UIDFETCH (" if uid_only else b" FETCH ("
    rows = _layout(start, names, (), _WITH_CONTENT if contents else ())
    if "BODY" in names or not ("ENVELOPE" in names or "BODYSTRUCTURE" in names):
        return rows, None
    return rows, _layout(start, [name for name in names if name not in _FIELDS], _side_by_side(names), ())


def _layout(
    start: bytes, names: Sequence[str], fields: tuple[tuple[Field, Field], ...], more: tuple[Column, ...]
) -> Layout:
    """`more`: columns that contents need, which then follow."""
    simple = tuple(SIMPLE[name] for name in names) + (_LINES,) * len(fields)
    columns = tuple(dict.fromkeys((Column.UID, *(each for item in simple for each in item.columns), *more)))
    constants = [item.before for item in simple] + [b"" if more else b")\r\n"]
    for i, item in enumerate(simple):
        constants[i + 1] = item.after + (b" " + constants[i + 1] if i + 1 < len(simple) else constants[i + 1])
    constants[0] = start + constants[0]
    places = [tuple(map(columns.index, item.columns)) for item in simple[: len(names)]]
    places += [(len(columns) + i,) for i in range(len(fields))]
    return Layout(
        simple,
        tuple(constants),
        columns,
        fields,
        tuple(places),
        not _OF_LETTERS.isdisjoint(columns),
        simple in _MARKS and not more,
    )


def _side_by_side(names: Iterable[str]) -> tuple[tuple[Field, Field], ...]:
    """The wanted fields in as few pieces as a sheet's order allows."""
    pieces: list[tuple[Field, Field]] = []
    for field in sorted(_FIELDS[name] for name in names if name in _FIELDS):
        if pieces and pieces[-1][1] + 1 == field:
            pieces[-1] = (pieces[-1][0], field)
        else:
            pieces.append((field, field))
    return tuple(pieces)


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
    """Chunk by chunk; the next is read while the last is sent, unless the peer is slow."""
    total = _Total()
    size = wanted.chunk
    at = 0
    if len(uids) <= size:
        while at < len(uids):
            answer = await _read(session, wanted, uids[at:], frozenset())
            at += answer.done
            total.add(answer)
            await _write(session, answer, total)
        return total
    ahead: asyncio.Task[Rendered] | None = _start(session, wanted, uids[at : at + size])
    try:
        while ahead is not None:
            answer = await ahead
            at += answer.done
            # Who takes nothing now needs nothing more in memory.
            ahead = (
                None if session.stream.congested or at >= len(uids) else _start(session, wanted, uids[at : at + size])
            )
            total.add(answer)
            await _write(session, answer, total)
            if ahead is None and at < len(uids):
                ahead = _start(session, wanted, uids[at : at + size])
    finally:
        if ahead is not None:
            ahead.cancel()
    return total


def _start(session: Session, wanted: Wanted, uids: "array[int]") -> asyncio.Task[Rendered]:
    return asyncio.create_task(_read(session, wanted, uids, frozenset()))


async def _read(session: Session, wanted: Wanted, uids: "array[int]", newly: frozenset[int]) -> Rendered:
    services = session.services
    numbers = uids if session.uid_only else _numbers(session.view(), uids)
    if wanted.contents and len(uids) == 1:
        # What most clients ask for, and mostly of a letter that has just come or been looked at.
        with suppress(NotAtHandError):
            return await services.db.look(_chunk, services.blobs, wanted, uids, numbers, newly, near=True)
    # A few rows are read on the spot; what needs letters' bytes or ENVELOPEs by the hundred is not.
    here = not wanted.contents and len(uids) <= wanted.few
    what = wanted, uids, numbers, newly
    if len(uids) > FEW // 10 and not here:
        return await turns.read(session, _chunk, services.blobs, *what)
    return await (services.db.look if here else services.db.read)(_chunk, services.blobs, *what)


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
        portion = uids[at : at + wanted.chunk]
        read = services.db.look if len(portion) <= FEW else services.db.read
        size, unseen = await read(_unseen, wanted, portion)
        chunk = uids[at : at + size]
        newly: frozenset[int] = frozenset()
        if unseen:
            stored = await mark_seen(session, unseen)
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
    columns = (Column.UID, Column.SIZE, Column.FLAGS, Column.MODSEQ)
    for uid, bytes_, flags, modseq in _rows(tx, wanted, uids, columns):
        if size > ENOUGH:
            return bisect_left(uids, uid), unseen
        size += min(bytes_, SMALL)
        if not flags & message.SEEN and modseq > wanted.changed_since:
            unseen.append(uid)
    return len(uids), unseen


async def _write(session: Session, answer: Rendered, total: _Total) -> None:
    if (guest := session.view().guest) is not None:
        await guest.still_reads()  # now: what was read ahead does not leave when the right to it has ended meanwhile
    session.announce(answer.keywords)
    for piece in answer.pieces:
        if isinstance(piece, Stretch):
            total.damaged |= not await _send_stretch(session, piece)
        elif piece:
            session.stream.write(piece)
        await session.stream.drain()


def _next(source: Iterator[bytes]) -> "asyncio.Future[bytes]":
    return asyncio.get_running_loop().run_in_executor(None, next, source, b"")


async def _send_stretch(session: Session, stretch: Stretch) -> bool:
    """A large section from the blob to the peer. False: its bytes are gone and NIL was sent in its place."""
    blobs = session.services.blobs
    try:
        size = await asyncio.to_thread(measure, blobs, stretch)
        source = unrolled(blobs, stretch)
        piece = b"" if stretch.size_only else await _next(source)
    except (LookupError, ValueError, NotNow) as error:
        log.error("letter %d cannot be read: %s", stretch.body.letter_id, error)
        session.stream.write(stretch.name + b" NIL")
        return False
    session.stream.write(stretch.head % size)
    if stretch.size_only:
        return True
    ahead: asyncio.Future[bytes] | None = None
    try:
        while piece:
            ahead = _next(source)  # is read while this one leaves
            size -= len(piece)
            session.stream.write(piece)
            await session.stream.drain()
            piece = await ahead
    except (LookupError, ValueError, NotNow) as error:
        log.error("letter %d cannot be read to its end: %s", stretch.body.letter_id, error)
        size = -1
    finally:
        if ahead is not None:
            ahead.cancel()
    if size:
        # The announced literal cannot be completed: only the end of the connection says so.
        session.stream.abort()
        raise Gone
    return True
