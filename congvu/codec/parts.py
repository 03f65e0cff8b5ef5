"""The tree of a letter's parts: packed and unpacked, found by IMAP number, their bodies decoded, their text read.

Offsets point into the bytes that were scanned; nothing here alters those. Output is bounded by the caller's limit.
"""

import html
import re
from binascii import Error as UuError
from binascii import a2b_qp, a2b_uu
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from mmap import mmap

from congvu.base.vietnamese import nfc
from congvu.codec import legacy
from congvu.codec.headers import decode_header, unbase64, wanted_fields

Buffer = bytes | mmap

MAX_DEPTH = 50  # parts within parts: real letters have under ten; deeper ones are kept as one closed part


@dataclass(frozen=True, slots=True)
class Part:
    """One MIME part: the tree that `unpack_parts(pack_parts(part))` gives back. Offsets count from the start of the
    scanned bytes. The header of a part is `header:body` (with its closing empty line), its body `body:end`. The root is
    the letter."""

    type: str  # "text", lower case
    subtype: str  # "plain"
    charset: str  # lower case, "" when not given
    encoding: str  # "7bit", "8bit", "binary", "base64", "quoted-printable", lower case
    filename: str  # decoded, "" when none
    disposition: str  # "attachment", "inline", ""
    header: int
    body: int
    end: int
    children: tuple["Part", ...]  # of a multipart; of a message/rfc822 the one root inside (same offsets)


# --- packing --------------------------------------------------------------------------------------------------------

_VERSION = 1
# Places in these tables are stored: only ever append.
_TYPES = (
    "text/plain", "text/html", "multipart/alternative", "multipart/mixed", "multipart/related", "message/rfc822",
    "application/octet-stream", "application/pdf", "image/png", "image/jpeg", "image/gif", "multipart/report",
    "message/delivery-status", "multipart/signed", "application/pkcs7-signature", "text/calendar", "application/zip",
    "application/msword", "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "application/vnd.ms-excel",
)  # fmt: skip
_CHARSETS = ("", "utf-8", "us-ascii", "iso-8859-1", "windows-1252", "windows-1258")
_ENCODINGS = ("7bit", "8bit", "base64", "quoted-printable", "binary")
_DISPOSITIONS = ("", "attachment", "inline")
_TABLES = (_TYPES, _CHARSETS, _ENCODINGS, _DISPOSITIONS)
_PLACES = tuple({word: place for place, word in enumerate(table)} for table in _TABLES)
_SPELT = 255  # instead of a place in a table: the word follows


def pack_parts(part: Part) -> bytes:
    """Small bytes to keep with the letter: about ten a part. Children lie within their parent, one after the other."""
    out = bytearray([_VERSION])
    _pack(part, 0, out)
    return bytes(out)


def _pack(part: Part, cursor: int, out: bytearray) -> None:
    out += _packed_words(part.type, part.subtype, part.charset, part.encoding, part.disposition, part.filename)
    for number in (part.header - cursor, part.body - part.header, part.end - part.body, len(part.children)):
        _pack_number(number, out)
    cursor = part.body
    for child in part.children:
        _pack(child, cursor, out)
        cursor = child.end


@lru_cache(maxsize=2048)
def _packed_words(kind: str, subtype: str, charset: str, encoding: str, disposition: str, filename: str) -> bytes:
    out = bytearray()
    for places, word in zip(_PLACES, (f"{kind}/{subtype}", charset, encoding, disposition), strict=True):
        place = places.get(word, _SPELT)
        out.append(place)
        if place == _SPELT:
            _pack_text(word, out)
    _pack_text(filename, out)
    return bytes(out)


def _pack_text(text: str, out: bytearray) -> None:
    raw = text.encode("utf-8", "replace")
    _pack_number(len(raw), out)
    out += raw


def _pack_number(number: int, out: bytearray) -> None:
    if number < 0:
        raise ValueError("parts overlap")
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


