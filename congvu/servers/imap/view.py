"""A session's view of the mailbox it has selected: what the client has been told, and the lines that tell it more.

The view is an array of UIDs, four bytes a message, and the place up to which the account's change log has been read.
News is read by a plain function inside a transaction (`read_news`) and turned into lines on the event loop
(`Selected.tell`); between the two nothing is shared. The view never drops a message before the client was told, so
sequence numbers always mean what the client thinks they mean (rfc9051 7.5.1).
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from congvu.base.failure import Refused
from congvu.codec import uidset
from congvu.codec.imap import FLAG_NAMES, SequenceSet
from congvu.codec.imap_acl import ALL
from congvu.db.engine import Tx
from congvu.mailstore import across, changes, mailbox, message
from congvu.mailstore.across import Place
from congvu.servers.imap.guest import Guest

_FLAG_TEXT = tuple(" ".join(name for bit, name in enumerate(FLAG_NAMES) if flags >> bit & 1) for flags in range(32))
_LIMIT = 10_000  # changes read at once; a session that slept longer reads on in further rounds of the same transaction
_ROWS = 10_000  # messages that are told of at once: somebody may have changed or removed a million
_RANGES = 2_000  # of one VANISHED: some 40,000 bytes
_PIECE = 500  # UIDs further apart than this are looked up by ranges of their own


def flags_text(flags: int, keywords: str, recent: bool = False) -> str:
    """What stands between the parentheses of FLAGS: `\\Seen \\Flagged $Forwarded`."""
    parts = [_FLAG_TEXT[flags & 31]] if flags & 31 else []
    if keywords:
        parts.append(keywords)
    if recent:
        parts.append("\\Recent")
    return " ".join(parts)


class TooMuch(Exception):
    """There is more news than was to be read on the spot."""


@dataclass(frozen=True, slots=True)
class News:
    """What the change log says since a view last looked."""

    modseq: int  # the log has been read up to here
    appeared: "array[int]"
    vanished: "array[int]"
    flags: tuple[message.Row, ...]  # messages whose flags changed, as they are now, ascending
    keywords: tuple[str, ...] | None  # of the mailbox; None: nothing happened in it
    deleted: bool = False  # the mailbox itself is gone
    more: bool = False  # there is more in the log: read on from `modseq`
    highest: int = 0  # the mailbox's own highest modseq


_NO_UIDS = array("I")  # shared: never extended


class Selected:
    """The selected mailbox as the client knows it."""

    __slots__ = (
        "account_id",
        "behind",
        "gone",
        "guest",
        "highest",
        "keywords",
        "mailbox_id",
        "modseq",
        "own",
        "read_only",
        "reader",
        "recent_claimed",
        "recent_from",
        "rights",
        "saved",
        "uid_validity",
        "uids",
    )

    def __init__(
        self,
        account_id: int,
        mailbox_id: int,
        uid_validity: int,
        uids: "array[int]",
        modseq: int,
        *,
        read_only: bool = False,
        recent_from: int = 0xFFFFFFFF,
        keywords: tuple[str, ...] = (),
        highest: int = 1,
        guest: Guest | None = None,
        rights: str = ALL,
        reader: int = 0,
    ) -> None:
        self.account_id = account_id
        self.mailbox_id = mailbox_id
        self.uid_validity = uid_validity
        self.uids = uids  # ascending; what the client has been told exists. The view's own: it grows
        self.modseq = modseq  # the change log has been read up to here
        self.highest = highest  # HIGHESTMODSEQ up to which the client has been told everything
        self.behind = False  # something was not told on purpose: `highest` stays where it is
        self.read_only = read_only
        self.guest = guest  # it is another account's: every command asks anew what this person may do there
        self.rights = rights  # RFC 4314 letters
        self.reader = reader  # whose own \\Seen counts; 0: that of the messages' rows
        self.saved = _NO_UIDS  # SEARCHRES "$" (RFC 5182), ascending
        self.recent_from = recent_from  # UIDs from here on are \Recent in this session (rfc3501 2.3.2)
        self.recent_claimed = 0  # UIDs below this are no other session's \Recent any more
        self.gone = _NO_UIDS  # vanished, but the client could not be told yet; ascending
        self.keywords = keywords  # as last told in FLAGS
        self.own: set[int] = set()  # modseqs of this session's own STOREs: already answered, not news

    @property
    def place(self) -> Place:
        return Place(self.account_id, self.mailbox_id, self.reader)

    def number(self, uid: int) -> int | None:
        """The sequence number of a UID, None when it is not in the view."""
        i = bisect_left(self.uids, uid)
        return i + 1 if i < len(self.uids) and self.uids[i] == uid else None

    def numbers(self, uids: "array[int]") -> "array[int]":
        """The sequence numbers of ascending UIDs of the view."""
        if len(uids) == len(self.uids):
            return array("I", range(1, len(uids) + 1))
        if self.uids and self.uids[-1] - self.uids[0] + 1 == len(self.uids):  # none is missing between them
            before = self.uids[0] - 1
            return array("I", [uid - before for uid in uids])
        found = array("I")
        at = 0
        for uid in uids:
            at = bisect_left(self.uids, uid, at)
            found.append(at + 1)
        return found

    def is_recent(self, uid: int) -> bool:
        return uid >= self.recent_from

    def resolve(self, wanted: SequenceSet, by_uid: bool) -> "array[int]":
        """The UIDs of the view that a set names, ascending, each once.

        It may be the view's own array: nobody changes it. UIDs that do not exist are passed over (rfc9051 6.4.9); a
        sequence number beyond the view is `Refused`.
        """
        if wanted.saved:
            return meet(self.uids, self.saved)
        stretches = self.stretches(wanted, by_uid)
        if stretches == [(0, len(self.uids))]:
            return self.uids  # the view does not change while a command runs
        found = array("I")
        for start, end in stretches:
            found.extend(self.uids[start:end])
        return found

    def stretches(self, wanted: SequenceSet, by_uid: bool) -> list[tuple[int, int]]:
        """Where in `uids` the messages lie that a set names: half open, ascending, none touching the next. As much
        memory as the set's text, however many messages there are."""
        uids = self.uids
        total = len(uids)
        spans: list[tuple[int, int]] = []  # half open, positions in `uids`
        last = (uids[-1] if by_uid else total) if total else 0
        for first, second in wanted.ranges:
            if not total and (first is None or second is None):
                continue  # "*" of an empty mailbox names nothing
            ends = (last if first is None else first, last if second is None else second)
            low, high = min(ends), max(ends)
            if by_uid:
                start, end = bisect_left(uids, low), bisect_right(uids, high)
            elif high > total:
                raise Refused("bad-sequence", number=high)
            else:
                start, end = low - 1, high
            if start < end:
                spans.append((start, end))
        spans.sort()
        found: list[tuple[int, int]] = []
        for start, end in spans:
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((start, end))
        return found

    def tell(
        self,
        news: News | None,
        *,
        can_expunge: bool,
        rev2: bool,
        condstore: bool = False,
        vanished: bool = False,
        uid_only: bool = False,
        with_flags: bool = True,
    ) -> list[bytes]:
        """Takes news into the view and gives the untagged lines that tell the client.

        `can_expunge` is False after FETCH, STORE and SEARCH by sequence number: what vanished is then told later
        (rfc9051 7.5.1). `vanished`: say VANISHED instead of EXPUNGE (QRESYNC, UIDONLY). `uid_only`: no sequence
        numbers. `with_flags`: changes of flags are told (NOTIFY may leave them out).
        """
        lines: list[bytes] = []
        if news is not None:
            self.modseq = max(self.modseq, news.modseq)
            self.behind |= bool(news.flags) and not with_flags
            if not news.more and not self.behind:
                self.highest = max(self.highest, news.highest)
            self.own = {modseq for modseq in self.own if modseq > news.modseq} if self.own else self.own
            gone = self.uids if news.deleted else news.vanished
            if gone:
                self.gone = join(self.gone, meet(self.uids, gone))
        if can_expunge and self.gone:
            lines.extend(self._expunge(vanished))
        if news is None:
            return lines
        # What both came and went since the last look was never seen and is not told.
        last = self.uids[-1] if self.uids else 0
        appeared = news.appeared[bisect_right(news.appeared, last) :]
        if news.vanished and appeared:
            appeared = without(appeared, news.vanished)
        if appeared and not news.deleted:
            self.uids.extend(appeared)
            lines.append(b"* %d EXISTS\r\n" % len(self.uids))
            if not rev2:
                lines.append(b"* %d RECENT\r\n" % self.recent())
        if news.keywords is not None and news.keywords != self.keywords:
            self.keywords = news.keywords
            lines.extend(flags_lines(news.keywords, self.read_only, self.rights))
        for row in news.flags if with_flags else ():
            number = self.number(row.uid)
            # Who just learns of a message by EXISTS asks for its flags anyway.
            if number is not None and row.uid <= last:
                text = flags_text(row.flags, row.keywords, not rev2 and self.is_recent(row.uid))
                modseq = f" MODSEQ ({row.modseq})" if condstore else ""
                start = f"{row.uid} UIDFETCH (" if uid_only else f"{number} FETCH (UID {row.uid} "
                lines.append(f"* {start}FLAGS ({text}){modseq})\r\n".encode())
        return lines

    def recent(self) -> int:
        """How many messages are \\Recent in this session."""
        return len(self.uids) - bisect_left(self.uids, self.recent_from)

    def _expunge(self, vanished: bool) -> Iterable[bytes]:
        gone, self.gone = self.gone, _NO_UIDS
        if vanished:
            lines = list(vanished_lines(uidset.ranges(uidset.encode(gone))))
        else:
            # From the last to the first: each number is still what the client counts when it reads the line.
            uids, at, lines = self.uids, len(self.uids), []
            for uid in reversed(gone):
                at = bisect_left(uids, uid, 0, at)
                lines.append(b"* %d EXPUNGE\r\n" % (at + 1))
        self.uids = without(self.uids, gone)
        if self.saved:
            self.saved = without(self.saved, gone)
        return lines


