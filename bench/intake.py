"""Intake: 10 KB letters over 20 sessions, to people chosen by chance, until the last is counted by IMAP STATUS."""

import json
import subprocess
from functools import partial

from bench.ground import Ground, Measure, Numbers, Workload
from bench.servers import DOMAIN, Server

PEOPLE = 100


def run(ground: Ground, server: Server, per_connection: int) -> Numbers:
    wanted = ground.options.letters
    counts = ground.folder / "counts"
    words = {"letters": wanted, "sessions": 20, "per_connection": per_connection}
    words |= {"users": PEOPLE, "domain": DOMAIN, "seed": ground.round * 10 + per_connection}
    command = [ground.generator("gen"), str(server.smtp), str(ground.letters), str(counts)]
    ground.forget_letters(server, range(PEOPLE))
    device = server.device_written()
    before, written = server.cpu(), server.written()
    done = subprocess.run([*command, *(f"{k}={v}" for k, v in words.items())], check=True, capture_output=True)
    told = json.loads(done.stdout)
    if told["accepted"] != wanted:
        raise RuntimeError(f"{server.name}: {told}")
    got = {user: int(count) for user, count in enumerate(counts.read_text().split())}
    visible_at = ground.await_letters(server, {user: count for user, count in got.items() if count})
    cpu, written = server.cpu() - before, server.written() - written
    return {
        "accepted": wanted / (told["last_at"] - told["begun_at"]),
        "visible": wanted / (visible_at - told["begun_at"]),
        "p50_ms": told["p50_ms"],
        "p99_ms": told["p99_ms"],
        "cpu_ms": cpu * 1000 / wanted,
        "device_kb": (server.device_written() - device) / 1024 / wanted,
        "written_kb": written / 1024 / wanted,
        "generator_cpu_ms": told["generator_cpu_s"] * 1000 / wanted,
    }


_MEASURES = (
    Measure("accepted a second", "accepted", True),
    Measure("visible a second", "visible", True),
    Measure("server processor ms a letter", "cpu_ms"),
    Measure("device KB written a letter", "device_kb"),
    Measure("the same by the server's own count", "written_kb"),
    Measure("answer after the last dot, median ms", "p50_ms"),
    Measure("the same, 99 of 100, ms", "p99_ms"),
)
ONE = Workload(partial(run, per_connection=1), _MEASURES)
TWENTY = Workload(partial(run, per_connection=20), _MEASURES)
