"""How an owner brings letters in: APPEND of one or several, of any bytes, put together of what lies there, REPLACE."""

from typing import TYPE_CHECKING

from tests.soak import acts
from tests.soak.letters import Trace, letter, raw, some_size
from tests.soak.model import Append, Letter, Replace, digest
from tests.soak.wire import Imap

if TYPE_CHECKING:
    from tests.soak.owner import Owner

CHAIN = 5  # letters of one conversation


async def _target(owner: "Owner", client: Imap) -> str | None:
    """A mailbox with room; one that is full gets room instead."""
    name = owner.some_box()
    if name is not None and len(owner.tree.boxes[name].messages) > acts.FULL:
        await acts.empty(owner, client, name)
        return None
    return name


def _content(owner: "Owner", large: bool = True) -> tuple[bytes, bool]:
    """A letter, and whether only a literal8 can carry it."""
    chance = owner.chance
    if owner.kept and chance.random() < 0.15:
        return chance.choice(owner.kept), False
    mark = _mark(owner)
    if chance.random() < 0.06:
        content = raw(chance, mark, owner.address)
        owner.remember(digest(content), content)
        return content, True
    chain = f"{_who(owner)}-{owner.number // CHAIN * CHAIN}"
    content = letter(chance, mark, some_size(chance, large), owner.address, chain)
    owner.remember(digest(content), content)
    if len(content) < 20_000:
        owner.kept = [*owner.kept[-20:], content]
    return content, False


def _who(owner: "Owner") -> str:
    return f"a{owner.tree.account}{owner.prefix.strip('/')}"


def _mark(owner: "Owner") -> str:
    owner.number += 1
    return f"{_who(owner)}-{owner.number}"


def _row(content: bytes, flags: frozenset[str]) -> Letter:
    return digest(content), len(content), flags


def _literal(owner: "Owner", content: bytes, eight: bool) -> list[bytes | str]:
    """A literal, a literal8, or one within UTF8 (…)."""
    if owner.chance.random() < 0.1:
        return ["UTF8 (~", content, ")"]
    return ["~" if eight or owner.chance.random() < 0.1 else "", content]


async def append(owner: "Owner", client: Imap) -> None:
    name = await _target(owner, client)
    if name is not None:
        await _append(owner, client, name, 1)


async def several(owner: "Owner", client: Imap) -> None:
    """MULTIAPPEND: all or none."""
    name = await _target(owner, client)
    if name is not None:
        await _append(owner, client, name, owner.chance.randrange(2, 6))


async def _append(owner: "Owner", client: Imap, name: str, count: int) -> None:
    parts: list[bytes | str] = [f'APPEND "{name}"']
    rows: list[Letter] = []
    for _ in range(count):
        flags = acts.some_flags(owner.chance, 0, 2)
        content, eight = _content(owner, large=count == 1)
        rows.append(_row(content, flags))
        parts += [f" {acts.listed(flags)} ", *_literal(owner, content, eight)]
    await owner.do(client, Append(name, tuple(rows)), *_joined(parts))


async def put_together(owner: "Owner", client: Imap) -> None:
    """CATENATE: a new head and a letter that lies here already."""
    kept = {digest(content): content for content in owner.kept}
    found = [
        (name, box.validity, uid, msg.digest)
        for name, box in sorted(owner.tree.boxes.items())
        for uid, msg in sorted(box.messages.items())
        if msg.digest in kept and box.validity
    ]
    name = await _target(owner, client)
    if name is None or not found:
        return
    source, validity, uid, content = owner.chance.choice(found)
    head = f"X-Mark: {_mark(owner)}\r\nSubject: Ghép\r\n".encode()
    whole = head + kept[content] + b"\r\n.\r\n"
    flags = acts.some_flags(owner.chance, 0, 2)
    if kind := owner.traces.get(content):  # found by the same word; what conversation it is of is not asked
        owner.traces[digest(whole)] = Trace(kind.word, "")
    await owner.do(
        client,
        Append(name, (_row(whole, flags),)),
        f'APPEND "{name}" {acts.listed(flags)} CATENATE (TEXT ',
        head,
        f' URL "/{source};UIDVALIDITY={validity}/;UID={uid}" TEXT ',
        b"\r\n.\r\n",
        ")",
    )


async def replace(owner: "Owner", client: Imap) -> None:
    """The old one goes and the new one comes, in one step."""
    name = owner.some_box(full=True)
    target = await _target(owner, client)
    if name is None or target is None or not owner.tree.boxes[name].messages:
        return
    (uid,) = owner.some(name, 1)
    content, eight = _content(owner, large=False)
    flags = acts.some_flags(owner.chance, 0, 2)
    await client.choose(name)
    parts = [f'UID REPLACE {uid} "{target}" {acts.listed(flags)} ', *_literal(owner, content, eight)]
    await owner.do(client, Replace(name, uid, target, _row(content, flags)), *_joined(parts))


def _joined(parts: list[bytes | str]) -> tuple[str, *tuple[bytes | str, ...]]:
    """The first words as one."""
    words = ""
    for at, part in enumerate(parts):
        if isinstance(part, bytes):
            return words, *parts[at:]
        words += part
    return (words,)
