"""*Keep* as a whole, on every engine: blob, rows, answer. What two processes do to each other in it."""

import asyncio
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from congvu.actions.mail import Mail
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config, TlsSettings
from congvu.base.failure import NotNow, Refused
from congvu.db import known_in, open_blobs, open_database
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database
from congvu.delivery.inbound import Arriving, Inbound, Peer, Recipient
from congvu.mailstore import changes, check, mailbox, message, search

NOW = 1_790_000_000
PEOPLE = 12
PEER = Peer("192.0.2.7", "may.xa.test", "ESMTP", "", None, "mx")


class Numbers(Identifiers):
    """Draws what it is told to, and then as usual."""

    def __init__(self, *first: int) -> None:
        super().__init__(ManualClock())
        self.first = list(first)

    def draw(self) -> int:
        return self.first.pop(0) if self.first else super().draw()


class Way:
    """A process's way in and its mailboxes."""

    def __init__(self, url: str, folder: Path, worker: str, ids: Identifiers) -> None:
        clock = ManualClock()
        config = Config(("xa.test",), "mx.xa.test", tls=TlsSettings(folder / "c", folder / "k"))
        self.db: Database = open_database(url, data=folder)
        self.blobs: BlobKeeper = open_blobs("file:blobs", data=folder, worker=worker, known=known_in(self.db))
        self.inbound = Inbound(self.db, self.blobs, clock, ids, config)
        self.mail = Mail(self.db, self.blobs, clock, ids)

    async def take(self, content: bytes, *accounts: int) -> list[Refused | NotNow | None]:
        to = tuple(Recipient(f"u{a}@xa.test", a) for a in accounts)
        with self.blobs.spool() as spool:
            spool.write(content)
            return await self.inbound.take(Arriving(PEER, "an@xa.test", to, spool, True, "8BITMIME", "", ""))

    async def append(self, content: bytes, account: int) -> None:
        with self.blobs.spool() as spool:
            spool.write(content)
            await self.mail.put(account, "Thư nháp", spool)

    def close(self) -> None:
        self.blobs.close()
        self.db.close()


@pytest.fixture
def ways(db: Database, engine_url: str, tmp_path: Path) -> Iterator[tuple[Way, Way]]:
    db.write_now(mailbox.create_stores, list(range(1, PEOPLE + 1)), 0, NOW)
    both = Way(engine_url, tmp_path, "0", Numbers(5, 7)), Way(engine_url, tmp_path, "1", Numbers(5, 6, 7, 5, 8))
    yield both
    findings = db.read_now(lambda tx: [f for f in check.check(tx, both[0].blobs.verify) if "primary" not in f])
    for way in both:
        way.close()
    assert findings == []


def test_a_number_drawn_twice_is_drawn_again(ways: tuple[Way, Way]) -> None:
    async def talk() -> None:
        one, other = ways
        assert await one.take(b"Subject: a\r\n\r\n", 1) == [None]
        assert await other.take(b"Subject: b\r\n\r\n", 1) == [None]
        await one.append(b"Subject: c\r\n\r\n", 1)
        await other.append(b"Subject: d\r\n\r\n", 1)
        rows = await one.db.read(message.rows, 1, 1, 1, 9) + await one.db.read(message.rows, 1, 3, 1, 9)
        assert [row.letter_id for row in rows] == [5, 6, 7, 8]

    asyncio.run(talk())


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: a\0b\r\nFrom: \0 <a\0@b>\r\nTo: =?utf-8?q?=00?= <x@y>\r\nMessage-ID: <\0>\r\n\r\n\0\r\n",
        b"Subject: \xff\xfe\xed\xa0\x80\r\nFrom: \xed\xb0\x80 <\xff@\xfe>\r\nMessage-ID: <\xff>\r\n\r\n\xff\r\n",
        b"Subject: =?utf-16?b?ANgA2A==?= =?utf-7?q?+2AA-?=\r\nFrom: =?utf-16?b?ANgA2A==?= <a@b>\r\n\r\n",
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA- +2AA-a a+2AA-\r\n",
        b"Content-Type: text/html; charset=utf-7; name*=utf-8''a%00b%ED%A0%80\r\n\r\n&#0;x&#xd800; +2AA-\r\n",
        b"Content-Type: x/y; name*=utf-7''a%00b+2AA-\r\n\r\n",
        b"Date: Thu, 31 Dec 999999999999 00:00:00 +9999\r\n\r\n",
        b"Date: Thu, 31 Dec 0001 00:00:00 +9999\r\n\r\n",
        b"\r\n",
    ],
)
def test_whatever_it_says_it_is_kept(ways: tuple[Way, Way], content: bytes) -> None:
    async def talk() -> None:
        assert await ways[0].take(content, 1, 2) == [None, None]
        row = (await ways[1].db.read(message.rows, 2, 1, 1, 1))[0]
        body = (await ways[1].db.read(message.bodies, [row.letter_id]))[row.letter_id]
        assert ways[1].blobs.read(body.blob) == content
        await search.Indexer(ways[1].db, ways[1].blobs).sweep()
        assert await ways[1].db.read(search.pending, 9) == []

    asyncio.run(talk())


def test_two_processes_keep_for_many_at_once(ways: tuple[Way, Way]) -> None:
    """Every account is in both processes' hands all the time; each letter comes once and under its own number."""
    letters = 40

    async def talk(way: Way, seed: int) -> None:
        chance = random.Random(seed)

        async def one(number: int) -> None:
            to = chance.sample(range(1, PEOPLE + 1), 6)
            answers = await way.take(b"Subject: %d of %d\r\n\r\n" % (number, seed), *to)
            assert answers == [None] * 6
            await way.db.write(message.store, to[0], 1, [1], message.Op.ADD, 1 << number % 5, (f"k{number}",), NOW)
            await way.db.write(message.move, to[1], 1, [number % 9], 5, NOW)

        await asyncio.gather(*(one(number) for number in range(letters)))

    failed: list[BaseException] = []

    def process(way: Way, seed: int) -> None:
        try:
            asyncio.run(talk(way, seed))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=process, args=(way, seed)) for seed, way in enumerate(ways)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    total = 0
    for account in range(1, PEOPLE + 1):
        log = ways[0].db.read_now(changes.since, account, 1)
        assert [c.modseq for c in log] == sorted(c.modseq for c in log)
        total += ways[0].db.read_now(mailbox.quota, account).messages
    assert total == 2 * letters * 6
