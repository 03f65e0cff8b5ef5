"""HTTP/1.1 by uvicorn's protocol on connections that `listen` accepted and counted as those of every other server.

Promises that a peer that sends its head or body slowly is let go, that a large head is refused, that what is under way
when the worker stops is finished, and that the library touches neither signals nor the form of the log. (uvicorn's own
server would do all of that its way; it is left out.)
"""

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from congvu.servers.listen import Listener, Places, accepted, bind
from congvu.servers.stream import Tls

MAX_HEAD = 32 * 1024  # octets of request line and headers
HEAD_SECONDS = 10  # for a whole head …
IDLE_SECONDS = 60  # … and between requests
BODY_SECONDS = 120  # for a whole body: a signed letter of 20 MB comes in so much at 1.4 Mbit/s
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"


class _State(ServerState):
    """What uvicorn's protocol shares among connections; its own server would renew the date once a second."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"date", formatdate(time.time(), usegmt=True).encode())]

    @default_headers.setter
    def default_headers(self, value: object) -> None:
        pass


class _Protocol(H11Protocol):
    """uvicorn waits for a head and a body as long as the peer likes: this one does not."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._deadline: asyncio.TimerHandle | None = None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        super().connection_made(transport)
        self._give(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._give(None)
        super().connection_lost(exc)
        self.ended.set()

    def data_received(self, data: bytes) -> None:
        before = self.conn.their_state
        super().data_received(data)
        after = self.conn.their_state
        if after is not before:
            seconds = {h11.SEND_BODY: BODY_SECONDS, h11.IDLE: HEAD_SECONDS}
            self._give(seconds.get(after))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._give(IDLE_SECONDS)

    def _give(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.close)


class _Web:
    """One connection for `listen`."""

    def __init__(self, config: uvicorn.Config, state: ServerState, tls: Tls | None) -> None:
        self._protocol = _Protocol(config, state)
        self._tls = tls
        self._begun = False

    async def serve(self, sock: socket.socket) -> None:
        if not await accepted(sock, lambda: self._protocol, self._tls):
            return
        self._begun = True
        try:
            await self._protocol.ended.wait()
        finally:
            if not self._protocol.transport.is_closing():
                self._protocol.transport.abort()

    def stop(self) -> None:
        if self._begun and not self._protocol.transport.is_closing():
            self._protocol.shutdown()


async def serve_http(
    app: ASGIApp, *, host: str, port: int, tls: Tls | None, connections: int, per_ip: int, places: Places
) -> Listener:
    """Opens a listener for an ASGI application. Raises `OSError` when the port cannot be had."""
    quiet: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "ws": "none"}
    config = uvicorn.Config(
        app,
        http=H11Protocol,
        proxy_headers=False,  # a header must not say where somebody comes from
        h11_max_incomplete_event_size=MAX_HEAD,
        timeout_keep_alive=IDLE_SECONDS,
        **quiet,
    )
    config.load()
    state = _State()
    sockets = await bind(host, port)
    return Listener(
        lambda ip, _: _Web(config, state, tls),
        _TOO_MANY if tls is None else b"",
        sockets,
        connections,
        per_ip,
        places,
    )
