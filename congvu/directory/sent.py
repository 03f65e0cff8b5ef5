"""How many letters an account has sent outside lately, by minute (row 4.3). Two or three statements for each letter
that leaves; letters inside the domains are not counted.

Must never be asked for a stranger.
"""

from congvu.base.observe import log
from congvu.db.engine import Tx
from congvu.directory import people, roles
from congvu.directory.lifecycle import Reason, State
from congvu.directory.roles import Actor

KEPT_MINUTES = 2 * 24 * 60  # longer than any window


def count(tx: Tx, account_id: int, recipients: int, now: float, minutes: int) -> tuple[int, int]:
    """One more letter to so many outside; letters and recipients of the last `minutes`, with this one."""
    minute = int(now) // 60
    tx.run(
        "INSERT INTO sent (account_id, minute, letters, recipients) VALUES (?, ?, 1, ?)"
        " ON CONFLICT (account_id, minute) DO UPDATE SET letters = sent.letters + 1,"
        " recipients = sent.recipients + excluded.recipients",
        *(account_id, minute, recipients),
    )
    row = tx.one(
        "SELECT coalesce(sum(letters), 0), coalesce(sum(recipients), 0) FROM sent WHERE account_id = ? AND minute > ?",
        *(account_id, minute - minutes),
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)


def lock(tx: Tx, account_id: int, letters: int, recipients: int, ip: str, now: float) -> bool:
    """Locks who has sent too many; an account that is locked already stays as it is. Did it?"""
    row = tx.one("SELECT state FROM account WHERE id = ?", account_id)
    if row is None or row[0] != State.ACTIVE:
        return False
    people.set_state(tx, account_id, State.LOCKED, now, Reason.BURST)
    facts = {"letters": letters, "recipients": recipients}
    roles.note(tx, Actor("congvu", peer=ip), "account.lock", now, on=account_id, why=Reason.BURST, facts=facts)
    log.warning("account %d locked: %d letters to outside within the window", account_id, letters)
    return True


def forget_old(tx: Tx, now: float) -> int:
    """What no window reaches any more."""
    return tx.run("DELETE FROM sent WHERE minute < ?", int(now) // 60 - KEPT_MINUTES)
