"""Signing in as every protocol here does it: an exchange of SASL to its end, and how many connections a person holds.

Must never know a protocol's words: `ask` brings a challenge to the client and its answer back.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from weakref import WeakKeyDictionary

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret, log, printable
from congvu.codec import sasl

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)

SIGN_INS = 4  # failed ones of one connection
_DELAYS = (0.0, 1.0, 2.0, 4.0, 4.0)  # seconds before a failed sign-in is answered


class Present(Protocol):
    """Who has signed in, as much of it as keeps a session."""

    @property
    def account_id(self) -> int: ...

    @property
    def epoch(self) -> int: ...


class Doors(Protocol[S_co]):
    """What is asked of `actions.accounts.Doors`."""

    async def sign_in(self, login: str, password: Secret, ip: str) -> S_co: ...

    async def scram_keys(self, login: str, ip: str) -> sasl.ScramKeys: ...

    async def signed_in(self, login: str, ip: str) -> S_co: ...

    def failed(self, login: str, ip: str) -> None: ...

    def present(self, known: Present, end: Callable[[str], None]) -> Callable[[], None]: ...


async def prove(
    exchange: sasl.Exchange,
    initial: bytes | None,
    doors: Doors[S],
    ip: str,
    ask: Callable[[bytes], Awaitable[bytes | None]],
) -> S | None:
    """Who this is. None: the client gave up or spoke no base64, which `ask` has then told. Raises `Refused` (bad-… of
    `codec.sasl`, and those of the doors) and `NotNow`, written into the log."""
    login = ""
    said = exchange.step(initial)
    try:
        while True:
            match said:
                case sasl.Challenge(data):
                    answer = await ask(data)
                    if answer is None:
                        return None
                    said = exchange.step(answer)
                case sasl.KeysWanted(login) if isinstance(exchange, sasl.Scram):
                    said = exchange.keys(await doors.scram_keys(login, ip))
                case sasl.Credentials(login, password):
                    return await doors.sign_in(login, Secret(password), ip)
                case sasl.Accepted(login):
                    return await doors.signed_in(login, ip)
                case sasl.Rejected(code):
                    if login:
                        doors.failed(login, ip)
                    raise Refused(code)
                case _:
                    raise Refused("bad-auth-message")
    except (Refused, NotNow) as failure:
        log.info("sign-in from %s as %s failed: %s", ip, printable(login, 80), failure.code)
        raise


async def delay(failures: int) -> None:
    """Waits before the last of so many failed sign-ins of a connection is answered."""
    await asyncio.sleep(_DELAYS[min(failures, len(_DELAYS) - 1)])


# How many connections each account holds in this process, of all protocols together.
_held: WeakKeyDictionary[asyncio.AbstractEventLoop, Counter[int]] = WeakKeyDictionary()


def take_place(account_id: int, most: int) -> Callable[[], None]:
    """One more connection of this account; what is returned gives its place back, once however often it is called.
    Raises `NotNow("too-many-connections")`."""
    held = _held.setdefault(asyncio.get_running_loop(), Counter())
    if held[account_id] >= most:
        raise NotNow("too-many-connections", limit=most)
    held[account_id] += 1
    taken = True

    def give_back() -> None:
        nonlocal taken
        if taken:
            taken = False
            held[account_id] -= 1
            if not held[account_id]:
                del held[account_id]

    return give_back


def no_place() -> None:
    """Given back by who has none; and left by who is not present."""
