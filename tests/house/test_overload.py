"""More than the server can hold: who comes too late is told so politely, the others notice nothing, and it recovers."""

import imaplib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.house.running import House

FILES = 200  # a process of the server may have open
CONNECTIONS = 200  # more than that leaves for them


def lonely(data: Path, **limits: int) -> House:
    """A house of one worker, so that it is known how many it can hold."""
    house = House(data, people=2, limits=limits)
    house.set_up()
    config = data / "congvu.toml"
    config.write_text(config.read_text("utf-8").replace("\nworkers = 0\n", "\nworkers = 1\n"), "utf-8")
    return house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = lonely(tmp_path / "data")
    yield house
    house.kill()


def crowd(house: House, door: str, count: int, held: ExitStack) -> list[bytes]:
    """What each of so many connections hears first; they are kept open."""
    clients = [held.enter_context(socket.create_connection(("127.0.0.1", house.port(door)), 20)) for _ in range(count)]
    return [client.recv(4096) for client in clients]


def until_served(house: House) -> imaplib.IMAP4:
    end = time.monotonic() + 20
    while True:
        try:
            return house.imap(1)
        except (OSError, imaplib.IMAP4.error):
            assert time.monotonic() < end, "it does not recover"
            time.sleep(0.1)


def test_files_run_short(house: House) -> None:
    house.start(files=FILES)
    with house.smtp() as early, ExitStack() as held:
        early.ehlo()
        first = house.imap(0)
        heard = crowd(house, "imap", CONNECTIONS, held)
        kinds = {each.partition(b"]")[0].split()[1] for each in heard}
        assert kinds == {b"OK", b"BYE"}, kinds
        assert all(each.startswith(b"* BYE [UNAVAILABLE] ") for each in heard if not each.startswith(b"* OK"))
        # What the doors share is taken by the one crowd, so the other door sheds too.
        replies = {each[:4] for each in crowd(house, "smtp", 5, held)}
        assert replies == {b"421 "}
        assert first.noop()[0] == "OK"
        early.sendmail("thu@xa.test", [house.address(0)], b"Subject: van den\r\n\r\nx\r\n")
        assert first.select()[1] == [b"1"]
        first.logout()
    until_served(house).logout()
    assert "out of files" not in house.log()


def test_connections_of_a_listener(tmp_path: Path) -> None:
    house = lonely(tmp_path / "data", connections=3)
    try:
        house.start()
        with ExitStack() as held:
            assert {each.split()[1] for each in crowd(house, "imap", 5, held)} == {b"OK", b"BYE"}
            assert {each[:4] for each in crowd(house, "smtp", 5, held)} == {b"220 ", b"421 "}
        until_served(house).logout()
    finally:
        house.kill()
