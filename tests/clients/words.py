"""Programs run for a test, and a letter in Vietnamese."""

import imaplib
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable

import pytest

from tests.house.running import PASSWORD, House, trusting


def run(program: str, *words: str, given: bytes = b"", good: bool = True) -> subprocess.CompletedProcess[bytes]:
    if not shutil.which(program):
        pytest.fail(f"{program} is missing: make test installs it")
    done = subprocess.run([program, *words], input=given, capture_output=True, timeout=60, check=False)
    if good:
        assert done.returncode == 0, f"{program}: {done.stdout!r} {done.stderr!r}"
    return done


def letter(sender: str, to: str, subject: str, text: str) -> bytes:
    number = zlib.crc32(text.encode())
    head = f"From: Nguyễn Huệ <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nMessage-ID: <{number}@may.test>\r\n"
    kind = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    return f"{head}Date: Sun, 22 Nov 2026 08:00:00 +0700\r\n{kind}\r\n{text}\r\n".encode()


def subjects(house: House, person: int) -> list[bytes]:
    return [
        line
        for content in house_letters(house, person)
        for line in content.split(b"\r\n")
        if line.startswith(b"Subject:")
    ]


def house_letters(house: House, person: int, mailbox: str = "INBOX") -> list[bytes]:
    """Over TLS: this house takes no passwords otherwise."""
    client = imaplib.IMAP4_SSL("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30)
    client.authenticate("PLAIN", lambda _: f"\0{house.address(person)}\0{PASSWORD}".encode())
    client.select(mailbox, readonly=True)
    _, answer = client.fetch("1:*", "(BODY.PEEK[])")
    client.logout()
    return [part[1] for part in answer if isinstance(part, tuple)]


def eventually(what: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return False
