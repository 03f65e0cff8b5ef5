"""Listening sockets, and the `Stream` under every text protocol's session.

A session is a coroutine that reads and writes one `Stream` until it returns; it runs in one task. What it lets through
is dealt with here: a peer that left or dawdled is no event worth a trace, a shutdown is told to the peer, a bug of ours
is logged and told without detail. Must never know a protocol: its words come in `Manners`.

Promises: input held in memory is bounded (reading stops), output too (`drain`), the number of connections too; an idle
connection costs one task, one small object and one timer, and a line read costs no timer at all.
"""

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
import ssl
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from congvu.base.observe import log
from congvu.codec.lines import LineBuffer
from congvu.servers.deflate import Deflate

HELD = 65_536  # input beyond this that nobody asked for yet: reading stops until the session catches up
TURN = 64  # lines taken without waiting before other connections have their turn …
SLICE = 0.002  # … or so many seconds, whichever comes first
AT_ONCE = 65_536  # output gathered before it is given to the kernel
OUTGOING = 262_144  # output beyond this: `drain` waits
FILES_KEPT = 40  # of a process, for other things than connections
MEMORY_KEPT = 0.02  # of the machine, not to be spent on further connections: the kernel would soon kill somebody
GOODBYE = 10.0  # seconds for the last words to leave before the connection is cut
_NEVER = float("inf")


class Gone(Exception):
    """The peer has left, or the connection is closed."""


class TooSlow(Exception):
    """The peer did not send, or did not take, within its time."""


class Stopping(Exception):
    """The server is shutting down and this connection was between two commands."""


class Nudged(Exception):
    """`nudge` was called while a line was awaited. Nothing was lost; ask for the line again."""


@dataclass(frozen=True, slots=True)
class Manners:
    """What a protocol says in situations it does not see itself; whole lines with their ends, or b""."""

    too_many: bytes  # a connection beyond the limits
    stopping: bytes  # shutdown
    too_slow: bytes  # a timeout
    trouble: bytes  # a bug of ours


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate ready for use. `end_point`: its tls-server-end-point binding (rfc5929 4), b"" when it has none."""

    context: ssl.SSLContext
    end_point: bytes


def load_tls(certificate: Path, key: Path) -> Tls:
    """Reads a PEM chain and key. TLS 1.2 and later (rfc8996, rfc9325)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(certificate, key)
    return Tls(context, end_point_binding(certificate.read_bytes()))


def end_point_binding(pem: bytes) -> bytes:
    """The hash of the first certificate in `pem` that rfc5929 4.1 asks for."""
    found = x509.load_pem_x509_certificate(pem)
    try:
        algorithm = found.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return b""
    if algorithm is None:  # Ed25519: the RFC defines no binding
        return b""
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(found.public_bytes(serialization.Encoding.DER))
    return digest.finalize()


