"""Bad days: a killed worker, an orderly end in the middle of a letter, a full disk, clients that say nothing."""

import os
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.running import House
from tests.house.test_kill import Sent, letter, verify


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "data", people=6)
    house.set_up()
    yield house
    house.kill()


def hand_over(house: House, mark: str, size: int, sent: Sent, person: int = 1) -> int:
    """Returns the reply code."""
    sent.tried[mark] = letter(mark, size)
    with house.smtp() as client:
        try:
            client.sendmail("thu@xa.test", [house.address(person)], sent.tried[mark])
        except smtplib.SMTPResponseException as failure:
            return failure.smtp_code
        except smtplib.SMTPRecipientsRefused as failure:
            return next(iter(failure.recipients.values()))[0]
    sent.acknowledged[mark] = [person]
    return 250


def until(what: str, seconds: float = 20) -> Iterator[float]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        yield left
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {what}")


def test_a_killed_worker_is_replaced(house: House) -> None:
    house.start()
    sent = Sent()
    assert hand_over(house, "truoc", 2000, sent) == 250
    before = set(house.workers())
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    for _ in until("new workers"):
        now = set(house.workers())
        if len(now) == len(before) and not now & before and house.answers("smtp") and house.answers("imap"):
            break
    assert hand_over(house, "sau", 2000, sent) == 250
    verify(house, sent)
    assert house.stop() == 0
    house.check()


def test_sigterm_lets_a_letter_finish(house: House) -> None:
    house.start()
    assert house.process is not None
    content = letter("giua-chung", 50_000)
    with socket.create_connection(("127.0.0.1", house.port("smtp")), 20) as client, client.makefile("rb") as replies:
        replies.readline()
        commands = f"EHLO may.xa.test\r\nMAIL FROM:<thu@xa.test>\r\nRCPT TO:<{house.address(1)}>\r\nDATA\r\n"
        client.sendall(commands.encode())
        while not replies.readline().startswith(b"354"):
            pass
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        client.sendall(stuffed[:20_000])
        house.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        assert not house.answers("smtp"), "new connections are no longer taken"
        client.sendall(stuffed[20_000:] + b".\r\n")
        reply = replies.readline()
    assert reply.startswith(b"250"), reply
    assert house.process.wait(20) == 0
    house.start()
    sent = Sent({"giua-chung": content}, {"giua-chung": [1]})
    verify(house, sent)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A disk of 24 MB when we may mount one, otherwise files that cannot grow beyond 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    yield place, mounted
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_for_now_and_loses_nothing(small_disk: tuple[Path, bool]) -> None:
    place, mounted = small_disk
    house = House(place / "data", people=6)
    house.set_up()
    try:
        house.start(file_blocks=0 if mounted else 4096)
        sent = Sent()
        ballast = place / "ballast"
        assert hand_over(house, "dau", 2000, sent) == 250
        if mounted:
            free = os.statvfs(place)
            ballast.write_bytes(b"\0" * max(0, free.f_bavail * free.f_frsize - (6 << 20)))
        codes = []
        for number in range(60):
            hand = hand_over(house, f"day-{number}", 2000, sent) if number % 2 else noise(house, f"day-{number}", sent)
            codes.append(hand)
            if codes.count(452) + codes.count(451) >= 3:
                break
        refusals = {code for code in codes if code != 250}
        assert refusals, "the disk never became full"
        assert refusals <= {451, 452, 431}, refusals
        client = house.imap(2)
        typ, answer = client.append("INBOX", "", None, letter("append-day", 0) + os.urandom(3 << 20).hex().encode())  # type: ignore[arg-type]
        assert typ == "NO", answer
        assert b"[" in answer[0], answer
        client.shutdown()
        ballast.unlink(missing_ok=True)
        verify(house, sent)
        if mounted:  # there is room again: it goes on without a restart
            assert hand_over(house, "lai-co-cho", 2000, sent) == 250
            verify(house, sent)
            house.stop()
            house.check()
    finally:
        house.kill()


def noise(house: House, mark: str, sent: Sent) -> int:
    """A letter that does not compress."""
    content = letter(mark, 0) + b"\r\n".join(os.urandom(35).hex().encode() for _ in range(20_000)) + b"\r\n"
    sent.tried[mark] = content
    with house.smtp() as client:
        try:
            client.sendmail("thu@xa.test", [house.address(1)], content)
        except smtplib.SMTPResponseException as failure:
            return failure.smtp_code
        except smtplib.SMTPRecipientsRefused as failure:
            return next(iter(failure.recipients.values()))[0]
    sent.acknowledged[mark] = [1]
    return 250


def test_clients_that_say_nothing_are_let_go(tmp_path: Path) -> None:
    limits = {"smtp_command_seconds": 1, "smtp_data_seconds": 1, "imap_preauth_seconds": 1, "imap_idle_seconds": 2}
    house = House(tmp_path / "data", people=2, limits=limits)
    house.set_up()
    try:
        house.start()
        data = f"EHLO x.test\r\nMAIL FROM:<thu@xa.test>\r\nRCPT TO:<{house.address(1)}>\r\nDATA\r\nSubject: x\r\n"
        waits = [
            ("smtp", b"", b"421"),
            ("smtp", data.encode(), b"421"),
            ("imap", b"", b"* BYE"),
            ("imap", b"a LOG", b"* BYE"),
        ]
        begun = time.monotonic()
        clients = [socket.create_connection(("127.0.0.1", house.port(door)), 15) for door, _, _ in waits]
        for client, (_, words, _) in zip(clients, waits, strict=True):
            client.sendall(words)
        for client, (door, words, last) in zip(clients, waits, strict=True):
            heard = b""
            while more := client.recv(4096):
                heard += more
            client.close()
            assert last in heard, (door, words, heard)
        assert time.monotonic() - begun < 10
        quick = Sent()
        assert hand_over(house, "nhanh", 2000, quick) == 250
        assert house.stop() == 0
    finally:
        house.kill()
