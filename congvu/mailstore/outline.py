"""What a letter is made of, as its row keeps it: ENVELOPE, BODYSTRUCTURE, and where its parts lie.

The three are packed into one value, compressed with the words that nearly all of them share: they were two thirds of
every row, of which a page of SQLite's held one where it holds two now. Promises: what was packed comes out as it was,
or `ValueError`. Must never change `_WORDS` or the form: another kind would get another first byte.

    packed = 1 | size of ENVELOPE 4 | size of BODYSTRUCTURE 4, little-endian | zstd frame of the three

Rows from before schema 6 hold the BODYSTRUCTURE itself in that place, which begins with "(", and the others in columns
of their own.
"""

import struct
import threading
from collections.abc import Sequence
from typing import NamedTuple

import zstandard

_HEAD = struct.Struct("<BII")
_PACKED = 1
_OLD = b"("
_LEVEL = -1  # without entropy coding: a tenth larger than level 1, and read in less than half the time
# Useful words stand last: structures and headers as mail programs make them.
_WORDS = (
    '("APPLICATION" "VND.MS-EXCEL" ("NAME" ".xls")("APPLICATION" "ZIP" ("NAME" ".zip")("APPLICATION" "MSWORD" '
    '("NAME" ".doc") NIL NIL "BASE64" ("APPLICATION" "OCTET-STREAM" ("NAME" ".rar")("IMAGE" "PNG" ("NAME" '
    '"image001.png") "<image001.png@01D' + '" NIL "BASE64" NIL ("INLINE" ("FILENAME" "image.jpg")) NIL NIL)'
    '("IMAGE" "JPEG" ("NAME" ".jpg")("TEXT" "CALENDAR" ("CHARSET" "UTF-8" "METHOD" "REQUEST")'
    '("MESSAGE" "DELIVERY-STATUS" NIL NIL NIL "7BIT" "REPORT" ("REPORT-TYPE" "delivery-status" "BOUNDARY" "'
    '("MESSAGE" "RFC822" NIL NIL NIL "8BIT" '
    '"RELATED" ("TYPE" "text/html" "BOUNDARY" "----=_NextPart_000_0000_01D' + '") NIL NIL NIL)'
    '("APPLICATION" "VND.OPENXMLFORMATS-OFFICEDOCUMENT.WORDPROCESSINGML.DOCUMENT" ("NAME" ".docx") NIL NIL "BASE64" '
    '("APPLICATION" "VND.OPENXMLFORMATS-OFFICEDOCUMENT.SPREADSHEETML.SHEET" ("NAME" ".xlsx") NIL NIL "BASE64" '
    'NIL ("ATTACHMENT" ("FILENAME" ".xlsx")) NIL NIL)'
    '("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" ("TEXT" "PLAIN" ("CHARSET" "UTF-8" "FORMAT" "flowed" '
    '"DELSP" "yes") NIL NIL "QUOTED-PRINTABLE" "BASE64" "----=_Part_ "000000000000'
    '") NIL NIL NIL)("APPLICATION" "PDF" ("NAME" ".pdf") NIL NIL "BASE64" NIL ("ATTACHMENT" ("FILENAME" ".pdf")) '
    'NIL NIL) "MIXED" ("BOUNDARY" "----=_'
    '((("TEXT" "PLAIN" ("CHARSET" "UTF-8") NIL NIL "8BIT" NIL NIL NIL NIL)("TEXT" "HTML" ("CHARSET" "UTF-8") NIL NIL '
    '"QUOTED-PRINTABLE" NIL NIL NIL NIL) "ALTERNATIVE" ("BOUNDARY" "'
    '(NIL "=?windows-1258?Q?" "=?utf-8?Q?_" "=?UTF-8?Q?" NIL "undisclosed-recipients" NIL NIL)) NIL "@mail.gmail.com>")'
    ' "<0000000000$" "@gmail.com" NIL "=?utf-8?B?" "?= =?utf-8?B?" "Mon, 01 Jan 2025 Tue, Wed, Thu, Fri, Sat, Sun, '
    'Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec 2026 00:00:00 +0000 2027 08:00:00 +0700" '
    '"Re: Fwd: =?UTF-8?B?" ?= =?UTF-8?B?" ((NIL NIL "" "gov.vn")) NIL NIL NIL NIL "<" "gov.vn>")'
).encode()
_SHARED = zstandard.ZstdCompressionDict(_WORDS, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_SHARED.precompute_compress(level=_LEVEL)


_DAMAGE = (zstandard.ZstdError, MemoryError, ValueError, IndexError, struct.error)


class Outline(NamedTuple):
    """As `codec.mime.Scan` has them."""

    envelope: bytes
    structure: bytes
    parts: bytes


class _Tools(threading.local):
    """Not for two threads at once."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=_SHARED)
        self.decompressor = zstandard.ZstdDecompressor(dict_data=_SHARED)


_tools = _Tools()


def pack(envelope: bytes, structure: bytes, parts: bytes) -> bytes:
    head = _HEAD.pack(_PACKED, len(envelope), len(structure))
    return head + _tools.compressor.compress(envelope + structure + parts)


def unpack(packed: bytes, envelope: bytes, parts: bytes) -> Outline:
    """`envelope`, `parts`: of a row from before. Raises `ValueError`: damaged."""
    if packed[:1] == _OLD:
        return Outline(envelope, packed, parts)
    try:
        kind, first, size = _HEAD.unpack_from(packed)
        whole = _tools.decompressor.decompress(packed[_HEAD.size :])
    except _DAMAGE as error:
        raise ValueError(f"an outline that cannot be read: {error}") from error
    if kind != _PACKED or first + size > len(whole):
        raise ValueError("an outline of another kind, or cut short")
    return Outline(whole[:first], whole[first : first + size], whole[first + size :])


def parts_of(packed: bytes, parts: bytes) -> bytes:
    """The parts alone, as `codec.mime.unpack_parts` reads them; what it refuses when they are damaged."""
    try:
        return unpack(packed, b"", parts).parts
    except ValueError:
        return b""


def heads(
    packed: Sequence[bytes | None], envelopes: Sequence[bytes | None]
) -> tuple[list[bytes | None], list[bytes | None]]:
    """The ENVELOPEs and BODYSTRUCTUREs of many, at half of what `unpack` costs. None where there is no row, or a
    damaged one."""
    decompress, sizes, start = _tools.decompressor.decompress, _HEAD.unpack_from, _HEAD.size
    first: list[bytes | None] = []
    second: list[bytes | None] = []
    for of, envelope in zip(packed, envelopes, strict=True):
        try:
            if of is None or of[0] != _PACKED:
                raise ValueError("another kind")
            whole = decompress(of[start:])
            _, border, size = sizes(of)
            if border + size > len(whole):
                raise ValueError("cut short")
        except _DAMAGE:
            old = of is not None and of[:1] == _OLD
            first.append(envelope if old else None)
            second.append(of if old else None)
        else:
            first.append(whole[:border])
            second.append(whole[border : border + size])
    return first, second
