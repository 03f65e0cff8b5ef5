"""Clients that mean harm, and what an ordinary one notices of them: a part of `make load`.

Each attack is a process of its own with many connections, all of them to one worker. Meanwhile a probe does ordinary
work, at that worker and at another: a letter by SMTP until IDLE tells of it, and LOGIN, SELECT, FETCH of one letter.
Told are the probe's waits (median and worst) quiet and under each attack, by how much the server's memory grew, and how
the attackers were answered. Who attacks owns a mailbox of many letters; rate limits are lifted (everybody comes from
one address), so what is seen is what the design alone bears.
"""

import multiprocessing
import os
import select
import socket
import statistics
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

from bench.client import Imap, Smtp, sign_in
from bench.servers import DOMAIN, PASSWORD, Ours, login

Client = TypeVar("Client", Imap, Smtp)

TALKER, LISTENER = 7, 8  # the users of the probe
PIECE = 1 << 16
LETTER = b"Subject: thu\r\n\r\n" + b"noi dung\r\n" * 100


@dataclass(frozen=True)
class Aim:
    """What is attacked: the ports, one worker (and all that there are), the attacker's number and mailbox; for how
    long, from when `ready` is set."""

    ports: dict[str, int]
    worker: int
    workers: tuple[int, ...]
    user: int
    mailbox: str
    seconds: float
    ready: Event

    def begin(self) -> float:
        """All have connected; returns when the attack ends."""
        self.ready.set()
        return time.monotonic() + self.seconds


def workers(server: Ours) -> tuple[int, ...]:
    """The processes that have doors."""
    root = server.roots[0]
    children = map(int, Path(f"/proc/{root}/task/{root}/children").read_text().split())
    mine = os.getpriority(os.PRIO_PROCESS, root)  # the indexer has a lower one
    return tuple(pid for pid in children if os.getpriority(os.PRIO_PROCESS, pid) == mine)


def _owner(sock: socket.socket, pids: Sequence[int]) -> int:
    """Which of these processes has accepted this connection; 0 for none."""
    ends = f":{sock.getpeername()[1]:04X}", f":{sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(ends[0]) and words[2].endswith(ends[1]):
            wanted = f"socket:[{words[9]}]"
            return next((pid for pid in pids if wanted in _files(pid)), 0)
    return 0


def _files(pid: int) -> Iterator[str]:
    for name in reversed(os.listdir(f"/proc/{pid}/fd")):
        with suppress(FileNotFoundError):
            yield os.readlink(f"/proc/{pid}/fd/{name}")


def _connect(aim: Aim, protocol: str, there: bool = True) -> socket.socket:
    """A connection whose greeting has been read; `there`: to the worker that is attacked."""
    while True:
        sock = socket.create_connection(("127.0.0.1", aim.ports[protocol]), 30)
        sock.recv(4096)
        if not there or len(aim.workers) < 2 or _owner(sock, aim.workers) == aim.worker:
            return sock
        sock.close()


def _signed_in(aim: Aim, mailbox: str = "") -> socket.socket:
    sock = _connect(aim, "imap")
    select_it = f"s SELECT {mailbox}\r\n" if mailbox else ""
    sock.sendall(f"l {sign_in(aim.user)}\r\n{select_it}".encode())
    mark = b"\r\ns OK" if mailbox else b"l OK"
    held = b""
    while mark not in held:
        data = sock.recv(PIECE)
        if not data:
            raise ConnectionError(held[-200:])
        held = (held + data)[-PIECE:]
    return sock


# ---- how an attack talks


