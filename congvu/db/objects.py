"""Blobs in an S3 store (or whatever `obstore` knows): one object each, `blob/ab/HASH`, in the form of `frames`.

Promises what `blobs.BlobKeeper` promises, as far as the store keeps what it has acknowledged. An object is put whole:
a name is never seen with half of its bytes.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import obstore
import zstandard
from blake3 import blake3
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from congvu.base.failure import NotNow
from congvu.base.observe import log, step
from congvu.db import frames
from congvu.db.blobs import Blob, Buffer, Known, Recent, Spool, trouble
from congvu.db.packs import LEVEL

T = TypeVar("T")

PUTS = 16  # at a time: a put is one round trip and mostly waiting
WHOLE = 1 << 20  # contents up to this size are fetched with one request


class ObjectKeeper:
    """`blobs.BlobKeeper` on an object store. `folder` holds what is not yet finished."""

    small = -1  # each is a request over a network

    def __init__(self, store: ObjectStore, folder: Path, known: Known | None = None) -> None:
        self._store = store
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._known = known
        self._recent = Recent()
        self._pool = ThreadPoolExecutor(PUTS, "blob-put")
        self._closed = False

    def spool(self) -> Spool:
        return Spool(self._folder)

    async def put(self, spool: Spool) -> Blob:
        if self._closed:
            raise NotNow("shutting-down")
        hash_ = spool.digest()
        blob = self._recent.get(hash_)
        if blob is not None:
            return blob
        # The bytes, not the spool: who gives up waiting closes it, while this goes on.
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._put, hash_, spool.buffer())

    def put_many(self, contents: Sequence[Buffer]) -> list[Blob]:
        return list(self._pool.map(self._put, [blake3(content).digest() for content in contents], contents))

    def _put(self, hash_: bytes, data: Buffer) -> Blob:
        kept = self._known([hash_]).get(hash_) if self._known else None
        if kept is None or not self._there(kept):
            kept = Blob(hash_, len(data), f"blob/{hash_.hex()[:2]}/{hash_.hex()}")
            unfinished = self._folder / f"object-{secrets.token_hex(8)}"
            try:
                with unfinished.open("w+b", buffering=0) as file:
                    unfinished.unlink()
                    frames.write(file.fileno(), hash_, data, zstandard.ZstdCompressor(level=LEVEL))
                    file.seek(0)
                    self._ask(partial(obstore.put, self._store, kept.place, file))
            except OSError as error:
                raise trouble(error) from error
            step("blob-synced")
        self._recent.add([kept])
        return kept

    def read(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        whole = b"".join(self.stream(blob, start, end))
        if len(whole) == blob.size and blake3(whole).digest() != blob.hash:
            raise ValueError(f"{blob.place}: damaged")
        return whole

    def at_hand(self, blob: Blob) -> bytes | None:
        return None

    def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        start = max(0, start)
        end = blob.size if end is None else min(end, blob.size)
        if start >= end:
            return
        pread = self._reader(blob)
        table = frames.read_table(pread, blob.place)
        decompressor = zstandard.ZstdDecompressor()  # this stream's own
        yield from frames.stream(pread, table, blob, start, end, lambda: decompressor)

    def verify(self, blob: Blob) -> None:
        hasher = blake3()
        for piece in self.stream(blob):
            hasher.update(piece)
        if hasher.digest() != blob.hash:
            raise ValueError(f"{blob.place}: damaged")

    def places(self) -> Iterator[Blob]:
        """The size is that of the content, so each object's head is read: slow, for check and the sweeper only."""
        for batch in obstore.list(self._store, "blob/"):
            for meta in batch:
                place = meta["path"]
                try:
                    table = frames.read_table(self._reader(Blob(b"", WHOLE + 1, place)), place)
                except (ValueError, LookupError):
                    continue
                yield Blob(table.hash, table.size, place)

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown()

    def _there(self, blob: Blob) -> bool:
        """A letter must not lean on an object that was lost."""
        try:
            self._ask(lambda: obstore.head(self._store, blob.place))
        except LookupError as error:
            log.error("blobs: kept once more, since it is gone: %s", error)
            return False
        return True

    def _reader(self, blob: Blob) -> frames.Pread:
        if not blob.place.startswith("blob/"):
            raise ValueError(f"{blob.place}: not a place of this keeper")
        if blob.size <= WHOLE:
            whole = self._ask(lambda: bytes(obstore.get(self._store, blob.place).bytes()))
            return lambda length, offset: whole[offset : offset + length]
        return lambda length, offset: self._ask(
            lambda: bytes(obstore.get_range(self._store, blob.place, start=offset, length=length))
        )

    def _ask(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except FileNotFoundError as error:
            raise LookupError(str(error)) from error
        except (BaseError, OSError) as error:
            log.error("object store: %s", error)
            raise NotNow("storage-trouble") from error


def open_objects(url: str, folder: Path, known: Known | None) -> ObjectKeeper:
    """`s3://BUCKET/PREFIX`; keys, region and endpoint come from the environment, AWS_ACCESS_KEY_ID and so on."""
    return ObjectKeeper(obstore.store.from_url(url), folder, known)
