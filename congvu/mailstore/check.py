"""The invariants of the store, proved from its rows and bytes. Used by `congvu check` and after every test.

Reads only, with bounded memory whatever the size of the store; each finding is one line that names the account, the
mailbox and the numbers that disagree.
"""

from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

from congvu.base.failure import NotNow
from congvu.codec import mime, uidset
from congvu.db.blobs import Blob
from congvu.db.engine import Tx
from congvu.mailstore import outline, seen, sheets
from congvu.mailstore.changes import Kind

# Each statement returns rows that must not exist, with the sentence they fill.
_NEVER = (
    (
        "account {0} mailbox {1}: counters say {2} messages, {3} unseen, {4} deleted, {5} bytes; its messages say"
        " {6}, {7}, {8}, {9}",
        "SELECT b.account_id, b.id, b.messages, b.unseen, b.deleted, b.size, coalesce(m.n, 0), coalesce(m.unseen, 0),"
        " coalesce(m.deleted, 0), coalesce(m.size, 0) FROM mailbox b LEFT JOIN (SELECT account_id, mailbox_id,"
        " count(*) AS n, sum(CASE WHEN (flags & 1) = 0 THEN 1 ELSE 0 END) AS unseen,"
        " sum(CASE WHEN (flags & 8) <> 0 THEN 1 ELSE 0 END) AS deleted, sum(size) AS size"
        " FROM message GROUP BY account_id, mailbox_id) m ON m.account_id = b.account_id AND m.mailbox_id = b.id"
        " WHERE b.messages <> coalesce(m.n, 0) OR b.unseen <> coalesce(m.unseen, 0)"
        " OR b.deleted <> coalesce(m.deleted, 0) OR b.size <> coalesce(m.size, 0)",
    ),
    (
        "account {0}: store says {1} messages, {2} bytes; its mailboxes say {3}, {4}",
        "SELECT s.account_id, s.messages, s.used, coalesce(b.n, 0), coalesce(b.size, 0) FROM store s LEFT JOIN"
        " (SELECT account_id, sum(messages) AS n, sum(size) AS size FROM mailbox GROUP BY account_id) b"
        " ON b.account_id = s.account_id WHERE s.messages <> coalesce(b.n, 0) OR s.used <> coalesce(b.size, 0)",
    ),
    (
        "account {0} mailbox {1}: UID {2} is not below UIDNEXT {3}",
        "SELECT m.account_id, m.mailbox_id, max(m.uid), b.uid_next FROM message m JOIN mailbox b"
        " ON b.account_id = m.account_id AND b.id = m.mailbox_id"
        " GROUP BY m.account_id, m.mailbox_id, b.uid_next HAVING max(m.uid) >= b.uid_next",
    ),
    (
        "account {0} mailbox {1}: a message has modseq {2}, the mailbox {3}",
        "SELECT m.account_id, m.mailbox_id, max(m.modseq), b.modseq FROM message m JOIN mailbox b"
        " ON b.account_id = m.account_id AND b.id = m.mailbox_id"
        " GROUP BY m.account_id, m.mailbox_id, b.modseq HAVING max(m.modseq) > b.modseq",
    ),
    (
        "account {0}: mailbox {1} has modseq {2}, the store {3}",
        "SELECT b.account_id, b.id, b.modseq, s.modseq FROM mailbox b JOIN store s ON s.account_id = b.account_id"
        " WHERE b.modseq > s.modseq OR b.id >= s.next_mailbox",
    ),
    (
        "account {0}: the change log reaches {1}, the store {2}",
        "SELECT s.account_id, max(c.modseq), s.modseq FROM store s JOIN change c ON c.account_id = s.account_id"
        " GROUP BY s.account_id, s.modseq HAVING max(c.modseq) > s.modseq",
    ),
    (
        "account {0} mailbox {1} UID {2}: in a mailbox that does not exist",
        "SELECT m.account_id, m.mailbox_id, m.uid FROM message m LEFT JOIN mailbox b ON b.account_id = m.account_id"
        " AND b.id = m.mailbox_id WHERE b.id IS NULL",
    ),
    (
        "account {0} mailbox {1} UID {2}: its letter {3} does not exist or has another size",
        "SELECT m.account_id, m.mailbox_id, m.uid, m.letter_id FROM message m LEFT JOIN letter l ON l.id = m.letter_id"
        " WHERE l.id IS NULL OR l.size <> m.size",
    ),
    (
        "account {0} mailbox {1}: has metadata but does not exist",
        "SELECT DISTINCT m.account_id, m.mailbox_id FROM metadata m LEFT JOIN mailbox b ON b.account_id = m.account_id"
        " AND b.id = m.mailbox_id WHERE b.id IS NULL AND m.mailbox_id <> 0",
    ),
    ("letter {0}: no blob", "SELECT l.id FROM letter l LEFT JOIN blob b ON b.hash = l.hash WHERE b.hash IS NULL"),
    (
        "letter {0}: what sorting and threading need of it is damaged",
        "SELECT id FROM letter WHERE (sort_subject IS NULL) <> (thread_keys IS NULL)"
        " OR length(thread_keys) < 16 OR length(thread_keys) % 8 <> 0 OR length(sort_subject) > 200",
    ),
    (
        "queue {0}: its letter {1} does not exist",
        "SELECT q.id, q.letter_id FROM queue q LEFT JOIN letter l ON l.id = q.letter_id WHERE l.id IS NULL",
    ),
    (
        "account {0}: has no store, or lacks INBOX",
        "SELECT a.id FROM account a LEFT JOIN mailbox b ON b.account_id = a.id AND b.id = 1 AND b.role = 'inbox'"
        " LEFT JOIN store s ON s.account_id = a.id"
        " WHERE a.state <> 'purged' AND (b.id IS NULL OR s.account_id IS NULL)",
    ),
    (
        "account {0}: has {1} primary addresses",
        "SELECT a.id, count(d.address) FROM account a LEFT JOIN address d ON d.account_id = a.id AND d.is_primary = 1"
        " WHERE a.state <> 'purged' GROUP BY a.id HAVING count(d.address) <> 1",
    ),
    (
        "address {0}: leads to no account",
        "SELECT d.address FROM address d LEFT JOIN account a ON a.id = d.account_id WHERE a.id IS NULL",
    ),
    (
        "account {0} mailbox {1} UID {2}: its last change, {3}, is not in the change log",
        "SELECT m.account_id, m.mailbox_id, m.uid, m.modseq FROM message m WHERE NOT EXISTS (SELECT 1 FROM change c"
        " WHERE c.account_id = m.account_id AND c.modseq = m.modseq AND c.mailbox_id = m.mailbox_id"
        " AND c.kind IN (1, 2, 5))",
    ),
    (
        "account {0} mailbox {1}: UIDVALIDITY {2}, recent from {3}, UIDNEXT {4}; the store's last UIDVALIDITY is {5}",
        "SELECT b.account_id, b.id, b.uid_validity, b.recent_from, b.uid_next, s.last_uid_validity FROM mailbox b"
        " JOIN store s ON s.account_id = b.account_id"
        " WHERE b.uid_validity > s.last_uid_validity OR b.recent_from > b.uid_next",
    ),
    (
        "account {0}: {2} mailboxes have the role {1}",
        "SELECT account_id, role, count(*) FROM mailbox WHERE role <> '' GROUP BY account_id, role HAVING count(*) > 1",
    ),
)

