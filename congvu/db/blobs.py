"""The blob keeper: every content stored once, by its hash, compressed, never changed.

Small blobs are appended to pack files, one `fdatasync` for as many as wait; large ones get a file each. Order of safety: the
blob is on disk before any row speaks of it. Garbage (a blob no row speaks of) is swept later, by mark and sweep with a
grace time; there are no reference counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Protocol

Buffer = bytes | mmap


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored content. `hash`: BLAKE3-256 of the bytes as received; `size`: their number; `place`: the keeper's own words."""

    hash: bytes
    size: int
    place: str


class Spool:
    """A content while it arrives: hashed as it comes, in memory up to `memory` bytes, beyond that in a temporary file.

    `write(data)` adds bytes (blocking for the file part is bounded by one write of the page cache); `size`; `digest()`;
    `buffer()` gives all of it as `bytes` or a read-only `mmap`; `close()` frees it. Raises `NotNow("disk-full")`.
    """


class BlobKeeper(Protocol):
    """Where blobs are kept."""

    def spool(self) -> Spool: ...

    async def put(self, spool: Spool) -> Blob:
        """Makes the content safe on disk and tells where it lies. A content already kept is not written again.

        Raises `NotNow("disk-full")` or `NotNow("storage-trouble")`.
        """
        ...

    def read(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of the content. Synchronous: called inside `db.read` functions and worker threads.

        Raises `LookupError` when the bytes are gone and `ValueError` when they are damaged (both are reported by check).
        """
        ...

    def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The same in pieces of at most 256 KiB, with bounded memory."""
        ...

    def close(self) -> None: ...
