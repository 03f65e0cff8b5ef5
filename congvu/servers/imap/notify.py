"""NOTIFY (RFC 5465): what happens in an account is told as it happens, between commands too.

Built on the account's change log as IDLE is: a hint makes the session look, a cursor tells what is new; a lost hint is
made good by the next look. Of the selected mailbox the session's view tells (`Session.look`); this module says which
of it is wanted, and tells of all other mailboxes by STATUS and LIST, and of notes about any by METADATA. It watches the
account's own mailboxes, not those that others have opened to it. However much happens, one look costs at most a line
for each mailbox and a name for each note; who asks for more is told NOTIFICATIONOVERFLOW and hears nothing further.
"""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.codec.imap_notify import OF_SELECTED, Group, Notify, Which
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox
from congvu.mailstore.changes import Kind
from congvu.mailstore.mailbox import Mailbox
from congvu.mailstore.metadata import ACCOUNT, Entry, digests
from congvu.servers.imap import fetch, metadata
from congvu.servers.imap.mailboxes import attributes, status_line
from congvu.servers.imap.session import Done, Session, Tell, pieces

LOG_ROWS = 20_000  # of the change log that one look reads; who is further behind than that gets an overflow
NAMES = 100  # of notes in one line
_OF_MAILBOXES = frozenset({"MAILBOXNAME", "SUBSCRIPTIONCHANGE"})
_OF_NOTES = frozenset({"MAILBOXMETADATACHANGE", "SERVERMETADATACHANGE"})
EVENTS = frozenset({"MESSAGENEW", "MESSAGEEXPUNGE", "FLAGCHANGE"}) | _OF_MAILBOXES | _OF_NOTES
_CAUSES = {Kind.APPEARED: "MESSAGENEW", Kind.VANISHED: "MESSAGEEXPUNGE", Kind.FLAGS: "FLAGCHANGE"}


Notes = dict[int, dict[Entry, bytes]]  # by the mailbox's number: its entries with digests of their values


@dataclass(frozen=True, slots=True)
class Known:
    """A mailbox as last told."""

    name: str
    subscribed: bool


@dataclass(frozen=True, slots=True)
class Happened:
    """What the log says since the cursor. `kinds`: of each mailbox; `boxes`: all of them, or those of `kinds` only;
    `notes`: as they are now, of those where some have changed."""

    cursor: int
    kinds: dict[int, set[Kind]]
    boxes: dict[int, Mailbox]
    notes: Notes
    too_much: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """The account when NOTIFY came."""

    cursor: int
    boxes: list[Mailbox]
    notes: Notes | None


