"""IMAP input: NOTIFY (RFC 5465) as a typed value. The only error is `Bad`; groups, names and items are bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from congvu.codec.imap import FetchItem
from congvu.codec.imap_parse import fetch_items
from congvu.codec.imap_words import Bad, TooBig, Words

MAX_GROUPS = 20
MAX_NAMES = 2_000  # of all groups: as many as an account may have mailboxes
MAX_EVENTS = 20  # of one group

MAILBOX_EVENTS = frozenset({"MAILBOXNAME", "SUBSCRIPTIONCHANGE", "MAILBOXMETADATACHANGE", "SERVERMETADATACHANGE"})


class Which(Enum):
    """The mailboxes of a group (rfc5465 6)."""

    SELECTED = "SELECTED"
    SELECTED_DELAYED = "SELECTED-DELAYED"
    INBOXES = "INBOXES"
    PERSONAL = "PERSONAL"
    SUBSCRIBED = "SUBSCRIBED"
    SUBTREE = "SUBTREE"
    MAILBOXES = "MAILBOXES"


OF_SELECTED = frozenset({Which.SELECTED, Which.SELECTED_DELAYED})
_NAMED = frozenset({Which.SUBTREE, Which.MAILBOXES})


@dataclass(frozen=True, slots=True)
class Group:
    """One event group. `events`: in capitals, none for NONE; `items`: what MessageNew asks to be fetched."""

    which: Which
    names: frozenset[str]
    events: frozenset[str]
    items: tuple[FetchItem, ...] = ()

    def speaks_of(self, name: str, own: bool, inbox: bool, subscribed: bool) -> bool:
        """Is a mailbox of that name one of them? `own`: it is in the personal namespace."""
        match self.which:
            case Which.PERSONAL:
                return own
            case Which.INBOXES:
                return inbox
            case Which.SUBSCRIBED:
                return subscribed
            case Which.MAILBOXES:
                return name in self.names
            case Which.SUBTREE:
                levels = name.split("/")
                return any("/".join(levels[:depth]) in self.names for depth in range(len(levels), 0, -1))
        return False


def wanted(groups: Sequence[Group], name: str, own: bool, inbox: bool, subscribed: bool) -> frozenset[str]:
    """The events of a mailbox other than the selected one: those of all groups that speak of it (rfc5465 6), up to one
    that wants NONE."""
    events: frozenset[str] = frozenset()
    for group in groups:
        if group.speaks_of(name, own, inbox, subscribed):
            if not group.events:
                break
            events |= group.events
    return events


@dataclass(frozen=True, slots=True)
class Notify:
    """NOTIFY. No groups: NONE. `status`: the mailboxes' counters are wanted at once."""

    groups: tuple[Group, ...]
    status: bool = False


def notify(w: Words) -> Notify:
    """rfc5465 8."""
    w.space()
    match w.word():
        case "NONE":
            w.end()
            return Notify(())
        case "SET":
            pass
        case _:
            w.bad("SET or NONE")
    status = w.data[w.at : w.at + 8].upper() == b" STATUS "
    if status:
        w.at += 7
    groups: list[Group] = []
    left = MAX_NAMES
    while w.skip(b" ") and not w.at_end():
        if len(groups) == MAX_GROUPS:
            raise TooBig("too many event groups")
        groups.append(_group(w, left))
        left -= len(groups[-1].names)
    w.end()
    if not groups:
        w.bad("event group")
    if sum(group.which in OF_SELECTED for group in groups) > 1:
        raise Bad("one group for the selected mailbox only")  # rfc5465 6.1
    return Notify(tuple(groups), status)


def _group(w: Words, left: int) -> Group:
    w.expect(b"(")
    word = w.word()
    try:
        which = Which(word)
    except ValueError:
        raise Bad("unknown mailbox specifier") from None
    w.space()
    names: list[str] = []
    if which in _NAMED:
        listed = w.skip(b"(")
        while True:
            if len(names) == left:
                raise TooBig("too many mailboxes")
            names.append(w.mailbox())
            if not listed or w.skip(b")"):
                break
            w.space()
        w.space()
    events, items = _events(w)
    w.expect(b")")
    if which in OF_SELECTED and events & MAILBOX_EVENTS:  # what nobody knows is refused later, by BADEVENT
        raise Bad("message events only for the selected mailbox")  # rfc5465 6.1
    if items and which not in OF_SELECTED:
        raise Bad("items only for the selected mailbox")  # rfc5465 8
    # rfc5465 5
    if len(events & {"MESSAGENEW", "MESSAGEEXPUNGE"}) == 1:
        raise Bad("MessageNew and MessageExpunge go together")
    if events & {"FLAGCHANGE", "ANNOTATIONCHANGE"} and "MESSAGENEW" not in events:
        raise Bad("FlagChange needs MessageNew and MessageExpunge")
    return Group(which, frozenset(names), events, items)


def _events(w: Words) -> tuple[frozenset[str], tuple[FetchItem, ...]]:
    if w.peek() != b"(":
        if w.word() != "NONE":
            w.bad("list of events")
        return frozenset(), ()
    w.expect(b"(")
    events: list[str] = []
    items: tuple[FetchItem, ...] = ()
    while True:
        if len(events) == MAX_EVENTS:
            raise TooBig("too many events")
        events.append(w.word())
        if events[-1] == "MESSAGENEW" and w.data[w.at : w.at + 2] == b" (":
            w.space()
            items = fetch_items(w)
        if w.skip(b")"):
            return frozenset(events), items
        w.space()
