"""`make bench`: our server and Postfix + Dovecot in turns, the same letters, the same machine, the same minutes.

Prints medians and how many times better ours is, and writes every single run as JSON. Absolute numbers belong to the
machine; the ratios are what can be compared. `--full` is the long form.

Workloads
    intake-1    10 KB letters over 20 sessions, one letter a connection, until the last is counted by IMAP STATUS
    intake-20   the same, twenty letters a connection
    sync        a mailbox of 4 KB letters: SELECT, all FLAGS, all ENVELOPE + BODYSTRUCTURE, cold and then warm
"""

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench import corpus
from bench.servers import DOMAIN, PASSWORD, Ours, Peer, Server, login

HERE = Path(__file__).parent
Numbers = dict[str, float]

# what is compared: name in the table, key, whether more is better
SHOWN = {
    "intake-1": [("accepted/s", "accepted", True), ("visible/s", "visible", True), ("CPU ms/letter", "cpu_ms", False)],
    "intake-20": [("accepted/s", "accepted", True), ("visible/s", "visible", True), ("CPU ms/letter", "cpu_ms", False)],
    "sync": [
        ("filled/s", "filled", True),
        ("SELECT s", "select", False),
        ("FLAGS s", "flags", False),
        ("whole, cold s", "cold", False),
        ("whole, warm s", "warm", False),
    ],
}