class _Rounds:
    """Connections that could go on for ever, one of them in each round of the event loop: however many flood the
    server, all others wait for one slice and not for the sum."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, go_on: Callable[[], None]) -> None:
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        go_on = self._waiting.popleft()
        if self._waiting:  # before it is called: one that fails must not stop those behind it
            self._loop.call_soon(self._next)
        go_on()


_rounds: WeakKeyDictionary[asyncio.AbstractEventLoop, _Rounds] = WeakKeyDictionary()


class Stream(asyncio.Protocol):
    """One connection. All methods belong to the event loop's thread; one reader at a time."""

    # fmt: off
    __slots__ = ("_at_rest", "_buffer", "_closing", "_deflate", "_ended", "_eof", "_held", "_leaving",
                 "_leaving_size", "_loop", "_lost", "_need", "_nudged", "_read_by", "_reader", "_since", "_ssl",
                 "_stopping", "_stuck", "_taken", "_timer", "_timer_at", "_tls", "_transport", "_write_by",
                 "_writer", "peer", "port")
    # fmt: on

    def __init__(self, peer: str = "", port: int = 0, tls: Tls | None = None) -> None:
        self.peer = peer  # the peer's IP address
        self.port = port
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = LineBuffer()
        self._deflate: Deflate | None = None  # rfc4978: both directions are compressed
        self._tls = tls
        self._ssl: ssl.SSLObject | None = None
        self._reader: asyncio.Future[None] | None = None  # somebody waits for input
        self._writer: asyncio.Future[None] | None = None  # somebody waits for output to leave
        self._ended: asyncio.Future[None] | None = None  # somebody waits for the connection to be over
        self._leaving: list[bytes] = []  # written, not yet given to the transport
        self._leaving_size = 0
        self._taken = 0  # lines taken since the session last waited for one …
        self._since = 0.0  # … the first of them at this time
        self._need = 1  # wake the reader when so much is there
        self._read_by = self._write_by = self._timer_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._at_rest = self._closing = self._eof = self._held = False
        self._lost = self._nudged = self._stopping = self._stuck = False

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its children
        self._use(cast(asyncio.Transport, transport))

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=OUTGOING)
        self._ssl = transport.get_extra_info("ssl_object")

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if self._deflate is None:
            self._buffer.feed(data)
        else:
            self._deflate.feed(data)
            self._unpack()
        if self._buffer.skipping and not self._held and self._transport is not None:
            self._held = True  # megabytes at a time, for which nobody waits
            self._transport.pause_reading()
            self._in_round(self._read_on)
        waiting = len(self._buffer)
        more = self._deflate is not None and self._deflate.pending
        if self._reader is not None:
            if waiting < self._need and not more:
                return
            self._wake()
        # Also when the reader has just been woken: it runs later, and the loop reads on meanwhile, megabytes at a time.
        if (waiting > HELD or more) and not self._held and self._transport is not None:
            self._held = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Without TLS a peer that has said its last may still listen to the answers (`printf … | nc`)."""
        self._flush()  # the transport may close as soon as we return
        self._eof = True
        self._wake()
        return self._ssl is None and not self._closing

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self._wake()
        for waiter in (self._writer, self._ended):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        if self._writer is not None and not self._writer.done() and not self._closing:
            self._writer.set_result(None)

    # reading

    @property
    def buffered(self) -> int:
        """Bytes received and not yet taken."""
        return len(self._buffer)

    def line_now(self, limit: int, *, strict: bool = False) -> bytes | None:
        """A line that is already here, or None. Raises as `LineBuffer.line`."""
        return self._buffer.line(limit, strict)

    async def line(self, limit: int, timeout: float, *, strict: bool = False, nudges: bool = False) -> bytes:  # noqa: ASYNC109
        """The next line, without its end. The time is for the whole line.

        Raises `LineTooLong`, `BareLineFeed` (when `strict`), `Gone`, `TooSlow`, `Stopping`, and `Nudged` when `nudges`.
        """
        by = 0.0
        while True:
            line = self._buffer.line(limit, strict)
            if line is not None:
                now = time.monotonic()
                if self._taken and (self._taken >= TURN or now - self._since > SLICE):
                    self._taken = 0
                    await self.others_first()
                    now = time.monotonic()
                if not self._taken:
                    self._since = now
                self._taken += 1
                return line
            self._taken = 0
            if nudges and self._nudged:
                self._nudged = False
                raise Nudged
            if self._stopping:
                raise Stopping
            by = by or self._loop.time() + timeout
            await self._wait(1, by, at_rest=True, nudges=nudges)

    async def others_first(self) -> None:
        """Waits for this connection's place among those that always have more to do."""
        place = self._loop.create_future()
        self._in_round(lambda: None if place.done() else place.set_result(None))
        await place

    def _in_round(self, go_on: Callable[[], None]) -> None:
        rounds = _rounds.get(self._loop)
        if rounds is None:
            rounds = _rounds[self._loop] = _Rounds(self._loop)
        rounds.add(go_on)

    def _read_on(self) -> None:
        if self._held and self._reader is not None and self._transport is not None:
            self._held = False
            self._transport.resume_reading()

    async def exactly(self, count: int, timeout: float) -> bytes:  # noqa: ASYNC109
        """The next `count` bytes, all held in memory: the caller bounds `count`. The time is for all of them."""
        by = 0.0
        while True:
            data = self._buffer.exactly(count)
            if data is not None:
                return data
            by = by or self._loop.time() + timeout
            await self._wait(count, by)

    async def chunk(self, most: int, timeout: float) -> bytes:  # noqa: ASYNC109
        """What is there, at least one byte and up to `most`; the time is for the first of them."""
        while not self._buffer:
            await self._wait(1, self._loop.time() + timeout)
        return self._buffer.chunk(most)

    def give_back(self, data: bytes) -> None:
        """Puts back what `chunk` gave beyond need."""
        self._buffer.give_back(data)

    def nudge(self) -> None:
        """Makes the present or the next `line(…, nudges=True)` raise `Nudged`; several before it count as one."""
        self._nudged = True
        if self._at_rest:
            self._wake()

    def interrupt(self, error: BaseException) -> None:
        """Makes the reader that waits now raise `error`; without one nothing happens."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_exception(error)

    # writing

    def write(self, data: bytes) -> None:
        """Queues bytes for sending. Silent once the peer is gone: the next read or `drain` tells.

        What is written before the session waits for anything leaves in one piece: a system call for each line, which
        also wakes the peer each time, costs more than most commands.
        """
        if self._transport is None or self._lost or self._closing:
            return
        if not self._leaving:
            self._loop.call_soon(self._flush)
        self._leaving.append(data)
        self._leaving_size += len(data)
        if self._leaving_size >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """What was written leaves, and nothing of it is held back by a compressor."""
        if self._leaving:
            data = self._leaving[0] if len(self._leaving) == 1 else b"".join(self._leaving)
            self._leaving.clear()
            self._leaving_size = 0
            if self._deflate is not None:
                data = self._deflate.pack(data) + self._deflate.flush()
            if self._transport is not None and not self._lost:
                self._transport.write(data)

    @property
    def congested(self) -> bool:
        """Much written output has not left: `drain` would wait."""
        return self._stuck

    async def drain(self, timeout: float = 300.0) -> None:  # noqa: ASYNC109
        """Waits while much written output has not left. Raises `Gone` or `TooSlow`."""
        if self._lost or self._closing:
            raise Gone
        if self._stuck:  # what is gathered is little, and leaves by itself
            if self._writer is None:
                self._writer = self._loop.create_future()
                self._writer.add_done_callback(self._drained)
                self._write_by = self._loop.time() + timeout
                self._arm(self._write_by)
            await asyncio.shield(self._writer)  # it may be somebody else's too
            if self._lost:
                raise Gone

    def _drained(self, writer: asyncio.Future[None]) -> None:
        writer.exception()  # looked at, also when nobody waits any more
        self._writer = None
        self._write_by = _NEVER

    # the connection

    @property
    def secure(self) -> bool:
        return self._ssl is not None

    @property
    def tls(self) -> str:
        """ "TLSv1.3 TLS_AES_256_GCM_SHA384", or "" without TLS."""
        if self._ssl is None:
            return ""
        cipher = self._ssl.cipher()
        return f"{self._ssl.version()} {cipher[0] if cipher else ''}".rstrip()

    def channel_bindings(self) -> dict[str, bytes]:
        """By name (rfc5929), those that this connection has; empty without TLS."""
        bindings: dict[str, bytes] = {}
        if self._ssl is None:
            return bindings
        if self._tls is not None and self._tls.end_point:
            bindings["tls-server-end-point"] = self._tls.end_point
        if self._ssl.version() == "TLSv1.2":  # rfc9266 3: not defined for TLS 1.3
            unique = self._ssl.get_channel_binding("tls-unique")
            if unique:
                bindings["tls-unique"] = unique
        return bindings

    async def start_tls(self, tls: Tls, timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Turns to TLS; the protocol's go-ahead has just been written. Raises `Gone` when that fails.

        Whatever came before the handshake is dropped unread: it was not protected (rfc3207 5, rfc9051 6.2.1).
        """
        if self._transport is None or self._lost or self._closing:
            raise Gone
        self._flush()
        self._buffer.clear()
        self._held = False
        self._tls = tls
        try:
            transport = await self._loop.start_tls(
                self._transport, self, tls.context, server_side=True, ssl_handshake_timeout=timeout
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are kinds of it
            self.abort()
            raise Gone from error
        if transport is None:
            raise Gone
        # What is buffered now came after the handshake: from the first step of start_tls on, TLS has had the input.
        self._use(transport)

    @property
    def compressed(self) -> bool:
        return self._deflate is not None

    def compress(self) -> None:
        """From here on both directions are compressed (rfc4978 3); the protocol's go-ahead has just been written."""
        self._flush()
        self._deflate = Deflate()
        early = self._buffer.chunk(len(self._buffer))
        if early:
            self._deflate.feed(early)
            self._unpack()

    def stop(self) -> None:
        """Shutdown: the next time the session waits for a command, `line` raises `Stopping`."""
        self._stopping = True
        if self._at_rest:
            self._wake()

    def close(self, linger: bool = False) -> None:
        """Lets what was written leave, then ends the connection; cuts it when that takes too long.

        `linger`: the peer may be in the middle of sending. What it sends is then dropped until it has seen our end, or
        the kernel would answer it with a reset that destroys our last words.
        """
        if self._closing or self._lost or self._transport is None:
            return
        self._flush()
        self._closing = True
        self._buffer.clear()
        if self._held:
            self._held = False
            self._transport.resume_reading()  # so that the peer's end is seen
        self._read_by = self._loop.time() + GOODBYE
        self._arm(self._read_by)
        if linger and not self._eof and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    async def ended(self) -> None:
        """Waits until the connection is over, after `close` or `abort`."""
        if not self._lost and self._transport is not None:
            self._ended = self._loop.create_future()
            await self._ended

    def abort(self) -> None:
        """Cuts the connection."""
        self._closing = True
        if self._transport is not None and not self._lost:
            self._transport.abort()

    @property
    def closed(self) -> bool:
        """True once nothing more can be read or written."""
        return self._lost or self._closing

    # inside

    async def _wait(self, need: int, by: float, at_rest: bool = False, nudges: bool = False) -> None:
        if self._deflate is not None:
            if self._deflate.pending and not self._closing:
                self._need = need
                self._unpack()
                await self.others_first()  # a little that came may unpack to very much
                return
            if not self._lost and not self._closing:
                self._flush()
            if nudges:  # IDLE: it may last for hours
                self._deflate.rest()
        if self._lost or self._eof or self._closing:
            raise Gone
        self._need = need
        if self._held and self._transport is not None:
            self._held = False
            self._transport.resume_reading()
        self._reader = self._loop.create_future()
        self._at_rest = at_rest
        self._read_by = by
        self._arm(by)
        try:
            await self._reader
        finally:
            self._reader = None
            self._at_rest = False
            self._read_by = _NEVER

    def _unpack(self) -> None:
        """Takes what is wanted, and not much more, out of what came compressed."""
        deflate = self._deflate
        wanted = max(self._need, HELD)
        try:
            while deflate is not None and deflate.pending:
                self._buffer.feed(deflate.unpack())
                # Nothing there: within a line that is dropped as it comes, however long it may be.
                if len(self._buffer) >= wanted or not self._buffer:
                    break
        except zlib.error:
            self.abort()  # nothing that follows means anything

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _arm(self, by: float) -> None:
        """One timer serves all waits: set anew only when it would come too late, it looks again when it comes."""
        if self._timer is not None:
            if self._timer_at <= by:
                return
            self._timer.cancel()
        self._timer_at = by
        self._timer = self._loop.call_at(by, self._time)

    def _time(self) -> None:
        self._timer = None
        now = self._loop.time() + 0.002  # the loop's clock counts in milliseconds
        if self._closing:
            if now >= self._read_by:
                self.abort()
            else:
                self._arm(self._read_by)
            return
        for waiter, by in ((self._reader, self._read_by), (self._writer, self._write_by)):
            if waiter is None or waiter.done():
                continue
            if now >= by:
                waiter.set_exception(TooSlow())
            else:
                self._arm(by)


Session = Callable[[Stream], Awaitable[None]]


def memory_left(proc: Path = Path("/proc"), group: Path = Path("/sys/fs/cgroup")) -> float:
    """Which part of the machine's memory, or of what a container may have of it, can still be had; 1.0 where nobody
    tells. (proc_meminfo(5); cgroup v2, "Memory Interface Files".)"""
    machine = _numbers_of(proc / "meminfo", ":")
    left = machine.get("MemAvailable", 1) / max(machine.get("MemTotal", 1), 1)
    try:
        most = int((group / "memory.max").read_text("ascii"))
        used = int((group / "memory.current").read_text("ascii"))
    except (OSError, ValueError):  # no such group, or one without a limit
        return left
    cached = _numbers_of(group / "memory.stat", " ").get("inactive_file", 0)  # given up when it is needed
    return min(left, (most - used + cached) / max(most, 1))


def _numbers_of(file: Path, border: str) -> dict[str, int]:
    try:
        lines = file.read_text("ascii").splitlines()
    except OSError:
        return {}
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(border) for line in lines) if rest}


