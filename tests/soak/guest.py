r"""Somebody who reads in another's mailboxes and has marks of their own there: which messages they have seen.

The mailboxes change meanwhile by their owner, so a guest compares what only a guest changes: \Seen of each message is
what was acknowledged, whatever the owner's is, and bytes are those that the owner knows.
"""

import asyncio
import random

from tests.house.running import House
from tests.soak.acts import numbers
from tests.soak.clients import World
from tests.soak.model import digest
from tests.soak.wire import Denied, Imap, Wrong

OTHERS = "Ng&AbAe3Q-i kh&AOE-c"  # "Người khác" as names go before UTF-8 is enabled
SEEN = "\\Seen"


class Guest:
    """Reads as `account` what `owner` has opened."""

    def __init__(self, world: World, account: int, owner: int, chance: random.Random) -> None:
        self._world = world
        self._account = account
        self._owner = owner
        self._chance = chance
        self._seen: dict[int, set[int]] = {}  # UIDVALIDITY → UIDs
        # UIDVALIDITY → UIDs, seen or not any more: a STORE whose answer never came.
        self._open: dict[int, tuple[frozenset[int], bool]] = {}
        self.idle = True

    def __repr__(self) -> str:
        return f"guest {self._account} of {self._owner} (idle {self.idle}, {self._open})"

    async def run(self) -> None:
        await self._world.keep_on(self, self._connection, f"guest {self._account} of {self._owner}")

    async def _connection(self) -> None:
        async with self._world.signed_in(self._account, self._chance) as client:
            await self._session(client)

    async def _session(self, client: Imap) -> None:
        while not self._world.ended:
            if self._world.resting.is_set():
                self.idle = True
                await asyncio.sleep(0.02)
                continue
            self.idle = False
            try:
                await self._visit(client)
                self._world.done["visits"] += 1
            except Denied:  # renamed, deleted, expunged, or closed to us a moment ago
                self._world.done["visits in vain"] += 1
            await self._world.pause(self._chance)
            await asyncio.sleep(0.2)  # as people do; the owners have most of the work

    async def _visit(self, client: Imap) -> None:
        owner = House.address(self._owner).partition("@")[0]
        names = sorted(await client.names(f"{OTHERS}/{owner}/*"))
        if not names:
            return
        name = self._chance.choice(names)
        opened, _ = await client.select(name)
        if not opened.exists:
            return
        rows = {row.uid: row for row in await client.fetch(f"1:{opened.following - 1}", "FLAGS")}
        if not rows:
            return
        seen = {uid for uid, row in rows.items() if row.flags is not None and SEEN in row.flags}
        self._compare(name, opened.validity, set(rows), seen)
        mine = self._seen.setdefault(opened.validity, set())
        some = tuple(sorted(self._chance.sample(sorted(rows), min(len(rows), self._chance.randrange(1, 5)))))
        await self._read(client, name, opened.validity, some)
        found = await client.command(f"UID SEARCH UID {numbers(tuple(sorted(rows)))} SEEN")
        told = {int(word) for each in found if each.text.startswith(b"* SEARCH") for word in each.text.split()[2:]}
        if strange := told - mine:
            raise Wrong(f"{name}: SEARCH SEEN finds {sorted(strange)[:20]}")
        on = self._chance.random() < 0.7
        if (await self._rights(client, name)).count("s"):
            self._open[opened.validity] = frozenset(some), on
            await client.command(f"UID STORE {numbers(some)} {'+' if on else '-'}FLAGS ({SEEN})")
            mine.update(some) if on else mine.difference_update(some)
            del self._open[opened.validity]

    async def _rights(self, client: Imap, name: str) -> str:
        for answer in await client.command(f'MYRIGHTS "{name}"'):
            if answer.text.startswith(b"* MYRIGHTS "):
                return answer.text.decode().rpartition(" ")[2]
        raise Wrong(f"{name}: MYRIGHTS not answered")

    def _compare(self, name: str, validity: int, there: set[int], seen: set[int]) -> None:
        mine = self._seen.setdefault(validity, set())
        if validity in self._open:
            uids, on = self._open.pop(validity)
            left = uids & there
            done = mine | left if on else mine - left
            if seen != mine & there and seen == done & there:
                self._seen[validity] = mine = done
        mine &= there  # a UID never comes back
        if seen != mine:
            lost, new = sorted(mine - seen)[:20], sorted(seen - mine)[:20]
            raise Wrong(f"{name} (UIDVALIDITY {validity}): no more seen {lost}, seen by nobody {new}")

    async def _read(self, client: Imap, name: str, validity: int, uids: tuple[int, ...]) -> None:
        # As BODY[] a NUL would be shown as another byte: no literal may hold one (rfc9051 9).
        for row in await client.fetch(numbers(uids), "BINARY.PEEK[]"):
            want = self._world.contents.get((self._owner, validity, row.uid))
            if row.body is not None and want is not None and digest(row.body) != want:
                raise Wrong(f"{name} (UIDVALIDITY {validity}): UID {row.uid} has other bytes")
