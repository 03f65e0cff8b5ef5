"""Plans of mergers: the real case of An Giang and Kiên Giang, with the district level ended on 1 July 2025."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from congvu.actions import accounts, merging
from congvu.actions.accounts import NewAccount
from congvu.actions.merging import Kept, Plan, Runner, Stage
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import Refused
from congvu.db import audit, known_in, open_blobs
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, credentials, people, profile, units
from congvu.directory.merging import Act, read_order
from congvu.directory.people import Kind
from congvu.directory.roles import Actor
from congvu.directory.units import How, Unit
from congvu.mailstore import check as mailstore_check
from congvu.mailstore import mailbox

SYSTEM = Actor("congvu cli")
RULES = profile.load("angiang_2025")
OLD = profile.load("angiang_2016")
DOMAINS = ("angiang.gov.vn", "kiengiang.gov.vn")

ORDER = """
title = "Hợp nhất An Giang và Kiên Giang"
basis = "NQ 202/2025/QH15"
day = 2025-07-01
domain = "angiang.gov.vn"
aliases_until = 2026-07-01
profile = "angiang_2025"

[[unit]]
name = "Phường Long Xuyên"
category = "phuong"
under = "Tỉnh An Giang"

[[end]]
units = ["Thành phố Long Xuyên"]
custodian = "Tỉnh An Giang › Văn phòng Ủy ban nhân dân tỉnh"

