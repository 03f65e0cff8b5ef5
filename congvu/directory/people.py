"""Accounts: whoever or whatever holds a mailbox. (Persons, posts and titles grow here in the directory's own issue.)

Promises that a name is NFC, on one line and bounded, and that a state changes only by a step of `lifecycle`.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from congvu.base.failure import Refused
from congvu.db.engine import Row, Tx
from congvu.directory import lifecycle
from congvu.directory.lifecycle import State

MAX_NAME = 200  # characters; the longest name of a unit met in the regulations has 120


class Kind(StrEnum):
    """What holds the mailbox."""

    ORGANISATION = "organisation"
    UNIT = "unit"
    PERSON = "person"
    FUNCTIONAL = "functional"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. `address` is the primary one; `created` in seconds since 1970."""

    id: int
    kind: Kind
    state: State
    name: str
    unit_id: int | None
    created: int
    address: str


def checked_name(name: str) -> str:
    """A name in NFC with single spaces. Raises `Refused("bad-name")`."""
    text = " ".join(unicodedata.normalize("NFC", name[: 4 * MAX_NAME]).split())
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise Refused("bad-name", name=name)
    return text


def add(tx: Tx, account: Account) -> None:
    """The row of a new account; its address is registered by `addresses.give`."""
    add_many(tx, [account])


def add_many(tx: Tx, accounts: Sequence[Account]) -> None:
    tx.many(
        "INSERT INTO account (id, kind, state, name, unit_id, created) VALUES (?, ?, ?, ?, ?, ?)",
        [(a.id, a.kind.value, a.state.value, a.name, a.unit_id, a.created) for a in accounts],
    )


_SELECT = (
    "SELECT account.id, account.kind, account.state, account.name, account.unit_id, account.created, address.address"
    " FROM account JOIN address ON address.account_id = account.id AND address.is_primary = 1"
)


def _account(row: Row) -> Account:
    number, kind, state, name, unit_id, created, address = row
    return Account(number, Kind(kind), State(state), name, unit_id, created, address)


def get(tx: Tx, account_id: int) -> Account | None:
    row = tx.one(f"{_SELECT} WHERE account.id = ?", account_id)
    return _account(row) if row else None


def some(tx: Tx, account_ids: Sequence[int]) -> list[Account]:
    """Those of these accounts that there are, by number."""
    return [_account(row) for row in tx.all(f"{_SELECT} WHERE account.id IN (?*) ORDER BY account.id", account_ids)]


def everyone(tx: Tx) -> Iterator[Account]:
    """All accounts by primary address, as they come."""
    return map(_account, tx.each(f"{_SELECT} ORDER BY address.address"))


def set_state(tx: Tx, account_id: int, to: State) -> None:
    """One step of the lifecycle. Raises `Refused("no-such-step")`."""
    row = tx.one("SELECT state FROM account WHERE id = ?", account_id)
    if row is None:
        raise Refused("no-such-account")
    state = lifecycle.step(State(row[0]), to)
    if tx.run("UPDATE account SET state = ? WHERE id = ? AND state = ?", state.value, account_id, row[0]) != 1:
        raise Refused("no-such-step", state=row[0], to=to)  # another decision came first
