"""The arguments of QUOTA (RFC 9208) and METADATA (RFC 5464): what IMAP keeps of a mailbox besides its messages.

Errors are `Bad` and `TooBig` only; lists and names are bounded.
"""

import re
from dataclasses import dataclass

from congvu.codec.imap_words import TooBig, Words

MAX_ENTRIES = 100  # of one command
MAX_NAME = 255  # characters of an entry's name
_OPTIONS = frozenset({"MAXSIZE", "DEPTH"})
_DEPTHS = {"0": 0, "1": 1, "INFINITY": 2}
# rfc5464 3.2: no wildcards, no empty levels, ASCII that can be seen
_NAME = re.compile(r"/(?:private|shared)(?:/[\x21-\x24\x26-\x29\x2b-\x2e\x30-\x7e]+)+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class GetQuota:
    """GETQUOTA."""

    root: str


@dataclass(frozen=True, slots=True)
class SetQuota:
    """SETQUOTA: resources in capitals with their limits."""

    root: str
    limits: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """GETMETADATA. `mailbox` "" stands for the server. `entries` as written; `depth`: 0, 1, or 2 for infinity."""

    mailbox: str
    entries: tuple[str, ...]
    max_size: int | None
    depth: int


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """SETMETADATA: a value None removes."""

    mailbox: str
    values: tuple[tuple[str, bytes | None], ...]


def get_quota(w: Words) -> GetQuota:
    w.space()
    root = w.text()
    w.end()
    return GetQuota(root)


def set_quota(w: Words) -> SetQuota:
    w.space()
    root = w.text()
    w.space()
    w.expect(b"(")
    limits: list[tuple[str, int]] = []
    while not w.skip(b")"):
        if limits:
            w.space()
        if len(limits) == MAX_ENTRIES:
            raise TooBig("list too long")
        name = w.word()
        w.space()
        limits.append((name, w.number()))
    w.end()
    return SetQuota(root, tuple(limits))


def get_metadata(w: Words) -> GetMetadata:
    """Options before the mailbox, as the grammar has it, or behind it, as many clients do."""
    w.space()
    options: dict[str, int] = {}
    if w.peek() == b"(":
        options = _options(w)
        w.space()
    mailbox = w.mailbox()
    w.space()
    if w.peek() == b"(" and w.data[w.at + 1 : w.at + 8].upper().startswith((b"MAXSIZE", b"DEPTH")):
        options |= _options(w)
        w.space()
    names = entries(w) if w.peek() == b"(" else (_entry(w),)
    w.end()
    return GetMetadata(mailbox, names, options.get("MAXSIZE"), options.get("DEPTH", 0))


def _options(w: Words) -> dict[str, int]:
    w.expect(b"(")
    found: dict[str, int] = {}
    while not w.skip(b")"):
        if found:
            w.space()
        name = w.word()
        if name not in _OPTIONS or name in found:
            w.bad("MAXSIZE or DEPTH")
        w.space()
        if name == "MAXSIZE":
            found[name] = w.number()
        else:
            depth = _DEPTHS.get(w.word())
            found[name] = w.bad("0, 1 or infinity") if depth is None else depth
    return found


def entries(w: Words) -> tuple[str, ...]:
    """`(/private/comment /shared/comment)`."""
    w.expect(b"(")
    names: dict[str, None] = {}
    while not w.skip(b")"):
        if names:
            w.space()
        if len(names) == MAX_ENTRIES:
            raise TooBig("too many entries")
        names[_entry(w)] = None
    if not names:
        w.bad("entry")
    return tuple(names)


def set_metadata(w: Words) -> SetMetadata:
    w.space()
    mailbox = w.mailbox()
    w.space()
    w.expect(b"(")
    values: list[tuple[str, bytes | None]] = []
    while not w.skip(b")"):
        if values:
            w.space()
        if len(values) == MAX_ENTRIES:
            raise TooBig("too many entries")
        name = _entry(w)
        w.space()
        if w.data[w.at : w.at + 3].upper() == b"NIL":
            w.at += 3
            values.append((name, None))
        else:
            values.append((name, w.string()))
    if not values:
        w.bad("entry")
    w.end()
    return SetMetadata(mailbox, tuple(values))


def _entry(w: Words) -> str:
    name = w.text()
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        w.bad("entry below /private or /shared")
    return name