def vanished_lines(ranges: Iterable[tuple[int, int]], earlier: bool = False) -> Iterator[bytes]:
    """`* VANISHED 405,407:410` (rfc7162 3.2.10), in lines of bounded length; none for nothing."""
    start = b"* VANISHED (EARLIER) %b\r\n" if earlier else b"* VANISHED %b\r\n"
    each = iter(ranges)
    while some := [f"{low}:{high}" if high > low else str(low) for low, high in islice(each, _RANGES)]:
        yield start % ",".join(some).encode()


def flags_lines(keywords: Iterable[str], read_only: bool, rights: str = ALL) -> list[bytes]:
    """FLAGS and PERMANENTFLAGS of a mailbox (rfc9051 7.3.5, 7.1), the latter as the rights allow (rfc4314 5.1.1) and as
    long as there is room for new keywords."""
    keywords = list(keywords)
    more = [("w", "\\*")] if len(keywords) < message.MAX_KEYWORDS else []
    flags = [("w", "\\Answered"), ("w", "\\Flagged"), ("t", "\\Deleted"), ("s", "\\Seen"), ("w", "\\Draft")]
    flags += [("w", word) for word in keywords]
    known = " ".join(name for _, name in flags)
    permanent = " ".join(name for right, name in (*flags, *more) if right in rights and not read_only)
    return [f"* FLAGS ({known})\r\n".encode(), f"* OK [PERMANENTFLAGS ({permanent})] Flags\r\n".encode()]


