"""IMAP commands about mailboxes: SELECT and what ends it, IDLE, CREATE and its kin, LIST, LSUB, STATUS, NAMESPACE.

Each is one function inside one transaction that gathers, and one outside that words the answer. A name is what the
person sees (NFC, "/" between levels); how it is written on the wire is the session's matter.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from congvu.actions.sharing import COMMON, OTHERS, Seat, Sharing, Who
from congvu.base.failure import Refused
from congvu.codec.imap import USES, Create, Listing, Named, Nothing, Rename, Select, Status, string
from congvu.codec.imap_acl import ALL, shown
from congvu.codec.imap_names import Pattern, encode_utf7
from congvu.codec.imap_words import Bad
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox, message, scan, seen
from congvu.mailstore.mailbox import Mailbox
from congvu.mailstore.metadata import Entry, of_all
from congvu.servers import turns
from congvu.servers.imap import metadata, resync
from congvu.servers.imap.guest import Guest
from congvu.servers.imap.reading import CHUNK
from congvu.servers.imap.session import FEW, Done, Session, pieces
from congvu.servers.imap.view import Selected, flags_lines

AT_ONCE = 2_000  # messages removed in one transaction
PORTION = 1_000  # messages looked at for the first unseen one, which is mostly near the end or nowhere


# SELECT, EXAMINE, CLOSE, UNSELECT


@dataclass(frozen=True, slots=True)
class _Opened:
    seat: Seat
    uids: "array[int]"
    modseq: int
    unseen: int | None  # the first unseen UID
    has_children: bool | None = None  # None: not asked for


def _open(tx: Tx, sharing: Sharing, who: Who, seat: Seat, rev2: bool) -> _Opened:
    box = mailbox.get(tx, seat.account_id, seat.box.id)
    if box is None:
        raise Refused("no-such-mailbox", name="")  # deleted in this moment
    seat = replace(seat, box=replace(box, name=seat.box.name, role=seat.box.role))
    uids = message.uids(tx, seat.account_id, box.id) if box.messages else array("I")
    unseen = _first_unseen(tx, seat, uids) if not rev2 and (box.unseen or seat.reader) else None
    has_children = sharing.has_children(tx, who, seat) if rev2 else None
    return _Opened(seat, uids, changes.highest(tx, seat.account_id), unseen, has_children)


def _first_unseen(tx: Tx, seat: Seat, uids: "array[int]") -> int | None:
    account_id, mailbox_id = seat.account_id, seat.box.id
    if seat.reader:
        return seen.first_unseen(tx, account_id, mailbox_id, seat.reader, uids)
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
    if command.resync is not None and command.resync.match is not None and session.uid_only:
        raise Refused("uid-required")  # rfc9586 3: what it matches are sequence numbers
    db = session.services.db
    if session.selected is not None:
        await session.deselect()
        session.untagged("OK", "CLOSED", "imap-closed")
    if "CONDSTORE" in command.params:
        session.enable("CONDSTORE")
    sharing = session.services.sharing
    seat = await db.look(sharing.need, session.who, command.mailbox, "r")
    read = db.look if seat.box.messages <= FEW else db.read
    opened = await read(_open, sharing, session.who, seat, session.rev2)
    seat, box = opened.seat, opened.seat.box
    foreign = seat.account_id != session.account_id
    if not {*seat.rights} & {*"istwe"}:
        read_only = True
    view = Selected(
        seat.account_id,
        box.id,
        box.uid_validity,
        opened.uids,
        opened.modseq,
        read_only=read_only,
        keywords=box.keywords,
        highest=max(box.modseq, 1),
        guest=Guest(db, sharing, session.who, seat.account_id, box.id) if foreign else None,
        rights=seat.rights,
        reader=seat.reader,
    )
    if not session.rev2 and not foreign:  # what is new to its owner stays new whoever else looks
        view.recent_from = box.recent_from
        if not read_only:
            if box.recent_from < box.uid_next:
                view.recent_from = await db.write(mailbox.claim_recent, session.account_id, box.id)
            view.recent_claimed = box.uid_next
    session.open(view)
    lines = [*flags_lines(box.keywords, read_only, seat.rights), b"* %d EXISTS\r\n" % len(view.uids)]
    if session.rev2:
        lines.append(_as_listed(session, command.mailbox, box.name, attributes(box, opened.has_children)))
    else:
        lines.append(b"* %d RECENT\r\n" % view.recent())
        first = view.number(opened.unseen) if opened.unseen and not session.uid_only else None
        if first is not None:
            lines.append(b"* OK [UNSEEN %d] First unseen\r\n" % first)
    lines.append(b"* OK [UIDVALIDITY %d] UIDs valid\r\n" % box.uid_validity)
    lines.append(b"* OK [UIDNEXT %d] Next UID\r\n" % max(box.uid_next, 1))
    lines.append(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % max(box.modseq, 1))
    lines.append(b"* OK [MAILBOXID (%b)] Id\r\n" % mailbox_id(seat.account_id, box).encode())
    session.send(*lines)
    if command.resync is not None:
        await resync.tell(session, command.resync)
    # rfc4314 5.2: who changes nothing that others see is told READ-ONLY, and keeps an own \\Seen nevertheless.
    changes_something = {*seat.rights} & {*("itwe" if seat.reader else "istwe")}
    return Done("READ-WRITE" if changes_something and not read_only else "READ-ONLY", "imap-selected")


def _as_listed(session: Session, said: str, name: str, attributes: Iterable[str] = ()) -> bytes:
    """LIST of a mailbox of which a command speaks, with the name that the client gave it where it is kept in another
    form (rfc9051 6.3.9.7): INBOX in other letters, marks apart from their letters. `said`: the command's name."""
    given = session.given.get(said, said)
    old = b' ("OLDNAME" (%b))' % session.name(given) if given != name else b""
    return b'* LIST (%b) "/" %b%b\r\n' % (" ".join(attributes).encode(), session.name(name), old)


