"""A mailbox of many letters of 4 KB: filled by APPEND over four connections, read whole, searched.

"Cold" is the first time after the fill: the server's own caches are unbuilt, the page cache is warm. Every search must
find exactly what was put there. For our server the text index is awaited before the searches and its cost is told.
"""

import random
import threading
import time

from bench import corpus
from bench.client import Imap
from bench.ground import Ground, Measure, Numbers, Workload
from bench.servers import Server

USER = 160
WHOLE = "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)"
RARE, PHRASE, TITLE, WHO = "xyloquartz", "đồng thuận hoàn toàn", "Doanh thu quý bốn", "thu.kho@kho.test"
SEARCHES = (  # name, key, text, a letter in so many holds it
    ("rare", "BODY", RARE, 0),
    ("phrase", "TEXT", PHRASE, 50),
    ("subject", "SUBJECT", TITLE, 20),
    ("from", "FROM", WHO, 500),
)


def _kind(number: int, every: dict[str, int]) -> str:
    return next((name for at, name in enumerate(every) if number % every[name] == at * 3), "")


def letters(count: int, seed: int) -> list[bytes]:
    """`count` letters, no two alike, most of them plain ones; five hold the rare word."""
    special = {
        name: {place: text}
        for name, place, text in (
            ("rare", "mark", RARE),
            ("phrase", "mark", PHRASE),
            ("subject", "title", TITLE),
            ("from", "sender", WHO),
        )
    }
    every = {name: often or count // 5 for name, _, _, often in SEARCHES}
    chance = random.Random(seed)
    return [
        b"Message-ID: <%d.%d@xa.test>\r\n" % (seed, n) + corpus.letter(chance, 4096, **special.get(_kind(n, every), {}))
        for n in range(count)
    ]


def expected(count: int) -> dict[str, int]:
    every = {name: often or count // 5 for name, _, _, often in SEARCHES}
    hits = dict.fromkeys(every, 0)
    for n in range(count):
        kind = _kind(n, every)
        if kind:
            hits[kind] += 1
    return hits


def run(ground: Ground, server: Server) -> Numbers:
    count, mailbox = ground.options.mailbox, f"hop-lon-{ground.round}"
    items = letters(count, 1000 + ground.round)
    server.settle()
    disk, indexed = server.disk(), server.indexer_cpu()
    client = Imap(server.imap, USER)
    client.do(f"CREATE {mailbox}")
    before, begun = server.cpu() - indexed, time.monotonic()
    writers = [threading.Thread(target=_fill, args=(server, mailbox, items[part::4])) for part in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    numbers: Numbers = {"filled": count / (time.monotonic() - begun)}
    server.await_index()
    index_cpu = server.indexer_cpu() - indexed
    numbers["fill_cpu_ms"] = (server.cpu() - server.indexer_cpu() - before) * 1000 / count
    if index_cpu:
        numbers["index_cpu_ms"] = index_cpu * 1000 / count
    server.settle()
    numbers["disk"] = (server.disk() - disk) / sum(map(len, items))
    for heat in ("cold", "warm"):
        _read(server, mailbox, count, heat, numbers)
    _search(server, mailbox, expected(count), numbers)
    client.do(f"DELETE {mailbox}")
    client.close()
    return numbers


def _fill(server: Server, mailbox: str, items: list[bytes]) -> None:
    writer = Imap(server.imap, USER)
    writer.append(mailbox, items)
    writer.close()


def _read(server: Server, mailbox: str, count: int, heat: str, numbers: Numbers) -> None:
    reader = Imap(server.imap, USER)
    before = server.cpu()
    for name, command in (("select", f"SELECT {mailbox}"), ("flags", "FETCH 1:* (FLAGS)"), ("whole", WHOLE)):
        begun = time.monotonic()
        answer, size = reader.do(command)
        numbers[f"{name}_{heat}"] = time.monotonic() - begun
        if name == "select" and b"* %d EXISTS" % count not in answer:
            raise RuntimeError(f"{server.name}: not {count} letters: {answer!r}")
        numbers["megabytes"] = size / 1e6
    numbers[f"opened_{heat}"] = numbers[f"select_{heat}"] + numbers[f"flags_{heat}"]
    numbers[f"read_cpu_{heat}"] = server.cpu() - before
    reader.close()


def _search(server: Server, mailbox: str, hits: dict[str, int], numbers: Numbers) -> None:
    for again in ("first", ""):
        reader = Imap(server.imap, USER)
        reader.do(f"SELECT {mailbox}")
        for name, key, text, _ in SEARCHES:
            begun = time.monotonic()
            found = reader.found(key, text.encode())
            numbers[f"search_{name}{'_' + again if again else ''}"] = time.monotonic() - begun
            if found != hits[name]:
                raise RuntimeError(f"{server.name}: {key} {text} found {found} letters of {hits[name]}")
        reader.close()


WORKLOAD = Workload(
    run,
    (
        Measure("filled by APPEND a second", "filled", True),
        Measure("bytes on disk for a byte of mail", "disk"),
        Measure("SELECT and all FLAGS, cold, s", "opened_cold"),
        Measure("the same, warm, s", "opened_warm"),
        Measure("SELECT, warm, s", "select_warm"),
        Measure("all FLAGS, warm, s", "flags_warm"),
        Measure("ENVELOPE + BODYSTRUCTURE, cold, s", "whole_cold"),
        Measure("the same, warm, s", "whole_warm"),
        Measure("search BODY, a rare word, s", "search_rare"),
        Measure("search TEXT, a Vietnamese phrase, s", "search_phrase"),
        Measure("search SUBJECT, s", "search_subject"),
        Measure("search FROM, s", "search_from"),
        Measure("text index, processor ms a letter", "index_cpu_ms"),
    ),
    rounds=3,
)
