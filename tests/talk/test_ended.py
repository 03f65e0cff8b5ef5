"""Sessions that end because their account was locked, handed over or given another secret: over real sockets."""

import asyncio
from collections.abc import Awaitable, Callable

import uvloop

from congvu.servers import smtp, smtp_replies
from congvu.servers.listen import Listener, serve_listener
from congvu.servers.stream import Stream
from tests.talk import test_pop3 as pops
from tests.talk.test_imap import Program, signed_in, talk
from tests.talk.test_pop3 import Program as Maildrops
from tests.talk.test_smtp import services_for

maildrops = pops.program  # the fixture under a name of its own
PATIENCE = 10


async def left(reader: asyncio.StreamReader) -> bytes:
    """What still comes, to the end of the connection."""
    return await asyncio.wait_for(reader.read(), PATIENCE)


def test_imap_that_waits_and_idles(program: Program) -> None:
    async def go(listener: Listener) -> None:
        waiting, idling, told, other = [await signed_in(listener) for _ in range(4)]
        for client in (idling, told):
            await client.ask(b"SELECT INBOX")
        idling.send(b"i IDLE\r\n")
        assert (await idling.line()).startswith(b"+ ")
        await told.ask(b"NOTIFY SET (selected (MessageNew MessageExpunge))")
        for end in program.doors.ends[:3]:
            end("session-locked")
        for client in (waiting, idling, told):
            answer = await left(client.reader)
            assert answer.startswith(b"* BYE [UNAVAILABLE] ") and answer.count(b"\r\n") == 1, answer
        assert (await other.ask(b"NOOP"))[-1].startswith(b"t OK")  # another session of another epoch
        program.doors.ends[3]("session-ended")
        assert b"sign in again" in await left(other.reader)

    talk(program, go)


def test_imap_whose_client_sent_much_ahead(program: Program) -> None:
    """The command that runs is the last one."""

    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        client.send(b"".join(b"n%d NOOP\r\n" % n for n in range(20_000)))
        await client.line()
        program.doors.ends[0]("session-locked")
        answer = await left(client.reader)
        assert b"* BYE [UNAVAILABLE] " in answer and b"n19999" not in answer

    talk(program, go)


def test_after_unauthenticate_the_next_person_is_not_ended(program: Program) -> None:
    async def go(listener: Listener) -> None:
        client = await signed_in(listener)
        await client.ask(b"UNAUTHENTICATE")
        assert program.doors.left == 1

    talk(program, go)


def test_pop3_that_waits(maildrops: Maildrops) -> None:
    async def go(connect: Callable[[], Awaitable[pops.Client]]) -> None:
        maildrops.put(b"Subject: a\r\n\r\n")
        client = await connect()
        assert (await client.ask(b"DELE 1")).startswith(b"+OK")
        maildrops.doors.ends[0]("session-locked")
        assert (await left(client.reader)).startswith(b"-ERR [AUTH] ")
        assert sorted(maildrops.flags()) == [1]  # no QUIT, nothing deleted

    pops.talk(maildrops, go)


def test_submission() -> None:
    services = services_for({"insecure": ""})

    async def session(stream: Stream) -> None:
        await smtp.run(stream, services, smtp.Door("submission", None, True))

    async def main() -> None:
        manners = smtp_replies.manners("mx.xa.test")
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=manners)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)

        async def ask(data: str) -> bytes:
            writer.write(data.encode() + b"\r\n")
            while True:
                line = await asyncio.wait_for(reader.readline(), PATIENCE)
                if line[3:4] != b"-":
                    return line

        await reader.readline()
        await ask("EHLO may")
        assert (await ask("AUTH PLAIN AGFuQHhhLnRlc3QAbeG6rXQga2jhuql1IDE=")).startswith(b"235")
        await ask("MAIL FROM:<an@xa.test>")
        services.doors.ends[0]("session-locked")
        assert (await left(reader)).startswith(b"421 4.7.0 ")
        writer.close()
        await listener.drain(0.5)
        assert services.inbound.letters == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