def _tell_form(session: Session, said: str, attributes: Iterable[str] = ()) -> None:
    """The same, only where that is so."""
    if session.rev2 and said in session.given:
        session.send(_as_listed(session, said, said.removesuffix("/"), attributes))


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
    services = session.services
    owner, made = await services.db.write(
        _create, services.sharing, session.who, command.mailbox, command.use, services.clock.now()
    )
    _tell_form(session, command.mailbox)
    return Done(f"MAILBOXID ({mailbox_id(owner, made)})")


def mailbox_id(account_id: int, box: Mailbox) -> str:
    """rfc8474 4: one for ever, whatever the mailbox is called, and no other's on this server."""
    return f"F{account_id}-{box.id}"


def _create(tx: Tx, sharing: Sharing, who: Who, name: str, use: tuple[str, ...], now: float) -> tuple[int, Mailbox]:
    role = use[0] if use else ""
    if len(use) > 1 or (role and (role not in USES or sharing.elsewhere(name))):
        raise Refused("role-unknown")
    if not sharing.elsewhere(name):
        changes.hold(tx, [who.account_id])
    if role and any(box.role == role for box in mailbox.all_mailboxes(tx, who.account_id)):
        raise Refused("role-taken")
    return sharing.create(tx, who, name, role, now)


async def delete(session: Session, command: Named) -> Done:
    """What lies in a large mailbox goes in portions before it. One that fails on its way leaves the rest."""
    services, who, name = session.services, session.who, command.mailbox
    sharing, db = services.sharing, services.db
    if await db.look(sharing.doomed, who, name) > AT_ONCE:
        while await turns.write(session, sharing.thin_out, who, name, AT_ONCE, services.clock.now()):
            pass
    await db.write(sharing.delete, who, name, services.clock.now())
    _tell_form(session, name, ["\\NonExistent"])
    return Done()


async def rename(session: Session, command: Rename) -> Done:
    services = session.services
    await services.db.write(
        services.sharing.rename, session.who, command.mailbox, command.new_name, services.clock.now()
    )
    if session.rev2 and not session.given.keys().isdisjoint((command.mailbox, command.new_name)):
        session.send(_as_listed(session, command.mailbox, command.new_name.removesuffix("/")))
    return Done()


async def subscribe(session: Session, command: Named) -> Done:
    await session.services.db.write(session.services.sharing.subscribe, session.who, command.mailbox, True)
    return Done()


async def unsubscribe(session: Session, command: Named) -> Done:
    await session.services.db.write(session.services.sharing.subscribe, session.who, command.mailbox, False)
    return Done()


# LIST, LSUB, STATUS, NAMESPACE


async def namespace(session: Session, _: Nothing) -> Done:
    """RFC 2342: one's own, other people's, the common ones."""
    names = (f"{name}/" if session.utf8 else encode_utf7(f"{name}/") for name in (OTHERS, COMMON))
    others, common = (string(name, session.utf8) for name in names)
    session.send(b'* NAMESPACE (("" "/")) ((%b "/")) ((%b "/"))\r\n' % (others, common))
    return Done()


def _state(tx: Tx, sharing: Sharing, who: Who, name: str) -> Seat:
    """The mailbox with the counters that this person is told."""
    seat = sharing.need(tx, who, name, "r")
    return seat if seat.account_id == who.account_id else sharing.counted(tx, who, [seat])[0]


