"""Blobs in files: `pack/NAME` for small ones, `large/ab/HASH` for large ones, `tmp/` for what is not yet finished.

Promises what `blobs.BlobKeeper` promises. Of all small contents that come together those already kept are dropped, the
rest is compressed, appended with one call and synced once. Packs of a process that has gone are never appended to. A
pack begins with a `dictionary`, made in the background from letters of the one before; that delays no letter, and no
pack is needed to read another.
"""

import asyncio
import os
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import cast

import zstandard
from blake3 import blake3

from congvu.base.disk import sync_folder
from congvu.base.failure import NotNow
from congvu.base.observe import log, step
from congvu.db import dictionary, frames, packs
from congvu.db.blobs import PIECE, Blob, Buffer, Known, Recent, Spool, trouble

SMALL = 1 << 20  # larger contents get a file of their own
LOOKED_UP = (
    32 << 10
)  # smaller contents that came before are looked for among those of the last minutes only: to ask for
# each costs all letters more time than their few twins cost disk. The row then names the newer place.
PACK_BYTES = 256 << 20  # then a new pack is begun
LEARN_BYTES = 2 << 20  # of letters in a pack without dictionary: then one is made from them
LEARN_AGAIN = 4  # times as many, when that was not worth it
AGED = 30 * 86_400  # seconds after which no pack begins with a dictionary any more
OPEN_FILES = 256
TABLES = 64  # heads of large files remembered
DICTIONARIES = 64  # of packs, remembered …
DICTIONARIES_EACH = 4  # … and ready to read with in one thread
PACKS_TRIED = 16  # the newest, where a dictionary to begin with is looked for
STALE_SECONDS = 86_400  # unfinished files older than this are nobody's


class _OpenFile:
    """A descriptor that closes itself when the last reader lets go of it."""

    __slots__ = ("fd",)

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self.fd, length, offset)
        except OSError as error:
            raise trouble(error) from error

    def peek(self, length: int, offset: int) -> bytes:
        """`pread` of what the kernel has in memory; an `OSError` where it has not."""
        data = bytearray(length)
        if os.preadv(self.fd, [data], offset, os.RWF_NOWAIT) < length:
            raise BlockingIOError
        return bytes(data)

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.fd)


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)