# The same for the text index.
_INDEX = (
    (
        "account {0}: the text index has read to {1}, the store is at {2}",
        "SELECT c.account_id, c.indexed, s.modseq FROM text_cursor c JOIN store s ON s.account_id = c.account_id"
        " WHERE c.indexed > s.modseq",
    ),
    (
        "account {0}: the text index has read everything but knows nothing of letter {1}",
        "SELECT DISTINCT m.account_id, m.letter_id FROM message m JOIN store s ON s.account_id = m.account_id"
        " JOIN text_cursor c ON c.account_id = s.account_id WHERE c.indexed = s.modseq"
        " AND NOT EXISTS (SELECT 1 FROM text_doc t WHERE t.account_id = m.account_id AND t.letter_id = m.letter_id)"
        " AND NOT EXISTS (SELECT 1 FROM text_doc t WHERE t.account_id = 0 AND t.letter_id = m.letter_id)",
    ),
    (
        "account {0}: the text index has read everything but holds letter {1}, which is in no mailbox",
        "SELECT t.account_id, t.letter_id FROM text_doc t JOIN store s ON s.account_id = t.account_id"
        " JOIN text_cursor c ON c.account_id = s.account_id WHERE c.indexed = s.modseq"
        " AND NOT EXISTS (SELECT 1 FROM message m WHERE m.account_id = t.account_id AND m.letter_id = t.letter_id)",
    ),
)


