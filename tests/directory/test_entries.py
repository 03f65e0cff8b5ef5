"""What the directory shows and finds."""

import pytest

from congvu.actions import accounts
from congvu.actions.accounts import NewAccount
from congvu.base.clock import Identifiers, ManualClock
from congvu.db.engine import Database
from congvu.directory import addresses, entries, people, profile, roles, units
from congvu.directory.entries import Contact, Entry, Shown
from congvu.directory.people import Kind, Post
from congvu.directory.roles import Actor, Right
from congvu.directory.units import Unit

ALL = roles.scope(Actor("congvu cli"), Right.READ)
LISTED = Shown.LISTED | Shown.PHONE


@pytest.fixture
def town(db: Database) -> dict[str, int]:
    ids = Identifiers(ManualClock())
    db.write_now(
        lambda tx: [units.add(tx, u) for u in (Unit(1, None, "Tỉnh", "tinh"), Unit(2, 1, "Sở Xây dựng", "so"))]
    )
    people_of_it = [
        ("nthue", "Nguyễn Thị Huệ", 1, Contact(0, "Chánh Văn phòng", mobile="0900", shown=LISTED)),
        ("hvan", "Huệ Văn An", 2, Contact(0, "Chuyên viên")),
        ("lvduong", "Lê Văn Đường", 2, Contact(0, "Phó Giám đốc", shown=Shown(0))),
        ("ttduong", "Trần Thị Dương", 2, Contact(0)),
    ]
    new = [NewAccount(f"{a}@x.vn", n, None, Kind.PERSON, u, contact=c) for a, n, u, c in people_of_it]
    new.append(NewAccount("soxaydung@x.vn", "Sở Xây dựng", None, Kind.ORGANISATION, 2))
    numbers = db.write_now(accounts.add_accounts, "test", new, profile.load("angiang_2016"), ids, 0.0)
    return {a.address.partition("@")[0]: n for a, n in zip(new, numbers, strict=True)}


def found(db: Database, text: str, **more: object) -> list[str]:
    return [e.address.partition("@")[0] for e in db.read_now(entries.search, text, ALL, **more)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hue", ["nthue", "hvan"]),
        ("hue nguy", ["nthue"]),
        ("Huệ", ["nthue", "hvan"]),
        ("duong", ["ttduong"]),  # lvduong is hidden
        ("chanh van", ["nthue"]),
        ("nthue@x", ["nthue"]),
        ("xay dung so", ["soxaydung"]),
        ("soxay", ["soxaydung"]),
        ("_", ["nthue", "hvan", "ttduong", "soxaydung"]),
        ("zz", []),
    ],
)
def test_search(db: Database, town: dict[str, int], text: str, expected: list[str]) -> None:
    assert found(db, text) == expected


def test_parts_of_a_search(db: Database, town: dict[str, int]) -> None:
    assert found(db, "duong", everybody=True) == ["lvduong", "ttduong"]
    assert found(db, "", limit=2) == ["nthue", "hvan"]
    assert found(db, "", after=town["hvan"]) == ["ttduong", "soxaydung"]
    assert found(db, "hue", units_below=2) == ["hvan"]


def test_people_are_called_by_their_last_name(db: Database, town: dict[str, int]) -> None:
    assert [e.name for e in db.read_now(entries.suggest, "hue", ALL)] == ["Nguyễn Thị Huệ", "Huệ Văn An"]
    assert db.read_now(entries.suggest, " ", ALL) == []


def test_what_changes_is_found_anew(db: Database, town: dict[str, int]) -> None:
    number = town["hvan"]
    db.write_now(people.set_posts, number, [Post(number, 1, "Giám đốc", main=True)])
    db.write_now(addresses.rename, number, "an.sxd@x.vn", "2027-01-01")
    db.write_now(entries.renew, [number])
    (entry,) = db.read_now(entries.search, "hue an", ALL)
    assert (entry.address, entry.aliases, entry.unit_id) == ("an.sxd@x.vn", ("hvan@x.vn",), 1)
    assert db.read_now(lambda tx: list(accounts.check(tx))) == []
    db.write_now(lambda tx: tx.run("UPDATE account SET name = 'Khác' WHERE id = ?", number))
    assert len(db.read_now(lambda tx: list(accounts.check(tx)))) == 1


def test_an_entry_tells_everything(db: Database, town: dict[str, int]) -> None:
    (entry,) = db.read_now(entries.get_many, [town["nthue"]])
    assert entry == Entry(
        *(town["nthue"], Kind.PERSON, entry.state, "Nguyễn Thị Huệ", "Chánh Văn phòng", 1, "nthue@x.vn", ()),
        *("", "0900", "", LISTED),
    )
    assert db.read_now(people.persons, [town["nthue"]])[town["nthue"]].given == "Huệ"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Nguyễn Thị Minh Khai", ("Nguyễn", "Thị Minh", "Khai")),
        ("Lê An", ("Lê", "", "An")),
        ("Hoàng", ("", "", "Hoàng")),
    ],
)
def test_names_are_split(name: str, parts: tuple[str, str, str]) -> None:
    assert people.split_name(name) == parts


def test_old_addresses_end_and_rest(db: Database, town: dict[str, int]) -> None:
    number = town["hvan"]
    db.write_now(addresses.rename, number, "hva@x.vn", "2027-01-01")
    from datetime import date

    assert db.read_now(addresses.ended, date(2026, 12, 31)) == []
    assert db.read_now(addresses.ended, date(2027, 1, 1)) == [("hvan@x.vn", number)]
    assert db.read_now(addresses.exact, "hvan@x.vn")
    db.write_now(addresses.lay_to_rest, ["hvan@x.vn"], 1000.0)
    assert db.read_now(addresses.exact, "hvan@x.vn") is None
    assert db.read_now(addresses.of_account, number) == ("hva@x.vn",)
    assert db.read_now(addresses.taken, ["hvan@x.vn", "soxaydung@x.vn"]) == {
        "hvan@x.vn": "person",
        "soxaydung@x.vn": "so",
    }
    assert db.write_now(addresses.free_rested, 999.0) == 0
    assert db.write_now(addresses.free_rested, 1000.0) == 1
    assert not db.read_now(addresses.taken, ["hvan@x.vn"])
