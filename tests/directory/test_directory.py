"""Acts on the directory: who may, what is written down, and what each viewer sees."""

import json
from collections.abc import Callable
from datetime import date

import pytest

from congvu.actions import accounts, directory
from congvu.actions.accounts import NewAccount
from congvu.actions.directory import Card, View
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import Refused
from congvu.db import audit
from congvu.db.engine import Database, Tx
from congvu.directory import entries, people, profile, roles, units
from congvu.directory.entries import Contact, Shown
from congvu.directory.people import Duty, Kind, Person, Post
from congvu.directory.roles import Actor, Grant, Role
from congvu.directory.units import How, Unit

SYSTEM = Actor("congvu cli")
NAMES = ("admin", "an", "hue", "other", "soxaydung")


@pytest.fixture
def house(db: Database) -> dict[str, int]:
    """Province 1, department 2 with office 3, department 4; `admin` administers 2, `an` and `hue` work in 3."""
    ids = Identifiers(ManualClock())
    tree = ((1, None, "Tỉnh An Giang", "tinh"), (2, 1, "Sở Xây dựng", "so"), (3, 2, "Văn phòng", "vanphong"))
    for number, parent, name, category in (*tree, (4, 1, "Sở Nội vụ", "so")):
        db.write_now(directory.add_unit, SYSTEM, Unit(number, parent, name, category), "", 0.0)
    where = {"admin": 2, "an": 3, "hue": 3, "other": 4, "soxaydung": 2}
    secret = Contact(0, "Chuyên viên", phone="0296", mobile="0900")
    new = [
        NewAccount(
            f"{n}@x.vn",
            "Sở Xây dựng" if n == "soxaydung" else f"Tên {n}",
            None,
            Kind.ORGANISATION if n == "soxaydung" else Kind.PERSON,
            where[n],
            contact=secret,
        )
        for n in NAMES
    ]
    numbers = db.write_now(accounts.add_accounts, "test", new, profile.load("angiang_2016"), ids, 0.0)
    found = dict(zip(NAMES, numbers, strict=True))
    db.write_now(directory.give_role, SYSTEM, found["admin"], Grant(Role.UNIT_ADMIN, 2), "", "", "QĐ 1", 0.0)
    return found


def actor(db: Database, house: dict[str, int], name: str) -> Actor:
    return db.read_now(roles.actor, house[name], f"{name}@x.vn", "192.0.2.7", date(2026, 11, 25))


def refused(db: Database, code: str, act: Callable[[Tx], object]) -> None:
    with pytest.raises(Refused) as failure:
        db.write_now(act)
    assert failure.value.code == code


def last(db: Database) -> tuple[str, str, dict[str, object]]:
    (row,) = db.read_now(audit.recent, limit=1)
    return row.who, row.act, json.loads(row.facts)


def test_a_mobile_number_is_seen_by_its_holder_and_who_administers(db: Database, house: dict[str, int]) -> None:
    def mobile(viewer: str, view: View = View.LISTED) -> dict[str, str]:
        who = actor(db, house, viewer)
        return {c.address.partition("@")[0]: c.mobile for c in db.read_now(directory.find, who, "ten", view)}

    assert mobile("an") == {"admin": "", "an": "0900", "hue": "", "other": ""}
    assert mobile("admin") == {"admin": "0900", "an": "0900", "hue": "0900", "other": ""}
    assert mobile("admin", View.MANAGED) == {"admin": "0900", "an": "0900", "hue": "0900"}
    with pytest.raises(Refused):
        mobile("an", View.MANAGED)


def test_a_person_says_who_sees_the_number(db: Database, house: dict[str, int]) -> None:
    an = actor(db, house, "an")
    wish = Contact(house["an"], "Giám đốc", "1", "2", "", Shown.MOBILE | Shown.PUBLIC)
    db.write_now(directory.set_contact, an, wish, 5.0)
    (card,) = db.read_now(directory.suggest, actor(db, house, "other"), "an")
    # Neither the title nor the places where one stands are one's own to choose.
    assert (card.title, card.phone, card.mobile, card.public) == ("Chuyên viên", "", "2", False)
    refused(db, "not-allowed", lambda tx: directory.set_contact(tx, actor(db, house, "hue"), wish, 5.0))
    assert last(db)[:2] == ("an@x.vn", "person.contact") and last(db)[2]["from"] == "192.0.2.7"


