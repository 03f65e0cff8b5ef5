"""What an owner asks, and what the answer must be: SEARCH by words and flags, SORT, THREAD, QRESYNC."""

import re
from typing import TYPE_CHECKING

from tests.soak import acts
from tests.soak.model import Missed
from tests.soak.wire import Answer, Imap, Wrong, fetched, uids_of

if TYPE_CHECKING:
    from tests.soak.owner import Owner


def told(answers: list[Answer], following: int) -> Missed:
    """What SELECT or FETCH said to who came back."""
    vanished: set[int] = set()
    for answer in answers:
        if answer.text.startswith(b"* VANISHED (EARLIER) "):
            vanished.update(uids_of(answer.text.rpartition(b" ")[2]))
    changed = {
        row.uid: (row.flags, row.modseq)
        for row in fetched(answers)
        if row.flags is not None and row.modseq is not None and row.uid < following
    }
    return Missed(following, frozenset(vanished), changed)


async def _ask(client: Imap, words: str, kind: str) -> bytes:
    for answer in await client.command(words):
        if answer.text.startswith(f"* {kind}".encode()):
            return answer.text.removeprefix(f"* {kind}".encode()).strip()
    if kind == "THREAD":  # nothing found, nothing said
        return b""
    raise Wrong(f"{words}: not answered")


async def ask(owner: "Owner", client: Imap) -> None:
    """One question about a mailbox that has something in it."""
    name = owner.some_box(full=True)
    if name is None:
        return
    await client.choose(name)
    await client.command("NOOP")  # what POP3 has removed is heard of
    kind = owner.chance.choice((words, words, by_flags, by_size, conversations))
    await kind(owner, client, name)
    owner.world.done["questions"] += 1


async def words(owner: "Owner", client: Imap, name: str) -> None:
    """A word that stands in one content only finds every message of it, and nothing else."""
    messages = owner.tree.boxes[name].messages
    known = sorted({owner.traces[msg.digest].word for msg in messages.values() if msg.digest in owner.traces})
    if not known:
        return
    word = owner.chance.choice(known)
    have = {uid for uid, msg in messages.items() if (t := owner.traces.get(msg.digest)) and t.word == word}
    field = owner.chance.choice(("BODY", "TEXT"))
    found = set(map(int, (await _ask(client, f"UID SEARCH {field} {word}", "SEARCH")).split()))
    _same(owner, name, f"{field} {word}", have, found)


async def by_flags(owner: "Owner", client: Imap, name: str) -> None:
    messages = owner.tree.boxes[name].messages
    flag = owner.chance.choice(acts.FLAGS)
    key = flag[1:].upper() if flag.startswith("\\") else f"KEYWORD {flag}"
    size = owner.chance.choice([msg.size for msg in messages.values()])
    have = {uid for uid, msg in messages.items() if flag in msg.flags or msg.size < size}
    asked = f"UID SEARCH UID {acts.numbers(tuple(messages))} OR {key} SMALLER {size}"
    _same(owner, name, asked, have, set(map(int, (await _ask(client, asked, "SEARCH")).split())))


async def by_size(owner: "Owner", client: Imap, name: str) -> None:
    messages = owner.tree.boxes[name].messages
    down = owner.chance.random() < 0.5
    have = sorted(messages, key=lambda uid: (-messages[uid].size if down else messages[uid].size, uid))
    asked = f"UID SORT ({'REVERSE ' * down}SIZE) UTF-8 UID {acts.numbers(tuple(messages))}"
    _same(owner, name, asked, have, list(map(int, (await _ask(client, asked, "SORT")).split())))


async def conversations(owner: "Owner", client: Imap, name: str) -> None:
    """Letters of one chain are one thread, whatever the order within."""
    messages = owner.tree.boxes[name].messages
    chains: dict[str, set[int]] = {}
    for uid, msg in messages.items():
        if (found := owner.traces.get(msg.digest)) and found.chain:
            chains.setdefault(found.chain, set()).add(uid)
    uids = tuple(sorted(uid for some in chains.values() for uid in some))
    if not uids:
        return
    way = owner.chance.choice(("REFERENCES", "ORDEREDSUBJECT"))
    asked = f"UID THREAD {way} UTF-8 UID {acts.numbers(uids)}"
    told_so = threads(await _ask(client, asked, "THREAD"))
    _same(owner, name, asked, sorted(map(sorted, chains.values())), sorted(map(sorted, told_so)))


def threads(text: bytes) -> list[list[int]]:
    """The members of each thread."""
    found: list[list[int]] = []
    depth = 0
    for token in re.findall(rb"[()]|\d+", text):
        if token == b"(":
            if not depth:
                found.append([])
            depth += 1
        elif token == b")":
            depth -= 1
        else:
            found[-1].append(int(token))
    return found


def _same(owner: "Owner", name: str, asked: str, have: object, found: object) -> None:
    if have != found:
        box = owner.tree.boxes[name]
        raise Wrong(f"{name} (UIDVALIDITY {box.validity}) {asked}: {have} expected, {found} told"[:1500])
