"""SMTP and LMTP words (RFC 5321, 2033, 6531, 3461, 3030, 1870, 4954): lines to typed commands, replies to bytes, and
the readers of a letter's bytes.

Promises: what is parsed is bounded by the line that held it; addresses come out in one form (domain in lower case, NFC,
quotes only where needed); a letter ends at CRLF.CRLF and nowhere else, however it was cut. Must never wait or decide
whether a command is welcome.
"""

import re
import unicodedata
from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from congvu.codec.lines import WEB

COMMAND_LIMIT = 4096  # bytes of a command line; rfc5321 asks for 512, ORCPT, ENVID and AUTH add less than 1,500
AUTH_LIMIT = 12_288  # rfc4954 4.5


class BadCommand(Exception):
    """A line that is no command. `code`: unknown-command, bad-syntax, bad-hello-name, bad-sender, bad-recipient,
    needs-smtputf8, bad-utf8, unknown-parameter, bad-parameter, bad-base64; not-smtp and bad-chunk, after which what
    comes cannot be read as commands."""

    def __init__(self, code: str, word: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.word = word  # the parameter or verb it is about


@dataclass(frozen=True, slots=True)
class Hello:
    verb: str  # EHLO, HELO, LHLO
    name: str


@dataclass(frozen=True, slots=True)
class Mail:
    sender: str  # "" for <>
    size: int  # as declared, 0 when not
    body: str  # "", 7BIT, 8BITMIME, BINARYMIME
    utf8: bool
    ret: str  # "", FULL, HDRS
    envid: str  # xtext as it came


@dataclass(frozen=True, slots=True)
class Rcpt:
    address: str
    notify: str  # "", NEVER, or of SUCCESS,FAILURE,DELAY
    orcpt: str  # type;xtext as it came


@dataclass(frozen=True, slots=True)
class Data:
    pass


@dataclass(frozen=True, slots=True)
class Bdat:
    size: int
    last: bool


@dataclass(frozen=True, slots=True)
class Rset:
    pass


@dataclass(frozen=True, slots=True)
class Noop:
    pass


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class Help:
    pass


@dataclass(frozen=True, slots=True)
class Vrfy:
    text: str


@dataclass(frozen=True, slots=True)
class Expn:
    text: str


@dataclass(frozen=True, slots=True)
class StartTls:
    pass


@dataclass(frozen=True, slots=True)
class Auth:
    mechanism: str
    initial: bytes | None


Command = Hello | Mail | Rcpt | Data | Bdat | Rset | Noop | Quit | Help | Vrfy | Expn | StartTls | Auth

# rfc5321 4.1.2 with the additions of rfc6531 3.3
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"
_QUOTED = r'"(?:[ !#-\[\]-~\u0080-\U0010ffff]|\\[ -~])*"'
_PATH = re.compile(
    r" ?<(?:@[^\s,:<>@]+(?:,@[^\s,:<>@]+)*:)?"  # a source route is read and ignored (appendix C)
    rf"(?P<local>{_ATOM}(?:\.{_ATOM})*|{_QUOTED})"
    r"(?:@(?P<domain>\[[^\s\[\]\\]{1,80}\]|[^\s\[\]<>@()\\\",;:]{1,255}))?>(?= |$)"
)
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[A-Za-z0-9_\u0080-\U0010ffff](?:[A-Za-z0-9_\-\u0080-\U0010ffff]{0,61}[A-Za-z0-9_\u0080-\U0010ffff])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HELLO = re.compile(r"[A-Za-z0-9._:\[\]\-]{1,255}")  # far more forgiving than rfc5321 4.1.3: names are wrong so often
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNQUOTE = re.compile(r"\\(.)")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")  # rfc3461 4
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,40};[!-<>-~\u0080-\U0010ffff]+")  # rfc3461 4.2, rfc6533 3
_NOTIFY = re.compile(r"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}")
_SIZE = re.compile(r"[0-9]{1,20}")


