"""ZIP archives as office files are made of them: few parts, stored or deflated.

Promises that reading costs no more than what is asked for: the directory is counted before it is believed, a part
comes in pieces and stops at its bound, whatever size it claims. Knows no encryption, no second volume, no ZIP64: no
office file that people fill in by hand needs them. Written archives hold the same bytes for the same parts.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MOST_PARTS = 2_000  # a spreadsheet of fifty sheets has some hundred
_PIECE = 64 << 10
_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_UTF8 = 0x800
_DAY = (2020 - 1980) << 9 | 1 << 5 | 1  # a date every part bears: the content decides about the bytes, nothing else


class BadZip(ValueError):
    """Not an archive, or one that is damaged, encrypted or beyond the bounds. Its text is a word for people."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: where its bytes begin, how many there are in the archive, whether they are deflated."""

    start: int
    size: int
    deflated: bool


def parts(data: bytes) -> dict[str, Part]:
    """The directory, by name. Raises `BadZip`."""
    end = data.rfind(b"PK\5\6", max(0, len(data) - 65_557))
    if end < 0 or end + _END.size > len(data):
        raise BadZip("zip")
    _, disk, first_disk, _, count, size, start, _ = _END.unpack_from(data, end)
    if disk or first_disk or count > MOST_PARTS or start + size > end:
        raise BadZip("zip directory")
    found = {}
    at = start
    for _ in range(count):
        if data[at : at + 4] != b"PK\1\2" or at + _CENTRAL.size > end:
            raise BadZip("zip directory")
        _, _, _, flags, method, _, _, _, packed, _, name, extra, comment, _, _, _, local = _CENTRAL.unpack_from(
            data, at
        )
        at += _CENTRAL.size
        if flags & 1:
            raise BadZip("encrypted")
        if method in (0, 8):
            text = data[at : at + name].decode("utf-8" if flags & _UTF8 else "cp437", "replace")
            found[text.lstrip("/").replace("\\", "/")] = _part(data, local, packed, method == 8)
        at += name + extra + comment
    return found


def _part(data: bytes, local: int, packed: int, deflated: bool) -> Part:
    if data[local : local + 4] != b"PK\3\4" or local + _LOCAL.size > len(data):
        raise BadZip("zip part")
    *_, name, extra = _LOCAL.unpack_from(data, local)
    start = local + _LOCAL.size + name + extra
    if start + packed > len(data):
        raise BadZip("zip part")
    return Part(start, packed, deflated)


def pieces(data: bytes, part: Part, most: int) -> Iterator[bytes]:
    """What a part holds, in pieces of at most 64 KiB. Raises `BadZip("too large")` beyond `most` bytes, and `BadZip`
    when it is damaged."""
    raw = memoryview(data)[part.start : part.start + part.size]
    if not part.deflated:
        if len(raw) > most:
            raise BadZip("too large")
        yield from (bytes(raw[at : at + _PIECE]) for at in range(0, len(raw), _PIECE))
        return
    inflate = zlib.decompressobj(-15)
    total = 0
    try:
        for at in range(0, len(raw), _PIECE):
            waiting: bytes | memoryview = raw[at : at + _PIECE]
            while waiting and not inflate.eof:
                piece = inflate.decompress(waiting, _PIECE)
                total += len(piece)
                if total > most:
                    raise BadZip("too large")
                yield piece
                waiting = inflate.unconsumed_tail
            if inflate.eof:
                return
        # What the window still holds after the last byte came in.
        while piece := inflate.decompress(b"", _PIECE):
            total += len(piece)
            if total > most:
                raise BadZip("too large")
            yield piece
    except zlib.error:
        raise BadZip("zip part") from None
    if not inflate.eof:
        raise BadZip("zip part")


def written(contents: Mapping[str, bytes]) -> bytes:
    """An archive of these parts, in this order."""
    body, directory = bytearray(), bytearray()
    for name, content in contents.items():
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = deflate.compress(content) + deflate.flush()
        crc, raw = zlib.crc32(content), name.encode()
        head = (20, _UTF8, 8, 0, _DAY, crc, len(packed), len(content), len(raw), 0)
        directory += _CENTRAL.pack(b"PK\1\2", 20, *head, 0, 0, 0, 0, len(body)) + raw
        body += _LOCAL.pack(b"PK\3\4", *head) + raw + packed
    end = _END.pack(b"PK\5\6", 0, 0, len(contents), len(contents), len(directory), len(body), 0)
    return bytes(body + directory + end)
