"""One connection as every text protocol's session sees it: lines and bytes in, bytes out, TLS and compression beneath.

Must never know a protocol, nor where a connection came from and how many there are: that is `listen`.

Promises: input held in memory is bounded (reading stops), output too (`drain`); an idle connection costs one small
object and one timer, and a line read costs no timer at all; however many connections always have more to do, all others
wait for one of them.
"""

import asyncio
import ssl
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization

from congvu.codec.lines import LineBuffer
from congvu.servers.deflate import Deflate

HELD = 65_536  # input beyond this that nobody asked for yet: reading stops until the session catches up
TURN = 64  # lines taken without waiting before other connections have their turn …
SLICE = 0.002  # … or so many seconds, whichever comes first
AT_ONCE = 65_536  # output gathered before it is given to the kernel
OUTGOING = 262_144  # output beyond this: `drain` waits
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
