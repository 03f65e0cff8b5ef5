"""Builds every object and starts the servers: the only module that knows all rooms.

`serve` is the parent: it keeps one worker a core for the protocols and one of lower priority for what can wait (the
text
index), restarts a worker that dies, and ends them all together. Workers share nothing but the database, the blobs and
the wake-up sockets; each binds its own listening sockets (SO_REUSEPORT), so killing any one loses nothing acknowledged.
"""

import asyncio
import contextlib
import fcntl
import gc
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import uvloop

from congvu.actions import daily
from congvu.actions.accounts import Doors
from congvu.actions.mail import Mail
from congvu.actions.proofs import Proofs
from congvu.actions.sharing import Sharing
from congvu.base.clock import Clock, Identifiers, SystemClock
from congvu.base.config import Config, Protocol
from congvu.base.config import Listener as Doorway
from congvu.base.config import Tls as Encryption
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log, start_logging
from congvu.base.texts import say
from congvu.db import audit, known_in, open_blobs, open_database
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database
from congvu.db.wake import Wake
from congvu.delivery.inbound import Inbound
from congvu.directory import profile as profiles
from congvu.directory.regulation import Regulation
from congvu.mailstore import search
from congvu.servers import pop3, smtp, smtp_replies
from congvu.servers.http.api import Api
from congvu.servers.http.server import serve_http
from congvu.servers.imap import commands as imap
from congvu.servers.listen import Listener, Manners, Places, Session, serve_listener
from congvu.servers.stream import Stream, Tls, load_tls

BACKGROUND = "background"
FILES = 1 << 18  # more than any process here will open
Shared = tuple[Proofs, Proofs]  # passwords that were verified lately, and those that were wrong
_DRAIN_SECONDS = 10  # what a busy session gets to finish its command
_LOCK_SECONDS = 15.0  # longer than the workers of a parent that was killed take to drain
_RESTART_PAUSE = 1.0  # a worker that dies at once is not restarted in a tight loop


@dataclass(frozen=True, slots=True)
class Services:
    """Everything one worker's servers use."""

    config: Config
    clock: Clock
    ids: Identifiers
    db: Database
    blobs: BlobKeeper
    wake: Wake
    doors: Doors
    inbound: Inbound
    rules: Regulation
    mail: Mail
    places: Places
    sharing: Sharing


def serve(
    config: Config,
    data: Path,
    *,
    prepare: Callable[[], None] | None = None,
    ready: Callable[[], None] | None = None,
) -> int:
    """Runs all roles until SIGTERM or SIGINT; returns the exit code. `prepare` is called when no other `serve` has the
    data folder and the schema is up to date, `ready` once every door is open.

    Raises `Refused("already-running")` when another `serve` has this data folder and keeps it for 15 seconds.
    """
    _raise_file_limit()
    with alone(data):
        database = open_database(config.database.url, data=data)
        try:
            begin(database, SystemClock().now())
        finally:
            database.close()
        if prepare is not None:
            prepare()
        names = [f"w{n}" for n in range(config.workers or len(os.sched_getaffinity(0)))] + [BACKGROUND]
        return _Parent(config, data, names, (Proofs(), Proofs())).run(ready)


def begin(database: Database, now: float) -> list[str]:
    """The schema up to date, and the text index the one of this database; a sentence for what had to be done for it.
    For a store that stands still."""
    said = database.migrate()
    try:
        if count := database.write_index_now(search.settle):
            said.append(f"the text index was ahead of {count} accounts: it is compared with their letters again")
    except NotNow as trouble:
        log.error("the text index has to wait: %s", trouble.code)
    if said:
        database.write_now(audit.record, "congvu", "repair-index", {"done": said}, now)
    return said