class _Unpacker:
    """Reads what `_pack` wrote; ValueError for anything else."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 1

    def byte(self) -> int:
        if self.at >= len(self.raw):
            raise ValueError("packed parts end early")
        self.at += 1
        return self.raw[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while (byte := self.byte()) > 0x7F:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("packed number too large")
        return value | byte << shift

    def text(self) -> str:
        size = self.number()
        start = self.at
        self.at += size
        if self.at > len(self.raw):
            raise ValueError("packed parts end early")
        return self.raw[start : self.at].decode()  # UnicodeDecodeError is a ValueError

    def part(self, cursor: int, depth: int) -> Part:
        if depth > 2 * MAX_DEPTH:
            raise ValueError("packed parts too deep")
        words = []
        for table in _TABLES:
            place = self.byte()
            if place != _SPELT and place >= len(table):
                raise ValueError("unknown word in packed parts")
            words.append(self.text() if place == _SPELT else table[place])
        filename = self.text()
        header = cursor + self.number()
        body = header + self.number()
        end = body + self.number()
        children = []
        cursor = body
        for _ in range(self.number()):
            child = self.part(cursor, depth + 1)
            cursor = child.end
            children.append(child)
        kind, _, subtype = words[0].partition("/")
        return Part(kind, subtype, words[1], words[2], filename, words[3], header, body, end, tuple(children))


def unpack_parts(raw: bytes) -> Part:
    """The tree again. ValueError when the bytes are not of `pack_parts`."""
    if not raw or raw[0] != _VERSION:
        raise ValueError("packed parts of an unknown version")
    unpacker = _Unpacker(raw)
    part = unpacker.part(0, 0)
    if unpacker.at != len(raw):
        raise ValueError("bytes after packed parts")
    return part


# --- finding --------------------------------------------------------------------------------------------------------


def find_part(root: Part, number: Sequence[int]) -> Part | None:
    """The part of an IMAP part number (rfc9051 6.4.5.1); () is the root, (1,) a letter's only part. In a message/rfc822
    the numbers go on with the parts of the letter inside, which is `children[0]`."""
    at = root
    inside: Part | None = root  # the letter whose parts the next number counts, when it has only one
    for n in number:
        if inside is not None:
            if inside.type != "multipart":
                if n != 1:
                    return None
                at = inside
                inside = at.children[0] if at.type == "message" and at.children else None
                if inside is None and at is root and len(number) > 1:
                    return None
                continue
            at = inside
        if at.type != "multipart" or not 1 <= n <= len(at.children):
            return None
        at = at.children[n - 1]
        inside = at.children[0] if at.type == "message" and at.children else None
    return at


def walk(part: Part) -> Iterator[Part]:
    """The part and all within, in order."""
    yield part
    for child in part.children:
        yield from walk(child)


# --- bodies ---------------------------------------------------------------------------------------------------------


def decode_body(data: Buffer, part: Part, limit: int = 1 << 30) -> bytes:
    """The body with its transfer encoding off, at most `limit` bytes. Errors in it are stepped over."""
    start, end = part.body, part.end
    match part.encoding:
        case "base64":
            # 4 characters for 3 bytes and 2 for each line end; what a line-by-line encoder puts in lines of 4 is rare.
            return unbase64(data[start : min(end, start + limit * 3 // 2 + 100)])[:limit]
        case "quoted-printable":
            return unquote(data[start : min(end, start + limit * 3 + 100)])[:limit]
        case "x-uuencode" | "uuencode" | "x-uue":
            return _unuu(data[start : min(end, start + limit * 3 // 2 + 1000)])[:limit]
    return data[start : min(end, start + limit)]


# White space at the end of a line was added on the way (rfc2045 6.7, 3), also behind the "=" of a soft line break.
_TRAILING = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")


def unquote(raw: bytes, *, last: bool = True) -> bytes:
    """Quoted-printable taken off whole lines; of the `last` one the end is here though no line end is."""
    lines = _TRAILING.sub(b"", raw)
    return a2b_qp(lines.rstrip(b" \t") if last else lines)


def _unuu(raw: bytes) -> bytes:
    out = []
    lines = iter(raw.splitlines())
    for line in lines:
        if line.startswith(b"begin "):
            break
    for line in lines:
        if line == b"end":
            break
        try:
            out.append(a2b_uu(line))
        except UuError:
            continue
    return b"".join(out)


_HIDDEN = re.compile(r"<(!--|style\b|script\b|title\b)", re.I)
_HIDDEN_ENDS = {"!--": "-->", "style": "</style", "script": "</script", "title": "</title"}
_BLOCK = re.compile(
    r"</?(?:p|div|br|tr|td|th|li|ul|ol|dl|dt|dd|table|h[1-6]|hr|blockquote|pre|section|article|header|footer|option)"
    r"(?![a-z0-9])[^<>]*>",
    re.I,
)
_TAG = re.compile(r"</?[a-z!?][^<>]*>", re.I)
_META_CHARSET = re.compile(rb"""<meta[^<>]{0,200}charset\s*=\s*["']?([\w-]{1,40})""", re.I)
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n\s*\n\s*")


