"""APPENDs under way: in order whatever the disk does first, bounded, all or nothing, and never an OK too early."""

import asyncio
import hashlib
import socket
import struct
from dataclasses import replace

import pytest

from congvu.actions.mail import Letter, Wanted
from congvu.base.failure import NotNow
from congvu.codec import imap_append
from congvu.db.blobs import Blob
from congvu.mailstore import mailbox
from congvu.servers.imap import append
from congvu.servers.imap.session import Session, Tell
from congvu.servers.listen import Listener
from congvu.servers.stream import Gone
from tests.talk.test_imap import Client, FakeSpool, Program, signed_in, talk


class Gate:
    """`mail.append`, behind a gate; and what came to it, in which company."""

    def __init__(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        self._append = program.mail.append
        self._put = program.blobs.put
        self.open = asyncio.Event()
        self.calls: list[int] = []  # letters in each visit to the writer
        self.arrived: list[bytes] = []  # letters read
        self.broken: set[bytes] = set()
        monkeypatch.setattr(program.mail, "append", self.append)
        monkeypatch.setattr(program.blobs, "put", self.put)

    async def append(self, account: int, wanted: list[Wanted]) -> object:
        self.calls.append(sum(len(each.drafts) for each in wanted))
        await self.open.wait()
        return await self._append(account, wanted)

    async def put(self, spool: FakeSpool) -> Blob:
        name = bytes(spool.data[:1])
        self.arrived.append(name)
        if name in self.broken:
            raise NotNow("disk-full")
        return await self._put(spool)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.arrived) < count:
                await asyncio.sleep(0.001)


def letter(name: bytes, size: int = 10) -> bytes:
    return name * size


def command(tag: bytes, *letters: bytes, to: bytes = b"INBOX") -> bytes:
    return b"%b APPEND %b%b\r\n" % (tag, to, b"".join(b" {%d+}\r\n%b" % (len(each), each) for each in letters))


async def bodies(client: Client) -> list[bytes]:
    await client.ask(b"SELECT INBOX")
    lines = await client.ask(b"FETCH 1:* BODY.PEEK[]")
    return [line[:1] for line in lines if line[:1] not in {b"*", b"t", b")"}]