def read_news(
    tx: Tx,
    account_id: int,
    mailbox_id: int,
    modseq: int,
    own: Collection[int] = (),
    reader: int = 0,
    most_changes: int = 0,
    most: int = 0,
) -> News | None:
    """What the change log says of one mailbox after `modseq`; None when there is nothing.

    Flag changes of the modseqs in `own` are left out. `reader` as in `across.Place`. Raises `TooMuch` where there are
    more changes than `most_changes` or they speak of more messages than `most`, if those are given.
    """
    highest = changes.highest(tx, account_id)
    if highest == modseq:
        return None
    if most_changes and highest - modseq > most_changes:
        raise TooMuch
    box = mailbox.get(tx, account_id, mailbox_id)
    if box is None:
        return News(modseq, _NO_UIDS, _NO_UIDS, (), None, deleted=True)
    if box.modseq <= modseq:
        return News(highest, _NO_UIDS, _NO_UIDS, (), None, highest=box.modseq)
    appeared: set[int] = set()
    vanished: set[int] = set()
    flags: set[int] = set()
    reached = modseq
    spoken = 0
    for change in _changes(tx, account_id, mailbox_id, modseq):
        if spoken >= _ROWS and change.modseq > reached:
            break
        reached = max(reached, change.modseq)
        if change.modseq not in own:
            spoken += sum(high - low + 1 for low, high in uidset.ranges(change.uids))
            if most and spoken > most:
                raise TooMuch
        match change.kind:
            case changes.Kind.APPEARED:
                appeared.update(uidset.decode(change.uids))
            case changes.Kind.VANISHED:
                vanished.update(uidset.decode(change.uids))
            case changes.Kind.FLAGS if change.modseq not in own:
                flags.update(uidset.decode(change.uids))
            case changes.Kind.SEEN if change.modseq not in own and reader in change.letters:
                flags.update(uidset.decode(change.uids))
            case _:
                pass
    else:
        reached = highest
    flags -= vanished
    return News(
        reached,
        array("I", sorted(appeared)),
        array("I", sorted(vanished)),
        tuple(
            across.through(
                tx, Place(account_id, mailbox_id, reader), list(rows_of(tx, account_id, mailbox_id, sorted(flags)))
            )
        ),
        box.keywords,
        more=reached < highest,
        highest=box.modseq,
    )


