"""Sections of a letter (rfc9051 6.4.5.1, RFC 3516): where they lie, and their bytes as they go on the wire.

A letter is its prefix (the headers added on arrival) and its content; the stored offsets count within the content.
Small sections are rendered as bytes, large ones as a `Stretch` whose bytes are taken from the blob when it is sent. A
letter is read once, and only as far as its sections reach. Must never change what was received.
"""

from binascii import a2b_base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from congvu.codec import mime
from congvu.codec.headers import unbase64
from congvu.codec.imap import FetchItem, Section
from congvu.codec.parts import unquote
from congvu.db.blobs import BlobKeeper
from congvu.mailstore import message

ENOUGH = 1 << 20  # bytes of bodies after which a chunk ends, and a letter's further sections are streamed
# Bytes of a header whose fields are told apart: a header of fifty million short fields would take gigabytes for it.
FIELDS_WITHIN = 2 << 20
NEAR = 64 * 1024  # letters up to this size are read on the spot, when their bytes lie in memory
SMALL = 256 * 1024  # letters up to this size are read within the chunk, sections of larger ones are streamed


@dataclass(frozen=True, slots=True)
class Stretch:
    """A large section, sent when its turn comes. `head` takes its size (`b"BODY[1] {%d}\\r\\n"`); `name` is what it is
    answered under when its bytes are gone. Offsets count from the start of the prefix; `encoding` is taken off on the
    way, and `partial` counts in what remains."""

    name: bytes
    head: bytes
    body: message.Body
    start: int
    end: int
    encoding: str = ""
    partial: tuple[int, int] | None = None
    size_only: bool = False


Piece = bytes | Stretch


class UnknownEncodingError(Exception):
    """BINARY of a part whose Content-Transfer-Encoding is not known."""


class NotAtHandError(Exception):
    """Bytes that would have to be waited for."""


class Letter:
    """A letter while its sections are taken: read once, and only as far as they reach. `near`: on the spot or not at
    all."""

    __slots__ = ("_blobs", "_bytes", "_near", "_root", "body", "inline")

    def __init__(self, body: message.Body, blobs: BlobKeeper, near: bool = False) -> None:
        self._near = near
        self.body = body
        self.inline = 0  # bytes rendered so far: what goes beyond ENOUGH is streamed
        self._blobs = blobs
        self._bytes = b""
        self._root: mime.Part | None = None

    @property
    def root(self) -> mime.Part:
        if self._root is None:
            self._root = mime.unpack_parts(self.body.parts)
        return self._root

    def read(self, start: int, end: int) -> bytes:
        """Bytes counted from the start of the prefix."""
        before = len(self.body.prefix)
        head = self.body.prefix[start:end] if start < before else b""
        start, end = max(start - before, 0), end - before
        if start >= end:
            return head
        size = self.body.blob.size
        if end > len(self._bytes):
            if self._near:
                whole = self._blobs.at_hand(self.body.blob) if size <= NEAR else None
                if whole is None:
                    raise NotAtHandError
                self._bytes = whole
                return head + whole[start:end]
            if size > SMALL:
                return head + self._blobs.read(self.body.blob, start, end)
            # A header is often all that is wanted; who asks for more gets the whole letter into memory once.
            header_only = end < size and end <= self.root.body
            self._bytes = self._blobs.read(self.body.blob, 0, end if header_only else None)
        return head + self._bytes[start:end]

    def stream(self, start: int, end: int) -> Iterator[bytes]:
        """The same, piece by piece."""
        return _raw(self._blobs, Stretch(b"", b"", self.body, start, end))


def span(letter: Letter, section: Section) -> tuple[int, int] | None:
    """Where a section lies, counted from the start of the prefix; None when the letter has no such section.

    The prefix belongs to the letter's own header (rfc9051 6.4.5.1), not to any part.
    """
    before = len(letter.body.prefix)
    if not section.part:
        match section.text:
            case "":  # asked for most, and told without unpacking any part
                return 0, before + letter.body.blob.size
            case "TEXT":
                return before + letter.root.body, before + letter.root.end
            case _:
                return 0, before + letter.root.body
    part = mime.find_part(letter.root, section.part)
    if part is None:
        return None
    if section.text == "":
        return before + part.body, before + part.end
    if section.text == "MIME":
        return before + part.header, before + part.body
    if part.type != "message" or not part.children:
        return None
    inner = part.children[0]
    if section.text == "TEXT":
        return before + inner.body, before + inner.end
    return before + inner.header, before + inner.body


