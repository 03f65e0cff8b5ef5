"""`make load`: how our server stands a load: 10,000 idle connections, 1,000 SMTP sessions, a million letters, malice.

    idle        connections in IDLE with deliveries going on: memory each, time until they hear of them
    smtp        so many SMTP sessions at once, each sending letters: all accepted, how long they wait
    million     a mailbox of a million letters: opened, fetched, searched, synchronised; by how much memory grows
    hostile     clients that mean harm, one kind after the other, and what an ordinary one notices (bench/hostile.py)
    start       the time until the doors are open with all that, and with so many accounts

`--engine postgres` starts a PostgreSQL of its own, with fsync on. Each part prints what it measured; nothing is
compared. What must not happen (a letter refused, a connection lost) ends it.
"""

import argparse
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import bulk, corpus, hostile, idle
from bench.client import Imap, Smtp
from bench.ground import HERE
from bench.mailbox import RARE, WHOLE, letters
from bench.servers import DOMAIN, Ours, login
from tests.soak.ground import Cluster

PARTS = ["idle", "smtp", "million", "start", "hostile"]
BOX = "rat-lon"
OWNER = 3


def _tell(name: str, **numbers: float) -> None:
    print(f"{name:24} " + ", ".join(f"{key} {value:,.4g}" for key, value in numbers.items()), flush=True)


def idle_load(server: Ours, options: argparse.Namespace) -> None:
    letter = corpus.letters(1, 10_240)[0]
    idle.warm_up(server, options.users, letter)
    time.sleep(3)
    base, begun = server.memory(), time.monotonic()
    idlers = idle.connect(server, options.connections, options.users)
    took = time.monotonic() - begun
    time.sleep(3)
    each = (server.memory() - base) / 1024 / len(idlers)
    waits, lost = idle.deliver(server, idlers, 100, letter, seed=1)
    if lost:
        raise RuntimeError(f"{lost} connections were not told of a delivery")
    waits.sort()
    after = (server.memory() - base) / 1024 / len(idlers)
    _tell(
        "idle",
        connections=len(idlers),
        sign_ins_a_second=len(idlers) / took,
        kb_each=each,
        kb_each_after_deliveries=after,
        told_ms=statistics.median(waits) * 1000,
        told_late_ms=waits[len(waits) * 99 // 100] * 1000,
    )
    for one in idlers.values():
        one.socket.close()


def smtp_load(server: Ours, options: argparse.Namespace) -> None:
    corpus.write(server.folder / "letters", corpus.letters(100, 10_240))
    program = server.folder / "gen"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(HERE / "gen.c")], check=True)
    words = {"letters": 10 * options.sessions, "sessions": options.sessions, "per_connection": 5}
    words |= {"users": min(options.users, 1000), "domain": DOMAIN, "seed": 7}
    command = [str(program), str(server.smtp), str(server.folder / "letters"), str(server.folder / "counts")]
    server.forget_peak()
    done = subprocess.run([*command, *(f"{k}={v}" for k, v in words.items())], check=True, capture_output=True)
    told = json.loads(done.stdout)
    if told["accepted"] != words["letters"]:
        raise RuntimeError(str(told))
    rate = told["accepted"] / (told["last_at"] - told["begun_at"])
    grown = server.peak() / 1e6
    waits = {"median_ms": told["p50_ms"], "late_ms": told["p99_ms"]}
    _tell("smtp", sessions=options.sessions, accepted_a_second=rate, memory_grew_mb=grown, **waits)


def fill(server: Ours, options: argparse.Namespace) -> None:
    """The server is not running when this ends."""
    client = Imap(server.imap, OWNER)
    client.do(f"CREATE {BOX}")
    client.append(BOX, letters(2000, 5))
    client.close()
    server.await_index()
    server.stop()
    begun = time.monotonic()
    bulk.fill(server.mail, login(OWNER), BOX, options.messages)
    _tell("filled", letters=options.messages, seconds=time.monotonic() - begun)