def _pour(
    socks: Sequence[socket.socket], pieces: Callable[[], Iterator[bytes]], aim: Aim, reads: bool = True
) -> Counter:
    """Sends what `pieces` yields over each connection, as much as it takes; reads the answers, or does not."""
    answers: Counter = Counter()
    sources = {sock.fileno(): (sock, pieces()) for sock in socks}
    waiting = dict.fromkeys(sources, b"")
    poller = select.poll()
    for sock in socks:
        sock.setblocking(False)
        poller.register(sock, select.POLLOUT | (select.POLLIN if reads else 0))
    end = aim.begin()
    while sources and time.monotonic() < end:
        for number, event in poller.poll(200):
            sock, source = sources[number]
            try:
                if event & select.POLLIN:
                    data = sock.recv(PIECE * 4)
                    if not data:
                        raise ConnectionError
                    _count(answers, data)
                if event & select.POLLOUT:
                    data = waiting[number] or next(source, b"")
                    if not data:
                        poller.modify(sock, select.POLLIN if reads else 0)
                        continue
                    waiting[number] = data[sock.send(data) :]
                if event & (select.POLLHUP | select.POLLERR):
                    raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                answers["closed"] += 1
                poller.unregister(sock)
                del sources[number]
    return answers


def _count(answers: Counter, data: bytes) -> None:
    """Kinds of answers, as far as they do not lie across two pieces."""
    for line in data.split(b"\r\n"):
        words = line.split(b" ", 2)
        if len(words) > 1 and words[1] in {b"OK", b"NO", b"BAD", b"BYE"} and len(words[0]) < 8:
            answers[words[1].decode()] += 1
        elif line[:4] in {b"+OK ", b"-ERR"} or (line[:3].isdigit() and line[3:4] == b" "):
            answers[words[0].decode()] += 1