def parse(line: bytes, utf8: bool = False) -> Command:
    """A line (without its end) as a command. `utf8`: the transaction is one of SMTPUTF8. Raises `BadCommand`."""
    try:
        return _parse(line, utf8)
    except BadCommand:
        if line[:4].upper() == b"BDAT":  # its chunk follows, nobody knows how long (rfc3030 2)
            raise BadCommand("bad-chunk") from None
        raise


def _parse(line: bytes, utf8: bool) -> Command:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise BadCommand("bad-utf8") from None
    verb, _, rest = text.partition(" ")
    verb = verb.upper()
    reader = _READERS.get(verb)
    if reader is None:
        raise BadCommand("not-smtp" if verb in WEB else "unknown-command", verb[:20])
    if _CONTROL.search(rest):
        raise BadCommand("bad-syntax")
    return reader(rest.rstrip(" "), utf8)


def _hello(verb: str) -> Callable[[str, bool], Command]:
    def read(rest: str, utf8: bool) -> Command:
        name = rest.strip(" ")
        if not _HELLO.fullmatch(name):
            raise BadCommand("bad-hello-name")
        return Hello(verb, name)

    return read


def _bare(command: Command) -> Callable[[str, bool], Command]:
    def read(rest: str, utf8: bool) -> Command:
        if rest:
            raise BadCommand("bad-syntax")
        return command

    return read


