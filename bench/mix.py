"""A hundred people work at once: sign in, SELECT, FETCH, STORE, APPEND, EXPUNGE, STATUS, SEARCH, log out, again."""

import json
import subprocess

from bench.client import Imap
from bench.ground import Ground, Measure, Numbers, Workload
from bench.servers import DOMAIN, PASSWORD, Server

FIRST, CLIENTS, HELD = 200, 100, 50
LETTER = b"From: nguoi.gui@xa.test\r\nSubject: Dau tien\r\n\r\nNoi dung.\r\n"


def run(ground: Ground, server: Server) -> Numbers:
    seconds = 30 if ground.options.full else 10
    for user in range(FIRST, FIRST + CLIENTS):
        client = Imap(server.imap, user)
        if (held := client.count()) < HELD:
            client.append("INBOX", [b"X-So: %d\r\n" % n + LETTER for n in range(HELD - held)])
        client.close()
    words = {"clients": CLIENTS, "first": FIRST, "seconds": seconds, "operations": 50}
    words |= {"domain": DOMAIN, "password": PASSWORD, "seed": ground.round + 1}
    command = [ground.generator("mix"), str(server.imap), str(ground.letters)]
    before = server.cpu()
    done = subprocess.run([*command, *(f"{k}={v}" for k, v in words.items())], check=True, capture_output=True)
    told = json.loads(done.stdout)
    if told["complaint"]:
        raise RuntimeError(f"{server.name}: {told}")
    cpu = server.cpu() - before
    numbers = {key: float(value) for key, value in told.items() if key != "complaint"}
    return numbers | {"a_second": told["commands"] / told["seconds"], "cpu_ms": cpu * 1000 / told["commands"]}


WORKLOAD = Workload(
    run,
    (
        Measure("commands a second", "a_second", True),
        Measure("server processor ms a command", "cpu_ms"),
        Measure("median ms", "p50_ms"),
        Measure("95 of 100, ms", "p95_ms"),
        Measure("99 of 100, ms", "p99_ms"),
        Measure("LOGIN, median ms", "login_ms"),
        Measure("SELECT, median ms", "select_ms"),
        Measure("FETCH, median ms", "fetch_ms"),
        Measure("STORE, median ms", "store_ms"),
        Measure("APPEND, median ms", "append_ms"),
        Measure("EXPUNGE, median ms", "expunge_ms"),
    ),
)
