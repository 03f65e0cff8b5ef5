"""IMAP dialogs over a real socket: the server's sessions on a real database, with small stand-ins for what is below."""

import asyncio
import hashlib
import hmac
import random
import re
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from congvu.actions.mail import Mail
from congvu.actions.sharing import NOTHING, Sharing, Standing, Who
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config, Limits
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret
from congvu.codec import sasl
from congvu.db import open_database
from congvu.db.blobs import Blob
from congvu.db.engine import Database, Tx
from congvu.db.sqlite import READERS
from congvu.directory import addresses, people
from congvu.directory.lifecycle import State
from congvu.directory.people import Account, Kind
from congvu.directory.profile import Profile
from congvu.mailstore import changes, check, mailbox, message
from congvu.servers import turns
from congvu.servers.imap import fetch, mailboxes, messages, session
from congvu.servers.imap.commands import MANNERS, TABLE, run
from congvu.servers.imap.session import Session, Tell
from congvu.servers.imap.view import read_news
from congvu.servers.listen import Listener, serve_listener
from congvu.servers.stream import Stream, Tls
from tests.talk import runner
from tests.talk.test_listen import make_tls

HERE = Path(__file__).parent / "imap"
PASSWORD = "mật khẩu-1"
ACCOUNTS = {
    "an@angiang.gov.vn": 1,
    "binh@angiang.gov.vn": 2,
    "chi@angiang.gov.vn": 3,
    "vanphong@angiang.gov.vn": 4,  # a unit
    "ubnd@angiang.gov.vn": 5,  # an organisation
}
KINDS = {4: Kind.UNIT, 5: Kind.ORGANISATION}
PATIENCE = 5.0
CLIENTS: list["Client"] = []  # of the present test


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

    small = -1  # all are put by `put`

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

    def at_hand(self, blob: Blob) -> bytes | None:
        return self.read(blob)

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
    epoch: int = 0


class FakeDoors:
    """Two people with one password."""

    keys = sasl.derive_keys(PASSWORD, b"0123456789abcdef", 4096)

    def __init__(self) -> None:
        self.ends: list[Callable[[str], None]] = []  # of the sessions that began …
        self.left = 0  # … and how many left

    def present(self, known: object, end: Callable[[str], None]) -> Callable[[], None]:
        self.ends.append(end)

        def leave() -> None:
            self.left += 1

        return leave

    async def sign_in(self, login: str, password: Secret, ip: str) -> FakeSignedIn:
        if login == "khoa@angiang.gov.vn":
            raise Refused("account-locked")
        if login == "moi@angiang.gov.vn":
            raise Refused("password-must-change")
        if login == "mai@angiang.gov.vn":
            raise NotNow("too-many-attempts", seconds=60)
        if password.reveal() != PASSWORD or login not in ACCOUNTS:
            raise Refused("bad-credentials")
        return FakeSignedIn(ACCOUNTS[login], login)

    async def scram_keys(self, login: str, ip: str = "") -> sasl.ScramKeys:
        if login == "mai@angiang.gov.vn":
            raise NotNow("too-many-attempts", seconds=60)
        return self.keys

    async def signed_in(self, login: str, ip: str = "") -> FakeSignedIn:
        return FakeSignedIn(ACCOUNTS[login], login)

    def failed(self, login: str, ip: str) -> None:
        pass

    takes_tokens = False

    async def token_good(self, login: str, token: Secret, ip: str) -> bool:
        return token.reveal() == "tin-dung"


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
    sharing: Sharing
    ids: Identifiers = field(default_factory=lambda: Identifiers(ManualClock()))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    wake = FakeWake()
    db = open_database("sqlite:///congvu.db", data=tmp_path, committed=wake.tell)
    db.migrate()
    clock = ManualClock()
    for address, account in ACCOUNTS.items():
        db.write_now(mailbox.create_store, account, 100_000, clock.now())
        who = Account(account, KINDS.get(account, Kind.PERSON), State.ACTIVE, address, None, 0, address)
        db.write_now(people.add, who)
        db.write_now(addresses.give, account, address, True)
    blobs = FakeBlobs()
    config = Config(
        domains=("angiang.gov.vn",),
        hostname="mail.angiang.gov.vn",
        insecure_loopback=True,
        limits=Limits(message_bytes=65_536 * 4, errors_per_session=50),
    )
    mail = Mail(db, blobs, clock, Identifiers(clock))  # type: ignore[arg-type]  # a stand-in
    profile = Profile("test", {}, one_seen=frozenset({Kind.ORGANISATION}))
    yield Program(config, clock, db, blobs, wake, FakeDoors(), mail, Sharing(config, profile))
    assert db.read_now(lambda tx: list(check.check(tx))) == []
    db.close()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def served(program: Program, starttls: Tls | None = None) -> AsyncIterator[Listener]:
    listener = await serve_listener(
        lambda stream: run(stream, program, starttls),  # type: ignore[arg-type]  # stand-ins
        host="127.0.0.1",
        port=0,
        manners=MANNERS,
    )
    try:
        yield listener
    finally:
        while CLIENTS:
            await CLIENTS.pop().close()
        await listener.drain(0.2)


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def to(cls, listener: Listener) -> "Client":
        client = cls(*await asyncio.open_connection("127.0.0.1", listener.port, limit=1 << 24))
        CLIENTS.append(client)
        return client

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
        with suppress(OSError):
            await self.writer.wait_closed()


