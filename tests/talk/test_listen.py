"""servers.listen, servers.stream: over real sockets and under hand-fed input, limits, timeouts, TLS, shutdown."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from congvu.codec.lines import LineTooLong
from congvu.servers import listen
from congvu.servers.listen import Manners, Places, serve_listener
from congvu.servers.stream import TURN, Gone, Nudged, Stream, Tls, _Rounds, load_tls

MANNERS = Manners(b"421 too many\r\n", b"421 stopping\r\n", b"421 too slow\r\n", b"421 trouble\r\n")


def make_tls(folder: Path) -> Tls:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    found = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=7000))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(found.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return load_tls(folder / "cert.pem", folder / "key.pem")


def trusting(tls_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = tls_version
    return context


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Any:
    def go(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None) as runner:
            runner.run(asyncio.wait_for(main, 20))

    return go


async def echo(stream: Stream) -> None:
    stream.write(b"hello\r\n")
    while True:
        try:
            line = await stream.line(100, 5.0)
        except LineTooLong:
            stream.write(b"long\r\n")
            continue
        if line == b"quit":
            return
        if line == b"bug":
            raise ZeroDivisionError
        if line.startswith(b"take "):
            line = b"took %d" % len(await stream.exactly(int(line[5:]), 5.0))
        stream.write(line + b"\r\n")


def test_lines_and_counted_bytes(run: Any) -> None:
    async def main() -> None:
        listener = await serve_listener(echo, host="127.0.0.1", port=0, manners=MANNERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"one\r\ntwo\r\ntake 300000\r\n" + b"x" * 300_000 + b"y" * 5000 + b"\r\nthree\r\nquit\r\n")
        said = await reader.read()
        assert said == b"hello\r\none\r\ntwo\r\ntook 300000\r\nlong\r\nthree\r\n"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"last words\r\n")
        writer.write_eof()  # may still listen
        assert await reader.read() == b"hello\r\nlast words\r\n"
        writer.close()
        await asyncio.sleep(0.05)
        assert listener.connections == 0
        await listener.drain()

    run(main())


def test_listeners_share_the_places_of_a_process(run: Any) -> None:
    left = [1.0]

    async def main() -> None:
        places = Places(files=(2 + listen.FILES_KEPT) * 5 // 4 + 1, memory=lambda: left[0])
        doors = [await serve_listener(echo, host="127.0.0.1", port=0, manners=MANNERS, places=places) for _ in range(2)]

        async def come(door: int) -> tuple[bytes, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", doors[door].port)
            return await reader.readline(), writer

        said = [await come(n % 2) for n in range(3)]
        assert [words for words, _ in said] == [b"hello\r\n", b"hello\r\n", b"421 too many\r\n"]
        said[0][1].close()
        while places.taken == 2:
            await asyncio.sleep(0.01)
        words, again = await come(1)
        assert words == b"hello\r\n"
        for writer in (again, said[1][1], said[2][1]):
            writer.close()
        while places.taken:
            await asyncio.sleep(0.01)
        for door in doors:
            await door.drain()

    run(main())
    few = Places(files=1000, memory=lambda: left[0])
    assert not few.full(0.0)
    left[0] = listen.MEMORY_KEPT / 2
    assert not few.full(0.5)  # looked at once a second
    assert few.full(1.5)
    left[0] = 1.0
    assert not few.full(3.0)
    assert 0 < listen.memory_left() <= 1


def test_one_that_fails_stops_nobody_behind_it(run: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        rounds, went = _Rounds(loop), []
        rounds.add(lambda: went.append(1))
        rounds.add(lambda: 1 // 0)
        rounds.add(lambda: went.append(3))
        for _ in range(5):
            await asyncio.sleep(0)
        rounds.add(lambda: went.append(4))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert went == [1, 3, 4]

    run(main())


def test_a_container_has_less_memory_than_its_machine(tmp_path: Path) -> None:
    assert listen.memory_left(tmp_path, tmp_path) == 1.0  # nobody tells
    (tmp_path / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 800 kB\n")
    assert listen.memory_left(tmp_path, tmp_path) == 0.8
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert listen.memory_left(tmp_path, tmp_path) == 0.8
    (tmp_path / "memory.max").write_text("1000\n")
    assert listen.memory_left(tmp_path, tmp_path) == 0.4


def test_every_address_and_limits(run: Any) -> None:
    async def main() -> None:
        listener = await serve_listener(echo, host="*", port=0, manners=MANNERS, connections=3, per_ip=2)
        hosts = ["127.0.0.1", "127.0.0.1", "127.0.0.1", "::1", "127.0.0.2"]
        said, writers = [], []
        for host in hosts:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, listener.port)
                said.append(await reader.readline())
                writers.append(writer)
        hello, no = b"hello\r\n", b"421 too many\r\n"
        assert said in ([hello, hello, no, hello, no], [hello, hello, no, hello])
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.05)
        assert listener.connections == 0
        await listener.drain()

    run(main())


def test_bugs_timeouts_and_shutdown(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def slow(stream: Stream) -> None:
        stream.write(b"hello\r\n")
        await stream.line(100, 0.05)

    busy = asyncio.Event

    async def main() -> None:
        listener = await serve_listener(echo, host="127.0.0.1", port=0, manners=MANNERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"bug\r\n")
        assert await reader.read() == b"hello\r\n421 trouble\r\n"
        writer.close()

        dawdling = await serve_listener(slow, host="127.0.0.1", port=0, manners=MANNERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", dawdling.port)
        for _ in range(3):  # the time is for the whole line
            writer.write(b"x")
            await asyncio.sleep(0.03)
        assert await reader.read() == b"hello\r\n421 too slow\r\n"
        writer.close()
        await dawdling.drain()

        finish = busy()

        async def working(stream: Stream) -> None:
            stream.write(b"hello\r\n")
            while await stream.line(100, 5.0):
                await finish.wait()
                stream.write(b"done\r\n")

        works = await serve_listener(working, host="127.0.0.1", port=0, manners=MANNERS)
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", works.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", works.port)
        writer.write(b"work\r\n")
        await asyncio.sleep(0.05)
        draining = asyncio.create_task(works.drain(5.0))
        assert await idle_reader.read() == b"hello\r\n421 stopping\r\n"
        finish.set()
        assert await reader.read() == b"hello\r\ndone\r\n421 stopping\r\n"
        await draining
        writer.close()
        idle_writer.close()
        await listener.drain()

    run(main())


def test_tls_from_the_start(run: Any, tmp_path: Path) -> None:
    tls = make_tls(tmp_path)

    async def session(stream: Stream) -> None:
        bindings = stream.channel_bindings()
        unique = bindings.get("tls-unique", b"").hex()
        stream.write(
            f"{stream.tls.split()[0]} {bindings['tls-server-end-point'] == tls.end_point} {unique}\r\n".encode()
        )
        stream.write(await stream.line(100, 5.0) + b"\r\n")

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS, tls=tls)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, ssl=trusting(version))
            writer.write(b"abc\r\n")
            words = (await reader.readline()).decode().split(" ")
            assert words[:2] == [version.name.replace("_", "."), "True"]
            unique = writer.get_extra_info("ssl_object").get_channel_binding("tls-unique").hex()
            assert words[2].strip() == (unique if version is ssl.TLSVersion.TLSv1_2 else "")
            assert await reader.readline() == b"abc\r\n"
            assert await reader.read() == b""
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"EHLO no tls\r\n")
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read()).startswith(b"TLS")
        writer.close()
        await listener.drain()

    run(main())


def test_starttls_drops_what_came_before(run: Any, tmp_path: Path) -> None:
    tls = make_tls(tmp_path)

    async def session(stream: Stream) -> None:
        assert await stream.line(100, 5.0) == b"STARTTLS"
        stream.write(b"go\r\n")
        await stream.start_tls(tls)
        assert stream.secure
        stream.write(await stream.line(100, 5.0) + b"\r\n")

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"STARTTLS\r\ninjected\r\n")
        assert await reader.readline() == b"go\r\n"
        await writer.start_tls(trusting())
        writer.write(b"protected\r\n")
        assert await reader.readline() == b"protected\r\n"
        writer.close()
        await asyncio.sleep(0.05)
        await listener.drain()

    run(main())


def test_nudges_wake_a_waiting_line(run: Any) -> None:
    async def session(stream: Stream) -> None:
        asyncio.get_running_loop().call_later(0.02, stream.nudge)
        while True:
            try:
                stream.write(await stream.line(100, 5.0, nudges=True) + b"\r\n")
            except Nudged:
                stream.write(b"news\r\n")

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"part")
        assert await reader.readline() == b"news\r\n"
        writer.write(b"ial\r\n")
        assert await reader.readline() == b"partial\r\n"
        writer.close()
        await asyncio.sleep(0.05)
        await listener.drain()

    run(main())


def test_input_and_output_are_bounded(run: Any) -> None:
    held: list[int] = []

    async def session(stream: Stream) -> None:
        await asyncio.sleep(0.3)
        held.append(stream.buffered)
        await stream.line(100, 5.0)
        await asyncio.sleep(0.2)  # what came in since a reader was woken is bounded too
        held.append(stream.buffered)
        with pytest.raises(Gone):
            while True:
                stream.write(b"x" * 100_000)
                await stream.drain(0.3)

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"y\r\n" * 2_000_000)
        await asyncio.sleep(0.7)
        assert len(await reader.read(10)) == 10
        writer.transport.abort()
        await asyncio.sleep(0.1)
        assert len(held) == 2
        assert max(held) < 600_000
        await listener.drain()

    run(main())


def test_many_who_send_without_end_share_one_turn(run: Any) -> None:
    """Twenty of them took twenty turns in each round of the loop, and everybody else waited for the sum."""
    taken = [0]

    async def session(stream: Stream) -> None:
        while True:
            await stream.line(100, 5.0)
            taken[0] += 1

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS)
        writers = [(await asyncio.open_connection("127.0.0.1", listener.port))[1] for _ in range(20)]
        for writer in writers:
            writer.write(b"NOOP\r\n" * 20_000)
        turns = []
        while taken[0] < 400_000:
            before = taken[0]
            await asyncio.sleep(0)
            turns.append(taken[0] - before)
        full = sorted(turn for turn in turns if turn)
        assert full[len(full) * 3 // 4] <= 2 * TURN
        for writer in writers:
            writer.transport.abort()
        await listener.drain()

    run(main())


def test_lines_without_end_are_read_in_turn(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred megabytes in one line from each of many: they were read as fast as they came, and little else was."""
    told: list[bytes] = []
    read = [0]
    receive = Stream.data_received

    def counted(stream: Stream, data: bytes) -> None:
        read[0] += stream._buffer.skipping
        receive(stream, data)

    monkeypatch.setattr(Stream, "data_received", counted)

    async def session(stream: Stream) -> None:
        while True:
            try:
                told.append(await stream.line(100, 10.0))
            except LineTooLong:
                told.append(b"too long")

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS)
        writers = [(await asyncio.open_connection("127.0.0.1", listener.port))[1] for _ in range(5)]
        for writer in writers:
            writer.write(b"x" * 8_000_000 + b"\r\nNOOP\r\n")
        rounds: list[int] = []
        while told.count(b"NOOP") < 5:
            before = read[0]
            await asyncio.sleep(0)
            rounds.append(read[0] - before)
        assert sorted(told) == [b"NOOP"] * 5 + [b"too long"] * 5
        assert sum(rounds) > 100
        assert sum(sorted(rounds)[-10:]) <= 30
        for writer in writers:
            writer.transport.abort()
        await listener.drain()

    run(main())


def test_one_who_sends_without_end_leaves_the_others_their_turn(run: Any) -> None:
    """Six megabytes of lines at once held the loop for seven seconds: nothing in them waits for anything."""
    taken: list[int] = [0]

    async def session(stream: Stream) -> None:
        while True:
            await stream.line(100, 5.0)
            taken[0] += 1

    async def main() -> None:
        listener = await serve_listener(session, host="127.0.0.1", port=0, manners=MANNERS)
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"NOOP\r\n" * 200_000)
        turns = []
        while taken[0] < 200_000:
            before = taken[0]
            await asyncio.sleep(0)
            turns.append(taken[0] - before)
        assert max(turns) <= TURN
        writer.transport.abort()
        await listener.drain()

    run(main())