async def status(session: Session, command: Status) -> Done:
    db, sharing = session.services.db, session.services.sharing
    seat = await db.look(_state, sharing, session.who, command.mailbox)
    deleted: Mapping[int, int] = {}
    if "DELETED-STORAGE" in command.items and seat.box.deleted:
        deleted = await db.read(mailbox.deleted_bytes, seat.account_id)
    if "HIGHESTMODSEQ" in command.items:
        session.enable("CONDSTORE")  # rfc7162 3.1
    session.send(status_line(session, seat.box, command.items, deleted, seat.account_id))
    return Done()


def status_line(
    session: Session,
    box: Mailbox,
    items: Iterable[str],
    deleted: Mapping[int, int] = MappingProxyType({}),
    owner: int = 0,
) -> bytes:
    """`* STATUS name (MESSAGES 3 …)`; `deleted`: what `mailbox.deleted_bytes` tells, where it is asked for; `owner`:
    the account whose mailbox it is, when it is another's."""
    values = {
        "MESSAGES": box.messages,
        "RECENT": max(0, min(box.uid_next - box.recent_from, box.messages)),
        "UIDNEXT": box.uid_next,
        "UIDVALIDITY": box.uid_validity,
        "UNSEEN": box.unseen,
        "DELETED": box.deleted,
        "SIZE": box.size,
        "HIGHESTMODSEQ": max(box.modseq, 1),
        "MAILBOXID": f"({mailbox_id(owner or session.account_id, box)})",
        "DELETED-STORAGE": deleted.get(box.id, 0),  # rfc9208 4.1.4
        "APPENDLIMIT": session.services.config.limits.message_bytes,  # rfc7889 4
    }
    text = " ".join(f"{item} {values[item]}" for item in items)
    return b"* STATUS %b (%b)\r\n" % (session.name(box.name), text.encode())


async def listing(session: Session, command: Listing) -> Done:
    if not command.extended and command.patterns == ("",):
        session.send(b'* LIST (\\Noselect) "/" ""\r\n')  # asks for the separator (rfc9051 6.3.9)
        return Done()
    boxes, subscribed, others = await session.services.db.read(
        _gather, session.services.sharing, session.who, bool({"UNSEEN", "RECENT"} & {*command.status})
    )
    if "HIGHESTMODSEQ" in command.status:
        session.enable("CONDSTORE")
    asked = [metadata.entry(name) for name in command.metadata]
    of_owner = _OfOwner(session, "DELETED-STORAGE" in command.status, asked)
    lines: list[bytes] = []
    size = 0
    steps = len(boxes) * sum(map(len, command.patterns))
    for entry in await turns.walk(session, steps, lambda: list(entries(boxes, subscribed, command))):
        criteria = b" ".join(b'"%b"' % each.encode() for each in entry.child_info)
        extra = b' ("CHILDINFO" (%b))' % criteria if criteria else b""
        said = entry.attributes
        seat = others.get(entry.name) if entry.box is not None else None
        may, owner = (seat.rights, seat.account_id) if seat is not None else (ALL, session.account_id)
        if ("\\NonExistent" in said and not session.rev2) or "r" not in may:
            said = ("\\Noselect", *said)  # who knows rfc3501 only must not select it either; rfc5819 2
        lines.append(b'* LIST (%b) "/" %b%b\r\n' % (" ".join(said).encode(), session.name(entry.name), extra))
        if entry.box is None:
            continue
        if "MYRIGHTS" in command.returns:  # RFC 8440
            lines.append(b"* MYRIGHTS %b %b\r\n" % (session.name(entry.name), shown(may).encode()))
        if command.status and "r" in may:
            deleted, _ = await of_owner.read(owner)
            lines.append(status_line(session, entry.box, command.status, deleted, owner))
        if command.metadata and metadata.READABLE & {*may}:
            _, notes = await of_owner.read(owner)
            lines.append(metadata.line(session, entry.box, command.metadata, notes.get(entry.box.id, {})))
            size += len(lines[-1])
            if size > CHUNK:
                session.send(*lines)
                await session.stream.drain()
                lines, size = [], 0
    for piece in pieces(lines):
        session.send(piece)
        await session.stream.drain()
    return Done()


class _OfOwner:
    """What LIST tells beside the mailboxes of one account after the other: no more than one's is held."""

    __slots__ = ("_asked", "_deleted", "_found", "_owner", "_session")

    def __init__(self, session: Session, deleted: bool, asked: Sequence[Entry]) -> None:
        self._session = session
        self._deleted = deleted
        self._asked = asked
        self._owner = 0
        self._found: tuple[dict[int, int], dict[int, dict[Entry, bytes]]] = {}, {}

    async def read(self, owner: int) -> tuple[dict[int, int], dict[int, dict[Entry, bytes]]]:
        r"""Of each mailbox: the bytes of messages flagged \Deleted, the notes."""
        if owner != self._owner:
            self._owner, self._found = owner, ({}, {})
            db, reader = self._session.services.db, self._session.account_id
            self._found = (
                await db.read(mailbox.deleted_bytes, owner) if self._deleted else {},
                await db.read(of_all, owner, reader, self._asked) if self._asked else {},
            )
        return self._found