@pytest.mark.parametrize(("path", "mode"), runner.dialogs(HERE), ids=lambda v: v if isinstance(v, str) else v.stem)
def test_dialog(path: Path, mode: str, program: Program) -> None:
    dialog = runner.read_dialog(path)
    limits = replace(program.config.limits, connections_per_account=int(dialog.options.get("each", "30")))
    program.config = replace(program.config, limits=limits)

    async def session(stream: Stream) -> None:
        await run(stream, program)  # type: ignore[arg-type]  # stand-ins

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(runner.play_as(dialog, mode, session, MANNERS))


# What a dialog file cannot say


def talk(program: Program, go: Callable[[Listener], Awaitable[None]], starttls: Tls | None = None) -> None:
    async def main() -> None:
        async with served(program, starttls) as listener:
            await asyncio.wait_for(go(listener), 30)

    asyncio.run(main())


async def signed_in(listener: Listener) -> Client:
    client = await Client.to(listener)
    await client.line()
    assert (await client.ask(f'LOGIN an@angiang.gov.vn "{PASSWORD}"'.encode()))[-1].startswith(b"t OK")
    return client


def test_sign_ins_put_off_are_counted(program: Program) -> None:
    program.config = replace(program.config, limits=replace(program.config.limits, errors_per_session=3))

    async def go(listener: Listener) -> None:
        client = await Client.to(listener)
        await client.line()
        plain = b64encode(b"\0mai@angiang.gov.vn\0x")
        scram_first = b64encode(b"n,,n=mai@angiang.gov.vn,r=abcdef")
        for command in (b"LOGIN mai@angiang.gov.vn x", b"AUTHENTICATE PLAIN " + plain):
            assert (await client.ask(command))[-1].startswith(b"t NO [UNAVAILABLE]")
        assert (await client.ask(b"AUTHENTICATE SCRAM-SHA-256 " + scram_first))[-1].startswith(b"t NO [UNAVAILABLE]")
        assert (await client.line()).startswith(b"* BYE Too many errors")
        assert await client.line() == b""

    talk(program, go)


LETTER = b"Subject: x\r\n\r\nXin chao\r\n"


async def append(client: Client, letter: bytes = LETTER, to: bytes = b"INBOX") -> bytes:
    return (await client.ask(b"APPEND %b {%d+}\r\n%b" % (to, len(letter), letter)))[-1]


def test_a_password_waits_for_tls(program: Program, tls: Tls) -> None:
    program.config = replace(program.config, insecure_loopback=False)

    async def go(listener: Listener) -> None:
        client = await Client.to(listener)
        greeting = await client.line()
        assert b" STARTTLS " in greeting and b" LOGINDISABLED" in greeting and b"AUTH=PLAIN" not in greeting
        for command in (b"LOGIN a b", b"AUTHENTICATE PLAIN AGEAYg==", b"AUTHENTICATE LOGIN"):
            assert (await client.ask(command))[-1].startswith(b"t NO [PRIVACYREQUIRED]")
        # what is sent ahead in clear is never run: not before the handshake, and not after it either
        client.send(b"a STARTTLS\r\nb CAPABILITY\r\n")
        assert (await client.line()).startswith(b"a OK")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await client.writer.start_tls(context)
        lines = await client.ask(b"CAPABILITY")
        assert len(lines) == 2 and b"STARTTLS" not in lines[0] and b"LOGINDISABLED" not in lines[0]
        assert b"AUTH=PLAIN" in lines[0] and b"AUTH=SCRAM-SHA-256-PLUS" in lines[0]
        assert (await client.ask(b"STARTTLS"))[-1].startswith(b"t BAD")
        assert (await client.ask(f'LOGIN an@angiang.gov.vn "{PASSWORD}"'.encode()))[-1].startswith(b"t OK")
        await client.close()

    talk(program, go, tls)


