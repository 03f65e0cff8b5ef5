"""Dictionaries of packs: letters alike shrink, a pack needs no other file, and nobody's own words are in one."""

import os
import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import zstandard

from congvu.base.failure import NotNow
from congvu.db import dictionary, files, packs
from congvu.db.blobs import Blob

WORDS = [bytes(random.Random(n).choices(b"abcdefghiklmnopqrstuvxy", k=5 + n % 4)) for n in range(120)]
LINE = b"Content-Type: text/plain; charset=UTF-8; format=flowed"


def letter(number: int, own: bytes = b"") -> bytes:
    chance = random.Random(number)
    words = b" ".join(chance.choices(WORDS, k=150))
    return b"Subject: %d\r\n%b\r\n\r\n%b %b\r\n" % (number, LINE, words, own)


def put(keeper: files.FileKeeper, contents: Sequence[bytes]) -> list[Blob]:
    return keeper.put_many(contents)


def pack_of(blob: Blob) -> str:
    return blob.place.partition(":")[0]


def stored(blobs: Sequence[Blob]) -> int:
    return sum(int(blob.place.partition("+")[2]) for blob in blobs)


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[files.FileKeeper]:
    monkeypatch.setattr(files, "LEARN_BYTES", 100_000)
    made = files.FileKeeper(tmp_path / "blobs", "0")
    yield made
    made.close()


def learn(keeper: files.FileKeeper) -> tuple[list[Blob], list[Blob]]:
    """Letters put before a dictionary was there, and after."""
    before = put(keeper, [letter(n) for n in range(400)])
    end = time.monotonic() + 30
    number = 1000
    while pack_of(blob := put(keeper, [letter(number)])[0]) == pack_of(before[0]):
        assert time.monotonic() < end, "nothing was learnt"
        number += 1
        time.sleep(0.02)
    return before, [blob, *put(keeper, [letter(n) for n in range(5000, 5400)])]


def test_letters_alike_shrink(keeper: files.FileKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = learn(keeper)
    assert stored(after) / len(after) < 0.8 * stored(before) / len(before)
    for n, blob in enumerate(before):
        assert keeper.read(blob) == letter(n)
    for n, blob in enumerate(after[1:], 5000):
        assert keeper.read(blob) == letter(n)
        keeper.verify(blob)
    assert set(before + after) <= set(keeper.places())
    # Who comes later reads both kinds and begins with what is known, whatever its name.
    keeper.close()
    later = files.FileKeeper(tmp_path / "blobs", "other")
    assert later.read(before[7]) == letter(7)
    assert later.read(after[8], 5, 40) == letter(5007)[5:40]
    more = put(later, [letter(n) for n in range(9000, 9400)])
    assert stored(more) < 1.05 * stored(after[1:])
    later.close()
    with monkeypatch.context() as patch:  # a month later it is carried on no more
        patch.setattr(files, "AGED", -60)
        late = files.FileKeeper(tmp_path / "blobs", "late")
        assert stored(put(late, [letter(n) for n in range(400)])) > 0.95 * stored(before)
        late.close()
    # A pack needs no other file.
    for path in (tmp_path / "blobs/pack").iterdir():
        if f"pack/{path.name}" != pack_of(after[0]):
            path.unlink()
    alone = files.FileKeeper(tmp_path / "blobs", "0")
    assert alone.read(after[3]) == letter(5002)
    assert set(alone.places()) >= set(after)
    alone.close()


@pytest.mark.parametrize("at", [0, 20, packs.HEADER - 1, packs.HEADER + 100])
def test_a_damaged_dictionary_has_a_twin(keeper: files.FileKeeper, tmp_path: Path, at: int) -> None:
    _, after = learn(keeper)
    keeper.close()
    path = tmp_path / "blobs" / pack_of(after[0])
    data = path.read_bytes()
    with path.open("rb") as file:
        _, begins = packs.begun(partial(os.pread, file.fileno()))
    half = begins // 2
    for broken in ([0], [half], [0, half]):
        torn = bytearray(data)
        for copy in broken:
            torn[copy + at] ^= 1
        path.write_bytes(torn)
        again = files.FileKeeper(tmp_path / "blobs", "0")
        if len(broken) == 1:
            assert again.read(after[5]) == letter(5004)
            assert set(after) <= set(again.places())
        else:
            with pytest.raises(ValueError, match="dictionary is damaged"):
                again.read(after[5])
            list(again.places())
        again.close()


def test_what_has_nothing_in_common_gets_none(keeper: files.FileKeeper) -> None:
    blobs = [put(keeper, [random.Random(n * 100 + k).randbytes(2000) for k in range(100)]) for n in range(6)]
    keeper.close()  # waits for what is being learnt
    assert len({pack_of(blob) for some in blobs for blob in some}) == 1


def test_a_full_disk_leaves_no_half_pack(
    keeper: files.FileKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(keeper)
    keeper.close()
    before = sorted((tmp_path / "blobs/pack").iterdir())
    later = files.FileKeeper(tmp_path / "blobs", "0")
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "writev", full)
        for _ in range(3):
            with pytest.raises(NotNow, match="disk-full"):
                put(later, [b"x" * 1000])
    assert sorted((tmp_path / "blobs/pack").iterdir()) == before
    (blob,) = put(later, [b"x" * 1000])
    assert later.read(blob) == b"x" * 1000
    later.close()


# ---- what may be in one


def test_only_what_many_letters_have() -> None:
    own = b"benh-an-cua-ba-nguyen-thi-x so-tai-khoan-0123456789"
    sentence = b" ".join(WORDS[3:9])
    letters = [letter(n) for n in range(300)] + [
        letter(n, own + b" " + sentence + b"\r\n" + sentence) for n in (1, 2, 3)
    ]
    found = dictionary.common(letters)
    assert LINE + b"\r\n" in found
    assert all(word + b" " in found for word in WORDS)
    assert not any(word in found for word in own.split())
    assert sentence not in found  # not even of words that all have
    assert len(found) <= dictionary.SIZE


def test_hostile_letters_are_bounded() -> None:
    chance = random.Random(1)
    many = [b" ".join(b"%x" % chance.getrandbits(40) for _ in range(5000)) for _ in range(150)]
    assert dictionary.common(many) == b""
    same = [b" ".join(b"w%06d" % n for n in range(5000))] * 300
    assert len(dictionary.common(same)) <= dictionary.SIZE
    assert dictionary.common([b"\r\n" * 4000] * 200) == b""
    assert dictionary.common([letter(1)] * 5) == b""


def test_any_dictionary_gives_back_what_was_put() -> None:
    for content in (b"\x37\xa4\x30\xec" + bytes(100), b"x" * dictionary.SIZE, random.Random(2).randbytes(9000)):
        compressor = dictionary.compressor(content, packs.LEVEL)
        reading = zstandard.ZstdDecompressor(dict_data=dictionary.prepared(content))
        for data in (letter(1), b"", bytes(100_000), content):
            assert reading.decompress(compressor.compress(data)) == data
