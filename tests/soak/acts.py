"""What an owner does with what is there: flags, copies, moves, removal; names of mailboxes, notes, rights."""

import random
import re
from typing import TYPE_CHECKING

from tests.house.running import House
from tests.soak.model import INBOX, Annotate, Copy, Create, Delete, Expunge, Grant, Rename, Store
from tests.soak.wire import Imap, Wrong

if TYPE_CHECKING:
    from tests.soak.owner import Owner

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Hoso", "$Khan", "Viec-1")
FULL = 60  # messages in a mailbox: then half of them go
ENTRIES = ("/private/comment", "/shared/comment", "/private/vendor/soak/mau", "/shared/vendor/soak/ghi")


def some_flags(chance: random.Random, least: int, most: int) -> frozenset[str]:
    return frozenset(chance.sample(FLAGS, chance.randrange(least, most + 1)))


def listed(flags: frozenset[str]) -> str:
    return f"({' '.join(sorted(flags))})"


def numbers(uids: tuple[int, ...]) -> str:
    return ",".join(map(str, uids))


async def empty(owner: "Owner", client: Imap, name: str) -> None:
    """Half of a full mailbox goes."""
    uids = tuple(sorted(owner.tree.boxes[name].messages)[: -FULL // 2])
    await client.choose(name)
    await _set(owner, client, Store(name, uids, "+", frozenset({"\\Deleted"})))
    await _remove(owner, client, name, uids)


async def store(owner: "Owner", client: Imap) -> None:
    name = owner.some_box(full=True)
    if name is None:
        return
    await client.choose(name)
    kind = owner.chance.choice(("+", "-", ""))
    await _set(owner, client, Store(name, owner.some(name), kind, some_flags(owner.chance, 1, 3)))


async def _set(owner: "Owner", client: Imap, op: Store) -> None:
    before = {uid: owner.tree.boxes[op.name].messages[uid].modseq for uid in op.uids}
    answers = await owner.do(client, op, f"UID STORE {numbers(op.uids)} {op.op}FLAGS {listed(op.flags)}")
    messages = owner.tree.boxes[op.name].messages
    for answer in answers:
        match = re.search(rb"UID (\d+) FLAGS \(([^)]*)\) MODSEQ \((\d+)\)", answer.text)
        if match and int(match[1]) in before:
            uid, modseq = int(match[1]), int(match[3])
            if frozenset(match[2].decode().split()) - {"\\Recent"} != messages[uid].flags:
                raise Wrong(f"{op}: answered {answer.text!r}")
            if modseq < before[uid]:
                raise Wrong(f"{op}: modseq went back from {before[uid]}: {answer.text!r}")


async def copy(owner: "Owner", client: Imap, moving: bool = False) -> None:
    name, target = owner.some_box(full=True), owner.some_box()
    if name is None or target is None or (name == target and moving):
        return
    if len(owner.tree.boxes[target].messages) > FULL:
        await empty(owner, client, target)
        return
    uids = owner.some(name)
    await client.choose(name)
    words = f'UID {"MOVE" if moving else "COPY"} {numbers(uids)} "{target}"'
    await owner.do(client, Copy(name, uids, target, moving), words)


async def move(owner: "Owner", client: Imap) -> None:
    await copy(owner, client, moving=True)


async def expunge(owner: "Owner", client: Imap) -> None:
    name = owner.some_box(full=True)
    if name is None:
        return
    messages = owner.tree.boxes[name].messages
    flagged = tuple(uid for uid in sorted(messages) if "\\Deleted" in messages[uid].flags)
    await client.choose(name)
    if flagged:
        await _remove(owner, client, name, flagged)


async def _remove(owner: "Owner", client: Imap, name: str, uids: tuple[int, ...]) -> None:
    messages = owner.tree.boxes[name].messages
    alone = {uid for uid in messages if "\\Deleted" in messages[uid].flags} == set(uids)
    words = "EXPUNGE" if alone and owner.chance.random() < 0.5 else f"UID EXPUNGE {numbers(uids)}"
    await owner.do(client, Expunge(name, uids), words)


async def create(owner: "Owner", client: Imap) -> None:
    if len(owner.tree.boxes) < 5:
        name = owner.free_name()
        await owner.do(client, Create(name), f'CREATE "{name}"')


async def rename(owner: "Owner", client: Imap) -> None:
    name = _own(owner)
    if name is not None:
        target = owner.free_name()
        await owner.do(client, Rename(name, target), f'RENAME "{name}" "{target}"')
        _left(client, name)


async def delete(owner: "Owner", client: Imap) -> None:
    name = _own(owner)
    if name is not None and len(owner.tree.boxes) > 2:
        await owner.do(client, Delete(name), f'DELETE "{name}"')
        _left(client, name)


async def annotate(owner: "Owner", client: Imap) -> None:
    """Some notes at once: all or none of them."""
    name, chance = owner.some_box(), owner.chance
    if name is None:
        return
    values: dict[str, bytes | None] = {}
    for entry in chance.sample(ENTRIES, chance.randrange(1, 4)):
        value = f'ghi chú "{chance.randrange(1_000_000)}" \\'.encode()
        if chance.random() < 0.2:
            value = b"\0" + chance.randbytes(chance.randrange(1, 3000))
        values[entry] = None if chance.random() < 0.2 else value
    words: list[bytes | str] = []
    text = f'SETMETADATA "{name}" ('
    for entry, value in values.items():
        if value is None:
            text += f"{entry} NIL "
        else:
            words += [f"{text}{entry} ~", value]
            text = " "
    first, *rest = [*words, f"{text.rstrip()})"]
    assert isinstance(first, str)
    await owner.do(client, Annotate(name, tuple(values.items())), first, *rest)


async def grant(owner: "Owner", client: Imap) -> None:
    """Opens a mailbox to the guest; one that is open may be had without marks of one's own, or with them again."""
    name = _own(owner)
    if name is None or owner.guest is None:
        return
    reader = House.address(owner.guest)
    had = owner.tree.boxes[name].rights.get(reader)
    rights = "lr" if had == "lrs" and owner.chance.random() < 0.3 else "lrs"
    await owner.do(client, Grant(name, reader, rights), f'SETACL "{name}" {reader} {rights}')


def _own(owner: "Owner") -> str | None:
    names = sorted(name for name, box in owner.tree.boxes.items() if name != INBOX and box.validity)
    return owner.chance.choice(names) if names else None


def _left(client: Imap, name: str) -> None:
    if client.selected == name:
        client.selected = ""
