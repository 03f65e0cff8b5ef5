"""Who asks: a session's cookie or a program's token, and what they may.

Promises that a cookie cannot be read by scripts nor sent from other sites, that a token never opens what its scopes do
not name, and that roles are read anew in the transaction that uses them, so one taken away is gone at the next request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from congvu.base.clock import Clock, day_of
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.db.engine import Database, Tx
from congvu.directory import roles, tokens
from congvu.directory.roles import Actor
from congvu.directory.tokens import Token

P = ParamSpec("P")
R = TypeVar("R")

COOKIE = "congvu"
SESSION_SECONDS = 12 * 3600  # a working day; who comes back tomorrow signs in again
SCOPES = {
    "directory": "đọc danh bạ / read the directory",
    "units": "đơn vị / units",
    "people": "người, chức vụ, liên hệ / people",
    "accounts": "khóa, khôi phục, cấp lại mật khẩu / lock, restore, reset",
    "requests": "phiếu yêu cầu / requests",
    "merging": "sáp nhập / mergers",
    "reports": "thống kê, xác nhận / statistics, attestation",
    "audit": "nhật ký / the audit chain",
}


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, with the means to act as them: each function gets the `Actor` as it is in its own transaction."""

    token: Token
    secret: Secret
    peer: str
    db: Database
    clock: Clock

    async def read(self, f: Callable[Concatenate[Tx, Actor, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.db.read(self._as(f), *args, **kwargs)

    async def write(self, f: Callable[Concatenate[Tx, Actor, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self.db.write(self._as(f), *args, **kwargs)

    def _as(self, f: Callable[Concatenate[Tx, Actor, P], R]) -> Callable[Concatenate[Tx, P], R]:
        today = day_of(self.clock.now())

        def acting(tx: Tx, /, *args: P.args, **kwargs: P.kwargs) -> R:
            who = roles.actor(tx, self.token.account_id, self.token.address, self.peer, today)
            return f(tx, who, *args, **kwargs)

        return acting

    def now(self) -> float:
        return self.clock.now()


class Identity:
    """Finds out who asks."""

    def __init__(self, db: Database, clock: Clock, idle_seconds: float) -> None:
        self._db = db
        self._clock = clock
        self._idle = idle_seconds

    async def __call__(self, request: Request, scope: str, method: str) -> Asker:
        """Raises `Refused`: not-signed-in, scope-lacking, foreign-site."""
        secret = _bearer(request)
        if secret is None:
            secret = _cookie(request)
            _same_site(request, method)
        now = self._clock.now()
        token = await self._db.read(tokens.find, secret, now, self._idle)
        if token is None:
            raise Refused("not-signed-in")
        if token.scopes and not token.allows(scope):
            raise Refused("scope-lacking", scope=scope or "-")
        peer = request.client.host if request.client else ""
        if tokens.needs_note(token, now):
            await self._db.write(tokens.note_use, secret, peer, now)
        return Asker(token, secret, peer, self._db, self._clock)


def _bearer(request: Request) -> Secret | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return Secret(value.strip()) if kind.lower() == "bearer" and value.strip() else None  # rfc6750 2.1


def _cookie(request: Request) -> Secret:
    value = request.cookies.get(COOKIE, "")
    if not value:
        raise Refused("not-signed-in")
    return Secret(value)


def _same_site(request: Request, method: str) -> None:
    """A cookie goes along with whatever a browser asks; what changes something must come from our own pages. SameSite
    keeps others out already; browsers say besides where a request comes from."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    if method not in ("GET", "HEAD") and site not in ("same-origin", "none"):
        raise Refused("foreign-site")


def set_cookie(response: Response, secret: Secret, secure: bool) -> None:
    response.set_cookie(
        COOKIE, secret.reveal(), max_age=SESSION_SECONDS, path="/", httponly=True, secure=secure, samesite="strict"
    )


def drop_cookie(response: Response, secure: bool) -> None:
    response.delete_cookie(COOKIE, path="/", httponly=True, secure=secure, samesite="strict")