class FileKeeper:
    """`blobs.BlobKeeper` on a local folder. `worker` is this process's own name among those that share the folder."""

    small = SMALL

    def __init__(self, folder: Path, worker: str, known: Known | None = None) -> None:
        self._folder = folder
        self._worker = worker
        self._known = known
        for path in (folder, folder / "pack", folder / "large", folder / "tmp"):
            _make_folder(path)
        self._forget_stale()
        self._recent = Recent()
        self._per_thread = threading.local()
        self._files_lock = threading.Lock()
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._tables: OrderedDict[str, frames.Table] = OrderedDict()
        self._pack_lock = threading.Lock()
        self._pack_fd = -1
        self._pack_name = ""
        self._pack_end = 0
        self._pack_compressor = dictionary.compressor(b"", packs.LEVEL)
        self._pack_form = packs.ZSTD
        self._dictionary: packs.Dictionary | None = None  # for the next pack; None: not yet looked for
        self._learn_at = 0  # length of the pack
        self._dictionaries: OrderedDict[str, zstandard.ZstdCompressionDict] = OrderedDict()
        self._closed = False
        self._pool = ThreadPoolExecutor(2, "blob-put")

    # ---- in

    def spool(self) -> Spool:
        return Spool(self._folder / "tmp")

    async def put(self, spool: Spool) -> Blob:
        if self._closed:
            raise NotNow("shutting-down")
        # The bytes, not the spool: who gives up waiting closes it, while this goes on.
        loop = asyncio.get_running_loop()
        if spool.size > SMALL:  # which has been hashed while it came
            hash_ = spool.digest()
            recent = self._recent.get(hash_)
            if recent is not None:
                return recent
            return await loop.run_in_executor(self._pool, self._put_large, hash_, spool.buffer())
        (blob,) = await loop.run_in_executor(self._pool, self.put_many, [spool.buffer()])
        return blob

    def put_many(self, contents: Sequence[Buffer]) -> list[Blob]:
        if self._closed:
            raise NotNow("shutting-down")
        hashes = [blake3(content).digest() for content in contents]
        wanted = dict(zip(hashes, contents, strict=True))
        placed: dict[bytes, Blob] = {}
        small: dict[bytes, Buffer] = {}
        for hash_, content in wanted.items():
            if len(content) <= SMALL:
                small[hash_] = content
            else:
                placed[hash_] = self._recent.get(hash_) or self._put_large(hash_, content)
        if small:
            with self._pack_lock:
                placed |= self._put_small(small)
        return [placed[hash_] for hash_ in hashes]

    def _put_small(self, wanted: dict[bytes, Buffer]) -> dict[bytes, Blob]:
        """One thread at a time, so that of two who bring the same the second finds it kept."""
        placed: dict[bytes, Blob] = {}
        for hash_ in wanted:
            recent = self._recent.get(hash_)
            if recent is not None:
                placed[hash_] = recent
        wanted = {hash_: content for hash_, content in wanted.items() if hash_ not in placed}
        placed |= self._kept([hash_ for hash_, content in wanted.items() if len(content) >= LOOKED_UP])
        missing = [hash_ for hash_ in wanted if hash_ not in placed]
        if not missing:
            return placed
        self._need_pack()
        parts: list[Buffer] = []
        sizes = []
        for hash_ in missing:
            header, stored = packs.record(hash_, wanted[hash_], self._pack_compressor, self._pack_form)
            parts += (header, stored)
            sizes.append((hash_, len(wanted[hash_]), len(header) + len(stored)))
        offset = self._append(parts, sum(length for _, _, length in sizes))
        written = []
        for hash_, size, length in sizes:
            written.append(Blob(hash_, size, f"pack/{self._pack_name}:{offset}+{length}"))
            offset += length
        self._recent.add(written)
        if self._pack_end >= self._learn_at:
            self._learn_at = PACK_BYTES  # not again with this pack, unless it says so
            with suppress(RuntimeError):  # the keeper is closing
                self._pool.submit(self._learn, self._pack_name, self._pack_end)
        return placed | {blob.hash: blob for blob in written}

    def _kept(self, hashes: list[bytes]) -> dict[bytes, Blob]:
        """Those that are kept already. The bytes are looked at: a letter must not lean on what was lost or damaged."""
        if not hashes or self._known is None:
            return {}
        kept = {}
        for hash_, blob in self._known(hashes).items():
            try:
                if blob.place.startswith("pack/"):
                    self._read_packed(blob)
                else:
                    for _ in self.stream(blob, blob.size - 1):  # its head and its last frame
                        pass
            except (LookupError, ValueError, NotNow) as error:
                log.error("blobs: kept once more, since it cannot be read: %s", error)
            else:
                kept[hash_] = blob
        self._recent.add(list(kept.values()))
        return kept

    def _append(self, parts: list[Buffer], length: int) -> int:
        """Makes the parts safe at the end of this process's pack; returns where they begin."""
        offset = self._pack_end
        try:
            packs.append(self._pack_fd, parts)
        except OSError as error:
            self._cut_back()
            raise trouble(error) from error
        except Exception as error:  # memory that ran out, a bug: what follows must not lie behind half a batch either
            self._cut_back()
            log.exception("blobs: nothing was kept")
            raise NotNow("storage-trouble") from error
        step("blob-appended")
        try:
            os.fdatasync(self._pack_fd)
        except OSError as error:
            self._end_pack()  # after a failed sync nobody knows what is on disk: never trust this pack's end again
            raise trouble(error) from error
        step("blob-synced")
        self._pack_end += length
        return offset

    def _need_pack(self) -> None:
        """Begins a new pack when there is none or the last one is full. What it begins with is synced with the first
        letters."""
        if self._pack_fd >= 0 and self._pack_end < PACK_BYTES:
            return
        self._end_pack()
        if self._dictionary is None:
            self._dictionary = self._newest_dictionary()
        if self._dictionary.made < time.time() - AGED:
            self._dictionary = packs.Dictionary()
        known, name, folder = self._dictionary, f"{self._worker}-{time.time_ns():x}", self._folder / "pack"
        begin = packs.beginning(known)
        compressor = dictionary.compressor(known.content, packs.LEVEL)
        try:
            fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if begin:
                    packs.append(fd, [begin])
                sync_folder(folder)
            except BaseException:
                os.close(fd)
                (folder / name).unlink()  # it may hold the last bytes of a full disk
                raise
        except OSError as error:
            raise trouble(error) from error
        self._pack_fd, self._pack_name, self._pack_end = fd, name, len(begin)
        self._pack_compressor = compressor
        self._pack_form = packs.SHARED if known.content else packs.ZSTD
        self._learn_at = PACK_BYTES if known.content else LEARN_BYTES

    def _newest_dictionary(self) -> packs.Dictionary:
        """Of whichever worker: all get the same mail."""
        newest = sorted((self._folder / "pack").iterdir(), key=lambda path: path.name.rpartition("-")[2], reverse=True)
        for path in newest[:PACKS_TRIED]:
            with suppress(OSError, NotNow):
                found, _ = packs.begun(_OpenFile(path).pread)
                if found.content:
                    return found
        return packs.Dictionary()

    def _learn(self, name: str, end: int) -> None:
        """Makes a dictionary from the letters of a pack, on a thread of its own; the next pack begins with it."""
        try:
            last = deque(packs.scan(self._folder / "pack" / name, f"pack/{name}"), dictionary.SAMPLE * 4)
            chosen = list(last)[:: max(1, len(last) // dictionary.SAMPLE)]
            letters = [self._read_packed(blob)[: dictionary.PART] for blob in chosen]
            found = dictionary.worthwhile(letters, packs.LEVEL)
        except (OSError, LookupError, ValueError, NotNow) as error:
            log.warning("blobs: no dictionary was made: %s", error)
            return
        with self._pack_lock:
            if found:
                self._dictionary = packs.Dictionary(int(time.time()), found)
                self._end_pack()
            elif name == self._pack_name:
                self._learn_at = end * LEARN_AGAIN

    def _cut_back(self) -> None:
        """Takes a half-written batch away again, which also frees the last bytes of a full disk."""
        if self._pack_fd >= 0:
            try:
                os.ftruncate(self._pack_fd, self._pack_end)
            except OSError:
                self._end_pack()

    def _end_pack(self) -> None:
        if self._pack_fd >= 0:
            os.close(self._pack_fd)
            self._pack_fd = -1

    # ---- large contents, on threads of their own

    def _put_large(self, hash_: bytes, data: Buffer) -> Blob:
        kept = self._kept([hash_])
        if kept:
            return kept[hash_]
        name = hash_.hex()
        blob = Blob(hash_, len(data), f"large/{name[:2]}/{name}")
        path = self._folder / blob.place
        unfinished = self._folder / "tmp" / f"{self._worker}-{secrets.token_hex(8)}"
        try:
            _make_folder(path.parent)
            fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                frames.write(fd, hash_, data, self._compressor())
                step("blob-file-written")
                os.fsync(fd)
            finally:
                os.close(fd)
            unfinished.rename(path)
            step("blob-file-renamed")
            sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise trouble(error) from error
        with self._files_lock:  # a damaged one may have lain here before
            self._files.pop(blob.place, None)
            self._tables.pop(blob.place, None)
        self._recent.add([blob])
        return blob

    # ---- out

    def read(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        if blob.place.startswith("pack/"):
            whole = self._read_packed(blob)
            return whole if start <= 0 and (end is None or end >= blob.size) else whole[max(0, start) : end]
        whole = b"".join(self.stream(blob, start, end))
        if len(whole) == blob.size and blake3(whole).digest() != blob.hash:
            raise ValueError(f"{blob.place}: damaged")
        return whole

    def at_hand(self, blob: Blob) -> bytes | None:
        with self._files_lock:
            file = self._files.get(blob.place.rpartition(":")[0])
        try:
            return self._read_packed(blob, file) if file is not None else None
        except OSError:  # whatever it is, `read` tells it
            return None

    def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        start = max(0, start)
        end = blob.size if end is None else min(end, blob.size)
        if start >= end:
            return
        if blob.place.startswith("pack/"):
            whole = self._read_packed(blob)
            for at in range(start, end, PIECE):
                yield whole[at : min(at + PIECE, end)]
            return
        file = self._file(blob.place, blob)
        table = self._tables.get(blob.place)
        if table is None:
            table = frames.read_table(file.pread, blob.place)
            with self._files_lock:
                self._tables[blob.place] = table
                while len(self._tables) > TABLES:
                    self._tables.popitem(last=False)
        yield from frames.stream(file.pread, table, blob, start, end, self._decompressor)

    def verify(self, blob: Blob) -> None:
        hasher = blake3()
        size = 0
        for piece in self.stream(blob):
            hasher.update(piece)
            size += len(piece)
        if size != blob.size or hasher.digest() != blob.hash:
            raise ValueError(f"{blob.place}: damaged")

    def places(self) -> Iterator[Blob]:
        for path in sorted((self._folder / "pack").iterdir()):
            yield from packs.scan(path, f"pack/{path.name}")
        for path in sorted((self._folder / "large").glob("*/*")):
            place = f"large/{path.parent.name}/{path.name}"
            with suppress(OSError, ValueError, NotNow):
                table = frames.read_table(_OpenFile(path).pread, place)
                yield Blob(table.hash, table.size, place)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pool.shutdown()
            with self._pack_lock:
                self._end_pack()
            with self._files_lock:
                self._files.clear()

    def _read_packed(self, blob: Blob, at_hand: _OpenFile | None = None) -> bytes:
        """`at_hand`: its pack, when only what the kernel has in memory is wanted."""
        path, _, span = blob.place.rpartition(":")
        offset, _, length = span.partition("+")
        if not (offset.isdecimal() and length.isdecimal()) or int(length) > packs.HEADER + SMALL:
            raise ValueError(f"{blob.place}: no place in a pack")
        # The file is held until the read is done: who else opens it, or an eviction, may drop it.
        file = at_hand or self._file(path, blob)
        pread = file.peek if at_hand else file.pread
        shared = partial(self._shared_decompressor, path, pread)
        return packs.read(pread, int(offset), int(length), blob, self._decompressor(), shared)

    # One of each a thread: they are dear to make and not for two at once.

    def _compressor(self) -> zstandard.ZstdCompressor:
        try:
            return cast(zstandard.ZstdCompressor, self._per_thread.compressor)
        except AttributeError:
            self._per_thread.compressor = made = zstandard.ZstdCompressor(level=packs.LEVEL)
            return made

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        try:
            return cast(zstandard.ZstdDecompressor, self._per_thread.decompressor)
        except AttributeError:
            self._per_thread.decompressor = made = zstandard.ZstdDecompressor()
            return made

    def _shared_decompressor(self, path: str, pread: frames.Pread) -> zstandard.ZstdDecompressor:
        """With the dictionary of a pack. ValueError: it is damaged."""
        try:
            mine = cast("OrderedDict[str, zstandard.ZstdDecompressor]", self._per_thread.shared)
        except AttributeError:
            mine = self._per_thread.shared = OrderedDict()
        if path in mine:
            mine.move_to_end(path)
            return mine[path]
        with self._files_lock:
            known = self._dictionaries.get(path)
        if known is None:
            found, _ = packs.begun(pread)
            if not found.content:
                raise ValueError(f"{path}: its dictionary is damaged")
            known = dictionary.prepared(found.content)
            with self._files_lock:
                self._dictionaries[path] = known
                while len(self._dictionaries) > DICTIONARIES:
                    self._dictionaries.popitem(last=False)
        mine[path] = made = zstandard.ZstdDecompressor(dict_data=known)
        while len(mine) > DICTIONARIES_EACH:
            mine.popitem(last=False)
        return made

    def _file(self, place: str, blob: Blob) -> _OpenFile:
        with self._files_lock:
            file = self._files.get(place)
            if file is not None:
                self._files.move_to_end(place)
                return file
        if not place.startswith(("pack/", "large/")) or ".." in place:
            raise ValueError(f"{blob.place}: not a place of this keeper")
        try:
            file = _OpenFile(self._folder / place)
        except FileNotFoundError as error:
            raise LookupError(f"{blob.place}: no such file") from error
        except OSError as error:
            raise trouble(error) from error
        with self._files_lock:
            self._files[place] = file
            while len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
        return file

    def _forget_stale(self) -> None:
        limit = time.time() - STALE_SECONDS
        for path in (self._folder / "tmp").iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()
