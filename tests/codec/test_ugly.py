"""The ugly letters of `bench.ugly`, and what comparing with another server taught (docs/conformance.md)."""

import pytest

from bench.ugly import letters
from congvu.codec import mime
from congvu.codec.headers import Address, parse_addresses
from congvu.codec.parts import unquote
from congvu.servers.imap.sections import decoded


def test_all_of_them_are_read() -> None:
    corpus = letters()
    assert len(corpus) > 400
    for letter in corpus:
        found = mime.scan(letter)
        assert mime.unpack_parts(found.parts) == found.root
        mime.plain_structure(found.structure)


def one(local: bytes, host: bytes, name: bytes | None = None) -> Address:
    return (name, None, local, host)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"a@b c@d", [one(b"a", b"b"), one(b"c", b"d")]),  # a comma is missing
        (b"<a@b> <c@d>", [one(b"a", b"b"), one(b"c", b"d")]),
        (b"An <a@b> Ba <c@d>, e@f", [one(b"a", b"b", b"An"), one(b"c", b"d", b"Ba"), one(b"e", b"f")]),
        (b"An Ba a@b", [one(b"a", b"b", b"An Ba")]),
        (b'"An, Ba" a@b', [one(b"a", b"b", b"An, Ba")]),
        (b"a . b @ c . d", [one(b"a.b", b"c.d")]),  # rfc5322 4.4 allows it
        (b"<a@b> An", [one(b"a", b"b", b"An")]),
        (b"a@b (An)", [one(b"a", b"b", b"An")]),
        (b"An a@b (Ba)", [one(b"a", b"b", b"An")]),
        (b"a@b, An", [one(b"a", b"b"), (None, None, b"An", b"MISSING_DOMAIN")]),
    ],
)
def test_addresses_with_something_missing(value: bytes, found: list[Address]) -> None:
    assert parse_addresses(value, 10) == found


def test_no_more_addresses_than_asked_for() -> None:
    assert len(parse_addresses(b"a@b " * 50, 10)) == 10
    assert len(parse_addresses(b"<a@b> " * 50, 10)) == 10


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (b"Content-Type: text/plain charset=utf-8", b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII")'),
        (b"Content-Type: text/plain, charset=utf-8", b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII")'),
        (b"Content-Type: text/plain; charset=", b'("TEXT" "PLAIN" ("CHARSET" "")'),
        (b"Content-Type: text/plain; charset*=''utf-8", b'("TEXT" "PLAIN" ("CHARSET*" '),
        (b'Content-Disposition: "inline"; filename=x', b'("INLINE" ("FILENAME" "x"))'),
        (b"Content-Language: vi (tieng Viet),en-US , fr;q=0.1", b'("vi" "en-US" "fr")'),
        (b"Content-Language: (khong)", b"1 NIL NIL NIL NIL)"),
    ],
)
def test_parts_badly_described(header: bytes, part: bytes) -> None:
    assert part in mime.scan(header + b"\r\n\r\nx\r\n").structure


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r\r\n"])
def test_the_body_is_found_whatever_ends_lines(end: bytes) -> None:
    letter = end.join([b"Subject: x", b"From: a@b", b"", b"than"]) + end
    root = mime.scan(letter).root
    assert letter[root.body : root.end] == b"than" + end


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a  \r\nb\t\r\nc=  \r\nd", b"a\r\nb\r\ncd"),
        (b"a =20 \r\n", b"a  \r\n"),
        (b"a \n", b"a\n"),
        (b"a b= \t", b"a b"),
        (b"=C4=91=\r\n", "đ".encode()),
        (b" " * 100_000 + b"x", b" " * 100_000 + b"x"),
    ],
)
def test_white_space_added_at_the_end_of_quoted_lines(raw: bytes, text: bytes) -> None:
    assert unquote(raw) == text
    assert b"".join(decoded("quoted-printable", iter([raw]))) == text