def _mail(rest: str, utf8: bool) -> Command:
    if rest[:5].upper() != "FROM:":
        raise BadCommand("bad-syntax")
    empty = 7 if rest.startswith("<>", 5) else 8 if rest.startswith(" <>", 5) else 0
    sender, wide = "", False
    end = empty
    if not empty:
        sender, end = _path(rest, 5, "bad-sender")
    elif rest[empty : empty + 1] not in {"", " "}:
        raise BadCommand("bad-sender")
    size, body, ret, envid = 0, "", "", ""
    if end < len(rest):
        seen = set()
        for word in rest[end:].split(" "):
            if not word:
                continue
            name, equals, value = word.partition("=")
            name = name.upper()
            if name in seen:
                raise BadCommand("bad-parameter", name)
            seen.add(name)
            match name:
                case "SIZE" if _SIZE.fullmatch(value):
                    size = int(value)
                case "BODY" if value.upper() in {"7BIT", "8BITMIME", "BINARYMIME"}:
                    body = value.upper()
                case "SMTPUTF8" if not equals:
                    wide = True
                case "RET" if value.upper() in {"FULL", "HDRS"}:
                    ret = value.upper()
                case "ENVID" if len(value) <= 100 and _XTEXT.fullmatch(value):
                    envid = value
                case "AUTH" if value == "<>" or _XTEXT.fullmatch(value):
                    pass  # rfc4954 5: we trust nobody to speak for others, so it counts as <>
                case _:
                    raise _wrong(name, {"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
    if not wide and not sender.isascii():
        raise BadCommand("needs-smtputf8")
    return Mail(sender, size, body, wide, ret, envid)


def _rcpt(rest: str, utf8: bool) -> Command:
    if rest[:3].upper() != "TO:":
        raise BadCommand("bad-syntax")
    address, end = _path(rest, 3, "bad-recipient")
    if not utf8 and not address.isascii():
        raise BadCommand("needs-smtputf8")
    notify, orcpt = "", ""
    if end < len(rest):
        seen = set()
        for word in rest[end:].split(" "):
            if not word:
                continue
            name, _, value = word.partition("=")
            name = name.upper()
            if name in seen:
                raise BadCommand("bad-parameter", name)
            seen.add(name)
            match name:
                case "NOTIFY" if _NOTIFY.fullmatch(value.upper()):
                    notify = value.upper()
                case "ORCPT" if len(value) <= 500 and _ORCPT.fullmatch(value) and (utf8 or value.isascii()):
                    orcpt = value
                case _:
                    raise _wrong(name, {"NOTIFY", "ORCPT"})
    return Rcpt(address, notify, orcpt)


def _wrong(name: str, known: set[str]) -> BadCommand:
    if name in known:
        return BadCommand("bad-parameter", name)
    return BadCommand("unknown-parameter" if _KEYWORD.fullmatch(name) else "bad-syntax", name[:40])


def _path(text: str, start: int, wrong: str) -> tuple[str, int]:
    """The mailbox of a path that begins at `start`, in its one form, and where it ends."""
    found = _PATH.match(text, start)
    if found is None:
        raise BadCommand(wrong)
    local, domain = found["local"], found["domain"]
    if local[0] == '"':
        plain = _UNQUOTE.sub(r"\1", local[1:-1])
        local = plain if _DOT_ATOM.fullmatch(plain) else '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if domain is None:
        if wrong == "bad-recipient" and local.lower() == "postmaster":  # rfc5321 4.1.1.3
            return "postmaster", found.end()
        raise BadCommand(wrong)
    address = f"{local}@{domain.lower()}"
    if not address.isascii():
        address = unicodedata.normalize("NFC", address)
        if not address.isprintable():
            raise BadCommand(wrong)
        local, _, domain = address.rpartition("@")
    if len(local.encode()) > 64 or not (_literal(domain) if domain[0] == "[" else _domain(domain)):  # rfc5321 4.5.3.1
        raise BadCommand(wrong)
    return address, found.end()


def _domain(domain: str) -> bool:
    return len(domain.encode()) <= 255 and _DOMAIN.fullmatch(domain) is not None


def _literal(domain: str) -> bool:
    """[192.0.2.1] or [IPv6:2001:db8::1] (rfc5321 4.1.3)."""
    inner = domain[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            IPv6Address(inner[5:])
        else:
            IPv4Address(inner)
    except ValueError:
        return False
    return True


def _bdat(rest: str, utf8: bool) -> Command:
    words = rest.split(" ")
    if len(words) > 2 or not _SIZE.fullmatch(words[0]) or (len(words) == 2 and words[1].upper() != "LAST"):
        raise BadCommand("bad-syntax")
    return Bdat(int(words[0]), len(words) == 2)


def _text(kind: type[Vrfy] | type[Expn]) -> Callable[[str, bool], Command]:
    def read(rest: str, utf8: bool) -> Command:
        text = rest.strip(" ")
        if text[-9:].upper() == " SMTPUTF8":  # rfc6531 3.7.4.2
            text, utf8 = text[:-9].rstrip(" "), True
        if not text:
            raise BadCommand("bad-syntax")
        if not text.isascii() and not utf8:
            raise BadCommand("needs-smtputf8")
        return kind(text)

    return read


def _auth(rest: str, utf8: bool) -> Command:
    mechanism, space, initial = rest.partition(" ")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", mechanism):
        raise BadCommand("bad-syntax")
    if not space:
        return Auth(mechanism.upper(), None)
    return Auth(mechanism.upper(), b"" if initial == "=" else decode_base64(initial.encode()))


def decode_base64(text: bytes) -> bytes:
    """What a client says in an AUTH exchange. Raises `BadCommand`."""
    try:
        return a2b_base64(text, strict_mode=True) if text else b""
    except BinasciiError:
        raise BadCommand("bad-base64") from None


_READERS: dict[str, Callable[[str, bool], Command]] = {
    "EHLO": _hello("EHLO"),
    "HELO": _hello("HELO"),
    "LHLO": _hello("LHLO"),
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _bare(Data()),
    "BDAT": _bdat,
    "RSET": _bare(Rset()),
    "NOOP": lambda rest, utf8: Noop(),
    "QUIT": _bare(Quit()),
    "HELP": lambda rest, utf8: Help(),
    "VRFY": _text(Vrfy),
    "EXPN": _text(Expn),
    "STARTTLS": _bare(StartTls()),
    "AUTH": _auth,
}


def reply(basic: int, enhanced: str, *texts: str) -> bytes:
    """A reply of one line a text; a text too long for rfc5321 4.5.3.1.5 (512 bytes) is broken at spaces."""
    lines: list[str] = []
    for text in texts:
        rest = text.replace("\r", " ").replace("\n", " ")
        while len(rest.encode()) > 490:
            cut = rest.rfind(" ", 0, 160)  # 160 characters have at most 480 bytes in Vietnamese and 640 at all
            cut = cut if cut > 0 else 120
            lines.append(rest[:cut])
            rest = rest[cut:].lstrip(" ")
        lines.append(rest)
    word = f"{enhanced} " if enhanced else ""
    last = len(lines) - 1
    return "".join(f"{basic}{' ' if i == last else '-'}{word}{line}\r\n" for i, line in enumerate(lines)).encode()


class LineWatch:
    """Watches a letter's bytes go by for line ends that are not CRLF, and for lines beyond a limit."""

    __slots__ = ("_column", "_cr", "_limit", "_open", "_pairs", "too_long")

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes of a line without its end
        self._column = 0  # bytes since the last LF
        self._cr = self._pairs = 0  # CRs, and CRLFs less LFs
        self._open = False  # the last byte was CR
        self.too_long = False

    def feed(self, data: bytes) -> None:
        if not data:
            return
        pairs = data.count(b"\r\n")
        if self._open and data[0] == 10:
            pairs += 1
        self._open = data[-1] == 13
        self._cr += data.count(b"\r") - pairs
        self._pairs += pairs - data.count(b"\n")
        # Jump from LF to LF in steps of the limit: a letter of ordinary lines takes one jump for each limit's worth.
        length, at = len(data), -self._column
        while length - at > self._limit + 1:  # a CR at the very end may still belong to the line's end
            end = data.rfind(b"\n", max(at, 0), at + self._limit + 2)
            if end < 0:
                self.too_long = True
                at = length
                break
            at = end + 1
        end = data.rfind(b"\n", max(at, 0))
        self._column = length - (end + 1 if end >= 0 else at)

    @property
    def bare(self) -> bool:
        """Has a CR or LF stood alone? Asked at the end."""
        return self._cr != 0 or self._pairs != 0


class DotReader:
    """Reads the bytes after DATA (rfc5321 4.5.2): unstuffs dots and finds the end.

    Only CRLF.CRLF ends a letter. What looks like an end to a careless server (LF.LF, CR.CR, LF.CRLF …) does not: the
    letter goes on to its true end and its watch then says `bare`, so that nothing can be smuggled in behind it.
    """

    __slots__ = ("_carry", "_first", "done", "received", "rest", "watch")

    def __init__(self, line_limit: int) -> None:
        self._carry = (
            b"\r\n"  # as if a line had ended before the first; what may be the beginning of an end is held back
        )
        self._first = True
        self.watch = LineWatch(line_limit)
        self.received = 0
        self.done = False
        self.rest = b""  # after `done`: what followed the end

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the letter, as far as they are known."""
        self.received += len(data)
        data = self._carry + data
        end = data.find(b"\r\n.\r\n")
        if end >= 0:
            self.done = True
            self.rest = data[end + 5 :]
            piece = data[: end + 2]
            self._carry = b""
        else:
            keep = 0
            cr = data.rfind(b"\r", -4)
            if cr >= 0:
                # The last CR, or the one before it when this one may close "CRLF.CR".
                for start in (data.rfind(b"\r", -4, cr), cr):
                    if start >= 0 and b"\r\n.\r\n".startswith(data[start:]):
                        keep = len(data) - start
                        break
            piece, self._carry = (data[:-keep], data[-keep:]) if keep else (data, b"")
        piece = piece.replace(b"\r\n.", b"\r\n")
        if self._first and piece:
            self._first = False
            piece = piece[2:]
        self.watch.feed(piece)
        return piece