class Watch:
    """What one session asked for with its last NOTIFY."""

    __slots__ = (
        "_cursor",
        "_groups",
        "_hinted",
        "_known",
        "_notes",
        "_session",
        "_stop",
        "delayed",
        "flags",
        "items",
        "messages",
    )

    def __init__(self, session: Session, groups: tuple[Group, ...], start: Start) -> None:
        selected = next((group for group in groups if group.which in OF_SELECTED), None)
        self.messages = selected is not None and "MESSAGENEW" in selected.events
        self.flags = selected is not None and "FLAGCHANGE" in selected.events
        self.delayed = selected is not None and selected.which is Which.SELECTED_DELAYED
        # What sets \Seen is read without it (rfc5465 5.2).
        self.items = tuple(replace(item, peek=True) for item in selected.items) if selected is not None else ()
        self._session = session
        self._groups = tuple(group for group in groups if group.which not in OF_SELECTED)
        self._cursor = start.cursor
        self._notes = start.notes
        names = any(group.events & _OF_MAILBOXES for group in self._groups)
        self._known = {box.id: Known(box.name, box.subscribed) for box in start.boxes} if names else None
        self._hinted = False
        self._stop: Callable[[], None] | None = None
        if self._groups:
            self._stop = session.services.wake.listen(session.account_id, self._hint)

    def close(self) -> None:
        """Nobody calls here any more."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def _hint(self) -> None:
        self._hinted = True
        self._session.nudge()

    def wanted(self, name: str, inbox: bool, subscribed: bool) -> frozenset[str]:
        """The events of a mailbox: those of the first group that speaks of it."""
        return next((group.events for group in self._groups if _speaks_of(group, name, inbox, subscribed)), frozenset())

    async def look(self, now: bool) -> None:
        """Tells of the other mailboxes what has happened since the last look; without `now`, when it was hinted at."""
        if not self._groups or not (now or self._hinted):
            return
        self._hinted = False
        session = self._session
        try:
            happened = await session.services.db.read(
                _since, session.account_id, self._cursor, self._known is not None, self._notes is not None
            )
        except NotNow:
            self._hinted = True  # the next look makes it good
            return
        if happened.too_much:
            self._overflow()
            return
        self._cursor = happened.cursor
        for piece in pieces(self._lines(happened)):
            session.send(piece)
            await session.stream.drain()

    def _overflow(self) -> None:
        """rfc5465 5.8: as after NOTIFY NONE."""
        self.close()
        self._groups = ()
        self.messages = self.flags = False
        self._session.untagged("OK", "NOTIFICATIONOVERFLOW", "notify-too-much")

    def _lines(self, happened: Happened) -> Iterator[bytes]:
        session = self._session
        view = session.selected
        selected = view.mailbox_id if view is not None and view.account_id == session.account_id else 0
        for number, kinds in happened.kinds.items():
            box = happened.boxes.get(number)
            if Kind.MAILBOX in kinds and self._known is not None:
                yield from self._named(number, box, happened.boxes)
            if self._notes is not None and box is None and number != ACCOUNT:
                self._notes.pop(number, None)
            elif self._notes is not None and Kind.NOTES in kinds:
                yield from self._noted(number, box, self._notes, happened.notes.get(number, {}))
            if box is None or number == selected:
                continue
            wanted = self.wanted(box.name, box.id == mailbox.INBOX, box.subscribed)
            if wanted.intersection(_CAUSES[kind] for kind in kinds if kind in _CAUSES):
                yield status_line(session, box, self.counters(flags=Kind.FLAGS in kinds))

    def counters(self, flags: bool = False) -> tuple[str, ...]:
        """What STATUS tells (rfc5465 5.1 to 5.3)."""
        items = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"]
        if flags:
            items.append("UNSEEN")
        if flags or self._session.condstore:
            items.append("HIGHESTMODSEQ")
        return tuple(items)

    def _named(self, number: int, box: Mailbox | None, boxes: dict[int, Mailbox]) -> Iterator[bytes]:
        """LIST of a mailbox that came, went, has another name, or is subscribed to or no more (rfc5465 5.4, 5.5)."""
        if self._known is None:
            return
        before = self._known.pop(number, None)
        if box is not None:
            self._known[number] = Known(box.name, box.subscribed)
        wanted: frozenset[str] = frozenset()
        for each in (before, box):
            if each is not None:
                wanted |= self.wanted(each.name, number == mailbox.INBOX, each.subscribed)
        name = self._session.name
        if box is None:
            if before is not None and "MAILBOXNAME" in wanted:
                yield b'* LIST (\\NonExistent) "/" %b\r\n' % name(before.name)
            return
        renamed = before is not None and before.name != box.name
        told = "MAILBOXNAME" in wanted and (before is None or renamed)
        if not told and not (
            "SUBSCRIPTIONCHANGE" in wanted and before is not None and before.subscribed != box.subscribed
        ):
            return
        old = b' ("OLDNAME" (%b))' % name(before.name) if before is not None and renamed else b""
        said = " ".join(attributes(box, boxes.values(), box.subscribed)).encode()
        yield b'* LIST (%b) "/" %b%b\r\n' % (said, name(box.name), old)

    def _noted(self, number: int, box: Mailbox | None, known: Notes, now: dict[Entry, bytes]) -> Iterator[bytes]:
        """METADATA with the names of the notes that came, went or have another value (rfc5465 5.6, 5.7). `box`: None
        for the account."""
        before, known[number] = known.get(number, {}), now
        if box is None:
            name, wanted = "", any("SERVERMETADATACHANGE" in group.events for group in self._groups)
        else:
            name = box.name
            wanted = "MAILBOXMETADATACHANGE" in self.wanted(name, number == mailbox.INBOX, box.subscribed)
        if wanted:
            changed = [each for each in before | now if before.get(each) != now.get(each)]
            for at in range(0, len(changed), NAMES):
                yield metadata.changed_line(self._session, name, changed[at : at + NAMES])

    async def show(self, uids: "array[int]") -> None:
        """What MessageNew asks of new messages of the selected mailbox."""
        if not self.items or not uids:
            return
        try:
            await fetch.run(self._session, uids, self.items, None, uid_command=True)
        except (Refused, NotNow) as error:
            log.warning("account %d: NOTIFY cannot show a message: %s", self._session.account_id, error)


def _speaks_of(group: Group, name: str, inbox: bool, subscribed: bool) -> bool:
    match group.which:
        case Which.PERSONAL:
            return True
        case Which.INBOXES:
            return inbox
        case Which.SUBSCRIBED:
            return subscribed
        case Which.MAILBOXES:
            return name in group.names
        case Which.SUBTREE:
            return name in group.names or any(parent in group.names for parent in _parents(name))
    return False


def _parents(name: str) -> Iterator[str]:
    while slash := name.rpartition("/")[0]:
        yield slash
        name = slash


def _since(tx: Tx, account_id: int, cursor: int, with_names: bool, with_notes: bool) -> Happened:
    kinds: dict[int, set[Kind]] = {}
    rows = changes.kinds_since(tx, account_id, cursor, LOG_ROWS + 1)
    for number, kind in rows:
        kinds.setdefault(number, set()).add(kind)
    highest = changes.highest(tx, account_id)
    if len(rows) > LOG_ROWS:
        return Happened(highest, {}, {}, {}, too_much=True)
    if not kinds:
        return Happened(highest, {}, {}, {})
    if with_names and any(Kind.MAILBOX in each for each in kinds.values()):
        boxes = mailbox.all_mailboxes(tx, account_id)
    else:
        boxes = mailbox.some(tx, account_id, list(kinds))
    noted = [number for number, each in kinds.items() if Kind.NOTES in each] if with_notes else []
    notes = digests(tx, account_id, account_id, noted) if noted else {}
    return Happened(highest, kinds, {box.id: box for box in boxes}, notes)


async def notify(session: Session, command: Notify) -> Done:
    """rfc5465 3.1."""
    if any(group.events - EVENTS for group in command.groups):
        raise Refused("bad-event")
    await session.look(Tell.NOW)  # what has been waiting, by the rules of before
    notes = any(group.events & _OF_NOTES for group in command.groups)
    start = await session.services.db.read(_start, session.account_id, notes)
    session.unwatch()
    watch = session.watch = Watch(session, _canonical(command.groups), start)
    if command.status:
        selected = session.selected.mailbox_id if session.selected is not None and session.selected.guest is None else 0
        lines = (
            status_line(session, box, watch.counters())
            for box in start.boxes
            if box.id != selected and "MESSAGENEW" in watch.wanted(box.name, box.id == mailbox.INBOX, box.subscribed)
        )
        for piece in pieces(lines):
            session.send(piece)
            await session.stream.drain()
    return Done()


def _start(tx: Tx, account_id: int, with_notes: bool) -> Start:
    boxes = mailbox.all_mailboxes(tx, account_id)
    notes = digests(tx, account_id, account_id, [ACCOUNT, *(box.id for box in boxes)]) if with_notes else None
    return Start(changes.highest(tx, account_id), boxes, notes)


def _canonical(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    return tuple(replace(group, names=frozenset(map(mailbox.canonical, group.names))) for group in groups)