def portion(letter: Letter, wanted: Section, partial: tuple[int, int] | None) -> tuple[int, Iterator[bytes]] | None:
    """The size of a section and its bytes, read as they are taken; None when the letter has no such section."""
    found = span(letter, wanted)
    if found is None:
        return None
    if wanted.text.startswith("HEADER.FIELDS"):
        block = letter.read(found[0], min(found[1], found[0] + FIELDS_WITHIN))
        chosen = mime.select_fields(block, wanted.fields, wanted.text == "HEADER.FIELDS.NOT")
        start, end = _cut(0, len(chosen), partial)
        return end - start, iter((chosen[start:end],))
    start, end = _cut(*found, partial)
    return end - start, letter.stream(start, end)


def _cut(start: int, end: int, partial: tuple[int, int] | None) -> tuple[int, int]:
    if partial is None:
        return start, end
    start = min(start + partial[0], end)
    return start, min(start + partial[1], end)


def item_name(item: FetchItem) -> bytes:
    section = item.section.raw if item.section else b""
    name = b"%b[%b]" % (item.name[:-2].encode(), section)
    return name if item.partial is None else b"%b<%d>" % (name, item.partial[0])


def body_section(letter: Letter, item: FetchItem) -> list[Piece]:
    """BODY[…]."""
    section = item.section or Section()
    return _render(letter, item_name(item), section, item.partial)


def _render(letter: Letter, name: bytes, section: Section, partial: tuple[int, int] | None) -> list[Piece]:
    found = span(letter, section)
    if found is None:
        return [name + b" NIL"]
    if section.text.startswith("HEADER.FIELDS"):
        block = letter.read(found[0], min(found[1], found[0] + FIELDS_WITHIN))
        chosen = mime.select_fields(block, section.fields, section.text == "HEADER.FIELDS.NOT")
        start, end = _cut(0, len(chosen), partial)
        return _literal(letter, name, chosen[start:end])
    start, end = _cut(*found, partial)
    if end - start > SMALL or letter.inline > ENOUGH:
        return [Stretch(name, b"%b {%%d}\r\n" % name.replace(b"%", b"%%"), letter.body, start, end)]
    return _literal(letter, name, letter.read(start, end))


def _literal(letter: Letter, name: bytes, data: bytes, mark: bytes = b"") -> list[Piece]:
    letter.inline += len(data)
    if not data:
        return [name + b' ""']
    if mark and b"\0" not in data:
        mark = b""  # rfc3516 4.3
    return [b"%b %b{%d}\r\n" % (name, mark, len(data)), data if mark else _sayable(data)]


def _sayable(data: bytes) -> bytes:
    """What a literal may hold: no NUL (rfc9051 9), which is shown as 0x80, so that all sizes stay. BINARY has it."""
    return data.replace(b"\0", b"\x80")


def old_name(section: Section) -> Callable[[Letter, FetchItem], list[Piece]]:
    """RFC822, RFC822.HEADER, RFC822.TEXT: other names of sections (rfc3501 6.4.5)."""
    return lambda letter, item: _render(letter, item.name.encode(), section, None)


# What `mime.decode_body` takes off; anything else cannot be shown as BINARY.
_KNOWN_ENCODINGS = frozenset({"", "7bit", "8bit", "binary", "base64", "quoted-printable"})
_IDENTITY = frozenset({"", "7bit", "8bit", "binary"})


