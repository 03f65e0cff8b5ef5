"""The blob keeper: every content stored once, by its hash, compressed, never changed.

Small blobs are appended to pack files, one `fdatasync` for as many as wait; large ones get a file each. Order of
safety: the blob is on disk before any row speaks of it. Garbage (a blob no row speaks of) is swept later, by mark and
sweep with a grace time; there are no reference counts.
"""

import errno
import mmap
import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from blake3 import blake3

from congvu.base.failure import NotNow
from congvu.base.observe import log

if TYPE_CHECKING:
    from congvu.db.engine import Database, Tx

R = TypeVar("R")
T = TypeVar("T")
Buffer = bytes | mmap.mmap

MEMORY = 256 << 10  # a letter up to this size never touches a temporary file
PIECE = 256 << 10  # what `stream` gives at a time
RECENT = 4096  # contents whose place is remembered …
RECENT_SECONDS = 600.0  # … for far less than the sweeper's grace time


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored content.

    `hash`: BLAKE3-256 of the bytes as received; `size`: their number; `place`: the keeper's own words.
    """

    hash: bytes
    size: int
    place: str


# Which of these hashes have a row in the table of blobs already.
Known = Callable[[list[bytes]], dict[bytes, Blob]]


def trouble(error: OSError) -> NotNow:
    """A failing disk as the caller shall see it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NotNow("disk-full")
    log.error("blobs: %s", error)
    return NotNow("storage-trouble")


class Spool:
    """A content while it arrives: in memory up to `memory` bytes, beyond that in a temporary file without a name.

    Not for two threads at once. `close` frees everything (also done when the last reference goes); a `buffer` handed
    out before stays good. Raises `NotNow` when the disk is full or fails.
    """

    __slots__ = ("_buffer", "_fd", "_folder", "_hash", "_hasher", "_memory", "_pieces", "size")

    def __init__(self, folder: Path, memory: int = MEMORY) -> None:
        self._folder = folder
        self._memory = memory
        self._pieces: list[bytes] = []
        self._fd = -1
        self._hasher = blake3()
        self._hash: bytes | None = None
        self._buffer: Buffer | None = None
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._hash = self._buffer = None
        if self._fd < 0:
            self._pieces.append(bytes(data))
            self.size += len(data)
            if self.size > self._memory:
                self._spill()
            return
        # Small letters are hashed in one go at the end, which is faster; this one may be long.
        self._hasher.update(data)
        self._append(data)
        self.size += len(data)

    def digest(self) -> bytes:
        """BLAKE3-256 of all that was written so far."""
        if self._hash is None:
            hasher = self._hasher if self._fd >= 0 else blake3(self.buffer())
            self._hash = hasher.digest()
        return self._hash

    def buffer(self) -> Buffer:
        """All that was written so far, as bytes or as a read-only map of the temporary file."""
        if self._buffer is None:
            if self._fd >= 0:
                try:
                    self._buffer = mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ)
                except OSError as error:
                    raise trouble(error) from error
            else:
                whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
                self._pieces = [whole]
                self._buffer = whole
        return self._buffer

    def close(self) -> None:
        self._pieces = []
        self._buffer = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spill(self) -> None:
        whole = b"".join(self._pieces)
        path = self._folder / f"spool-{secrets.token_hex(8)}"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            path.unlink()  # gone by itself, whatever happens to us
        except OSError as error:
            raise trouble(error) from error
        self._hasher.update(whole)
        self._append(whole)
        self._pieces = []

    def _append(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise trouble(error) from error


class Recent:
    """Where the contents of the last minutes lie."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blobs: OrderedDict[bytes, tuple[float, Blob]] = OrderedDict()

    def get(self, hash_: bytes) -> Blob | None:
        with self._lock:
            found = self._blobs.get(hash_)
            if found is None or found[0] < time.monotonic():
                return None
            return found[1]

    def add(self, blobs: list[Blob]) -> None:
        until = time.monotonic() + RECENT_SECONDS
        with self._lock:
            for blob in blobs:
                self._blobs[blob.hash] = until, blob
                self._blobs.move_to_end(blob.hash)
            while len(self._blobs) > RECENT:
                self._blobs.popitem(last=False)


class BlobKeeper(Protocol):
    """Where blobs are kept."""

    small: int  # contents up to so many bytes are put by `put_many` in no more time than a disk takes to sync

    def spool(self) -> Spool: ...

    async def put(self, spool: Spool) -> Blob:
        """Makes the content safe on disk and tells where it lies. A content already kept is not written again.

        The spool stays the caller's to close. Raises `NotNow("disk-full")` or `NotNow("storage-trouble")`.
        """
        ...

    def put_many(self, contents: Sequence[Buffer]) -> list[Blob]:
        """The same for several small contents, with one sync for all of them. Synchronous: for threads."""
        ...

    def read(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of the content. Synchronous: called inside `db.read` functions and worker threads.

        Raises `LookupError` when the bytes are gone and `ValueError` when they are damaged (check reports both);
        `NotNow("storage-trouble")` when the disk or the store does not answer.
        """
        ...

    def at_hand(self, blob: Blob) -> bytes | None:
        """All of a small content, where it lies in memory; None where a disk or a network would have to be waited for.

        Never waits, so it may be asked on an event loop. Raises `ValueError` when the bytes are damaged.
        """
        ...

    def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The same in pieces of at most 256 KiB, with bounded memory."""
        ...

    def verify(self, blob: Blob) -> None:
        """Reads all of it and hashes it anew. Raises as `read` does."""
        ...

    def places(self) -> Iterator[Blob]:
        """Everything that lies in the keeper, for check and the sweeper; what is torn or foreign is left out."""
        ...

    def close(self) -> None: ...


TOUCH_AFTER = 3600  # a content stored again within the hour need not say so: the sweeper's grace is days


def register(tx: "Tx", blobs: Sequence[Blob], now: float) -> None:
    """The rows of contents whose bytes are safe already."""
    tx.many(
        # The newer place is good for sure; the older one may be what made the keeper write the content once more.
        "INSERT INTO blob (hash, size, place, touched) VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE"
        " SET touched = excluded.touched, place = excluded.place"
        " WHERE blob.touched < excluded.touched - ? OR blob.place <> excluded.place",
        [(blob.hash, blob.size, blob.place, int(now), TOUCH_AFTER) for blob in blobs],
    )


async def keep(
    db: "Database",
    blobs: BlobKeeper,
    spools: Sequence[Spool],
    f: Callable[["Tx", list[tuple[list[Blob], T]]], list[R]],
    item: T,
    alone: bool = False,
) -> R:
    """Makes contents safe and then runs `f(tx, [(blobs, item), …])`, which may speak of them, in the next group
    commit, together with what waits there or, since it takes long, `alone`.

    Small contents are handed to the writer with the function, so that those of a whole batch are synced together and
    nobody waits for another thread in between. The spools stay the caller's to close. Raises as `BlobKeeper.put` and
    `Database.write` do.
    """
    # The bytes, not the spool: who gives up waiting closes it, while this goes on.
    if all(spool.size <= blobs.small for spool in spools):
        contents = [spool.buffer() for spool in spools]
        if alone:
            return await db.write_with(blobs, contents, _one, f, item)
        return await db.write_together(blobs, contents, f, item)
    placed = [await blobs.put(spool) for spool in spools]
    return await db.write(_one, placed, f, item)


def _one(
    tx: "Tx",
    placed: list[Blob],
    f: Callable[["Tx", list[tuple[list[Blob], T]]], list[R]],
    item: T,
) -> R:
    return f(tx, [(placed, item)])[0]
