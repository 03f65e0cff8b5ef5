"""Hints between workers."""

import asyncio
import os
import socket
from pathlib import Path

import pytest
import uvloop

from congvu.db.wake import Wake


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_tell_and_listen(tmp_path: Path, runner: type) -> None:
    async def work() -> None:
        one, two = Wake(tmp_path / "wake", "1"), Wake(tmp_path / "wake", "2")
        await one.start()
        await two.start()
        heard: list[str] = []
        stops = [
            one.listen(7, lambda: heard.append("one 7")),
            two.listen(7, lambda: heard.append("two 7")),
            two.listen(7, lambda: heard.append("two 7 again")),
            two.listen(2**62, lambda: heard.append("two big")),
        ]
        one.tell({7, 8})
        assert heard == ["one 7"]
        await settle()
        assert sorted(heard) == ["one 7", "two 7", "two 7 again"]
        heard.clear()
        two.tell(frozenset({2**62}))
        one.tell([2**62])
        await settle()
        assert heard == ["two big", "two big"]
        heard.clear()
        for stop in stops[:2]:
            stop()
            stop()
        one.tell(list(range(5000)))
        await settle()
        assert heard == ["two 7 again"]
        two.close()
        one.tell([7])
        one.close()
        two.close()
        one.tell([7])
        assert list((tmp_path / "wake").iterdir()) == []

    runner(work())


def test_a_dead_worker_is_forgotten_and_its_name_is_taken_again(tmp_path: Path) -> None:
    async def work() -> None:
        dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        dead.bind(str(tmp_path / "2.sock"))
        dead.close()
        one = Wake(tmp_path, "1")
        await one.start()
        one.tell([1])
        assert not (tmp_path / "2.sock").exists()
        two = Wake(tmp_path, "2")
        await two.start()
        again = Wake(tmp_path, "2")
        await again.start()
        heard = []
        again.listen(1, lambda: heard.append(1))
        one.tell([1])
        await asyncio.sleep(1.05)
        one.tell([1])
        await settle()
        assert heard
        for wake in (one, two, again):
            wake.close()

    asyncio.run(work())


def test_a_busy_peer_does_not_hold_us_up(tmp_path: Path) -> None:
    async def work() -> None:
        deaf = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        deaf.bind(str(tmp_path / "deaf.sock"))
        one = Wake(tmp_path, "1")
        await one.start()
        for _ in range(2000):
            one.tell([1])
        one.close()
        deaf.close()

    asyncio.run(work())


def test_nonsense_and_failing_listeners(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        one = Wake(tmp_path, "1")
        await one.start()
        heard = []

        def bad() -> None:
            raise ValueError("oops")

        one.listen(1, bad)
        one.listen(1, lambda: heard.append(1))
        stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for data in (b"", b"abc", os.urandom(9000), (1).to_bytes(8, "little")):
            stranger.sendto(data, str(tmp_path / "1.sock"))
        stranger.close()
        await settle()
        assert heard == [1]
        one.close()

    asyncio.run(work())
