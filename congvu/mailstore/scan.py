"""Looking through all messages of a mailbox: conditions on message rows, columns of their letters, UIDs of letters.

Every function looks at one range of UIDs that the caller bounds, and gives ascending UIDs. What a row can tell is
decided by the engine, so that fifty thousand messages cost some milliseconds; only text is looked at here.
"""

import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

from congvu.base.vietnamese import fold
from congvu.db.engine import Tx
from congvu.mailstore import outline

_FEW = 2_000  # letters that are looked up one by one; with more of them the mailbox is read once
# Conditions joined side by side; more are joined in groups. a AND b AND c … is as deep as it is long to an engine, and
# SQLite takes no more than a thousand.
_WIDE = 8
# Characters of a pattern: compiling a longer one costs more time and memory than folding the texts.
_PATTERN_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Condition:
    """What message rows must satisfy: a boolean expression of this module's own making, and its values."""

    sql: str
    values: tuple[object, ...] = ()


def has_flag(bit: int) -> Condition:
    return Condition("(flags & ?) <> 0", (bit,))


def has_keyword(word: str) -> Condition:
    """Keywords are compared without regard to case (rfc9051 2.3.2)."""
    escaped = word.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return Condition("' ' || lower(keywords) || ' ' LIKE ? ESCAPE '\\'", (f"% {escaped} %",))


def larger(size: int) -> Condition:
    return Condition("size > ?", (size,))


def smaller(size: int) -> Condition:
    return Condition("size < ?", (size,))


def received_since(when: int) -> Condition:
    return Condition("received >= ?", (when,))


def saved_since(when: int) -> Condition:
    return Condition("saved >= ?", (when,))


def letter_is(letter_id: int) -> Condition:
    return Condition("letter_id = ?", (letter_id,))


def thread_is(thread_id: int) -> Condition:
    return Condition("thread_id = ?", (thread_id,))


def modseq_from(modseq: int) -> Condition:
    return Condition("modseq >= ?", (modseq,))


def uid_from(uid: int) -> Condition:
    return Condition("uid >= ?", (uid,))


def all_of(conditions: Sequence[Condition]) -> Condition:
    return _joined(" AND ", conditions)


def any_of(conditions: Sequence[Condition]) -> Condition:
    return _joined(" OR ", conditions)


def none_of(condition: Condition) -> Condition:
    return Condition(f"NOT ({condition.sql})", condition.values)


def _joined(word: str, conditions: Sequence[Condition]) -> Condition:
    texts = [f"({each.sql})" for each in conditions]
    while len(texts) > _WIDE:
        texts = [f"({word.join(texts[at : at + _WIDE])})" for at in range(0, len(texts), _WIDE)]
    return Condition(word.join(texts), tuple(v for each in conditions for v in each.values))


def select(tx: Tx, account_id: int, mailbox_id: int, low: int, high: int, condition: Condition) -> list[int]:
    """The UIDs from `low` to `high` whose rows satisfy the condition."""
    # Only this module's own words are in the text; values are bound.
    sql = (
        f"SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ? AND ({condition.sql})"  # noqa: S608
    )
    return [row[0] for row in tx.all(f"{sql} ORDER BY uid", account_id, mailbox_id, low, high, *condition.values)]


def changed(tx: Tx, account_id: int, mailbox_id: int, modseq: int) -> "array[int]":
    """The UIDs of messages changed after `modseq` (rfc7162 CHANGEDSINCE)."""
    rows = tx.each(
        "SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? AND modseq > ? ORDER BY uid",
        account_id,
        mailbox_id,
        modseq,
    )
    return array("I", (row[0] for row in rows))


def highest_modseq(tx: Tx, account_id: int, mailbox_id: int, uids: Collection[int]) -> int:
    """The highest modseq of these messages, 0 when none of them is there."""
    row = tx.one(
        "SELECT max(modseq) FROM message WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*)",
        account_id,
        mailbox_id,
        list(uids),
    )
    return int(row[0] or 0) if row else 0


def uids_of(tx: Tx, account_id: int, mailbox_id: int, letters: Collection[int]) -> "array[int]":
    """Where these letters lie in one mailbox."""
    if len(letters) <= _FEW:
        rows = tx.all(
            "SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? AND letter_id IN (?*) ORDER BY uid",
            account_id,
            mailbox_id,
            list(letters),
        )
        return array("I", (row[0] for row in rows))
    wanted = letters if isinstance(letters, set | frozenset) else set(letters)
    each = tx.each(
        "SELECT uid, letter_id FROM message WHERE account_id = ? AND mailbox_id = ? ORDER BY uid",
        account_id,
        mailbox_id,
    )
    return array("I", (uid for uid, letter in each if letter in wanted))


class Column(Enum):
    """What can be seen of a message and of its letter without reading the letter's bytes."""

    __hash__ = object.__hash__  # Enum's own is written in Python, and every FETCH asks for some twenty

    UID = "m.uid"
    LETTER = "m.letter_id"
    THREAD = "m.thread_id"
    MODSEQ = "m.modseq"
    FLAGS = "m.flags"
    KEYWORDS = "m.keywords"
    RECEIVED = "m.received"
    SAVED = "m.saved"
    SIZE = "m.size"
    SUBJECT = "l.subject"
    SENDER = "l.sender"
    RECIPIENTS = "l.recipients"
    PREVIEW = "l.preview"  # RFC 8970
    ENVELOPE = "envelope"  # these two are unpacked from l.outline
    STRUCTURE = "structure"


