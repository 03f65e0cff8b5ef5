"""A real server, its workers and its commands: sessions end, doors close, the clock's work is done by hand."""

import imaplib
import time
from pathlib import Path

import pytest

from tests.house.running import PASSWORD, House, run

NEW = "Sông-Hậu-mênh-mông-2026"


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path / "data")
    made.set_up()
    return made


def command(house: House, *words: str, given: str = "", good: bool = True) -> str:
    done = run(*words, "--data", str(house.data), given=given, good=good)
    return done.stdout + done.stderr


def login(house: House, person: int, password: str) -> str:
    client = imaplib.IMAP4("127.0.0.1", house.port("imap"), timeout=30)
    try:
        client.authenticate("PLAIN", lambda _: f"\0{house.address(person)}\0{password}".encode())
    except imaplib.IMAP4.error as error:
        return str(error)
    finally:
        client.shutdown()
    return ""


def test_the_life_of_an_account(house: House) -> None:
    an, binh = house.address(0), house.address(1)
    house.start()
    sessions: list[imaplib.IMAP4] = []
    try:
        sessions = [house.imap(0) for _ in range(4)]  # some on each worker
        other = house.imap(1)
        sessions.append(other)
        for session in sessions[:2]:
            session.select("INBOX")
            session.send(b"i IDLE\r\n")
            assert session.readline().startswith(b"+")
        command(house, "account", "lock", an, "--reason", "left", "--why", "QĐ 5")
        began = time.monotonic()
        for session in sessions[:4]:
            assert session.readline().startswith(b"* BYE [UNAVAILABLE]")
        assert time.monotonic() - began < 20
        assert other.noop()[0] == "OK"
        assert "CONTACTADMIN" in login(house, 0, PASSWORD)
        with house.smtp() as door:  # row 4.1: it still receives
            door.sendmail("a@nguon.test", [an], b"Subject: x\r\n\r\n")
        assert "reason\tleft" in command(house, "account", "show", an)

        assert "request" in command(house, "account", "restore", an, good=False)
        command(house, "account", "restore", an, "--why", "CV 12", "--password-stdin", given="Cấp-lại-2026-xyz!\n")
        assert "EXPIRED" in login(house, 0, "Cấp-lại-2026-xyz!")
        said = command(house, "account", "change-password", an, given="Cấp-lại-2026-xyz!\nngắn\n", good=False)
        assert "14" in said
        command(house, "account", "change-password", an, given=f"Cấp-lại-2026-xyz!\n{NEW}\n")
        assert login(house, 0, NEW) == ""

        command(house, "account", "revoke", binh, "--why", "QĐ 6")
        assert other.readline().startswith(b"* BYE [UNAVAILABLE]")
        with house.smtp() as door:
            door.ehlo()
            door.mail("a@nguon.test")
            assert door.rcpt(binh)[0] == 550
        command(house, "account", "hold", binh, "--why", "vụ 1")
        assert "done: 0" in command(house, "daily")
        assert "purged" not in command(house, "daily", "--on", "2040-01-01")
        command(house, "account", "hold", binh, "--why", "vụ 1", "--release")
        assert f"Đã xóa hộp thư {binh}" in command(house, "daily", "--on", "2040-01-01")
        assert "no account" in command(house, "account", "show", binh, good=False)
    finally:
        for session in sessions:
            session.shutdown()
        house.stop()
    house.check()


def test_a_box_is_handed_over(house: House) -> None:
    box = "ubnd@angiang.gov.vn"
    command(house, "account", "add", box, "--name", "UBND tỉnh", "--kind", "organisation", "--password-stdin",
            given=f"{PASSWORD}\n")  # fmt: skip
    said = command(house, "account", "handover", box, "--to", house.address(2), "--why", "QĐ 9")
    assert "BIÊN BẢN BÀN GIAO" in said and house.address(2) in said and "Mật khẩu, chỉ hiện một lần" in said
    command(house, "account", "leave", house.address(3), "--until", "2030-01-01", "--why", "đi học")
    assert "away\t2030-01-01" in command(house, "account", "show", house.address(3))
    house.check()
