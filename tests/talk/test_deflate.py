"""COMPRESS=DEFLATE: whatever way the bytes are cut; a little that unpacks to very much; rubbish; memory while idle."""

import asyncio
import random
import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from congvu.servers import deflate
from congvu.servers.deflate import Deflate
from congvu.servers.listen import Listener
from tests.talk.test_imap import Client, Program, append, signed_in, talk


class Squeezed:
    """The client's end of a compressed connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        self._unpacker = zlib.decompressobj(-15)
        self._got = b""

    @classmethod
    async def on(cls, client: Client) -> "Squeezed":
        assert (await client.ask(b"COMPRESS DEFLATE"))[-1] == b"t OK Done"
        return cls(client)

    def pack(self, data: bytes) -> bytes:
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def send(self, data: bytes, cut: Callable[[int], int] = lambda size: size) -> None:
        data = self.pack(data)
        while data:
            size = cut(len(data))
            self._client.send(data[:size])
            data = data[size:]

    async def line(self) -> bytes:
        while b"\n" not in self._got:
            data = await asyncio.wait_for(self._client.reader.read(5000), 5)
            if not data:
                return b""
            self._got += self._unpacker.decompress(data)
        line, _, self._got = self._got.partition(b"\n")
        return line + b"\n"

    async def ask(self, command: bytes, tag: bytes = b"t") -> list[bytes]:
        self.send(tag + b" " + command + b"\r\n")
        lines = [await self.line()]
        while lines[-1] and not lines[-1].startswith(tag + b" "):
            lines.append(await self.line())
        return lines


def test_a_conversation(program: Program) -> None:
    async def go(listener: Listener) -> None:
        plain = await signed_in(listener)
        client = await Squeezed.on(plain)
        assert b"COMPRESS=DEFLATE" not in (await client.ask(b"CAPABILITY"))[0]
        assert (await client.ask(b"COMPRESS DEFLATE"))[-1].startswith(b"t NO [COMPRESSIONACTIVE]")
        letter = b"Subject: x\r\n\r\n" + random.Random(1).randbytes(40_000).replace(b"\0", b"\1")
        chance = random.Random(2)
        for tag, cut in ((b"a", lambda _: 1), (b"b", lambda _: chance.randrange(1, 3000)), (b"c", lambda n: n)):
            client.send(b"%b APPEND INBOX {%d+}\r\n%b\r\n" % (tag, len(letter), letter), cut)
            while not (line := await client.line()).startswith(tag + b" "):
                pass
            assert line.startswith(tag + b" OK")
        await client.ask(b"SELECT INBOX")
        answer = b"".join(await client.ask(b"FETCH 1:* BODY[]"))
        assert answer.count(letter) == 1 or answer.count(letter[:200]) == 3
        # idling lets go of the packer and goes on
        client.send(b"i IDLE\r\n")
        assert (await client.line()).startswith(b"+ ")
        other = await signed_in(listener)
        assert b"OK" in await append(other)
        assert await client.line() == b"* 4 EXISTS\r\n"
        client.send(b"DONE\r\nj NOOP\r\n")
        while not (line := await client.line()).startswith(b"i OK"):
            assert line
        assert (await client.line()).startswith(b"j OK")
        assert (await client.ask(b"LOGOUT"))[0].startswith(b"* BYE")

    program.db.write_now(lambda tx: tx.run("UPDATE store SET quota = 0 WHERE account_id = 1"))
    talk(program, go)


def test_only_deflate(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        assert (await client.ask(b"COMPRESS LZ4"))[-1].startswith(b"t BAD")
        assert (await client.ask(b"NOOP"))[-1].startswith(b"t OK")

    talk(program, go)


def test_a_bomb_is_one_overlong_line(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await Squeezed.on(await signed_in(listener))
        other = await signed_in(listener)
        client.send(b"x" * 100_000_000 + b"\r\nb NOOP\r\n")
        assert (await other.ask(b"NOOP"))[-1].startswith(b"t OK")
        assert (await client.line()).startswith(b"* BAD [TOOBIG]")
        assert (await client.line()).startswith(b"b OK")
        # a letter beyond the limit is dropped as it comes
        client.send(b"c APPEND INBOX {262144+}\r\n" + b"y" * 262_144 + b"\r\n")
        assert (await client.line()).startswith(b"c NO [OVERQUOTA]")

    talk(program, go)


def test_what_is_held_of_a_bomb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    squeezer = Deflate()
    squeezer.feed(packed.compress(bytes(50_000_000)) + packed.flush(zlib.Z_SYNC_FLUSH))
    total = 0
    while squeezer.pending:
        piece = squeezer.unpack()
        assert len(piece) <= deflate.PIECE
        total += len(piece)
    assert total == 50_000_000


@pytest.mark.parametrize("rubbish", [b"a NOOP\r\n" * 10, b"\x07" * 10, zlib.compress(b"a NOOP\r\n")[2:-4]])
def test_rubbish_ends_the_connection(program: Program, rubbish: bytes) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        await client.ask(b"COMPRESS DEFLATE")
        client.send(rubbish)
        with suppress(ConnectionResetError):
            assert await client.reader.read(1000) == b""
        assert (await (await signed_in(listener)).ask(b"NOOP"))[-1].startswith(b"t OK")

    talk(program, go)


def test_whoever_leaves_early_gets_the_last_words(program: Program) -> None:
    program.config = replace(program.config, limits=replace(program.config.limits, errors_per_session=2))

    async def go(listener: Listener) -> None:
        client = await Squeezed.on(await signed_in(listener))
        client.send(b"a\r\nb\r\n")
        lines = [await client.line() for _ in range(4)]
        assert lines[2].startswith(b"* BYE")
        assert lines[3] == b""

    talk(program, go)


@pytest.mark.parametrize("good", [True, False])
def test_tokens(program: Program, monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    monkeypatch.setattr(program.doors, "takes_tokens", True)
    first = b64encode(b"n,a=an@angiang.gov.vn,\x01auth=Bearer %b\x01\x01" % (b"tin-dung" if good else b"sai"))

    async def go(listener: Listener) -> None:
        client = await Client.to(listener)
        assert b"AUTH=OAUTHBEARER" in await client.line()
        client.send(b"t AUTHENTICATE OAUTHBEARER\r\n")
        assert await client.line() == b"+ \r\n"
        client.send(first + b"\r\n")
        if not good:
            assert await client.line() == b"+ " + b64encode(b'{"status":"invalid_token"}') + b"\r\n"
            client.send(b"AQ==\r\n")
        assert (await client.line()).startswith(b"t OK [CAPABILITY" if good else b"t NO [AUTHENTICATIONFAILED]")

    talk(program, go)