def scram(name: str, password: str) -> Iterator[bytes]:
    """A client's side of RFC 5802: yields what to send, is sent what the server said."""
    bare = f"n={name},r=abcdef".encode()
    first = yield b"n,," + bare
    said = dict(part.split(b"=", 1) for part in first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(said[b"s"]), int(said[b"i"]))
    final = b"c=biws,r=" + said[b"r"]
    stored = hashlib.sha256(client := hmac.digest(salted, b"Client Key", "sha256")).digest()
    signature = hmac.digest(stored, b",".join((bare, first, final)), "sha256")
    proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
    yield final + b",p=" + b64encode(proof)
    yield b""


@pytest.mark.parametrize(("password", "initial"), [(PASSWORD, True), (PASSWORD, False), ("sai", True)])
def test_scram(program: Program, password: str, initial: bool) -> None:
    async def go(listener: Listener) -> None:
        client = await Client.to(listener)
        await client.line()
        steps = scram("an@angiang.gov.vn", password)
        first = b64encode(next(steps))
        client.send(b"t AUTHENTICATE SCRAM-SHA-256" + (b" " + first if initial else b"") + b"\r\n")
        if not initial:
            assert await client.line() == b"+ \r\n"
            client.send(first + b"\r\n")
        while (line := await client.line()).startswith(b"+ "):
            client.send(b64encode(steps.send(b64decode(line[2:]))) + b"\r\n")  # type: ignore[attr-defined]
        assert line.startswith(b"t OK [CAPABILITY" if password == PASSWORD else b"t NO [AUTHENTICATIONFAILED]")
        await client.close()

    talk(program, go)