_OUTLINED = frozenset((Column.ENVELOPE, Column.STRUCTURE))


def _names(columns: tuple[Column, ...]) -> str:
    """What is read for these columns; `_opened` makes them of it."""
    plain = [each.value for each in columns if each not in _OUTLINED]
    return ", ".join(plain if len(plain) == len(columns) else [*plain, "l.outline", "l.envelope"])


def _opened(rows: list[tuple[Any, ...]], columns: tuple[Column, ...]) -> list[tuple[Any, ...]]:
    if not rows or _OUTLINED.isdisjoint(columns):
        return rows
    *plain, packed, envelopes = zip(*rows, strict=True)
    opened = dict(zip((Column.ENVELOPE, Column.STRUCTURE), outline.heads(packed, envelopes), strict=True))
    left = iter(plain)
    values: list[Iterable[Any]] = [opened[each] if each in opened else next(left) for each in columns]
    return list(zip(*values, strict=True))


@lru_cache(maxsize=256)
def _table(columns: tuple[Column, ...]) -> str:
    names = _names(columns)
    joined = " LEFT JOIN letter l ON l.id = m.letter_id" if "l." in names else ""
    return (
        f"SELECT {names} FROM message m{joined} WHERE m.account_id = ? AND m.mailbox_id = ?"  # noqa: S608  constants
        " AND m.uid BETWEEN ? AND ? ORDER BY m.uid"
    )


def table(
    tx: Tx, account_id: int, mailbox_id: int, low: int, high: int, columns: tuple[Column, ...]
) -> list[tuple[Any, ...]]:
    """These columns of the messages with UIDs from `low` to `high`, ascending. The caller bounds the range.

    What stands with a letter is None where the letter's row is missing or damaged.
    """
    return _opened(tx.all(_table(columns), account_id, mailbox_id, low, high), columns)


def marks(tx: Tx, account_id: int, mailbox_id: int, low: int, high: int) -> tuple[list[str], int]:
    """Flags and keywords, as in "5 $Forwarded", of the messages with UIDs from `low` to `high`, ascending, and how many
    they are; where all are alike, it is told once. The caller bounds the range.

    One text for all of them costs half of what as many rows do; no keyword holds the end of a line.
    """
    row = tx.one(
        "SELECT string_agg(flags || ' ' || keywords, '\n') FROM (SELECT flags, keywords FROM message"
        " WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ? ORDER BY uid) AS part",
        account_id,
        mailbox_id,
        low,
        high,
    )
    if row is None or row[0] is None:
        return [], 0
    text: str = row[0]
    count = text.count("\n") + 1
    first = text.partition("\n")[0]
    if text == "\n".join([first] * count):
        return [first], count
    return text.split("\n"), count


def column(tx: Tx, account_id: int, mailbox_id: int, uids: Collection[int], wanted: Column) -> list[tuple[int, Any]]:
    """UID and one value for each of these messages; where they lie close, also for those that lie between."""
    low, high = min(uids), max(uids)
    close = high - low < 4 * len(uids)
    columns = (Column.UID, wanted)
    rows = tx.all(
        f"SELECT {_names(columns)} FROM message m JOIN letter l ON l.id = m.letter_id"  # noqa: S608  constants
        f" WHERE m.account_id = ? AND m.mailbox_id = ? AND m.uid {'BETWEEN ? AND ?' if close else 'IN (?*)'}"
        " ORDER BY m.uid",
        account_id,
        mailbox_id,
        *((low, high) if close else (list(uids),)),
    )
    return [(uid, value) for uid, value in _opened(rows, columns) if value is not None]


@cache
def _shapes() -> dict[str, str]:
    """For each ASCII character all characters of the alphabets' blocks that `fold` makes it of."""
    shapes: dict[str, str] = {}
    for code in (*range(0x20, 0x250), *range(0x1E00, 0x1F00), 0x212A, 0x212B):
        folded = fold(chr(code))
        if len(folded) == 1 and folded.isascii():
            shapes[folded] = shapes.get(folded, "") + chr(code)
    return shapes


@lru_cache(maxsize=64)
def _pattern(needle: str) -> re.Pattern[str]:
    """Finds in raw text what `needle`, folded and ASCII, would be found for in folded text."""
    shapes = _shapes()
    classes = (f"[{re.escape(shapes.get(character, character))}]" for character in needle)
    return re.compile("[\u0300-\u036f]*+".join(classes))


def containing(found: Sequence[tuple[int, str]], needle: str) -> list[int]:
    """The UIDs whose text, one line each, holds `needle`, which is already folded."""
    if needle.isascii() and 0 < len(needle) <= _PATTERN_LENGTH:
        # One pattern over all texts as they are costs a fifth of folding them.
        lines = [text for _, text in found]
        joined = "\n".join(lines)
        if joined.count("\n") == len(found) - 1 and "\n" not in needle:
            ends = list(accumulate(map(len, lines), lambda end, length: end + 1 + length))
            uids = []
            match = _pattern(needle).search(joined)
            while match:
                at = bisect_left(ends, match.end())
                uids.append(found[at][0])
                match = _pattern(needle).search(joined, ends[at] + 1)
            return uids
    return [uid for uid, text in found if needle in fold(text)]