class Places:
    """How many connections a process may hold over all its listeners, so that files and memory remain for their work.

    Who comes when none is left is told so and let go at once; as others leave, there are places again.
    """

    __slots__ = ("_left", "_looked", "_memory", "_most", "taken")

    def __init__(self, files: int | None = None, memory: Callable[[], float] = memory_left) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if files is None else files
        # A fifth, and some, for the database, packs, and the spools of letters that are coming in.
        self._most = max(files * 4 // 5 - FILES_KEPT, 1)
        self._memory = memory
        self._looked = _NEVER
        self._left = 1.0
        self.taken = 0

    def full(self, now: float) -> bool:
        """`now`: the loop's time; memory is looked at once a second."""
        if self.taken >= self._most:
            return True
        if not self._looked <= now < self._looked + 1:
            self._looked = now
            self._left = self._memory()
        return self._left < MEMORY_KEPT


class Listener:
    """Sockets on one port and the connections that came in by them. Made by `serve_listener`."""

    def __init__(
        self,
        session: Session,
        manners: Manners,
        sockets: Sequence[socket.socket],
        tls: Tls | None,
        most: int,
        per_ip: int,
        places: Places,
    ) -> None:
        self._session = session
        self._manners = manners
        self._sockets = sockets
        self._tls = tls
        self._most = most
        self._per_ip = per_ip
        self._places = places
        self._loop = asyncio.get_running_loop()
        self._from: dict[str | bytes, int] = {}
        self._tasks: dict[asyncio.Task[None], Stream] = {}
        self._open = True
        for listening in sockets:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    @property
    def port(self) -> int:
        return int(self._sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._tasks)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(64):  # then let the others have their turn
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # Out of files or memory. The connection waits in the kernel; asking again at once would only spin.
                level = "out of files" if error.errno in {errno.EMFILE, errno.ENFILE} else "cannot accept"
                log.error("%s: %s", level, error)
                self._loop.remove_reader(listening.fileno())
                self._loop.call_later(0.5, self._resume, listening)
                return
            sock.setblocking(False)
            self._receive(sock, address[0], address[1])

    def _resume(self, listening: socket.socket) -> None:
        if self._open:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _receive(self, sock: socket.socket, ip: str, port: int) -> None:
        key: str | bytes = ip
        if ":" in ip:  # whoever has one IPv6 address has a /64 of them
            key = ipaddress.ip_address(ip.partition("%")[0]).packed[:8]
        here = self._from.get(key, 0)
        full = len(self._tasks) >= self._most or self._places.full(self._loop.time())
        if full or (self._per_ip and here >= self._per_ip):
            if self._tls is None:
                with contextlib.suppress(OSError):
                    sock.send(self._manners.too_many)
            sock.close()
            return
        self._from[key] = here + 1
        self._places.taken += 1
        stream = Stream(ip, port, self._tls)
        task = self._loop.create_task(self._serve(stream, sock))
        self._tasks[task] = stream

        def done(finished: asyncio.Task[None]) -> None:
            del self._tasks[finished]
            self._places.taken -= 1
            left = self._from[key] - 1
            if left:
                self._from[key] = left
            else:
                del self._from[key]

        task.add_done_callback(done)

    async def _serve(self, stream: Stream, sock: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = None if self._tls is None else self._tls.context
            await self._loop.connect_accepted_socket(
                lambda: stream, sock, ssl=context, ssl_handshake_timeout=None if context is None else 30.0
            )
        except OSError:  # left, or not a TLS client
            sock.close()
            return
        await hold_session(self._session, stream, self._manners)

    async def drain(self, grace: float = 5.0) -> None:
        """Stops accepting, ends connections between two commands at once, gives the others `grace` seconds."""
        if self._open:
            self._open = False
            for listening in self._sockets:
                self._loop.remove_reader(listening.fileno())
                self._accept(listening)  # those who are already connected get told
                self._loop.remove_reader(listening.fileno())
                listening.close()
        for stream in self._tasks.values():
            stream.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)


async def hold_session(session: Session, stream: Stream, manners: Manners) -> None:
    """Runs a session to its end, says what is left to say, and closes."""
    linger = False
    try:
        await session(stream)
    except Gone:
        pass
    except Stopping:
        stream.write(manners.stopping)
    except TooSlow:
        stream.write(manners.too_slow)
        linger = True  # slow is not silent: the next bytes may be under way
    except asyncio.CancelledError:
        stream.write(manners.stopping)
        raise
    except Exception:  # a bug of ours: told without detail, and the others go on
        log.exception("session with %s failed", stream.peer)
        stream.write(manners.trouble)
        linger = True
    finally:
        stream.close(linger)
        try:
            await stream.ended()  # until then it counts among the connections
        except asyncio.CancelledError:
            stream.abort()
            raise


def _bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """`host`: an address or a name; "*" or "" for every IPv4 and, where the machine has it, IPv6 address."""
    names = ["0.0.0.0", "::"] if host in {"", "*"} else [host]  # noqa: S104 — asked for
    sockets: list[socket.socket] = []
    try:
        for name in names:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                try:
                    sock = socket.socket(family, kind, protocol)
                except OSError:
                    if len(names) > 1 and sockets:  # no IPv6 here
                        continue
                    raise
                sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setblocking(False)
                try:
                    # port 0: all of them on the number that the first was given
                    sock.bind((address[0], port or sockets[0].getsockname()[1], *address[2:]))
                except OSError as error:
                    if family == socket.AF_INET6 and len(sockets) > 1 and error.errno == errno.EADDRNOTAVAIL:
                        sockets.pop().close()
                        continue
                    raise
                sock.listen(backlog)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


async def serve_listener(
    session: Session,
    *,
    host: str,
    port: int,
    manners: Manners,
    tls: Tls | None = None,
    connections: int = 20_000,
    per_ip: int = 0,
    places: Places | None = None,
    backlog: int = 1024,
) -> Listener:
    """Opens a listener; `tls` given means TLS from the first byte. `per_ip` 0: no limit for one address.
    `places`: what the process's listeners share.

    Several processes may listen on one port (SO_REUSEPORT). Raises `OSError` when the port cannot be had.
    """
    sockets = await asyncio.get_running_loop().run_in_executor(None, _bind, host, port, backlog)
    return Listener(session, manners, sockets, tls, connections, per_ip, places or Places())
