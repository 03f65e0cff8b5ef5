"""Who else may do what with an account's mailboxes: entries of account numbers and right letters.

An entry lies with the mailbox it opens (`acl`) and is noted with the account it is for (`share`), so that neither the
question "what may this one do here" nor "what was opened to me" reads the rows of many accounts. Promises that the two
say the same (`check` proves it) and that both stay within bounds. Knows nothing of persons; who may grant what is
decided above.
"""

from collections.abc import Sequence

from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.mailstore import changes
from congvu.mailstore.changes import Kind

ANYONE = 0  # the grantee that stands for every account
MAX_ENTRIES = 500  # of one mailbox: bounds the answer to GETACL
MAX_SHARED = 2_000  # mailboxes opened to one account: bounds its LIST, whoever means it ill


def entries(tx: Tx, account_id: int, mailbox_id: int) -> dict[int, str]:
    """Grantee → rights."""
    return dict(
        tx.all(
            "SELECT grantee_id, rights FROM acl WHERE account_id = ? AND mailbox_id = ? ORDER BY grantee_id",
            account_id,
            mailbox_id,
        )
    )


def held(tx: Tx, account_id: int, mailbox_id: int, grantees: Sequence[int]) -> set[str]:
    """The rights that any of these grantees has on a mailbox."""
    rows = tx.all(
        "SELECT rights FROM acl WHERE account_id = ? AND mailbox_id = ? AND grantee_id IN (?*)",
        account_id,
        mailbox_id,
        list(grantees),
    )
    return {letter for (rights,) in rows for letter in rights}


def opened_to(tx: Tx, grantees: Sequence[int]) -> dict[int, list[int]]:
    """Owner → mailboxes that are opened to any of these grantees."""
    found: dict[int, list[int]] = {}
    for owner, mailbox_id in tx.all(
        "SELECT DISTINCT owner_id, mailbox_id FROM share WHERE account_id IN (?*) ORDER BY owner_id, mailbox_id",
        list(grantees),
    ):
        found.setdefault(owner, []).append(mailbox_id)
    return found


def held_of(tx: Tx, owners: Sequence[int], grantees: Sequence[int]) -> dict[tuple[int, int], set[str]]:
    """(owner, mailbox) → the rights that any of these grantees has there."""
    found: dict[tuple[int, int], set[str]] = {}
    for owner, mailbox_id, rights in tx.all(
        "SELECT account_id, mailbox_id, rights FROM acl WHERE account_id IN (?*) AND grantee_id IN (?*)",
        list(owners),
        list(grantees),
    ):
        found.setdefault((owner, mailbox_id), set()).update(rights)
    return found


def put(tx: Tx, account_id: int, mailbox_id: int, grantee_id: int, rights: str) -> None:
    """Replaces one entry; no rights remove it. Whoever has the mailbox open is told to look, and whom it is for.

    The caller holds the account. Raises `Refused("too-many-shares")`.
    """
    if grantee_id == account_id:
        raise ValueError("an owner needs no entry")
    have = entries(tx, account_id, mailbox_id)
    if have.get(grantee_id, "") == rights:
        return
    if not rights:
        _remove(tx, account_id, mailbox_id, [grantee_id])
    else:
        if grantee_id not in have:
            if len(have) >= MAX_ENTRIES or grantee_id in _full(tx, [grantee_id]):
                raise Refused("too-many-shares")
            _note(tx, account_id, mailbox_id, [grantee_id])
        tx.run(
            "INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (account_id, mailbox_id, grantee_id) DO UPDATE SET rights = excluded.rights",
            account_id,
            mailbox_id,
            grantee_id,
            rights,
        )
    modseq = changes.advance(tx, account_id)
    tx.run("UPDATE mailbox SET modseq = ? WHERE account_id = ? AND id = ?", modseq, account_id, mailbox_id)
    changes.record(tx, account_id, modseq, mailbox_id, Kind.MAILBOX)
    tx.touch(grantee_id)


def inherit(tx: Tx, account_id: int, parent_id: int, mailbox_id: int) -> None:
    """A new mailbox is opened to whom its parent is (rfc4314 4, CREATE), but for accounts that have no room for it."""
    have = entries(tx, account_id, parent_id)
    if not have:
        return
    full = _full(tx, list(have))
    new = [grantee for grantee in have if grantee not in full]
    tx.many(
        "INSERT INTO acl (account_id, mailbox_id, grantee_id, rights) VALUES (?, ?, ?, ?)",
        [(account_id, mailbox_id, grantee, have[grantee]) for grantee in new],
    )
    _note(tx, account_id, mailbox_id, new)


def forget(tx: Tx, account_id: int, mailbox_id: int) -> None:
    """The mailbox is gone, and its entries with it."""
    have = entries(tx, account_id, mailbox_id)
    if have:
        _remove(tx, account_id, mailbox_id, list(have))


def hint(tx: Tx, account_id: int) -> None:
    """What this account may do, or others with it, has changed as a whole: it is told to look, and whom it has opened
    something to."""
    tx.touch(account_id)
    for (grantee,) in tx.all("SELECT DISTINCT grantee_id FROM acl WHERE account_id = ?", account_id):
        tx.touch(grantee)


def _note(tx: Tx, account_id: int, mailbox_id: int, grantees: list[int]) -> None:
    for grantee in grantees:
        tx.touch(grantee)
    tx.many(
        "INSERT INTO share (account_id, owner_id, mailbox_id) VALUES (?, ?, ?)",
        [(grantee, account_id, mailbox_id) for grantee in grantees],
    )


def _remove(tx: Tx, account_id: int, mailbox_id: int, grantees: list[int]) -> None:
    for grantee in grantees:
        tx.touch(grantee)
    tx.run(
        "DELETE FROM acl WHERE account_id = ? AND mailbox_id = ? AND grantee_id IN (?*)",
        account_id,
        mailbox_id,
        grantees,
    )
    tx.many(
        "DELETE FROM share WHERE account_id = ? AND owner_id = ? AND mailbox_id = ?",
        [(grantee, account_id, mailbox_id) for grantee in grantees],
    )


def _full(tx: Tx, grantees: list[int]) -> set[int]:
    """Which of these have no room for another mailbox."""
    return {
        account
        for account, count in tx.all(
            "SELECT account_id, count(*) FROM share WHERE account_id IN (?*) GROUP BY account_id", grantees
        )
        if count >= MAX_SHARED
    }
