"""POP3 words (RFC 1939, 2449, 2595, 5034, 6856): lines to typed commands, answers to bytes, letters to lines.

Promises: what is parsed is bounded by the line that held it; a letter leaves as lines that end in CRLF, dots doubled,
however its bytes were cut, and nothing else of it is changed. Must never wait or decide whether a command is welcome.
"""

import re
from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass, field

from congvu.codec.lines import WEB

COMMAND_LIMIT = 4096  # bytes of a line; rfc2449 4 lets a client send 255, a password in UTF-8 and AUTH may have more
AUTH_LIMIT = 12_288  # rfc5034 4, as SMTP's
ANSWER_LIMIT = 512  # rfc2449 4: bytes of an answer's first line
END = b".\r\n"


class BadCommand(Exception):
    """A line that is no command. `code`: unknown-command, bad-syntax, bad-utf8, bad-base64; not-pop3, after which what
    comes must not be read as commands."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class User:
    name: str


@dataclass(frozen=True, slots=True)
class Pass:
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Auth:
    """`mechanism` "": which are there?"""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stls:
    pass


@dataclass(frozen=True, slots=True)
class Utf8:
    pass


@dataclass(frozen=True, slots=True)
class Lang:
    tag: str  # "" asks for the list


@dataclass(frozen=True, slots=True)
class Capa:
    pass


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class Noop:
    pass


@dataclass(frozen=True, slots=True)
class Rset:
    pass


@dataclass(frozen=True, slots=True)
class Stat:
    pass


@dataclass(frozen=True, slots=True)
class List:
    number: int | None


@dataclass(frozen=True, slots=True)
class Uidl:
    number: int | None


@dataclass(frozen=True, slots=True)
class Retr:
    number: int


@dataclass(frozen=True, slots=True)
class Dele:
    number: int


@dataclass(frozen=True, slots=True)
class Top:
    number: int
    lines: int


Command = User | Pass | Auth | Stls | Utf8 | Lang | Capa | Quit | Noop | Rset | Stat | List | Uidl | Retr | Dele | Top

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"[0-9]{1,10}")
_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TAG = re.compile(r"\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,8}")  # rfc6856 3.2: a basic language range


def parse(line: bytes) -> Command:
    """A line (without its end) as a command. Raises `BadCommand`."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadCommand("bad-utf8") from None
    verb, space, rest = text.partition(" ")
    verb = verb.upper()
    reader = _READERS.get(verb)
    if reader is None:
        raise BadCommand("not-pop3" if verb in WEB else "unknown-command")
    if _CONTROL.search(rest) or (space and not rest.strip(" ") and verb != "PASS"):
        raise BadCommand("bad-syntax")
    return reader(rest if verb == "PASS" else rest.rstrip(" "))


def _user(rest: str) -> Command:
    if not rest:
        raise BadCommand("bad-syntax")
    return User(rest)


def _pass(rest: str) -> Command:
    """All that follows the one space is the password, spaces too (rfc1939 7)."""
    if not rest:
        raise BadCommand("bad-syntax")
    return Pass(rest)


def _auth(rest: str) -> Command:
    mechanism, space, initial = rest.partition(" ")
    if not rest:
        return Auth("", None)
    if not _MECHANISM.fullmatch(mechanism):
        raise BadCommand("bad-syntax")
    if not space:
        return Auth(mechanism.upper(), None)
    return Auth(mechanism.upper(), b"" if initial == "=" else decode_base64(initial.encode()))  # rfc5034 4


def decode_base64(text: bytes) -> bytes:
    """What a client says in an AUTH exchange. Raises `BadCommand`."""
    try:
        return a2b_base64(text, strict_mode=True) if text else b""
    except BinasciiError:
        raise BadCommand("bad-base64") from None


def _lang(rest: str) -> Command:
    if rest and not _TAG.fullmatch(rest):
        raise BadCommand("bad-syntax")
    return Lang(rest.lower())


