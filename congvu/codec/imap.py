"""IMAP words (RFC 3501, RFC 9051): typed values of what clients say, and the rendering of what is answered.

Pure: no socket, no store. `imap_parse` makes these values from bytes, `imap_names` does mailbox names.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FLAG_NAMES = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")  # bit 0, 1, 2 … of a message's flags
FLAG_BITS = {name.upper(): 1 << bit for bit, name in enumerate(FLAG_NAMES)}
# A mailbox's role and its attribute (RFC 6154). \All and \Flagged are views over other mailboxes: not offered.
USES = {"sent": "\\Sent", "drafts": "\\Drafts", "junk": "\\Junk", "trash": "\\Trash", "archive": "\\Archive"}


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

    `name`: UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE MODSEQ RFC822 RFC822.HEADER RFC822.TEXT
    EMAILID THREADID SAVEDATE PREVIEW, or BODY[] BINARY[] BINARY.SIZE[] with a `section`.
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
    YOUNGER; `day` days since 1970-01-01 of BEFORE, ON, SINCE and the same after SENT and SAVED; `set` of UID and SEQ;
    `field` also the identifier of EMAILID and THREADID.
    """

    name: str
    keys: tuple["SearchKey", ...] = ()
    text: str = ""
    field: str = ""
    number: int = 0
    day: int = 0
    set: SequenceSet | None = None


# What clients say: one value for each form of arguments. The command's name stays outside.


@dataclass(frozen=True, slots=True)
class Nothing:
    """A command without arguments."""


@dataclass(frozen=True, slots=True)
class Login:
    """LOGIN. The password does not show in a repr."""

    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """AUTHENTICATE. `initial`: the initial response of SASL-IR, None when not given."""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Compress:
    """COMPRESS (RFC 4978)."""

    mechanism: str


@dataclass(frozen=True, slots=True)
class Enable:
    """ENABLE: words in capitals."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """ID (RFC 2971)."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Resync:
    """What a client knows of a mailbox (rfc7162 3.2.5): `known` UIDs, None for all; `match`: some numbers and their
    UIDs."""

    uid_validity: int
    modseq: int
    known: SequenceSet | None = None
    match: tuple[SequenceSet, SequenceSet] | None = None


@dataclass(frozen=True, slots=True)
class Select:
    """SELECT and EXAMINE. `params`: names in capitals (CONDSTORE)."""

    mailbox: str
    params: tuple[str, ...]
    resync: Resync | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """DELETE, SUBSCRIBE, UNSUBSCRIBE."""

    mailbox: str


@dataclass(frozen=True, slots=True)
class Create:
    """CREATE. `use`: special uses in lower case without the backslash (RFC 6154 3)."""

    mailbox: str
    use: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rename:
    """RENAME."""

    mailbox: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Listing:
    """LIST and LSUB (RFC 5258, 5819, 6154). `select`, `returns`: options in capitals; `status`: items of STATUS();
    `metadata`: entries of METADATA() (RFC 9590)."""

    reference: str
    patterns: tuple[str, ...]
    select: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """STATUS. `items` in capitals."""

    mailbox: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """SEARCH. `returns`: RETURN options in capitals, ("ALL",) for RETURN (), None when RETURN was not given.

    `charset`: CHARSET was given, of whatever name. `partial`: the range of PARTIAL (RFC 9394), its nearer end first;
    negative numbers count from the end."""

    key: SearchKey
    returns: tuple[str, ...] | None
    charset: bool = False
    partial: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SortKey:
    """`name`: ARRIVAL CC DATE FROM SIZE SUBJECT TO (RFC 5256), DISPLAYFROM DISPLAYTO (RFC 5957)."""

    name: str
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Sort:
    """SORT: distinct keys, and what is sorted. `returns`, `partial`: as of `Search`."""

    keys: tuple[SortKey, ...]
    key: SearchKey
    returns: tuple[str, ...] | None = None
    partial: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """THREAD by `algorithm`, ORDEREDSUBJECT or REFERENCES (RFC 5256)."""

    algorithm: str
    key: SearchKey


@dataclass(frozen=True, slots=True)
class Fetch:
    """FETCH with its modifiers: CHANGEDSINCE and VANISHED (RFC 7162), PARTIAL (RFC 9394; as of `Search`)."""

    set: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None
    partial: tuple[int, int] | None = None
    vanished: bool = False


class StoreOp(Enum):
    """What STORE does with the flags it names."""

    SET = "FLAGS"
    ADD = "+FLAGS"
    REMOVE = "-FLAGS"


@dataclass(frozen=True, slots=True)
class Store:
    """STORE with the modifier of CONDSTORE."""

    set: SequenceSet
    op: StoreOp
    silent: bool
    flags: int
    keywords: tuple[str, ...]
    unchanged_since: int | None


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY and MOVE."""

    set: SequenceSet
    mailbox: str


@dataclass(frozen=True, slots=True)
class Uids:
    """UID EXPUNGE."""

    set: SequenceSet


# What is answered.

_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")


def string(value: str | bytes, utf8: bool = False) -> bytes:
    """A quoted string, or a literal when quotes cannot hold it. `utf8`: quotes may hold more than ASCII."""
    data = value.encode() if isinstance(value, str) else value
    if b"\r" in data or b"\n" in data or b"\0" in data or (not utf8 and not data.isascii()):
        return b"{%d}\r\n%b" % (len(data), data)
    return b'"%b"' % data.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def astring(value: str | bytes, utf8: bool = False) -> bytes:
    """An atom where that is enough, else as `string`."""
    data = value.encode() if isinstance(value, str) else value
    return data if _ATOM.fullmatch(data) and data.upper() != b"NIL" else string(data, utf8)


def internal_date(seconds: int, zone: int = 0) -> str:
    """`"22-Nov-2026 07:05:00 +0700"` with its quotes; `zone` in minutes east."""
    t = datetime(1970, 1, 1) + timedelta(minutes=zone, seconds=seconds)
    sign = "-" if zone < 0 else "+"
    hours, minutes = divmod(abs(zone), 60)
    return f'"{t.day:02d}-{MONTHS[t.month - 1]}-{t.year:04d} {t:%H:%M:%S} {sign}{hours:02d}{minutes:02d}"'