def test_letters_go_together_and_answers_come_in_order(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(program, monkeypatch)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(command(b"A", letter(b"A")))
        await gate.until(1)
        while not gate.calls:
            await asyncio.sleep(0.001)
        client.send(b"".join(command(name, letter(name)) for name in (b"B", b"C", b"D")))
        await gate.until(4)  # read while the first is still on its way
        assert not client.reader._buffer  # type: ignore[attr-defined]  # nothing is told before it is true
        gate.open.set()
        for number, tag in enumerate((b"A", b"B", b"C", b"D"), 1):
            assert (await client.line()).split()[:5:4] == [tag, b"%d]" % number]
        assert gate.calls == [1, 3]
        assert await bodies(client) == [b"A", b"B", b"C", b"D"]

    talk(program, go)


def test_a_letter_that_cannot_be_stored_leaves_its_neighbours_alone(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(program, monkeypatch)
    gate.broken = {b"B", b"D"}
    gate.open.set()

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(command(b"A", letter(b"A")) + command(b"B", letter(b"B")))
        client.send(command(b"C", letter(b"C"), letter(b"D"), letter(b"C")) + command(b"E", letter(b"E")))
        answers = [(await client.line())[:15] for _ in range(4)]
        assert answers == [b"A OK [APPENDUID", b"B NO [OVERQUOTA", b"C NO [OVERQUOTA", b"E OK [APPENDUID"]
        assert await bodies(client) == [b"A", b"E"]

    talk(program, go)


def test_a_database_that_is_away_is_told_to_all_who_wait(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise NotNow("storage-trouble")

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        with monkeypatch.context() as patched:
            patched.setattr(program.mail, "append", away)
            client.send(command(b"A", letter(b"A")) + command(b"B", letter(b"B"), letter(b"C")) + b"c NOOP\r\n")
            assert [(await client.line())[:16] for _ in range(3)] == [
                b"A NO [UNAVAILABL",
                b"B NO [UNAVAILABL",
                b"c OK Done\r\n",
            ]
        assert (await client.ask(command(b"t", letter(b"A"))[2:-2]))[-1].startswith(b"t OK")

    talk(program, go)


def test_what_is_under_way_is_bounded(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(program, monkeypatch)
    monkeypatch.setattr(append, "COMMANDS", 3)
    monkeypatch.setattr(append, "BYTES", 1000)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(b"".join(command(b"n%d" % n, letter(b"A")) for n in range(10)))
        await gate.until(3)
        await asyncio.sleep(0.05)
        assert len(gate.arrived) == 3
        gate.open.set()
        for n in range(10):
            assert (await client.line()).startswith(b"n%d OK" % n)
        gate.open.clear()
        gate.arrived.clear()
        client.send(b"".join(command(b"m%d" % n, letter(b"A", 600)) for n in range(4)))
        await gate.until(2)
        await asyncio.sleep(0.05)
        assert len(gate.arrived) == 2
        gate.open.set()
        for n in range(4):
            assert (await client.line()).startswith(b"m%d OK" % n)

    talk(program, go)


def test_one_command_does_not_fill_the_memory(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "BYTES", 1000)
    portions: list[int] = []

    def put_many(contents: list[bytes]) -> list[Blob]:
        portions.append(len(contents))
        for each in contents:
            program.blobs.kept[hashlib.sha256(each).digest()] = each
        return [Blob(hashlib.sha256(each).digest(), len(each), "memory") for each in contents]

    monkeypatch.setattr(program.blobs, "small", 5000)
    monkeypatch.setattr(program.blobs, "put_many", put_many, raising=False)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(command(b"A", *(letter(name, 400) for name in (b"A", b"B", b"C", b"D", b"E", b"F", b"G"))))
        assert b" 1:7]" in await client.line()
        assert await bodies(client) == [b"A", b"B", b"C", b"D", b"E", b"F", b"G"]
        assert portions == [3, 3, 1]

    talk(program, go)


def test_quota_counts_what_is_under_way_once(program: Program) -> None:
    program.db.write_now(lambda tx: tx.run("UPDATE store SET quota = 100 WHERE account_id = 1"))

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(b"".join(command(n, letter(n, 30)) for n in (b"A", b"B", b"C", b"D")) + command(b"E", letter(b"E")))
        answers = [(await client.line())[:4] for _ in range(5)]
        assert answers == [b"A OK", b"B OK", b"C OK", b"D NO", b"E OK"]
        client.send(command(b"F", letter(b"F", 1), letter(b"F", 1)))
        assert (await client.line()).startswith(b"F NO [OVERQUOTA]")
        # a letter that takes the place of another needs room for the difference only
        await client.ask(b"SELECT INBOX")
        assert (await client.ask(b"REPLACE 1 INBOX {30+}\r\n" + letter(b"F", 30)))[-1] == b"t OK Done"
        assert (await client.ask(b"REPLACE 1 INBOX {31+}\r\n" + letter(b"F", 31)))[-1].startswith(b"t NO [OVERQUOTA]")

    talk(program, go)
    assert program.db.read_now(mailbox.quota, 1) == mailbox.Quota(100, 100, 4)


def test_a_connection_that_dies_leaves_whole_commands_or_nothing(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(program, monkeypatch)

    async def go(listener: Listener) -> None:
        for reset, stored in ((True, 0), (False, 1)):
            client = await signed_in(listener)
            gate.arrived.clear()
            client.send(command(b"A", letter(b"A")) + command(b"B", letter(b"B"), letter(b"C"))[:-8])
            await gate.until(2)
            if reset:
                raw = client.writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
            while reset and listener.connections:
                await asyncio.sleep(0.001)
            gate.open.set()
            while listener.connections:
                await asyncio.sleep(0.001)
            other = await signed_in(listener)
            answer = await other.ask(b"STATUS INBOX (MESSAGES)")
            assert answer[0] == b"* STATUS INBOX (MESSAGES %d)" % stored
            await other.ask(b"LOGOUT")
            while listener.connections:
                await asyncio.sleep(0.001)
            gate.open.clear()

    talk(program, go)


def test_news_are_told_once_to_whoever_watches(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        await client.ask(b"SELECT INBOX")
        asked = b"(SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))"
        assert (await client.ask(b"NOTIFY SET %b" % asked))[-1].startswith(b"t OK")
        for _ in range(5):
            client.send(b"".join(command(b"n%d" % n, letter(b"A", 20)) for n in range(10)))
            lines = await client.ask(b"NOOP")
            assert [line for line in lines if b"APPENDUID" in line and b" OK " in line] and len(lines) > 10
            told = [int(line.split()[1]) for line in lines if line.endswith(b" EXISTS")]
            assert told == sorted(set(told))
        assert told[-1] == 50

    talk(program, go)


def test_who_has_said_all_still_hears_the_answers(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(program, monkeypatch)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(command(b"A", letter(b"A")) + command(b"B", letter(b"B")))
        client.writer.write_eof()
        await gate.until(2)
        gate.open.set()
        assert (await client.line()).startswith(b"A OK")
        assert (await client.line()).startswith(b"B OK")

    talk(program, go)


def test_a_bug_below_ends_the_connection(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    async def buggy(*_: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(program.mail, "append", buggy)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(command(b"A", letter(b"A")))
        assert (await client.line()).startswith(b"* BYE [SERVERBUG]")
        assert await client.line() == b""

    talk(program, go)


def test_a_thousand_letters_are_one_command_and_no_more(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    program.db.write_now(lambda tx: tx.run("UPDATE store SET quota = 0 WHERE account_id = 1"))
    calls: list[int] = []
    real = program.mail.append

    async def counted(account: int, wanted: list[Wanted]) -> object:
        calls.append(sum(len(each.drafts) for each in wanted))
        return await real(account, wanted)

    monkeypatch.setattr(program.mail, "append", counted)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        most = imap_append.MAX_MESSAGES
        client.send(command(b"A", *(letter(b"A") for _ in range(most))))
        assert b" 1:%d]" % most in await client.line()
        client.send(command(b"B", *(letter(b"A") for _ in range(most + 3))))
        assert (await client.line()).startswith(b"B BAD [TOOBIG]")
        assert (await client.ask(b"STATUS INBOX (MESSAGES)"))[0].endswith(b"(MESSAGES %d)" % most)
        assert calls == [most]
        # letters that are dear to remember are told so before they fill the memory
        monkeypatch.setattr(Letter, "weight", property(lambda _: append.WEIGHT // 40))
        client.send(command(b"C", *(letter(b"C") for _ in range(150))))
        assert (await client.line()).startswith(b"C NO [LIMIT]")

    talk(program, go)


def test_catenate_stays_below_the_limit(program: Program) -> None:
    program.config = replace(program.config, limits=replace(program.config.limits, message_bytes=65_536))
    program.db.write_now(lambda tx: tx.run("UPDATE store SET quota = 0 WHERE account_id = 1"))

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        await client.ask(command(b"t", letter(b"A", 40_000))[2:-2])
        url = b'URL "/INBOX/;UID=1"'
        assert (await client.ask(b"APPEND INBOX CATENATE (%b)" % url))[-1].startswith(b"t OK")
        for parts in (url + b" " + url, b"TEXT {30000+}\r\n" + b"x" * 30_000 + b" " + url):
            assert (await client.ask(b"APPEND INBOX CATENATE (%b)" % parts))[-1].startswith(b"t NO [TOOBIG]")
        again = b"APPEND INBOX CATENATE (%b TEXT {30000+}\r\n%b)" % (url, b"x" * 30_000)
        assert (await client.ask(again))[-1].startswith(b"t NO [TOOBIG]")
        many = b" ".join([b'URL "/INBOX/;UID=1/;PARTIAL=0.100"'] * 400)
        assert (await client.ask(b"APPEND INBOX CATENATE (%b)" % many))[-1].startswith(b"t OK")

    talk(program, go)


def test_the_words_of_one_command_are_bounded_in_all(program: Program) -> None:
    program.config = replace(program.config, limits=replace(program.config.limits, imap_command_bytes=8192))

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        words = b" (%b) {1+}\r\na" % b" ".join(b"$%0100d" % n for n in range(50))
        client.send(b"A APPEND INBOX" + words * 3 + b"\r\n")
        assert (await client.line()).startswith((b"A BAD [TOOBIG]", b"* BYE"))

    talk(program, go)


@pytest.mark.parametrize(
    "trouble", [NotNow("storage-trouble"), Gone()], ids=["news cannot be read", "the peer has gone"]
)
def test_trouble_behind_the_commit_stores_nothing_twice(
    program: Program, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """A's letter has its rows, and then the news for its answer cannot be read, while B is on its way."""
    gate = Gate(program, monkeypatch)
    look, failed = Session.look, []

    async def stumble(self: Session, tell: Tell, own: bool = False) -> None:
        if gate.open.is_set() and not failed:
            failed.append(True)
            raise trouble
        await look(self, tell, own)

    monkeypatch.setattr(Session, "look", stumble)

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(command(b"A", letter(b"A")))
        await gate.until(1)
        while not gate.calls:
            await asyncio.sleep(0.001)
        client.send(b"B APPEND INBOX {10+}\r\nBBBBB")
        await asyncio.sleep(0.05)
        gate.open.set()
        while not failed:
            await asyncio.sleep(0.001)
        client.send(b"BBBBB\r\nC NOOP\r\n")
        lines = []
        async with asyncio.timeout(5):
            while (line := await client.line()) and not line.startswith(b"C "):
                lines.append(line)
        stored = await bodies(await signed_in(listener))
        if isinstance(trouble, NotNow):
            assert [line[:4] for line in lines if line[:1] in b"AB"] == [b"A OK", b"B OK"], lines
            assert stored == [b"A", b"B"]
        else:
            assert not [line for line in lines if line[:1] in b"AB"]
            assert stored == [b"A"]

    talk(program, go)
