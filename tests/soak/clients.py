"""What all clients of the soak share, and the senders, that hand letters over by every door.

Each goes on for ever: connect, work, lose the connection, go on. A finding ends nothing by itself: it is put on the
list, and the run ends.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from tests.house.running import PASSWORD, House
from tests.soak.letters import letter, raw, some_size
from tests.soak.model import Ledger, digest
from tests.soak.wire import Imap, Lost, NotNow, Smtp, Wrong

STRANGER = "thu@xa.test"
FAR = "ngoai.test"  # where submissions to the outside go


class Client(Protocol):
    """`idle`: nothing of it is under way."""

    idle: bool


@dataclass
class World:
    """What all clients share."""

    house: House
    ledger: Ledger = field(default_factory=Ledger)
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    # (account, UIDVALIDITY, UID) → digest, of mailboxes opened to others: what these read must be the same.
    contents: dict[tuple[int, int, int], bytes] = field(default_factory=dict)
    resting: asyncio.Event = field(default_factory=asyncio.Event)  # set: nobody begins anything new
    ended: bool = False
    pace: float = 0.01  # seconds between two acts of one client, on average

    def blame(self, what: str) -> None:
        self.wrong.append(what)
        self.ended = True

    async def pause(self, chance: random.Random) -> None:
        await asyncio.sleep(chance.expovariate(1 / self.pace) if self.pace else 0)

    async def keep_on(self, client: Client, connection: Callable[[], Awaitable[None]], name: str) -> None:
        """One connection after the other: what a kill explains is passed over, anything else is a finding."""
        while not self.ended:
            try:
                await connection()
            except Lost:
                await asyncio.sleep(0.03)
            except NotNow:
                self.done["put off"] += 1
                await asyncio.sleep(0.1)
            except Wrong as wrong:
                self.blame(f"{name}: {wrong}")
            finally:
                client.idle = True

    @asynccontextmanager
    async def signed_in(self, account: int, chance: random.Random) -> AsyncIterator[Imap]:
        """An IMAP connection: some send ahead, some compress."""
        client = await Imap.open(self.house.port("imap"), House.address(account), PASSWORD)
        try:
            client.ahead = chance.random() < 0.5
            if chance.random() < 0.3:
                await client.compress()
            yield client
        finally:
            client.close()


class Sender:
    """Letters by one door: mx, many, lmtp or submission."""

    def __init__(self, world: World, name: str, people: int, chance: random.Random) -> None:
        self._world = world
        self._name = name
        self._people = people
        self._chance = chance
        self._number = 0
        self.idle = True

    def __repr__(self) -> str:
        return f"sender {self._name} (idle {self.idle}, letter {self._number})"

    async def run(self) -> None:
        await self._world.keep_on(self, self._connection, self._name)

    async def _connection(self) -> None:
        world, chance = self._world, self._chance
        if world.resting.is_set():
            await asyncio.sleep(0.02)
            return
        self.idle = False
        door = {"many": "smtp", "mx": "smtp"}.get(self._name.partition("-")[0], self._name.partition("-")[0])
        client = await Smtp.open(world.house.port(door), "LHLO" if door == "lmtp" else "EHLO")
        try:
            author = STRANGER
            if door == "submission":
                author = House.address(chance.randrange(self._people))
                await client.sign_in(author, PASSWORD)
            for _ in range(chance.randrange(1, 30)):
                if world.resting.is_set() or world.ended:
                    break
                await self._one(client, author, door)
                await world.pause(chance)
        finally:
            client.close()

    async def _one(self, client: Smtp, author: str, door: str) -> None:
        world, chance = self._world, self._chance
        mark = f"{self._name}-{self._number}"
        self._number += 1
        chunks, body = [], "8BITMIME"
        if door != "lmtp" and chance.random() < 0.08:
            content, body = raw(chance, mark, author), "BINARYMIME"
        else:
            content = letter(chance, mark, some_size(chance, self._name.startswith("mx")), author)
        if body == "BINARYMIME" or (door != "lmtp" and chance.random() < 0.3):
            chunks = sorted(chance.sample(range(1, len(content)), chance.randrange(1, 4)))
        everybody = list(range(self._people))
        to = everybody if self._name.startswith("many") else chance.sample(everybody, chance.randrange(1, 3))
        addresses = [House.address(n) for n in to]
        far = f"{mark}@{FAR}"
        if door == "submission":
            addresses.append(far)
        world.ledger.tried[mark] = digest(content), len(content)
        kept = await client.send(author, addresses, content, each=door == "lmtp", chunks=chunks, body=body)
        world.ledger.acknowledge(mark, [n for n, good in zip(to, kept, strict=False) if good])
        if door == "submission":
            world.ledger.outside.add(far)
        world.done["letters"] += 1
