"""The blob keepers: what was put comes back bit by bit, once, whole or in part; damage is found; a full disk harms
nothing."""

import asyncio
import base64
import errno
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from blake3 import blake3
from obstore.store import LocalStore, MemoryStore

from congvu.base.failure import NotNow
from congvu.codec import mime
from congvu.db import files, frames, known_in, open_blobs, open_database
from congvu.db.blobs import Blob, BlobKeeper, Spool
from congvu.db.engine import Database
from congvu.db.objects import ObjectKeeper
from congvu.mailstore import message

KEEPERS = ["files", "objects-memory", "objects-local"]
SIZES = [0, 1, 1000, 256 << 10, (256 << 10) + 1, 1 << 20, (1 << 20) + 1, 3 << 20]


@pytest.fixture(params=KEEPERS)
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobKeeper]:
    made: BlobKeeper
    match request.param:
        case "files":
            made = open_blobs("file:blobs", data=tmp_path, worker="0")
        case "objects-memory":
            made = ObjectKeeper(MemoryStore(), tmp_path / "tmp")
        case _:
            made = ObjectKeeper(LocalStore(tmp_path / "objects", mkdir=True), tmp_path / "tmp")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[files.FileKeeper]:
    made = files.FileKeeper(tmp_path / "blobs", "0")
    yield made
    made.close()


def put(keeper: BlobKeeper, data: bytes, piece: int = 100_000) -> Blob:
    with keeper.spool() as spool:
        for at in range(0, len(data), piece):
            spool.write(data[at : at + piece])
        return keeper.put_many([spool.buffer()])[0]


