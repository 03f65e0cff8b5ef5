"""Listening sockets: what accepts connections, counts them, and holds a session over each until it ends.

A session is a coroutine that reads and writes one `Stream` until it returns; it runs in one task. What it lets through
is dealt with here: a peer that left or dawdled is no event worth a trace, a shutdown is told to the peer, a bug of ours
is logged and told without detail. Must never know a protocol: its words come in `Manners`. Promises: the number of
connections is bounded; an idle one costs one task beside its stream.
"""

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from congvu.base.observe import log
from congvu.servers.stream import Gone, Stopping, Stream, Tls, TooSlow

FILES_KEPT = 40  # of a process, for other things than connections
MEMORY_KEPT = 0.02  # of the machine, not to be spent on further connections: the kernel would soon kill somebody
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Manners:
    """What a protocol says in situations it does not see itself; whole lines with their ends, or b""."""

    too_many: bytes  # a connection beyond the limits
    stopping: bytes  # shutdown
    too_slow: bytes  # a timeout
    trouble: bytes  # a bug of ours


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


class Peer(Protocol):
    """One connection from its acceptance to its end."""

    async def serve(self, sock: socket.socket) -> None:
        """Returns when the connection has ended; a cancellation ends it. The socket is the peer's to close."""
        ...

    def stop(self) -> None:
        """Between two commands or requests the connection ends at once, else behind the one that is under way."""
        ...


class Talk:
    """A connection on which a session reads and writes a `Stream`."""

    def __init__(self, session: Session, manners: Manners, tls: Tls | None, ip: str, port: int) -> None:
        self._session = session
        self._manners = manners
        self._tls = tls
        self._stream = Stream(ip, port, tls)

    async def serve(self, sock: socket.socket) -> None:
        if await accepted(sock, lambda: self._stream, self._tls):
            await hold_session(self._session, self._stream, self._manners)

    def stop(self) -> None:
        self._stream.stop()


async def accepted(sock: socket.socket, protocol: Callable[[], asyncio.BaseProtocol], tls: Tls | None) -> bool:
    """Gives a socket to its protocol, behind TLS when there is some; False when the peer left or speaks no TLS."""
    try:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = None if tls is None else tls.context
        await asyncio.get_running_loop().connect_accepted_socket(
            protocol, sock, ssl=context, ssl_handshake_timeout=None if context is None else 30.0
        )
    except OSError:
        sock.close()
        return False
    return True


class Listener:
    """Sockets on one port and the connections that came in by them. `too_many`: what is said, before TLS only, to a
    connection beyond the limits."""

    def __init__(
        self,
        peer: Callable[[str, int], Peer],
        too_many: bytes,
        sockets: Sequence[socket.socket],
        most: int,
        per_ip: int,
        places: Places,
    ) -> None:
        self._peer = peer
        self._too_many = too_many
        self._sockets = sockets
        self._most = most
        self._per_ip = per_ip
        self._places = places
        self._loop = asyncio.get_running_loop()
        self._from: dict[str | bytes, int] = {}
        self._tasks: dict[asyncio.Task[None], Peer] = {}
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
            if self._too_many:
                with contextlib.suppress(OSError):
                    sock.send(self._too_many)
            sock.close()
            return
        self._from[key] = here + 1
        self._places.taken += 1
        peer = self._peer(ip, port)
        task = self._loop.create_task(peer.serve(sock))
        self._tasks[task] = peer

        def done(finished: asyncio.Task[None]) -> None:
            del self._tasks[finished]
            self._places.taken -= 1
            left = self._from[key] - 1
            if left:
                self._from[key] = left
            else:
                del self._from[key]

        task.add_done_callback(done)

    async def drain(self, grace: float = 5.0) -> None:
        """Stops accepting, ends connections between two commands at once, gives the others `grace` seconds."""
        if self._open:
            self._open = False
            for listening in self._sockets:
                self._loop.remove_reader(listening.fileno())
                self._accept(listening)  # those who are already connected get told
                self._loop.remove_reader(listening.fileno())
                listening.close()
        for peer in self._tasks.values():
            peer.stop()
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
    sockets = await bind(host, port, backlog)

    def talk(ip: str, peer_port: int) -> Talk:
        return Talk(session, manners, tls, ip, peer_port)

    return Listener(talk, manners.too_many if tls is None else b"", sockets, connections, per_ip, places or Places())


async def bind(host: str, port: int, backlog: int = 1024) -> list[socket.socket]:
    """Listening sockets for one port; several processes may have it (SO_REUSEPORT). Raises `OSError`."""
    return await asyncio.get_running_loop().run_in_executor(None, _bind, host, port, backlog)
