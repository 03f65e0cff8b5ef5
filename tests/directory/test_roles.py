"""Rights on parts of the tree, and what a list may show."""

from datetime import date

import pytest

from congvu.base.failure import Refused
from congvu.db.engine import Database, Tx
from congvu.directory import people, roles, units
from congvu.directory.lifecycle import State
from congvu.directory.people import Account, Kind
from congvu.directory.roles import Actor, Grant, Right, Role
from congvu.directory.units import Unit

TODAY = date(2026, 11, 25)
SYSTEM = Actor("congvu cli")


@pytest.fixture
def tree(db: Database) -> Database:
    def fill(tx: Tx) -> None:
        for unit in (Unit(1, None, "Tỉnh", "tinh"), Unit(2, 1, "Sở Xây dựng", "so"), Unit(3, 2, "Phòng", "phong")):
            units.add(tx, unit)
        for number, unit_id in ((10, 1), (20, 2), (30, 3)):
            people.add(tx, Account(number, Kind.PERSON, State.ACTIVE, f"Người {number}", unit_id, 0, ""))
        roles.assign(tx, 10, Grant(Role.OPERATOR, 1))
        roles.assign(tx, 20, Grant(Role.UNIT_ADMIN, 2))
        roles.assign(tx, 30, Grant(Role.UNIT_ADMIN, 1), since="2026-01-01", until="2026-11-25")

    db.write_now(fill)
    return db


def who(db: Database, account_id: int, today: date = TODAY) -> Actor:
    return db.read_now(roles.actor, account_id, f"n{account_id}", "192.0.2.1", today)


def test_the_table_says_what_the_rows_say() -> None:
    assert not roles.TABLE[Role.UNIT_ADMIN] & {Right.MANAGE, Right.DECIDE, Right.MERGE, Right.ASSIGN}  # row 4.12
    assert roles.TABLE[Role.AUDITOR] <= {Right.READ, Right.STATISTICS, Right.AUDIT}  # reads only
    assert Right.AUDIT not in roles.TABLE[Role.OPERATOR]  # who acts does not judge the acts


@pytest.mark.parametrize(
    ("account_id", "right", "unit_id", "expected"),
    [
        (10, Right.DECIDE, 3, True),
        (20, Right.LOCK, 2, True),
        (20, Right.LOCK, 3, True),
        (20, Right.LOCK, 1, False),
        (20, Right.MANAGE, 3, False),
        (20, Right.LOCK, None, False),
        (30, Right.LOCK, 3, False),  # the role ended today
    ],
)
def test_rights(tree: Database, account_id: int, right: Right, unit_id: int | None, expected: bool) -> None:
    assert tree.read_now(roles.may, who(tree, account_id), right, unit_id) is expected
    assert tree.read_now(roles.may, SYSTEM, right, unit_id)


def test_a_role_has_its_days(tree: Database) -> None:
    assert who(tree, 30, date(2026, 11, 24)).grants == (Grant(Role.UNIT_ADMIN, 1),)
    assert who(tree, 30, date(2025, 12, 31)).grants == ()


def test_nobody_uses_a_right_on_the_own_account(tree: Database) -> None:
    tree.read_now(roles.need_account, who(tree, 20), Right.LOCK, 30)
    for account_id, code in ((20, "not-on-oneself"), (10, "not-allowed"), (99, "no-such-account")):
        with pytest.raises(Refused) as failure:
            tree.read_now(roles.need_account, who(tree, 20), Right.LOCK, account_id)
        assert failure.value.code == code


def test_a_scope_is_the_subtree(tree: Database) -> None:
    def listed(right: Right, actor: Actor) -> list[int]:
        where, params = roles.scope(actor, right).where("unit_id")
        return [
            row[0]
            for row in tree.read_now(lambda tx: tx.all(f"SELECT id FROM account WHERE {where} ORDER BY id", *params))
        ]

    assert listed(Right.READ, who(tree, 20)) == [20, 30]
    assert listed(Right.READ, SYSTEM) == [10, 20, 30]
    with pytest.raises(Refused):
        roles.scope(who(tree, 20), Right.AUDIT)


def test_roles_are_taken_away(tree: Database) -> None:
    assert len(tree.read_now(roles.holders, roles.scope(SYSTEM, Right.READ))) == 3
    assert tree.write_now(roles.withdraw, 20, Grant(Role.UNIT_ADMIN, 2))
    assert not tree.write_now(roles.withdraw, 20, Grant(Role.UNIT_ADMIN, 2))
    assert who(tree, 20).grants == ()
