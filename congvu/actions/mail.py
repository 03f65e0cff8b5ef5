"""What a person does with own mail beyond a single mailbox call: putting a letter into a mailbox (IMAP APPEND, JMAP
import).

Promises that the answer comes only after the letter is on disk.
"""

import asyncio

from congvu.base.clock import Clock, Identifiers
from congvu.base.failure import Refused
from congvu.codec import mime
from congvu.db.blobs import Blob, BlobKeeper, Spool, keep
from congvu.db.engine import Database, Duplicate, Tx
from congvu.mailstore import mailbox, message
from congvu.mailstore.message import NewLetter, Placed, Target


class Mail:
    """One process's way to put letters into mailboxes."""

    def __init__(self, db: Database, blobs: BlobKeeper, clock: Clock, ids: Identifiers) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._ids = ids

    async def append(
        self,
        account_id: int,
        mailbox_name: str,
        spool: Spool,
        flags: int = 0,
        keywords: tuple[str, ...] = (),
        received: float | None = None,
    ) -> Placed:
        """Stores the spooled letter as it is; `received` is its INTERNALDATE (now when not given).

        Raises `Refused`: no-such-mailbox, over-quota, too-many-letters, too-many-keywords. `NotNow`: disk-full,
        storage-trouble.
        """
        content = spool.buffer()
        if isinstance(content, bytes):
            scan = mime.scan(content)
        else:
            scan = await asyncio.to_thread(mime.scan, content)
        now = self._clock.now()
        when = now if received is None else received
        for left in (2, 1, 0):
            letter_id = self._ids.draw()
            try:
                return await keep(
                    self._db,
                    self._blobs,
                    [spool],
                    _append,
                    account_id,
                    mailbox_name,
                    letter_id,
                    scan,
                    flags,
                    keywords,
                    when,
                    now,
                )
            except Duplicate:  # another process drew the same number in this millisecond
                if not left:
                    raise
        raise AssertionError


def _append(
    tx: Tx,
    blobs: list[Blob],
    account_id: int,
    mailbox_name: str,
    letter_id: int,
    scan: mime.Scan,
    flags: int,
    keywords: tuple[str, ...],
    received: float,
    now: float,
) -> Placed:
    box = mailbox.find(tx, account_id, mailbox_name)
    if box is None:
        raise Refused("no-such-mailbox", name=mailbox_name[:100])
    letter = NewLetter(letter_id, blobs[0], b"", scan)
    message.keep_letter(tx, letter, now)
    placed = message.place(tx, letter, [Target(account_id, box.id, flags, keywords)], received, now)[0]
    if isinstance(placed, Refused):
        raise placed
    return placed
