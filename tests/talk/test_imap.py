"""IMAP dialogs over a real socket: the server's sessions on a real database, with small stand-ins for what is below."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from congvu.actions.mail import Mail
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config, Limits
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.codec import sasl
from congvu.db import open_database
from congvu.db.blobs import Blob
from congvu.db.engine import Database
from congvu.mailstore import check, mailbox
from congvu.servers.imap.commands import MANNERS, run
from congvu.servers.listen import Listener, serve_listener

HERE = Path(__file__).parent / "imap"
DIALOGS = sorted(HERE.glob("*.txt"))
PASSWORD = "mật khẩu-1"
ACCOUNTS = {"an@angiang.gov.vn": 1, "binh@angiang.gov.vn": 2}
PATIENCE = 5.0


class FakeSpool:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def size(self) -> int:
        return len(self.data)

    def buffer(self) -> bytes:
        return bytes(self.data)

    def close(self) -> None:
        pass


class FakeBlobs:
    """Blobs in memory."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def spool(self) -> FakeSpool:
        return FakeSpool()

    async def put(self, spool: FakeSpool) -> Blob:
        data = spool.buffer()
        digest = hashlib.sha256(data).digest()
        self.kept[digest] = data
        return Blob(digest, len(data), "memory")

    def read(self, blob: Blob, start: int = 0, end: int | None = None) -> bytes:
        return self.kept[blob.hash][start:end]

    def stream(self, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        yield self.read(blob, start, end)


class FakeWake:
    def __init__(self) -> None:
        self.listening: dict[int, list[Callable[[], None]]] = {}

    def listen(self, account_id: int, callback: Callable[[], None]) -> Callable[[], None]:
        self.listening.setdefault(account_id, []).append(callback)
        return lambda: self.listening[account_id].remove(callback)

    def tell(self, accounts: frozenset[int]) -> None:
        for account in accounts:
            for callback in list(self.listening.get(account, ())):
                callback()


@dataclass
class FakeSignedIn:
    account_id: int
    address: str


class FakeDoors:
    """Two people with one password."""

    keys = sasl.derive_keys(PASSWORD, b"0123456789abcdef", 4096)

    async def sign_in(self, login: str, password: Secret, ip: str) -> FakeSignedIn:
        if login == "khoa@angiang.gov.vn":
            raise Refused("account-locked")
        if password.reveal() != PASSWORD or login not in ACCOUNTS:
            raise Refused("bad-credentials")
        return FakeSignedIn(ACCOUNTS[login], login)

    async def scram_keys(self, login: str, ip: str = "") -> sasl.ScramKeys:
        return self.keys

    async def signed_in(self, login: str, ip: str = "") -> FakeSignedIn:
        return FakeSignedIn(ACCOUNTS[login], login)

    def failed(self, login: str, ip: str) -> None:
        pass


@dataclass
class Program:
    """Services of one worker."""

    config: Config
    clock: ManualClock
    db: Database
    blobs: FakeBlobs
    wake: FakeWake
    doors: FakeDoors
    mail: Mail
    ids: Identifiers = field(default_factory=lambda: Identifiers(ManualClock()))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    wake = FakeWake()
    db = open_database("sqlite:///congvu.db", data=tmp_path, committed=wake.tell)
    db.migrate()
    clock = ManualClock()
    for account in ACCOUNTS.values():
        db.write_now(mailbox.create_store, account, 100_000, clock.now())
    blobs = FakeBlobs()
    config = Config(
        domains=("angiang.gov.vn",),
        hostname="mail.angiang.gov.vn",
        insecure_loopback=True,
        limits=Limits(message_bytes=65_536 * 4, errors_per_session=50),
    )
    mail = Mail(db, blobs, clock, Identifiers(clock))  # type: ignore[arg-type]  # a stand-in
    yield Program(config, clock, db, blobs, wake, FakeDoors(), mail)
    assert db.read_now(lambda tx: list(check.check(tx))) == []
    db.close()


@asynccontextmanager
async def served(program: Program, **settings: object) -> AsyncIterator[Listener]:
    listener = await serve_listener(
        lambda stream: run(stream, program),  # type: ignore[arg-type]  # stand-ins
        host="127.0.0.1",
        port=0,
        manners=MANNERS,
    )
    try:
        yield listener
    finally:
        await listener.drain(0.2)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, listener: Listener) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", listener.port, limit=1 << 24))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), PATIENCE)

    async def ask(self, command: bytes, tag: bytes = b"t") -> list[bytes]:
        """All lines of an answer, the tagged one last."""
        self.send(tag + b" " + command + b"\r\n")
        lines = []
        while True:
            line = await self.line()
            assert line, f"connection closed after {command[:80]!r}: {lines}"
            lines.append(line.rstrip(b"\r\n"))
            if line.startswith(tag + b" "):
                return lines

    async def close(self) -> None:
        self.writer.close()


def pattern(text: str) -> re.Pattern[str]:
    """`…` stands for anything; `<name:…>` is not needed here."""
    return re.compile(".*".join(map(re.escape, text.split("…"))) + r"\Z", re.DOTALL)


async def play(path: Path, listener: Listener) -> None:
    """`C: line` is sent, `C> text` is sent without a line end, `S: line` is expected, `S~ line` in any order with its
    neighbours. `C2`, `S2` … are further connections, opened at their first line."""
    clients: dict[str, Client] = {}
    loose: list[tuple[str, str]] = []

    async def settle(number: int) -> None:
        while loose:
            which, _ = loose[0]
            got = (await clients[which].line()).decode("utf-8", "surrogateescape").rstrip("\r\n")
            match = next((each for each in loose if each[0] == which and pattern(each[1]).match(got)), None)
            assert match, f"{path.name}:{number}: got {got!r}, expected one of {loose}"
            loose.remove(match)

    for number, text in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not text.strip() or text.startswith("#"):
            continue
        found = re.match(r"([CS])(\d?)([:>~]) ?(.*)", text, re.DOTALL)
        assert found, f"{path.name}:{number}: {text}"
        side, which, kind, words = found.groups()
        if which not in clients:
            clients[which] = await Client.to(listener)
        client = clients[which]
        if (side, kind) == ("S", "~"):
            loose.append((which, words))
            continue
        await settle(number)
        if side == "C":
            data = words.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0")
            client.send(data.encode() + (b"\r\n" if kind == ":" else b""))
        else:
            got = (await client.line()).decode("utf-8", "surrogateescape")
            assert pattern(words).match(got.rstrip("\r\n")), f"{path.name}:{number}: got {got!r}, expected {words!r}"
    await settle(0)
    for client in clients.values():
        await client.close()


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_dialog(path: Path, program: Program) -> None:
    async def go() -> None:
        async with served(program) as listener:
            await asyncio.wait_for(play(path, listener), 30)

    asyncio.run(go())
