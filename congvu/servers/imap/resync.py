"""QRESYNC (rfc7162 3.2): what a client that was away has missed of a mailbox, in one answer.

What vanished comes from the account's change log. Where the log does not reach back so far, or is longer than is worth
reading, the gaps between the messages that are there tell the same: more than has vanished since, never less, as the
RFC allows. Nothing that the client still counts is told as VANISHED (EARLIER): its numbers would be wrong.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from congvu.codec import uidset
from congvu.codec.imap import FetchItem, Resync, SequenceSet
from congvu.db.engine import Tx
from congvu.mailstore import changes, mailbox, scan
from congvu.servers import turns
from congvu.servers.imap import fetch
from congvu.servers.imap.session import Session
from congvu.servers.imap.view import Selected, meet, vanished_lines

LOG_ROWS = 20_000  # of the log that are read; beyond them the gaps are cheaper
MAX_UID = 0xFFFFFFFF

Range = tuple[int, int]  # inclusive


async def tell(session: Session, asked: Resync) -> None:
    """What SELECT tells beside the mailbox's numbers. Nothing when the client knows another mailbox of that name."""
    view = session.view()
    if asked.uid_validity != view.uid_validity:
        return
    known = ranges(asked.known, view.uids) if asked.known is not None else [(1, MAX_UID)]
    floor = matching_up_to(view.uids, *asked.match) if asked.match is not None else 0
    await tell_vanished(session, clipped(known, [(floor + 1, MAX_UID)]), asked.modseq)
    changed = await turns.read(session, scan.changed, view.account_id, view.mailbox_id, asked.modseq)
    uids = await turns.walk(session, len(changed), lambda: meet(view.uids, within(changed, known)))
    await fetch.run(session, uids, (FetchItem("FLAGS"), FetchItem("MODSEQ")), None, uid_command=True)


async def tell_vanished(session: Session, known: Sequence[Range], modseq: int) -> None:
    """`* VANISHED (EARLIER) 41,43:116` of the UIDs in `known` that vanished after `modseq`."""
    view = session.view()
    gone = await turns.read(session, _vanished, view, modseq)
    for line in vanished_lines(await turns.walk(session, len(gone) + len(known), clipped, gone, known), earlier=True):
        session.send(line)
        await session.stream.drain()


def _vanished(tx: Tx, view: Selected, modseq: int) -> list[Range]:
    """In the view's mailbox, after `modseq` and up to where the view has read; or all that was ever there."""
    told = changes.vanished(tx, view.account_id, view.mailbox_id, modseq, view.modseq, LOG_ROWS)
    if told is None:
        box = mailbox.get(tx, view.account_id, view.mailbox_id)
        last = view.uids[-1] if view.uids else 0
        newer = scan.select(tx, view.account_id, view.mailbox_id, last + 1, MAX_UID, scan.uid_from(0))
        return gaps([*view.uids, *newer], box.uid_next - 1 if box is not None else last)
    return merged(each for text in told for each in uidset.ranges(text))


def gaps(uids: Iterable[int], last: int) -> list[Range]:
    """Between ascending UIDs, and behind them up to `last`."""
    found: list[Range] = []
    before = 0
    for uid in uids:
        if uid > before + 1:
            found.append((before + 1, uid - 1))
        before = uid
    return [*found, (before + 1, last)] if before < last else found


def ranges(wanted: SequenceSet, uids: Sequence[int]) -> list[Range]:
    """The UIDs that a client names, also of messages that are gone; "*" is the last one, or whatever follows."""
    last = uids[-1] if uids else 1
    return merged(
        (min(last if first is None else first, last if second is None else second), _high(first, second))
        for first, second in wanted.ranges
    )


def _high(first: int | None, second: int | None) -> int:
    return MAX_UID if first is None or second is None else max(first, second)


def merged(found: Iterable[Range]) -> list[Range]:
    """Ascending, none touching the next."""
    out: list[Range] = []
    for low, high in sorted(found):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return out


def clipped(some: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """What is in both; each ascending."""
    found: list[Range] = []
    at = 0
    for low, high in some:
        while at < len(others) and others[at][1] < low:
            at += 1
        behind = at
        while behind < len(others) and others[behind][0] <= high:
            found.append((max(low, others[behind][0]), min(high, others[behind][1])))
            behind += 1
        at = max(behind - 1, at)
    return found


def within(uids: Iterable[int], known: Sequence[Range]) -> Iterator[int]:
    """Those of `uids` that are in one of the ranges."""
    lows = [low for low, _ in known]
    for uid in uids:
        at = bisect_right(lows, uid)
        if at and uid <= known[at - 1][1]:
            yield uid


def matching_up_to(uids: Sequence[int], numbers: SequenceSet, named: SequenceSet) -> int:
    """The highest UID of which the client knows the right number (rfc7162 3.2.5.2): nothing below it has vanished."""
    best = 0
    for number, uid in _pairs(numbers, named):
        if not (number <= len(uids) and uids[number - 1] == uid):
            break
        best = uid
    return best


def _pairs(numbers: SequenceSet, named: SequenceSet) -> Iterator[tuple[int, int]]:
    """Number and UID at the end of each stretch in which both sets run side by side."""
    left, right = _runs(numbers), _runs(named)
    (number, last_number), (uid, last_uid) = next(left, (1, 0)), next(right, (1, 0))
    while number <= last_number and uid <= last_uid:
        step = min(last_number - number, last_uid - uid)
        yield number + step, uid + step
        number, uid = number + step + 1, uid + step + 1
        if number > last_number:
            number, last_number = next(left, (1, 0))
        if uid > last_uid:
            uid, last_uid = next(right, (1, 0))


def _runs(wanted: SequenceSet) -> Iterator[Range]:
    for first, second in wanted.ranges:
        if first is not None and second is not None:
            yield min(first, second), max(first, second)
