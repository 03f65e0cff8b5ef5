"""The change log of one account: every change to its mailboxes under a number that only grows (modseq, RFC 7162).

IMAP's untagged lines, the text index, and later JMAP and push read it with a cursor of their own. One row tells of one
change to one mailbox, however many messages it touched. A notification is only a hint to look here.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from congvu.codec import uidset
from congvu.db.engine import Tx


class Kind(IntEnum):
    """What happened."""

    APPEARED = 1
    FLAGS = 2
    VANISHED = 3
    MAILBOX = 4  # created, renamed, deleted, subscribed, opened to somebody
    SEEN = 5  # a reader of another account has seen messages, or not any more: news for that reader only
    NOTES = 6  # what is noted about the mailbox, or, as number 0, about the account (metadata)


@dataclass(frozen=True, slots=True)
class Change:
    """One row. `uids`: a sequence set (codec.uidset); `letters`: for VANISHED the letters, in the order of the uids;
    for SEEN the one reader's account."""

    modseq: int
    mailbox_id: int
    kind: Kind
    uids: str
    letters: tuple[int, ...]


def hold(tx: Tx, account_ids: Sequence[int]) -> None:
    """Holds the accounts against other writers until the transaction ends: what is read from here on stays true.

    Whoever reads in order to change calls it, or `advance`, first.
    """
    tx.all("SELECT account_id FROM store WHERE account_id IN (?*) ORDER BY account_id /*hold*/", account_ids)


def advance(tx: Tx, account_id: int) -> int:
    """The account's next modseq. Holds the account against other writers until the transaction ends."""
    row = tx.one("UPDATE store SET modseq = modseq + 1 WHERE account_id = ? RETURNING modseq", account_id)
    if row is None:
        raise LookupError(f"account {account_id} has no store")
    return int(row[0])


def record(
    tx: Tx,
    account_id: int,
    modseq: int,
    mailbox_id: int,
    kind: Kind,
    uids: Iterable[int] = (),
    letters: Sequence[int] = (),
) -> None:
    """Writes one row; two of one kind in one mailbox under one modseq are the caller's error."""
    packed = struct.pack(f">{len(letters)}q", *letters) if kind in {Kind.VANISHED, Kind.SEEN} else None
    tx.run(
        "INSERT INTO change (account_id, modseq, mailbox_id, kind, uids, letters) VALUES (?, ?, ?, ?, ?, ?)",
        account_id,
        modseq,
        mailbox_id,
        int(kind),
        uidset.encode(uids),
        packed,
    )
    tx.touch(account_id)


def record_appeared(tx: Tx, rows: Sequence[tuple[int, int, int, str]]) -> None:
    """What appeared in many accounts: (account, modseq, mailbox, UIDs as a set) each, without a round trip each."""
    tx.many(
        "INSERT INTO change (account_id, modseq, mailbox_id, kind, uids) VALUES (?, ?, ?, 1, ?)",
        rows,
    )
    for account, _, _, _ in rows:
        tx.touch(account)


def highest(tx: Tx, account_id: int) -> int:
    """The account's last modseq."""
    row = tx.one("SELECT modseq FROM store WHERE account_id = ?", account_id)
    return int(row[0]) if row else 0


def vanished(tx: Tx, account_id: int, mailbox_id: int, modseq: int, upto: int, limit: int) -> list[str] | None:
    """The UIDs, as sets, that vanished from a mailbox after `modseq` and not after `upto`. None when the log does not
    reach back so far, or more than `limit` of its rows would have to be read."""
    first = tx.one("SELECT min(modseq) FROM change WHERE account_id = ?", account_id)
    if first is None or first[0] is None or modseq + 1 < first[0]:
        return None
    ahead = tx.one(
        "SELECT count(*) FROM (SELECT 1 FROM change WHERE account_id = ? AND modseq > ? AND modseq <= ? LIMIT ?) AS c",
        account_id,
        modseq,
        upto,
        limit + 1,
    )
    if ahead is not None and ahead[0] > limit:
        return None
    rows = tx.all(
        "SELECT uids FROM change WHERE account_id = ? AND modseq > ? AND modseq <= ? AND mailbox_id = ? AND kind = 3",
        account_id,
        modseq,
        upto,
        mailbox_id,
    )
    return [row[0] for row in rows]


def highest_of(tx: Tx, account_ids: Sequence[int]) -> dict[int, int]:
    """The last modseq of each of these accounts."""
    return dict(tx.all("SELECT account_id, modseq FROM store WHERE account_id IN (?*)", account_ids))


def kinds_since(tx: Tx, account_id: int, modseq: int, limit: int, reader: int = 0) -> list[tuple[int, Kind]]:
    """Mailbox and kind of the rows after `modseq`, oldest first, at most `limit`. What somebody else than `reader` has
    seen is left out."""
    return [
        (box, Kind(kind))
        for box, kind in tx.all(
            "SELECT mailbox_id, kind FROM change WHERE account_id = ? AND modseq > ? AND (kind <> 5 OR letters = ?)"
            " ORDER BY modseq LIMIT ?",
            account_id,
            modseq,
            struct.pack(">q", reader),
            limit,
        )
    ]


def since(tx: Tx, account_id: int, modseq: int, mailbox_id: int | None = None, limit: int = 10_000) -> list[Change]:
    """The rows after `modseq`, oldest first, of one mailbox or of all.

    At most `limit`: a full answer means ask again from the last one's modseq minus one (rows of one modseq belong
    together).
    """
    sql = "SELECT modseq, mailbox_id, kind, uids, letters FROM change WHERE account_id = ? AND modseq > ?"
    params: list[object] = [account_id, modseq]
    if mailbox_id is not None:
        sql += " AND mailbox_id = ?"
        params.append(mailbox_id)
    sql += " ORDER BY modseq, mailbox_id, kind LIMIT ?"
    params.append(limit)
    return [
        Change(m, box, Kind(kind), uids, struct.unpack(f">{len(packed) // 8}q", packed) if packed else ())
        for m, box, kind, uids, packed in tx.all(sql, *params)
    ]
