"""IMAP input, lower half: a command assembled from lines and literals, and the words it is made of.

A command is kept as it came, literals in place, in one piece of bounded size; `Words` walks over it. Pure: no socket.
The only errors are `Bad` (a syntax error, rfc9051 BAD) and what derives from it.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import NoReturn

from congvu.codec.imap import FLAG_BITS, MONTHS, SequenceSet
from congvu.codec.imap_names import decode_utf7

MAX_RANGES = 60_000  # of one sequence set: what a command of the largest size can hold, at some 100 bytes each
MAX_FLAGS = 200  # keywords of one STORE or APPEND: as many as a mailbox may know
MAX_KEYWORD = 100  # characters of one keyword
MAX_NUMBER = 2**63 - 1  # modseq is 63 bits (rfc7162 3)


class Bad(Exception):
    """A command that is not IMAP. The text is for the client's programmer."""


class TooBig(Bad):
    """A command beyond its bounds."""


class TooLong(TooBig):
    """A command of too many bytes."""


class BadCharset(Bad):
    """A search in a charset that is not spoken: NO [BADCHARSET]."""


@dataclass(frozen=True, slots=True)
class Literal:
    """An announced literal: the client waits for "+" when `waits`; `binary` for literal8 (RFC 3516)."""

    size: int
    waits: bool
    binary: bool
    start: int  # where in its line the announcement begins


_ANNOUNCED = re.compile(rb"(~?)\{(\d{1,20})(\+?)\}\Z")


def literal_at_end(line: bytes) -> Literal | None:
    """The literal that a line (without its CRLF) announces. Cannot be mistaken: a quoted string never spans lines."""
    found = _ANNOUNCED.search(line) if line.endswith(b"}") else None
    return found and Literal(int(found[2]), not found[3], bool(found[1]), found.start())