class Imap:
    """Just enough of an IMAP client to cost little itself."""

    def __init__(self, port: int, user: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self._read(b"* OK")
        self.do(f'LOGIN "{login(user)}" "{PASSWORD}"')

    def do(self, command: str) -> tuple[bytes, int]:
        """Returns the last 64 KB of what was answered and how many bytes came in all."""
        self._number += 1
        tag = f"zq{self._number}"
        self._socket.sendall(f"{tag} {command}\r\n".encode())
        return self._read(tag.encode() + b" ")

    def _read(self, mark: bytes) -> tuple[bytes, int]:
        tail, total = b"", 0
        while True:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionError(tail[-300:])
            total += len(data)
            tail = (tail + data)[-65536:]
            if tail.endswith(b"\r\n"):
                last = tail[tail.rfind(b"\r\n", 0, -2) + 1 :].lstrip()
                if last.startswith(mark):
                    if not last.startswith((mark + b"OK", b"* OK")):
                        raise RuntimeError(last.decode("utf-8", "replace"))
                    return tail, total

    def append(self, mailbox: str, letters: list[bytes]) -> None:
        """LITERAL+ (RFC 7888) in windows of 50, so that neither side waits for each letter."""
        for start in range(0, len(letters), 50):
            first = self._number + 1
            wire = []
            for item in letters[start : start + 50]:
                self._number += 1
                wire.append(f"zq{self._number} APPEND {mailbox} {{{len(item)}+}}\r\n".encode() + item + b"\r\n")
            reader = threading.Thread(target=self._answers, args=(first, self._number))
            reader.start()
            self._socket.sendall(b"".join(wire))
            reader.join()
            if self.failure:
                raise RuntimeError(self.failure)

    failure = ""

    def _answers(self, first: int, last: int) -> None:
        missing, rest = last - first + 1, b""
        while missing:
            data = self._socket.recv(1 << 16)
            if not data:
                self.failure = "connection lost"
                return
            *lines, rest = (rest + data).split(b"\r\n")
            for line in lines:
                if line.startswith(b"zq"):
                    missing -= 1
                    if b" OK" not in line:
                        self.failure = line.decode("utf-8", "replace")

    def close(self) -> None:
        self._socket.close()


class Bench:
    """One run over all servers."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.generator, self.letters = folder / "gen", folder / "letters"
        subprocess.run(["gcc", "-O2", "-o", str(self.generator), str(HERE / "gen.c")], check=True)
        corpus.write(self.letters, corpus.letters(200, 10_240))
        self.small = corpus.letters(500, 4096, seed=2)
        self.seen: dict[tuple[str, int], int] = {}  # letters in each INBOX so far
        self.round = 0
        # One connection a person, signed in before anything is measured: the first sign-in with an imported hash costs
        # our server an argon2 and a peer nothing, once in a person's life.
        self.watchers: dict[tuple[str, int], Imap] = {}

    def sign_in(self, server: Server) -> None:
        for user in range(self.options.users):
            self.watchers[server.name, user] = Imap(server.imap, user)

    def intake(self, server: Server, per_connection: int) -> Numbers:
        counts = self.folder / "counts"
        words = {"letters": self.options.letters, "sessions": 20, "per_connection": per_connection}
        words |= {"users": self.options.users, "domain": DOMAIN, "seed": self.round * 10 + per_connection}
        command = [str(self.generator), str(server.smtp), str(self.letters), str(counts)]
        before = server.cpu()
        done = subprocess.run([*command, *(f"{k}={v}" for k, v in words.items())], check=True, capture_output=True)
        told = json.loads(done.stdout)
        if told["accepted"] != self.options.letters:
            raise RuntimeError(f"{server.name}: {told}")
        for user, count in enumerate(counts.read_text().split()):
            if int(count):
                self.seen[server.name, user] = self.seen.get((server.name, user), 0) + int(count)
                self._await(server, user)
        visible_at = time.monotonic()
        return {
            "accepted": told["accepted"] / (told["last_at"] - told["begun_at"]),
            "visible": told["accepted"] / (visible_at - told["begun_at"]),
            "p50_ms": told["p50_ms"],
            "p99_ms": told["p99_ms"],
            "cpu_ms": (server.cpu() - before) * 1000 / told["accepted"],
            "generator_cpu_ms": told["generator_cpu_s"] * 1000 / told["accepted"],
        }

    def _await(self, server: Server, user: int) -> None:
        wanted = f"MESSAGES {self.seen[server.name, user]})".encode()
        client = self.watchers[server.name, user]
        end = time.monotonic() + 300
        while wanted not in (answer := client.do("STATUS INBOX (MESSAGES)")[0]):
            if time.monotonic() > end:
                raise RuntimeError(f"{server.name}: {wanted.decode()} is awaited, there is {answer!r}")
            time.sleep(0.01)

    def sync(self, server: Server) -> Numbers:
        mailbox, user = f"dong-bo-{self.round}", 0
        client = Imap(server.imap, user)
        client.do(f"CREATE {mailbox}")
        count = self.options.mailbox
        items = [b"Message-ID: <%d.%d@xa.test>\r\n" % (self.round, n) + self.small[n % 500] for n in range(count)]
        begun = time.monotonic()
        writers = [
            threading.Thread(target=self._fill, args=(server, user, mailbox, items[part::4])) for part in range(4)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        numbers: Numbers = {"filled": count / (time.monotonic() - begun)}
        whole = "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
        before = server.cpu()
        for name in ("cold", "warm"):
            reader = Imap(server.imap, user)
            begun = time.monotonic()
            answer, _ = reader.do(f"SELECT {mailbox}")
            if f"* {count} EXISTS".encode() not in answer:
                raise RuntimeError(f"{server.name}: not {count} letters: {answer!r}")
            numbers["select" if name == "cold" else "select_warm"] = time.monotonic() - begun
            begun = time.monotonic()
            reader.do("FETCH 1:* (FLAGS)")
            numbers["flags" if name == "cold" else "flags_warm"] = time.monotonic() - begun
            begun = time.monotonic()
            _, size = reader.do(whole)
            numbers[name] = time.monotonic() - begun
            numbers["megabytes"] = size / 1e6
            reader.close()
        numbers["cpu_s"] = server.cpu() - before
        client.close()
        return numbers

    @staticmethod
    def _fill(server: Server, user: int, mailbox: str, items: list[bytes]) -> None:
        writer = Imap(server.imap, user)
        writer.append(mailbox, items)
        writer.close()

    def run(self, workload: str, server: Server) -> Numbers:
        match workload:
            case "intake-1":
                return self.intake(server, 1)
            case "intake-20":
                return self.intake(server, 20)
            case _:
                return self.sync(server)


def show(results: list[dict[str, Any]], names: list[str]) -> str:
    """A table of medians; the last column is how many times better the first server is than the second."""
    lines = [
        f"{'':24}" + "".join(f"{name:>18}" for name in names) + (f"{'times better':>14}" if len(names) > 1 else "")
    ]
    for workload, columns in SHOWN.items():
        rows = [r for r in results if r["workload"] == workload]
        if not rows:
            continue
        lines.append(workload)
        for title, key, more_is_better in columns:
            medians = [statistics.median(r["numbers"][key] for r in rows if r["server"] == name) for name in names]
            line = f"  {title:22}" + "".join(
                f"{value:18,.3f}" if value < 10 else f"{value:18,.0f}" for value in medians
            )
            if len(medians) > 1 and min(medians[:2]) > 0:
                ours, peer = medians[:2]
                line += f"{ours / peer if more_is_better else peer / ours:14.2f}"
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more letters, larger mailbox, five repeats")
    parser.add_argument("--letters", type=int, help="letters of one intake run")
    parser.add_argument("--mailbox", type=int, help="letters in the mailbox of sync")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--only", nargs="*", choices=list(SHOWN), default=list(SHOWN))
    parser.add_argument("--alone", action="store_true", help="our server only")
    parser.add_argument("--database", default="", help="SQL URL for our server; the embedded one when not given")
    parser.add_argument("--base-port", type=int, default=21000, help="the peer takes this plus 10,000")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be measured")
    parser.add_argument("--out", type=Path, default=HERE.parent / "dist/bench.json")
    options = parser.parse_args()
    options.letters = options.letters or (10_000 if options.full else 2_000)
    options.mailbox = options.mailbox or (50_000 if options.full else 5_000)
    options.repeat = options.repeat or (5 if options.full else 3)
    folder = Path(tempfile.mkdtemp(prefix="congvu-bench-", dir=options.folder))
    folder.chmod(0o755)
    ours = Ours(folder / "ours", options.base_port, options.users)
    ours.database = options.database
    servers: list[Server] = [ours]
    if not options.alone and (why := Peer.possible()):
        print(f"without the peer: {why}")
    elif not options.alone:
        servers.append(Peer(folder / "peer", options.base_port + 10_000, options.users))
    results: list[dict[str, Any]] = []
    try:
        bench = Bench(options, folder)
        for server in servers:
            server.folder.mkdir()
            server.set_up()
        for server in servers:
            server.start()
            bench.sign_in(server)
        for bench.round in range(options.repeat):
            for workload in options.only:
                # Each goes first in turn: what the disk still has to write must not always fall on the same one.
                for server in servers if bench.round % 2 == 0 else reversed(servers):
                    numbers = bench.run(workload, server)
                    results.append(
                        {"server": server.name, "workload": workload, "round": bench.round, "numbers": numbers}
                    )
                    shown = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
                    print(f"{bench.round + 1}/{options.repeat} {workload:10} {server.name:16} {shown}", flush=True)
        sizes = {server.name: {"disk": server.disk(), "memory": server.memory()} for server in servers}
        for watcher in bench.watchers.values():
            watcher.close()
    finally:
        for server in servers:
            if server.roots:
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + show(results, [server.name for server in servers]))
    for name, size in sizes.items():
        print(f"{name}: {size['disk'] / 1e6:.0f} MB on disk, {size['memory'] / 1e6:.0f} MB of memory at the end")
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine, "letters": options.letters, "mailbox": options.mailbox, "sizes": sizes}
    options.out.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")
    print(f"every run: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
