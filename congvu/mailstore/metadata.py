"""Notes about mailboxes and accounts (RFC 5464): named values, private to their reader or shared by all who see the
mailbox.

They belong to the mailbox's number, so a rename carries them along; `mailbox.delete` removes them. Number and size are
bounded for each account. The change log says that some of a mailbox have changed; `digests`, taken twice, tells which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.mailstore import changes
from congvu.mailstore.changes import Kind

ACCOUNT = 0  # stands for a mailbox's number where the account as a whole is meant
MAX_VALUE = 65_536  # bytes of one
MAX_ENTRIES = 1_000  # of one account, all mailboxes and readers together …
MAX_BYTES = 8 << 20  # … and their bytes: what one answer may hold in memory
GUEST_ENTRIES = 50  # the same of one reader in all mailboxes of another account, counted apart …
GUEST_BYTES = 256 << 10  # … so that no reader takes an owner's room


class Depth(Enum):
    """How far below an entry others are looked for (rfc5464 4.2.2)."""

    ENTRY = 0
    CHILDREN = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A name: `path` in lower case ("/comment"), of the reader alone or shared."""

    path: str
    private: bool

    def reader(self, reader_id: int) -> int:
        return reader_id if self.private else 0


def get(
    tx: Tx, account_id: int, mailbox_id: int, reader_id: int, entries: Sequence[Entry], depth: Depth = Depth.ENTRY
) -> dict[Entry, bytes]:
    """The values that are there, by the entries' names; with a `depth` also those below."""
    found: dict[Entry, bytes] = {}
    for each in entries:
        below = each.path.replace("\\", "\\\\").replace("_", "\\_") + "/%"
        for path, value in tx.all(
            "SELECT entry, value FROM metadata WHERE account_id = ? AND mailbox_id = ? AND reader_id = ?"
            " AND (entry = ? OR ? = 1 AND entry LIKE ? ESCAPE '\\') ORDER BY entry",
            account_id,
            mailbox_id,
            each.reader(reader_id),
            each.path,
            int(depth is not Depth.ENTRY),
            below,
        ):
            if depth is not Depth.CHILDREN or path.count("/") <= each.path.count("/") + 1:
                found[Entry(path, each.private)] = bytes(value)
    return found


def of_all(tx: Tx, account_id: int, reader_id: int, entries: Sequence[Entry]) -> dict[int, dict[Entry, bytes]]:
    """The values of these entries in every mailbox, by its number."""
    found: dict[int, dict[Entry, bytes]] = {}
    for each in entries:
        for mailbox_id, value in tx.all(
            "SELECT mailbox_id, value FROM metadata WHERE account_id = ? AND reader_id = ? AND entry = ?",
            account_id,
            each.reader(reader_id),
            each.path,
        ):
            found.setdefault(mailbox_id, {})[each] = bytes(value)
    return found


def digests(tx: Tx, account_id: int, reader_id: int, mailbox_ids: Sequence[int]) -> dict[int, dict[Entry, bytes]]:
    """The entries that a reader sees of these mailboxes, by the mailbox's number, each with a digest of its value."""
    found: dict[int, dict[Entry, bytes]] = {}
    for mailbox_id, reader, path, value in tx.all(
        "SELECT mailbox_id, reader_id, entry, value FROM metadata WHERE account_id = ? AND mailbox_id IN (?*)"
        " AND reader_id IN (?*) ORDER BY mailbox_id, reader_id, entry",
        account_id,
        mailbox_ids,
        [0, reader_id],
    ):
        digest = blake2b(bytes(value), digest_size=16).digest()
        found.setdefault(mailbox_id, {})[Entry(path, reader != 0)] = digest
    return found