def million(server: Ours) -> None:
    client = Imap(server.imap, OWNER)
    client.do("ENABLE CONDSTORE")
    commands = (
        ("SELECT", f"SELECT {BOX}"),
        ("all FLAGS", "FETCH 1:* (FLAGS)"),
        ("all ENVELOPEs", WHOLE),
        ("SEARCH ALL", "SEARCH ALL"),
        ("SEARCH UNSEEN", "SEARCH UNSEEN"),
        ("SEARCH rare word", f"SEARCH BODY {RARE}"),
        ("SEARCH SUBJECT", 'SEARCH SUBJECT "Doanh thu"'),
        ("SORT", "SORT (SUBJECT) UTF-8 ALL"),
        ("SORT by three", "SORT (REVERSE FROM DATE SUBJECT) UTF-8 ALL"),
        ("THREAD", "THREAD REFERENCES UTF-8 ALL"),
        ("STORE a hundred", "STORE 1000:1099 +FLAGS.SILENT (\\Flagged)"),
        ("CHANGEDSINCE", "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 2003)"),
        ("all changed since", "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1)"),
    )
    _commands(server, client, commands)
    client.close()
    client = Imap(server.imap, OWNER)
    client.do("ENABLE QRESYNC")
    validity = re.search(rb"UIDVALIDITY (\d+)", client.do(f"STATUS {BOX} (UIDVALIDITY)")[0])
    number = validity[1].decode() if validity else ""
    resyncs = (
        ("QRESYNC, few", f"SELECT {BOX} (QRESYNC ({number} 2003))"),
        ("QRESYNC, all", f"SELECT {BOX} (QRESYNC ({number} 1))"),
        ("STORE of all", "STORE 1:* +FLAGS.SILENT (\\Answered)"),
    )
    _commands(server, client, resyncs)
    client.close()


def _commands(server: Ours, client: Imap, commands: Sequence[tuple[str, str]]) -> None:
    for name, command in commands:
        server.forget_peak()
        begun, before = time.monotonic(), server.cpu()
        _, size = client.do(command)
        seconds, cpu = time.monotonic() - begun, server.cpu() - before
        _tell(name, seconds=seconds, cpu_s=cpu, memory_grew_mb=server.peak() / 1e6, answer_mb=size / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS)
    parser.add_argument("--users", type=int, default=30_000)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack")
    parser.add_argument("--attacks", nargs="*", default=[], help="names of bench/hostile.py; all when not given")
    parser.add_argument("--engine", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--base-port", type=int, default=21000)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    options = parser.parse_args()
    only = options.only or PARTS
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    folder = Path(tempfile.mkdtemp(prefix="congvu-load-", dir=options.folder))
    server = Ours(folder / "ours", options.base_port, options.users)
    cluster = None
    try:
        if options.engine == "postgres":
            folder.chmod(0o755)  # it runs as somebody else
            cluster = Cluster(folder / "postgres")
            cluster.start()
            server.database = cluster.create("load")
        server.folder.mkdir()
        begun = time.monotonic()
        server.set_up()
        _tell("accounts", number=options.users, seconds=time.monotonic() - begun)
        server.start()
        if "idle" in only:
            options.users = min(options.users, 1000)  # each of whom costs a password check
            idle_load(server, options)
        if "smtp" in only:
            smtp_load(server, options)
        if {"million", "hostile", "start"} & set(only):
            if {"million", "hostile"} & set(only):
                fill(server, options)
            else:
                server.stop()
            for _ in range(3):
                begun = time.monotonic()
                server.start()
                _tell("start-up", seconds=time.monotonic() - begun)
                server.stop()
            server.start()
        if "million" in only:
            million(server)
        if "hostile" in only:
            hostile.run(server, OWNER, BOX, _tell, options.seconds, options.attacks)
        probe = Smtp(server.smtp)  # it still takes letters
        probe.send([login(OWNER + 1)], corpus.letters(1, 2000)[0])
        probe.close()
    finally:
        if server.roots:
            server.stop()
        if cluster is not None:
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
