"""Sheets: what FETCH says of messages that lie side by side, kept together as it is sent.

A message's UID, INTERNALDATE, size, ENVELOPE and BODYSTRUCTURE never change. When the last of 512 UIDs of a mailbox has
been given (a run), what there is to say of them is written on one sheet, a line for each message, and compressed as
one: some tens of bytes a message, and whoever reads a whole mailbox copies lines instead of unpacking rows. What is
expunged afterwards is passed over by the reader; no message ever comes to a run that is full.

Promises that a sheet says what the rows say. Everything here is derived: the background worker makes sheets behind the
change log, and empties one of which most is gone; no delivery and no expunge waits for that, and without sheets all is
read from the rows. Must never say anything of a message that its rows do not say now.

    frame = zstd of: kind 1 | count 2 | UIDs, 4 each | for each field where it ends in each line, 4 each | lines

Numbers are little-endian, the frame has a checksum.
"""

import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, compress, groupby
from operator import add
from typing import NamedTuple

import zstandard

from congvu.codec.imap import internal_date
from congvu.db.engine import Tx
from congvu.mailstore import changes, outline

UIDS = 512  # of one run
LEAST = UIDS // 2  # messages for which a sheet is made
LARGEST = 2 << 20  # bytes of lines; letters with longer headers than that are read from their rows
AT_ONCE = 8  # runs drawn up in one transaction: some tens of milliseconds
_LEVEL = 3
_KIND = 1
_HEAD = struct.Struct("<BH")
_LINE = b"UID %d INTERNALDATE %b RFC822.SIZE %d ENVELOPE %b BODYSTRUCTURE %b"
_DAMAGE = (zstandard.ZstdError, MemoryError, struct.error)


class Field(IntEnum):
    """The fields of a line, in their order."""

    UID = 0
    INTERNALDATE = 1
    SIZE = 2
    ENVELOPE = 3
    STRUCTURE = 4


class Run(NamedTuple):
    """512 UIDs of a mailbox."""

    account_id: int
    mailbox_id: int
    number: int

    @property
    def uids(self) -> tuple[int, int]:
        """The first and the last."""
        return self.number * UIDS + 1, (self.number + 1) * UIDS


Message = tuple[int, int, int, bytes, bytes]  # UID, INTERNALDATE, size, ENVELOPE, BODYSTRUCTURE


class Drawn(NamedTuple):
    """A sheet, ready to be kept; a blank one where none is worth it."""

    run: Run
    letters: int
    frame: bytes


