"""servers.smtp: every dialog of tests/talk/smtp, in memory and over a socket; what was handed to delivery; SCRAM."""

import asyncio
import base64
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import uvloop

from congvu.base.config import Config, Limits
from congvu.base.texts import catalogue
from congvu.servers import doors, smtp, smtp_replies
from congvu.servers.listen import serve_listener
from congvu.servers.stream import TURN, Stream, Tls
from tests.codec.test_sasl import client_final
from tests.talk import runner
from tests.talk.fakes import FakeBlobs, FakeDoors, FakeInbound
from tests.talk.test_listen import make_tls

FOLDER = Path(__file__).parent / "smtp"


@dataclass
class Services:
    config: Config
    inbound: FakeInbound = field(default_factory=FakeInbound)
    doors: FakeDoors = field(default_factory=FakeDoors)
    blobs: FakeBlobs = field(default_factory=FakeBlobs)


def services_for(options: dict[str, str]) -> Services:
    limits = Limits(
        message_bytes=int(options.get("size", "65536")),
        recipients=int(options.get("recipients", "100")),
        errors_per_session=int(options.get("errors", "30")),
        connections_per_account=int(options.get("each", "30")),
        smtp_command_seconds=5,
        smtp_data_seconds=5,
    )
    return Services(
        Config(domains=("xa.test",), hostname="mx.xa.test", insecure_loopback="insecure" in options, limits=limits)
    )


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


def door_for(options: dict[str, str], tls: Tls) -> smtp.Door:
    name = options.get("door", "mx")
    return smtp.Door(name, tls if "tls" in options else None, name == "submission")


def play(dialog: runner.Dialog, mode: str, tls: Tls) -> Services:
    services = services_for(dialog.options)
    door = door_for(dialog.options, tls)

    async def session(stream: Stream) -> None:
        await smtp.run(stream, services, door)

    async def main() -> None:
        await runner.play_as(dialog, mode, session, smtp_replies.manners("mx.xa.test"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
    assert services.blobs.open == 0  # every spool was closed
    return services


@pytest.mark.parametrize(("path", "mode"), runner.dialogs(FOLDER), ids=lambda v: v if isinstance(v, str) else v.stem)
def test_dialog(path: Path, mode: str, tls: Tls) -> None:
    play(runner.read_dialog(path), mode, tls)


@pytest.mark.parametrize("mode", runner.MODES)
def test_what_delivery_gets(mode: str, tls: Tls) -> None:
    services = play(runner.read_dialog(FOLDER / "letter.txt"), mode, tls)
    (one, data), (two, empty), _ = services.inbound.letters
    assert data == "Subject: thử\r\n\r\n.\r\n.hai\r\nmot.\r\n".encode()
    assert (one.sender, one.body, one.ret, one.envid) == ("a@nguon.test", "8BITMIME", "HDRS", "QQ314159+2B")
    assert (one.peer.helo, one.peer.protocol, one.peer.door, one.peer.ip) == ("may", "ESMTP", "mx", "127.0.0.1")
    assert [(r.address, r.notify, r.orcpt) for r in one.recipients] == [
        ("an@xa.test", "SUCCESS,FAILURE", "rfc822;an@xa.test")
    ]
    assert (two.sender, empty) == ("", b"")
    assert [r.address for r in two.recipients] == ["postmaster", "binh@xa.test"]


@pytest.mark.parametrize("mode", runner.MODES)
def test_binary_letters_and_addresses_in_one_form(mode: str, tls: Tls) -> None:
    services = play(runner.read_dialog(FOLDER / "chunking.txt"), mode, tls)
    assert [data for _, data in services.inbound.letters] == [b"\0\n\r1234567abc", b"abcd\r\n", b"ab\r\ncd"]
    services = play(runner.read_dialog(FOLDER / "utf8.txt"), mode, tls)
    letter, _ = services.inbound.letters[0]
    assert letter.utf8
    assert letter.peer.protocol == "UTF8SMTP"
    assert letter.recipients[0].address == "đạt@xa.test"


def test_a_run_of_recipients_is_one_question(tls: Tls) -> None:
    services = play(runner.read_dialog(FOLDER / "pipelining.txt"), "whole", tls)
    assert services.inbound.asked[0] == [
        *("an@xa.test", "khong-co@xa.test", "binh@xa.test", "day@xa.test", "cu@xa.test", "x@noi-khac.test")
    ]


def test_peers_are_named_as_rfc3848_says(tls: Tls) -> None:
    services = play(runner.read_dialog(FOLDER / "starttls.txt"), "socket", tls)
    peer = services.inbound.letters[0][0].peer
    assert peer.protocol == "ESMTPSA"
    assert peer.tls.startswith("TLSv1.3 ")
    assert peer.signed_in is not None
    services = play(runner.read_dialog(FOLDER / "lmtp.txt"), "whole", tls)
    assert services.inbound.letters[0][0].peer.protocol == "LMTP"


def test_scram_with_channel_binding(tls: Tls) -> None:
    services = services_for({})

    async def session(stream: Stream) -> None:
        await smtp.run(stream, services, smtp.Door("submission", None, True))

    async def attempt(port: int, password: str, cbind: bytes, gs2: bytes, mechanism: bytes) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=runner.client_tls())

        async def ask(data: bytes) -> bytes:
            writer.write(data + b"\r\n")
            while True:
                line = (await reader.readline()).rstrip()
                if line[3:4] != b"-":
                    return line

        await reader.readline()
        await ask(b"EHLO may")
        bare = b"n=an@xa.test,r=fyko"
        first = await ask(b"AUTH " + mechanism + b" " + base64.b64encode(gs2 + bare))
        final, expected = client_final(password, bare, base64.b64decode(first[4:]), gs2 + cbind)
        said = [await ask(base64.b64encode(final))]
        if said[0].startswith(b"334"):
            assert base64.b64decode(said[0][4:]) == expected
            said.append(await ask(b""))
        writer.close()
        return said

    async def main() -> None:
        listener = await serve_listener(
            session, host="127.0.0.1", port=0, manners=smtp_replies.manners("mx.xa.test"), tls=tls
        )
        plus, point = b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,"
        good = await attempt(listener.port, "mật khẩu 1", tls.end_point, point, plus)
        assert good[-1].startswith(b"235 2.7.0")
        good = await attempt(listener.port, "mật khẩu 1", b"", b"n,,", b"SCRAM-SHA-256")
        assert good[-1].startswith(b"235 2.7.0")
        bad = await attempt(listener.port, "mật khẩu 1", b"another certificate", point, plus)
        assert bad[-1].startswith(b"535 5.7.8")
        bad = await attempt(listener.port, "sai", tls.end_point, point, plus)
        assert bad[-1].startswith(b"535 5.7.8")
        assert services.doors.failures == [("an@xa.test", "127.0.0.1")] * 2
        await listener.drain()

    doors._DELAYS = (0.0, 0.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())


def test_every_reply_has_a_sentence() -> None:
    for code in smtp_replies.REPLIES:
        if code.startswith("smtp-"):
            assert code in catalogue()
    for code in catalogue():
        if code.startswith("smtp-"):
            assert code in smtp_replies.REPLIES


async def _until_data(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HELO may\r\nMAIL FROM:<>\r\nRCPT TO:<an@xa.test>\r\nDATA\r\n")
    while not (await reader.readline()).startswith(b"354"):
        pass
    return reader, writer


def test_hard_peers_get_told_and_leave_nothing_behind(tls: Tls) -> None:
    """One that stalls, one that vanishes, one that never stops, and one that does not read."""
    services = services_for({})
    limits = replace(services.config.limits, smtp_data_seconds=1, smtp_command_seconds=1)
    services.config = replace(services.config, limits=limits)

    async def session(stream: Stream) -> None:
        await smtp.run(stream, services, smtp.Door("mx"))

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=smtp_replies.manners("mx.xa.test"))
        reader, writer = await _until_data(listener.port)
        writer.write(b"Subject: x\r\n")
        assert (await reader.readline()).startswith(b"421 4.4.2")
        writer.close()

        reader, writer = await _until_data(listener.port)
        writer.write(b"Subject: x\r\n")
        writer.transport.abort()

        reader, writer = await _until_data(listener.port)
        answer = asyncio.ensure_future(reader.readline())
        for _ in range(400):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.001)
        assert (await answer).startswith(b"552 5.3.4")
        writer.close()

        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        assert (await reader.readline()).startswith(b"220")
        assert (await reader.readline()).startswith(b"421 4.4.2")
        writer.close()
        await asyncio.sleep(0.2)
        assert listener.connections == 0
        assert services.blobs.open == 0
        assert services.inbound.letters == []

        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        await reader.readline()
        draining = asyncio.ensure_future(listener.drain(5.0))
        assert (await reader.readline()).startswith(b"421 4.3.2")
        await draining
        writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(asyncio.wait_for(main(), 20))


