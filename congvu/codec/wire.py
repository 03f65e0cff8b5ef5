"""How values stand on the IMAP wire (RFC 9051 4.3, 7.5.2): strings, lists of addresses and parameters, BODY."""

import re
from functools import lru_cache

from congvu.codec import legacy
from congvu.codec.headers import Address, Parameter

MAX_STRING = 16_000  # bytes of one string: longer header values are cut here, clients have no use for them


@lru_cache(maxsize=1024)
def render_word(word: str) -> bytes:
    """A type, an encoding: in capitals. There are few of them."""
    return render_string(word.upper().encode("utf-8", "replace"))


def render_string(value: bytes | None) -> bytes:
    """A quoted string; a literal where it is not ASCII, so that every client may read it; NIL for None. What is not
    UTF-8 is converted to it. `value` holds no line end and no NUL."""
    if value is None:
        return b"NIL"
    if value.isascii():
        if len(value) > MAX_STRING:
            value = value[:MAX_STRING]
        if b'"' in value or b"\\" in value:
            value = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        return b'"%b"' % value
    text = legacy.decode(value[:MAX_STRING], "", cut=len(value) > MAX_STRING)
    value = text.translate(_NOT_IN_LITERAL).encode("utf-8", "replace")
    return b"{%d}\r\n%b" % (len(value), value)


_NOT_IN_LITERAL = {0: None, 10: " ", 13: " "}


def render_addresses(addresses: list[Address]) -> bytes:
    if not addresses:
        return b"NIL"
    return b"(%b)" % b"".join([b"(%b %b %b %b)" % tuple(map(render_string, address)) for address in addresses])


def render_parameters(parameters: list[Parameter]) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([render_string(w) for name, value in parameters for w in (name.upper(), value)])


_VALUE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|\{(\d{1,10})\}\r\n|([()])|[^\s()"{]++', re.S)


def plain_structure(structure: bytes) -> bytes:
    """BODY out of BODYSTRUCTURE: the extension data at the end of each part left out (rfc9051 7.5.2). Only for what
    `scan` rendered: ValueError for anything else."""
    out: list[bytes] = []
    if _plain_body(structure, 0, out) != len(structure):
        raise ValueError("not a body structure")
    return b"".join(out)


def _plain_body(structure: bytes, at: int, out: list[bytes]) -> int:
    """Copies the body at `at` and returns the place after it."""
    start = at
    if structure[at + 1 : at + 2] == b"(":  # a multipart: bodies, then its subtype
        out.append(b"(")
        at += 1
        while structure[at : at + 1] == b"(":
            at = _plain_body(structure, at, out)
        start, at = at, _skip(structure, at, 1)
    else:
        kind = structure[at + 1 : at + 11].upper()
        at = _skip(structure, at + 1, 7)  # type, subtype, parameters, id, description, encoding, octets
        if kind.startswith(b'"TEXT" '):
            at = _skip(structure, at, 1)
        elif kind.startswith(b'"MESSAGE" ') and structure[at : at + 2] == b" (":
            at = _skip(structure, at, 1) + 1
            out.append(structure[start:at])
            start = at = _plain_body(structure, at, out)
            at = _skip(structure, at, 1)
    out.append(structure[start:at] + b")")
    while structure[at : at + 1] != b")":
        at = _skip(structure, at, 1)
    return at + 1


def _skip(structure: bytes, at: int, count: int) -> int:
    """The place after `count` values, each perhaps after a space."""
    depth = 0
    while count:
        if structure[at : at + 1] == b" ":
            at += 1
        match = _VALUE.match(structure, at)
        if match is None:
            raise ValueError("not a body structure")
        at = match.end()
        if match[1] is not None:
            at += int(match[1])
        elif match[2] == b"(":
            depth += 1
        elif match[2] == b")":
            depth -= 1
        if depth == 0:
            count -= 1
    return at


def envelope_ids(envelope: bytes) -> tuple[bytes, bytes]:
    """In-Reply-To and Message-ID of an ENVELOPE that `scan` rendered, as they stand there, with their quotes."""
    start = _skip(envelope, 1, 8)
    middle = _skip(envelope, start, 1)
    return envelope[start:middle], envelope[middle : _skip(envelope, middle, 1)]
