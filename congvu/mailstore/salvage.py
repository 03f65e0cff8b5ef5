"""Repair of a store as a whole: contents are found again, letters scanned anew, what is lost is reported, the rest of
the rows mended by `repair`.

Promises what `repair` promises, with bounded memory. A content that cannot be read now because its disk or its store
does not answer is not lost: then nothing is done (`NotNow`). Contents that no letter speaks of are counted, and on
request put into a mailbox: after the loss of the database's tail they are the letters it knew.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import mktime_tz, parsedate_tz
from re import MULTILINE
from re import compile as regex
from typing import cast

from congvu.base.clock import Clock, Identifiers
from congvu.codec import mime
from congvu.db import audit
from congvu.db.blobs import Blob, BlobKeeper
from congvu.db.engine import Database, Row, Tx
from congvu.mailstore import check, message, outline, repair, search
from congvu.mailstore.message import NewLetter, Target

_AT_ONCE = 50  # letters scanned between two transactions
_AUDITED = 100  # sentences in one line of audit
_DATE = regex(rb"^Date: ([^\r\n]*)\r$", MULTILINE)
_MESSAGE_ID = regex(rb"^Message-ID: <([^\r\n>]*)>\r$", MULTILINE)
_COLUMNS = (*message.PARSED, "size")


@dataclass(frozen=True, slots=True)
class Orphans:
    """Contents that no letter speaks of."""

    count: int
    bytes: int


class Repair:
    """One repair of a store whose server stands still. `who` stands in the audit; `others`: hashes of contents that are
    no letters and in use all the same (papers of the directory, of which this room knows nothing)."""

    def __init__(
        self,
        db: Database,
        blobs: BlobKeeper,
        clock: Clock,
        ids: Identifiers,
        who: str,
        others: Callable[[Tx], Iterator[bytes]] = lambda tx: iter(()),
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._who = who
        self._others = others

    def run(self) -> Iterator[str]:
        """Does everything, a sentence for each thing that was done. None: there was nothing to do."""
        lost = yield from self._find_contents()
        yield from self._scan_letters(lost)
        gone = self._db.read_now(_letters_of, lost)
        mended: set[int] = set()
        for account in self._db.read_now(repair.accounts):
            said = self._db.write_now(repair.mend, account, gone, self._who, self._clock.now())
            if said:
                mended.add(account)
            yield from said
        yield from self._db.write_now(repair.share, self._who, self._clock.now())  # the mailboxes are there again
        yield from self._db.write_now(_forget, gone, lost, self._who, self._clock.now())
        strange = {account for account, _ in self._db.read_now(lambda tx: list(check.index(tx)))}
        for account in sorted(mended | strange):
            while self._db.write_index_now(search.rebuild, account):
                pass
            yield f"account {account}: its text index will be made anew"
        if strange:
            facts = {"accounts": sorted(strange)[:_AUDITED], "count": len(strange)}
            self._db.write_now(audit.record, self._who, "repair-index", facts, self._clock.now())

    # ---- contents

    def _find_contents(self) -> Generator[str, None, set[bytes]]:
        """Rows whose bytes do not lie where they say, and contents without a row: looked for in the whole keeper.

        Returns the hashes of what is lost.
        """
        wanted = self._db.read_now(self._unreadable)
        found: dict[bytes, Blob] = {}
        if wanted:
            for blob in self._blobs.places():
                if blob.hash in wanted and blob.hash not in found and self._is_whole(blob):
                    found[blob.hash] = blob
        said = [f"blob {blob.hash.hex()}: found again at {blob.place}" for blob in found.values()]
        if found:
            self._db.write_now(_place_blobs, list(found.values()), said, self._who, self._clock.now())
            yield from said
        return wanted - found.keys()

    def _unreadable(self, tx: Tx) -> set[bytes]:
        wanted = {
            bytes(row[0])
            for row in tx.each("SELECT l.hash FROM letter l LEFT JOIN blob b ON b.hash = l.hash WHERE b.hash IS NULL")
        }
        for hash_, size, place in tx.each("SELECT hash, size, place FROM blob"):
            if not self._is_whole(Blob(bytes(hash_), size, place)):
                wanted.add(bytes(hash_))
        return wanted

    def _is_whole(self, blob: Blob) -> bool:
        try:
            self._blobs.verify(blob)
        except (LookupError, ValueError):
            return False
        return True

    # ---- letters

    def _scan_letters(self, lost: set[bytes]) -> Iterator[str]:
        after = -1
        while rows := self._db.read_now(_some_letters, after):
            after = rows[-1][0]
            changed = []
            for letter, hash_, size, place, prefix, *kept in rows:
                if bytes(hash_) in lost:
                    continue
                scan = as_kept(bytes(prefix), mime.scan(self._blobs.read(Blob(bytes(hash_), size, place))))
                true = (*message.parsed(scan), len(prefix) + size)
                if _told(true) != _told(kept):
                    changed.append((*true, letter))
            if changed:
                said = [
                    f"letter {row[-1]}: what was kept of it was not what its bytes say; scanned anew" for row in changed
                ]
                self._db.write_now(_rewrite_letters, changed, said, self._who, self._clock.now())
                yield from said

    # ---- what no letter speaks of

    def orphans(self) -> Orphans:
        count = size = 0
        for blob in self._unknown():
            count += 1
            size += blob.size
        return Orphans(count, size)

    def salvage(self, account_id: int) -> Iterator[str]:
        """Puts each content that no letter speaks of into an account's mailbox for it."""
        for blob in self._unknown():
            if not self._is_whole(blob):
                continue
            letter = NewLetter(self._ids.draw(), blob, b"", mime.scan(self._blobs.read(blob)))
            uid = self._db.write_now(_put_back, account_id, letter, self._who, self._clock.now())
            yield f"blob {blob.hash.hex()}: put back as UID {uid}: {letter.scan.subject[:200]!r}"

    def _unknown(self) -> Iterator[Blob]:
        known = self._db.read_now(self._in_use)
        told: set[bytes] = set()
        for blob in self._blobs.places():
            start = int.from_bytes(blob.hash[:8], "big")
            at = bisect_left(known, start)
            if (at == len(known) or known[at] != start) and blob.hash not in told:
                told.add(blob.hash)
                yield blob

    def _in_use(self, tx: Tx) -> "array[int]":
        """The first eight bytes of each hash, ascending: a million letters in eight megabytes."""
        letters = (bytes(row[0]) for row in tx.each("SELECT hash FROM letter"))
        found = array("Q", (int.from_bytes(each[:8], "big") for each in letters))
        found.extend(int.from_bytes(each[:8], "big") for each in self._others(tx))
        return array("Q", sorted(found))