def _raise_file_limit() -> None:
    """As many open files as we are allowed: each connection takes one, and the usual 1,024 is little."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(most, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@contextlib.contextmanager
def alone(data: Path) -> Iterator[None]:
    """One `serve` a data folder.

    Workers inherit the lock on purpose: when their parent is killed they go on for some seconds, and a new set must not
    come before they end. It would change the schema under the older program, and a worker that ends takes the wake-up
    socket of its name away, which would then be its successor's. So who restarts us at once waits for them.
    """
    with (data / "serve.lock").open("w") as lock:
        end = time.monotonic() + _LOCK_SECONDS
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= end:
                    raise Refused("already-running", data=data) from None
                if not told:
                    log.warning("another serve, or workers that it left behind, has %s; waiting for its end", data)
                    told = True
                time.sleep(0.1)
        yield


class _Parent:
    """The process that keeps the workers."""

    def __init__(self, config: Config, data: Path, names: list[str], proofs: Shared) -> None:
        self._config = config
        self._proofs = proofs
        self._data = data
        self._names = names
        self._children: dict[int, str] = {}
        self._started: dict[str, float] = {}
        self._ending = False
        # Workers hold the reading end: when the parent dies in any way they see its end and stop.
        self._life, self._hold = os.pipe()
        self._signals, self._signalled = os.pipe()
        for end in (self._signals, self._signalled):
            os.set_blocking(end, False)

    def run(self, ready: Callable[[], None] | None) -> int:
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(each, lambda *_: None)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        if not all([self._start(name, wait=True) for name in self._names]):  # noqa: C419  each is started
            self._stop()
            return 1
        if ready is not None:
            ready()
        while not self._ending:
            select.select([self._signals], [], [])
            for number in os.read(self._signals, 512):
                if number in {signal.SIGTERM, signal.SIGINT}:
                    self._ending = True
            self._reap()
        self._stop()
        return 0

    def _start(self, name: str, wait: bool = False) -> bool:
        reading, writing = os.pipe()
        self._started[name] = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            os.close(self._hold)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os._exit(_worker(self._config, self._data, name, self._proofs, self._life, writing))
        os.close(writing)
        self._children[pid] = name
        opened = os.read(reading, 1) == b"1" if wait else True
        os.close(reading)
        return opened

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            name = self._children.pop(pid, "")
            if name and not self._ending:
                log.error("worker %s (process %d) ended with status %d; starting it again", name, pid, status)
                time.sleep(max(0.0, self._started[name] + _RESTART_PAUSE - time.monotonic()))
                self._start(name)

    def _stop(self) -> None:
        self._ending = True
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + _DRAIN_SECONDS + 5
        while self._children and time.monotonic() < end:
            self._reap()
            if self._children:
                select.select([self._signals], [], [], 0.2)
                with contextlib.suppress(BlockingIOError):
                    os.read(self._signals, 512)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _worker(config: Config, data: Path, name: str, proofs: Shared, life: int, ready: int) -> int:
    """One worker's whole life; returns its exit code."""
    try:
        start_logging()
        if name == BACKGROUND:
            os.nice(10)  # what can wait gives way to the doors
        elif config.workers == 0:
            # The threads of a worker take turns with one interpreter: on one core they hand over without waking
            # another.
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[int(name.removeprefix("w")) % len(cores)]})
        # A database thread that has an answer waits so long for the event loop to let go; five milliseconds otherwise.
        sys.setswitchinterval(0.0005)
        # Imports and configuration are shared by all workers: keep the collector from touching those pages.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(config, data, name, proofs, life, ready))
    except Refused as refused:
        log.error("%s", say(refused.code, utf8=True, **refused.facts))
        return 1
    except Exception:
        log.exception("worker %s failed", name)
        return 1
    return 0


