"""Hints between the worker processes of one machine: "this account's change log has grown, look".

A hint may get lost (the peer is slow, starting or gone); nothing may hang on it. Each worker has a unix datagram
socket in a common folder; a tell is one datagram to each peer. Must never block.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from congvu.base.observe import log

IDS = 1000  # account ids in one datagram
LOOK_SECONDS = 1.0  # how long the list of peers is believed
BURST = 64  # datagrams read before other connections get a turn


class Wake:
    """This worker's ear and mouth. Everything but the constructor is for the event loop's thread."""

    def __init__(self, directory: Path, worker: str) -> None:
        self._directory = directory
        self._path = directory / f"{worker}.sock"
        self._listeners: dict[int, list[Callable[[], None]]] = {}
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._peers: list[str] = []
        self._looked = 0.0

    async def start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):
            self._path.unlink()  # left by a worker of our name that was killed
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.setblocking(False)
        ear.bind(str(self._path))
        self._socket = ear
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(ear.fileno(), self._hear)

    def tell(self, account_ids: Iterable[int]) -> None:
        """Calls back whoever listens here, and hints the other workers. A peer that is too busy to hear misses it."""
        ids = list(account_ids)
        self._call(ids)
        if self._socket is None:
            return
        peers = self._others()
        if not peers:
            return
        for at in range(0, len(ids), IDS):
            some = ids[at : at + IDS]
            data = struct.pack(f"<{len(some)}q", *some)
            for peer in peers:
                try:
                    self._socket.sendto(data, peer)
                except BlockingIOError:
                    pass  # its ear is full: it has enough to look at
                except ConnectionRefusedError:
                    with suppress(OSError):
                        Path(peer).unlink()  # killed: nobody is behind this name
                    self._looked = 0.0
                except OSError:
                    self._looked = 0.0

    def listen(self, account_id: int, callback: Callable[[], None]) -> Callable[[], None]:
        """`callback` is called at each hint for this account, until the function that is returned is called."""
        self._listeners.setdefault(account_id, []).append(callback)

        def stop() -> None:
            callbacks = self._listeners.get(account_id, [])
            if callback in callbacks:
                callbacks.remove(callback)
                if not callbacks:
                    del self._listeners[account_id]

        return stop

    def close(self) -> None:
        if self._socket is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
            with suppress(OSError):
                self._path.unlink()
        self._listeners.clear()

    def _others(self) -> list[str]:
        now = time.monotonic()
        if not self._looked or now - self._looked > LOOK_SECONDS:
            self._looked = now
            own = str(self._path)
            try:
                self._peers = [str(p) for p in self._directory.iterdir() if p.suffix == ".sock" and str(p) != own]
            except OSError:
                self._peers = []
        return self._peers

    def _hear(self) -> None:
        for _ in range(BURST):
            if self._socket is None:
                return
            try:
                data = self._socket.recv(8 * IDS)
            except OSError:
                return
            if len(data) % 8 == 0:
                self._call(list(struct.unpack(f"<{len(data) // 8}q", data)))

    def _call(self, ids: list[int]) -> None:
        for account_id in ids:
            for callback in list(self._listeners.get(account_id, ())):
                try:
                    callback()
                except Exception:
                    log.exception("a listener failed")