def as_kept(prefix: bytes, scan: mime.Scan) -> mime.Scan:
    """The scan as if Date and Message-ID that were added on arrival had been in the letter (rfc6409 8)."""
    envelope, sent, message_id = scan.envelope, scan.sent, scan.message_id
    date, identity = _DATE.search(prefix), _MESSAGE_ID.search(prefix)
    if date and sent is None and envelope.startswith(b"(NIL "):
        parsed = parsedate_tz(date[1].decode("ascii", "replace"))
        sent = None if parsed is None else int(mktime_tz(parsed))
        envelope = b'("%b" %b' % (date[1], envelope[len(b"(NIL ") :])
    if identity and not message_id and envelope.endswith(b" NIL)"):
        message_id = identity[1].decode("ascii", "replace")
        envelope = b'%b "<%b>")' % (envelope[: -len(b" NIL)")], identity[1])
    return replace(scan, envelope=envelope, sent=sent, message_id=message_id)


def _record(tx: Tx, who: str, act: str, said: Sequence[str], now: float) -> None:
    audit.record(tx, who, act, {"count": len(said), "done": list(said[:_AUDITED])}, now)


def _place_blobs(tx: Tx, found: Sequence[Blob], said: Sequence[str], who: str, now: float) -> None:
    tx.many(
        "INSERT INTO blob (hash, size, place, touched) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (hash) DO UPDATE SET size = excluded.size, place = excluded.place, touched = excluded.touched",
        [(blob.hash, blob.size, blob.place, int(now)) for blob in found],
    )
    _record(tx, who, "repair-blobs", said, now)


