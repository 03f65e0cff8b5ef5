"""What an account's owner adds to own mailboxes: letters that arrive by APPEND, alone, together, or in place of others.

One function for many commands at once, since they mostly come in runs: each is done as a whole or refused as a whole,
without regard to its neighbours, and UIDs follow the order of the commands. All that may be refused is found out before
the first row is written, so a refusal leaves nothing behind; statements are set-based whatever the number of letters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox, message
from congvu.mailstore.message import Arrival


@dataclass(frozen=True, slots=True)
class Adding:
    """One command: letters for one mailbox, all or none. `replaces`: the mailbox and UID of the message whose place
    they take (RFC 8508)."""

    mailbox: str
    arrivals: tuple[Arrival, ...]
    replaces: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """Where the letters of one command came to lie; the UIDs follow each other. `uid_validity` 0: who added them may
    not know of the mailbox's numbers."""

    mailbox_id: int
    uid_validity: int
    uids: range
    modseq: int


def append(tx: Tx, account_id: int, wanted: Sequence[Adding], now: float) -> list[Added | Refused]:
    """An answer for each command, in order. `Refused`: no-such-mailbox, over-quota, too-many-letters,
    too-many-keywords, expunge-issued (what was to be replaced is gone)."""
    changes.hold(tx, [account_id])
    room = _Room(tx, account_id)
    boxes: dict[str, int | None] = {}
    answers: dict[int, Added | Refused] = {}
    runs: dict[int, list[int]] = {}
    for number, each in enumerate(wanted):
        if each.mailbox not in boxes:
            box = mailbox.find(tx, account_id, each.mailbox)
            boxes[each.mailbox] = box.id if box else None
        box_id = boxes[each.mailbox]
        try:
            if box_id is None:
                raise Refused("no-such-mailbox", name=each.mailbox[:100], target=True)
            freed = 0 if each.replaces is None else size_of(tx, account_id, each.replaces)
            room.check(each, freed)
            words = tuple(dict.fromkeys(word for a in each.arrivals for word in a.keywords))
            if words:
                message.learn_keywords(tx, account_id, box_id, words)
        except Refused as refused:
            answers[number] = refused
            continue
        room.take(each, freed)
        if each.replaces is not None:
            message.take_out(tx, account_id, *each.replaces)
        runs.setdefault(box_id, []).append(number)
    for box_id, numbers in runs.items():
        arrivals = [a for number in numbers for a in wanted[number].arrivals]
        placed = message.place_run(tx, account_id, box_id, arrivals, now)
        if placed is None:
            raise LookupError(f"account {account_id} lost mailbox {box_id} while it was held")
        uid, validity, modseq = placed
        for number in numbers:
            count = len(wanted[number].arrivals)
            answers[number] = Added(box_id, validity, range(uid, uid + count), modseq)
            uid += count
    return [answers[number] for number in range(len(wanted))]


class _Room:
    """What the account may still take, while commands are looked at one after the other."""

    __slots__ = ("_held", "_limit", "_used")

    def __init__(self, tx: Tx, account_id: int) -> None:
        quota = mailbox.quota(tx, account_id)
        self._limit, self._used, self._held = quota.limit, quota.used, quota.messages

    def check(self, adding: Adding, freed: int) -> None:
        count = len(adding.arrivals) - (adding.replaces is not None)
        if count > 0 and self._held + count > message.MAX_MESSAGES:
            raise Refused("too-many-letters", limit=message.MAX_MESSAGES)
        more = sum(a.letter.size for a in adding.arrivals) - freed
        if more > 0 and self._limit and self._used + more > self._limit:
            raise Refused("over-quota")

    def take(self, adding: Adding, freed: int) -> None:
        self._held += len(adding.arrivals) - (adding.replaces is not None)
        self._used += sum(a.letter.size for a in adding.arrivals) - freed


def size_of(tx: Tx, account_id: int, replaced: tuple[int, int]) -> int:
    """The bytes of a message that is to be replaced. Raises `Refused("expunge-issued")` when it is gone."""
    found = message.rows(tx, account_id, replaced[0], replaced[1], replaced[1])
    if not found:
        raise Refused("expunge-issued")
    return found[0].size