[[province]]
unit = "Tỉnh Kiên Giang"
into = "Tỉnh An Giang"
"""

# number, parent, name, category, box; domain by number
UNITS = (
    (1, None, "Tỉnh An Giang", "tinh", ""),
    (2, 1, "Văn phòng Ủy ban nhân dân tỉnh", "vanphong", "vpubnd"),
    (3, 1, "Sở Xây dựng", "so", "soxaydung"),
    (4, 3, "Phòng Quản lý nhà", "phong", "qln.soxaydung"),
    (5, 1, "Thành phố Long Xuyên", "thanhpho", "longxuyen"),
    (6, 1, "Xã Vĩnh Bình", "xa", "vinhbinh"),
    (101, None, "Tỉnh Kiên Giang", "tinh", ""),
    (103, 101, "Sở Xây dựng", "so", "sxd"),
    (104, 103, "Phòng Quản lý nhà", "phong", "qln.sxd"),
    (105, 103, "Phòng Hạ tầng", "phong", "ht.sxd"),
    (106, 101, "Xã Vĩnh Bình", "xa", "vinhbinh"),
    (107, 101, "Xã Giồng Riềng", "xa", "giongrieng"),
)
PEOPLE = (
    ("nvan", "Nguyễn Văn An", 3, "angiang.gov.vn"),
    ("lthoa", "Lê Thị Hoa", 5, "angiang.gov.vn"),
    ("nvan.sxd", "Nguyễn Văn An", 103, "kiengiang.gov.vn"),
    ("ttbinh", "Trần Thị Bình", 105, "kiengiang.gov.vn"),
)


@dataclass
class House:
    db: Database
    clock: ManualClock
    ids: Identifiers
    runner: Runner

    def draw(self, order: str = ORDER) -> int:
        read = read_order(order.encode())
        return merging.draw(self.db, SYSTEM, read, RULES, self.ids, self.clock.now(), DOMAINS)

    def plan(self, number: int) -> Plan:
        return self.db.read_now(merging.plan, SYSTEM, number)

    def steps(self, number: int, act: Act) -> list[dict[str, Any]]:
        return [dict(s.facts) for s in self.db.read_now(merging.steps, SYSTEM, number) if s.act is act]

    def run(self, number: int, back: bool = False) -> Plan:
        todo = self.runner.take_back if back else self.runner.run
        return asyncio.run(todo(SYSTEM, number, self.plan(number).version))

    def holder(self, address: str) -> str:
        held = self.db.read_now(addresses.exact, address)
        return held.name if held else ""

    def state(self) -> list[Any]:
        """Everything that a plan may change."""

        def read(tx: Tx) -> list[Any]:
            return [
                tx.all("SELECT id, parent_id, name, category, until FROM unit WHERE until = '' ORDER BY id"),
                tx.all("SELECT id, unit_id, state, name FROM account WHERE state <> 'revoked' ORDER BY id"),
                tx.all("SELECT address, account_id FROM address WHERE is_primary = 1 AND rests = 0 ORDER BY address"),
                tx.all("SELECT account_id, must_change FROM credential ORDER BY account_id"),
                tx.all("SELECT account_id, grantee_id FROM acl ORDER BY account_id"),
                tx.all("SELECT account_id, unit_id, title FROM post ORDER BY account_id"),
                tx.all("SELECT unit_id FROM succession"),
            ]

        return self.db.read_now(read)

    def whole(self) -> None:
        found = self.db.read_now(lambda tx: [*accounts.check(tx), *mailstore_check.check(tx)])
        assert found == []


@pytest.fixture
def house(db: Database, tmp_path: Path) -> Iterator[House]:
    clock = ManualClock(1_751_300_000.0)  # 30 June 2025
    ids = Identifiers(clock)

    def fill(tx: Tx) -> None:
        for number, parent, name, category, _ in UNITS:
            units.add(tx, Unit(number, parent, name, category))
        new = []
        for number, _, name, category, box in UNITS:
            kind = Kind.UNIT if category == "phong" else Kind.ORGANISATION
            domain = "kiengiang.gov.vn" if number > 100 else "angiang.gov.vn"
            if box:
                secret = credentials.Stored("$argon2id$x", None)
                new.append(NewAccount(f"{box}@{domain}", f"Hộp {name} {number}", secret, kind, number))
        new += [NewAccount(f"{a}@{domain}", name, None, Kind.PERSON, unit) for a, name, unit, domain in PEOPLE]
        accounts.add_accounts(tx, "test", new, OLD, ids, clock.now())

    db.write_now(fill)
    keeper = open_blobs("file:blobs", data=tmp_path, worker="test", known=known_in(db))
    yield House(db, clock, ids, Runner(db, keeper, clock, ids, RULES))
    keeper.close()


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(Refused) as failure:
        act()
    assert failure.value.code == code


def test_the_plan_of_two_provinces(house: House) -> None:
    number = house.draw()
    assert house.plan(number).stage is Stage.DRAWN
    new = {f["was"]: f["address"] for f in house.steps(number, Act.ADDRESS)}
    # Who has an address of the province keeps it (row 3.15); the others get one by the rule, a namesake with a number.
    assert new["nvan.sxd@kiengiang.gov.vn"] == "nvan02@angiang.gov.vn"
    assert new["ttbinh@kiengiang.gov.vn"] == "ttbinh@angiang.gov.vn"
    assert not {"nvan@angiang.gov.vn", "lthoa@angiang.gov.vn", "soxaydung@angiang.gov.vn"} & new.keys()
    # Two communes of one name stay two; departments of one name become one, with their offices.
    ended = {f["id"]: f["to"] for f in house.steps(number, Act.END)}
    assert ended == {101: [1], 103: [3], 104: [4], 5: []}
    moved = {f["id"]: f["parent"] for f in house.steps(number, Act.CHANGE)}
    assert moved == {105: 3, 106: 1, 107: 1}
    closed = {f["address"]: f["unit"] for f in house.steps(number, Act.CLOSE)}
    assert closed == {"longxuyen@angiang.gov.vn": 2, "sxd@kiengiang.gov.vn": 3, "qln.sxd@kiengiang.gov.vn": 4}


def test_a_ward_does_not_get_the_old_citys_address(house: House) -> None:
    """Row 13.6."""
    number = house.draw()
    (box,) = house.steps(number, Act.BOX)
    assert box["address"] != "longxuyen@angiang.gov.vn" and box["question"].startswith("longxuyen@angiang.gov.vn: ")
    (twin,) = [f for f in house.steps(number, Act.ADDRESS) if f["was"] == "vinhbinh@kiengiang.gov.vn"]
    assert twin["address"] != "vinhbinh@angiang.gov.vn" and twin["question"]
    refused("questions-open", lambda: house.run(number))


def settle(house: House, number: int) -> None:
    for step in house.db.read_now(merging.steps, SYSTEM, number):
        if step.facts["question"]:
            version = house.plan(number).version
            house.db.write_now(merging.decide, SYSTEM, number, version, step.line, "", house.clock.now())


def test_a_plan_runs_and_is_taken_back(house: House) -> None:
    before = house.state()
    number = house.draw()
    settle(house, number)
    assert house.state() == before  # nothing has happened yet
    done = house.run(number)
    assert (done.stage, done.left) == (Stage.DONE, 0)
    house.whole()
    assert house.holder("nvan02@angiang.gov.vn") == house.holder("nvan.sxd@kiengiang.gov.vn") == "Nguyễn Văn An"
    assert house.holder("longxuyen@angiang.gov.vn") == "Hộp Văn phòng Ủy ban nhân dân tỉnh 2"
    assert house.holder("sxd@kiengiang.gov.vn") == "Hộp Sở Xây dựng 3"
    unit = house.db.read_now(units.must_get, 103)
    assert unit.until == "2025-07-01"
    (succession,) = house.db.read_now(units.successions, 103)
    assert (succession.successor_id, succession.how) == (3, How.MERGED)
    told = house.db.read_now(addresses.exact, "ttbinh@angiang.gov.vn")
    assert told is not None
    inbox = house.db.read_now(mailbox.find, told.account_id, "INBOX")
    assert inbox is not None and inbox.messages == 1
    refused("plan-stage", lambda: house.run(number))
    house.clock.move(29 * 86400)
    back = house.run(number, back=True)
    assert (back.stage, back.left) == (Stage.TAKEN_BACK, 0)
    assert house.state() == before
    house.whole()
    # What was told to others meanwhile still arrives.
    assert house.holder("nvan02@angiang.gov.vn") == house.holder("nvan.sxd@kiengiang.gov.vn")
    acts = [row.act for row in house.db.read_now(audit.recent, act="merge.")]
    assert {"merge.draw", "merge.run", "merge.step", "merge.done", "merge.take-back", "merge.undo"} <= set(acts)


def test_after_a_month_it_is_too_late(house: House) -> None:
    number = house.draw()
    settle(house, number)
    house.run(number)
    house.clock.move(merging.TAKE_BACK_DAYS * 86400 + 1)
    refused("too-late", lambda: house.run(number, back=True))


@pytest.mark.parametrize("back", [False, True])
def test_a_run_goes_on_where_it_stopped(house: House, monkeypatch: pytest.MonkeyPatch, back: bool) -> None:
    monkeypatch.setattr(merging, "_PORTION", 3)
    before = house.state()
    number = house.draw()
    settle(house, number)
    if back:
        house.run(number)
    total, version = house.plan(number).steps, house.plan(number).version
    todo = house.runner.take_back if back else house.runner.run
    count = 0

    def stop(done: int, of: int) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(todo(SYSTEM, number, version, stop))
    assert house.plan(number).left == total - 6
    house.whole()
    house.run(number, back)
    assert house.plan(number).left == 0
    house.whole()
    if not back:
        letters = sum(step.act is Act.LETTER for step in house.db.read_now(merging.steps, SYSTEM, number))
        kept = house.db.read_now(lambda tx: tx.one("SELECT count(*) FROM message"))
        assert kept == (letters,)  # none twice
        house.run(number, back=True)
    assert house.state() == before


def test_what_was_chosen_is_given(house: House) -> None:
    number = house.draw()
    (line,) = [s.line for s in house.db.read_now(merging.steps, SYSTEM, number) if s.act is Act.BOX]
    decide = lambda address, version: house.db.write_now(  # noqa: E731
        merging.decide, SYSTEM, number, version, line, address, 0.0
    )
    for wrong, code in (
        ("longxuyen@angiang.gov.vn", "address-taken"),
        ("nvan02@angiang.gov.vn", "address-taken"),  # given by another step of this plan
        ("x@kiengiang.gov.vn", "foreign-domain"),
        ("@", "bad-address"),
    ):
        refused(code, lambda wrong=wrong: decide(wrong, 1))  # type: ignore[misc]
    assert decide("phuonglongxuyen@angiang.gov.vn", 1) == 2
    refused("plan-changed", lambda: decide("plx@angiang.gov.vn", 1))  # who had not seen it
    settle(house, number)
    house.run(number)
    assert house.holder("phuonglongxuyen@angiang.gov.vn") == "Phường Long Xuyên"


def test_an_address_taken_meanwhile_stops_the_run(house: House) -> None:
    number = house.draw()
    settle(house, number)
    new = NewAccount("ttbinh@angiang.gov.vn", "Trương Thế Bình", None, Kind.PERSON, 3)
    house.db.write_now(accounts.add_account, "test", new, OLD, house.ids, 0.0)
    refused("address-taken", lambda: house.run(number))
    house.whole()
    assert house.plan(number).stage is Stage.RUNNING
    assert house.run(number, back=True).stage is Stage.TAKEN_BACK


def test_a_split(house: House) -> None:
    order = """
    title = "Chia Sở Xây dựng"
    basis = "QĐ 1"
    day = "2025-07-01"
    domain = "angiang.gov.vn"
    aliases_until = "2026-07-01"
    profile = "angiang_2025"
    people = "none"
    [[unit]]
    name = "Sở Quy hoạch"
    category = "so"
    under = "Tỉnh An Giang"
    [[unit]]
    name = "Sở Nhà ở"
    category = "so"
    under = "Tỉnh An Giang"
    [[split]]
    unit = "Tỉnh An Giang › Sở Xây dựng"
    into = ["Sở Quy hoạch", "Sở Nhà ở"]
    people = { "nvan@angiang.gov.vn" = "Sở Nhà ở" }
    """
    before = house.state()
    number = house.draw(order)
    settle(house, number)
    house.run(number)
    house.whole()
    held = house.db.read_now(addresses.exact, "nvan@angiang.gov.vn")
    assert held is not None
    (post,) = house.db.read_now(people.posts, held.account_id)
    assert house.db.read_now(units.must_get, post.unit_id).name == "Sở Nhà ở"
    assert {s.how for s in house.db.read_now(units.successions, 3)} == {How.SPLIT}
    assert house.holder("soxaydung@angiang.gov.vn") == "Sở Quy hoạch"  # carried on by the first
    house.run(number, back=True)
    assert house.state() == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("title =", "titel ="), "bad-order"),
        (("day = 2025-07-01", 'day = "1/7/2025"'), "bad-day"),
        (("aliases_until = 2026", "aliases_until = 2024"), "days-reversed"),
        (('category = "phuong"', 'kind = "phuong"'), "bad-order"),
        (('under = "Tỉnh An Giang"', ""), "bad-order"),
        (('domain = "angiang.gov.vn"', 'domain = "a b"'), "bad-order"),
        (('domain = "angiang.gov.vn"', 'domain = "gialai.gov.vn"'), "foreign-domain"),
        (('Tỉnh Kiên Giang"', 'Tỉnh Bình Định"'), "no-such-unit-named"),
        (('units = ["Thành phố Long Xuyên"]', "units = 7"), "bad-order"),
        (("[[province]]", "[[province"), "bad-order"),
        (('into = "Tỉnh An Giang"', 'into = "Tỉnh Kiên Giang"'), "merged-twice"),
    ],
)
def test_what_an_order_cannot_say(house: House, change: tuple[str, str], code: str) -> None:
    assert change[0] in ORDER
    refused(code, lambda: house.draw(ORDER.replace(*change)))


def test_names_that_several_units_bear(house: House) -> None:
    rename = '\n[[rename]]\nunit = "Sở Xây dựng"\nname = "Sở Kiến thiết"\n'
    refused("many-units", lambda: house.draw(ORDER + rename))
    number = house.draw(ORDER + rename.replace('"Sở Xây dựng"', '"Tỉnh An Giang › Sở Xây dựng"'))
    (new,) = [f for f in house.steps(number, Act.ADDRESS) if f["was"] == "soxaydung@angiang.gov.vn"]
    assert new["address"] == "skt@angiang.gov.vn"


def test_it_is_the_operators_business(house: House) -> None:
    nobody = Actor("an@x.vn", 7)
    refused("not-allowed", lambda: house.db.read_now(merging.plans, nobody))
    order = read_order(ORDER.encode())
    refused("not-allowed", lambda: merging.draw(house.db, nobody, order, RULES, house.ids, 0.0, DOMAINS))


def test_steps_come_in_pages(house: House) -> None:
    number = house.draw()
    steps: list[Kept] = house.db.read_now(merging.steps, SYSTEM, number)
    assert house.db.read_now(merging.steps, SYSTEM, number, 2, 2) == steps[2:4]
    assert [p.id for p in house.db.read_now(merging.plans, SYSTEM)] == [number]
