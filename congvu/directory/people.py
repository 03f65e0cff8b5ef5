"""Accounts, whoever or whatever holds a mailbox; the persons behind them, their posts; who answers for a unit's box.

Promises that a name is NFC, on one line and bounded, that a state changes only by a step of `lifecycle`, and that an
account has one main post: the unit that `account.unit_id` names (rows 1.3, 1.4, 2.1, 5.10).
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
    """One account. `address` is the primary one, "" when a purged account's went to somebody else; `created` in seconds
    since 1970."""

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
        "INSERT INTO account (id, kind, state, name, unit_id, created, since) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(a.id, a.kind.value, a.state.value, a.name, a.unit_id, a.created, a.created) for a in accounts],
    )


_SELECT = (
    "SELECT account.id, account.kind, account.state, account.name, account.unit_id, account.created,"
    " coalesce(address.address, '') FROM account"
    " LEFT JOIN address ON address.account_id = account.id AND address.is_primary = 1"
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


@dataclass(frozen=True, slots=True)
class Person:
    """The person behind an account of kind person: họ, chữ lót, tên; day of birth and category "" when not said;
    `number`: of the personnel file, "" none."""

    account_id: int
    family: str
    middle: str
    given: str
    birth: str = ""
    category: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class Post:
    """What a person is in a unit. `main`: in the unit the account belongs to."""

    account_id: int
    unit_id: int
    title: str
    main: bool
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class Duty:
    """Who answers for the mailbox of an organisation or unit, and the clerk (văn thư) who works it (row 1.3)."""

    account_id: int
    head_id: int | None
    clerk_id: int | None
    since: int


def split_name(name: str) -> tuple[str, str, str]:
    """Họ, chữ lót, tên of a full name as Vietnamese write it: the last word is the name, the first the family's. A
    single word is the name."""
    family, *middle, given = ["", *name.split()] if len(name.split()) < 2 else name.split()
    return family, " ".join(middle), given


def add_persons(tx: Tx, persons: Sequence[Person]) -> None:
    tx.many(
        "INSERT INTO person (account_id, family, middle, given, birth, category, number) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(p.account_id, p.family, p.middle, p.given, p.birth, p.category, p.number) for p in persons],
    )


def name_missing(tx: Tx) -> None:
    """Accounts of persons from before schema 7 have no parts of a name and no post yet. May run again."""
    rows = tx.all(
        "SELECT account.id, account.name, account.unit_id FROM account"
        " LEFT JOIN person ON person.account_id = account.id WHERE account.kind = 'person' AND person.given IS NULL"
        " AND account.state <> 'purged'"
    )
    add_persons(tx, [Person(number, *split_name(name)) for number, name, _ in rows])
    add_posts(tx, [Post(number, unit_id, "", main=True) for number, _, unit_id in rows if unit_id is not None])


def persons(tx: Tx, account_ids: Sequence[int]) -> dict[int, Person]:
    """Those of these accounts that are persons."""
    rows = tx.all(
        "SELECT account_id, family, middle, given, birth, category, number FROM person WHERE account_id IN (?*)",
        account_ids,
    )
    return {row[0]: Person(*row) for row in rows}


def change_person(tx: Tx, person: Person) -> None:
    """Replaces what is known of a person, and the name of the account. Raises `Refused`: no-such-account, bad-name."""
    name = checked_name(f"{person.family} {person.middle} {person.given}")
    done = tx.run(
        "UPDATE person SET family = ?, middle = ?, given = ?, birth = ?, category = ?, number = ? WHERE account_id = ?",
        *(person.family, person.middle, person.given, person.birth, person.category, person.number, person.account_id),
    )
    if not done:
        raise Refused("no-such-account")
    rename(tx, person.account_id, name)


def rename(tx: Tx, account_id: int, name: str) -> None:
    """The name of an account; the address stays. Raises `Refused`: no-such-account, bad-name."""
    if not tx.run("UPDATE account SET name = ? WHERE id = ?", checked_name(name), account_id):
        raise Refused("no-such-account")


def posts(tx: Tx, account_id: int) -> list[Post]:
    """The main one first."""
    return [
        Post(number, unit_id, title, bool(main), since, until)
        for number, unit_id, title, main, since, until in tx.all(
            "SELECT account_id, unit_id, title, main, since, until FROM post WHERE account_id = ?"
            " ORDER BY main DESC, since, unit_id",
            account_id,
        )
    ]


def set_posts(tx: Tx, account_id: int, wanted: Sequence[Post]) -> None:
    """All posts of a person at once, one of them main: the account belongs to its unit from now on. Raises
    `Refused`: no-such-account, one-main-post."""
    main = [post for post in wanted if post.main]
    if len(main) != 1 or any(post.account_id != account_id for post in wanted):
        raise Refused("one-main-post")
    if not tx.run("UPDATE account SET unit_id = ? WHERE id = ?", main[0].unit_id, account_id):
        raise Refused("no-such-account")
    tx.run("DELETE FROM post WHERE account_id = ?", account_id)
    add_posts(tx, wanted)


def add_posts(tx: Tx, many: Sequence[Post]) -> None:
    tx.many(
        "INSERT INTO post (account_id, unit_id, title, main, since, until) VALUES (?, ?, ?, ?, ?, ?)",
        [(p.account_id, p.unit_id, p.title, int(p.main), p.since, p.until) for p in many],
    )


def box_of(tx: Tx, unit_id: int) -> Account | None:
    """The mailbox of an organisation or unit, if it has one that is not purged."""
    row = tx.one(
        f"{_SELECT} WHERE account.unit_id = ? AND account.kind IN ('organisation', 'unit')"
        " AND account.state <> 'purged' ORDER BY account.id LIMIT 1",
        unit_id,
    )
    return _account(row) if row else None


def duty(tx: Tx, account_id: int) -> Duty | None:
    row = tx.one("SELECT account_id, head_id, clerk_id, since FROM duty WHERE account_id = ?", account_id)
    return Duty(*row) if row else None


def set_duty(tx: Tx, wanted: Duty) -> None:
    tx.run(
        "INSERT INTO duty (account_id, head_id, clerk_id, since) VALUES (?, ?, ?, ?) ON CONFLICT (account_id)"
        " DO UPDATE SET head_id = excluded.head_id, clerk_id = excluded.clerk_id, since = excluded.since",
        *(wanted.account_id, wanted.head_id, wanted.clerk_id, wanted.since),
    )


def set_state(tx: Tx, account_id: int, to: State, now: float, reason: str = "") -> State:
    """One step of the lifecycle, and the end of every session when nobody may sign in any more; returns the state it
    was in. Raises `Refused`: no-such-account, no-such-step."""
    row = tx.one("SELECT state FROM account WHERE id = ?", account_id)
    if row is None:
        raise Refused("no-such-account")
    was = State(row[0])
    state = lifecycle.step(was, to)
    if (
        tx.run(
            "UPDATE account SET state = ?, since = ?, reason = ? WHERE id = ? AND state = ?",
            *(state.value, int(now), reason, account_id, was.value),
        )
        != 1
    ):
        raise Refused("no-such-step", state=was, to=to)  # another decision came first
    if not lifecycle.may(state, lifecycle.Act.SIGN_IN):
        end_sessions(tx, account_id, now)
    return was


def end_sessions(tx: Tx, account_id: int, now: float) -> None:
    """Every session of this account that is open now has to end, in whatever protocol (`actions/presence.py`)."""
    tx.run(
        "UPDATE account SET epoch = CASE WHEN epoch < ? THEN ? ELSE epoch + 1 END WHERE id = ?",
        *(int(now), int(now), account_id),
    )
    tx.run("DELETE FROM token WHERE account_id = ?", account_id)


def begun_since(tx: Tx, now: float) -> None:
    """Accounts from before schema 7 do not know since when they are in their state: from now on, so that the clock
    does nothing to them for what nobody noted. May run again."""
    tx.run("UPDATE account SET since = ? WHERE since = 0", int(now))


# What is known of somebody, by account; the account itself, its old addresses and the audit stay.
_PERSONAL = (
    "person",
    "post",
    "duty",
    "entry",
    "role",
    "credential",
    "credential_past",
    "activity",
    "sent",
    "token",
)


def forget(tx: Tx, account_id: int) -> None:
    """Everything personal of a purged account goes (row 12.15), but for the name in the row that the audit speaks
    of."""
    for table in _PERSONAL:
        tx.run(f"DELETE FROM {table} WHERE account_id = ?", account_id)  # noqa: S608  constant names
    for column in ("head_id", "clerk_id"):
        tx.run(f"UPDATE duty SET {column} = NULL WHERE {column} = ?", account_id)  # noqa: S608  constant names


# Each statement returns rows that must not exist, with the sentence they fill.
NEVER = (
    (
        "account {0}: its unit {1} does not exist",
        "SELECT account.id, account.unit_id FROM account LEFT JOIN unit ON unit.id = account.unit_id"
        " WHERE account.unit_id IS NOT NULL AND unit.id IS NULL",
    ),
    (
        "person {0}: no account of kind person",
        "SELECT person.account_id FROM person LEFT JOIN account ON account.id = person.account_id"
        " WHERE account.id IS NULL OR account.kind <> 'person'",
    ),
    (
        "post of account {0} in unit {1}: one of them does not exist",
        "SELECT post.account_id, post.unit_id FROM post LEFT JOIN person ON person.account_id = post.account_id"
        " LEFT JOIN unit ON unit.id = post.unit_id WHERE person.account_id IS NULL OR unit.id IS NULL",
    ),
    (
        "account {0}: its main post is not in its unit {1}",
        "SELECT account.id, account.unit_id FROM account JOIN post ON post.account_id = account.id"
        " GROUP BY account.id, account.unit_id"
        " HAVING sum(CASE WHEN post.main = 1 AND post.unit_id = account.unit_id THEN 1 ELSE 0 END) <> 1"
        " OR sum(post.main) <> 1",
    ),
    (
        "duty for account {0}: no mailbox of an organisation or unit",
        "SELECT duty.account_id FROM duty LEFT JOIN account ON account.id = duty.account_id"
        " WHERE account.id IS NULL OR account.kind NOT IN ('organisation', 'unit', 'functional')",
    ),
)