async def lsub(session: Session, command: Listing) -> Done:
    """rfc3501 6.3.9."""
    boxes, subscribed, _ = await session.services.db.read(_gather, session.services.sharing, session.who)
    names = {box.name for box in boxes}
    pattern = Pattern(command.reference + command.patterns[0])
    found: dict[str, str] = {}
    for name in subscribed:
        if pattern.matches(name):
            found[name] = "" if name in names else "\\Noselect"
        elif command.patterns[0].endswith("%"):
            # A parent that "%" reaches stands for the subscribed names below it.
            for parent in parents_of(name):
                if pattern.matches(parent):
                    found.setdefault(parent, "\\Noselect")
    for name in sorted(found):
        flag = "" if name in subscribed and name in names else found[name]
        session.send(b'* LSUB (%b) "/" %b\r\n' % (flag.encode(), session.name(name)))
    return Done()


def _gather(
    tx: Tx, sharing: Sharing, who: Who, count: bool = False
) -> tuple[list[Mailbox], list[str], dict[str, Seat]]:
    """One's own mailboxes and those of others, the subscribed names, and the places in those of others by name."""
    boxes, seats = mailbox.all_mailboxes(tx, who.account_id), sharing.visible(tx, who)
    if count:
        seats = sharing.counted(tx, who, seats)
    boxes += [seat.box for seat in seats]
    return boxes, mailbox.subscriptions(tx, who.account_id), {seat.box.name: seat for seat in seats}


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of LIST. `box` is None for a name without a mailbox."""

    name: str
    attributes: tuple[str, ...]
    box: Mailbox | None
    child_info: tuple[str, ...]  # what is asked for and mailboxes below it fulfil (rfc5258 3.5)


def entries(boxes: list[Mailbox], subscriptions: list[str], command: Listing) -> Iterator[Listed]:
    """What LIST answers, INBOX first, then by name (rfc9051 6.3.9, rfc6154 2)."""
    by_name = {box.name: box for box in boxes}
    subscribed = set(subscriptions)
    parents = {parent for name in by_name for parent in parents_of(name)}
    known = dict.fromkeys(by_name) | dict.fromkeys(sorted(parents - by_name.keys()))
    criteria = tuple(each for each in ("SUBSCRIBED", "SPECIAL-USE") if each in command.select)
    recursive = "RECURSIVEMATCH" in command.select
    if "SUBSCRIBED" in criteria:
        known |= dict.fromkeys(sorted(subscribed - known.keys()))
    roles = {box.name: USES[box.role] for box in boxes if box.role in USES}
    chosen = set(known)
    if "SUBSCRIBED" in criteria:
        chosen &= subscribed
    if "SPECIAL-USE" in criteria:
        chosen &= roles.keys()
    above = {parent for name in chosen for parent in parents_of(name)} if recursive else set()
    known |= dict.fromkeys(sorted(above - known.keys()))
    # In an extended LIST an empty pattern means nothing (rfc5258 3).
    patterns = [Pattern(command.reference + pattern) for pattern in command.patterns if pattern or not command.extended]
    # A name that is not asked for itself is told for the sake of those below it that are not told (rfc5258 3.5).
    untold = [name for name in chosen if not any(pattern.matches(name) for pattern in patterns)] if recursive else []
    above_untold = {parent for name in untold for parent in parents_of(name)}
    tell_subscribed = "SUBSCRIBED" in criteria or "SUBSCRIBED" in command.returns
    for name in known:
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        box = by_name.get(name)
        if name not in chosen and name not in above_untold:
            continue
        said = [] if box else ["\\NonExistent"]
        said.append("\\HasChildren" if name in parents else "\\HasNoChildren")
        if tell_subscribed and name in subscribed:
            said.append("\\Subscribed")
        if name in roles:
            said.append(roles[name])
        yield Listed(name, tuple(said), box, criteria if name in above else ())


def attributes(box: Mailbox | None, has_children: bool | None) -> list[str]:
    """What LIST says of one name; None: there is no such mailbox, it is not known."""
    said = [] if box is not None else ["\\NonExistent"]
    if has_children is not None:
        said.append("\\HasChildren" if has_children else "\\HasNoChildren")
    if box is not None and box.subscribed:
        said.append("\\Subscribed")
    if box is not None and box.role in USES:
        said.append(USES[box.role])
    return said


def parents_of(name: str) -> Iterator[str]:
    """The names above one, the first level first."""
    at = name.find("/")
    while at >= 0:
        yield name[:at]
        at = name.find("/", at + 1)