def _commands(aim: Aim, count: int, mailbox: str, commands: Sequence[str]) -> Counter:
    """Each connection says these in turn, one after the other is answered."""
    total: Counter = Counter()
    lock = threading.Lock()

    def talk() -> None:
        answers: Counter = Counter()
        try:
            sock = _signed_in(aim, mailbox)
            end = aim.begin()
            for number, command in enumerate(cycle(commands)):
                tag = b"q%d " % number
                sock.sendall(tag + command.encode() + b"\r\n")
                tail = b""
                while not (tail.startswith(tag) or b"\r\n" + tag in tail):
                    sock.settimeout(max(end - time.monotonic(), 0.01))
                    data = sock.recv(PIECE * 4)
                    if not data:
                        raise ConnectionError
                    tail = (tail + data)[-PIECE * 4 :]
                answers[tail[tail.rfind(tag) :].split(b" ", 2)[1].decode()] += 1
        except TimeoutError:
            answers["waiting"] += 1
        except OSError:
            answers["closed"] += 1
        with lock:
            total.update(answers)

    threads = [threading.Thread(target=talk) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return total


def _stay(socks: Sequence[socket.socket], aim: Aim) -> Counter:
    """Says nothing more; counts what is said to it."""
    return _pour(socks, lambda: iter(()), aim)


# ---- the attacks


def literals(aim: Aim) -> Counter:
    """Open a literal and stall."""
    socks = []
    for number in range(200):
        sock = _connect(aim, "imap") if number % 2 else _signed_in(aim)
        sock.sendall(b"a LOGIN {4000+}\r\nx" if number % 2 else b"a APPEND INBOX {40000000+}\r\n" + bytes(1 << 20))
        socks.append(sock)
    return _stay(socks, aim)


def noops(aim: Aim) -> Counter:
    return _pour([_signed_in(aim, "INBOX") for _ in range(20)], lambda: cycle([b"a NOOP\r\n" * 10_000]), aim)


def idles(aim: Aim) -> Counter:
    return _pour([_signed_in(aim, "INBOX") for _ in range(20)], lambda: cycle([b"a IDLE\r\nDONE\r\n" * 1000]), aim)


def fetches(aim: Aim) -> Counter:
    return _commands(aim, 20, aim.mailbox, ["FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)"])


def bodies(aim: Aim) -> Counter:
    return _commands(aim, 20, aim.mailbox, ["FETCH 1:* (BODY.PEEK[])"])


def unread(aim: Aim) -> Counter:
    """Ask for everything and read nothing of it."""
    socks = [_signed_in(aim, aim.mailbox) for _ in range(100)]
    return _pour(socks, lambda: iter([b"a FETCH 1:* (BODY.PEEK[] ENVELOPE)\r\n"]), aim, reads=False)


def stores(aim: Aim) -> Counter:
    return _commands(aim, 20, aim.mailbox, ["STORE 1:* +FLAGS (\\Flagged)", "STORE 1:* -FLAGS (\\Flagged)"])


def watched(aim: Aim) -> Counter:
    """STORE to all, and a hundred connections of the same person that are told of it."""
    socks = [_signed_in(aim, aim.mailbox) for _ in range(100)]
    hearing = threading.Thread(target=_pour, args=(socks, lambda: iter([b"i IDLE\r\n"]), aim))
    hearing.start()
    answers = _commands(aim, 2, aim.mailbox, ["STORE 1:* +FLAGS (\\Flagged)", "STORE 1:* -FLAGS (\\Flagged)"])
    hearing.join()
    return answers


def copies(aim: Aim) -> Counter:
    """A copy of very many, and its mailbox deleted again."""
    return _commands(aim, 1, aim.mailbox, ["CREATE sao", "COPY 1:50000 sao", "DELETE sao"])


def expunges(aim: Aim) -> Counter:
    """Half of a large copy goes, letter by letter."""
    odd = ",".join(map(str, range(1, 20_000, 2)))
    commands = ["CREATE bo", "COPY 1:50000 bo", "SELECT bo", f"STORE {odd} +FLAGS.SILENT (\\Deleted)"]
    commands += ["STORE 20000:* +FLAGS.SILENT (\\Deleted)", "EXPUNGE", f"SELECT {aim.mailbox}", "DELETE bo"]
    return _commands(aim, 1, aim.mailbox, commands)


def programs(aim: Aim) -> Counter:
    """The largest programs of SEARCH that are taken, SORT and THREAD of all."""
    either = "OR " * 47 + " ".join(f"SUBJECT x{n}y" for n in range(48))
    sets = " ".join(f"{n}:*" for n in range(2, 900))
    return _commands(
        aim,
        10,
        aim.mailbox,
        [
            f"SEARCH {either}",
            f"SEARCH {sets}",
            "SORT (REVERSE SUBJECT FROM DATE) UTF-8 ALL",
            "THREAD REFERENCES UTF-8 ALL",
            "SEARCH NOT (NOT UNSEEN NOT (HEADER X-Nothing a))",
        ],
    )


def since(aim: Aim) -> Counter:
    """All that ever changed, of gaps and whole."""
    return _commands(
        aim, 10, aim.mailbox, ["UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)", "UID STORE 1:* (UNCHANGEDSINCE 1) FLAGS ()"]
    )


def preauth(aim: Aim) -> Counter:
    """A line of a hundred megabytes from a stranger."""
    return _pour([_connect(aim, "imap") for _ in range(20)], lambda: iter([b"a LOGIN ", *[b"x" * PIECE] * 1600]), aim)


def bombs(aim: Aim) -> Counter:
    """COMPRESS: a few bytes that are gigabytes; of commands, of a line without end."""
    socks = [_signed_in(aim) for _ in range(20)]
    for sock in socks:
        sock.sendall(b"c COMPRESS DEFLATE\r\n")
        sock.recv(4096)
    packers = [zlib.compressobj(9, zlib.DEFLATED, -15) for _ in range(2)]
    noop = b"".join(packers[0].compress(b"a NOOP\r\n" * 100_000) for _ in range(50)) + packers[0].flush(4)
    line = b"".join(packers[1].compress(bytes(1 << 20)) for _ in range(200)) + packers[1].flush(4)
    kinds = cycle([noop, line])
    return _pour(socks, lambda: iter([next(kinds)]), aim)


def silent(aim: Aim) -> Counter:
    return _stay([_connect(aim, protocol, False) for protocol in ("imap", "smtp", "pop3") for _ in range(1000)], aim)


def appends(aim: Aim) -> Counter:
    """Empty letters, and large ones that are given up."""
    large = [b"a APPEND INBOX {20000000+}\r\n", *[b"x" * PIECE] * 300]
    kinds = cycle([cycle([b"a APPEND INBOX {0+}\r\n\r\n" * 1000]), iter(large)])
    return _pour([_signed_in(aim) for _ in range(20)], lambda: next(kinds), aim)


def names(aim: Aim) -> Counter:
    """As many mailboxes as there may be, listed by the worst pattern."""
    sock = _signed_in(aim)
    made = "".join(f"c CREATE {'a' * 100}/{number}\r\n" for number in range(2100))
    answers = _pour([sock], lambda: iter([made.encode()]), replace(aim, seconds=aim.seconds / 3))
    patterns = " ".join(["*%a" * 100] * 50)
    listing = f'LIST "" ({patterns}) RETURN (STATUS (MESSAGES UNSEEN))'
    return answers + _commands(replace(aim, seconds=aim.seconds * 2 / 3), 10, "", ['LIST "" *%*%*%*%', listing])


def notes(aim: Aim) -> Counter:
    pairs = (f'a SETMETADATA "" (/private/vendor/x/{n} {{60000+}}\r\n' for n in range(2000))
    filling = [
        b"".join(each.encode() + b"y" * 60_000 + b")\r\n" for each in pairs),
        b'a GETMETADATA (DEPTH infinity) "" (/private)\r\n' * 100,
    ]
    return _pour([_signed_in(aim)], lambda: iter(filling), aim)


def guesses(aim: Aim) -> Counter:
    """Wrong passwords, each another one."""
    many = b"".join(b'a LOGIN "%b" "sai-%d"\r\n' % (login(n).encode(), n) for n in range(100))
    return _pour([_connect(aim, "imap") for _ in range(200)], lambda: cycle([many]), aim)


def pop3(aim: Aim) -> Counter:
    start = f"USER {login(aim.user)}\r\nPASS {PASSWORD}\r\n".encode()
    flood = b"NOOP\r\nUIDL\r\nLIST\r\nRSET\r\nSTAT\r\n" * 1000
    return _pour([_connect(aim, "pop3") for _ in range(20)], lambda: iter([start, *[flood] * 1000]), aim)


def drops(aim: Aim) -> Counter:
    """Fetch everything by POP3, over and over."""
    sock = _signed_in(aim, aim.mailbox)
    sock.sendall(b"c COPY 1:2000 INBOX\r\n")
    held = b""
    while b"c OK" not in held:
        held += sock.recv(PIECE)
    sock.close()
    start = f"USER {login(aim.user)}\r\nPASS {PASSWORD}\r\n".encode()
    everything = b"".join(b"RETR %d\r\n" % (n % 2000 + 1) for n in range(4000))
    return _pour([_connect(aim, "pop3") for _ in range(20)], lambda: iter([start, *[everything] * 100]), aim)


def crumbs(aim: Aim) -> Counter:
    """Copies of a few by many connections, and the same note again and again."""
    commands = ["CREATE vun", "COPY 1:200 vun", 'SETMETADATA INBOX (/private/comment "x")', "COPY 1:20 vun"]
    return _commands(aim, 30, aim.mailbox, commands)


def smtp(aim: Aim) -> Counter:
    """Commands without end, names tried out, letters that stall within a line."""
    hello = b"EHLO xau.test\r\nMAIL FROM:<a@xau.test>\r\n"
    asked = b"".join(b"RCPT TO:<x%d@%b>\r\n" % (n, DOMAIN.encode()) for n in range(1000))
    floods = cycle([[hello, *[asked] * 1000], [b"NOOP\r\n" * 100_000] * 1000, [b"X" * PIECE] * 1600])
    socks = [_connect(aim, "smtp") for _ in range(30)]
    for _ in range(100):
        sock = _connect(aim, "smtp")
        sock.sendall(hello + b"RCPT TO:<%b>\r\nDATA\r\n" % login(aim.user).encode() + bytes(1 << 20))
        socks.append(sock)
    left = [30]

    def words() -> Iterator[bytes]:
        left[0] -= 1
        return iter(next(floods)) if left[0] >= 0 else iter(())

    return _pour(socks, words, aim)


ATTACKS: tuple[Callable[[Aim], Counter], ...] = (
    literals, noops, idles, fetches, bodies, unread, stores, watched, copies, expunges, programs, since, preauth,
    bombs, silent, appends, names, notes, guesses, pop3, drops, crumbs, smtp,
)  # fmt: skip


# ---- the probe


class Probe:
    """Ordinary work at one worker, over and over until it is told to stop."""

    def __init__(self, aim: Aim) -> None:
        self._aim = aim
        self._open = True
        self.told: list[float] = []
        self.read: list[float] = []
        self._idler = self._there(lambda: Imap(aim.ports["imap"], LISTENER))
        self._idler.do("SELECT INBOX")
        self._idler.begin("IDLE")
        self._idler.socket.recv(4096)
        self._smtp = self._there(lambda: Smtp(aim.ports["smtp"]))
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._deliver, self._read)]

    def _there(self, make: Callable[[], Client]) -> Client:
        """One that came to the worker aimed at: the kernel chooses, so until it has."""
        while True:
            client = make()
            if _owner(client.socket, self._aim.workers) == self._aim.worker:
                return client
            client.close()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._open = False
        for thread in self._threads:
            thread.join()
        self._idler.close()
        self._smtp.close()

    def _deliver(self) -> None:
        number = 0
        while self._open:
            begun = time.monotonic()
            number += 1
            self._smtp.send([login(LISTENER)], b"X-So: %d-%d\r\n" % (self._aim.worker, number) + LETTER)
            while b" EXISTS" not in self._idler.socket.recv(PIECE):
                pass
            self.told.append(time.monotonic() - begun)
            time.sleep(0.05)

    def _read(self) -> None:
        while self._open:
            client = self._there(lambda: Imap(self._aim.ports["imap"]))
            begun = time.monotonic()
            for command in (sign_in(TALKER), "SELECT INBOX", "FETCH 1 (ENVELOPE BODY.PEEK[])"):
                client.do(command)
            self.read.append(time.monotonic() - begun)
            client.close()
            time.sleep(0.05)