def _changes(tx: Tx, account_id: int, mailbox_id: int, modseq: int) -> Iterable[changes.Change]:
    while True:
        found = changes.since(tx, account_id, modseq, mailbox_id, _LIMIT)
        yield from found
        if len(found) < _LIMIT:
            return
        modseq = found[-1].modseq - 1  # the rows of one modseq may have been cut; sets do not mind the repetition


def rows_of(tx: Tx, account_id: int, mailbox_id: int, uids: Collection[int]) -> Iterable[message.Row]:
    """The rows of ascending UIDs, read by as few ranges as is sensible; those that are gone are left out."""
    wanted = set(uids)
    low = high = 0
    for uid in uids:
        if low and uid - high > _PIECE:
            yield from (row for row in message.rows(tx, account_id, mailbox_id, low, high) if row.uid in wanted)
            low = 0
        low, high = low or uid, uid
    if low:
        yield from (row for row in message.rows(tx, account_id, mailbox_id, low, high) if row.uid in wanted)


def meet(uids: "array[int]", others: Iterable[int]) -> "array[int]":
    """Those of the ascending `others` that are in the ascending `uids`."""
    found = array("I")
    at, total = 0, len(uids)
    for uid in others:
        at = bisect_left(uids, uid, at)
        if at == total:
            break
        if uids[at] == uid:
            found.append(uid)
    return found


def page(found: "array[int]", partial: tuple[int, int]) -> "array[int]":
    """What PARTIAL asks for (rfc9394 3.1), as far as it is there."""
    first, last = partial
    if first > 0:
        return found[first - 1 : last]
    total = len(found)
    return found[max(total + last, 0) : max(total + first + 1, 0)]


def join(uids: "array[int]", others: "array[int]") -> "array[int]":
    """Both, ascending, each once."""
    if not uids:
        return others
    return array("I", sorted({*uids, *others}))


def without(uids: "array[int]", others: "array[int]") -> "array[int]":
    """`uids` without those in the ascending `others`; works in slices, so a few out of a million cost little."""
    left = array("I")
    at, total = 0, len(uids)
    for uid in others:
        found = bisect_left(uids, uid, at)
        if found == total:
            break
        if uids[found] == uid:
            left.extend(uids[at:found])
            at = found + 1
    left.extend(uids[at:])
    return left
