"""What SORT and THREAD (RFC 5256, 5957) read of a portion of a mailbox: sorted runs of compact keys, keys of letters.

A key is a byte string whose order is the wanted one; it ends with the UID, so no two are equal. Runs are small and are
put together outside any transaction. Text is folded, so that "Ân", "an" and "ẤN" stand side by side.
"""

import struct
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from heapq import merge

from congvu.base.vietnamese import fold
from congvu.codec.headers import message_ids
from congvu.codec.imap_thread import Letters
from congvu.codec.subjects import base_subject
from congvu.codec.wire import envelope_ids
from congvu.db.engine import Row, Tx
from congvu.mailstore.message import SORT_SUBJECT, thread_keys

TEXT = 200  # bytes of a text by which letters are sorted
_INVERSE = bytes(range(255, -1, -1))
_PAST = 1 << 62  # added to times, which may lie before 1970


class Key(Enum):
    """By what is sorted."""

    ARRIVAL = auto()
    CC = auto()
    DATE = auto()
    FROM = auto()
    SIZE = auto()
    SUBJECT = auto()
    TO = auto()
    DISPLAYFROM = auto()
    DISPLAYTO = auto()


_DATE = "coalesce(l.sent, m.received)"
_READ = {
    Key.ARRIVAL: "m.received",
    Key.SIZE: "m.size",
    Key.DATE: _DATE,
    # After a line end: the whole subject, of a letter from before schema 4. A base subject holds no line end.
    Key.SUBJECT: "coalesce(l.sort_subject, '\n' || l.subject)",
    Key.FROM: "l.sender",
    Key.DISPLAYFROM: "l.sender",
    Key.TO: "l.recipients",
    Key.DISPLAYTO: "l.recipients",
    Key.CC: "l.recipients",
}
_NUMBERS = frozenset({Key.ARRIVAL, Key.SIZE, Key.DATE})


@dataclass(frozen=True, slots=True)
class Run:
    """Sorted keys, one after the other."""

    keys: bytes
    lengths: "array[int]"

    def __iter__(self) -> Iterator[bytes]:
        at = 0
        for length in self.lengths:
            yield self.keys[at : at + length]
            at += length


def run(
    tx: Tx, account_id: int, mailbox_id: int, uids: Collection[int], keys: Sequence[tuple[Key, bool]], room: int
) -> Run:
    """The keys of these messages (which the caller bounds), sorted. `keys`: by what, and whether the other way round;
    `room`: bytes of a key beyond which no difference is seen."""
    wanted = uids if isinstance(uids, set | frozenset) else set(uids)
    columns = dict.fromkeys(_READ[key] for key, _ in keys)
    places = {column: number for number, column in enumerate(columns, 1)}
    rows = [row for row in _rows(tx, account_id, mailbox_id, uids, columns) if row[0] in wanted]
    parts: list[list[bytes]] = []
    for key, reverse in keys:
        at = places[_READ[key]]
        found = _numbers(rows, at) if key in _NUMBERS else [_text(key, row[at]) for row in rows]
        parts.append([part.translate(_INVERSE) for part in found] if reverse else found)
    made = [b"".join(each)[:room] for each in zip(*parts, strict=True)]
    made = [key + row[0].to_bytes(4, "big") for key, row in zip(made, rows, strict=True)]
    made.sort()
    return Run(b"".join(made), array("H", map(len, made)))


def merged(runs: Sequence[Run]) -> Iterator[int]:
    """The UIDs of sorted runs, in order. Whoever walks through a million lets other threads go on."""
    for key in merge(*runs):
        yield int.from_bytes(key[-4:], "big")


def letters(
    tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int], ancestors: int
) -> tuple["array[int]", Letters]:
    """What THREAD needs of these messages (which the caller bounds): the UIDs that are there, and of each at most so
    many ancestors, the nearest."""
    wanted = set(uids)
    there = array("I")
    found = Letters()
    # Letters from before schema 4 have their keys worked out here, as far as they can be: References is not kept.
    old = "CASE WHEN l.thread_keys IS NULL THEN l.{0} END"
    columns = (_DATE, "l.thread_keys", old.format("subject"), old.format("envelope"))
    for uid, date, keys, subject, envelope in _rows(tx, account_id, mailbox_id, uids, columns):
        if uid not in wanted:
            continue
        packed = _old_keys(subject, bytes(envelope)) if keys is None else keys
        known = struct.unpack(f">{len(packed) // 8}Q", packed)
        there.append(uid)
        found.add(date, (*known[:2], *known[2:][-ancestors:]))
    return there, found


def _rows(tx: Tx, account_id: int, mailbox_id: int, uids: Collection[int], columns: Collection[str]) -> list[Row]:
    """UID and columns, by UID; where they lie close, also of those that lie between."""
    low, high = min(uids), max(uids)
    close = high - low < 4 * len(uids)
    joined = "JOIN letter l ON l.id = m.letter_id " if any("l." in column for column in columns) else ""
    return tx.all(
        f"SELECT m.uid, {', '.join(columns)} FROM message m {joined}"  # noqa: S608  constants of this module
        f"WHERE m.account_id = ? AND m.mailbox_id = ? AND m.uid {'BETWEEN ? AND ?' if close else 'IN (?*)'}"
        " ORDER BY m.uid",
        account_id,
        mailbox_id,
        *((low, high) if close else (list(uids),)),
    )


def _numbers(rows: Sequence[Row], at: int) -> list[bytes]:
    pack = struct.Struct(">Q").pack
    return [pack(row[at] + _PAST) for row in rows]


def _text(key: Key, value: str) -> bytes:
    """The sort key of one letter's text: folded, cut, and ended so that "an" stands before "an binh"."""
    match key:
        case Key.SUBJECT:
            text = value if not value.startswith("\n") else fold(base_subject(value).text)[:SORT_SUBJECT]
        case Key.FROM:
            text = fold(first_address(value)[1])
        case Key.DISPLAYFROM:
            text = fold(first_address(value)[0])
        case Key.TO | Key.CC:
            text = fold(first_address(_line(value, key.name))[1])
        case _:
            text = fold(first_address(_line(value, "TO"))[0])
    # In capitals, as i;unicode-casemap has it (rfc5051 2): letters stand before "[" and "_".
    return text.upper().encode("utf-8", "replace")[:TEXT] + b"\0"


def _line(recipients: str, name: str) -> str:
    """`recipients` keeps To and Cc as a line each."""
    name = f"{name.capitalize()}: "
    return next((line[len(name) :] for line in recipients.split("\n") if line.startswith(name)), "")


def first_address(people: str) -> tuple[str, str]:
    """The first of "Name <local@host>, …": what is shown (rfc5957 3: the name, else the address) and its local part."""
    name, bracket, rest = people.partition(" <")
    if bracket and "@" not in name.partition(",")[0]:
        return name, rest.partition("@")[0]
    first = people.partition(",")[0]
    # The first address of a group is its name, as ENVELOPE tells it (rfc9051 7.5.2).
    return first, first.partition("@")[0].partition(":")[0]


def _old_keys(subject: str, envelope: bytes) -> bytes:
    answered, own = envelope_ids(envelope)
    names = [[each.decode("utf-8", "replace") for each in message_ids(value)[:1]] for value in (answered, own)]
    return thread_keys(base_subject(subject), "".join(names[1]), names[0])
