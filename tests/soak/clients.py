"""The load: senders that hand letters over by every door, and owners that change mailboxes and keep a `model.Tree`.

Each goes on for ever: connect, work, lose the connection, look whether all that was acknowledged is there, go on. A
finding ends nothing by itself: it is put on the list, and the run ends.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.house.running import DOMAIN, PASSWORD, House
from tests.soak.model import (
    INBOX,
    MARK,
    Append,
    Box,
    Copy,
    Create,
    Delete,
    Expunge,
    Ledger,
    Msg,
    Op,
    Rename,
    Seen,
    Store,
    Tree,
    apply,
    digest,
    settle,
)
from tests.soak.wire import Answer, Imap, Lost, NotNow, Opened, Smtp, Wrong, uids_of

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Hoso", "$Khan", "Viec-1")
FULL = 60  # messages in a mailbox: then half of them go
STRANGER = "thu@xa.test"
FAR = "ngoai.test"  # where submissions to the outside go


@dataclass
class World:
    """What all clients share."""

    house: House
    ledger: Ledger = field(default_factory=Ledger)
    wrong: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    resting: asyncio.Event = field(default_factory=asyncio.Event)  # set: nobody begins anything new
    ended: bool = False
    pace: float = 0.01  # seconds between two acts of one client, on average

    def blame(self, what: str) -> None:
        self.wrong.append(what)
        self.ended = True

    async def pause(self, chance: random.Random) -> None:
        await asyncio.sleep(chance.expovariate(1 / self.pace) if self.pace else 0)


def letter(chance: random.Random, mark: str, size: int, author: str) -> bytes:
    """Lines that begin with dots, 8-bit text, long lines, and noise that does not compress."""
    head = f"From: <{author}>\r\nTo: <u00@{DOMAIN}>\r\nSubject: Công văn {mark}\r\nX-Mark: {mark}\r\n"
    head += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    if size > 100_000:
        block = chance.randbytes(3000).hex()
        lines = "".join(f"{block[at : at + 70]}\r\n" for at in range(0, 6000, 70))
        return head.encode() + (lines * (size // len(lines) + 1)).encode()
    body = f".{mark} Ủy ban nhân dân tỉnh đề nghị các đơn vị.\r\n..\r\n" + "x" * 900 + "\r\n"
    body += "".join(f"{chance.randbytes(30).hex()}\r\n" for _ in range(chance.randrange(1, 12)))
    return head.encode() + (body * max(1, size // 2000)).encode()


def some_size(chance: random.Random, large: bool) -> int:
    if large and chance.random() < 0.03:
        return chance.randrange(1_000_000, 3_000_000)
    return int(min(chance.lognormvariate(8.2, 1.0), 90_000))


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
        while not self._world.ended:
            try:
                await self._connection()
            except Lost:
                await asyncio.sleep(0.03)
            except NotNow:
                self._world.done["put off"] += 1
                await asyncio.sleep(0.1)
            except Wrong as wrong:
                self._world.blame(f"{self._name}: {wrong}")
            finally:
                self.idle = True

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
        content = letter(chance, mark, some_size(chance, self._name.startswith("mx")), author)
        everybody = list(range(self._people))
        to = everybody if self._name.startswith("many") else chance.sample(everybody, chance.randrange(1, 3))
        addresses = [House.address(n) for n in to]
        far = f"{mark}@{FAR}"
        if door == "submission":
            addresses.append(far)
        world.ledger.tried[mark] = digest(content), len(content)
        kept = await client.send(
            author, addresses, content, each=door == "lmtp", chunks=door != "lmtp" and chance.random() < 0.3
        )
        world.ledger.acknowledge(mark, [n for n, good in zip(to, kept, strict=False) if good])
        if door == "submission":
            world.ledger.outside.add(far)
        world.done["letters"] += 1


class Owner:
    """One IMAP client: the mailboxes below `prefix`, and INBOX when `inbox` is set."""

    def __init__(self, world: World, account: int, prefix: str, inbox: bool, chance: random.Random) -> None:
        self._world = world
        self._prefix = prefix
        self._inbox = inbox
        self._chance = chance
        self._number = 0
        self._fresh = 0
        self._kept: list[bytes] = []  # contents to append once more: kept once, there twice
        self._selected = ""
        self.tree = Tree(account, {INBOX: Box()} if inbox else {})
        self.idle = True
        self.looks = 0

    def __repr__(self) -> str:
        return f"owner {self.tree.account} {self._prefix} (idle {self.idle}, {self.looks} looks, {self.tree.open})"

    async def run(self) -> None:
        """Connects again and again."""
        while not self._world.ended:
            try:
                client = await Imap.open(self._world.house.port("imap"), House.address(self.tree.account), PASSWORD)
                try:
                    await self._session(client)
                finally:
                    client.close()
            except Lost:
                await asyncio.sleep(0.03)
            except NotNow:
                self._world.done["put off"] += 1
                await asyncio.sleep(0.1)
            except Wrong as wrong:
                self._world.blame(f"account {self.tree.account} {self._prefix}: {wrong}")
            finally:
                self.idle = True

    async def _session(self, client: Imap) -> None:
        world, chance = self._world, self._chance
        self._selected = ""
        await self.look(client)
        while not world.ended:
            if world.resting.is_set():
                self.idle = True
                await asyncio.sleep(0.02)
                continue
            self.idle = False
            if chance.random() < 0.02:
                await self.look(client)
            elif self._inbox and len(self.tree.boxes[INBOX].messages) > 2 * FULL:
                await self._empty(client, INBOX)
            else:
                await self._act(client)
                world.done["commands"] += 1
            await world.pause(chance)

    # ---- looking

    async def look(self, client: Imap, whole: bool = False) -> None:
        """Everything acknowledged is there; bytes are read of what is new, or of all with `whole`."""
        names = await client.names(f"{self._prefix}*")
        if self._inbox:
            names.append(INBOX)
        due = self._world.ledger.due(self.tree.account) if self._inbox else frozenset[str]()
        seen = {name: await self._see(client, name, whole) for name in names}
        problems = settle(self.tree, seen, self._world.ledger, due)
        for problem in problems[:40]:
            self._world.blame(problem)
        self.looks += 1
        self._world.done["looks"] += 1

    async def _see(self, client: Imap, name: str, whole: bool) -> Seen:
        opened = await client.select(name)
        self._selected = name
        rows = {}
        if opened.exists:
            for row in await client.fetch(f"1:{opened.following - 1}", "FLAGS MODSEQ RFC822.SIZE"):
                if row.flags is None or row.modseq is None or row.size is None or row.uid in rows:
                    raise Wrong(f"{name}: FETCH answers half, or twice: {row}")
                rows[row.uid] = row.flags, row.modseq, row.size
        if len(rows) != opened.exists:
            raise Wrong(f"{name}: {opened.exists} EXISTS, {len(rows)} fetched")
        known = self._known(name, opened)
        unread = [uid for uid in rows if whole or uid not in known]
        digests, delivered = {}, {}
        for at in range(0, len(unread), 50):
            some = unread[at : at + 50]
            bodies = {row.uid: row.body for row in await client.fetch(",".join(map(str, some)), "BODY.PEEK[]")}
            for uid in some:
                body = bodies.get(uid)
                if body is None or len(body) != rows[uid][2]:
                    raise Wrong(f"{name}: UID {uid} has no body, or one that is not of its size")
                digests[uid] = digest(body)
                mark = self._mark(name, uid, body)
                if mark and uid not in known:
                    delivered[uid] = mark
        self._world.done["bodies"] += len(unread)
        return Seen(opened.validity, opened.following, opened.modseq, rows, digests, delivered)

    def _known(self, name: str, opened: Opened) -> dict[int, Msg]:
        """The messages whose bytes have been seen; under an open RENAME they may have another name."""
        box = self.tree.boxes.get(name)
        if box is None or (box.validity and box.validity != opened.validity):
            box = next((b for b in self.tree.boxes.values() if b.validity == opened.validity), None)
        return box.messages if box else {}

    def _mark(self, name: str, uid: int, body: bytes) -> str | None:
        if not body.startswith(b"Return-Path:"):
            return None
        match = MARK.search(body[:4000])
        mark = match[1].decode() if match else ""
        if mark not in self._world.ledger.tried:
            raise Wrong(f"{name}: UID {uid} was never sent: {body[:300]!r}")
        if not self._world.ledger.is_whole(mark, body):
            raise Wrong(f"{name}: UID {uid} is not what was sent as {mark}")
        return mark

    # ---- acting

    async def _act(self, client: Imap) -> None:
        boxes = self.tree.boxes
        if len(boxes) < 2 + self._inbox:
            await self._create(client)
            return
        acts: dict[Callable[[Imap], object], int] = {
            self._append: 40,
            self._store: 22,
            self._copy: 10,
            self._move: 10,
            self._expunge: 8,
            self._create: 2,
            self._rename: 3,
            self._delete: 1,
        }
        act = self._chance.choices(list(acts), list(acts.values()))[0]
        await act(client)  # type: ignore[misc]  # all of them are coroutines

    def _some_box(self, full: bool = False) -> str | None:
        names = sorted(name for name, box in self.tree.boxes.items() if box.messages or not full)
        return self._chance.choice(names) if names else None

    def _some(self, name: str) -> tuple[int, ...]:
        uids = sorted(self.tree.boxes[name].messages)
        return tuple(sorted(self._chance.sample(uids, self._chance.randrange(1, min(len(uids), 12) + 1))))

    def _free_name(self) -> str:
        """Now and then one that was there before."""
        if self.tree.graves and self._chance.random() < 0.4:
            name = self._chance.choice(sorted(self.tree.graves))
            if name not in self.tree.boxes:
                return name
        self._fresh += 1
        return f"{self._prefix}hop-{self._fresh}"

    async def _choose(self, client: Imap, name: str) -> None:
        if self._selected != name:
            await client.select(name)
            self._selected = name

    async def _do(self, client: Imap, op: Op, words: str, literal: bytes | None = None) -> list[Answer]:
        """Notes what is about to happen; if the answer never comes it stays noted until `look`."""
        self.tree.open = op
        answers = await client.command(words, literal)
        arriving = apply(self.tree, op)
        self.tree.open = None
        for name, rows in arriving.items():
            box = self.tree.boxes[name]
            for uid, (content, size, flags) in zip(self._new_uids(op, answers), rows, strict=True):
                if uid in box.messages or uid < box.following:
                    raise Wrong(f"{name}: UID {uid} given again")
                box.messages[uid] = Msg(content, size, flags, box.modseq, grown=True)
            if name != INBOX and box.messages:  # in INBOX letters may have come between
                box.following = max(box.following, max(box.messages) + 1)
        return answers

    @staticmethod
    def _new_uids(op: Op, answers: list[Answer]) -> list[int]:
        word = rb"APPENDUID \d+ (\d+)" if isinstance(op, Append) else rb"COPYUID \d+ [\d:,]+ ([\d:,]+)"
        for answer in answers:
            match = re.search(rb"\[" + word + rb"\]", answer.text)
            if match:
                return uids_of(match[1])
        raise Wrong(f"{op}: no {word!r} in {[answer.text[:200] for answer in answers]}"[:600])

    async def _append(self, client: Imap) -> None:
        chance = self._chance
        name = self._some_box()
        if name is None:
            return
        if len(self.tree.boxes[name].messages) > FULL:
            await self._empty(client, name)
            return
        if self._kept and chance.random() < 0.15:
            content = chance.choice(self._kept)
        else:
            self._number += 1
            mark = f"a{self.tree.account}{self._prefix.strip('/')}-{self._number}"
            content = letter(chance, mark, some_size(chance, True), House.address(self.tree.account))
            if len(content) < 20_000:
                self._kept = [*self._kept[-20:], content]
        flags = frozenset(chance.sample(FLAGS, chance.randrange(3)))
        await self._do(
            client,
            Append(name, digest(content), len(content), flags),
            f'APPEND "{name}" ({" ".join(sorted(flags))})',
            content,
        )

    async def _empty(self, client: Imap, name: str) -> None:
        uids = tuple(sorted(self.tree.boxes[name].messages)[: -FULL // 2])
        await self._choose(client, name)
        await self._set(client, Store(name, uids, "+", frozenset({"\\Deleted"})))
        await self._remove(client, name, uids)

    async def _store(self, client: Imap) -> None:
        name = self._some_box(full=True)
        if name is None:
            return
        flags = frozenset(self._chance.sample(FLAGS, self._chance.randrange(1, 4)))
        await self._choose(client, name)
        await self._set(client, Store(name, self._some(name), self._chance.choice(("+", "-", "")), flags))

    async def _set(self, client: Imap, op: Store) -> None:
        before = {uid: self.tree.boxes[op.name].messages[uid].modseq for uid in op.uids}
        words = f"UID STORE {','.join(map(str, op.uids))} {op.op}FLAGS ({' '.join(sorted(op.flags))})"
        answers = await self._do(client, op, words)
        messages = self.tree.boxes[op.name].messages
        for answer in answers:
            match = re.search(rb"UID (\d+) FLAGS \(([^)]*)\) MODSEQ \((\d+)\)", answer.text)
            if match and int(match[1]) in before:
                uid, modseq = int(match[1]), int(match[3])
                if frozenset(match[2].decode().split()) - {"\\Recent"} != messages[uid].flags:
                    raise Wrong(f"{op}: answered {answer.text!r}")
                if modseq < before[uid]:
                    raise Wrong(f"{op}: modseq went back from {before[uid]}: {answer.text!r}")

    async def _copy(self, client: Imap, moving: bool = False) -> None:
        name, target = self._some_box(full=True), self._some_box()
        if name is None or target is None or (name == target and moving):
            return
        if len(self.tree.boxes[target].messages) > FULL:
            await self._empty(client, target)
            return
        uids = self._some(name)
        await self._choose(client, name)
        words = f'UID {"MOVE" if moving else "COPY"} {",".join(map(str, uids))} "{target}"'
        await self._do(client, Copy(name, uids, target, moving), words)

    async def _move(self, client: Imap) -> None:
        await self._copy(client, moving=True)

    async def _expunge(self, client: Imap) -> None:
        name = self._some_box(full=True)
        if name is None:
            return
        messages = self.tree.boxes[name].messages
        flagged = tuple(uid for uid in sorted(messages) if "\\Deleted" in messages[uid].flags)
        await self._choose(client, name)
        if flagged:
            await self._remove(client, name, flagged)

    async def _remove(self, client: Imap, name: str, uids: tuple[int, ...]) -> None:
        messages = self.tree.boxes[name].messages
        alone = {uid for uid in messages if "\\Deleted" in messages[uid].flags} == set(uids)
        words = "EXPUNGE" if alone and self._chance.random() < 0.5 else f"UID EXPUNGE {','.join(map(str, uids))}"
        await self._do(client, Expunge(name, uids), words)

    async def _create(self, client: Imap) -> None:
        if len(self.tree.boxes) < 5:
            name = self._free_name()
            await self._do(client, Create(name), f'CREATE "{name}"')

    async def _rename(self, client: Imap) -> None:
        name = self._own()
        if name is not None:
            target = self._free_name()
            await self._do(client, Rename(name, target), f'RENAME "{name}" "{target}"')
            if self._selected == name:
                self._selected = ""

    async def _delete(self, client: Imap) -> None:
        name = self._own()
        if name is not None and len(self.tree.boxes) > 2:
            await self._do(client, Delete(name), f'DELETE "{name}"')
            if self._selected == name:
                self._selected = ""

    def _own(self) -> str | None:
        names = sorted(name for name, box in self.tree.boxes.items() if name != INBOX and box.validity)
        return self._chance.choice(names) if names else None
