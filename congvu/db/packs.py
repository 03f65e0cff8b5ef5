"""Pack files: many small contents one after the other, each behind a header that lets a pack be read without the
database.

    record = "CVr1" | hash 32 | raw size 4 | stored size 4 | form 1 | 0 0 0 | crc32 of the header so far 4 | stored
    bytes
    dictionary = "CVd1" | hash 32 | when it was made 4 | size 4 | 0 | 0 0 0 | crc32 of the header so far 4 | the bytes

All numbers are little-endian; form 0 is the raw bytes, 1 a zstd frame, 2 one made with the pack's dictionary. With that
the pack begins, twice, so that a spot of the disk that cannot be read takes no other letters with it; no pack needs
another file. A pack is only ever appended to by the process
that made it, and never again after that process has gone: what a crash tore stays at its end, where no row speaks of
it.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import zstandard
from blake3 import blake3

from congvu.db.blobs import Blob, Buffer
from congvu.db.frames import Pread

MAGIC, DICTIONARY = b"CVr1", b"CVd1"
RAW, ZSTD, SHARED = 0, 1, 2
DICTIONARY_MAX = 64 << 10
HEAD = struct.Struct("<4s32sIIB3x")
CRC = struct.Struct("<I")
HEADER = HEAD.size + CRC.size
VECTORS = 1000  # below the kernel's IOV_MAX of 1024
LEVEL = 1  # measured on letters: as small as level 3, in half the time


@dataclass(frozen=True, slots=True)
class Dictionary:
    """`made`: seconds since 1970. Empty: the pack has none."""

    made: int = 0
    content: bytes = b""


def record(hash_: bytes, data: Buffer, compressor: zstandard.ZstdCompressor, form: int) -> tuple[bytes, Buffer]:
    """The header and the stored bytes of one content. `form`: what the compressor makes, ZSTD or SHARED."""
    stored: Buffer = compressor.compress(memoryview(data))
    if len(stored) >= len(data):
        stored, form = data, RAW
    return _head(MAGIC, hash_, len(data), len(stored), form), stored


def _head(*values: object) -> bytes:
    head = HEAD.pack(*values)
    return head + CRC.pack(zlib.crc32(head))


def beginning(dictionary: Dictionary) -> bytes:
    """What a new pack begins with."""
    content = dictionary.content
    if not content:
        return b""
    return 2 * (_head(DICTIONARY, blake3(content).digest(), dictionary.made, len(content), 0) + content)


def begun(pread: Pread) -> tuple[Dictionary, int]:
    """A pack's dictionary, from whichever of its two copies is whole, and where the records begin."""
    head = pread(2 * (HEADER + DICTIONARY_MAX), 0)
    if _header(head) is not None:
        return Dictionary(), 0
    at = -1
    while (at := head.find(DICTIONARY, at + 1)) >= 0:
        if (
            len(head) >= at + HEADER
            and zlib.crc32(head[at : at + HEAD.size]) == CRC.unpack_from(head, at + HEAD.size)[0]
        ):
            _, hash_, made, size, _ = HEAD.unpack_from(head, at)
            content = head[at + HEADER : at + HEADER + size]
            if blake3(content).digest() == hash_:
                return Dictionary(made, content), (HEADER + size) * (1 if at else 2) + at
    return Dictionary(), 0


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
    return (hash_, raw, stored, form) if magic == MAGIC and form in (RAW, ZSTD, SHARED) else None


def read(
    pread: Pread,
    offset: int,
    length: int,
    blob: Blob,
    plain: zstandard.ZstdDecompressor,
    shared: Callable[[], zstandard.ZstdDecompressor],
) -> bytes:
    """One whole content, proved by its hash. LookupError: not there; ValueError: damaged.

    `shared` gives the decompressor with the pack's dictionary, when it is needed.
    """
    data = pread(length, offset)
    if len(data) < length:
        raise LookupError(f"{blob.place}: the pack is shorter")
    header = _header(data)
    if header is None or header[0] != blob.hash or header[1] != blob.size or HEADER + header[2] != length:
        raise ValueError(f"{blob.place}: another record lies here")
    whole = data[HEADER:]
    if header[3] != RAW:
        try:
            if zstandard.frame_content_size(whole) != blob.size:
                raise ValueError(f"{blob.place}: damaged")
            whole = (plain if header[3] == ZSTD else shared()).decompress(whole)
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
        _, offset = begun(partial(os.pread, file.fileno()))
        while (header := _header(os.pread(file.fileno(), HEADER, offset))) is not None:
            hash_, raw, stored, _ = header
            if offset + HEADER + stored > size:
                return
            yield Blob(hash_, raw, f"{place}:{offset}+{HEADER + stored}")
            offset += HEADER + stored
