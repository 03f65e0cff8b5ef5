"""Pack files: many small contents one after the other, each behind a header that lets a pack be read without the
database.

    record = "CVr1" | hash 32 | raw size 4 | stored size 4 | form 1 | 0 0 0 | crc32 of the header so far 4 | stored
    bytes

All numbers are little-endian; form 0 is the raw bytes, 1 a zstd frame. A pack is only ever appended to by the process
that made it, and never again after that process has gone: what a crash tore stays at its end, where no row speaks of
it.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import zstandard
from blake3 import blake3

from congvu.db.blobs import Blob, Buffer
from congvu.db.frames import Pread

MAGIC = b"CVr1"
RAW, ZSTD = 0, 1
HEAD = struct.Struct("<4s32sIIB3x")
CRC = struct.Struct("<I")
HEADER = HEAD.size + CRC.size
VECTORS = 1000  # below the kernel's IOV_MAX of 1024
LEVEL = 1  # measured on letters: as small as level 3, in half the time


def record(hash_: bytes, data: Buffer, compressor: zstandard.ZstdCompressor) -> tuple[bytes, Buffer]:
    """The header and the stored bytes of one content."""
    stored: Buffer = compressor.compress(memoryview(data))
    form = ZSTD
    if len(stored) >= len(data):
        stored, form = data, RAW
    head = HEAD.pack(MAGIC, hash_, len(data), len(stored), form)
    return head + CRC.pack(zlib.crc32(head)), stored


def append(fd: int, parts: Sequence[Buffer]) -> None:
    """Writes all parts at the end, in as few calls as the kernel allows."""
    for at in range(0, len(parts), VECTORS):
        some = [memoryview(part) for part in parts[at : at + VECTORS]]
        while some:
            written = os.writev(fd, some)
            while some and written >= len(some[0]):
                written -= len(some[0])
                del some[0]
            if some and written:
                some[0] = some[0][written:]


def _header(head: bytes) -> tuple[bytes, int, int, int] | None:
    """Hash, raw size, stored size, form; None when this is no header."""
    if len(head) < HEADER or zlib.crc32(head[: HEAD.size]) != CRC.unpack_from(head, HEAD.size)[0]:
        return None
    magic, hash_, raw, stored, form = HEAD.unpack_from(head)
    return (hash_, raw, stored, form) if magic == MAGIC and form in (RAW, ZSTD) else None


def read(pread: Pread, offset: int, length: int, blob: Blob, decompressor: zstandard.ZstdDecompressor) -> bytes:
    """One whole content, proved by its hash. LookupError: not there; ValueError: damaged."""
    data = pread(length, offset)
    if len(data) < length:
        raise LookupError(f"{blob.place}: the pack is shorter")
    header = _header(data)
    if header is None or header[0] != blob.hash or header[1] != blob.size or HEADER + header[2] != length:
        raise ValueError(f"{blob.place}: another record lies here")
    whole = data[HEADER:]
    if header[3] == ZSTD:
        try:
            if zstandard.frame_content_size(whole) != blob.size:
                raise ValueError(f"{blob.place}: damaged")
            whole = decompressor.decompress(whole)
        except zstandard.ZstdError as error:
            raise ValueError(f"{blob.place}: damaged: {error}") from error
    if len(whole) != blob.size or blake3(whole).digest() != blob.hash:
        raise ValueError(f"{blob.place}: damaged")
    return whole


def scan(path: Path, place: str) -> Iterator[Blob]:
    """Every record by its header; stops at the first thing that is none. `place` is the pack's own part of the
    place."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        offset = 0
        while (header := _header(os.pread(file.fileno(), HEADER, offset))) is not None:
            hash_, raw, stored, _ = header
            if offset + HEADER + stored > size:
                return
            yield Blob(hash_, raw, f"{place}:{offset}+{HEADER + stored}")
            offset += HEADER + stored