def _bare(command: Command) -> Callable[[str], Command]:
    def read(rest: str) -> Command:
        if rest:
            raise BadCommand("bad-syntax")
        return command

    return read


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise BadCommand("bad-syntax")
    return int(text)


def _one(kind: type[Retr] | type[Dele]) -> Callable[[str], Command]:
    return lambda rest: kind(_number(rest))


def _some(kind: type[List] | type[Uidl]) -> Callable[[str], Command]:
    return lambda rest: kind(_number(rest) if rest else None)


def _top(rest: str) -> Command:
    number, _, lines = rest.partition(" ")
    return Top(_number(number), _number(lines))


_READERS: dict[str, Callable[[str], Command]] = {
    "USER": _user,
    "PASS": _pass,
    "AUTH": _auth,
    "STLS": _bare(Stls()),
    "UTF8": _bare(Utf8()),
    "LANG": _lang,
    "CAPA": _bare(Capa()),
    "QUIT": _bare(Quit()),
    "NOOP": _bare(Noop()),
    "RSET": _bare(Rset()),
    "STAT": _bare(Stat()),
    "LIST": _some(List),
    "UIDL": _some(Uidl),
    "RETR": _one(Retr),
    "DELE": _one(Dele),
    "TOP": _top,
}


def answer(good: bool, text: str, code: str = "") -> bytes:
    """`+OK text` or `-ERR [code] text`, one line, cut at a character's end where it would be too long."""
    line = f"{'+OK' if good else '-ERR'}{f' [{code}]' if code else ''} {text}".rstrip(" ")
    data = line.replace("\r", " ").replace("\n", " ").encode("utf-8", "replace")
    if len(data) > ANSWER_LIMIT - 2:
        data = data[: ANSWER_LIMIT - 2].decode("utf-8", "ignore").encode()
    return data + b"\r\n"


_BARE_LF = re.compile(rb"(?<!\r)\n")


class DotWriter:
    """Turns a letter's bytes into what follows `+OK` (rfc1939 3): lines that end in CRLF, leading dots doubled.

    A bare LF becomes CRLF, a missing last line end is added. A CR that stands alone is no line end to anybody here and
    stays. `feed` the pieces, then take `end`.
    """

    __slots__ = ("_cr", "_fresh")

    def __init__(self) -> None:
        self._fresh = True  # the next byte begins a line
        self._cr = False  # a CR is held back until it is known what follows

    def feed(self, data: bytes) -> bytes:
        if self._cr:
            data = b"\r" + data
        self._cr = data[-1:] == b"\r"
        if self._cr:
            data = data[:-1]
        if not data:
            return b""
        if data.count(b"\n") != data.count(b"\r\n"):
            data = _BARE_LF.sub(b"\r\n", data)
        fresh, self._fresh = self._fresh, data[-1] == 10
        stuffed = data.replace(b"\n.", b"\n..")
        return b"." + stuffed if fresh and data[0] == 46 else stuffed

    def end(self) -> bytes:
        """What is held back, the last line's end where it is missing, and the line of one dot."""
        rest = b"\r" if self._cr else b""
        return rest + (b"" if self._fresh and not rest else b"\r\n") + END


class TopCutter:
    """Lets the header, the empty line and so many lines of the body through, of bytes that `DotWriter` has made."""

    __slots__ = ("_carry", "_header", "_left", "done")

    def __init__(self, lines: int) -> None:
        self._left = lines
        self._header = True
        self._carry = b"\r\n"  # the end of what went before: an empty line may begin at the very start
        self.done = False

    def feed(self, data: bytes) -> bytes:
        if self.done:
            return b""
        start = 0
        if self._header:
            joined = self._carry + data
            found = joined.find(b"\r\n\r\n")
            if found < 0:
                self._carry = joined[-3:]
                return data
            self._header = False
            start = found + 4 - len(self._carry)
        for _ in range(min(self._left, len(data))):
            end = data.find(b"\n", start)
            if end < 0:
                return data
            self._left -= 1
            start = end + 1
        self.done = self._left == 0
        return data[:start] if self.done else data