def put(tx: Tx, account_id: int, mailbox_id: int, reader_id: int, values: Sequence[tuple[Entry, bytes | None]]) -> None:
    """Sets values, None removes one. All or nothing; what is so already leaves no trace. Raises `Refused`:
    metadata-too-big, metadata-too-many."""
    changes.hold(tx, [account_id])
    if any(value is not None and len(value) > MAX_VALUE for _, value in values):
        raise Refused("metadata-too-big", limit=MAX_VALUE)
    # The last of those that name one entry counts.
    wanted = {(entry.reader(reader_id), entry.path): value for entry, value in values}
    known = get(tx, account_id, mailbox_id, reader_id, list(dict.fromkeys(entry for entry, _ in values)))
    before = {(entry.reader(reader_id), entry.path): value for entry, value in known.items()}
    wanted = {key: value for key, value in wanted.items() if value != before.get(key)}
    if not wanted:
        return
    bounds = [([0, account_id], MAX_ENTRIES, MAX_BYTES)]
    if reader_id != account_id:
        bounds.append(([reader_id], GUEST_ENTRIES, GUEST_BYTES))
    for readers, most, room in bounds:
        of_these = {key: value for key, value in wanted.items() if key[0] in readers}
        if all(value is None for value in of_these.values()):
            continue
        row = tx.one(
            "SELECT count(*), coalesce(sum(length(value)), 0) FROM metadata WHERE account_id = ? AND reader_id IN (?*)",
            account_id,
            readers,
        )
        count, size = (int(row[0]), int(row[1])) if row else (0, 0)
        for key, value in of_these.items():
            count += (value is not None) - (key in before)
            size += len(value or b"") - len(before.get(key, b""))
        if count > most or size > room:
            raise Refused("metadata-too-many")
    _changed(tx, account_id, mailbox_id)
    tx.many(
        "DELETE FROM metadata WHERE account_id = ? AND mailbox_id = ? AND reader_id = ? AND entry = ?",
        [(account_id, mailbox_id, *key) for key, value in wanted.items() if value is None],
    )
    tx.many(
        "INSERT INTO metadata (account_id, mailbox_id, reader_id, entry, value) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (account_id, mailbox_id, reader_id, entry) DO UPDATE SET value = excluded.value",
        [(account_id, mailbox_id, *key, value) for key, value in wanted.items() if value is not None],
    )


def copy(tx: Tx, account_id: int, source: int, target: int) -> None:
    """The owner's notes and those for all, of one mailbox for another that has none; not where there is no room."""
    row = tx.one(
        "SELECT count(*), coalesce(sum(length(value)), 0) FROM metadata WHERE account_id = ? AND reader_id IN (0, ?)",
        account_id,
        account_id,
    )
    more = tx.one(
        "SELECT count(*), coalesce(sum(length(value)), 0) FROM metadata"
        " WHERE account_id = ? AND mailbox_id = ? AND reader_id IN (0, ?)",
        account_id,
        source,
        account_id,
    )
    if row is None or more is None or not more[0] or row[0] + more[0] > MAX_ENTRIES or row[1] + more[1] > MAX_BYTES:
        return
    tx.run(
        "INSERT INTO metadata (account_id, mailbox_id, reader_id, entry, value)"
        " SELECT account_id, CAST(? AS BIGINT), reader_id, entry, value FROM metadata"
        " WHERE account_id = ? AND mailbox_id = ? AND reader_id IN (0, ?)",
        target,
        account_id,
        source,
        account_id,
    )
    _changed(tx, account_id, target)


def _changed(tx: Tx, account_id: int, mailbox_id: int) -> None:
    """Tells the log; the mailbox's own modseq grows with it (rfc7162 3.2)."""
    modseq = changes.advance(tx, account_id)
    tx.run("UPDATE mailbox SET modseq = ? WHERE account_id = ? AND id = ?", modseq, account_id, mailbox_id)
    changes.record(tx, account_id, modseq, mailbox_id, Kind.NOTES)


def forget(tx: Tx, account_id: int, mailbox_id: int, reader_id: int) -> None:
    """What a reader noted for themselves in a mailbox that is theirs to see no more."""
    tx.run(
        "DELETE FROM metadata WHERE account_id = ? AND mailbox_id = ? AND reader_id = ?",
        account_id,
        mailbox_id,
        reader_id,
    )