# Mailboxes opened to others.
_SHARING = (
    (
        "account {0} mailbox {1}: opened to {2}, but does not exist, or {2} is its owner or has no rights",
        "SELECT a.account_id, a.mailbox_id, a.grantee_id FROM acl a LEFT JOIN mailbox b ON b.account_id = a.account_id"
        " AND b.id = a.mailbox_id WHERE b.id IS NULL OR a.grantee_id = a.account_id OR a.rights = ''",
    ),
    (
        "account {0} mailbox {1}: opened to {2}, which does not know of it",
        "SELECT a.account_id, a.mailbox_id, a.grantee_id FROM acl a LEFT JOIN share s ON s.account_id = a.grantee_id"
        " AND s.owner_id = a.account_id AND s.mailbox_id = a.mailbox_id WHERE s.account_id IS NULL",
    ),
    (
        "account {0}: knows mailbox {2} of account {1} as opened to it, which it is not",
        "SELECT s.account_id, s.owner_id, s.mailbox_id FROM share s LEFT JOIN acl a ON a.account_id = s.owner_id"
        " AND a.mailbox_id = s.mailbox_id AND a.grantee_id = s.account_id WHERE a.account_id IS NULL",
    ),
    (
        "account {0} mailbox {1}: {2} has seen messages in it, but it does not exist, or does not know, or {2} owns it",
        "SELECT DISTINCT s.account_id, s.mailbox_id, s.reader_id FROM seen s LEFT JOIN mailbox b"
        " ON b.account_id = s.account_id AND b.id = s.mailbox_id"
        " WHERE b.id IS NULL OR b.readers = 0 OR s.reader_id = s.account_id",
    ),
)


def check(tx: Tx, verify: Callable[[Blob], None] | None = None) -> Iterator[str]:
    """Findings, none when the store is whole.

    `verify(blob)` reads a blob's bytes and raises `LookupError`, `ValueError` or `NotNow` when they are gone, damaged
    or cannot be read; without it only rows are looked at.
    """
    # While letters arrive the index must be seen no later than the store: else it would seem to know too much.
    yield from (finding for _, finding in index(tx))
    for sentence, sql in (*_NEVER, *_SHARING):
        for row in tx.each(sql):
            yield sentence.format(*row)
    yield from _log(tx)
    yield from _seen(tx)
    yield from (finding for _, finding in sheets.faults(tx))
    for account, box, used, known in tx.each(
        "SELECT DISTINCT m.account_id, m.mailbox_id, m.keywords, b.keywords FROM message m JOIN mailbox b"
        " ON b.account_id = m.account_id AND b.id = m.mailbox_id WHERE m.keywords <> ''"
    ):
        strange = {word.lower() for word in used.split()} - {word.lower() for word in known.split()}
        if strange:
            yield f"account {account} mailbox {box}: messages have keywords it does not know: {sorted(strange)}"
    for letter, hash_, size, prefix, packed, envelope, parts, blob_size in tx.each(
        "SELECT l.id, l.hash, l.size, length(l.prefix), l.outline, l.envelope, l.parts, b.size FROM letter l"
        " JOIN blob b ON b.hash = l.hash"
    ):
        if size != prefix + blob_size:
            found = prefix + blob_size
            yield f"letter {letter}: says {size} bytes, its prefix and blob {bytes(hash_).hex()[:16]} have {found}"
        try:
            root = mime.unpack_parts(outline.unpack(packed, envelope, parts).parts)
        except ValueError:
            yield f"letter {letter}: its parts cannot be read"
        else:
            if root.end > blob_size:
                yield f"letter {letter}: its parts end at {root.end}, its blob at {blob_size}"
    if verify is not None:
        for hash_, size, place in tx.each("SELECT hash, size, place FROM blob"):
            try:
                verify(Blob(bytes(hash_), size, place))
            except (LookupError, ValueError, NotNow) as error:
                yield f"blob {bytes(hash_).hex()}: {error}"


