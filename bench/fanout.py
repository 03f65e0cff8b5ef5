"""One letter of 100 KB to every person in one transaction, until all of them see it; what it takes on the disk."""

import random
import time

from bench import corpus
from bench.client import Smtp
from bench.ground import Ground, Measure, Numbers, Workload
from bench.servers import DOMAIN, Server

SIZE = 100 * 1024


def run(ground: Ground, server: Server) -> Numbers:
    people = range(ground.options.users)
    letter = corpus.letter(random.Random(900 + ground.round), SIZE)
    ground.forget_letters(server, people)
    server.settle()
    disk, before = server.disk(), server.cpu()
    client = Smtp(server.smtp)
    begun = time.monotonic()
    client.send([f"u{user:04d}@{DOMAIN}" for user in people], letter)
    accepted = time.monotonic() - begun
    visible = ground.await_letters(server, dict.fromkeys(people, 1)) - begun
    cpu = server.cpu() - before
    client.close()
    server.settle()
    return {
        "accepted_s": accepted,
        "visible_s": visible,
        "cpu_s": cpu,
        "disk": (server.disk() - disk) / len(people),
    }


WORKLOAD = Workload(
    run,
    (
        Measure("visible in all, s", "visible_s"),
        Measure("accepted after, s", "accepted_s"),
        Measure("server processor s", "cpu_s"),
        Measure("bytes on disk a recipient", "disk"),
    ),
)