async def _live(config: Config, data: Path, name: str, proofs: Shared, life: int, ready: int) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    loop.add_reader(life, ending.set)
    services = await build(config, data, name, proofs)
    listeners: list[Listener] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        if name == BACKGROUND:
            tasks.append(asyncio.create_task(search.Indexer(services.db, services.blobs).run()))
            work = daily.Daily(services.db, services.rules, services.clock, config.daily_hour)
            tasks.append(asyncio.create_task(work.run()))
        else:
            tasks.append(asyncio.create_task(services.doors.presence.run()))
            tls = load_tls(config.tls.certificate, config.tls.key)
            for doorway in config.listeners:
                listeners.append(await open_door(doorway, services, tls))
        with contextlib.suppress(BrokenPipeError):  # who was started again is not waited for
            os.write(ready, b"1")
        os.close(ready)
        await ending.wait()
    finally:
        loop.remove_reader(life)
        await asyncio.gather(*(listener.drain(_DRAIN_SECONDS) for listener in listeners))
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        services.wake.close()
        services.doors.close()
        services.blobs.close()
        services.db.close()


async def open_door(doorway: Doorway, services: Services, tls: Tls) -> Listener:
    """One listener of the configuration. Raises `Refused("port-not-free")` when its port cannot be had."""
    limits = services.config.limits
    bounds = _Bounds(
        host=doorway.host,
        port=doorway.port,
        tls=tls if doorway.tls is Encryption.IMPLICIT else None,
        connections=limits.connections,
        per_ip=limits.connections_per_ip,
        places=services.places,
    )
    try:
        if doorway.protocol is Protocol.HTTP:
            api = Api(services.config, services.db, services.clock, services.ids, services.doors)
            return await serve_http(api.application(), **bounds)
        session, manners = _session(doorway, services, tls if doorway.tls is Encryption.STARTTLS else None)
        return await serve_listener(session, manners=manners, **bounds)
    except OSError as error:
        raise Refused("port-not-free", host=doorway.host, port=doorway.port, reason=error.strerror) from error


class _Bounds(TypedDict):
    """What every kind of listener takes."""

    host: str
    port: int
    tls: Tls | None
    connections: int
    per_ip: int
    places: Places


def _session(doorway: Doorway, services: Services, offered: Tls | None) -> tuple[Session, Manners]:
    """What runs on each connection of a listener, and what it says where it does not see the situation itself."""
    match doorway.protocol:
        case Protocol.IMAP:

            async def session(stream: Stream) -> None:
                await imap.run(stream, services, offered)

            return session, imap.MANNERS
        case Protocol.POP3:

            async def session(stream: Stream) -> None:
                await pop3.run(stream, services, offered)

            return session, pop3.MANNERS
        case _:
            name = "mx" if doorway.protocol is Protocol.SMTP else doorway.protocol.value
            door = smtp.Door(name, offered, auth=doorway.protocol is Protocol.SUBMISSION)

            async def session(stream: Stream) -> None:
                await smtp.run(stream, services, door)

            return session, smtp_replies.manners(services.config.hostname)


async def build(config: Config, data: Path, worker: str, proofs: Shared) -> Services:
    """The objects of one worker; `proofs` is what its neighbours share with it: right passwords and wrong ones."""
    clock = SystemClock()
    ids = Identifiers(clock)
    wake = Wake(data / "run", worker)
    if worker != BACKGROUND:  # which looks by itself: each hint would cost a datagram
        await wake.start()
    db = open_database(config.database.url, data=data, committed=wake.tell)
    blobs = open_blobs(config.blobs.url, data=data, worker=worker, known=known_in(db))
    rules = Regulation(profiles.load(config.profile))
    locking = None if config.insecure_loopback else rules
    doors = Doors(db, clock, config, proofs[0], rules=locking, tried=proofs[1])
    return Services(
        config=config,
        clock=clock,
        ids=ids,
        db=db,
        blobs=blobs,
        wake=wake,
        doors=doors,
        inbound=Inbound(db, blobs, clock, ids, config, locking),
        rules=rules,
        mail=Mail(db, blobs, clock, ids),
        places=Places(),
        sharing=Sharing(config, profiles.load(config.profile)),
    )


if __name__ == "__main__":
    sys.exit("use the command congvu")
