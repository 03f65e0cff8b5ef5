"""The invariants of the store, proved from its rows and bytes. Used by `congvu check` and after every test.

Reads only, with bounded memory whatever the size of the store; each finding is one line that names the account, the
mailbox and the numbers that disagree.
"""

from collections.abc import Callable, Iterator

from congvu.codec import mime
from congvu.db.blobs import Blob
from congvu.db.engine import Tx

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
    ("letter {0}: no blob", "SELECT l.id FROM letter l LEFT JOIN blob b ON b.hash = l.hash WHERE b.hash IS NULL"),
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
        "account {0}: the text index has read to {1}, the store is at {2}",
        "SELECT account_id, indexed, modseq FROM store WHERE indexed > modseq",
    ),
)


def check(tx: Tx, verify: Callable[[Blob], None] | None = None) -> Iterator[str]:
    """Findings, none when the store is whole.

    `verify(blob)` reads a blob's bytes and raises `LookupError` or `ValueError` when they are gone or damaged; without
    it only rows are looked at.
    """
    for sentence, sql in _NEVER:
        for row in tx.each(sql):
            yield sentence.format(*row)
    for letter, hash_, size, prefix, parts, blob_size in tx.each(
        "SELECT l.id, l.hash, l.size, length(l.prefix), l.parts, b.size FROM letter l JOIN blob b ON b.hash = l.hash"
    ):
        if size != prefix + blob_size:
            found = prefix + blob_size
            yield f"letter {letter}: says {size} bytes, its prefix and blob {bytes(hash_).hex()[:16]} have {found}"
        try:
            root = mime.unpack_parts(bytes(parts))
        except ValueError:
            yield f"letter {letter}: its parts cannot be read"
        else:
            if root.end > blob_size:
                yield f"letter {letter}: its parts end at {root.end}, its blob at {blob_size}"
    if verify is not None:
        for hash_, size, place in tx.each("SELECT hash, size, place FROM blob"):
            try:
                verify(Blob(bytes(hash_), size, place))
            except (LookupError, ValueError) as error:
                yield f"blob {bytes(hash_).hex()}: {error}"
