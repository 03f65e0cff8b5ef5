"""servers.pop3: every dialog of tests/talk/pop3, and what a dialog file cannot say, on a real store."""

import asyncio
import base64
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config, Limits
from congvu.base.failure import NotNow
from congvu.base.texts import catalogue
from congvu.codec import mime
from congvu.db import open_blobs, open_database
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database
from congvu.mailstore import check, mailbox, message
from congvu.mailstore.message import NewLetter, Target
from congvu.servers import doors, pop3, turns
from congvu.servers.listen import serve_listener
from congvu.servers.stream import Stream, Tls
from tests.codec.test_sasl import client_final
from tests.talk import runner
from tests.talk.test_imap import ACCOUNTS, PASSWORD, FakeDoors
from tests.talk.test_listen import make_tls

HERE = Path(__file__).parent / "pop3"
LETTERS = [
    "Subject: một\r\n\r\n.dot\r\n.\r\nXin chào\r\n".encode(),
    b"Subject: hai\r\n\r\nngan lam\r\n",
    "Subject: ba\r\n\r\ndòng 1\r\ndòng 2\r\ndòng 3\r\n".encode(),
]


@dataclass
class Program:
    """Services of one worker."""

    config: Config
    clock: ManualClock
    db: Database
    blobs: BlobKeeper
    doors: FakeDoors
    ids: Identifiers

    def put(self, letter: bytes, *, account: int = 1, flags: int = 0, prefix: bytes = b"") -> int:
        with self.blobs.spool() as spool:
            spool.write(letter)
            blob = self.blobs.put_many([spool.buffer()])[0]
        new = NewLetter(self.ids.draw(), blob, prefix, mime.scan(letter))

        def keep(tx: Any) -> int:
            message.keep_letter(tx, new, 1000.0)
            placed = message.place(tx, new, [Target(account, mailbox.INBOX, flags)], 1000.0, 1000.0)[0]
            assert not isinstance(placed, Exception)
            return placed.uid

        return self.db.write_now(keep)

    def flags(self, account: int = 1) -> dict[int, int]:
        rows = self.db.read_now(message.rows, account, mailbox.INBOX, 1, 2**32)
        return {row.uid: row.flags for row in rows}


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    db = open_database("sqlite:///congvu.db", data=tmp_path, committed=lambda accounts: None)
    db.migrate()
    clock = ManualClock()
    for account in ACCOUNTS.values():
        db.write_now(mailbox.create_store, account, 0, clock.now())
    blobs = open_blobs("file:blobs", data=tmp_path, worker="w0", known=lambda hashes: {})
    config = Config(
        domains=("angiang.gov.vn",),
        hostname="mail.angiang.gov.vn",
        insecure_loopback=True,
        limits=Limits(errors_per_session=50),
    )
    yield Program(config, clock, db, blobs, FakeDoors(), Identifiers(clock))
    assert db.read_now(lambda tx: list(check.check(tx))) == []
    blobs.close()
    db.close()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(("path", "mode"), runner.dialogs(HERE), ids=lambda v: v if isinstance(v, str) else v.stem)
def test_dialog(path: Path, mode: str, program: Program, tls: Tls) -> None:
    dialog = runner.read_dialog(path)
    if "errors" in dialog.options:
        limits = replace(program.config.limits, errors_per_session=int(dialog.options["errors"]))
        program.config = replace(program.config, limits=limits)
    limits = replace(program.config.limits, connections_per_account=int(dialog.options.get("each", "30")))
    program.config = replace(program.config, limits=limits)
    if "secure" in dialog.options:
        program.config = replace(program.config, insecure_loopback=False)
    if "letters" in dialog.options:
        for letter in LETTERS:
            program.put(letter)
    offered = tls if "tls" in dialog.options else None

    async def session(stream: Stream) -> None:
        await pop3.run(stream, program, offered)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(runner.play_as(dialog, mode, session, pop3.MANNERS))
    if path.stem == "left":
        assert sorted(program.flags()) == [1, 2, 3]


