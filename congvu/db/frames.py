"""Large contents: a file each, in frames of 256 KiB compressed on their own, so that any range is read with little
memory.

    file = "CVl1" | hash 32 | raw size 8 | frame size 4 | frames 4 | crc32 so far 4
         | for each frame: stored size 4, crc32 of the stored bytes 4 | crc32 of this table 4 | the frames

All numbers are little-endian. A frame whose stored size is its raw size is stored raw, any other is a zstd frame. What
hardly compresses is kept raw: base64 of pictures or archives would shrink by a quarter, and take twice the processor
time at every reading.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard

from congvu.db.blobs import Blob, Buffer

MAGIC = b"CVl1"
FRAME = 256 << 10
HEAD = struct.Struct("<4s32sQII")
CRC = struct.Struct("<I")
ENTRY = struct.Struct("<II")
HEADER = HEAD.size + CRC.size
Pread = Callable[[int, int], bytes]  # length, offset, as os.pread has them; a short answer means the end
WORTH = 0.7  # of its size a frame must shrink to, or it stays as it is
TRIED = 8  # behind a frame that did not shrink one in so many is tried
FRAMES_MAX = 1 << 20  # 256 GiB: no header may make us read more


@dataclass(frozen=True, slots=True)
class Table:
    """What the head of a large file says. `starts[i]` to `starts[i + 1]` are the stored bytes of frame i."""

    hash: bytes
    size: int
    frame: int
    starts: tuple[int, ...]
    crcs: tuple[int, ...]


def write(fd: int, hash_: bytes, data: Buffer, compressor: zstandard.ZstdCompressor) -> None:
    """Writes a new file from its beginning. The caller syncs it."""
    count = -(-len(data) // FRAME)
    entries = []
    os.lseek(fd, HEADER + count * ENTRY.size + CRC.size, os.SEEK_SET)
    shrinks = True
    for index in range(count):
        stored = raw = data[index * FRAME : (index + 1) * FRAME]
        if shrinks or index % TRIED == 0:
            tried = compressor.compress(raw)
            shrinks = len(tried) < WORTH * len(raw)
            stored = tried if shrinks else raw
        entries.append(ENTRY.pack(len(stored), zlib.crc32(stored)))
        _write_all(fd, stored)
    head = HEAD.pack(MAGIC, hash_, len(data), FRAME, count)
    table = b"".join(entries)
    os.lseek(fd, 0, os.SEEK_SET)
    _write_all(fd, head + CRC.pack(zlib.crc32(head)) + table + CRC.pack(zlib.crc32(table)))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_table(pread: Pread, place: str) -> Table:
    """Raises ValueError when the head is damaged."""
    head = pread(HEADER, 0)
    if len(head) < HEADER or zlib.crc32(head[: HEAD.size]) != CRC.unpack_from(head, HEAD.size)[0]:
        raise ValueError(f"{place}: damaged head")
    magic, hash_, size, frame, count = HEAD.unpack_from(head)
    if magic != MAGIC or count > FRAMES_MAX or not frame or count != -(-size // frame):
        raise ValueError(f"{place}: damaged head")
    table = pread(count * ENTRY.size + CRC.size, HEADER)
    body = table[: count * ENTRY.size]
    if len(table) < count * ENTRY.size + CRC.size or zlib.crc32(body) != CRC.unpack_from(table, len(body))[0]:
        raise ValueError(f"{place}: damaged table")
    starts = [HEADER + len(table)]
    crcs = []
    for stored, crc in ENTRY.iter_unpack(body):
        starts.append(starts[-1] + stored)
        crcs.append(crc)
    return Table(hash_, size, frame, tuple(starts), tuple(crcs))


def stream(
    pread: Pread,
    table: Table,
    blob: Blob,
    start: int,
    end: int,
    decompressor: Callable[[], zstandard.ZstdDecompressor],
) -> Iterator[bytes]:
    """Bytes start to end, a frame at a time. LookupError: cut short; ValueError: damaged.

    `decompressor` is asked for each frame: who reads on may be another thread than who began, and two threads must not
    meet in one.
    """
    if table.hash != blob.hash or table.size != blob.size:
        raise ValueError(f"{blob.place}: another content lies here")
    for index in range(start // table.frame, -(-end // table.frame)):
        begin = index * table.frame
        raw_size = min(table.frame, table.size - begin)
        stored_size = table.starts[index + 1] - table.starts[index]
        data = pread(stored_size, table.starts[index])
        if len(data) < stored_size:
            raise LookupError(f"{blob.place}: the file is shorter")
        if stored_size > raw_size or zlib.crc32(data) != table.crcs[index]:
            raise ValueError(f"{blob.place}: frame {index} is damaged")
        if stored_size < raw_size:
            try:
                if zstandard.frame_content_size(data) != raw_size:
                    raise ValueError(f"{blob.place}: frame {index} is damaged")
                data = decompressor().decompress(data)
            except zstandard.ZstdError as error:
                raise ValueError(f"{blob.place}: frame {index} is damaged: {error}") from error
        yield data if start <= begin and begin + raw_size <= end else data[max(0, start - begin) : end - begin]
