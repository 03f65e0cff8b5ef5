"""How values stand on the IMAP wire (RFC 9051 4.3, 7.5.2): strings, address lists, parameter lists, BODY of BODYSTRUCTURE."""

from congvu.codec import legacy
from congvu.codec.headers import Address, Parameter

MAX_STRING = 16_000  # bytes of one string: longer header values are cut here, clients have no use for them


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
    return b"(%b)" % b" ".join(
        [b"%b %b" % (render_string(name.upper()), render_string(value)) for name, value in parameters]
    )


def plain_structure(structure: bytes) -> bytes:
    return structure