class Client:
    """A POP3 client of a few lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, command: bytes) -> bytes:
        self.writer.write(command + b"\r\n")
        return await asyncio.wait_for(self.reader.readline(), 10)

    async def rest(self) -> bytes:
        """The lines of a long answer, dots as they came, without the last."""
        lines = []
        while (line := await asyncio.wait_for(self.reader.readline(), 20)) != b".\r\n":
            assert line.endswith(b"\r\n"), lines[-3:]
            lines.append(line)
        return b"".join(lines)

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


def talk(
    program: Program,
    go: Callable[[Callable[[], Awaitable[Client]]], Awaitable[None]],
    *,
    stls: Tls | None = None,
    implicit: Tls | None = None,
) -> None:
    """Plays `go` with a function that opens connections, signed in when the server lets a password through."""
    clients: list[Client] = []

    async def main() -> None:
        listener = await serve_listener(
            lambda stream: pop3.run(stream, program, stls),
            host="127.0.0.1",
            port=0,
            manners=pop3.MANNERS,
            tls=implicit,
        )

        async def connect() -> Client:
            context = runner.client_tls() if implicit else None
            client = Client(*await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, limit=2**24))
            clients.append(client)
            assert (await client.reader.readline()).startswith(b"+OK")
            if program.config.insecure_loopback:
                assert (await client.ask(b"USER an@angiang.gov.vn")).startswith(b"+OK")
                assert (await client.ask(f"PASS {PASSWORD}".encode())).startswith(b"+OK")
            return client

        try:
            await asyncio.wait_for(go(connect), 60)
        finally:
            for client in clients:
                await client.close()
            await listener.drain(0.5)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())


def unstuffed(data: bytes) -> bytes:
    return data.removeprefix(b".").replace(b"\n.", b"\n") if data.startswith(b".") else data.replace(b"\n.", b"\n")


BIG = b"Subject: lon\r\n\r\n" + b"".join(b".%d dong\r\n" % n for n in range(200_000))


def test_a_large_letter_goes_piece_by_piece(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.put(BIG, prefix=b"Received: x\r\n")
    most = 0
    write = Stream.write

    def counted(stream: Stream, data: bytes) -> None:
        nonlocal most
        most = max(most, len(data))
        write(stream, data)

    monkeypatch.setattr(Stream, "write", counted)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert (await client.ask(b"RETR 1")) == b"+OK %d octets\r\n" % (len(BIG) + 13)
        assert unstuffed(await client.rest()) == b"Received: x\r\n" + BIG
        assert (await client.ask(b"TOP 1 3")).startswith(b"+OK")
        assert await client.rest() == b"Received: x\r\nSubject: lon\r\n\r\n..0 dong\r\n..1 dong\r\n..2 dong\r\n"
        assert (await client.ask(b"NOOP")).startswith(b"+OK")

    talk(program, go)
    assert most < 800_000  # a piece of 256 KiB, dots doubled, and what was gathered before


def test_a_large_letter_is_shown_in_ascii_on_its_way(program: Program) -> None:
    header = "Subject: lớn\r\nFrom: Đạt <đạt@xa.test>\r\n\r\n".encode()
    program.put(header + BIG, prefix="Received: for <đạt@xa.test>\r\n".encode())

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        for command in (b"RETR 1", b"TOP 1 0"):
            assert (await client.ask(command)).startswith(b"+OK")
            shown, _, body = unstuffed(await client.rest()).partition(b"\r\n\r\n")
            assert shown.isascii()
            assert shown.startswith(b"Subject: =?UTF-8?B?bOG7m24=?=\r\nFrom: =?UTF-8?B?")
            assert body == (BIG if command == b"RETR 1" else b"")

    talk(program, go)


def test_line_ends_are_made_whole(program: Program) -> None:
    program.put(b"Subject: la\n\n.a\rb\n.c")

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert (await client.ask(b"RETR 1")).startswith(b"+OK")
        assert await client.rest() == b"Subject: la\r\n\r\n..a\rb\r\n..c\r\n"

    talk(program, go)


def test_an_empty_letter(program: Program) -> None:
    program.put(b"")

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        for command in (b"RETR 1", b"TOP 1 5"):
            assert (await client.ask(command)).startswith(b"+OK")
            assert await client.rest() == b""

    talk(program, go)


def test_fetched_is_seen_and_top_is_not(program: Program) -> None:
    for letter in LETTERS:
        program.put(letter)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.ask(b"RETR 1")
        await client.rest()
        await client.ask(b"TOP 2 99")
        await client.rest()
        assert (await client.ask(b"QUIT")).startswith(b"+OK")
        client = await connect()  # and also when the client just leaves
        await client.ask(b"RETR 3")
        await client.rest()
        await client.close()
        for _ in range(100):
            if program.flags()[3] == message.SEEN:
                break
            await asyncio.sleep(0.02)

    talk(program, go)
    assert program.flags() == {1: message.SEEN, 2: 0, 3: message.SEEN}


def test_imaps_deleted_is_not_dele(program: Program) -> None:
    program.put(LETTERS[0], flags=message.DELETED)
    program.put(LETTERS[1])
    program.put(LETTERS[2])

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert await client.ask(b"STAT") == b"+OK 3 %d\r\n" % sum(map(len, LETTERS))
        assert (await client.ask(b"DELE 3")).startswith(b"+OK")
        assert (await client.ask(b"QUIT")).startswith(b"+OK")

    talk(program, go)
    assert program.flags() == {1: message.DELETED, 2: 0}


def test_two_sessions_and_a_delivery(program: Program) -> None:
    """Nobody is locked out: each has its list; what is gone is told, what is new waits for the next session."""
    for letter in LETTERS:
        program.put(letter)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        one, two = await connect(), await connect()
        program.put(LETTERS[0])
        await one.ask(b"DELE 1")
        await two.ask(b"DELE 1")
        await two.ask(b"DELE 2")
        assert (await one.ask(b"QUIT")).startswith(b"+OK")
        assert (await two.ask(b"STAT")).startswith(b"+OK 1 ")
        await two.ask(b"RSET")
        assert (await two.ask(b"RETR 1")).startswith(b"-ERR the message was removed")
        assert (await two.ask(b"TOP 1 0")).startswith(b"-ERR the message was removed")
        await two.ask(b"DELE 1")
        await two.ask(b"DELE 2")
        assert (await two.ask(b"QUIT")).startswith(b"+OK")
        three = await connect()
        assert (await three.ask(b"STAT")).startswith(b"+OK 2 ")

    talk(program, go)
    assert sorted(program.flags()) == [3, 4]


def test_a_delete_that_fails_is_told(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.put(LETTERS[0])

    def full(*_: object) -> int:
        raise NotNow("disk-full")

    monkeypatch.setattr(pop3, "_remove", full)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.ask(b"DELE 1")
        assert (await client.ask(b"QUIT")).startswith(b"-ERR [SYS/TEMP] ")
        assert await client.reader.read() == b""

    talk(program, go)
    assert sorted(program.flags()) == [1]


def test_removing_goes_in_portions(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pop3, "PORTION", 2)
    for _ in range(5):
        program.put(LETTERS[0])

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        for number in (1, 2, 4, 5):
            await client.ask(b"DELE %d" % number)
        assert (await client.ask(b"QUIT")).startswith(b"+OK")

    talk(program, go)
    assert sorted(program.flags()) == [3]


def test_lost_bytes_are_told(program: Program, tmp_path: Path) -> None:
    program.put(LETTERS[0])
    program.put(BIG)
    for path in (tmp_path / "blobs").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    program.blobs.close()
    program.blobs = open_blobs("file:blobs", data=tmp_path, worker="w1", known=lambda hashes: {})

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        for number in (1, 2):
            assert (await client.ask(b"RETR %d" % number)).startswith(b"-ERR [SYS/PERM] ")
        assert (await client.ask(b"NOOP")).startswith(b"+OK")

    talk(program, go)


def test_a_letter_that_ends_too_soon_ends_the_connection(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.put(BIG)

    def torn(*_: object) -> Iterator[bytes]:
        yield BIG[:300_000]
        raise ValueError("torn")

    monkeypatch.setattr(program.blobs, "stream", torn)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert (await client.ask(b"RETR 1")).startswith(b"+OK")
        with suppress(ConnectionError):
            data = await client.reader.read()
            while more := await client.reader.read():
                data += more
            assert not data.endswith(b"\r\n.\r\n")

    talk(program, go)
    assert program.flags() == {1: 0}


def test_long_work_takes_turns(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever fetches everything over many connections leaves readers to others."""
    for _ in range(20):
        program.put(LETTERS[0])
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def counted(kind: str, do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any) -> Any:
            now[kind] += 1
            most[kind] = max(most[kind], now[kind])
            try:
                return await do(*args)
            finally:
                now[kind] -= 1

        return call

    monkeypatch.setattr(program.db, "read", counted("read", program.db.read))
    monkeypatch.setattr(program.db, "write", counted("write", program.db.write))

    async def fetch(client: Client) -> None:
        for number in range(1, 21):
            assert (await client.ask(b"RETR %d" % number)).startswith(b"+OK")
            await client.rest()
        assert (await client.ask(b"QUIT")).startswith(b"+OK")

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        clients = [await connect() for _ in range(8)]
        await asyncio.gather(*map(fetch, clients))

    talk(program, go)
    assert most == {"read": turns.READS, "write": turns.WRITES}


