"""What NOTIFY finds out (RFC 5465): what has happened, since cursors, in one's own mailboxes and in those of others.

One read on one snapshot. Rights are asked anew with each: what somebody may not know of (any more) is not among the
seats. Bounded whatever has happened: so many rows of change logs, so many notes; more than that is told as too much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from congvu.actions.sharing import Seat, Sharing, Who
from congvu.codec.imap_acl import ALL
from congvu.codec.imap_notify import Group, wanted
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox
from congvu.mailstore.changes import Kind
from congvu.mailstore.mailbox import Mailbox
from congvu.mailstore.metadata import ACCOUNT, Entry, digests

LOG_ROWS = 20_000  # of the change logs that one look reads; who is further behind than that gets an overflow
MAX_NOTES = 20_000  # of all mailboxes that are watched: each is held as a name and a digest

Key = tuple[int, int]  # whose mailbox, its number
Notes = dict[Key, dict[Entry, bytes]]  # a mailbox's entries with digests of their values


@dataclass(frozen=True, slots=True)
class Asked:
    """What one session watches. `names`: names and subscriptions of its own mailboxes too; `others`: mailboxes of
    others may be among those that are watched; `cursors`: how far the change log of each owner has been read."""

    who: Who
    groups: tuple[Group, ...]
    names: bool
    notes: bool
    others: bool
    cursors: Mapping[int, int] = field(default_factory=dict)

    def wanted(self, key: Key, name: str, subscribed: bool) -> frozenset[str]:
        """The events of a mailbox."""
        own = key[0] == self.who.account_id
        return wanted(self.groups, name, own, own and key[1] == mailbox.INBOX, subscribed)


@dataclass(frozen=True, slots=True)
class Happened:
    """What is new. `kinds`: what happened in which mailbox; `seats`: all mailboxes of others that may be known of, and
    of one's own those of `kinds`, or all where a name among them changed; `subscribed`: names that no mailbox of one's
    own has; `notes`: as they are now, where some have changed."""

    cursors: dict[int, int]
    kinds: dict[Key, set[Kind]]
    seats: dict[Key, Seat]
    subscribed: frozenset[str]
    notes: Notes
    too_much: bool = False


def begin(tx: Tx, sharing: Sharing, asked: Asked) -> Happened:
    """How it stands when NOTIFY comes: all mailboxes that are watched, with their notes."""
    me = asked.who.account_id
    subscribed = _subscribed(tx, asked)
    seats = _own_seats(me, mailbox.all_mailboxes(tx, me)) | _others(tx, sharing, asked, subscribed, counted=True)
    notes = _notes(tx, me, [(me, ACCOUNT), *_spoken(asked, seats)]) if asked.notes else {}
    too_much = sum(map(len, notes.values())) > MAX_NOTES
    return Happened(changes.highest_of(tx, _owners(asked, seats)), {}, seats, subscribed, notes, too_much)


def since(tx: Tx, sharing: Sharing, asked: Asked) -> Happened:
    """What has happened since the cursors."""
    me = asked.who.account_id
    subscribed = _subscribed(tx, asked)
    seats = _others(tx, sharing, asked, subscribed)
    cursors = changes.highest_of(tx, _owners(asked, seats))
    kinds: dict[Key, set[Kind]] = {}
    left = LOG_ROWS
    for owner, highest in cursors.items():
        before = asked.cursors.get(owner, highest)
        rows = changes.kinds_since(tx, owner, before, left + 1, me) if highest > before else []
        left -= len(rows)
        if left < 0:
            return Happened(cursors, {}, {}, subscribed, {}, too_much=True)
        for number, kind in rows:
            kinds.setdefault((owner, number), set()).add(kind)
    own = [number for owner, number in kinds if owner == me]
    if asked.names and any(Kind.MAILBOX in kinds[me, number] for number in own):
        boxes = mailbox.all_mailboxes(tx, me)
    else:
        boxes = mailbox.some(tx, me, own) if own else []
    touched = sharing.counted(tx, asked.who, [seats[key] for key in kinds if key in seats])  # others' only, as yet
    seats |= {(seat.account_id, seat.box.id): seat for seat in touched}
    seats |= _own_seats(me, boxes)
    noted = [key for key, each in kinds.items() if Kind.NOTES in each and (key in seats or key == (me, ACCOUNT))]
    return Happened(cursors, kinds, seats, subscribed, _notes(tx, me, noted) if asked.notes else {})


def _subscribed(tx: Tx, asked: Asked) -> frozenset[str]:
    return frozenset(mailbox.subscribed_elsewhere(tx, asked.who.account_id) if asked.others or asked.names else ())


def _own_seats(me: int, boxes: Sequence[Mailbox]) -> dict[Key, Seat]:
    return {(me, box.id): Seat(me, box, box.name, ALL) for box in boxes}


def _others(
    tx: Tx, sharing: Sharing, asked: Asked, subscribed: frozenset[str], *, counted: bool = False
) -> dict[Key, Seat]:
    if not asked.others:
        return {}
    seats = sharing.visible(tx, asked.who)
    if counted:
        seats = sharing.counted(tx, asked.who, seats)
    return {
        (seat.account_id, seat.box.id): replace(seat, box=replace(seat.box, subscribed=seat.box.name in subscribed))
        for seat in seats
    }


def _spoken(asked: Asked, seats: Mapping[Key, Seat]) -> list[Key]:
    """The mailboxes of which some event is wanted."""
    return [key for key, seat in seats.items() if asked.wanted(key, seat.box.name, seat.box.subscribed)]


def _owners(asked: Asked, seats: Mapping[Key, Seat]) -> list[int]:
    """Whose change logs tell of what is watched."""
    return sorted({asked.who.account_id, *(owner for owner, _ in _spoken(asked, seats))})


def _notes(tx: Tx, reader: int, keys: Sequence[Key]) -> Notes:
    numbers: dict[int, list[int]] = {}
    for owner, number in keys:
        numbers.setdefault(owner, []).append(number)
    return {
        (owner, number): found
        for owner, each in numbers.items()
        for number, found in digests(tx, owner, reader, each).items()
    }