def test_replies_to_pipelined_commands_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    services = services_for({})
    seen: list[int] = []
    found: list[bytes] = []

    write = Stream.write

    def counted(stream: Stream, data: bytes) -> None:
        seen.append(data.count(b"\n"))
        write(stream, data)

    monkeypatch.setattr(Stream, "write", counted)

    async def session(stream: Stream) -> None:
        await smtp.run(stream, services, smtp.Door("mx"))

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=smtp_replies.manners("mx.xa.test"))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"NOOP\r\n" * 10_000 + b"QUIT\r\n")
        found.append(await reader.read())
        while chunk := await reader.read():
            found.append(chunk)
        writer.close()
        await listener.drain()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(asyncio.wait_for(main(), 20))
    assert b"".join(found).count(b"250 2.0.0") == 10_000
    assert max(seen) <= TURN + 1  # replies do not pile up until the client stops


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 60000 LAST\r\n"])
def test_a_letter_that_trickles_ends_with_its_session(begin: bytes) -> None:
    """Each piece comes in time; the whole connection has its time too."""
    services = services_for({})
    services.config = replace(services.config, limits=replace(services.config.limits, smtp_session_seconds=1))

    async def session(stream: Stream) -> None:
        await smtp.run(stream, services, smtp.Door("mx"))

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=smtp_replies.manners("mx.xa.test"))
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"EHLO may\r\nMAIL FROM:<>\r\nRCPT TO:<an@xa.test>\r\n" + begin)
        answer = asyncio.ensure_future(reader.read())
        while not answer.done():
            writer.write(b"x\r\n")
            await asyncio.sleep(0.05)
        assert b"\r\n421 4.4.2" in await answer
        writer.close()
        await asyncio.sleep(0.1)
        assert services.blobs.open == 0
        await listener.drain()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(asyncio.wait_for(main(), 20))