def _attack(attack: Callable[[Aim], Counter], aim: Aim, answers: Connection) -> None:
    answers.send(attack(aim))


def run(
    server: Ours, user: int, mailbox: str, tell: Callable[..., None], seconds: float = 8.0, only: Sequence[str] = ()
) -> None:
    """Each attack in turn; `tell(name, **numbers)` is called for each and for the quiet before."""
    first = Smtp(server.smtp)
    first.send([login(TALKER), login(LISTENER)], LETTER)
    first.close()
    ports = {"imap": server.imap, "smtp": server.smtp, "pop3": server.base_port + 110}
    both = workers(server)
    processes = multiprocessing.get_context("fork")
    for attack in (None, *(each for each in ATTACKS if not only or each.__name__ in only)):
        server.forget_peak()
        aim = Aim(ports, both[0], both, user, mailbox, seconds + 1, processes.Event())
        probes = [Probe(replace(aim, worker=each)) for each in both[:2]]
        answers: Counter = Counter()
        if attack is not None:
            here, there = multiprocessing.Pipe(duplex=False)
            process = processes.Process(target=_attack, args=(attack, aim, there))
            process.start()
            if not aim.ready.wait(120):
                raise RuntimeError(f"{attack.__name__} does not begin")
            time.sleep(0.5)
        cpu, begun = server.cpu(), time.monotonic()
        for probe in probes:
            probe.start()
        time.sleep(seconds)
        cpu = (server.cpu() - cpu) / (time.monotonic() - begun)
        for probe in probes:
            probe.stop()
        if attack is not None:
            answers = here.recv() if here.poll(60) else Counter({"no end": 1})
            process.kill()
            process.join()
        numbers: dict[str, float] = {"memory_grew_mb": server.peak() / 1e6, "cores": cpu}
        for name, probe in zip(("attacked", "other"), probes, strict=False):
            for what, waits in (("told", probe.told), ("read", probe.read)):
                numbers[f"{name}_{what}_ms"] = statistics.median(waits or [60.0]) * 1000
                numbers[f"{name}_{what}_worst"] = max(waits or [60.0]) * 1000
        tell(attack.__name__ if attack else "quiet", **numbers, **{f"answered_{k}": v for k, v in answers.items()})