def letters(size: int) -> list[bytes]:
    """One that can be compressed and one that cannot."""
    return [(b"Kinh gui Quy co quan, " * (size // 20 + 1))[:size], random.Random(size).randbytes(size)]


# ---- the spool


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("piece", [777, 1 << 20])
def test_spool(tmp_path: Path, size: int, piece: int) -> None:
    data = random.Random(1).randbytes(size)
    spool = Spool(tmp_path)
    for at in range(0, size, piece):
        spool.write(memoryview(data)[at : at + piece])
    assert spool.size == size
    assert spool.digest() == blake3(data).digest()
    buffer = spool.buffer()
    assert bytes(buffer) == data
    spool.close()
    assert bytes(buffer) == data
    assert list(tmp_path.iterdir()) == []  # nothing that a crash could leave


def test_spool_can_be_looked_at_meanwhile(tmp_path: Path) -> None:
    spool = Spool(tmp_path, memory=10)
    for n in range(5):
        spool.write(b"12345")
        assert bytes(spool.buffer()) == b"12345" * (n + 1)
        assert spool.digest() == blake3(b"12345" * (n + 1)).digest()
    spool.close()


def test_spool_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    spool = Spool(tmp_path, memory=10)
    spool.write(b"12345")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NotNow) as caught:
        spool.write(b"1234567890")
    assert caught.value.code == "disk-full"
    spool.close()


# ---- every keeper


def test_what_is_at_hand_is_the_content_or_nothing(keeper: BlobKeeper, tmp_path: Path) -> None:
    """Who cannot wait takes what lies in memory: a small content whose pack has been read before."""
    small, large = b"Subject: a\r\n\r\n" + b"Kinh gui " * 500, letters(2 << 20)[1]
    blob, other = put(keeper, small), put(keeper, large)
    assert keeper.at_hand(blob) is None  # nobody has opened its pack
    assert keeper.read(blob) == small
    packed = isinstance(keeper, files.FileKeeper)
    assert keeper.at_hand(blob) == (small if packed else None)
    assert keeper.read(other) == large
    assert keeper.at_hand(other) is None
    assert keeper.at_hand(Blob(b"x" * 32, 5, "pack/nowhere:1+2")) is None
    if packed:
        place, _, span = blob.place.rpartition(":")
        offset, _, length = span.partition("+")
        with (tmp_path / "blobs" / place).open("r+b") as file:
            file.seek(int(offset) + int(length) - 1)
            last = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([last[0] ^ 1]))
        with pytest.raises(ValueError, match="damaged"):
            keeper.at_hand(blob)
        with (tmp_path / "blobs" / place).open("r+b") as file:
            file.truncate(int(offset) + 1)
        assert keeper.at_hand(blob) is None  # `read` tells what became of it


@pytest.mark.parametrize("size", SIZES)
def test_put_and_read(keeper: BlobKeeper, size: int) -> None:
    for data in letters(size):
        blob = put(keeper, data)
        assert (blob.hash, blob.size) == (blake3(data).digest(), size)
        assert keeper.read(blob) == data
        keeper.verify(blob)
        points = sorted({0, 1, size // 3, size // 2, 256 << 10, size - 1, size, size + 5} & set(range(size + 6)))
        for start in points:
            for end in [*points, None]:
                assert keeper.read(blob, start, end) == data[start:end]
                pieces = list(keeper.stream(blob, start, end))
                assert b"".join(pieces) == data[start:end]
                assert all(len(piece) <= 256 << 10 for piece in pieces)


def test_many_at_once_and_each_once(keeper: BlobKeeper) -> None:
    texts = [f"letter {n % 50}".encode() * 50 for n in range(500)]

    async def one(text: bytes) -> Blob:
        with keeper.spool() as spool:
            spool.write(text)
            return await keeper.put(spool)

    async def work() -> list[Blob]:
        return await asyncio.gather(*(one(text) for text in texts))

    blobs = asyncio.run(work())
    for blob, text in zip(blobs, texts, strict=True):
        assert keeper.read(blob) == text
    assert len(set(blobs)) == 50
    assert sorted(keeper.places(), key=lambda blob: blob.hash) == sorted(set(blobs), key=lambda blob: blob.hash)


def test_what_is_gone_or_foreign(keeper: BlobKeeper) -> None:
    for place in (
        "large/ab/abcd",
        "pack/none:0+60",
        "blob/ab/abcd",
        "pack/../../etc/passwd:0+60",
        "nonsense",
        "pack/x",
        "",
    ):
        for size in (5, 2 << 20):
            with pytest.raises((LookupError, ValueError)):
                keeper.read(Blob(b"x" * 32, size, place))


def test_after_closing_it_says_so(keeper: BlobKeeper) -> None:
    keeper.close()
    spool = keeper.spool()
    spool.write(b"late")
    with pytest.raises(NotNow):
        asyncio.run(keeper.put(spool))
    spool.close()


# ---- files


def test_what_the_database_knows_is_not_written_again(db: object, tmp_path: Path) -> None:
    database = db
    small_one = b"a small one" * 4000  # beyond what is not worth a look
    first = open_blobs("file:blobs", data=tmp_path, worker="0", known=known_in(database))  # type: ignore[arg-type]
    small, large = put(first, small_one), put(first, letters(2 << 20)[1])
    for blob in (small, large):
        database.write_now(  # type: ignore[attr-defined]
            lambda tx, b=blob: tx.run(
                "INSERT INTO blob (hash, size, place, touched) VALUES (?, ?, ?, ?)", b.hash, b.size, b.place, 1
            )
        )
    first.close()
    second = open_blobs("file:blobs", data=tmp_path, worker="1", known=known_in(database))  # type: ignore[arg-type]
    assert put(second, small_one) == small
    assert put(second, letters(2 << 20)[1]) == large
    other = put(second, b"another")
    assert other.place.startswith("pack/1-")
    assert len(list(second.places())) == 3
    second.close()


def test_what_hardly_compresses_is_kept_as_it_is(folder: files.FileKeeper, tmp_path: Path) -> None:
    """A quarter, as base64 gives, is not worth unpacking it each time; what follows it is packed again."""
    frame = frames.FRAME
    encoded = base64.encodebytes(random.Random(5).randbytes(9 * frame)).replace(b"\n", b"\r\n")[: 11 * frame]
    text = ("Kính gửi các đơn vị. ".encode() * frame)[: 20 * frame + 5]
    blob = put(folder, encoded + text)
    file = (tmp_path / "blobs" / blob.place).read_bytes()
    table = frames.read_table(lambda length, at: file[at : at + length], "x")
    stored = [end - start for start, end in pairwise(table.starts)]
    assert stored[:11] == [frame] * 11
    assert all(size == frame for size in stored[11:16])  # tried again at every eighth
    assert all(size < frame // 10 for size in stored[16:])
    assert folder.read(blob) == encoded + text
    assert (
        b"".join(folder.stream(blob, 11 * frame - 3, 17 * frame + 3))
        == (encoded + text)[11 * frame - 3 : 17 * frame + 3]
    )


def test_half_a_batch_shifts_nothing(folder: files.FileKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(fd: int, parts: list[bytes]) -> None:
        os.write(fd, parts[0])
        raise MemoryError

    put(folder, b"before")
    with monkeypatch.context() as patch, pytest.raises(NotNow):
        patch.setattr("congvu.db.packs.append", half)
        put(folder, b"torn")
    assert folder.read(put(folder, b"after")) == b"after"


@pytest.mark.parametrize("size", [1000, 600_000, 3 << 20])
def test_who_gives_up_waiting_spoils_nothing(tmp_path: Path, size: int) -> None:
    asked = threading.Event()

    def slow(_: list[bytes]) -> dict[bytes, Blob]:
        asked.wait(0.2)
        return {}

    async def talk() -> None:
        keeper = files.FileKeeper(tmp_path, "0", slow)
        data = letters(size)[0]
        with keeper.spool() as first, keeper.spool() as spool:
            first.write(b"keeps the thread busy")
            other = asyncio.create_task(keeper.put(first))
            await asyncio.sleep(0.02)
            spool.write(data)
            waiting = asyncio.create_task(keeper.put(spool))
            await asyncio.sleep(0.02)
            waiting.cancel()
            await asyncio.wait([waiting])
        asked.set()
        await other
        with keeper.spool() as again:
            again.write(data)
            assert keeper.read(await keeper.put(again)) == data
        for blob in keeper.places():
            keeper.verify(blob)
        keeper.close()

    asyncio.run(talk())


@pytest.mark.parametrize("size", [1000, 3 << 20])
@pytest.mark.parametrize("harm", ["gone", "cut", "damaged"])
def test_nothing_new_leans_on_what_was_lost(db: Database, tmp_path: Path, size: int, harm: str) -> None:
    data = letters(size)[1]
    scan = mime.scan(b"\r\n")

    def kept(number: int, blob: Blob) -> Blob:
        db.write_now(message.keep_letter, message.NewLetter(number, blob, b"", scan), 1_790_000_000)
        return db.read_now(message.bodies, [number])[number].blob

    first = files.FileKeeper(tmp_path, "0", known_in(db))
    blob = kept(1, put(first, data))
    first.close()
    path = tmp_path / blob.place.partition(":")[0]
    match harm:
        case "gone":
            path.unlink()
        case "cut":
            os.truncate(path, path.stat().st_size - 1)
        case _:
            damage(path, -1)
    second = files.FileKeeper(tmp_path, "1", known_in(db))
    blob = kept(2, put(second, data))
    assert second.read(blob) == data
    assert second.read(db.read_now(message.bodies, [1])[1].blob) == data  # mended by the way
    second.close()


def test_no_object_leans_on_one_that_was_lost(tmp_path: Path) -> None:
    store = MemoryStore()
    table: dict[bytes, Blob] = {}
    for _ in range(2):
        keeper = ObjectKeeper(store, tmp_path, lambda hashes: {h: table[h] for h in hashes if h in table})
        blob = put(keeper, b"x")
        assert keeper.read(blob) == b"x"
        keeper.close()
        table[blob.hash] = blob
        store.delete(blob.place)


def test_a_start_never_appends_to_an_old_pack(tmp_path: Path) -> None:
    packs = set()
    for n in range(3):
        keeper = files.FileKeeper(tmp_path / "blobs", "0")
        packs.add(put(keeper, f"{n}".encode()).place.partition(":")[0])
        keeper.close()
    assert len(packs) == 3


def test_a_full_pack_is_followed_by_another(folder: files.FileKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PACK_BYTES", 10_000)
    blobs = [put(folder, random.Random(n).randbytes(6000)) for n in range(6)]
    assert len({blob.place.partition(":")[0] for blob in blobs}) == 3
    assert set(folder.places()) == set(blobs)


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 10, 40, 50, 60, -1])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("size", [5000, 2 << 20])
def test_damage_is_found(folder: files.FileKeeper, tmp_path: Path, size: int, which: int, at: int) -> None:
    data = letters(size)[which]
    blob = put(folder, data)
    path = tmp_path / "blobs" / blob.place.partition(":")[0]
    damage(path, at)
    with pytest.raises(ValueError, match=r"pack/|large/"):
        folder.read(blob)
    with pytest.raises(ValueError, match=r"pack/|large/"):
        folder.verify(blob)


@pytest.mark.parametrize("size", [5000, 2 << 20])
def test_what_was_cut_short_is_found(folder: files.FileKeeper, tmp_path: Path, size: int) -> None:
    blob = put(folder, letters(size)[1])
    path = tmp_path / "blobs" / blob.place.partition(":")[0]
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(LookupError):
        folder.read(blob)
    os.truncate(path, 30)
    with pytest.raises((LookupError, ValueError)):
        folder.verify(blob)
    path.unlink()
    assert list(folder.places()) == []


def test_a_torn_end_hides_nothing_before_it(folder: files.FileKeeper, tmp_path: Path) -> None:
    blobs = [put(folder, random.Random(n).randbytes(100)) for n in range(5)]
    pack = tmp_path / "blobs" / blobs[0].place.partition(":")[0]
    os.truncate(pack, pack.stat().st_size - 10)
    assert list(folder.places()) == blobs[:4]


@pytest.mark.parametrize(
    ("call", "error"), [("writev", errno.ENOSPC), ("fdatasync", errno.EIO), ("fdatasync", errno.ENOSPC)]
)
def test_small_ones_and_a_failing_disk(
    folder: files.FileKeeper, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    good = put(folder, b"before")
    real: Callable[..., int] = getattr(os, call)

    def failing(fd: int, *rest: object) -> int:
        if rest:
            os.write(fd, b"half a record")
        raise OSError(error, "trouble")

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(NotNow) as caught:
        put(folder, b"during")
    assert caught.value.code == ("disk-full" if error == errno.ENOSPC else "storage-trouble")
    monkeypatch.setattr(os, call, real)
    after = put(folder, b"after")
    assert [folder.read(blob) for blob in (good, after)] == [b"before", b"after"]
    assert {good, after} <= set(folder.places())
    assert folder.read(put(folder, b"during")) == b"during"


def test_large_ones_and_a_failing_disk(
    folder: files.FileKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = letters(2 << 20)[0]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NotNow) as caught:
            put(folder, data)
    assert caught.value.code == "disk-full"
    assert list((tmp_path / "blobs" / "tmp").iterdir()) == []
    assert list(folder.places()) == []
    assert folder.read(put(folder, data)) == data


def test_two_streams_that_change_threads_do_not_meet(keeper: BlobKeeper) -> None:
    """Begun in one thread, read on in others at the same time: each has its own letter's bytes."""
    blobs = [put(keeper, (os.urandom(60_000).hex() * 60).encode()) for _ in range(4)]
    for _ in range(3):
        streams = [keeper.stream(blob) for blob in blobs]
        begun = [next(stream) for stream in streams]
        with ThreadPoolExecutor(4) as pool:
            rest = pool.map(b"".join, streams)
            for blob, first, more in zip(blobs, begun, rest, strict=True):
                assert blake3(first + more).digest() == blob.hash


@pytest.mark.parametrize("size", [100, 2 << 20])
@pytest.mark.parametrize("call", ["pread", "open"])
def test_a_disk_that_does_not_answer_is_trouble_and_no_damage(
    folder: files.FileKeeper, monkeypatch: pytest.MonkeyPatch, size: int, call: str
) -> None:
    """Else whoever reads a letter then would be told that it is gone."""
    blob = put(folder, os.urandom(size))
    folder._files.clear()

    def failing(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        for read in (folder.read, folder.verify, lambda blob: list(folder.stream(blob, 5))):
            with pytest.raises(NotNow) as caught:
                read(blob)
            assert caught.value.code == "storage-trouble"
    folder.verify(blob)


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file system of 4 MiB; where we may not mount one, the tests with pretended errors must do."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "x", place], check=False).returncode
    ):
        return
    db = keeper = None
    try:
        db = open_database("sqlite:///x.db", data=place)
        db.migrate()
        keeper = files.FileKeeper(place / "blobs", "0", known_in(db))
        kept = []
        codes = set()
        for n in range(200):
            data = random.Random(n).randbytes(50_000)
            try:
                blob = put(keeper, data)
                row = (blob.hash, blob.size, blob.place, n)
                db.write_now(
                    lambda tx, r=row: tx.run("INSERT INTO blob (hash, size, place, touched) VALUES (?, ?, ?, ?)", *r)
                )
                kept.append((blob, data))
            except NotNow as error:
                codes.add(error.code)
        assert codes == {"disk-full"}
        assert len(kept) > 20
        for blob, data in kept:
            assert keeper.read(blob) == data
        assert db.read_now(lambda tx: tx.one("SELECT count(*) FROM blob")) == (len(kept),)
        subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
        put(keeper, b"again")
        db.write_now(lambda tx: tx.run("UPDATE blob SET touched = 0"))
    finally:
        if keeper:
            keeper.close()
        if db:
            db.close()
        subprocess.run(["umount", place], check=True)


CRASH = """
import sys
from pathlib import Path
from congvu.db.files import FileKeeper
keeper = FileKeeper(Path(sys.argv[1]), "0")
for n in range(int(sys.argv[2]), int(sys.argv[2]) + 5):
    with keeper.spool() as spool:
        spool.write((b"%d " % n) * int(sys.argv[3]))
        blob = keeper.put_many([spool.buffer()])[0]
    print(blob.hash.hex(), blob.size, blob.place, flush=True)
"""


@pytest.mark.parametrize("step", ["blob-appended:3", "blob-synced:3", "blob-file-written:3", "blob-file-renamed:3"])
def test_killed_at_each_step(tmp_path: Path, step: str) -> None:
    repeat = 800_000 if "file" in step else 100
    blobs = tmp_path / "blobs"
    done = subprocess.run(
        [sys.executable, "-c", CRASH, blobs, "0", str(repeat)],
        env={**os.environ, "CONGVU_KILL_AT": step},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    acknowledged = [line.split(" ") for line in done.stdout.splitlines()]
    assert len(acknowledged) == 2
    subprocess.run([sys.executable, "-c", CRASH, blobs, "2", str(repeat)], check=True, stdout=subprocess.DEVNULL)
    keeper = files.FileKeeper(blobs, "0")
    for hash_, size, place in acknowledged:
        keeper.verify(Blob(bytes.fromhex(hash_), int(size), place))
    for blob in keeper.places():
        keeper.verify(blob)
    keeper.close()
    shutil.rmtree(blobs)


def test_an_unknown_url(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ftp"):
        open_blobs("ftp://x", data=tmp_path, worker="0")


def test_a_file_stays_open_while_it_is_read(folder: files.FileKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readers that open one pack at once, or an eviction: the cache drops what one of them is about to read."""
    blob = put(folder, b"thu " * 100)
    cached = files.FileKeeper._file

    def dropped(self: files.FileKeeper, place: str, wanted: Blob) -> files._OpenFile:
        found = cached(self, place, wanted)
        self._files.clear()
        return found

    monkeypatch.setattr(files.FileKeeper, "_file", dropped)
    assert folder.read(blob) == b"thu " * 100
