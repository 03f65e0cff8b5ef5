"""The tree of units: dates, successors, subtrees, what cannot be."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from congvu.actions import accounts
from congvu.base.failure import Refused
from congvu.db.engine import Database, Tx
from congvu.directory import units
from congvu.directory.units import How, Unit

TREE = (
    Unit(1, None, "Tỉnh An Giang", "tinh", domain="angiang.gov.vn", profile="angiang_2016"),
    Unit(2, 1, "Sở Xây dựng", "so"),
    Unit(3, 2, "Văn phòng Sở Xây dựng", "vanphong"),
    Unit(4, 1, "Huyện Châu Phú", "huyen", until="2025-07-01"),
    Unit(5, 4, "Xã Mỹ Đức", "xa"),
    Unit(6, 1, "Phường Long Xuyên", "phuong", since="2025-07-01", domain="longxuyen.angiang.gov.vn"),
)


@pytest.fixture
def tree(db: Database) -> Database:
    db.write_now(lambda tx: [units.add(tx, unit) for unit in TREE])
    return db


def refused(db: Database, code: str, act: Callable[[Tx], object]) -> None:
    with pytest.raises(Refused) as failure:
        db.write_now(act)
    assert failure.value.code == code


def test_subtrees(tree: Database) -> None:
    within = lambda *roots: sorted(tree.read_now(units.within, roots))  # noqa: E731
    assert within(1) == [1, 2, 3, 4, 5, 6]
    assert within(2, 4) == [2, 3, 4, 5]
    assert within(3) == [3]
    assert within() == within(99) == []
    assert [u.name for u in tree.read_now(units.path, 3)] == ["Tỉnh An Giang", "Sở Xây dựng", "Văn phòng Sở Xây dựng"]
    assert [u.id for u in tree.read_now(units.children, None)] == [1]


def test_what_is_inherited(tree: Database) -> None:
    assert tree.read_now(units.inherited, 3) == ("angiang.gov.vn", "angiang_2016")
    assert tree.read_now(units.inherited, 6) == ("longxuyen.angiang.gov.vn", "angiang_2016")


@pytest.mark.parametrize(
    ("text", "expected"), [("long xuyen", [6]), ("Xay", [2, 3]), ("dựng sở", [2, 3]), ("chau phu", [4]), ("%", [2, 3])]
)
def test_finding(tree: Database, text: str, expected: list[int]) -> None:
    found = [u.id for u in tree.read_now(units.find, text)]
    assert set(expected) <= set(found)
    assert text == "%" or found == expected  # a sign says nothing: everything is found


def test_an_ended_unit_names_who_took_over(tree: Database) -> None:
    tree.write_now(units.end, 2, "2025-03-01", [6, 6], How.MERGED)
    assert [(s.unit_id, s.successor_id, s.day, s.how) for s in tree.read_now(units.successions, 6)] == [
        (2, 6, "2025-03-01", How.MERGED)
    ]
    unit = tree.read_now(units.must_get, 2)
    assert unit.stands(date(2025, 2, 28)) and not unit.stands(date(2025, 3, 1))
    refused(tree, "unit-ended", lambda tx: units.end(tx, 2, "2025-04-01", [], How.MERGED))
    tree.write_now(units.revive, 2)
    assert tree.read_now(units.must_get, 2).until == "" and not tree.read_now(units.successions, 6)


def test_what_cannot_be(tree: Database) -> None:
    refused(tree, "no-such-unit", lambda tx: units.add(tx, Unit(9, 99, "Phòng", "phong")))
    refused(tree, "no-such-category", lambda tx: units.add(tx, Unit(9, 1, "Phòng", "department")))
    refused(tree, "bad-name", lambda tx: units.add(tx, Unit(9, 1, " ", "phong")))
    refused(tree, "bad-day", lambda tx: units.add(tx, Unit(9, 1, "Phòng", "phong", since="1/7/2025")))
    refused(tree, "days-reversed", lambda tx: units.add(tx, Unit(9, 1, "P", "phong", "2025-07-01", "2025-06-30")))
    refused(tree, "circle", lambda tx: units.change(tx, replace(TREE[1], parent_id=3)))
    refused(tree, "circle", lambda tx: units.change(tx, replace(TREE[1], parent_id=2)))
    refused(tree, "no-such-unit", lambda tx: units.end(tx, 2, "2025-07-01", [99], How.MERGED))
    refused(tree, "days-reversed", lambda tx: units.end(tx, 6, "2025-06-01", [], How.MERGED))

    def deep(tx: Tx) -> None:
        for number in range(100, 100 + units.MAX_DEPTH):
            units.add(tx, Unit(number, number - 1 if number > 100 else None, "Phòng", "phong"))
        units.add(tx, Unit(999, 99 + units.MAX_DEPTH, "Phòng", "phong"))

    refused(tree, "too-deep", deep)


def test_a_unit_moves_with_all_below_it(tree: Database) -> None:
    was = tree.write_now(units.change, replace(TREE[1], parent_id=6, name="Sở Xây dựng mới"))
    assert was == TREE[1]
    assert sorted(tree.read_now(units.within, [6])) == [2, 3, 6]
    assert [u.id for u in tree.read_now(units.find, "moi")] == [2]


def test_damage_is_found(tree: Database) -> None:
    assert tree.read_now(lambda tx: list(accounts.check(tx))) == []
    tree.write_now(lambda tx: tx.run("UPDATE unit SET parent_id = 3 WHERE id = 2"))
    tree.write_now(lambda tx: tx.run("UPDATE unit SET parent_id = 77 WHERE id = 5"))
    found = tree.read_now(lambda tx: list(accounts.check(tx)))
    assert [sentence.partition(":")[0] for sentence in found] == ["unit 5", "unit 2", "unit 3"]