def index(tx: Tx) -> Iterator[tuple[int, str]]:
    """Findings about the text index, each with the account whose index must be made anew."""
    tx.one("SELECT account_id FROM text_cursor LIMIT 1")
    for sentence, sql in _INDEX:
        for row in tx.each(sql):
            yield row[0], sentence.format(*row)


def _seen(tx: Tx) -> Iterator[str]:
    """What readers have seen is there."""
    rows = tx.each(
        "SELECT account_id, mailbox_id, chunk, reader_id, bits FROM seen"
        " ORDER BY account_id, mailbox_id, chunk, reader_id"
    )
    for (account, box, chunk), readers in groupby(rows, itemgetter(0, 1, 2)):
        there = seen.there(tx, account, box, chunk)
        for *_, reader, packed in readers:
            bits = int.from_bytes(packed, "little")
            if not bits or bits & ~there:
                yield f"account {account} mailbox {box}: {reader} has seen messages in it that are not there"


def _log(tx: Tx) -> Iterator[str]:
    """What the change log says came and went is what is there. (Of an account that is purged the log goes piece by
    piece, after its store.)"""
    rows = tx.each(
        "SELECT account_id, mailbox_id, kind, uids, length(letters) FROM change WHERE kind IN (1, 3)"
        " AND account_id IN (SELECT account_id FROM store)"
        " ORDER BY account_id, modseq"
    )
    for account, group in groupby(rows, itemgetter(0)):
        there: dict[int, tuple[int, int]] = {}
        for _, box, kind, uids, letters in group:
            try:
                count, total = tally(uids)
            except ValueError:
                yield f"account {account} mailbox {box}: the change log has UIDs that cannot be read: {uids[:100]!r}"
                continue
            sign = 1 if kind == Kind.APPEARED else -1
            messages, numbers = there.get(box, (0, 0))
            there[box] = messages + sign * count, numbers + sign * total
            if kind == Kind.VANISHED and letters != 8 * count:
                yield f"account {account} mailbox {box}: the change log has not the letters of UIDs {uids[:100]}"
        have = tallies(tx, account)
        for box, found in there.items():
            here = have.get(box, (0, 0))
            if found[0] != here[0]:
                yield f"account {account} mailbox {box}: after the change log it has {found[0]} messages, not {here[0]}"
            elif found != here:
                yield f"account {account} mailbox {box}: after the change log it has other UIDs than are there"


def tally(uids: str) -> tuple[int, int]:
    """How many UIDs a set has, and their sum. ValueError when it cannot be read."""
    count = total = 0
    for low, high in uidset.ranges(uids):
        count += high - low + 1
        total += (low + high) * (high - low + 1) // 2
    return count, total


def tallies(tx: Tx, account: int) -> dict[int, tuple[int, int]]:
    """The same of the messages that are there, by mailbox."""
    return {
        box: (count, int(total))
        for box, count, total in tx.all(
            "SELECT mailbox_id, count(*), sum(uid) FROM message WHERE account_id = ? GROUP BY mailbox_id", account
        )
    }
