"""Long work of IMAP and POP3: it takes turns, so that whoever asks for everything leaves others their moment.

A command that reads or changes a mailbox of any size does so in portions. Only so many portions of a worker are under
way at a time, and persons take turns at them, however many connections each of them has: short work of others finds
a free reader, and one portion at the writer at most. Loops over a mailbox that need no store run beside the event loop.
A peer that has left is worked for no further than the portion under way, unless what it asked for is to be done.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

from congvu.base.turns import Turns
from congvu.db.engine import Database
from congvu.servers.stream import Gone, Stream

P = ParamSpec("P")
R = TypeVar("R")

READS = 2  # one reader less than the fewest there are (db.sqlite.READERS)
WRITES = 1
HERE = 5_000  # steps that are taken on the spot: a millisecond or few


class Services(Protocol):
    """As much of a session's services as is used here."""

    @property
    def db(self) -> Database: ...


class Asking(Protocol):
    """As much of a session."""

    @property
    def account_id(self) -> int: ...
    @property
    def services(self) -> Services: ...
    @property
    def stream(self) -> Stream: ...


_reads: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()
_writes: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()
_large: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


def _of(turns: "WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]", places: int) -> Turns:
    loop = asyncio.get_running_loop()
    found = turns.get(loop)
    if found is None:
        found = turns[loop] = Turns(places)
    return found


async def read(session: Asking, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`db.read` of one portion, in its turn. Raises `Gone` when the peer has left."""
    async with _of(_reads, READS).turn(session.account_id):
        if session.stream.closed:  # nobody waits for the rest of this command
            raise Gone
        return await session.services.db.read(f, *args, **kwargs)


async def write(session: Asking, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`db.write` of one portion, in its turn. Raises `Gone` when the peer has left."""
    async with _of(_writes, WRITES).turn(session.account_id):
        if session.stream.closed:
            raise Gone
        return await session.services.db.write(f, *args, **kwargs)


async def walk(session: Asking, steps: int, f: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls `f`, which takes about so many steps: beside the other sessions, and in its turn, when they are many."""
    if steps <= HERE:
        return f(*args, **kwargs)
    async with _of(_reads, READS).turn(session.account_id):
        return await asyncio.to_thread(f, *args, **kwargs)


async def finish(session: Asking, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`write` of what is to be done also when the peer does not wait for the answer."""
    async with _of(_writes, WRITES).turn(session.account_id):
        return await session.services.db.write(f, *args, **kwargs)


def large(session: Asking) -> AbstractAsyncContextManager[None]:
    """The turn of an answer that takes much memory: the memory of one is the memory of all."""
    return _of(_large, 1).turn(session.account_id)