class _Tools(threading.local):
    """Not for two threads at once."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_tools = _Tools()


def run_of(uid: int) -> int:
    return (uid - 1) // UIDS


# ---- one sheet


@dataclass(frozen=True, slots=True)
class Sheet:
    """One that is open: what its frame holds."""

    uids: tuple[int, ...]
    whole: bytes

    def _ends(self, field: Field) -> tuple[int, ...]:
        """Where the field ends in each line; between two fields lies a space."""
        return _column(self.whole, len(self.uids), 1 + field)

    def cut(self, first: Field, last: Field, uids: Sequence[int]) -> list[bytes] | None:
        """The fields from `first` to `last` of these messages (ascending); None when one of them is not on it."""
        starts = list(accumulate(self._ends(Field.STRUCTURE), initial=_lines_at(len(self.uids))))
        ends = starts[1:] if last is Field.STRUCTURE else list(map(add, starts, self._ends(last)))
        if first is not Field.UID:
            starts = [start + end + 1 for start, end in zip(starts, self._ends(Field(first - 1)), strict=False)]
        whole = self.whole
        found = [whole[start:end] for start, end in zip(starts, ends, strict=False)]
        if self.uids == uids:
            return found
        wanted = set(uids)
        found = list(compress(found, [uid in wanted for uid in self.uids]))
        return found if len(found) == len(uids) else None


def _lines_at(count: int) -> int:
    return _HEAD.size + 4 * count * (1 + len(Field))


def _column(whole: bytes, count: int, number: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}I", whole, _HEAD.size + 4 * count * number)


def pack(messages: Iterable[Message]) -> bytes:
    """The frame of messages, ascending, one at least."""
    uids, lines, ends = [], [], []
    for uid, received, size, envelope, structure in messages:
        line = _LINE % (uid, internal_date(received).encode(), size, envelope, structure)
        end = len(line)
        of_envelope = end - len(structure) - len(b" BODYSTRUCTURE ")
        of_size = of_envelope - len(envelope) - len(b" ENVELOPE ")
        of_date = of_size - len(b" RFC822.SIZE %d" % size)
        ends.append((len(b"UID %d" % uid), of_date, of_size, of_envelope, end))
        uids.append(uid)
        lines.append(line)
    columns = [struct.pack(f"<{len(uids)}I", *column) for column in (uids, *zip(*ends, strict=True))]
    return _tools.compressor.compress(b"".join((_HEAD.pack(_KIND, len(uids)), *columns, *lines)))


def unpack(frame: bytes) -> Sheet:
    """Raises `ValueError`: damaged."""
    try:
        whole = _tools.decompressor.decompress(frame)
        kind, count = _HEAD.unpack_from(whole)
        lines = sum(_column(whole, count, len(Field)))
        uids = _column(whole, count, 0)
    except _DAMAGE as error:
        raise ValueError(f"a sheet that cannot be read: {error}") from error
    if kind != _KIND or len(whole) != _lines_at(count) + lines:
        raise ValueError("a sheet of another kind, or cut short")
    return Sheet(uids, whole)


# ---- reading


def find(tx: Tx, run: Run) -> Sheet | None:
    """None where there is none, or a damaged one."""
    row = tx.one("SELECT frame FROM sheet WHERE account_id = ? AND mailbox_id = ? AND run = ? AND letters > 0", *run)
    try:
        return unpack(row[0]) if row else None
    except ValueError:
        return None


# ---- making them


def accounts(tx: Tx) -> list[int]:
    """Those who have a full run."""
    rows = tx.all("SELECT DISTINCT account_id FROM mailbox WHERE uid_next > ? ORDER BY account_id", UIDS)
    return [row[0] for row in rows]


def due(tx: Tx, of: Sequence[int]) -> list[Run]:
    """Runs of these accounts that are full, hold messages, and were not looked at yet; some of them when they are
    many."""
    rows = tx.all(
        "SELECT b.account_id, b.id, b.uid_next, (SELECT max(s.run) FROM sheet s WHERE s.account_id = b.account_id"
        " AND s.mailbox_id = b.id) FROM mailbox b WHERE b.account_id IN (?*) AND b.uid_next > ?",
        list(of),
        UIDS,
    )
    found: list[Run] = []
    for account, box, following, last in rows:
        number, full = 0 if last is None else last + 1, run_of(following)
        while number < full and len(found) < AT_ONCE:
            # Numbers may be skipped by the million: only where there are messages is anything to be done.
            (uid,) = tx.all(
                "SELECT min(uid) FROM message WHERE account_id = ? AND mailbox_id = ? AND uid > ?",
                account,
                box,
                number * UIDS,
            )[0]
            number = full if uid is None else run_of(uid)
            if number < full:
                found.append(Run(account, box, number))
            number += 1
    return found


def draw(tx: Tx, runs: Iterable[Run]) -> list[Drawn]:
    """What is to be kept of these runs."""
    drawn = []
    for run in runs:
        messages = _messages(tx, run)
        worth = len(messages) >= LEAST and sum(len(of[3]) + len(of[4]) for of in messages) <= LARGEST
        drawn.append(Drawn(run, len(messages), pack(messages)) if worth else Drawn(run, 0, b""))
    return drawn


def _messages(tx: Tx, run: Run) -> list[Message]:
    """None of them when a letter's row is missing or damaged."""
    rows = tx.all(
        "SELECT m.uid, m.received, m.size, l.outline, l.envelope FROM message m LEFT JOIN letter l"
        " ON l.id = m.letter_id WHERE m.account_id = ? AND m.mailbox_id = ? AND m.uid BETWEEN ? AND ? ORDER BY m.uid",
        run.account_id,
        run.mailbox_id,
        *run.uids,
    )
    envelopes, structures = outline.heads([row[3] for row in rows], [row[4] for row in rows])
    found = [
        (row[0], row[1], row[2], envelope, structure)
        for row, envelope, structure in zip(rows, envelopes, structures, strict=True)
        if envelope is not None and structure is not None
    ]
    return found if len(found) == len(rows) else []