def test_hidden_and_public(db: Database, house: dict[str, int]) -> None:
    hidden = Contact(house["an"], shown=Shown(0))
    public = Contact(house["soxaydung"], phone="0296", mobile="0900", shown=Shown.LISTED | Shown.PUBLIC | Shown.PHONE)
    for contact in (hidden, public):
        db.write_now(directory.set_contact, SYSTEM, contact, 0.0)
    listed = lambda view, who=SYSTEM: [c.account_id for c in db.read_now(directory.find, who, "", view)]  # noqa: E731
    assert house["an"] not in listed(View.LISTED) and house["an"] in listed(View.MANAGED)
    assert listed(View.PUBLIC) == [house["soxaydung"]]
    (card,) = db.read_now(directory.find, SYSTEM, "", View.PUBLIC)
    assert (card.phone, card.mobile) == ("0296", "")
    assert [c.account_id for c in db.read_now(directory.cards, SYSTEM, [house["an"], house["hue"]])] == [house["hue"]]


def test_a_card_tells_the_way(db: Database, house: dict[str, int]) -> None:
    (card,) = db.read_now(directory.find, SYSTEM, "hue", unit_id=2)
    assert card == Card(
        *(house["hue"], Kind.PERSON, "Tên hue", "Tên", "", "hue", "Chuyên viên", 3),
        ("Tỉnh An Giang", "Sở Xây dựng", "Văn phòng"),
        *("hue@x.vn", (), "0296", "0900", "", False),
    )
    assert db.read_now(directory.find, SYSTEM, "hue", unit_id=4) == []


def test_units_are_the_operators(db: Database, house: dict[str, int]) -> None:
    admin = actor(db, house, "admin")
    refused(db, "not-allowed", lambda tx: directory.add_unit(tx, admin, Unit(9, 2, "Phòng", "phong"), "", 0.0))
    refused(db, "not-allowed", lambda tx: directory.end_unit(tx, admin, 3, "2026-01-01", [], How.MERGED, "", 0.0))
    db.write_now(directory.give_role, SYSTEM, house["admin"], Grant(Role.OPERATOR, 2), "", "", "", 0.0)
    operator = actor(db, house, "admin")
    db.write_now(directory.add_unit, operator, Unit(9, 2, "Phòng Quản lý nhà", "phong"), "QĐ 5", 7.0)
    assert last(db) == (
        "admin@x.vn",
        "unit.add",
        {
            "on": 9,
            "why": "QĐ 5",
            "from": "192.0.2.7",
            "name": "Phòng Quản lý nhà",
            "category": "phong",
            "parent": 2,
            "since": "",
        },
    )
    moved = Unit(9, 4, "Phòng Quản lý nhà", "phong")
    refused(
        db, "not-allowed", lambda tx: directory.change_unit(tx, operator, moved, "", 0.0)
    )  # not into another's part
    assert db.read_now(units.must_get, 9).parent_id == 2
    db.write_now(directory.change_unit, SYSTEM, moved, "", 0.0)
    assert last(db)[2]["parent_id"] == [2, 4]


def test_people_move(db: Database, house: dict[str, int]) -> None:
    posts = [Post(house["an"], 4, "Phó Giám đốc", main=True), Post(house["an"], 3, "Ủy viên", main=False)]
    db.write_now(directory.set_posts, SYSTEM, house["an"], posts, "QĐ 7", 0.0)
    (card,) = db.read_now(directory.find, SYSTEM, "pho giam", unit_id=4)
    assert (card.account_id, card.title) == (house["an"], "Phó Giám đốc")
    assert len(db.read_now(people.posts, house["an"])) == 2
    two = [Post(house["an"], 4, "A", main=True), Post(house["an"], 3, "B", main=True)]
    refused(db, "one-main-post", lambda tx: directory.set_posts(tx, SYSTEM, house["an"], two, "", 0.0))
    person = Person(house["hue"], "Nguyễn", "Thị", "Huệ", "1990-02-03", "congchuc")
    db.write_now(directory.change_person, SYSTEM, person, "cải chính hộ tịch", 0.0)
    assert last(db)[2] == {"on": house["hue"], "was": "Tên hue", "is": "Nguyễn Thị Huệ", "why": "cải chính hộ tịch"}
    assert [c.name for c in db.read_now(directory.suggest, SYSTEM, "nguyen")] == ["Nguyễn Thị Huệ"]
    assert db.read_now(lambda tx: list(accounts.check(tx))) == []


