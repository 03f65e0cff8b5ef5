"""IMAP words (RFC 3501, RFC 9051): typed values of what clients say, and the rendering of what is answered.

Pure: no socket, no store. `imap_parse` makes these values from bytes, `imap_names` does mailbox names.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """`ranges`: pairs low, high, each inclusive, as written; None stands for "*". `saved`: it was "$" (RFC 5182)."""

    ranges: tuple[tuple[int | None, int | None], ...]
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """BODY[part text (fields)]. `part`: (1, 2) for "1.2".

    `text`: "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, MIME.
    """

    part: tuple[int, ...] = ()
    text: str = ""
    fields: tuple[str, ...] = ()  # as written, ASCII
    raw: bytes = b""  # as written between the brackets, for the echo


@dataclass(frozen=True, slots=True)
class FetchItem:
    """One item of FETCH. Macros are already expanded.

    `name`: UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE MODSEQ RFC822 RFC822.HEADER RFC822.TEXT, or BODY[]
    BINARY[] BINARY.SIZE[] with a `section`.
    """

    name: str
    section: Section | None = None
    partial: tuple[int, int] | None = None  # start, count
    peek: bool = False


@dataclass(frozen=True, slots=True)
class SearchKey:
    """One search key. `name`: the keyword in capitals (ALL, BODY, OR, NOT, UID, SEQ for a bare set, AND for a list …).

    `keys` holds child keys (AND any number, OR two, NOT one); `text` a string argument already decoded to str (NFC);
    `field` the header name of HEADER or the keyword of KEYWORD/UNKEYWORD; `number` of LARGER, SMALLER, MODSEQ, OLDER,
    YOUNGER; `day` days since 1970-01-01 of BEFORE, ON, SINCE, SENTBEFORE, SENTON, SENTSINCE; `set` of UID and SEQ.
    """

    name: str
    keys: tuple["SearchKey", ...] = ()
    text: str = ""
    field: str = ""
    number: int = 0
    day: int = 0
    set: SequenceSet | None = None