def binary(letter: Letter, item: FetchItem) -> list[Piece]:
    """BINARY[…] and BINARY.SIZE[…] (RFC 3516): the section with its transfer encoding off."""
    section = item.section or Section()
    name = item_name(item)
    only_size = item.name == "BINARY.SIZE[]"
    part = mime.find_part(letter.root, section.part) if section.part else None
    found = span(letter, section)
    if found is None:
        return [name + (b" 0" if only_size else b" NIL")]
    encoding = part.encoding if part is not None else ""
    if encoding not in _KNOWN_ENCODINGS:
        raise UnknownEncodingError
    if encoding in _IDENTITY or part is None or part.children:
        start, end = _cut(*found, item.partial)
        if only_size:
            return [b"%b %d" % (name, end - start)]
        if end - start > SMALL or letter.inline > ENOUGH:
            return [_stretch(name, letter, start, end)]
        return _literal(letter, name, letter.read(start, end), b"~")
    if found[1] - found[0] > SMALL or letter.inline > ENOUGH:
        return [_stretch(name, letter, *found, encoding, item.partial, only_size)]
    data = letter.read(*found)
    data = mime.decode_body(data, replace(part, header=0, body=0, end=len(data)))
    if only_size:
        return [b"%b %d" % (name, len(data))]
    start, end = _cut(0, len(data), item.partial)
    return _literal(letter, name, data[start:end], b"~")


def _stretch(
    name: bytes,
    letter: Letter,
    start: int,
    end: int,
    encoding: str = "",
    partial: tuple[int, int] | None = None,
    size_only: bool = False,
) -> Stretch:
    head = b"%b %%d" if size_only else b"%b ~{%%d}\r\n"
    return Stretch(name, head % name.replace(b"%", b"%%"), letter.body, start, end, encoding, partial, size_only)


# Transfer encodings, piece by piece.

_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


def decoded(encoding: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Base64 or quoted-printable taken off a stream, errors stepped over as `mime.decode_body` does."""
    return _base64(pieces) if encoding == "base64" else _quoted(pieces)


def _base64(pieces: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    for piece in pieces:
        for i, run in enumerate(piece.split(b"=")):
            if i:  # padding ends a run of groups of four
                yield unbase64(left)
                left = b""
            left += run.translate(None, _NOT_BASE64)
            whole = len(left) & ~3
            yield a2b_base64(left[:whole])
            left = left[whole:]
    yield unbase64(left)


def _quoted(pieces: Iterator[bytes]) -> Iterator[bytes]:
    left = b""
    for piece in pieces:
        left += piece
        cut = left.rfind(b"\n") + 1
        if not cut and len(left) > SMALL:  # one endless line: cut it, but not within "=3D"
            cut = left.find(b"=", len(left) - 2)
            cut = len(left) if cut < 0 else cut
        yield unquote(left[:cut], last=False)
        left = left[cut:]
    yield unquote(left)


def measure(blobs: BlobKeeper, stretch: Stretch) -> int:
    """The literal's size: known, or found by decoding once without keeping anything."""
    if stretch.encoding == "":
        return stretch.end - stretch.start
    return sum(map(len, unrolled(blobs, stretch)))


def unrolled(blobs: BlobKeeper, stretch: Stretch) -> Iterator[bytes]:
    """The section's bytes, none of the pieces empty."""
    raw = _raw(blobs, stretch)
    if stretch.encoding == "":
        yield from raw if b"~{" in stretch.head else map(_sayable, raw)
        return
    skip, left = stretch.partial or (0, 1 << 62)
    for piece in decoded(stretch.encoding, raw):
        if skip >= len(piece):
            skip -= len(piece)
            continue
        cut = piece[skip : skip + left]
        skip = 0
        left -= len(cut)
        if cut:
            yield cut
        if not left:
            return


def _raw(blobs: BlobKeeper, stretch: Stretch) -> Iterator[bytes]:
    prefix = stretch.body.prefix
    before = len(prefix)
    head = prefix[stretch.start : stretch.end]
    start, end = max(stretch.start - before, 0), stretch.end - before
    if start >= end:
        yield head
        return
    # The first piece has bytes of the blob: whoever has it knows that there are any, before the size is announced.
    for piece in blobs.stream(stretch.body.blob, start, end):
        if piece:
            yield head + piece
            head = b""