def test_an_overlong_command_is_answered_under_its_tag(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await Client.to(listener)
        await client.line()
        client.send(b"t" * 90 + b" LOGIN " + b"x" * 500_000 + b"\r\n")
        assert (await client.line()).startswith(b"t" * 90 + b" BAD [TOOBIG] Command too long")
        assert (await client.ask(b"NOOP"))[-1].startswith(b"t OK")
        client = await signed_in(listener)
        await client.ask(b"SELECT INBOX")
        deep = await client.ask(b"SEARCH " + b"(" * 60 + b"ALL" + b")" * 60)
        assert deep[-1].startswith(b"t BAD [TOOBIG] Command beyond its limits: search program too large")

    talk(program, go)


def test_strangers_are_bounded(program: Program) -> None:
    program.config = replace(program.config, limits=replace(program.config.limits, errors_per_session=3))

    async def go(listener: Listener) -> None:
        # a line without end: told once, dropped as it comes
        client = await Client.to(listener)
        await client.line()
        for _ in range(200):
            client.send(b"x" * 50_000)
            await client.writer.drain()
        assert (await client.line()).startswith(b"* BAD [TOOBIG]")
        client.send(b"\r\n")
        assert (await client.ask(b"NOOP"))[-1].startswith(b"t OK")
        # a literal that was not asked for: small ones are dropped, for a large one the connection is
        client.send(b"a LOGIN {5000+}\r\n" + b"x" * 5000 + b" y\r\n")
        assert (await client.line()).startswith(b"a BAD [TOOBIG]")
        client.send(b"a LOGIN {100000+}\r\n")
        assert (await client.line()).startswith(b"* BYE")
        assert await client.line() == b""
        # another protocol
        client = await Client.to(listener)
        await client.line()
        client.send(b"EHLO may\r\nMAIL FROM:<>\r\nQUIT\r\nQUIT\r\n")
        lines = [await client.line() for _ in range(4)]
        assert lines[-1].startswith(b"* BYE Too many errors"), lines
        # wrong passwords
        client = await Client.to(listener)
        await client.line()
        for _ in range(3):
            last = await client.ask(b"LOGIN an@angiang.gov.vn wrong")
        assert last[-1].startswith(b"t NO [AUTHENTICATIONFAILED]")
        assert (await client.line()).startswith(b"* BYE")

    talk(program, go)


def test_the_slow_are_shown_out(program: Program) -> None:
    limits = replace(program.config.limits, imap_preauth_seconds=1, imap_idle_seconds=2)
    program.config = replace(program.config, limits=limits)

    async def go(listener: Listener) -> None:
        stranger, stalled, idling = await Client.to(listener), await Client.to(listener), await signed_in(listener)
        await stranger.line(), await stalled.line()
        stalled.send(b"a LOGIN {10}\r\n")
        assert (await stalled.line()).startswith(b"+ ")
        idling.send(b"a SELECT INBOX\r\nb IDLE\r\n")
        assert (await stranger.line()).startswith(b"* BYE")
        assert (await stalled.line()).startswith(b"* BYE")
        while not (line := await idling.line()).startswith(b"* BYE"):
            assert line

    talk(program, go)


def test_unauthenticate_can_be_turned_off(program: Program) -> None:
    program.config = replace(program.config, unauthenticate=False)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        assert b"UNAUTHENTICATE" not in (await client.ask(b"CAPABILITY"))[0]
        assert (await client.ask(b"UNAUTHENTICATE"))[-1].startswith(b"t BAD")
        assert (await client.ask(b"SELECT INBOX"))[-1].startswith(b"t OK")

    talk(program, go)


def test_a_large_mailbox_is_deleted_in_portions(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million letters took the one writer for seconds."""
    monkeypatch.setattr(mailboxes, "AT_ONCE", 2)
    monkeypatch.setattr("congvu.mailstore.mailbox.MAX_MOVED", 4)

    async def go(listener: Listener) -> None:
        client, other = await signed_in(listener), await signed_in(listener)
        for _ in range(5):
            await append(client)
        await client.ask(b"CREATE x")
        await client.ask(b"SELECT INBOX")
        await client.ask(b"COPY 1:5 x")
        await other.ask(b"SELECT x")
        assert (await client.ask(b"RENAME INBOX y"))[-1].startswith(b"t NO [LIMIT] RENAME takes 4 messages")
        assert (await client.ask(b"DELETE INBOX"))[-1].startswith(b"t NO")
        assert (await client.ask(b"DELETE x"))[-1] == b"t OK Done"
        log = await program.db.read(changes.since, 1, 0)
        assert [len(each.letters) for each in log if each.kind is changes.Kind.VANISHED] == [2, 2, 1]
        assert (await client.ask(b"STATUS INBOX (MESSAGES)"))[0].endswith(b"(MESSAGES 5)")

    talk(program, go)


def test_many_are_moved_in_portions_and_copied_in_one(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "AT_ONCE", 2)
    monkeypatch.setattr(messages, "MAX_COPY", 3)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        for _ in range(5):
            await append(client)
        await client.ask(b"CREATE x")
        await client.ask(b"SELECT INBOX")
        assert (await client.ask(b"COPY 1:4 x"))[-1].startswith(b"t NO [LIMIT] One COPY takes 3 messages at most")
        assert b" 1:3 1:3]" in (await client.ask(b"COPY 1:3 x"))[-1]
        lines = await client.ask(b"MOVE 1:* x")
        told = [line.split()[3:6] for line in lines[:3]]
        assert [pair[1:] for pair in told] == [[b"1:2", b"4:5]"], [b"3:4", b"6:7]"], [b"5", b"8]"]]
        assert lines[3:8] == [b"* %d EXPUNGE" % number for number in (5, 4, 3, 2, 1)]
        assert lines[-1] == b"t OK Done"
        # one that fails on its way: what was moved was told, the rest is where it was
        await client.ask(b"SELECT x")
        await client.ask(b"STORE 5 +FLAGS (La)")
        monkeypatch.setattr(message, "MAX_KEYWORDS", 0)
        lines = await client.ask(b"UID MOVE 1:8 INBOX")
        assert [b"COPYUID" in line for line in lines[:3]] == [True, True, False]
        assert lines[2:6] == [b"* %d EXPUNGE" % number for number in (4, 3, 2, 1)]
        assert lines[-1].startswith(b"t NO [LIMIT]")
        assert (await client.ask(b"SEARCH ALL"))[0] == b"* SEARCH 1 2 3 4"
        # nothing to move still minds the mailbox's name
        assert (await client.ask(b"UID MOVE 99 nothing"))[-1].startswith(b"t NO [TRYCREATE]")
        monkeypatch.setattr(message, "MAX_MESSAGES", 8)
        assert (await client.ask(b"COPY 1 x"))[-1].startswith(b"t NO [OVERQUOTA] This account holds")
        client.send(b"a APPEND INBOX {9}\r\n")
        assert (await client.line()).startswith(b"a NO [OVERQUOTA]")

    talk(program, go)


def test_commands_sent_ahead_are_answered_in_order(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(
            b"a SELECT INBOX\r\nb APPEND INBOX {%d+}\r\n%b\r\nc UID STORE 1 FLAGS (\\Seen)\r\nd NOOP\r\n"
            % (
                len(LETTER),
                LETTER,
            )
        )
        tagged = []
        while len(tagged) < 4:
            line = await client.line()
            assert line
            if not line.startswith(b"*"):
                tagged.append(line[:4])
        assert tagged == [b"a OK", b"b OK", b"c OK", b"d OK"]
        await client.close()

    talk(program, go)


def test_a_letter_cut_off_leaves_nothing(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(b"a APPEND INBOX {1000+}\r\nSubject: half")
        await client.writer.drain()
        await client.close()
        client = await signed_in(listener)
        assert (await client.ask(b"STATUS INBOX (MESSAGES)"))[0] == b"* STATUS INBOX (MESSAGES 0)"
        await client.close()

    talk(program, go)


def test_a_full_disk_is_told_and_the_connection_goes_on(program: Program) -> None:
    class Full(FakeSpool):
        def write(self, data: bytes) -> None:
            raise NotNow("disk-full")

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        assert (await append(client, b"x" * 200)).startswith(b"t OK")
        program.blobs.spool = Full  # type: ignore[method-assign]
        assert (await append(client, b"x" * 90_000)).startswith(b"t NO [OVERQUOTA]")
        assert (await client.ask(b"NOOP"))[-1].startswith(b"t OK")
        await client.close()

    talk(program, go)


def test_a_database_that_is_away_is_told_and_the_connection_goes_on(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the command nor the news behind it can be had: found by the soak as an internal error."""
    look, away = Session.look, []

    async def stumble(self: Session, tell: Tell, own: bool = False) -> None:
        if away:
            raise NotNow("storage-trouble")
        await look(self, tell, own)

    monkeypatch.setattr(Session, "look", stumble)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        await client.ask(b"SELECT INBOX")
        away.append(True)
        assert (await client.ask(b"SELECT nothing"))[-1].startswith(b"t NO")
        assert (await client.ask(b"NOOP"))[-1].startswith(b"t NO [UNAVAILABLE]")
        away.clear()
        assert (await client.ask(b"NOOP"))[-1].startswith(b"t OK")
        await client.close()

    talk(program, go)


def test_refused_letters_are_taken_off_the_wire(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        assert (await append(client, b"x" * 200_000)).startswith(b"t NO [OVERQUOTA]")
        assert (await append(client, to=b"nothing")).startswith(b"t NO [TRYCREATE]")
        client.send(b"a APPEND INBOX {400000+}\r\n")  # beyond any letter: not worth reading
        assert (await client.line()).startswith(b"* BYE")
        assert not program.blobs.kept

    talk(program, go)


def test_recent_is_told_to_one(program: Program) -> None:
    async def go(listener: Listener) -> None:
        one, two = await signed_in(listener), await signed_in(listener)
        await append(one)
        assert b"* 1 RECENT" in await two.ask(b"EXAMINE INBOX")  # looking does not claim
        assert b"* 1 RECENT" in await one.ask(b"SELECT INBOX")
        assert b"* 0 RECENT" in await two.ask(b"SELECT INBOX")
        await append(one)
        assert b"* 1 RECENT" in await two.ask(b"NOOP")
        await two.ask(b"UNSELECT")
        assert b"* 0 RECENT" in await two.ask(b"SELECT INBOX")
        await one.close()
        await two.close()

    talk(program, go)


def test_a_hint_that_was_lost_is_made_good(program: Program) -> None:
    async def go(listener: Listener) -> None:
        one, two = await signed_in(listener), await signed_in(listener)
        await two.ask(b"SELECT INBOX")
        program.wake.listening.clear()
        program.wake.listen(1, lambda: None)
        assert (await append(one)).startswith(b"t OK")
        assert b"* 1 EXISTS" in await two.ask(b"NOOP")
        await one.close()
        await two.close()

    program.wake.listen = lambda account, callback: lambda: None  # type: ignore[method-assign]
    talk(program, go)


def test_stores_of_ones_own_are_not_news(program: Program) -> None:
    async def go(listener: Listener) -> None:
        one = await signed_in(listener)
        await append(one)
        await one.ask(b"SELECT INBOX")
        assert await one.ask(b"STORE 1 +FLAGS.SILENT (\\Seen)") == [b"t OK Done"]
        assert await one.ask(b"NOOP") == [b"t OK Done"]
        assert await one.ask(b"STORE 1 +FLAGS (\\Seen)") == [
            b"* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))",
            b"t OK Done",
        ]
        await one.close()

    talk(program, go)


def test_much_news_comes_in_portions(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("congvu.servers.imap.view._ROWS", 2)
    monkeypatch.setattr("congvu.servers.imap.view._LIMIT", 3)
    monkeypatch.setattr("congvu.servers.imap.messages.AT_ONCE", 2)

    async def go(listener: Listener) -> None:
        one, two = await signed_in(listener), await signed_in(listener)
        for _ in range(7):
            await append(one)
        await one.ask(b"SELECT INBOX")
        await two.ask(b"EXAMINE INBOX")
        assert len(await one.ask(b"STORE 1:* FLAGS (\\Deleted)")) == 8
        assert len(await one.ask(b"STORE 1:3 +FLAGS (\\Seen)")) == 4
        told = await two.ask(b"NOOP")
        flags = [line for line in told if b" FETCH " in line]
        assert {line.split()[1] for line in flags} == {b"%d" % n for n in range(1, 8)}
        assert flags[-1] == b"* 3 FETCH (UID 3 FLAGS (\\Seen \\Deleted))"
        await append(one)
        assert len(await one.ask(b"EXPUNGE")) == 8
        told = await two.ask(b"NOOP")
        there, most, run = 7, 0, 0
        for line in told[:-1]:
            match line.split()[1:]:
                case [_, b"EXPUNGE"]:
                    there, run = there - 1, run + 1
                case [number, b"EXISTS"]:
                    assert int(number) == there + 1
                    there, most, run = int(number), max(most, run), 0
        assert there == 1
        assert most == 2  # a million that went are not told at once
        assert await two.ask(b"NOOP") == [b"t OK Done"]
        assert (await two.ask(b"UID SEARCH ALL"))[0] == b"* SEARCH 8"

    talk(program, go)


def test_one_change_of_many_messages_is_not_read_on_the_spot(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred sessions that were told of a STORE to thousands held the event loop for seconds."""
    monkeypatch.setattr(session, "FEW", 2)
    aside: list[object] = []
    read = turns.read

    async def spied(asking: turns.Asking, f: Callable[..., object], *args: object) -> object:
        aside.append(f)
        return await read(asking, f, *args)

    monkeypatch.setattr(turns, "read", spied)

    async def go(listener: Listener) -> None:
        one, two = await signed_in(listener), await signed_in(listener)
        for _ in range(3):
            await append(one)
        for client in (one, two):
            await client.ask(b"SELECT INBOX")
        for numbers, expected in ((b"1:2", 0), (b"1:3", 1)):
            await one.ask(b"STORE %b FLAGS (L%b)" % (numbers, numbers[-1:]))
            told = await two.ask(b"NOOP")
            assert len([line for line in told if b" FETCH " in line]) == expected + 2
            assert aside.count(read_news) == expected

    talk(program, go)


def test_long_work_leaves_a_reader_and_the_writer_to_others(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for everything over many connections has one portion at the writer, and never all readers."""
    monkeypatch.setattr(messages, "AT_ONCE", 2)
    monkeypatch.setattr(messages, "A_FEW", 1)
    monkeypatch.setattr(messages, "FEW", 1)
    monkeypatch.setattr(fetch, "FEW", 1)
    under_way = {"read": 0, "write": 0}
    most = dict(under_way)

    def counted(name: str, f: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def call(*args: object) -> object:
            long = args[0] in {messages._store_some, fetch._chunk}
            under_way[name] += long
            most[name] = max(most[name], under_way[name])
            try:
                return await f(*args)
            finally:
                under_way[name] -= long

        return call

    async def go(listener: Listener) -> None:
        clients = [await signed_in(listener) for _ in range(8)]
        for _ in range(8):
            await append(clients[0])
        for client in clients:
            await client.ask(b"SELECT INBOX")
        monkeypatch.setattr(program.db, "read", counted("read", program.db.read))
        monkeypatch.setattr(program.db, "write", counted("write", program.db.write))
        store = (client.ask(b"STORE 1:* FLAGS.SILENT (L%d)" % n) for n, client in enumerate(clients))
        assert all(lines[-1] == b"t OK Done" for lines in await asyncio.gather(*store))
        fetched = await asyncio.gather(*(client.ask(b"FETCH 1:* (FLAGS BODY.PEEK[])") for client in clients))
        assert all(lines[-1] == b"t OK Done" for lines in fetched)

    talk(program, go)
    assert most["write"] == turns.WRITES
    assert 0 < most["read"] <= turns.READS < READERS


class Counting:
    """A client that believes what it is told: its list of UIDs must stay the server's."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.known: list[int | None] = []  # None: a UID it was not told yet

    async def ask(self, command: bytes) -> list[bytes]:
        lines = await self.client.ask(command)
        for line in lines:
            words = line.split(b" ", 3)
            if words[0] != b"*" or len(words) < 3 or not words[1].isdigit():
                continue
            number = int(words[1])
            match words[2]:
                case b"EXISTS":
                    assert number >= len(self.known), line
                    self.known += [None] * (number - len(self.known))
                case b"EXPUNGE":
                    assert not command.startswith((b"FETCH", b"STORE", b"SEARCH")), line
                    del self.known[number - 1]
                case b"FETCH" if found := re.search(rb"UID (\d+)", words[3]):
                    assert self.known[number - 1] in (None, int(found[1])), (command, line)
                    self.known[number - 1] = int(found[1])
        return lines


@pytest.mark.parametrize("seed", range(4))
def test_three_at_once_agree_in_the_end(program: Program, seed: int) -> None:
    async def go(listener: Listener) -> None:
        async def work(own: int) -> Counting:
            chance = random.Random(seed * 10 + own)
            mine = Counting(await signed_in(listener))
            await mine.ask(b"SELECT INBOX")
            for _ in range(40):
                number = b"%d" % chance.randint(1, len(mine.known)) if mine.known else b"*"
                uid = b"%d:%d" % (low := chance.randint(1, 30), low + chance.randint(0, 5))
                command = chance.choice(
                    [
                        b"APPEND INBOX {%d+}\r\n%b" % (len(LETTER), LETTER),
                        b"APPEND INBOX (\\Deleted) {%d+}\r\n%b" % (len(LETTER), LETTER),
                        b"STORE %b +FLAGS (\\Deleted)" % number,
                        b"STORE %b FLAGS.SILENT (k%d)" % (number, own),
                        b"UID STORE %b -FLAGS (\\Deleted)" % uid,
                        b"FETCH %b (UID FLAGS)" % number,
                        b"FETCH 1:* (UID)",
                        b"COPY %b INBOX" % number,
                        b"UID MOVE %b INBOX" % uid,
                        b"EXPUNGE",
                        b"UID EXPUNGE " + uid,
                        b"NOOP",
                        b"SEARCH UNDELETED",
                    ]
                )
                last = (await mine.ask(command))[-1]
                assert last.startswith((b"t OK", b"t NO [EXPUNGEISSUED]")), (command, last)
            return mine

        clients = await asyncio.gather(*(work(own) for own in range(3)))
        ends = []
        for each in clients:
            await each.ask(b"NOOP")
            ends.append((await each.ask(b"FETCH 1:* (UID FLAGS MODSEQ)"))[:-1])
            found = (await each.ask(b"UID SEARCH ALL"))[0].split()[2:]
            assert [int(uid) for uid in found] == each.known
        strip = [[line.replace(b" \\Recent", b"").replace(b"\\Recent", b"") for line in end] for end in ends]
        assert strip[0] == strip[1] == strip[2]

    talk(program, go)


class Fading(Sharing):
    """Rights that end after so many looks at them."""

    left = 1_000

    def standing(self, tx: Tx, who: Who, account_id: int, mailbox_id: int) -> Standing:
        self.left -= 1
        return super().standing(tx, who, account_id, mailbox_id) if self.left >= 0 else NOTHING


def test_a_right_that_ends_ends_what_is_under_way(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CHUNK_BODIES", 1)
    program.sharing = sharing = Fading(program.config, Profile("test", {}))

    async def go(listener: Listener) -> None:
        owner, reader = await signed_in(listener), await Client.to(listener)
        await reader.line()
        await reader.ask(f'LOGIN binh@angiang.gov.vn "{PASSWORD}"'.encode())
        for _ in range(4):
            await append(owner)
        await owner.ask(b"SETACL INBOX binh@angiang.gov.vn lrste")
        inbox = b"Ng&AbAe3Q-i kh&AOE-c/an/INBOX"
        assert (await reader.ask(b'SELECT "%b"' % inbox))[-1].startswith(b"t OK [READ-WRITE]")
        sharing.left = 3  # the command, and two letters
        lines = await reader.ask(b"FETCH 1:4 (UID BODY.PEEK[TEXT])")
        assert sum(line.endswith(b"BODY[TEXT] {10}") for line in lines) in {1, 2}
        assert lines[-1].startswith(b"t NO [NOPERM]")
        sharing.left = 1_000
        # without "s" a FETCH that would set \\Seen reads all the same
        assert (await reader.ask(b"NOOP"))[-1].startswith(b"t OK")
        await owner.ask(b"SETACL INBOX binh@angiang.gov.vn -s")
        lines = await reader.ask(b"FETCH 1 (FLAGS BODY[TEXT])")
        assert b"* 1 FETCH (FLAGS () BODY[TEXT] {10}" in lines
        assert lines[-1].startswith(b"t OK")
        # a flag set in between is no way around a right that has ended
        sharing.left = 1
        assert (await reader.ask(b"STORE 1:4 +FLAGS (\\Deleted)"))[-1].startswith(b"t NO [NOPERM]")
        sharing.left = 1_000
        await owner.ask(b"SELECT INBOX")
        await owner.ask(b"STORE 1:4 +FLAGS (\\Deleted)")
        for command in (b"EXPUNGE", b"UID EXPUNGE 1:4", b"MOVE 1 INBOX", b"COPY 1 INBOX"):
            sharing.left = 1
            assert (await reader.ask(command))[-1].startswith(b"t NO [NOPERM]"), command
        assert b"* STATUS INBOX (MESSAGES 4 DELETED 4)" in await owner.ask(b"STATUS INBOX (MESSAGES DELETED)")

    talk(program, go)


def test_what_was_read_ahead_stays_when_the_right_has_ended(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CHUNK_BODIES", 1)
    program.sharing = sharing = Fading(program.config, Profile("test", {}))
    read, portions = fetch._read, []

    async def and_end(*args: Any) -> Any:
        found = await read(*args)
        portions.append(found)
        if len(portions) == 3:  # has been read, and not left
            sharing.left = 0
        return found

    monkeypatch.setattr(fetch, "_read", and_end)

    async def go(listener: Listener) -> None:
        owner, reader = await signed_in(listener), await Client.to(listener)
        await reader.line()
        await reader.ask(f'LOGIN binh@angiang.gov.vn "{PASSWORD}"'.encode())
        for _ in range(6):
            await append(owner)
        await owner.ask(b"SETACL INBOX binh@angiang.gov.vn lr")
        await reader.ask(b'SELECT "Ng&AbAe3Q-i kh&AOE-c/an/INBOX"')
        lines = await reader.ask(b"FETCH 1:6 (UID BODY.PEEK[TEXT])")
        assert sum(line.endswith(b"BODY[TEXT] {10}") for line in lines) in {1, 2}
        assert lines[-1].startswith(b"t NO [NOPERM]")

    talk(program, go)


def test_commands_that_say_nothing_of_rights_are_refused_in_a_mailbox_of_anothers(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLE, "EXPUNGE", replace(TABLE["EXPUNGE"], rights=None))

    async def go(listener: Listener) -> None:
        owner, reader = await signed_in(listener), await Client.to(listener)
        await reader.line()
        await reader.ask(f'LOGIN binh@angiang.gov.vn "{PASSWORD}"'.encode())
        await owner.ask(b"SETACL INBOX binh@angiang.gov.vn lrswite")
        await reader.ask(b'SELECT "Ng&AbAe3Q-i kh&AOE-c/an/INBOX"')
        assert b"not available" in (await reader.ask(b"EXPUNGE"))[-1]
        await reader.ask(b"SELECT INBOX")
        assert (await reader.ask(b"EXPUNGE"))[-1].startswith(b"t OK")

    talk(program, go)
