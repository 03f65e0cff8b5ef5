"""NOTIFY (RFC 5465): what happens in the mailboxes of a person is told as it happens, between commands too.

Built on the change logs as IDLE is: a hint makes the session look, cursors tell what is new; a lost hint is made good
by the next look. Of the selected mailbox the session's view tells (`Session.look`); this module says which of it is
wanted, and tells of all other mailboxes, one's own and those of others, by STATUS and LIST, and of notes about any by
METADATA. `watched` finds out what happened. However much that is, one look costs at most a few lines for each mailbox
and a name for each note; who asks for more is told NOTIFICATIONOVERFLOW and hears nothing further.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from congvu.actions.sharing import COMMON, OTHERS, Seat
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.codec.imap_notify import MAILBOX_EVENTS, OF_SELECTED, Group, Notify, Which, wanted
from congvu.mailstore import mailbox
from congvu.mailstore.changes import Kind
from congvu.mailstore.metadata import ACCOUNT, Entry
from congvu.mailstore.rights import ANYONE, MAX_SHARED
from congvu.servers import turns
from congvu.servers.imap import fetch, metadata, watched
from congvu.servers.imap.mailboxes import attributes, parents_of, status_line
from congvu.servers.imap.session import Done, Session, Tell, pieces
from congvu.servers.imap.watched import Asked, Happened, Key, Notes

NAMES = 100  # of notes in one line
_OF_NAMES = frozenset({"MAILBOXNAME", "SUBSCRIPTIONCHANGE"})
_OF_NOTES = frozenset({"MAILBOXMETADATACHANGE", "SERVERMETADATACHANGE"})
EVENTS = frozenset({"MESSAGENEW", "MESSAGEEXPUNGE", "FLAGCHANGE"}) | MAILBOX_EVENTS
_CAUSES = {
    Kind.APPEARED: "MESSAGENEW",
    Kind.VANISHED: "MESSAGEEXPUNGE",
    Kind.FLAGS: "FLAGCHANGE",
    Kind.SEEN: "FLAGCHANGE",  # the log tells each reader of their own only
}


@dataclass(frozen=True, slots=True)
class Known:
    """A mailbox as last told of. `open`: with the right to read it."""

    name: str
    subscribed: bool
    open: bool


class Watch:
    """What one session asked for with its last NOTIFY."""

    __slots__ = (
        "_asked",
        "_closed",
        "_cursors",
        "_hinted",
        "_known",
        "_notes",
        "_session",
        "_stops",
        "_subscribed",
        "delayed",
        "flags",
        "items",
        "messages",
    )

    def __init__(self, session: Session, groups: tuple[Group, ...]) -> None:
        selected = next((group for group in groups if group.which in OF_SELECTED), None)
        self.messages = selected is not None and "MESSAGENEW" in selected.events
        self.flags = selected is not None and "FLAGCHANGE" in selected.events
        self.delayed = selected is not None and selected.which is Which.SELECTED_DELAYED
        # What sets \Seen is read without it (rfc5465 5.2).
        self.items = tuple(replace(item, peek=True) for item in selected.items) if selected is not None else ()
        self._session = session
        rest = tuple(group for group in groups if group.which not in OF_SELECTED)
        self._cursors: dict[int, int] = {}
        self._asked = Asked(
            session.who,
            rest,
            names=any(group.events & _OF_NAMES for group in rest),
            notes=any(group.events & _OF_NOTES for group in rest),
            others=any(group.events and _may_be_others(group) for group in rest),
            cursors=self._cursors,
        )
        # Of one's own mailboxes only where names are asked for; of others' all that may be known of.
        self._known: dict[Key, Known] = {}
        self._closed: set[Key] = set()  # told as \NoAccess
        self._subscribed: frozenset[str] = frozenset()
        self._notes: Notes = {}
        self._hinted = False
        self._stops: dict[int, Callable[[], None]] = {}

    async def begin(self, status: bool) -> None:
        """Takes in how it stands, and tells what must not be left unsaid (rfc5465 3.1); `status`: the counters too.
        Raises `Refused("notify-too-much")`."""
        session = self._session
        if self._asked.groups:
            self._listen([])  # what happens from here on is no surprise
        try:
            start = await turns.read(session, watched.begin, session.services.sharing, self._asked)
            if start.too_much:
                raise Refused("notify-too-much")
        except BaseException:
            self.close()
            raise
        self._take(start)
        self._subscribed, self._notes = start.subscribed, start.notes
        names = {seat.box.name for seat in start.seats.values()}
        above = _above(names)
        selected = self._selected()
        lines: list[bytes] = []
        for key, seat in start.seats.items():
            if self._asked.names or key[0] != session.account_id:
                self._known[key] = _known(seat)
            events = self._asked.wanted(key, seat.box.name, seat.box.subscribed)
            if events and "r" not in seat.rights:
                self._closed.add(key)
                lines.append(self._list(seat, seat.box.name in above))
            elif status and key != selected and "MESSAGENEW" in events:
                lines.append(
                    status_line(session, seat.box, self._counters("FLAGCHANGE" in events), owner=seat.account_id)
                )
        for piece in pieces(lines):
            session.send(piece)
            await session.stream.drain()

    def close(self) -> None:
        """Nobody calls here any more."""
        for stop in self._stops.values():
            stop()
        self._stops.clear()

    def _listen(self, owners: Iterable[int]) -> None:
        """Hears of these accounts, of one's own, and of what is opened to everybody."""
        heard = {self._session.account_id, *owners, *([ANYONE] if self._asked.others else [])}
        for account_id in [each for each in self._stops if each not in heard]:
            self._stops.pop(account_id)()
        for account_id in heard.difference(self._stops):
            self._stops[account_id] = self._session.services.wake.listen(account_id, self._hint)

    def _take(self, happened: Happened) -> None:
        self._cursors.clear()
        self._cursors.update(happened.cursors)
        if self._asked.groups:
            self._listen(happened.cursors)

    def _hint(self) -> None:
        self._hinted = True
        self._session.nudge()

    def _selected(self) -> Key | None:
        view = self._session.selected
        return (view.account_id, view.mailbox_id) if view is not None else None

    async def look(self, now: bool) -> None:
        """Tells of the other mailboxes what has happened since the last look; without `now`, when it was hinted at."""
        if not self._asked.groups or not (now or self._hinted):
            return
        self._hinted = False
        session = self._session
        what = session.services.sharing, self._asked
        try:
            if self._asked.others:  # which may be many
                happened = await turns.read(session, watched.since, *what)
            else:
                happened = await session.services.db.read(watched.since, *what)
        except NotNow:
            self._hinted = True  # the next look makes it good
            return
        if happened.too_much:
            self._overflow()
            return
        self._take(happened)
        for piece in pieces(self._lines(happened)):
            session.send(piece)
            await session.stream.drain()

    def _overflow(self) -> None:
        """rfc5465 5.8: as after NOTIFY NONE."""
        self.close()
        self._asked = replace(self._asked, groups=())
        self._known, self._notes = {}, {}
        self.messages = self.flags = False
        self._session.untagged("OK", "NOTIFICATIONOVERFLOW", "notify-too-much")

    def _lines(self, happened: Happened) -> Iterator[bytes]:
        session = self._session
        selected = self._selected()
        yield from self._names(happened)
        for key, kinds in happened.kinds.items():
            seat = happened.seats.get(key)
            account = key == (session.account_id, ACCOUNT)
            if seat is None and not account:
                self._notes.pop(key, None)
                continue
            if self._asked.notes and Kind.NOTES in kinds:
                yield from self._noted(key, seat, happened.notes.get(key, {}))
            if seat is None or key == selected or "r" not in seat.rights:
                continue
            events = self._asked.wanted(key, seat.box.name, seat.box.subscribed)
            causes = {_CAUSES[kind] for kind in kinds if kind in _CAUSES}
            if events & causes:
                counters = self._counters("FLAGCHANGE" in causes)
                yield status_line(session, seat.box, counters, owner=seat.account_id)

    def _counters(self, flags: bool) -> tuple[str, ...]:
        """What STATUS tells (rfc5465 3.1, 5.1 to 5.3)."""
        items = ["MESSAGES", "UIDNEXT", "UIDVALIDITY"]
        if flags:
            items.append("UNSEEN")
        if flags or self._session.condstore:
            items.append("HIGHESTMODSEQ")
        return tuple(items)

    # names

    def _names(self, happened: Happened) -> Iterator[bytes]:
        """LIST of the mailboxes that came, went, have another name, are subscribed to or no more, may be read or no
        more (rfc5465 5.4, 5.5, 5.9)."""
        moved = self._moved(happened)
        outside = self._subscribed ^ happened.subscribed
        if not moved and not outside:
            return
        there = {seat.box.name: seat for seat in happened.seats.values()}
        above = _above(there)
        told: set[str] = set()
        renamed: dict[str, str] = {}
        affected: list[str] = []
        for key, before, seat in moved:
            after = _known(seat) if seat is not None else None
            events: frozenset[str] = frozenset()
            for each in (before, after):
                if each is not None:
                    events |= self._asked.wanted(key, each.name, each.subscribed)
            names = "MAILBOXNAME" in events
            if before is not None:
                told.add(before.name)
            if after is not None and seat is not None:
                told.add(after.name)
                with_parent = before is not None and names and _goes_along(before.name, after.name, renamed)
                if before is not None and names and before.name != after.name:
                    renamed[before.name] = after.name
                if not with_parent and self._speaks(key, events, before, after):
                    (self._closed.discard if after.open else self._closed.add)(key)
                    yield self._list(seat, after.name in above, before.name if before is not None else after.name)
            elif before is not None and names:
                self._closed.discard(key)
                yield b'* LIST (\\NonExistent) "/" %b\r\n' % self._session.name(before.name)
            elif before is not None and events and before.open:
                if len(self._closed) >= MAX_SHARED:
                    self._closed.clear()
                self._closed.add(key)
                yield b'* LIST (\\NoAccess) "/" %b\r\n' % self._session.name(before.name)
            if names and (before is None or after is None):
                affected.append((after or before or Known("", False, False)).name.rpartition("/")[0])
        yield from self._parents(affected, told, there, above)
        if self._asked.names:
            known = {each.name for each in self._known.values()}
            yield from self._unknown(sorted(outside - told - there.keys() - known), happened.subscribed)
        self._subscribed = happened.subscribed

    def _moved(self, happened: Happened) -> list[tuple[Key, Known | None, Seat | None]]:
        """The mailboxes of which something changed that LIST tells, as they were known and are, parents first."""
        me, known = self._session.account_id, self._known
        keys = [key for key, kinds in happened.kinds.items() if key[0] == me and Kind.MAILBOX in kinds]
        if not self._asked.names:
            keys = []
        keys += [key for key in known.keys() | happened.seats.keys() if key[0] != me]
        moved = []
        for key in keys:
            before, seat = known.get(key), happened.seats.get(key)
            after = _known(seat) if seat is not None else None
            if before == after:
                continue
            moved.append((key, before, seat))
            if after is not None:
                known[key] = after
            else:
                known.pop(key, None)
                self._notes.pop(key, None)
        return sorted(moved, key=lambda each: each[2].box.name if each[2] else each[1].name if each[1] else "")

    def _speaks(self, key: Key, events: frozenset[str], before: Known | None, after: Known) -> bool:
        """Is a mailbox that is there told of?"""
        if "MAILBOXNAME" in events and (before is None or before.name != after.name):
            return True
        if "SUBSCRIPTIONCHANGE" in events and before is not None and before.subscribed != after.subscribed:
            return True
        lost = before is not None and before.open and not after.open
        return bool(events) and (lost or (after.open and key in self._closed))

    def _list(self, seat: Seat, has_children: bool, before: str = "") -> bytes:
        said = attributes(seat.box, has_children)
        if "r" not in seat.rights:
            said.append("\\NoAccess")
        name = self._session.name
        old = b' ("OLDNAME" (%b))' % name(before) if before not in {"", seat.box.name} else b""
        return b'* LIST (%b) "/" %b%b\r\n' % (" ".join(said).encode(), name(seat.box.name), old)

    def _parents(
        self, names: Iterable[str], told: set[str], there: dict[str, Seat], above: set[str]
    ) -> Iterator[bytes]:
        """What stands directly above a mailbox that came or went is affected too (rfc5465 5.4)."""
        for name in dict.fromkeys(names):
            if not name or name in told:
                continue
            seat = there.get(name)
            if seat is not None:
                key = seat.account_id, seat.box.id
                events = self._asked.wanted(key, name, seat.box.subscribed)
            else:
                own = not self._session.services.sharing.elsewhere(name)
                events = wanted(self._asked.groups, name, own, False, name in self._subscribed)
            if "MAILBOXNAME" not in events:
                continue
            if seat is not None:
                yield self._list(seat, name in above)
            else:
                said = " ".join(attributes(None, name in above)).encode()
                yield b'* LIST (%b) "/" %b\r\n' % (said, self._session.name(name))

    def _unknown(self, names: Iterable[str], subscribed: frozenset[str]) -> Iterator[bytes]:
        """Names without a mailbox that are subscribed to, or no more."""
        for name in names:
            if "SUBSCRIPTIONCHANGE" in wanted(self._asked.groups, name, False, False, True):
                said = b"\\NonExistent \\Subscribed" if name in subscribed else b"\\NonExistent"
                yield b'* LIST (%b) "/" %b\r\n' % (said, self._session.name(name))

    # notes

    def _noted(self, key: Key, seat: Seat | None, now: dict[Entry, bytes]) -> Iterator[bytes]:
        """METADATA with the names of the notes that came, went or have another value (rfc5465 5.6, 5.7). `seat`: None
        for the account."""
        before, self._notes[key] = self._notes.get(key, {}), now
        if seat is None:
            name, told = "", any("SERVERMETADATACHANGE" in group.events for group in self._asked.groups)
        else:
            name = seat.box.name
            events = self._asked.wanted(key, name, seat.box.subscribed)
            told = "MAILBOXMETADATACHANGE" in events and "r" in seat.rights
        if told:
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