def keep(tx: Tx, drawn: Sequence[Drawn]) -> None:
    """Whoever did the same meanwhile has done it; a mailbox that has gone meanwhile gets none."""
    changes.hold(tx, sorted({each.run.account_id for each in drawn}))
    for (account, box), some in groupby(drawn, lambda each: each.run[:2]):
        if tx.one("SELECT 1 FROM mailbox WHERE account_id = ? AND id = ?", account, box):
            tx.many(
                "INSERT INTO sheet (account_id, mailbox_id, run, letters, frame) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (account_id, mailbox_id, run) DO NOTHING",
                [(*each.run, each.letters, each.frame) for each in some],
            )


# ---- and letting them go


def worn(tx: Tx, account_id: int, touched: Iterable[tuple[int, int, int]]) -> list[Run]:
    """Of the runs from which messages went (mailbox, first run, last run) those whose sheet has lost most of its."""
    found: dict[Run, None] = {}
    for box, first, last in touched:
        for number, letters in tx.all(
            "SELECT run, letters FROM sheet WHERE account_id = ? AND mailbox_id = ? AND run BETWEEN ? AND ?"
            " AND letters > 0",
            account_id,
            box,
            first,
            last,
        ):
            run = Run(account_id, box, number)
            (left,) = tx.all(
                "SELECT count(*) FROM message WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ?",
                account_id,
                box,
                *run.uids,
            )[0]
            if 2 * left < letters:
                found[run] = None
    return list(found)


def clear(tx: Tx, runs: Sequence[Run]) -> None:
    tx.many(
        "UPDATE sheet SET letters = 0, frame = ? WHERE account_id = ? AND mailbox_id = ? AND run = ?",
        [(b"", *run) for run in runs],
    )


def forget(tx: Tx, account_id: int, mailbox_id: int) -> None:
    """With their mailbox."""
    tx.run("DELETE FROM sheet WHERE account_id = ? AND mailbox_id = ?", account_id, mailbox_id)


# ---- checking


def faults(tx: Tx, account_id: int | None = None) -> Iterator[tuple[Run, str]]:
    """Sheets of one account, or of all, that do not say what the rows say."""
    where, values = ("", ()) if account_id is None else (" WHERE s.account_id = ?", (account_id,))
    for account, box, number, letters, frame, following in tx.each(
        "SELECT s.account_id, s.mailbox_id, s.run, s.letters, s.frame, b.uid_next FROM sheet s"  # noqa: S608  constant
        f" LEFT JOIN mailbox b ON b.account_id = s.account_id AND b.id = s.mailbox_id{where}",
        *values,
    ):
        run = Run(account, box, number)
        if following is None or number < 0 or following <= run.uids[1]:
            yield run, f"account {account} mailbox {box}: has a sheet of UIDs {run.uids} but not so many UIDs"
        elif letters or frame:
            wrong = _wrong(tx, run, letters, frame)
            if wrong:
                yield run, f"account {account} mailbox {box}: the sheet of UIDs {run.uids} {wrong}"


def _wrong(tx: Tx, run: Run, letters: int, frame: bytes) -> str:
    try:
        sheet = unpack(frame)
    except ValueError:
        return "cannot be read"
    if len(sheet.uids) != letters:
        return f"has {len(sheet.uids)} messages, not {letters}"
    messages = _messages(tx, run)
    if not messages:  # nothing is there any more; or a letter is damaged, which is told of it itself
        return ""
    true = unpack(pack(messages))
    told = sheet.cut(Field.UID, Field.STRUCTURE, true.uids)
    if told is None:
        return "lacks messages"
    return "" if told == true.cut(Field.UID, Field.STRUCTURE, true.uids) else "does not say what their rows say"
