"""IMAP commands about mailboxes: SELECT and what ends it, IDLE, CREATE and its kin, LIST, LSUB, STATUS, NAMESPACE.

Each is one function inside one transaction that gathers, and one outside that words the answer. A name is what the
person sees (NFC, "/" between levels); how it is written on the wire is the session's matter.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from congvu.base.failure import Refused
from congvu.codec.imap import Create, Listing, Named, Nothing, Rename, Select, Status
from congvu.codec.imap_names import Pattern
from congvu.codec.imap_words import Bad
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox, message, scan
from congvu.mailstore.mailbox import Mailbox
from congvu.mailstore.metadata import of_all
from congvu.servers.imap import metadata, resync
from congvu.servers.imap.session import FEW, Done, Session, pieces
from congvu.servers.imap.view import Selected, flags_lines

# mailbox.role ↔ RFC 6154. \All and \Flagged are views over other mailboxes, which are not offered.
USES = {"sent": "\\Sent", "drafts": "\\Drafts", "junk": "\\Junk", "trash": "\\Trash", "archive": "\\Archive"}

PORTION = 1_000  # messages looked at for the first unseen one, which is mostly near the end or nowhere


# SELECT, EXAMINE, CLOSE, UNSELECT


@dataclass(frozen=True, slots=True)
class _Opened:
    box: Mailbox
    uids: "array[int]"
    modseq: int
    unseen: int | None  # the first unseen UID


def _open(tx: Tx, account_id: int, mailbox_id: int, want_unseen: bool) -> _Opened:
    box = mailbox.get(tx, account_id, mailbox_id)
    if box is None:
        raise Refused("no-such-mailbox", name="")  # deleted in this moment
    uids = message.uids(tx, account_id, box.id) if box.messages else array("I")
    unseen = _first_unseen(tx, account_id, box.id, uids) if want_unseen and box.unseen else None
    return _Opened(box, uids, changes.highest(tx, account_id), unseen)


def _first_unseen(tx: Tx, account_id: int, mailbox_id: int, uids: "array[int]") -> int | None:
    for start in range(0, len(uids), PORTION):
        ends = uids[start], uids[min(start + PORTION, len(uids)) - 1]
        found = scan.select(tx, account_id, mailbox_id, *ends, scan.none_of(scan.has_flag(message.SEEN)))
        if found:
            return found[0]
    return None


async def select(session: Session, command: Select) -> Done:
    return await _select(session, command, read_only=False)


async def examine(session: Session, command: Select) -> Done:
    return await _select(session, command, read_only=True)


async def _select(session: Session, command: Select, read_only: bool) -> Done:
    """rfc9051 6.3.2. A SELECT that fails leaves nothing selected."""
    if command.resync is not None and "QRESYNC" not in session.enabled:
        raise Bad("ENABLE QRESYNC expected before")  # rfc7162 3.2.5
    if "CONDSTORE" in command.params:
        session.enable("CONDSTORE")
    db = session.services.db
    if session.selected is not None:
        await session.deselect()
        session.untagged("OK", "CLOSED", "imap-closed")
    box = await db.look(mailbox.find, session.account_id, command.mailbox)
    if box is None:
        raise Refused("no-such-mailbox", name=command.mailbox[:100])
    read = db.look if box.messages <= FEW else db.read
    opened = await read(_open, session.account_id, box.id, not session.rev2)
    box = opened.box
    view = Selected(
        session.account_id,
        box.id,
        box.uid_validity,
        opened.uids,
        opened.modseq,
        read_only=read_only,
        keywords=box.keywords,
        highest=max(box.modseq, 1),
    )
    if not session.rev2:
        view.recent_from = box.recent_from
        if not read_only:
            if box.recent_from < box.uid_next:
                view.recent_from = await db.write(mailbox.claim_recent, session.account_id, box.id)
            view.recent_claimed = box.uid_next
    session.open(view)
    lines = [*flags_lines(box.keywords, read_only), b"* %d EXISTS\r\n" % len(view.uids)]
    if session.rev2:
        lines.append(b'* LIST () "/" %b\r\n' % session.name(box.name))  # rfc9051 6.3.2
    else:
        lines.append(b"* %d RECENT\r\n" % view.recent())
        first = view.number(opened.unseen) if opened.unseen and not session.uid_only else None
        if first is not None:
            lines.append(b"* OK [UNSEEN %d] First unseen\r\n" % first)
    lines.append(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % box.uid_validity)
    lines.append(b"* OK [UIDNEXT %d] Next UID\r\n" % max(box.uid_next, 1))
    lines.append(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % max(box.modseq, 1))
    lines.append(b"* OK [MAILBOXID (%b)] Id\r\n" % mailbox_id(session.account_id, box).encode())
    session.send(*lines)
    if command.resync is not None:
        await resync.tell(session, command.resync)
    return Done("READ-ONLY" if read_only else "READ-WRITE", "imap-selected")


async def unselect(session: Session, _: Nothing) -> Done:
    await session.deselect()
    return Done()


async def idle(session: Session, _: Nothing) -> Done:
    """RFC 2177. Told by hints; the change log is also read now and then, should a hint have been lost."""
    session.send(b"+ idling\r\n")
    await session.idle_until_done()
    return Done()


# CREATE, DELETE, RENAME, SUBSCRIBE


async def create(session: Session, command: Create) -> Done:
    """With USE (RFC 6154 3): one mailbox an account for each use."""
    made = await session.services.db.write(
        _create, session.account_id, command.mailbox, command.use, session.services.clock.now()
    )
    return Done(f"MAILBOXID ({mailbox_id(session.account_id, made)})")


def mailbox_id(account_id: int, box: Mailbox) -> str:
    """rfc8474 4: one for ever, whatever the mailbox is called, and no other's on this server."""
    return f"F{account_id}-{box.id}"


