"""`make soak`: load on all protocols while workers, the whole server and the database server are killed.

    python -m tests.soak.run --seconds 600 --engine both --log runs.jsonl

A run is a series of generations, each with a store of its own; a generation is a series of rounds: the server is
started, killed in one of several ways, started again. Clients go on all the time and look, at every new connection,
whether everything acknowledged is there (`clients`, `model`). Between rounds, now and then, everybody rests, every byte
is read again and `congvu check` runs. The seed fixes what is done; when exactly a kill strikes is the machine's.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from congvu.base.config import load
from congvu.db import open_database
from congvu.db.engine import Tx
from congvu.main import BACKGROUND
from tests.house.running import PASSWORD
from tests.soak import questions
from tests.soak.clients import Sender, World
from tests.soak.disk import Disk
from tests.soak.ground import STEPS, Cluster, Site
from tests.soak.guest import Guest
from tests.soak.owner import Owner
from tests.soak.wire import PATIENCE, Imap, Line, Lost, NotNow, Wrong

PEOPLE = 4
WORKERS = 3
KILLS_A_GENERATION = 400  # then a new store: a whole check reads every byte of it
CHECK_EVERY = 12  # rounds
WAYS = {"steps": 8, "workers": 6, "all": 5, "parent": 2, "orderly": 1}
DISK_WAYS = {"power": 8, "faults": 5, "full": 2, "steps": 2, "workers": 1, "all": 1}
FULL_LEFT = 3 << 20  # bytes that a full disk has left when it begins to be full
RECOVERY = 40.0  # seconds after which letters and commands go through again, by themselves


@dataclass
class Tally:
    """What is written to the machine-readable log."""

    kills: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    checks: int = 0

    def total(self) -> int:
        return self.kills.total()


class Generation:
    """One store from its making to its last check."""

    def __init__(self, site: Site, seed: str, tally: Tally) -> None:
        self.site = site
        self.chance = random.Random(seed)
        self.tally = tally
        self.world = World(site.house)
        self._excused = False  # a failing database explains errors in this round's log
        client = lambda name: random.Random(f"{seed} {name}")  # noqa: E731
        names = ("mx-1", "mx-2", "many", "lmtp", "submission")
        self.senders = [Sender(self.world, name, PEOPLE, client(name)) for name in names]
        guests = [(n + 1) % PEOPLE for n in range(PEOPLE)]
        self.owners = [Owner(self.world, n, f"k{n}/", True, client(f"k{n}"), guests[n]) for n in range(PEOPLE)]
        self.owners.append(Owner(self.world, 0, "k9/", False, client("k9")))
        self.guests = [Guest(self.world, guests[n], n, client(f"guest {n}")) for n in range(PEOPLE)]

    @property
    def wrong(self) -> list[str]:
        return self.world.wrong

    def everybody(self) -> Iterator[Sender | Owner | Guest]:
        yield from (*self.senders, *self.owners, *self.guests)

    async def run(self, kills: int, until: float) -> None:
        before = self.tally.total()
        tasks = [asyncio.create_task(self._client(client)) for client in self.everybody()]
        try:
            rounds = 0
            while (
                not self.world.ended
                and self.tally.total() - before < kills
                and (time.monotonic() < until or not self._something_happened())
            ):
                await self._round()
                rounds += 1
                if rounds % CHECK_EVERY == 0 and not self.world.ended:
                    await self._whole()
            if not self.world.ended:
                await self._whole()
        finally:
            self.world.ended = True
            await asyncio.to_thread(self.site.house.kill)
            await asyncio.gather(*tasks)
            self.tally.done += self.world.done

    def _something_happened(self) -> bool:
        """On a slow machine the time may be over before there was anything to look at."""
        done = self.world.done
        return self.tally.total() >= 2 and done["letters"] > 0 and done["commands"] > 0

    async def _client(self, client: Sender | Owner | Guest) -> None:
        try:
            await client.run()
        except Exception:
            self.world.blame(f"a client of the soak itself failed: {traceback.format_exc()}")

    # ---- rounds

    async def _round(self) -> None:
        ways = WAYS if self.site.disk is None else DISK_WAYS
        way = self.chance.choices(list(ways), list(ways.values()))[0]
        self._excused = way in {"power", "faults", "full"}
        step, count = "", 0
        if way == "steps":
            step = self.chance.choice(STEPS)
            rare = step.startswith(("blob-file", "index-"))  # large letters are few, and so are commits of the index
            count = 1 if rare else int(self.chance.lognormvariate(2.0, 0.9)) + 1
        try:
            await asyncio.to_thread(self.site.start, self.chance, step, count)
        except Exception as error:  # the finding of a round
            self.world.blame(f"the server does not start: {error}")
            return
        match way:
            case "steps":
                await self._last(self.chance.uniform(3, 7))
            case "workers":
                await self._workers()
            case "faults":
                await self._faults()
            case "full":
                await self._full()
            case _:
                await self._last(self.chance.uniform(0.2, 2.0))
        await self._end(way)
        await self._count(step)

    async def _last(self, seconds: float) -> None:
        """The round goes on for so long; on PostgreSQL its server may be killed meanwhile."""
        end = time.monotonic() + seconds
        cluster = self.site.cluster
        if cluster is not None and self.site.disk is None and self.chance.random() < 0.35:
            await asyncio.sleep(self.chance.uniform(0, seconds / 2))
            await self._kill_database(cluster)
        while time.monotonic() < end and not self.world.ended:
            await asyncio.sleep(0.05)

    async def _kill_database(self, cluster: Cluster) -> None:
        self._excused = True
        whole = self.chance.random() < 0.5
        await asyncio.to_thread(cluster.kill, whole)
        await asyncio.sleep(self.chance.choice((0, 0, 0.3)))
        await asyncio.to_thread(cluster.start)
        self.tally.kills["postgres, all processes" if whole else "postmaster"] += 1

    async def _faults(self) -> None:
        """Calls fail for a while; then everything goes on by itself."""
        faults, chance = self.site.faults, self.chance
        assert faults is not None
        for _ in range(chance.randrange(1, 4)):
            await self._last(chance.uniform(0.2, 1.0))
            rate = chance.choice((0.003, 0.03, 0.3, 1.0))
            match chance.choice(("write", "sync", "read", "all")):
                case "write":
                    faults.set(write=rate, full=chance.random() < 0.6)
                case "sync":
                    faults.set(sync=rate)
                case "read":
                    faults.set(read=rate)
                case _:
                    faults.set(write=rate, sync=rate, read=rate)
            await self._last(chance.uniform(0.1, 1.5))
            faults.none()
        await self._recovers()

    async def _full(self) -> None:
        disk = self.site.disk
        assert disk is not None
        await self._last(self.chance.uniform(0.2, 1.0))
        await asyncio.to_thread(disk.fill, self.chance.randrange(FULL_LEFT))
        await self._last(self.chance.uniform(2, 5))
        await asyncio.to_thread(disk.make_room)
        if self.site.cluster is not None:  # which gives up when its log has no room, and is started by the system
            await asyncio.to_thread(self.site.cluster.revive)
        await self._recovers()

    async def _recovers(self) -> None:
        """Without a restart letters are taken and commands done again."""
        before = self.world.done.copy()
        end = time.monotonic() + RECOVERY
        while not self.world.ended:
            more = self.world.done - before
            if more["letters"] > 3 and more["commands"] > 3:
                return
            if time.monotonic() > end:
                self.world.blame(f"not back to work {RECOVERY:.0f} s after the disk was well again: {more}")
            await asyncio.sleep(0.05)

    async def _workers(self) -> None:
        end = time.monotonic() + self.chance.uniform(4, 9)
        while time.monotonic() < end and not self.world.ended:
            await self._last(self.chance.uniform(0.02, 0.5))
            children = self.site.house.workers()
            if children:
                with suppress(ProcessLookupError):
                    os.kill(self.chance.choice(children), signal.SIGKILL)

    async def _end(self, way: str) -> None:
        house = self.site.house
        assert house.process is not None
        if way == "orderly":
            code = await asyncio.to_thread(house.stop)
            if code:
                self.world.blame(f"SIGTERM ended the server with {code}")
            return
        if way == "power" or (self.site.disk is not None and self.chance.random() < 0.5):
            self._excused = True
            Line.dark = True
            await asyncio.to_thread(self.site.power_cut)
            Line.dark = False
            self.tally.kills["power cut"] += 1
            return
        if way == "parent" and house.process.poll() is None:
            # Its workers go on until they notice; the next server waits for them.
            house.process.kill()
            house.process.wait()
            house.process = None
            self.tally.kills["parent"] += 1
            return
        await asyncio.to_thread(house.kill)
        self.tally.kills["whole server"] += 1

    async def _count(self, step: str) -> None:
        log = await asyncio.to_thread(self.site.read_log, self._excused)
        for name, deaths in log.deaths.items():
            kind = "indexer" if name == BACKGROUND else "worker"
            self.tally.kills[f"{kind} at {step}" if step else kind] += deaths
        self.tally.kills += self.site.deaths
        self.site.deaths.clear()
        for strange in log.strange:
            self.world.blame(f"in the server's log: {strange}")

    # ---- the whole check

    async def _whole(self) -> None:
        """Everybody rests; every byte is read once more; every invariant holds."""
        site, world = self.site, self.world
        for problem in await asyncio.to_thread(site.check):  # as the kill left it
            world.blame(problem)
        if world.ended:
            return
        world.resting.set()
        looks = [owner.looks for owner in self.owners]
        await asyncio.to_thread(site.start, self.chance)
        end = time.monotonic() + 120
        while not world.ended and (
            any(not client.idle for client in self.everybody())
            or any(owner.looks == n for owner, n in zip(self.owners, looks, strict=True))
        ):
            if time.monotonic() > end:
                late = [repr(owner) for owner, n in zip(self.owners, looks, strict=True) if owner.looks == n]
                late += [repr(client) for client in self.everybody() if not client.idle]
                world.blame(f"clients hang, they do not come to rest: {late}")
            await asyncio.sleep(0.02)
        if world.ended:
            return
        for problem in await asyncio.to_thread(self._index):
            world.blame(problem)
        for owner in self.owners:
            try:
                client = await Imap.open(site.house.port("imap"), owner.address, PASSWORD)
                try:
                    await owner.look(client, whole=True)
                    for name in sorted(owner.tree.boxes) * 3:  # the index alone knows
                        await client.choose(name)
                        await questions.words(owner, client, name)
                finally:
                    client.close()
            except (Lost, NotNow, Wrong) as trouble:
                world.blame(f"whole look at {owner.tree.account}: {trouble!r}")
        if await asyncio.to_thread(site.house.stop):
            world.blame("SIGTERM did not end the server well")
        for problem in await asyncio.to_thread(self._queue):
            world.blame(problem)
        for problem in await asyncio.to_thread(site.check):
            world.blame(problem)
        self._excused = False
        await self._count("")
        self.tally.checks += 1
        world.resting.clear()

    def _index(self) -> Iterator[str]:
        """Waits until the text index has read everything; nothing changes meanwhile."""
        config = load(self.site.house.data)
        database = open_database(config.database.url, data=self.site.house.data)
        try:
            left, since = -1, time.monotonic()
            while behind := database.read_now(_behind):
                if behind != left:
                    left, since = behind, time.monotonic()
                if time.monotonic() - since > PATIENCE:
                    yield f"the text index stands still, {left} changes behind"
                    return
                time.sleep(0.1)
        finally:
            database.close()

    def _queue(self) -> Iterator[str]:
        """Every acknowledged letter to the outside waits exactly once."""
        config = load(self.site.house.data)
        database = open_database(config.database.url, data=self.site.house.data)
        try:
            rows = database.read_now(lambda tx: tx.all("SELECT recipient, count(*) FROM queue GROUP BY recipient"))
        finally:
            database.close()
        waiting: dict[str, int] = dict(rows)
        for recipient in sorted(self.world.ledger.outside - waiting.keys())[:10]:
            yield f"queue: {recipient} was acknowledged and does not wait"
        for recipient, count in waiting.items():
            if count != 1:
                yield f"queue: {recipient} waits {count} times"


def _behind(tx: Tx) -> int:
    """Changes that the text index has not read."""
    row = tx.one(
        "SELECT coalesce(sum(s.modseq - coalesce(c.indexed, -1)), 0) FROM store s"
        " LEFT JOIN text_cursor c ON c.account_id = s.account_id WHERE coalesce(c.indexed, -1) < s.modseq"
    )
    return int(row[0]) if row else 0


def soak(
    engine: str,
    seconds: float,
    kills: int,
    seed: str,
    folder: Path,
    log: Path | None = None,
    note: str = "",
    failing: bool = False,
) -> tuple[Tally, list[str]]:
    """Generation after generation until the time is up or the kills are done. Returns what was done and what is
    wrong."""
    tally = Tally()
    wrong: list[str] = []
    number = 0
    disk: Disk | None = None
    cluster: Cluster | None = None
    until = time.monotonic() + seconds
    try:
        while not wrong and time.monotonic() < until and tally.total() < kills:
            number += 1
            own = f"{seed}/{number}"
            part = Tally()
            place = folder / f"g{number}"
            place.mkdir()
            disk = Disk(place / "disk") if failing else None
            if engine == "postgres" and (cluster is None or failing):
                cluster = Cluster((disk.place if disk else folder) / "postgres")
                cluster.start()
                until = max(until, time.monotonic() + 5)
            begun = time.monotonic()
            site = Site(place, PEOPLE, WORKERS, cluster, f"soak_{number}", disk)
            generation = Generation(site, own, part)
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(generation.run(min(KILLS_A_GENERATION, kills - tally.total()), until))
                wrong = generation.wrong
            finally:
                site.house.kill()
            if site.faults is not None:
                names = ("failed writes", "failed syncs", "failed reads")
                part.done.update(dict(zip(names, site.faults.failed(), strict=True)))
            write(log, engine, own, part, time.monotonic() - begun, wrong, note)
            if not wrong:
                site.close()
            if disk is not None:
                if cluster is not None:
                    cluster.stop()
                disk.close(keep=bool(wrong))
                disk = None
            if not wrong:
                shutil.rmtree(place)
            tally.kills += part.kills
            tally.done += part.done
            tally.checks += part.checks
            print(f"{own} {engine}: {tally.total()} kills, {dict(tally.done)}", flush=True)
    finally:
        if cluster is not None:
            cluster.stop()
        if disk is not None:
            disk.close()
    return tally, wrong


def write(log: Path | None, engine: str, seed: str, part: Tally, seconds: float, wrong: list[str], note: str) -> None:
    if log is None:
        return
    row: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "engine": engine,
        "seed": seed,
        "note": note,
        "seconds": round(seconds),
        "kills": dict(part.kills),
        "done": dict(part.done),
        "checks": part.checks,
        "wrong": wrong,
    }
    with log.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def summary(logs: list[Path]) -> str:
    """The sums of machine-readable logs, as Markdown rows."""
    sums: dict[str, Counter[str]] = {}
    for path in logs:
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            mine = sums.setdefault(row["engine"], Counter())
            mine.update({f"kill: {name}": n for name, n in row["kills"].items()})
            mine.update(row["done"])
            mine["kills in total"] += sum(row["kills"].values())
            mine["whole checks"] += row["checks"]
            mine["seconds"] += row["seconds"]
            mine["generations"] += 1
            mine["findings"] += len(row["wrong"])
    names = sorted({name for mine in sums.values() for name in mine})
    lines = [f"| | {' | '.join(sums)} |", "|---" * (len(sums) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(str(mine[name]) for mine in sums.values())} |" for name in names]
    return "\n".join(lines)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=float, default=60)
    words.add_argument("--kills", type=int, default=1_000_000)
    words.add_argument("--engine", choices=["sqlite", "postgres", "both"], default="both")
    words.add_argument("--seed", default="")
    words.add_argument("--folder", type=Path, help="where stores are made; default: a new temporary folder")
    words.add_argument("--log", type=Path, help="one JSON line a generation is added to this file")
    words.add_argument("--failing-disk", action="store_true", help="power cuts, a full disk, failing calls; needs root")
    words.add_argument("--note", default="", help="stands in the log with each generation, as a commit's name")
    words.add_argument("--sum", nargs="+", type=Path, metavar="LOG", help="adds such logs up and ends")
    given = words.parse_args()
    if given.sum:
        print(summary(given.sum))
        return
    seed = given.seed or f"{random.SystemRandom().randrange(1 << 32):08x}"
    print(f"seed {seed} (again: SEED={seed})", flush=True)
    engines = ["sqlite", "postgres"] if given.engine == "both" else [given.engine]
    for engine in engines:
        folder = Path(tempfile.mkdtemp(prefix="congvu-soak-", dir=given.folder))
        folder.chmod(0o755)  # PostgreSQL runs as somebody else
        share = given.seconds / len(engines)
        tally, wrong = soak(
            engine, share, given.kills, f"{seed}-{engine}", folder, given.log, given.note, given.failing_disk
        )
        print(f"{engine}: {tally.total()} kills {dict(tally.kills)}; {dict(tally.done)}; {tally.checks} whole checks")
        if wrong:
            print(f"WRONG, kept in {folder}:", *wrong, sep="\n")
            sys.exit(1)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
