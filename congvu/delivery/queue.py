"""The way out: one row for each recipient elsewhere, safe on disk before the sender hears `250`.

Rows are claimed with a lease by whoever sends them; sending is a later room's work. Never loses or repeats a row on its
own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from congvu.base.clock import Identifiers
from congvu.db.engine import Tx


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A recipient elsewhere with the wishes of its sender (RFC 3461 NOTIFY and ORCPT, "" when not given)."""

    recipient: str
    notify: str
    orcpt: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the queue as people see it. Times in seconds since 1970."""

    id: int
    sender: str
    recipient: str
    subject: str
    size: int
    created: int
    due: int
    attempts: int
    last_reply: str


def enqueue(
    tx: Tx,
    ids: Identifiers,
    letter_id: int,
    account_id: int,
    sender: str,
    recipients: Sequence[Outgoing],
    ret: str,
    envid: str,
    now: float,
) -> None:
    """Rows for the recipients of one letter, due at once. The letter's own row must be kept already."""
    tx.many(
        "INSERT INTO queue (id, letter_id, account_id, sender, recipient, notify, orcpt, ret, envid, created, due,"
        " lease, attempts, last_reply) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, '')",
        [
            (ids.draw(), letter_id, account_id, sender, r.recipient, r.notify, r.orcpt, ret, envid, int(now), int(now))
            for r in recipients
        ],
    )


def waiting(tx: Tx, limit: int = 1000) -> list[Waiting]:
    """What waits, the next due first."""
    return [
        Waiting(*row)
        for row in tx.all(
            "SELECT q.id, q.sender, q.recipient, l.subject, l.size, q.created, q.due, q.attempts, q.last_reply"
            " FROM queue q JOIN letter l ON l.id = q.letter_id ORDER BY q.due, q.id LIMIT ?",
            limit,
        )
    ]


def count(tx: Tx) -> int:
    """How many rows wait."""
    row = tx.one("SELECT count(*) FROM queue")
    return int(row[0]) if row else 0
