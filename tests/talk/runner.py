r"""Plays dialogs: text files that say what a client sends and what a server must answer.

    # a comment
    @ door=submission tls          words for the test that plays it: `name=value`, or a bare word
    S: 220 mx.xa.test              the next line begins so
    C: EHLO may                    is sent with CRLF; C lines that follow each other are sent at once (pipelining)
    S: ...                         any lines, until the next S matches
    S: /250 SIZE (?P<n>\d+)/       the whole line matches; a named group is kept
    C: NOOP <get n>                and can be sent
    C: AUTH PLAIN <base64 \0an\0matkhau>     <hex 00 ff>   <repeat 5000 x>     may stand anywhere in a C line
    C: a piece without a line end\
    TLS                            the client begins its handshake
    EOF                            the client sends no more
    CLOSED                         the server has closed, and said nothing more
    C2: …  S2: …  TLS2 …           a second (…ninth) connection; each is opened when it is first named

Each dialog is played in memory, whole, cut at random and byte by byte, and over a socket. In memory there is no TLS.
"""

import asyncio
import base64
import random
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from congvu.servers.listen import Manners, hold_session, serve_listener
from congvu.servers.stream import Stream, Tls

Session = Callable[[Stream], Awaitable[None]]
WAIT = 10.0  # seconds for one expected line
MODES = ["whole", "cut", "bytes", "socket"]


@dataclass(frozen=True, slots=True)
class Step:
    number: int  # line of the file
    what: str  # C, S, TLS, EOF, CLOSED
    who: str  # "" or a digit
    text: str = ""