def _known(seat: Seat) -> Known:
    return Known(seat.box.name, seat.box.subscribed, "r" in seat.rights)


def _above(names: Iterable[str]) -> set[str]:
    return {parent for name in names for parent in parents_of(name)}


def _goes_along(old: str, new: str, renamed: dict[str, str]) -> bool:
    """Did it get its name with its parent, of which that is told? (rfc5465 5.4)"""
    parent, _, last = new.rpartition("/")
    before, _, last_before = old.rpartition("/")
    return bool(before) and last == last_before and renamed.get(before) == parent


def _may_be_others(group: Group) -> bool:
    """Can a mailbox of another's be among those of a group?"""
    named = any(name.partition("/")[0] in {OTHERS, COMMON} for name in group.names)
    return group.which is Which.SUBSCRIBED or named


async def notify(session: Session, command: Notify) -> Done:
    """rfc5465 3.1."""
    if any(group.events - EVENTS for group in command.groups):
        raise Refused("bad-event")
    await session.look(Tell.NOW)  # what has been waiting, by the rules of before
    watch = Watch(session, _canonical(command.groups))
    await watch.begin(command.status)
    session.unwatch()
    session.watch = watch
    return Done()


def _canonical(groups: tuple[Group, ...]) -> tuple[Group, ...]:
    return tuple(replace(group, names=frozenset(map(mailbox.canonical, group.names))) for group in groups)
