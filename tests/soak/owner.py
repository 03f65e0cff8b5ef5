"""Somebody with an IMAP client: changes the mailboxes below a prefix, keeps a `model.Tree` of them, and compares.

At every new connection everything acknowledged must be there. What an owner does is in `acts`, `intake`, `drop` and
`questions`: functions that take the owner and its connection.
"""

import asyncio
import random
import re

from tests.house.running import House
from tests.soak import acts, drop, intake, questions
from tests.soak.clients import World
from tests.soak.letters import Trace, trace
from tests.soak.model import (
    INBOX,
    MARK,
    Append,
    Box,
    Known,
    Msg,
    Op,
    Replace,
    Seen,
    Tree,
    apply,
    digest,
    missed,
    settle,
)
from tests.soak.wire import Answer, Imap, Opened, Wrong, uids_of


class Owner:
    """One IMAP client: the mailboxes below `prefix`, and INBOX when `inbox` is set. `guest`: who may read in them."""

    def __init__(
        self, world: World, account: int, prefix: str, inbox: bool, chance: random.Random, guest: int | None = None
    ) -> None:
        self.world = world
        self.prefix = prefix
        self.inbox = inbox
        self.chance = chance
        self.guest = guest
        self.number = 0  # of the last content made
        self.fresh = 0  # of the last mailbox made
        self.kept: list[bytes] = []  # contents to append once more: kept once, there twice
        self.traces: dict[bytes, Trace] = {}  # digest → what SEARCH and THREAD find in it
        self.raw: set[bytes] = set()  # digests of contents that POP3 must change to tell them
        self.tree = Tree(account, {INBOX: Box()} if inbox else {})
        self._back: dict[str, Known] = {}  # for who comes back and asks what was missed
        self.idle = True
        self.looks = 0

    def __repr__(self) -> str:
        return f"owner {self.tree.account} {self.prefix} (idle {self.idle}, {self.looks} looks, {self.tree.open})"

    @property
    def address(self) -> str:
        return House.address(self.tree.account)

    async def run(self) -> None:
        """Connects again and again."""
        await self.world.keep_on(self, self._connection, f"account {self.tree.account} {self.prefix}")

    async def _connection(self) -> None:
        async with self.world.signed_in(self.tree.account, self.chance) as client:
            await self._session(client)

    async def _session(self, client: Imap) -> None:
        world, chance = self.world, self.chance
        await self.look(client)
        while not world.ended:
            if world.resting.is_set():
                self.idle = True
                await asyncio.sleep(0.02)
                continue
            self.idle = False
            if self.tree.open is not None or chance.random() < 0.02:
                await self.look(client)
            elif self.inbox and len(self.tree.boxes[INBOX].messages) > 2 * acts.FULL:
                await acts.empty(self, client, INBOX)
            else:
                await self._act(client)
                world.done["commands"] += 1
            await world.pause(chance)

    async def _act(self, client: Imap) -> None:
        if len(self.tree.boxes) < 2 + self.inbox:
            await acts.create(self, client)
            return
        table = {
            intake.append: 30,
            intake.several: 7,
            intake.put_together: 6,
            intake.replace: 6,
            acts.store: 22,
            acts.copy: 10,
            acts.move: 10,
            acts.expunge: 8,
            acts.annotate: 5,
            acts.grant: 2 if self.guest is not None else 0,
            acts.create: 2,
            acts.rename: 3,
            acts.delete: 1,
            questions.ask: 6,
            drop.visit: 5 if self.inbox else 0,
        }
        await self.chance.choices(list(table), list(table.values()))[0](self, client)

    # ---- looking

    async def look(self, client: Imap, whole: bool = False) -> None:
        """Everything acknowledged is there; bytes are read of what is new, or of all with `whole`."""
        names = await client.names(f"{self.prefix}*")
        if self.inbox:
            names.append(INBOX)
        due = self.world.ledger.due(self.tree.account) if self.inbox else frozenset[str]()
        seen = {name: await self._see(client, name, whole) for name in names}
        problems = settle(self.tree, seen, self.world.ledger, due)
        for problem in problems[:40]:
            self.world.blame(problem)
        for box in self.tree.boxes.values():
            if box.rights:
                rows = ((uid, msg.digest) for uid, msg in box.messages.items())
                self.world.contents.update({(self.tree.account, box.validity, uid): content for uid, content in rows})
        self.looks += 1
        self.world.done["looks"] += 1

    async def _see(self, client: Imap, name: str, whole: bool) -> Seen:
        back = self._back.get(name)
        at_once = back is not None and self.chance.random() < 0.5
        opened, answers = await client.select(
            name, f"QRESYNC ({back.validity} {back.modseq})" if back and at_once else ""
        )
        if back is not None and not at_once and opened.exists and back.validity == opened.validity:
            answers = await client.command(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {back.modseq} VANISHED)")
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
            # As BODY[] a NUL would be shown as another byte (rfc9051 9).
            bodies = {row.uid: row.body for row in await client.fetch(",".join(map(str, some)), "BINARY.PEEK[]")}
            for uid in some:
                body = bodies.get(uid)
                if body is None or len(body) != rows[uid][2]:
                    raise Wrong(f"{name}: UID {uid} has no body, or one that is not of its size")
                digests[uid] = digest(body)
                self.remember(digests[uid], body)
                mark = self._mark(name, uid, body)
                if mark and uid not in known:
                    delivered[uid] = mark
        self.world.done["bodies"] += len(unread)
        rights = await client.rights(name, self.address)
        seen = Seen(
            opened.validity,
            opened.following,
            opened.modseq,
            rows,
            digests,
            delivered,
            await client.notes(name),
            rights,
        )
        if back is not None and (at_once or (opened.exists and back.validity == opened.validity)):
            told = questions.told(answers, opened.following)
            for problem in missed(back, told, seen, bool(rights)):
                self.world.blame(f"account {self.tree.account} {name}, {'SELECT' if at_once else 'FETCH'}: {problem}")
            self.world.done["returns"] += 1
        self._back[name] = Known(opened.validity, opened.modseq, opened.following, frozenset(rows))
        return seen

    def remember(self, content: bytes, body: bytes) -> None:
        """What will be found in it."""
        if content in self.traces or content in self.raw:
            return
        if b"\0" in body or re.search(rb"\r(?!\n)|(?<!\r)\n", body):
            self.raw.add(content)
        elif found := trace(body):
            self.traces[content] = found

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
        if mark not in self.world.ledger.tried:
            raise Wrong(f"{name}: UID {uid} was never sent: {body[:300]!r}")
        if not self.world.ledger.is_whole(mark, body):
            raise Wrong(f"{name}: UID {uid} is not what was sent as {mark}")
        return mark

    # ---- for what an owner does

    async def do(self, client: Imap, op: Op, words: str, *more: bytes | str) -> list[Answer]:
        """Notes what is about to happen; if the answer never comes it stays noted until `look`."""
        self.tree.open = op
        answers = await client.command(words, *more)
        self.happened(op, answers)
        return answers

    def happened(self, op: Op, answers: list[Answer]) -> None:
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

    @staticmethod
    def _new_uids(op: Op, answers: list[Answer]) -> list[int]:
        appending = isinstance(op, Append | Replace)
        word = rb"APPENDUID \d+ ([\d:,]+)" if appending else rb"COPYUID \d+ [\d:,]+ ([\d:,]+)"
        for answer in answers:
            match = re.search(rb"\[" + word + rb"\]", answer.text)
            if match:
                return uids_of(match[1])
        raise Wrong(f"{op}: no {word!r} in {[answer.text[:200] for answer in answers]}"[:600])

    def some_box(self, full: bool = False) -> str | None:
        names = sorted(name for name, box in self.tree.boxes.items() if box.messages or not full)
        return self.chance.choice(names) if names else None

    def some(self, name: str, most: int = 12) -> tuple[int, ...]:
        uids = sorted(self.tree.boxes[name].messages)
        return tuple(sorted(self.chance.sample(uids, self.chance.randrange(1, min(len(uids), most) + 1))))

    def free_name(self) -> str:
        """Now and then one that was there before."""
        if self.tree.graves and self.chance.random() < 0.4:
            name = self.chance.choice(sorted(self.tree.graves))
            if name not in self.tree.boxes:
                return name
        self.fresh += 1
        return f"{self.prefix}hop-{self.fresh}"
