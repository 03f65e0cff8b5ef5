"""`make bench`: our server and Postfix + Dovecot in turns, the same letters, the same machine, the same minutes.

Prints medians and how many times better ours is (also as the table of docs/performance.md), and writes every single run
as JSON. Absolute numbers belong to the machine; the ratios are what can be compared. `--full` is the long form.

Workloads
    intake-1    10 KB letters over 20 sessions, one letter a connection, until the last is counted by IMAP STATUS
    intake-20   the same, twenty letters a connection
    fanout      one letter of 100 KB to every person (400, or 1,000), until all of them see it; bytes on disk
    large       attachments of 20 MB in and out, and the memory they take
    mailbox     a mailbox of 4 KB letters: filled by APPEND, read whole cold and warm, searched; disk and index
    mix         a hundred clients, each at work in a mailbox of its own
    idle        connections in IDLE: memory each, time until they hear of a delivery; start-up
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import fanout, idle, intake, large, mailbox, mix
from bench.ground import HERE, Ground, Measure, Workload
from bench.servers import Ours, Peer, Server

WORKLOADS: dict[str, Workload] = {
    "intake-1": intake.ONE,
    "intake-20": intake.TWENTY,
    "fanout": fanout.WORKLOAD,
    "large": large.WORKLOAD,
    "mailbox": mailbox.WORKLOAD,
    "mix": mix.WORKLOAD,
    "idle": idle.WORKLOAD,
}
Results = list[dict[str, Any]]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(values: list[float]) -> str:
    if not values:
        return "–"
    middle = _number(statistics.median(values))
    return f"{middle} [{_number(min(values))}–{_number(max(values))}]" if len(values) > 1 else middle


def _times_better(measure: Measure, ours: list[float], theirs: list[float]) -> str:
    if not measure.compared or not ours or not theirs or min(statistics.median(ours), statistics.median(theirs)) <= 0:
        return "–"
    ratio = statistics.median(ours) / statistics.median(theirs)
    return f"**{ratio if measure.more_is_better else 1 / ratio:.2f}**"


def show(results: Results, names: list[str]) -> str:
    """A Markdown table of medians [lowest–highest]; "times better" compares the first server with each other one."""
    rows = [["workload", "measure", *names, *(f"times better than {name}" for name in names[1:])]]
    for workload, found in WORKLOADS.items():
        for measure in found.measures:
            values = [
                [
                    float(r["numbers"][measure.key])
                    for r in results
                    if (r["workload"], r["server"]) == (workload, name) and measure.key in r["numbers"]
                ]
                for name in names
            ]
            if any(values):
                better = [_times_better(measure, values[0], theirs) for theirs in values[1:]]
                rows.append([workload, measure.title, *map(_cell, values), *better])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="more letters, larger mailbox, more connections, 5 repeats")
    parser.add_argument("--letters", type=int, help="letters of one intake run")
    parser.add_argument("--mailbox", type=int, help="letters of the mailbox")
    parser.add_argument("--idle", type=int, help="connections in IDLE")
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--users", type=int, help="people, and recipients of fanout")
    parser.add_argument("--only", nargs="*", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--alone", action="store_true", help="our server only")
    parser.add_argument("--database", default="", help="SQL URL for our server; the embedded one when not given")
    parser.add_argument("--base-port", type=int, default=21000, help="each server takes the next 2,000")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on the disk to be measured")
    parser.add_argument("--out", type=Path, default=HERE.parent / "dist/bench.json")
    options = parser.parse_args()
    options.users = options.users or (1_000 if options.full else 400)
    options.letters = options.letters or (10_000 if options.full else 2_000)
    options.mailbox = options.mailbox or (50_000 if options.full else 5_000)
    options.idle = options.idle or (2_000 if options.full else 200)
    options.repeat = options.repeat or (5 if options.full else 1)
    if options.users < mix.FIRST + mix.CLIENTS:
        parser.error(f"--users: at least {mix.FIRST + mix.CLIENTS}")
    if options.mailbox < 500:
        parser.error("--mailbox: at least 500")
    return options


def _servers(options: argparse.Namespace, folder: Path) -> list[Server]:
    ours = Ours(folder / "ours", options.base_port, options.users)
    ours.database = options.database
    servers: list[Server] = [ours]
    if options.alone:
        return servers
    if why := Peer.possible():
        print(f"without the peer: {why}")
        return servers
    servers.append(Peer(folder / "peer", options.base_port + 2000, options.users))
    if any(WORKLOADS[name].variants for name in options.only):
        second = Peer(folder / "peer-hibernating", options.base_port + 4000, options.users)
        second.hibernate = 2
        servers.append(second)
    return servers


def main() -> None:
    options = _options()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # inherited by the servers
    folder = Path(tempfile.mkdtemp(prefix="congvu-bench-", dir=options.folder))
    folder.chmod(0o755)
    servers = _servers(options, folder)
    results: Results = []
    try:
        ground = Ground(options, folder)
        for server in servers:
            server.folder.mkdir()
            server.set_up()
            server.start()
        for server in servers:
            ground.watchers(server, range(options.users))
            ground.leave(server)
        for ground.round in range(options.repeat):
            for name in options.only:
                workload = WORKLOADS[name]
                if ground.round >= workload.rounds:
                    continue
                # Each goes first in turn: what the disk still has to write must not always fall on the same one.
                for server in servers if ground.round % 2 == 0 else reversed(servers):
                    if server.variant and not workload.variants:
                        continue
                    numbers = workload.run(ground, server)
                    results.append({"server": server.name, "workload": name, "round": ground.round, "numbers": numbers})
                    shown = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
                    print(f"{ground.round + 1}/{options.repeat} {name:10} {server.name:16} {shown}", flush=True)
                    ground.leave(server)
        sizes = {server.name: {"disk": server.disk(), "memory": server.memory()} for server in servers}
    finally:
        for server in reversed(servers):
            if server.roots:
                server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + show(results, [server.name for server in servers]))
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {key: getattr(options, key) for key in ("letters", "mailbox", "idle", "users", "repeat")}
    options.out.write_text(
        json.dumps({"machine": machine, **facts, "sizes": sizes, "results": results}, indent=1) + "\n"
    )
    print(f"every run: {options.out}")


if __name__ == "__main__":
    sys.exit(main())
