"""A mailbox is deleted for good, in portions that nobody has to wait for (row 3.10).

Promises that what is left after any portion is a whole store that `check` finds nothing against, that a portion may be
done again after a crash, and that only this account's rows go: a letter that others have too stays theirs (the bytes
that nobody has are the sweeper's). Must never decide whether something may be deleted.
"""

from congvu.db.engine import Tx
from congvu.mailstore import changes, message, metadata, rights, seen
from congvu.mailstore.mailbox import all_mailboxes

# Rows that mean nothing without the store; many.
_LEFT = (
    "DELETE FROM change WHERE account_id = ? AND modseq IN"
    " (SELECT modseq FROM change WHERE account_id = ? ORDER BY modseq LIMIT ?)",
    "DELETE FROM thread_key WHERE account_id = ? AND key IN"
    " (SELECT key FROM thread_key WHERE account_id = ? ORDER BY key LIMIT ?)",
)
# Few: bounded by the number of mailboxes.
_WHOLE = ("mailbox", "subscription", "metadata", "seen", "store")


def messages(tx: Tx, account_id: int, most: int) -> int:
    """Removes so many messages at most; how many went, 0 when none was left."""
    for box in all_mailboxes(tx, account_id):
        if box.messages:
            rows = tx.all(
                "SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? ORDER BY uid LIMIT ?",
                *(account_id, box.id, most),
            )
            return len(message.remove(tx, account_id, box.id, [uid for (uid,) in rows]))
    return 0


def store(tx: Tx, account_id: int) -> None:
    """Removes the empty mailboxes and everything that was opened to others, or by others to this account."""
    for box in all_mailboxes(tx, account_id):
        rights.forget(tx, account_id, box.id)
    for owner, boxes in rights.opened_to(tx, [account_id]).items():
        changes.hold(tx, [owner])
        for box_id in boxes:
            rights.put(tx, owner, box_id, account_id, "")
            seen.forget(tx, owner, box_id, account_id)
            metadata.forget(tx, owner, box_id, account_id)
    for table in _WHOLE:
        tx.run(f"DELETE FROM {table} WHERE account_id = ?", account_id)  # noqa: S608  constant names


def leftovers(tx: Tx, account_id: int, most: int) -> int:
    """After `store`: removes so many rows that mean nothing any more; how many went."""
    return sum(tx.run(sql, account_id, account_id, most) for sql in _LEFT)