@dataclass(frozen=True, slots=True)
class Dialog:
    path: Path
    options: dict[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def memory(self) -> bool:
        """Can it be played in memory?"""
        return not any(s.what == "TLS" for s in self.steps) and "socket" not in self.options

    def modes(self) -> list[str]:
        if not self.memory:
            return ["socket"]
        return ["whole", "socket"] if "whole" in self.options else MODES


_STEP = re.compile(r"(C|S)([2-9]?):(?: (.*))?|(TLS|EOF|CLOSED)([2-9]?)")


def read_dialog(path: Path) -> Dialog:
    options: dict[str, str] = {}
    steps: list[Step] = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("@"):
            for word in line[1:].split():
                name, _, value = word.partition("=")
                options[name] = value
            continue
        found = _STEP.fullmatch(line)
        assert found is not None, f"{path.name}:{number}: not a step: {line}"
        if found[1]:
            steps.append(Step(number, found[1], found[2], found[3] or ""))
        else:
            steps.append(Step(number, found[4], found[5]))
    return Dialog(path, options, tuple(steps))


def dialogs(folder: Path) -> list[tuple[Path, str]]:
    """(file, mode) of all dialogs of a folder, for `pytest.mark.parametrize`."""
    return [(path, mode) for path in sorted(folder.glob("*.txt")) for mode in read_dialog(path).modes()]


_INSERT = re.compile(r"<(base64|hex|repeat|get) ([^>]*)>")


def _bytes(text: str, kept: dict[str, str]) -> bytes:
    """What a C line sends."""
    end = b"\r\n"
    if text.endswith("\\"):
        text, end = text[:-1], b""
    out, at = b"", 0
    for found in _INSERT.finditer(text):
        out += text[at : found.start()].encode()
        at = found.end()
        match found[1]:
            case "base64":
                out += base64.b64encode(found[2].replace("\\0", "\0").encode())
            case "hex":
                out += bytes.fromhex(found[2])
            case "repeat":
                count, _, what = found[2].partition(" ")
                out += what.encode() * int(count)
            case _:
                out += kept[found[2]].encode()
    return out + text[at:].encode() + end


class End(Protocol):
    """The client's end of one connection."""

    async def send(self, data: bytes) -> None: ...

    async def line(self) -> bytes | None:
        """The server's next line, None at the end."""
        ...

    async def tls(self) -> None: ...

    async def eof(self) -> None: ...

    async def close(self) -> None: ...


async def play(dialog: Dialog, connect: Callable[[], Awaitable[End]]) -> None:
    """Plays all steps. Raises `AssertionError` with the file and line of the first that does not fit."""
    ends: dict[str, End] = {}
    kept: dict[str, str] = {}
    pending: dict[str, bytes] = {}
    skipping = False
    try:
        for index, step in enumerate(dialog.steps):
            place = f"{dialog.path.name}:{step.number}"
            if step.who not in ends:
                ends[step.who] = await connect()
            end = ends[step.who]
            if step.what == "C":
                pending[step.who] = pending.get(step.who, b"") + _bytes(step.text, kept)
                following = dialog.steps[index + 1] if index + 1 < len(dialog.steps) else None
                if following is None or following.what != "C" or following.who != step.who:
                    await end.send(pending.pop(step.who))
            elif step.what == "TLS":
                await end.tls()
            elif step.what == "EOF":
                await end.eof()
            elif step.what == "CLOSED":
                line = await _line(end, place)
                assert line is None, f"{place}: expected the end, got {line!r}"
            elif step.text == "...":
                skipping = True
            else:
                seen = []
                while True:
                    line = await _line(end, place)
                    assert line is not None, f"{place}: expected {step.text!r}, got the end after {seen}"
                    text = line.decode("utf-8", "backslashreplace")
                    seen.append(text)
                    if _fits(step.text, text, kept):
                        break
                    assert skipping, f"{place}: expected {step.text!r}, got {text!r}"
                skipping = False
    finally:
        for end in ends.values():
            await end.close()


async def _line(end: End, place: str) -> bytes | None:
    try:
        return await asyncio.wait_for(end.line(), WAIT)
    except TimeoutError:
        raise AssertionError(f"{place}: no answer") from None


def _fits(wanted: str, line: str, kept: dict[str, str]) -> bool:
    if len(wanted) > 1 and wanted.startswith("/") and wanted.endswith("/"):
        found = re.fullmatch(wanted[1:-1], line)
        if found is not None:
            kept.update({k: v for k, v in found.groupdict().items() if v is not None})
        return found is not None
    return line.startswith(wanted)


class _Transport:
    """As much of a transport as a `Stream` needs, in memory."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._closing = False
        self.out: asyncio.Queue[bytes | None] = asyncio.Queue()

    def write(self, data: bytes) -> None:
        self.out.put_nowait(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.out.put_nowait(None)
            asyncio.get_running_loop().call_soon(self._stream.connection_lost, None)

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return None


class MemoryEnd:
    """A connection without a socket; input is fed whole, cut at random, or byte by byte."""

    def __init__(self, session: Session, manners: Manners, mode: str, seed: int) -> None:
        self._stream = Stream("127.0.0.1", 1)
        self._transport = _Transport(self._stream)
        self._stream.connection_made(self._transport)  # type: ignore[arg-type]  # enough of one
        self._task = asyncio.ensure_future(hold_session(session, self._stream, manners))
        self._mode = mode
        self._random = random.Random(seed)
        self._got = b""
        self._ended = False

    async def send(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            size = {"whole": len(data), "bytes": 1}.get(self._mode) or self._random.choice([1, 2, 3, 7, 40, 1000])
            self._stream.data_received(data[at : at + size])
            at += size
            await asyncio.sleep(0)

    async def line(self) -> bytes | None:
        while b"\n" not in self._got:
            if self._ended:
                return self._got or None
            data = await self._transport.out.get()
            if data is None:
                self._ended = True
            else:
                self._got += data
        line, _, self._got = self._got.partition(b"\n")
        return line.removesuffix(b"\r")

    async def tls(self) -> None:
        raise NotImplementedError

    async def eof(self) -> None:
        self._stream.eof_received()

    async def close(self) -> None:
        self._transport.close()
        await asyncio.wait_for(self._task, WAIT)


class SocketEnd:
    """A connection over TCP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def line(self) -> bytes | None:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return None
        return line.removesuffix(b"\n").removesuffix(b"\r") if line else None

    async def tls(self) -> None:
        await self._writer.start_tls(client_tls())

    async def eof(self) -> None:
        self._writer.write_eof()

    async def close(self) -> None:
        self._writer.close()


def client_tls() -> ssl.SSLContext:
    """A client that trusts whatever certificate it is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def play_as(dialog: Dialog, mode: str, session: Session, manners: Manners, tls: Tls | None = None) -> None:
    """Plays a dialog with a session in one of `MODES`; `tls`: from the first byte (socket only)."""
    if mode != "socket":
        seeds = iter(range(100))

        async def in_memory() -> End:
            return MemoryEnd(session, manners, mode, next(seeds))

        await play(dialog, in_memory)
        return
    listener = await serve_listener(session, host="127.0.0.1", port=0, manners=manners, tls=tls)

    async def over_socket() -> End:
        context = client_tls() if tls is not None else None
        return SocketEnd(*await asyncio.open_connection("127.0.0.1", listener.port, ssl=context, limit=2**24))

    try:
        await play(dialog, over_socket)
        await asyncio.sleep(0)
    finally:
        await listener.drain(1.0)
