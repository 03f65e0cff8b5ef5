"""Connections that sign in, SELECT INBOX and IDLE: what each costs in memory, how soon it hears of a delivery.

The server is started anew first (and its start-up timed): what earlier work left in memory would hide the cost. Then
some connections come, hear of deliveries and go, so that what a server takes once (caches, threads, pools) is not
divided among those that are counted. Memory is the proportional set size of the whole process trees, taken after they
have settled, before and after.
"""

import random
import select
import socket
import statistics
import time

from bench.client import Smtp, sign_in
from bench.ground import Ground, Measure, Numbers, Workload
from bench.servers import DOMAIN, Server

AT_ONCE = 50  # connections on their way to IDLE at a time
WARM = 200  # connections beforehand
PAUSE = 0.1  # seconds between two deliveries


class _Idler:
    """One connection, step by step: greeting, LOGIN, SELECT, IDLE."""

    STEPS = (b"* OK", b"a1 ", b"a2 ", b"+")

    def __init__(self, port: int, user: int) -> None:
        self.user, self.step, self.rest = user, 0, b""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))

    def hear(self) -> bool:
        """True once it idles."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"connection of user {self.user} was closed in step {self.step}: {self.rest!r}")
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        for line in lines:
            if line.startswith(self.STEPS[self.step]):
                if self.step in {1, 2} and b" OK" not in line:
                    raise RuntimeError(line.decode("utf-8", "replace"))
                self.step += 1
                if self.step == len(self.STEPS):
                    return True
                words = (f"a1 {sign_in(self.user)}", "a2 SELECT INBOX", "a3 IDLE")[self.step - 1]
                self.socket.sendall(words.encode() + b"\r\n")
        return False


def connect(server: Server, count: int, users: int) -> dict[int, _Idler]:
    """By descriptor."""
    poller = select.epoll()
    ready: dict[int, _Idler] = {}
    coming: dict[int, _Idler] = {}
    begun = 0
    while len(ready) < count:
        while begun < count and len(coming) < AT_ONCE:
            each = _Idler(server.imap, begun % users)
            coming[each.socket.fileno()] = each
            poller.register(each.socket, select.EPOLLIN)
            begun += 1
        events = poller.poll(60)
        if not events:
            raise RuntimeError(f"{server.name}: no answer for a minute after {len(ready)} connections")
        for number, _ in events:
            if coming[number].hear():
                poller.unregister(number)
                ready[number] = coming.pop(number)
    poller.close()
    return ready


def deliver(server: Server, idlers: dict[int, _Idler], times: int, letter: bytes, seed: int) -> tuple[list[float], int]:
    """Seconds from the end of DATA until each connection of the recipient was told, delivery by delivery; and how many
    connections were not told within a minute."""
    lost = 0
    chance = random.Random(seed)
    poller = select.epoll()
    of_user: dict[int, set[int]] = {}
    for number, each in idlers.items():
        poller.register(number, select.EPOLLIN)
        of_user.setdefault(each.user, set()).add(number)
    smtp = Smtp(server.smtp)
    waits = []
    for _ in range(times):
        user = chance.choice(list(of_user))
        missing = set(of_user[user])
        begun = time.monotonic()
        smtp.send([f"u{user:04d}@{DOMAIN}"], b"X-So: %d\r\n" % chance.getrandbits(60) + letter)
        sent = time.monotonic()
        while missing:
            for number, _ in poller.poll(1):
                data = idlers[number].socket.recv(65536)
                if not data:
                    raise ConnectionError(f"{server.name}: an idle connection was closed")
                if b" EXISTS" in data:
                    missing.discard(number)
                    waits.append(time.monotonic() - sent)
            if time.monotonic() - sent > 60:
                lost += len(missing)  # seen with a peer that hibernates: the delivery met its falling asleep
                break
        time.sleep(max(0.0, begun + PAUSE - time.monotonic()))
    smtp.close()
    poller.close()
    return waits, lost


def warm_up(server: Server, users: int, letter: bytes) -> None:
    idlers = connect(server, min(users, WARM), users)
    deliver(server, idlers, 10, letter, seed=99)
    for each in idlers.values():
        each.socket.close()


def run(ground: Ground, server: Server) -> Numbers:
    full = ground.options.full
    count, times = ground.options.idle, 60 if full else 30
    settle = 75 if full else 5  # the peer keeps processes that hibernated away for a minute
    ground.leave(server)
    server.stop()
    begun = time.monotonic()
    server.start()
    numbers: Numbers = {"start_up": time.monotonic() - begun, "connections": count}
    warm_up(server, ground.options.users, ground.small[0])
    time.sleep(settle)
    base, before, begun = server.memory(), server.cpu(), time.monotonic()
    idlers = connect(server, count, ground.options.users)
    numbers["sign_ins"] = count / (time.monotonic() - begun)
    numbers["sign_in_cpu_ms"] = (server.cpu() - before) * 1000 / count
    time.sleep(settle)
    numbers["kb_each"] = (server.memory() - base) / 1024 / count
    before = server.cpu()
    time.sleep(3)
    numbers["idle_cpu"] = (server.cpu() - before) / 3
    waits, numbers["lost"] = deliver(server, idlers, times, ground.small[0], ground.round)
    numbers["notified_ms"] = statistics.median(waits) * 1000
    numbers["notified_late_ms"] = sorted(waits)[len(waits) * 99 // 100] * 1000
    for each in idlers.values():
        each.socket.close()
    return numbers


WORKLOAD = Workload(
    run,
    (
        Measure("memory a connection, KB", "kb_each"),
        Measure("told of a delivery after, median ms", "notified_ms"),
        Measure("the same, 99 of 100, ms", "notified_late_ms"),
        Measure("start-up, s", "start_up"),
    ),
    rounds=2,
    variants=True,
)