def test_duties(db: Database, house: dict[str, int]) -> None:
    duty = Duty(house["soxaydung"], house["admin"], house["an"], 3)
    db.write_now(directory.set_duty, SYSTEM, duty, "", 0.0)
    assert db.read_now(people.duty, house["soxaydung"]) == duty
    box = db.read_now(people.box_of, 2)
    assert box and box.id == house["soxaydung"]
    refused(db, "no-box", lambda tx: directory.set_duty(tx, SYSTEM, Duty(house["an"], None, None, 0), "", 0.0))
    wrong = Duty(house["soxaydung"], house["soxaydung"], None, 0)
    refused(db, "no-such-account", lambda tx: directory.set_duty(tx, SYSTEM, wrong, "", 0.0))


def test_roles_are_given_by_who_may(db: Database, house: dict[str, int]) -> None:
    grant = Grant(Role.AUDITOR, 2)
    refused(
        db,
        "not-allowed",
        lambda tx: directory.give_role(tx, actor(db, house, "admin"), house["an"], grant, "", "", "", 0.0),
    )
    db.write_now(directory.give_role, SYSTEM, house["admin"], Grant(Role.OPERATOR, 1), "", "", "", 0.0)
    operator = actor(db, house, "admin")
    refused(db, "not-on-oneself", lambda tx: directory.give_role(tx, operator, house["admin"], grant, "", "", "", 0.0))
    refused(
        db, "no-such-account", lambda tx: directory.give_role(tx, operator, house["soxaydung"], grant, "", "", "", 0.0)
    )
    db.write_now(directory.give_role, operator, house["an"], grant, "2026-01-01", "", "", 0.0)
    assert actor(db, house, "an").grants == (grant,)
    db.write_now(directory.take_role, operator, house["an"], grant, "", 0.0)
    refused(db, "no-such-role", lambda tx: directory.take_role(tx, operator, house["an"], grant, "", 0.0))


def test_communes_come_from_the_states_list(db: Database, house: dict[str, int]) -> None:
    communes = directory.communes_of("an giang", Identifiers(ManualClock()))
    kinds = [unit.category for unit in communes]
    assert (kinds.count("xa"), kinds.count("phuong"), kinds.count("dackhu")) == (85, 14, 3)  # row 13.1
    assert db.write_now(directory.add_communes, SYSTEM, 1, communes, "NQ 202/2025/QH15", 0.0) == 102
    assert db.write_now(directory.add_communes, SYSTEM, 1, communes, "", 0.0) == 0
    assert {u.name for u in db.read_now(units.find, "phu quoc")} == {"Đặc khu Phú Quốc"}
    with pytest.raises(Refused):
        directory.communes_of("Kiên Giang", Identifiers(ManualClock()))  # merged on 1 July 2025


def test_what_older_versions_lack_is_made_up(db: Database, house: dict[str, int]) -> None:
    for sql in ("DELETE FROM entry", "DELETE FROM person", "DELETE FROM post", "UPDATE unit SET folded = ''"):
        db.write_now(lambda tx, sql=sql: tx.run(sql))
    for mend in (units.fold_missing, people.name_missing, entries.fill_missing):
        db.write_now(mend)
        db.write_now(mend)
    assert db.read_now(lambda tx: list(accounts.check(tx))) == []
    assert [u.id for u in db.read_now(units.find, "noi vu")] == [4]
    assert [c.account_id for c in db.read_now(directory.find, SYSTEM, "hue")] == [house["hue"]]
