"""A letter with UTF-8 in its headers as one that a program without UTF-8 may be shown (RFC 6858): a surrogate.

Names, subjects and file names stay readable, encoded as older RFCs allow it (where RFC 6858 would let a file name go,
RFC 2231 keeps it); an address with letters outside ASCII becomes one to which nobody can write, shown beside it; what
has no such form is left out. Bodies are not touched, headers in ASCII neither. Promises: no byte above 127 in a header
that was named; memory bounded by `WITHIN`. It is made as the letter leaves: what was received stays as it came.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from congvu.codec.headers import (
    NO_HOST,
    NO_MAILBOX,
    Address,
    address_text,
    decode_header,
    header_fields,
    parse_addresses,
    parse_parameters,
    unfold,
)
from congvu.codec.parts import Part, walk

WITHIN = 2 << 20  # bytes of a header that is taken apart; of a longer one each byte above 127 becomes "?"
INVALID = b"<invalid@internationalized-address.invalid>"  # rfc6858 2.1
_ADDRESSES = frozenset(
    (b"bcc", b"cc", b"from", b"reply-to", b"resent-bcc", b"resent-cc", b"resent-from", b"resent-sender", b"resent-to")
) | {b"return-path", b"sender", b"to"}
_TEXTS = frozenset((b"subject", b"comments", b"content-description"))  # rfc2047 5: (1) allows encoded words in these
_WITH_PARAMETERS = frozenset((b"content-type", b"content-disposition"))
_MOST = 100_000  # addresses of one field, or parameters: those of `WITHIN` bytes
_DOT_ATOM = re.compile(rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_SPECIAL = re.compile(rb'(["\\])')
_PIECES = re.compile(r"(?:%..|[^%]){1,200}")  # of a percent-encoded value, as much as a line may hold (rfc2231 3)
_ASCII = bytes(range(128)) + b"?" * 128
_NEVER = 1 << 62


def headers(root: Part, before: int) -> list[tuple[int, int]]:
    """Where the headers of a letter lie, its own and those of its parts, when `before` bytes of header were put on top
    of what was scanned."""
    found = [(0, before + root.body)]
    for part in walk(root):
        start, end = before + part.header, before + part.body
        if found[-1][1] <= start < end:
            found.append((start, end))
    return found


def made(pieces: Iterable[bytes], places: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """The surrogate of a letter that comes in pieces, `places` its headers. No piece is empty."""
    remaining = iter(places)
    start, end = next(remaining, (_NEVER, _NEVER))
    at = 0
    held: list[bytes] = []  # of a header that has not come whole
    for piece in pieces:
        here = 0
        while here < len(piece):
            take = piece[here : here + (start if at < start else end) - at]
            here, at = here + len(take), at + len(take)
            if at <= start:
                yield take
            elif end - start > WITHIN:
                yield take.translate(_ASCII)
            else:
                held.append(take)
            if at == end:
                block = header(b"".join(held))
                held.clear()
                if block:
                    yield block
                start, end = next(remaining, (_NEVER, _NEVER))
    if held and (block := header(b"".join(held))):
        yield block


def header(block: bytes) -> bytes:
    """A header in ASCII, with the empty line that closes it."""
    if block.isascii():
        return block
    fields = header_fields(block)
    closing = block[sum(len(raw) for _, raw in fields) :]
    return b"".join(raw if raw.isascii() else _field(name, raw) for name, raw in fields) + closing.translate(_ASCII)


def _field(name: bytes, raw: bytes) -> bytes:
    """A field in ASCII; b"" where it has no such form (rfc6858 2.4)."""
    spelt, _, value = raw.partition(b":")
    value = unfold(value)
    if name in _ADDRESSES:
        new = _addresses(value, name == b"return-path")
    elif name in _TEXTS:
        new = _encoded(decode_header(value))
    elif name in _WITH_PARAMETERS:
        new = _parameters(value)
    else:
        new = b""
    return b"%b: %b\r\n" % (spelt.rstrip(b" \t"), new) if new else b""


def _addresses(value: bytes, bare: bool) -> bytes:
    out: list[bytes] = []
    between = b""
    for one in parse_addresses(value, _MOST):
        _, _, local, host = one
        if host is None and local is None:  # a group ends
            out.append(b";")
            between = b",\r\n "
        elif host is None:
            out += (between, _phrase(decode_header(local or b"")), b":")
            between = b" "
        else:
            out += (between, _address(one, bare))
            between = b",\r\n "
    return b"".join(out)


def _address(one: Address, bare: bool) -> bytes:
    name, _, local, host = one
    local, host = local or b"", host or b""
    text = decode_header(name) if name else ""
    if local.isascii() and host.isascii() and local != NO_MAILBOX and host != NO_HOST:
        if not _DOT_ATOM.fullmatch(local):
            local = b'"%b"' % _SPECIAL.sub(rb"\\\1", local)
        where = b"<%b@%b>" % (local, host)
    else:
        where = INVALID
        shown = address_text(local, host) if host != NO_HOST else "" if local == NO_MAILBOX else decode_header(local)
        text = f"{text} <{shown}>" if text and shown else text or shown
    return where if bare or not text else b"%b\r\n %b" % (_phrase(text), where)


def _phrase(text: str) -> bytes:
    """A display name (rfc5322 3.2.5)."""
    if not text.isascii() or len(text) > 200 or "=?" in text:
        return _encoded(text)
    plain = text.encode()
    return plain if _WORDS.fullmatch(text) else b'"%b"' % _SPECIAL.sub(rb"\\\1", plain)


def _encoded(text: str) -> bytes:
    """Encoded words on lines of 76 characters at most, whatever the field's name; none ends within a character
    (rfc2047 2, 5)."""
    words: list[bytes] = []
    held = b""
    for character in text:
        raw = character.encode("utf-8", "replace")
        if len(held) + len(raw) > 36:
            words.append(held)
            held = b""
        held += raw
    words.append(held)
    return b"\r\n ".join(b"=?UTF-8?B?%b?=" % b64encode(word) for word in words if word)


def _parameters(value: bytes) -> bytes:
    """A value with parameters, those outside ASCII in the extended form of rfc2231 4."""
    main, found = parse_parameters(value, _MOST)
    if not main or not main.isascii():
        return b""
    out = [main]
    for name, held in found:
        if not name.isascii():
            continue
        if name.endswith(b"*"):  # in the extended form already
            if held.isascii():
                out.append(b"%b=%b" % (name, held))
        elif held.isascii():
            out.append(b'%b="%b"' % (name, _SPECIAL.sub(rb"\\\1", held)))
        else:
            pieces = _PIECES.findall("UTF-8''" + quote(decode_header(held), safe=""))
            for number, piece in enumerate(pieces):
                section = b"*%d" % number if len(pieces) > 1 else b""
                out.append(b"%b%b*=%b" % (name, section, piece.encode()))
    return b";\r\n ".join(out)
