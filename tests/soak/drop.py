"""How an owner visits INBOX by POP3: reads letters, or removes some. What QUIT's +OK said is gone is gone; what was
marked for it in a session that broke is there."""

from typing import TYPE_CHECKING

from tests.house.running import PASSWORD
from tests.soak.model import INBOX, Expunge, Msg, Store, digest
from tests.soak.wire import Imap, Pop3, Wrong

if TYPE_CHECKING:
    from tests.soak.owner import Owner

SEEN = frozenset({"\\Seen"})


async def visit(owner: "Owner", client: Imap) -> None:
    """One session; afterwards the IMAP connection hears what became of it."""
    box = owner.tree.boxes[INBOX]
    if not box.messages or not box.validity:
        return
    pop = await Pop3.open(owner.world.house.port("pop3"), owner.address, PASSWORD)
    try:
        validity, numbers = await pop.uids()
        if validity != box.validity:
            raise Wrong(f"UIDL tells UIDVALIDITY {validity}, it is {box.validity}")
        if lost := set(box.messages) - set(numbers):
            raise Wrong(f"UIDL does not tell UIDs {sorted(lost)[:20]}")
        some = owner.some(INBOX, 6)
        if owner.chance.random() < 0.5:
            await _read(owner, pop, numbers, some)
        else:
            await _remove(owner, pop, numbers, some)
    finally:
        pop.close()
    owner.world.done["POP3 sessions"] += 1


async def _read(owner: "Owner", pop: Pop3, numbers: dict[int, int], uids: tuple[int, ...]) -> None:
    r"""RETR makes a letter \Seen at QUIT, or does not where that fails: the next look tells which."""
    box = owner.tree.boxes[INBOX]
    for uid in uids:
        msg = box.messages[uid]
        top = await pop.long(f"TOP {numbers[uid]} 3")
        if "\\Seen" not in msg.flags:
            if owner.tree.open is not None:
                continue  # one in a session, as what is open is one command
            owner.tree.open = Store(INBOX, (uid,), "+", SEEN)
        whole = await pop.long(f"RETR {numbers[uid]}")
        if not whole.startswith(top):
            raise Wrong(f"TOP of UID {uid} is not its beginning: {top[:200]!r}")
        _compare(owner, uid, msg, whole)
    await pop.command("QUIT")


def _compare(owner: "Owner", uid: int, msg: Msg, whole: bytes) -> None:
    if msg.digest in owner.raw:  # bare line ends are sent as CRLF
        return
    if digest(whole) != msg.digest:
        raise Wrong(f"RETR of UID {uid}: {len(whole)} bytes, not the {msg.size} that are stored")


async def _remove(owner: "Owner", pop: Pop3, numbers: dict[int, int], uids: tuple[int, ...]) -> None:
    for uid in uids:
        await pop.command(f"DELE {numbers[uid]}")
    if owner.chance.random() < 0.2:
        await pop.command("RSET")
        uids = uids[::2]
        for uid in uids:
            await pop.command(f"DELE {numbers[uid]}")
    if owner.chance.random() < 0.3:  # the connection breaks: nothing goes
        return
    op = Expunge(INBOX, uids)
    owner.tree.open = op
    await pop.command("QUIT")
    owner.happened(op, [])