def _some_letters(tx: Tx, after: int) -> list[Row]:
    columns = ", ".join(f"l.{name}" for name in _COLUMNS)
    return tx.all(
        f"SELECT l.id, l.hash, b.size, b.place, l.prefix, {columns} FROM letter l"  # noqa: S608  constant columns
        " JOIN blob b ON b.hash = l.hash WHERE l.id > ? ORDER BY l.id LIMIT ?",
        after,
        _AT_ONCE,
    )


def _told(values: Sequence[object]) -> tuple[object, ...]:
    """What the columns say: a packed value is not the same with every version of the library."""
    packed, envelope, parts, *others = values
    try:
        return (outline.unpack(cast(bytes, packed), cast(bytes, envelope), cast(bytes, parts)), *others)
    except ValueError:
        return ()


def _rewrite_letters(tx: Tx, rows: Sequence[Row], said: Sequence[str], who: str, now: float) -> None:
    columns = ", ".join(f"{name} = ?" for name in _COLUMNS)
    tx.many(f"UPDATE letter SET {columns} WHERE id = ?", rows)  # noqa: S608  constant columns
    _record(tx, who, "repair-letters", said, now)


def _letters_of(tx: Tx, hashes: set[bytes]) -> list[int]:
    return (
        [row[0] for row in tx.each("SELECT id, hash FROM letter ORDER BY id") if bytes(row[1]) in hashes]
        if hashes
        else []
    )


def _forget(tx: Tx, letters: Sequence[int], hashes: set[bytes], who: str, now: float) -> list[str]:
    """Rows of what is lost, once no message speaks of it any more; the report keeps the hash, for a backup to be
    searched."""
    said = []
    for letter, hash_, subject, sender in tx.all(
        "SELECT id, hash, subject, sender FROM letter WHERE id IN (?*) ORDER BY id", list(letters)
    ):
        said.append(f"letter {letter}: lost: {sender[:100]!r}, {subject[:200]!r}, blob {bytes(hash_).hex()}")
    for number, sender, recipient, letter in tx.all(
        "SELECT q.id, q.sender, q.recipient, q.letter_id FROM queue q LEFT JOIN letter l ON l.id = q.letter_id"
        " WHERE l.id IS NULL OR q.letter_id IN (?*) ORDER BY q.id",
        list(letters),
    ):
        tx.run("DELETE FROM queue WHERE id = ?", number)
        said.append(f"queue {number}: cannot be sent, its letter {letter} is lost: from {sender} to {recipient}")
    tx.run("DELETE FROM letter WHERE id IN (?*)", list(letters))
    for hash_ in sorted(hashes):
        if tx.run("DELETE FROM blob WHERE hash = ?", hash_):
            said.append(f"blob {hash_.hex()}: its bytes are nowhere")
    if said:
        _record(tx, who, "repair-lost", said, now)
    return said


def _put_back(tx: Tx, account_id: int, letter: NewLetter, who: str, now: float) -> int:
    box = repair.salvage_mailbox(tx, account_id, now)
    message.keep_letter(tx, letter, now)
    (placed,) = message.place(tx, letter, [Target(account_id, box)], letter.scan.sent or now, now, check_quota=False)
    if isinstance(placed, Exception):
        raise placed
    facts = {"account": account_id, "mailbox": box, "uid": placed.uid, "blob": letter.blob.hash.hex()}
    audit.record(tx, who, "salvage", facts, now)
    return placed.uid
