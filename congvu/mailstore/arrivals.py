"""Letters on their way into the INBOXes of many accounts: what a batch of deliveries writes.

Promises the same as `message`, with one statement of each kind whatever the number of letters and accounts. What comes
to an account together is one change: the UIDs follow the order of the letters, one modseq and one row of the log tell
of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from congvu.base.failure import Refused
from congvu.codec import uidset
from congvu.db.engine import Tx
from congvu.mailstore import changes, message
from congvu.mailstore.mailbox import INBOX
from congvu.mailstore.message import MAX_MESSAGES, NewLetter


@dataclass(frozen=True, slots=True)
class Delivery:
    """A letter and whom it is for. Each account stands there once; `received` is the INTERNALDATE."""

    letter: NewLetter
    accounts: tuple[int, ...]
    received: int


def receive(tx: Tx, deliveries: Sequence[Delivery], now: float) -> list[dict[int, Refused]]:
    """Keeps the letters, unread, whatever the quota: room was asked for before.

    An answer for each delivery: by account, why it is not there. `Refused`: too-many-letters, no-such-mailbox (the
    account is gone).
    """
    message.keep_letters(tx, [d.letter for d in deliveries], now)
    refused: list[dict[int, Refused]] = [{} for _ in deliveries]
    coming: dict[int, list[int]] = {}
    for number, delivery in enumerate(deliveries):
        for account in delivery.accounts:
            coming.setdefault(account, []).append(number)
    accounts = sorted(coming)
    held = {
        account: rest
        for account, *rest in tx.all(
            "SELECT s.account_id, s.modseq, s.messages, m.uid_next FROM store s"
            " JOIN mailbox m ON m.account_id = s.account_id AND m.id = ? WHERE s.account_id IN (?*)"
            " ORDER BY s.account_id /*hold*/",
            INBOX,
            accounts,
        )
    }
    placed: list[tuple[int, int, int, int]] = []  # account, modseq, UID, number of the delivery
    sums: list[tuple[int, int, int, int]] = []  # account, modseq, how many, bytes
    log: list[tuple[int, int, int, str]] = []
    for account in accounts:
        numbers = coming[account]
        modseq, messages, uid = held.get(account, (0, MAX_MESSAGES, 0))
        room = max(0, MAX_MESSAGES - messages)
        for number in numbers[room:]:
            refused[number][account] = (
                Refused("too-many-letters", limit=MAX_MESSAGES) if account in held else Refused("no-such-mailbox")
            )
        numbers = numbers[:room]
        if numbers:
            modseq += 1
            size = sum(deliveries[number].letter.size for number in numbers)
            sums.append((account, modseq, len(numbers), size))
            placed += [(account, modseq, uid + n, number) for n, number in enumerate(numbers)]
            log.append((account, modseq, INBOX, uidset.encode(range(uid, uid + len(numbers)))))
    tx.many(
        "UPDATE store SET modseq = ?, messages = messages + ?, used = used + ? WHERE account_id = ?",
        [(modseq, count, size, account) for account, modseq, count, size in sums],
    )
    tx.many(
        "UPDATE mailbox SET modseq = ?, uid_next = uid_next + ?, messages = messages + ?, unseen = unseen + ?,"
        " size = size + ? WHERE account_id = ? AND id = ?",
        [(modseq, count, count, count, size, account, INBOX) for account, modseq, count, size in sums],
    )
    threads = message.threads(tx, [(deliveries[number].letter, account) for account, _, _, number in placed])
    rows: list[tuple[object, ...]] = []
    for (account, modseq, uid, number), thread in zip(placed, threads, strict=True):
        of, received = deliveries[number].letter, deliveries[number].received
        rows.append((account, INBOX, uid, of.id, thread, modseq, 0, "", received, int(now), of.size))
    message.insert(tx, rows)
    changes.record_appeared(tx, log)
    return refused