def html_text(source: str) -> str:
    """The words of an HTML text: no tags, no styles, a new line for each block. For reading by machines only: what it
    gives is never shown as HTML again."""
    low = source.lower()
    if len(low) != len(source):  # a letter whose small form is longer would shift the places
        low = source
    kept = []
    at = 0
    while match := _HIDDEN.search(source, at):
        kept.append(source[at : match.start()])
        ending = _HIDDEN_ENDS[match[1].lower()]
        at = low.find(ending, match.end())
        if at < 0:
            at = len(source)
            break
        at += len(ending) if ending == "-->" else 0  # "</style >" is taken off with the other tags
    kept.append(source[at:])
    text = " ".join("".join(kept).split())
    text = html.unescape(_TAG.sub("", _BLOCK.sub("\n", text)))
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()


def part_text(data: Buffer, part: Part, limit: int) -> str:
    """The words of a text part, at most `limit` characters, NFC: transfer encoding off, charset read as declared or,
    when that cannot be, guessed; HTML as plain text."""
    is_html = part.subtype in ("html", "xhtml+xml")
    room = limit * 4 + (4 * limit + 65_536 if is_html else 0)  # four bytes a character; tags and styles besides
    raw = decode_body(data, part, room)
    charset = part.charset
    if is_html and not charset and (meta := _META_CHARSET.search(raw, 0, 2048)):
        charset = meta[1].decode("ascii").lower()
    text = legacy.decode(raw, charset, cut=len(raw) == room).removeprefix("\ufeff")
    if is_html:
        text = html_text(text)
    return nfc(text[:limit]).replace("\0", " ")  # PostgreSQL keeps no NUL


_SUBJECT = frozenset([b"subject"])


def letter_text(data: Buffer, root: Part, limit: int) -> str:
    """All that can be searched, at most `limit` characters: the text parts (of an alternative the plain one), the
    subjects of letters within, the names of files."""
    out: list[str] = []
    _gather(data, root, limit, out)
    return "\n".join(out)[:limit].replace("\0", " ")


def _gather(data: Buffer, part: Part, left: int, out: list[str]) -> int:
    """Appends the part's text to `out`; returns how many characters are left."""
    if left <= 0:
        return left
    if part.filename:
        out.append(part.filename[:left])
        left -= len(out[-1])
    if part.type == "multipart":
        children: Sequence[Part] = part.children
        if part.subtype == "alternative":
            children = sorted(children, key=lambda child: (child.type, child.subtype) != ("text", "plain"))
            told = False
            for child in children:
                if told and child.type == "text":
                    continue
                before = left
                left = _gather(data, child, left, out)
                told = told or left < before
            return left
        for child in children:
            left = _gather(data, child, left, out)
    elif part.type == "message" and part.children:
        inner = part.children[0]
        subject = wanted_fields(data[inner.header : min(inner.body, inner.header + 65_536)], _SUBJECT).get(b"subject")
        if subject:
            out.append(decode_header(subject[0])[:left])
            left -= len(out[-1])
        left = _gather(data, inner, left, out)
    elif part.type == "text" and left > 0:
        text = part_text(data, part, left).strip()
        if text:
            out.append(text)
            left -= len(text)
    return left


def header_block(data: Buffer, part: Part) -> bytes:
    """The part's header as it stands, with its closing empty line."""
    return data[part.header : part.body]
