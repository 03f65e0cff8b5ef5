"""What a person does with own mail beyond a single mailbox call: putting letters into a mailbox (IMAP APPEND and its
kin, JMAP import).

Two steps, so that many letters can be under way at once: `read` looks at a letter that has come, `append` keeps the
letters of as many commands as wait in one visit to the writer. Promises that the answer comes only after letters and
rows are on disk.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from congvu.actions.sharing import Sharing, Who
from congvu.base.clock import Clock, Identifiers
from congvu.base.failure import Refused
from congvu.codec import mime
from congvu.db.blobs import Blob, BlobKeeper, Buffer, Spool
from congvu.db.engine import Database, Duplicate, Tx
from congvu.mailstore import append
from congvu.mailstore.across import Place
from congvu.mailstore.append import Added, Adding
from congvu.mailstore.message import Arrival, NewLetter


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter that has been read. Its bytes are safe already (`blob`), or become so together with its rows
    (`content`)."""

    scan: mime.Scan
    blob: Blob | None
    content: Buffer | None

    @property
    def held(self) -> int:
        """Bytes of its content in memory."""
        return 0 if self.content is None else len(self.content)

    @property
    def weight(self) -> int:
        """Bytes of memory that it takes besides, about."""
        return len(self.scan.envelope) + len(self.scan.structure) + len(self.scan.parts) + 4000


@dataclass(frozen=True, slots=True)
class Draft:
    """A letter as it shall lie in a mailbox. `received` is its INTERNALDATE (now when not given)."""

    letter: Letter
    flags: int = 0
    keywords: tuple[str, ...] = ()
    received: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One command: letters for one mailbox, all or none. `replaces`: mailbox and UID whose place they take."""

    mailbox: str
    drafts: tuple[Draft, ...]
    replaces: tuple[int, int] | None = None


class Mail:
    """One process's way to put letters into mailboxes."""

    def __init__(self, db: Database, blobs: BlobKeeper, clock: Clock, ids: Identifiers) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._ids = ids

    async def read(self, spool: Spool) -> Letter:
        """Looks at the spooled letter, and makes a large one safe. The spool stays the caller's to close.

        Raises `NotNow`: disk-full, storage-trouble.
        """
        content = spool.buffer()
        if isinstance(content, bytes):
            scan = mime.scan(content)
        else:
            scan = await asyncio.to_thread(mime.scan, content)  # a large letter must not hold up the others
        if spool.size > self._blobs.small:
            return Letter(scan, await self._blobs.put(spool), None)
        return Letter(scan, None, content)

    async def secure(self, letters: Sequence[Letter]) -> list[Letter]:
        """The same letters with their bytes safe, for whoever has too many of them in memory. Raises as `read`."""
        contents = [each.content for each in letters if each.content is not None]
        placed = iter(await asyncio.to_thread(self._blobs.put_many, contents) if contents else ())
        return [each if each.content is None else Letter(each.scan, next(placed), None) for each in letters]

    async def append(self, account_id: int, wanted: Sequence[Wanted]) -> list[Added | Refused]:
        """Keeps the letters; an answer for each command as `mailstore.append` gives it. Raises `NotNow` for all."""
        drafts = [draft for each in wanted for draft in each.drafts]
        contents = [draft.letter.content for draft in drafts if draft.letter.content is not None]
        now = self._clock.now()
        for left in (2, 1, 0):
            numbers = [self._ids.draw() for _ in drafts]
            try:
                if contents:
                    return await self._db.write_with(self._blobs, contents, _append, account_id, wanted, numbers, now)
                return await self._db.write(_append, [], account_id, wanted, numbers, now)
            except Duplicate:  # another process drew the same number in this millisecond
                if not left:
                    raise
        raise AssertionError

    async def put(
        self,
        account_id: int,
        mailbox_name: str,
        spool: Spool,
        flags: int = 0,
        keywords: tuple[str, ...] = (),
        received: float | None = None,
    ) -> Added:
        """One letter into one mailbox. Raises as `read` does, and what `append` answers."""
        wanted = Wanted(mailbox_name, (Draft(await self.read(spool), flags, keywords, received),))
        (answer,) = await self.append(account_id, [wanted])
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def append_elsewhere(
        self, sharing: Sharing, who: Who, wanted: Wanted, source: Place | None = None
    ) -> Added | Refused:
        """One command into a mailbox of another's, or, with `source`, to take the place of a message there. Answers as
        `append` does, and with no-permission."""
        contents = [draft.letter.content for draft in wanted.drafts if draft.letter.content is not None]
        now = self._clock.now()
        for left in (2, 1, 0):
            numbers = [self._ids.draw() for _ in wanted.drafts]
            try:
                if contents:
                    return await self._db.write_with(
                        self._blobs, contents, _append_elsewhere, sharing, who, wanted, source, numbers, now
                    )
                return await self._db.write(_append_elsewhere, [], sharing, who, wanted, source, numbers, now)
            except Duplicate:
                if not left:
                    raise
        raise AssertionError


def _append(
    tx: Tx, placed: list[Blob], account_id: int, wanted: Sequence[Wanted], numbers: Sequence[int], now: float
) -> list[Added | Refused]:
    """`placed`: the blobs of the contents that came along, in their order."""
    return append.append(tx, account_id, _adding(placed, wanted, numbers, now), now)


def _append_elsewhere(
    tx: Tx,
    placed: list[Blob],
    sharing: Sharing,
    who: Who,
    wanted: Wanted,
    source: Place | None,
    numbers: Sequence[int],
    now: float,
) -> Added | Refused:
    return sharing.append(tx, who, _adding(placed, [wanted], numbers, now)[0], now, source)


def _adding(placed: list[Blob], wanted: Sequence[Wanted], numbers: Sequence[int], now: float) -> list[Adding]:
    blobs, ids = iter(placed), iter(numbers)

    def arrival(draft: Draft) -> Arrival:
        letter = NewLetter(next(ids), draft.letter.blob or next(blobs), b"", draft.letter.scan)
        return Arrival(letter, draft.flags, draft.keywords, int(now if draft.received is None else draft.received))

    return [Adding(each.mailbox, tuple(map(arrival, each.drafts)), each.replaces) for each in wanted]