def _create(tx: Tx, account_id: int, name: str, use: tuple[str, ...], now: float) -> Mailbox:
    role = use[0] if use else ""
    if len(use) > 1 or (role and role not in USES):
        raise Refused("role-unknown")
    changes.hold(tx, [account_id])
    if role and any(box.role == role for box in mailbox.all_mailboxes(tx, account_id)):
        raise Refused("role-taken")
    return mailbox.create(tx, account_id, name, now, role)


async def delete(session: Session, command: Named) -> Done:
    await session.services.db.write(mailbox.delete, session.account_id, command.mailbox, session.services.clock.now())
    return Done()


async def rename(session: Session, command: Rename) -> Done:
    await session.services.db.write(
        mailbox.rename, session.account_id, command.mailbox, command.new_name, session.services.clock.now()
    )
    return Done()


async def subscribe(session: Session, command: Named) -> Done:
    await session.services.db.write(mailbox.subscribe, session.account_id, command.mailbox, True)
    return Done()


async def unsubscribe(session: Session, command: Named) -> Done:
    await session.services.db.write(mailbox.subscribe, session.account_id, command.mailbox, False)
    return Done()


# LIST, LSUB, STATUS, NAMESPACE


async def namespace(session: Session, _: Nothing) -> Done:
    session.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return Done()


async def status(session: Session, command: Status) -> Done:
    db = session.services.db
    box = await db.look(mailbox.find, session.account_id, command.mailbox)
    if box is None:
        raise Refused("no-such-mailbox", name=command.mailbox[:100])
    deleted: Mapping[int, int] = {}
    if "DELETED-STORAGE" in command.items and box.deleted:
        deleted = await db.read(mailbox.deleted_bytes, session.account_id)
    if "HIGHESTMODSEQ" in command.items:
        session.enable("CONDSTORE")  # rfc7162 3.1
    session.send(status_line(session, box, command.items, deleted))
    return Done()


def status_line(
    session: Session, box: Mailbox, items: Iterable[str], deleted: Mapping[int, int] = MappingProxyType({})
) -> bytes:
    """`* STATUS name (MESSAGES 3 …)`; `deleted`: what `mailbox.deleted_bytes` tells, where it is asked for."""
    values = {
        "MESSAGES": box.messages,
        "RECENT": max(0, min(box.uid_next - box.recent_from, box.messages)),
        "UIDNEXT": box.uid_next,
        "UIDVALIDITY": box.uid_validity,
        "UNSEEN": box.unseen,
        "DELETED": box.deleted,
        "SIZE": box.size,
        "HIGHESTMODSEQ": max(box.modseq, 1),
        "MAILBOXID": f"({mailbox_id(session.account_id, box)})",
        "DELETED-STORAGE": deleted.get(box.id, 0),  # rfc9208 4.1.4
        "APPENDLIMIT": session.services.config.limits.message_bytes,  # rfc7889 4
    }
    text = " ".join(f"{item} {values[item]}" for item in items)
    return b"* STATUS %b (%b)\r\n" % (session.name(box.name), text.encode())


