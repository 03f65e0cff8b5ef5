r"""What each reader of another account's mailbox has seen there: \Seen of one's own (RFC 4314 leaves it to the server).

The owner's \Seen is the bit in the message's row. Everybody else's is a set of UIDs, kept as a bitmap for each 4,096 of
them, so that one flag costs a row of half a kilobyte and a mailbox of a million letters 125 KB a reader. Promises that
no bit stands for a message that is gone (so counting needs no look at messages), and that a mailbox without readers
pays nothing. `reader` is the account that reads.
"""

from collections.abc import Collection, Iterable, Sequence

from congvu.db.engine import Tx

_SHIFT = 12
UIDS = 1 << _SHIFT  # of one row
_MASK = UIDS - 1


def _chunks(tx: Tx, account_id: int, mailbox_id: int, reader: int, low: int, high: int) -> dict[int, int]:
    """The bitmaps that cover the UIDs from `low` to `high`."""
    return {
        chunk: int.from_bytes(bits, "little")
        for chunk, bits in tx.all(
            "SELECT chunk, bits FROM seen WHERE account_id = ? AND mailbox_id = ? AND reader_id = ?"
            " AND chunk BETWEEN ? AND ?",
            account_id,
            mailbox_id,
            reader,
            low >> _SHIFT,
            high >> _SHIFT,
        )
    }


def among(tx: Tx, account_id: int, mailbox_id: int, reader: int, uids: Collection[int]) -> set[int]:
    """Those of `uids` that the reader has seen."""
    if not uids:
        return set()
    known = _chunks(tx, account_id, mailbox_id, reader, min(uids), max(uids))
    return {uid for uid in uids if known.get(uid >> _SHIFT, 0) >> (uid & _MASK) & 1}


def count(tx: Tx, account_id: int, mailbox_id: int, reader: int) -> int:
    """How many messages of the mailbox the reader has seen."""
    rows = tx.each(
        "SELECT bits FROM seen WHERE account_id = ? AND mailbox_id = ? AND reader_id = ?",
        account_id,
        mailbox_id,
        reader,
    )
    return sum(int.from_bytes(bits, "little").bit_count() for (bits,) in rows)


def counts(tx: Tx, places: Collection[tuple[int, int]], reader: int) -> dict[tuple[int, int], int]:
    """(owner, mailbox) → how many messages the reader has seen there, for these pairs and perhaps others."""
    found: dict[tuple[int, int], int] = {}
    for owner, mailbox_id, bits in tx.each(
        "SELECT account_id, mailbox_id, bits FROM seen"
        " WHERE account_id IN (?*) AND mailbox_id IN (?*) AND reader_id = ?",
        sorted({owner for owner, _ in places}),
        sorted({mailbox_id for _, mailbox_id in places}),
        reader,
    ):
        number = int.from_bytes(bits, "little").bit_count()
        found[owner, mailbox_id] = found.get((owner, mailbox_id), 0) + number
    return found


def first_unseen(tx: Tx, account_id: int, mailbox_id: int, reader: int, uids: Sequence[int]) -> int | None:
    """The first of the ascending `uids` that the reader has not seen."""
    if not uids:
        return None
    known = _chunks(tx, account_id, mailbox_id, reader, uids[0], uids[-1])
    return next((uid for uid in uids if not known.get(uid >> _SHIFT, 0) >> (uid & _MASK) & 1), None)


def mark(tx: Tx, account_id: int, mailbox_id: int, reader: int, uids: Sequence[int], on: bool) -> None:
    """Notes that the reader has seen these messages (ascending, all there), or has not. The caller holds the account
    and tells the change log."""
    if not uids:
        return
    wanted = _bitmaps(uids)
    known = _chunks(tx, account_id, mailbox_id, reader, uids[0], uids[-1])
    after = {c: known.get(c, 0) | bits if on else known.get(c, 0) & ~bits for c, bits in wanted.items()}
    _keep(tx, account_id, mailbox_id, [(reader, c, bits) for c, bits in after.items() if bits != known.get(c, 0)])
    if on:
        tx.run("UPDATE mailbox SET readers = 1 WHERE account_id = ? AND id = ?", account_id, mailbox_id)


def drop(tx: Tx, account_id: int, mailbox_id: int, uids: Sequence[int]) -> None:
    """These messages are gone: no reader has seen them any more."""
    if not uids:
        return
    gone = _bitmaps(uids)
    changed: list[tuple[int, int, int]] = []
    # A range, not a list: for a list SQLite reads all rows of the mailbox rather than use the index of chunks.
    for reader, chunk, packed in tx.each(
        "SELECT reader_id, chunk, bits FROM seen WHERE account_id = ? AND mailbox_id = ? AND chunk BETWEEN ? AND ?",
        account_id,
        mailbox_id,
        min(gone),
        max(gone),
    ):
        bits = int.from_bytes(packed, "little")
        if bits & gone.get(chunk, 0):
            changed.append((reader, chunk, bits & ~gone[chunk]))
    _keep(tx, account_id, mailbox_id, changed)


def forget(tx: Tx, account_id: int, mailbox_id: int, reader: int | None = None) -> None:
    """The mailbox is gone, or a reader may not come again."""
    sql = "DELETE FROM seen WHERE account_id = ? AND mailbox_id = ?"
    if reader is None:
        tx.run(sql, account_id, mailbox_id)
    else:
        tx.run(f"{sql} AND reader_id = ?", account_id, mailbox_id, reader)


def _bitmaps(uids: Iterable[int]) -> dict[int, int]:
    found: dict[int, bytearray] = {}
    for uid in uids:
        bits = found.setdefault(uid >> _SHIFT, bytearray(UIDS // 8))
        bits[(uid & _MASK) >> 3] |= 1 << (uid & 7)
    return {chunk: int.from_bytes(bits, "little") for chunk, bits in found.items()}


def _keep(tx: Tx, account_id: int, mailbox_id: int, changed: Sequence[tuple[int, int, int]]) -> None:
    """Writes (reader, chunk, bits); a bitmap that became empty goes."""
    tx.many(
        "INSERT INTO seen (account_id, mailbox_id, reader_id, chunk, bits) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (account_id, mailbox_id, reader_id, chunk) DO UPDATE SET bits = excluded.bits",
        [
            (account_id, mailbox_id, reader, chunk, bits.to_bytes((bits.bit_length() + 7) // 8, "little"))
            for reader, chunk, bits in changed
            if bits
        ],
    )
    tx.many(
        "DELETE FROM seen WHERE account_id = ? AND mailbox_id = ? AND reader_id = ? AND chunk = ?",
        [(account_id, mailbox_id, reader, chunk) for reader, chunk, bits in changed if not bits],
    )


def there(tx: Tx, account_id: int, mailbox_id: int, chunk: int) -> int:
    """The messages of one chunk that exist, as bits."""
    bits = 0
    for (uid,) in tx.all(
        "SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? AND uid BETWEEN ? AND ?",
        account_id,
        mailbox_id,
        chunk * UIDS,
        chunk * UIDS + UIDS - 1,
    ):
        bits |= 1 << uid % UIDS
    return bits
