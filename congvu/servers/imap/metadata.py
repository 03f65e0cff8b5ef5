"""METADATA (RFC 5464): notes about mailboxes and about the account, and the same within LIST (RFC 9590).

People keep what they like under /private of anything that is theirs and under /shared of their mailboxes; /shared of
the server is the administrator's. In a mailbox of another's they keep their own under /private, and write those for
all with the right to write flags. Names are those of the registry (comment) or a vendor's. What a mailbox is used for
(specialuse) is computed and cannot be set: it is settled when a mailbox is made.
"""

from collections.abc import Mapping, Sequence

from congvu.actions.sharing import Sharing, Who
from congvu.base.failure import Refused
from congvu.codec.imap import USES, string
from congvu.codec.imap_resources import GetMetadata, SetMetadata
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox, metadata
from congvu.mailstore.across import Place
from congvu.mailstore.mailbox import Mailbox
from congvu.mailstore.metadata import ACCOUNT, Depth, Entry
from congvu.servers import turns
from congvu.servers.imap.session import Done, Session, pieces

_ADMIN = Entry("/admin", False)  # rfc5464 6.2.2: whom to ask
_USE = Entry("/specialuse", True)  # rfc6154 4
READABLE = frozenset("rswip")  # rfc5464 3.3: one of these beside "l"


async def get(session: Session, command: GetMetadata) -> Done:
    """rfc5464 4.2. An entry that was asked for by its name alone and has no value is told as NIL."""
    names = {entry(name): name for name in command.entries}
    asked, depth = tuple(names), Depth(command.depth)
    services = session.services
    found, box = await turns.read(session, _get, services.sharing, session.who, command.mailbox, asked, depth)
    if box is not None and box.role in USES and _USE in names:
        found[_USE] = USES[box.role].encode()
    if not command.mailbox and _ADMIN in names:
        found[_ADMIN] = f"mailto:postmaster@{session.services.config.domains[0]}".encode()
    longest = 0
    told: list[bytes] = []
    for each in dict.fromkeys((*names, *found)):
        value = found.get(each)
        if value is None and depth is not Depth.ENTRY:
            continue
        if value is not None and command.max_size is not None and len(value) > command.max_size:
            longest = max(longest, len(value))
            continue
        told.append(_pair(names.get(each) or _name(each), value))
    if told:
        session.send(b"* METADATA %b (" % session.name(command.mailbox))
        for piece in pieces([told[0], *(b" " + each for each in told[1:]), b")\r\n"]):
            session.send(piece)
            await session.stream.drain()
    return Done(f"METADATA LONGENTRIES {longest}" if longest else "")


async def put(session: Session, command: SetMetadata) -> Done:
    """rfc5464 4.3: all or nothing."""
    values = [(entry(name), value) for name, value in command.values]
    if not command.mailbox and any(not each.private for each, _ in values):
        raise Refused("metadata-not-yours")
    for each, _ in values:
        if each == _USE and command.mailbox:
            raise Refused("role-unknown")
        if each.path != "/comment" and not each.path.startswith("/vendor/"):
            raise Refused("metadata-unknown", name=each.path[:100])
    await turns.write(session, _put, session.services.sharing, session.who, command.mailbox, tuple(values))
    return Done()


def line(session: Session, box: Mailbox, asked: Sequence[str], values: Mapping[Entry, bytes]) -> bytes:
    """The METADATA that goes with a LIST (rfc9590 4)."""
    if box.role in USES:
        values = {**values, _USE: USES[box.role].encode()}
    told = b" ".join(_pair(each, values.get(entry(each))) for each in asked)
    return b"* METADATA %b (%b)\r\n" % (session.name(box.name), told)


def changed_line(session: Session, name: str, changed: Sequence[Entry]) -> bytes:
    """What has changed: names without values (rfc5464 4.4.2)."""
    return b"* METADATA %b %b\r\n" % (session.name(name), b" ".join(string(_name(each)) for each in changed))


def entry(name: str) -> Entry:
    """A name as a client writes it; case does not matter (rfc5464 3.2)."""
    root, _, path = name.lower()[1:].partition("/")
    return Entry("/" + path, root == "private")


def _name(each: Entry) -> str:
    return f"{'/private' if each.private else '/shared'}{each.path}"


def _pair(name: str, value: bytes | None) -> bytes:
    if value is None:
        return b"%b NIL" % string(name)
    if b"\0" in value:
        return b"%b ~{%d}\r\n%b" % (string(name), len(value), value)
    return b"%b %b" % (string(name), string(value))


def _get(
    tx: Tx, sharing: Sharing, who: Who, name: str, entries: Sequence[Entry], depth: Depth
) -> tuple[dict[Entry, bytes], Mailbox | None]:
    """The values, and the mailbox where it is one's own."""
    place = sharing.notes_of(tx, who, name) if name else Place(who.account_id, ACCOUNT)
    own = mailbox.get(tx, who.account_id, place.mailbox_id) if place.account_id == who.account_id and name else None
    return metadata.get(tx, place.account_id, place.mailbox_id, who.account_id, entries, depth), own


def _put(tx: Tx, sharing: Sharing, who: Who, name: str, values: Sequence[tuple[Entry, bytes | None]]) -> None:
    shared = any(not each.private for each, _ in values)
    place = Place(who.account_id, ACCOUNT)
    if name:
        changes.hold(tx, [sharing.notes_of(tx, who, name, shared=shared).account_id])
        place = sharing.notes_of(tx, who, name, shared=shared)  # as it is now that it stays so
    metadata.put(tx, place.account_id, place.mailbox_id, who.account_id, values)