async def listing(session: Session, command: Listing) -> Done:
    if not command.extended and command.patterns == ("",):
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')  # asks for the separator (rfc9051 6.3.9)
        return Done()
    boxes, subscribed = await session.services.db.read(_gather, session.account_id)
    if "HIGHESTMODSEQ" in command.status:
        session.enable("CONDSTORE")
    db = session.services.db
    deleted = await db.read(mailbox.deleted_bytes, session.account_id) if "DELETED-STORAGE" in command.status else {}
    asked = [metadata.entry(name) for name in command.metadata]
    notes = await db.read(of_all, session.account_id, session.account_id, asked) if asked else {}
    lines = []
    for entry in entries(boxes, subscribed, command):
        extra = b' ("CHILDINFO" ("SUBSCRIBED"))' if entry.child_info else b""
        said = entry.attributes
        if "\\NonExistent" in said and not session.rev2:
            said = ("\\Noselect", *said)  # who knows rfc3501 only must not select it either
        lines.append(b'* LIST (%b) "/" %b%b\r\n' % (" ".join(said).encode(), session.name(entry.name), extra))
        if command.status and entry.box is not None:
            lines.append(status_line(session, entry.box, command.status, deleted))
        if command.metadata and entry.box is not None:
            lines.append(metadata.line(session, entry.name, command.metadata, notes.get(entry.box.id, {})))
    for piece in pieces(lines):
        session.send(piece)
    return Done()


async def lsub(session: Session, command: Listing) -> Done:
    """rfc3501 6.3.9."""
    boxes, subscribed = await session.services.db.read(_gather, session.account_id)
    names = {box.name for box in boxes}
    pattern = Pattern(command.reference + command.patterns[0])
    found: dict[str, str] = {}
    for name in subscribed:
        if pattern.matches(name):
            found[name] = "" if name in names else "\\Noselect"
        elif command.patterns[0].endswith("%"):
            # A parent that "%" reaches stands for the subscribed names below it.
            for parent in _parents(name):
                if pattern.matches(parent):
                    found.setdefault(parent, "\\Noselect")
    for name in sorted(found):
        flag = "" if name in subscribed and name in names else found[name]
        session.send(b'* LSUB (%b) "/" %b\r\n' % (flag.encode(), session.name(name)))
    return Done()


def _gather(tx: Tx, account_id: int) -> tuple[list[Mailbox], list[str]]:
    return mailbox.all_mailboxes(tx, account_id), mailbox.subscriptions(tx, account_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of LIST. `box` is None for a name without a mailbox."""

    name: str
    attributes: tuple[str, ...]
    box: Mailbox | None
    child_info: bool  # subscribed mailboxes lie below, and this name is listed only for them (rfc5258 3.5)


def entries(boxes: list[Mailbox], subscriptions: list[str], command: Listing) -> Iterator[Entry]:
    """What LIST answers, INBOX first, then by name (rfc9051 6.3.9, rfc6154 2)."""
    by_name = {box.name: box for box in boxes}
    subscribed = set(subscriptions)
    parents = {parent for name in by_name for parent in _parents(name)}
    known = dict.fromkeys(by_name) | dict.fromkeys(sorted(parents - by_name.keys()))
    only_subscribed = "SUBSCRIBED" in command.select
    recursive = "RECURSIVEMATCH" in command.select
    if only_subscribed:
        known |= dict.fromkeys(sorted(subscribed - known.keys()))
    above_subscribed = {parent for name in subscribed for parent in _parents(name)} if recursive else set()
    if recursive:
        known |= dict.fromkeys(sorted(above_subscribed - known.keys()))
    patterns = [Pattern(command.reference + pattern) for pattern in command.patterns]
    tell_subscribed = only_subscribed or "SUBSCRIBED" in command.returns
    for name in known:
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        box = by_name.get(name)
        role = USES.get(box.role, "") if box else ""
        chosen = not (only_subscribed and name not in subscribed) and not ("SPECIAL-USE" in command.select and not role)
        child_info = recursive and only_subscribed and name in above_subscribed
        if not chosen and not child_info:
            continue
        said = [] if box else ["\\NonExistent"]
        said.append("\\HasChildren" if name in parents else "\\HasNoChildren")
        if tell_subscribed and name in subscribed:
            said.append("\\Subscribed")
        if role:
            said.append(role)
        yield Entry(name, tuple(said), box, child_info)


def attributes(box: Mailbox, boxes: Iterable[Mailbox], subscribed: bool) -> tuple[str, ...]:
    """What LIST says of one mailbox; `subscribed`: say so."""
    inside = box.name + "/"
    said = ["\\HasChildren" if any(each.name.startswith(inside) for each in boxes) else "\\HasNoChildren"]
    if subscribed:
        said.append("\\Subscribed")
    if box.role in USES:
        said.append(USES[box.role])
    return tuple(said)


def _parents(name: str) -> Iterator[str]:
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)
