"""A real server for tests: `congvu init`, `account import` and `serve` in a folder and on ports of its own."""

import base64
import contextlib
import csv
import hashlib
import imaplib
import os
import random
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "congvu"
DOMAIN = "angiang.gov.vn"
PASSWORD = "Mật-khẩu-thử-1"
PATIENCE = 30.0
OFFSETS = {
    "lmtp": 24,
    "smtp": 25,
    "pop3": 110,
    "imap": 143,
    "smtps": 465,
    "submission": 587,
    "imaps": 993,
    "pop3s": 995,
}


def free_base() -> int:
    """A base below the ephemeral ports all of whose listeners are free now."""
    chance = random.Random(os.urandom(8))
    for _ in range(200):
        base = chance.randrange(10_000, 31_000)
        try:
            for offset in OFFSETS.values():
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base
    raise RuntimeError("no free ports")


def run(*words: str, given: str = "", good: bool = True) -> subprocess.CompletedProcess[str]:
    """One command of congvu. With `good` it must succeed."""
    done = subprocess.run(
        [str(PROGRAM), *words], input=given, capture_output=True, text=True, timeout=120, check=False, env=clean()
    )
    if good:
        assert done.returncode == 0, f"congvu {' '.join(words)}: {done.stdout}\n{done.stderr}"
    return done


def clean(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "CONGVU_KILL_AT"} | {"COLUMNS": "200"} | dict(more or {})


class EndedError(Exception):
    """The server ended instead of opening its doors."""


@dataclass
class House:
    """A data folder with `people` accounts u00…, and the server on it when it is started."""

    data: Path
    database: str = ""
    people: int = 4
    limits: Mapping[str, int] = field(default_factory=dict)
    insecure: bool = True
    base: int = field(default_factory=free_base)
    process: subprocess.Popen[bytes] | None = None

    def set_up(self) -> None:
        words = ["init", "--data", str(self.data), "--domain", DOMAIN, "--base-port", str(self.base)]
        words += ["--insecure-loopback"] if self.insecure else []
        run(*words, *(["--db", self.database] if self.database else []))
        if self.limits:
            config = self.data / "congvu.toml"
            text = config.read_text("utf-8")
            lines = "".join(f"{key} = {value}\n" for key, value in self.limits.items())
            assert "\n[limits]\n" in text
            config.write_text(text.replace("\n[limits]\n", f"\n[limits]\n{lines}"), "utf-8")
        salt = os.urandom(8)
        hashed = "{SSHA512}" + base64.b64encode(hashlib.sha512(PASSWORD.encode() + salt).digest() + salt).decode()
        rows = self.data.with_name(f"{self.data.name}-people.csv")
        with rows.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["address", "name", "password", "password_hash"])
            table.writerows([self.address(n), f"Nguyễn Văn {n}", "", hashed] for n in range(self.people))
        run("account", "import", str(rows), "--data", str(self.data))

    @staticmethod
    def address(person: int) -> str:
        return f"u{person:02d}@{DOMAIN}"

    def port(self, name: str) -> int:
        return self.base + OFFSETS[name]

    def start(
        self, *, kill_at: str = "", file_blocks: int = 0, environment: Mapping[str, str] | None = None, files: int = 0
    ) -> None:
        more = dict(environment or {}) | ({"CONGVU_KILL_AT": kill_at} if kill_at else {})
        before = len(self.log())
        log = self.data.with_name(f"{self.data.name}.log").open("ab")
        # No file may grow beyond so many blocks of 1 KiB: a full disk for who may not mount one.
        words = [f"ulimit -f {file_blocks}"] * bool(file_blocks) + [f"ulimit -n {files}"] * bool(files)
        limit = ["bash", "-c", " && ".join([*words, 'exec "$0" "$@"'])] if words else []
        self.process = subprocess.Popen(
            [*limit, str(PROGRAM), "serve", "--data", str(self.data)],
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=clean(more),
        )
        log.close()
        end = time.monotonic() + PATIENCE
        while "/ ready" not in self.log()[before:]:
            if self.process.poll() is not None:
                raise EndedError(self.log()[-2000:])
            assert time.monotonic() < end, f"the server does not answer: {self.log()[-2000:]}"
            time.sleep(0.05)

    def answers(self, name: str) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port(name)), 2) as probe:
                return bool(probe.recv(1))
        except OSError:
            return False

    def log(self) -> str:
        path = self.data.with_name(f"{self.data.name}.log")
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def stop(self) -> int:
        """SIGTERM, and how it ended."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of the server at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def workers(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(word) for word in children.split()]

    def check(self) -> None:
        """Every invariant of the store holds."""
        done = run("check", "--data", str(self.data), good=False)
        assert done.returncode == 0, f"congvu check: {done.stdout}\n{done.stderr}"

    def imap(self, person: int) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.port("imap"), timeout=PATIENCE)
        try:  # imaplib's login() knows ASCII only; AUTHENTICATE PLAIN carries UTF-8.
            client.authenticate("PLAIN", lambda _: f"\0{self.address(person)}\0{PASSWORD}".encode())
        except (OSError, imaplib.IMAP4.error):
            client.shutdown()
            raise
        return client

    def smtp(self, door: str = "smtp") -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port(door), local_hostname="may.xa.test", timeout=PATIENCE)

    def letters(self, person: int, mailbox: str = "INBOX") -> Iterator[bytes]:
        """Everything in a mailbox, byte by byte."""
        client = self.imap(person)
        typ, count = client.select(mailbox, readonly=True)
        assert typ == "OK", count
        for number in range(1, int(count[0] or b"0") + 1):
            typ, answer = client.fetch(str(number), "(BODY.PEEK[])")
            assert typ == "OK"
            part = answer[0]
            assert isinstance(part, tuple)
            yield part[1]
        client.logout()


def trusting() -> ssl.SSLContext:
    """For the self-signed certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