class Assembly:
    """One command while it is read: lines and literals in turn, never beyond `limit` bytes in all."""

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def line(self, line: bytes) -> Literal | None:
        """Adds a line without its CRLF. The literal that must follow, or None when the command is complete.

        Raises `TooLong` when line or literal would exceed the limit; the literal has then not been read.
        """
        literal = literal_at_end(line)
        self._add(line, literal.size if literal else 0)
        if literal:
            self._pieces.append(b"\r\n")
        return literal

    def literal(self, data: bytes) -> None:
        """Adds the literal's bytes."""
        self._add(data, 0)

    def room(self) -> int:
        """How long the next line may be."""
        return max(self._limit - self._size, 0)

    def command(self) -> bytes:
        """All of it."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _add(self, data: bytes, ahead: int) -> None:
        if self._size + len(data) + ahead > self._limit:
            raise TooLong("command too long")
        self._size += len(data)
        self._pieces.append(data)


_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]{1,100}")
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f(){%*\"\\]+")  # bytes of UTF-8 too: some clients forget the quotes
_PATTERN = re.compile(rb"[^\x00-\x20\x7f(){\"\\]+")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
_ESCAPE = re.compile(rb"\\(.)")
_LITERAL = re.compile(rb"~?\{(\d{1,20})\+?\}\r\n")
_NUMBER = re.compile(rb"\d{1,19}")
_SET = re.compile(rb"(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?(?:,(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?)*")
_PARTIAL = re.compile(rb"(-?)(\d{1,10}):(-?)(\d{1,10})")
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}")
_KEYWORD = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_DATE = re.compile(rb"(\d{1,2})-([A-Za-z]{3})-(\d{4})")
_DATE_TIME = re.compile(rb'"([ \d]\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)"')
_MONTH = {name.upper().encode(): number for number, name in enumerate(MONTHS, 1)}


def tag_of(head: bytes) -> str:
    """The tag at the beginning of a line of which no more is known, "*" when it has none."""
    found = _TAG.match(head)
    return found[0].decode() if found and head[found.end() : found.end() + 1] == b" " else "*"


class Words:
    """Walks over one command. Each method takes one word or raises `Bad`. `utf8`: mailbox names are UTF-8; those that
    came in another form than NFC are in `given` under what they were read as."""

    __slots__ = ("at", "data", "given", "utf8")

    def __init__(self, data: bytes, utf8: bool = False, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.utf8 = utf8
        self.given: dict[str, str] = {}

    def bad(self, wanted: str) -> NoReturn:
        raise Bad(f"{wanted} expected at byte {self.at}")

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        found = pattern.match(self.data, self.at)
        if found:
            self.at = found.end()
        return found

    def peek(self) -> bytes:
        """The next byte, b"" at the end."""
        return self.data[self.at : self.at + 1]

    def skip(self, text: bytes) -> bool:
        """Takes `text` when it comes next."""
        if self.data.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def space(self) -> None:
        if not self.skip(b" "):
            self.bad("space")

    def expect(self, text: bytes) -> None:
        if not self.skip(text):
            self.bad(text.decode())

    def end(self) -> None:
        """Nothing may follow but spaces, which sloppy clients send."""
        while self.skip(b" "):
            pass
        if self.at != len(self.data):
            self.bad("end of command")

    def at_end(self) -> bool:
        return self.at >= len(self.data)

    def tag(self) -> str:
        found = self.take(_TAG)
        return found[0].decode() if found else self.bad("tag")

    def word(self) -> str:
        """An atom in capitals."""
        found = self.take(_ATOM)
        return found[0].decode().upper() if found else self.bad("word")

    def word_list(self, most: int = 50) -> tuple[str, ...]:
        """`(A B C)`, in capitals, possibly empty."""
        self.expect(b"(")
        found: list[str] = []
        while not self.skip(b")"):
            if found:
                self.space()
            if len(found) == most:
                raise TooBig("list too long")
            found.append(self.word())
        return tuple(found)

    def string(self) -> bytes:
        """A quoted string or a literal."""
        if found := self.take(_QUOTED):
            return _ESCAPE.sub(rb"\1", found[1]) if b"\\" in found[1] else found[1]
        if found := self.take(_LITERAL):
            size = int(found[1])
            data = self.data[self.at : self.at + size]
            if len(data) < size:
                self.bad("literal")
            self.at += size
            return data
        return self.bad("string")

    def astring(self) -> bytes:
        found = self.take(_ASTRING)
        return found[0] if found else self.string()

    def text(self) -> str:
        """An astring as text in NFC."""
        return self._decoded(self.astring())

    def nstring(self) -> str | None:
        if self.data[self.at : self.at + 3].upper() == b"NIL":
            self.at += 3
            return None
        return self._decoded(self.string())

    def mailbox(self) -> str:
        return self._name(self.astring())

    def pattern(self) -> str:
        """list-mailbox: as an astring, with wildcards."""
        found = self.take(_PATTERN)
        return self._name(found[0] if found else self.string())

    def number(self) -> int:
        found = self.take(_NUMBER)
        return int(found[0]) if found and int(found[0]) <= MAX_NUMBER else self.bad("number")

    def partial_range(self) -> tuple[int, int]:
        """What follows PARTIAL (rfc9394 4): `1:500`, or `-1:-500` counted from the end; the nearer end comes first."""
        found = self.take(_PARTIAL)
        if found is None:
            self.bad("range")
        ends = sorted((int(found[2]), int(found[4])))
        if found[1] != found[3] or not 0 < ends[0] <= ends[1] < 2**32:
            self.bad("range")
        sign = -1 if found[1] else 1
        return sign * ends[0], sign * ends[1]

    def object_id(self) -> str:
        """rfc8474 7."""
        found = self.take(_OBJECT_ID)
        return found[0].decode() if found else self.bad("identifier")

    def sequence_set(self) -> SequenceSet:
        if self.skip(b"$"):
            return SequenceSet((), saved=True)
        found = self.take(_SET)
        if not found:
            self.bad("sequence set")
        text = found[0]
        if text.count(b",") >= MAX_RANGES:
            raise TooBig("sequence set too long")
        return SequenceSet(tuple(_range(item) for item in text.split(b",")))

    def flags(self, bare: bool = False) -> tuple[int, tuple[str, ...]]:
        """`(\\Seen $Forwarded)`; without parentheses when `bare` allows it (STORE)."""
        bits, keywords = 0, dict[str, None]()
        listed = self.skip(b"(")
        if not listed and not bare:
            self.bad("list of flags")
        while not (listed and self.skip(b")")):
            found = self.take(_KEYWORD)
            if not found:
                self.bad("flag")
            name = found[0].decode()
            if name.upper() in FLAG_BITS:
                bits |= FLAG_BITS[name.upper()]
            elif name.upper() == "\\RECENT":
                pass  # the server's own (rfc3501 2.3.2): clients that echo it are forgiven
            elif name.startswith("\\"):
                raise Bad("unknown system flag")
            else:
                keywords[name] = None
            if len(name) > MAX_KEYWORD or len(keywords) > MAX_FLAGS:
                raise TooBig("too many or too long flags")
            if not self.skip(b" ") and not (listed and self.peek() == b")"):
                if listed:
                    self.bad(")")
                break
        return bits, tuple(keywords)

    def day(self) -> int:
        """A date as days since 1970-01-01."""
        quoted = self.skip(b'"')
        found = self.take(_DATE)
        if not found or (quoted and not self.skip(b'"')):
            self.bad("date")
        try:
            return date(int(found[3]), _MONTH[found[2].upper()], int(found[1])).toordinal() - 719_163
        except (KeyError, ValueError):
            return self.bad("date")

    def date_time(self) -> int:
        """A date-time as seconds since 1970."""
        found = self.take(_DATE_TIME)
        if not found:
            self.bad("date and time")
        try:
            zone = timedelta(hours=int(found[8]), minutes=int(found[9])) * (-1 if found[7] == b"-" else 1)
            day, hour, minute = (int(found[n]) for n in (1, 4, 5))
            second = min(int(found[6]), 59)  # a leap second is the one before
            at = datetime(int(found[3]), _MONTH[found[2].upper()], day, hour, minute, second, tzinfo=timezone(zone))
            return int(at.astimezone(UTC).timestamp())
        except (KeyError, ValueError, OverflowError):
            return self.bad("date and time")

    def _name(self, raw: bytes) -> str:
        name = self._decoded(raw)
        if not name.isascii() and (given := raw.decode()) != name:
            self.given[name] = given
        if self.utf8 or "&" not in name:
            return name
        name = unicodedata.normalize("NFC", decode_utf7(name))
        if "\0" in name:  # as everywhere: not every engine takes one
            raise Bad("NUL in a string")
        return name

    def _decoded(self, raw: bytes) -> str:
        if b"\0" in raw:
            raise Bad("NUL in a string")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise Bad("string is not UTF-8") from None
        return text if text.isascii() else unicodedata.normalize("NFC", text)


def _range(item: bytes) -> tuple[int | None, int | None]:
    low, colon, high = item.partition(b":")
    first = _end(low)
    return first, _end(high) if colon else first


def _end(text: bytes) -> int | None:
    if text == b"*":
        return None
    number = int(text)
    if not 0 < number < 2**32:
        raise Bad("message number out of range")
    return number