def test_who_leaves_after_quit_has_deleted(program: Program) -> None:
    for letter in LETTERS:
        program.put(letter)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.writer.write(b"DELE 1\r\nDELE 3\r\nQUIT\r\n")
        await client.writer.drain()
        await client.close()
        for _ in range(200):
            if len(program.flags()) == 1:
                break
            await asyncio.sleep(0.02)

    talk(program, go)
    assert sorted(program.flags()) == [2]


def test_pipelining(program: Program) -> None:
    for letter in LETTERS:
        program.put(letter)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        client.writer.write(b"STAT\r\nRETR 1\r\nDELE 1\r\n" + b"NOOP\r\n" * 5000 + b"RETR 3\r\nQUIT\r\n")
        said = b""
        while piece := await client.reader.read(65_536):
            said += piece
        assert said.count(b"+OK") == 5000 + 5
        assert said.endswith("dòng 3\r\n.\r\n+OK goodbye\r\n".encode())

    talk(program, go)


def test_a_password_waits_for_tls(program: Program, tls: Tls) -> None:
    program.config = replace(program.config, insecure_loopback=False)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert (await client.ask(b"CAPA")).startswith(b"+OK")
        words = (await client.rest()).split(b"\r\n")
        assert b"STLS" in words and b"USER" not in words and b"SASL SCRAM-SHA-256" in words and b"UTF8" in words
        assert (await client.ask(b"USER an@angiang.gov.vn")).startswith(b"-ERR [SYS/PERM] a password needs TLS")
        assert (await client.ask(b"AUTH PLAIN AGEAYg==")).startswith(b"-ERR [SYS/PERM] a password needs TLS")
        assert (await client.ask(b"UTF8")).startswith(b"+OK")
        assert (await client.ask(b"STLS")).startswith(b"+OK")
        await client.writer.start_tls(runner.client_tls())
        assert (await client.ask(b"CAPA")).startswith(b"+OK list follows\r\n")  # UTF8 is forgotten
        words = (await client.rest()).split(b"\r\n")
        assert b"STLS" not in words and b"USER" in words and b"UTF8 USER" in words
        assert b"SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" in words
        assert (await client.ask(b"STLS")).startswith(b"-ERR TLS is on already")
        assert (await client.ask(b"USER an@angiang.gov.vn")).startswith(b"+OK")
        assert (await client.ask(f"PASS {PASSWORD}".encode())).startswith(b"+OK")
        # what is sent behind STLS in clear is never run
        other = await connect()
        other.writer.write(b"STLS\r\nQUIT\r\n")
        assert (await other.reader.readline()).startswith(b"-ERR nothing may follow STLS")
        assert await other.reader.read() == b""

    talk(program, go, stls=tls)


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("password", [PASSWORD, "sai"])
def test_scram(program: Program, tls: Tls, plus: bool, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program.config = replace(program.config, insecure_loopback=False)
    monkeypatch.setattr(doors, "_DELAYS", (0.0, 0.0))

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        gs2 = b"p=tls-server-end-point,," if plus else b"n,,"
        bare = b"n=an@angiang.gov.vn,r=fyko"
        name = b"SCRAM-SHA-256" + b"-PLUS" * plus
        first = await client.ask(b"AUTH " + name + b" " + base64.b64encode(gs2 + bare))
        final, expected = client_final(password, bare, base64.b64decode(first[2:]), gs2 + tls.end_point * plus)
        said = await client.ask(base64.b64encode(final))
        if password == PASSWORD:
            assert base64.b64decode(said[2:]) == expected
            assert (await client.ask(b"")).startswith(b"+OK signed in")
        else:
            assert said.startswith(b"-ERR [AUTH] ")

    talk(program, go, implicit=tls)


def test_silence_ends_a_session_without_a_word(program: Program) -> None:
    program.put(LETTERS[0])
    limits = replace(program.config.limits, pop3_idle_seconds=1)
    program.config = replace(program.config, limits=limits)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        await client.ask(b"DELE 1")
        assert await asyncio.wait_for(client.reader.read(), 10) == b""  # rfc1939 3

    talk(program, go)
    assert sorted(program.flags()) == [1]


def test_a_shutdown_deletes_nothing(program: Program) -> None:
    program.put(LETTERS[0])

    async def main() -> None:
        listener = await serve_listener(
            lambda stream: pop3.run(stream, program), host="127.0.0.1", port=0, manners=pop3.MANNERS
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        client = Client(reader, writer)
        await reader.readline()
        await client.ask(b"USER an@angiang.gov.vn")
        await client.ask(f"PASS {PASSWORD}".encode())
        await client.ask(b"DELE 1")
        draining = asyncio.ensure_future(listener.drain(5.0))
        assert (await reader.readline()).startswith(b"-ERR [SYS/TEMP] the server is shutting down")
        await draining
        await client.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
    assert sorted(program.flags()) == [1]


def test_a_million_letters_are_listed_in_little_memory() -> None:
    count = 1_000_000
    tracemalloc.start()
    drop = pop3.Maildrop(1, 1_700_000_000, array("I", range(1, count + 1)), array("I", [4096]) * count)
    for at in range(0, count, 2):
        drop.delete(at)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 12 << 20
    assert (drop.count, drop.octets) == (count // 2, 4096 * count // 2)
    assert next(map(drop.id_line, drop.left())) == b"2 6553f10000000002"
    assert list(drop.gone()[:3]) == [1, 3, 5]
    drop.reset()
    assert drop.size_line(drop.index(count)) == b"1000000 4096"


def test_a_long_list_is_written_in_pieces(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    write = Stream.write

    def counted(stream: Stream, data: bytes) -> None:
        nonlocal most
        most = max(most, len(data))
        write(stream, data)

    monkeypatch.setattr(Stream, "write", counted)
    big = pop3.Maildrop(1, 7, array("I", range(1, 100_001)), array("I", [10]) * 100_000)
    monkeypatch.setattr(pop3, "_open", lambda tx, account: big)

    async def go(connect: Callable[[], Awaitable[Client]]) -> None:
        client = await connect()
        assert (await client.ask(b"UIDL")).startswith(b"+OK 100000 ")
        lines = (await client.rest()).split(b"\r\n")
        assert (len(lines), lines[99_999]) == (100_001, b"100000 00000007000186a0")

    talk(program, go)
    assert most < 200_000


def test_every_sentence_is_used() -> None:
    source = Path(pop3.__file__).read_text("utf-8") + Path(pop3.pop3.__file__).read_text("utf-8")
    for code in catalogue():
        if code.startswith("pop3-"):
            rest = code.removeprefix("pop3-")
            assert f'"{code}"' in source or f'"{rest}"' in source or f"{rest}" in {"bad-auth-message"}, code
