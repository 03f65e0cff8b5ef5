"""Figures of use, locked mailboxes, lists that units confirm: on both engines."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import pytest

from congvu.actions import accounts, directory, report_files, reports
from congvu.actions.accounts import NewAccount
from congvu.actions.reports import Usage
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import Refused
from congvu.codec import xlsx
from congvu.db import audit
from congvu.db.engine import Database, Tx
from congvu.directory import people, profile, roles, statistics, units
from congvu.directory.entries import Contact, Shown
from congvu.directory.lifecycle import State
from congvu.directory.people import Kind, Post
from congvu.directory.roles import Actor, Grant, Role
from congvu.directory.statistics import Figures, Workdays, percent, span
from congvu.directory.units import How, Unit

RULES = profile.load("nghean_2025")
SYSTEM = Actor("máy chủ")
MARCH = span("2026-03-02", "2026-03-13")  # two weeks, ten working days
BEFORE = datetime(2026, 1, 5, 3, tzinfo=UTC).timestamp()
MADE = datetime(2026, 3, 14, 3, tzinfo=UTC).timestamp()
TEN = [2, 3, 4, 5, 6, 9, 10, 11, 12, 13]
PUBLIC = Shown.LISTED | Shown.PHONE | Shown.PUBLIC


@dataclass
class Province:
    """Tỉnh 1: Sở 2 with Phòng 3, Phường 4 with Phòng 5; nobody's unit 6 ended long ago."""

    db: Database
    ids: Identifiers

    def add(self, local: str, unit: int | None, kind: Kind = Kind.PERSON, at: float = BEFORE, **more: object) -> int:
        new = NewAccount(f"{local}@x.vn", f"Tên {local}", None, kind, unit, contact=Contact(0, **more))  # type: ignore[arg-type]
        return self.db.write_now(accounts.add_account, "test", new, RULES, self.ids, at)

    def signed_in(self, number: int, *days: int, month: int = 2026 * 12 + 2) -> None:
        bits = sum(1 << (day - 1) for day in days)
        self.db.write_now(
            lambda tx: tx.run("INSERT INTO activity (account_id, month, days) VALUES (?, ?, ?)", number, month, bits)
        )

    def step(self, number: int, to: State, at: float, reason: str = "") -> None:
        self.db.write_now(people.set_state, number, to, at, reason)

    def actor(self, local: str, role: Role, unit: int) -> Actor:
        number = self.add(local, unit)
        self.db.write_now(roles.assign, number, Grant(role, unit))
        return self.db.read_now(roles.actor, number, f"{local}@x.vn", "192.0.2.7", date(2026, 3, 14))

    def usage(self, who: Actor = SYSTEM, **more: object) -> Usage:
        return self.db.read_now(lambda tx: reports.usage(tx, who, RULES, MARCH, MADE, **more))  # type: ignore[arg-type]


@pytest.fixture
def province(db: Database) -> Province:
    tree = (
        Unit(1, None, "Tỉnh An Giang", "tinh"),
        Unit(2, 1, "Sở Xây dựng", "so"),
        Unit(3, 2, "Phòng 2", "phong"),
        Unit(4, 1, "Phường Long Xuyên", "phuong"),
        Unit(5, 4, "Phòng 10", "phong"),
        Unit(6, 1, "Huyện Châu Phú", "huyen", until="2025-07-01"),
    )
    for unit in tree:
        db.write_now(units.add, unit)
    return Province(db, Identifiers(ManualClock()))


def refused(db: Database, code: str, act: Callable[[Tx], object]) -> None:
    with pytest.raises(Refused) as failure:
        db.write_now(act)
    assert failure.value.code == code


def by_unit(found: Usage) -> dict[int, Figures]:
    return {line.unit.id: line.whole for line in found.table.lines}


# ---- days


def test_a_span_is_whole_days_of_vietnam() -> None:
    assert MARCH.begin == datetime(2026, 3, 1, 17, tzinfo=UTC).timestamp()
    assert MARCH.end == datetime(2026, 3, 13, 17, tzinfo=UTC).timestamp()
    for first, last in (("2026-03-02", "2026-03-01"), ("", "2026-01-01"), ("x", "2026-01-01"), ("1900-01-01",) * 2):
        if first == last:
            assert span(first, last).begin < 0
            continue
        with pytest.raises(Refused):
            span(first, last)
    with pytest.raises(Refused):
        span("1000-01-01", "2026-01-01")
    with pytest.raises(Refused):
        span("9999-12-30", "9999-12-31")


def test_working_days_are_bits_of_months() -> None:
    days = Workdays(span("2026-02-27", "2026-03-03"), lambda day: day.weekday() < 5)
    assert (len(days), days.since(date(2026, 3, 1)), days.since(date(2026, 3, 3)), days.since(date(2026, 4, 1))) == (
        *(3, 2, 1, 0),
    )
    assert days.masks == {2026 * 12 + 1: 1 << 26, 2026 * 12 + 2: 0b110}


def test_percent() -> None:
    assert (percent(1, 3), percent(0, 5), percent(3, 0)) == (33.3, 0.0, None)


# ---- use


def test_regular_use_is_half_of_the_working_days(province: Province) -> None:
    people_of_it = {
        "half": TEN[:5],
        "less": TEN[:4],
        "weekend": [*TEN[:4], 7, 8],  # a Saturday and a Sunday are no working days
        "never": [],
    }
    for local, days in people_of_it.items():
        province.signed_in(province.add(local, 3), *days)
    province.signed_in(province.add("outside", 3), 1, 16, 17, 18, 19, 20)  # before and after the span
    f = province.usage().table.whole
    assert (f.staff, f.holders, f.regular, f.used) == (5, 5, 1, 3)
    assert province.usage().workdays == 10


def test_who_came_later_is_measured_from_that_day(province: Province) -> None:
    tenth = datetime(2026, 3, 10, 1, tzinfo=UTC).timestamp()
    province.signed_in(province.add("half", 3, at=tenth), 11, 12)  # of four
    province.signed_in(province.add("less", 3, at=tenth), 13)
    f = province.usage().table.whole
    assert (f.regular, f.new) == (1, 2)
    saturday = datetime(2026, 3, 13, 16, 59, tzinfo=UTC).timestamp()
    province.add("last-minute", 3, at=saturday)
    province.add("too-late", 3, at=saturday + 60)
    assert province.usage().table.whole.staff == 3


def test_holidays_are_no_working_days(province: Province) -> None:
    within = span("2025-04-28", "2025-05-04")  # 30 April, 1 May, and 2 May, which was swapped for a Saturday
    found = province.db.read_now(lambda tx: reports.usage(tx, SYSTEM, RULES, within, MADE))
    assert found.workdays == 2
    every = province.db.read_now(lambda tx: reports.usage(tx, SYSTEM, RULES, within, MADE, is_workday=lambda day: True))
    assert every.workdays == 7


def test_figures_are_sums_from_below(province: Province) -> None:
    province.add("so", 2, Kind.ORGANISATION, shown=PUBLIC)
    province.add("phuong", 4, Kind.ORGANISATION)
    province.add("nobody", None)
    for unit, count in ((1, 1), (2, 2), (3, 3), (5, 4)):
        for n in range(count):
            province.add(f"p{unit}.{n}", unit, shown=PUBLIC if n else Shown.LISTED)
    found = province.usage()
    staff = {number: f.staff for number, f in by_unit(found).items()}
    assert staff == {1: 10, 2: 5, 3: 3, 4: 4, 5: 4}  # what has ended and is empty is left out
    whole = found.table.whole
    assert (whole.staff, found.table.unplaced.staff, found.table.unplaced.active) == (10, 0, 1)
    assert (found.table.province.staff, found.table.commune.staff) == (6, 4)
    assert (whole.boxes, whole.agencies, whole.public, whole.active) == (2, 2, 7, 11)
    assert [(line.depth, line.unit.id) for line in found.table.lines] == [(0, 1), (1, 4), (2, 5), (1, 2), (2, 3)]
    assert found.title == "Tỉnh An Giang"


def test_states(province: Province) -> None:
    locked, revoked, gone = (province.add(local, 3) for local in ("locked", "revoked", "gone"))
    box = province.add("so", 2, Kind.ORGANISATION)
    waiting = province.add("waiting", 3)
    province.db.write_now(lambda tx: tx.run("UPDATE account SET state = 'requested' WHERE id = ?", waiting))
    for number in (locked, box):
        province.step(number, State.LOCKED, BEFORE)
    for number in (revoked, gone):
        province.step(number, State.REVOKED, BEFORE)
    province.step(gone, State.PURGED, BEFORE)
    f = province.usage().table.whole
    assert (f.staff, f.holders, f.active, f.locked, f.revoked, f.waiting) == (2, 1, 0, 1, 1, 1)
    assert (f.boxes, f.boxes_locked, f.later) == (1, 1, 0)
    province.step(locked, State.ACTIVE, MARCH.end + 5)
    after = province.usage()
    assert after.table.whole.later == 1
    assert any("1 tài khoản đã đổi trạng thái sau ngày chốt" in text for text in report_files.notes(after))


def test_staff_have_a_post_on_the_cut_off(province: Province) -> None:
    number = province.add("an", 3)
    for since, until, count in (
        ("2026-03-13", "", 1),
        ("2026-03-14", "", 0),
        ("", "2026-03-13", 0),
        ("", "2026-03-14", 1),
    ):
        post = Post(number, 3, "", main=True, since=since, until=until)
        province.db.write_now(people.set_posts, number, [post])
        assert province.usage().table.whole.staff == count
    more = [Post(number, 3, "", main=True), Post(number, 2, "", main=False)]
    province.db.write_now(people.set_posts, number, more)
    assert {n: f.staff for n, f in by_unit(province.usage()).items()} == {1: 1, 2: 1, 3: 1, 4: 0, 5: 0}


def test_the_personnel_office_counts_staff(province: Province) -> None:
    for n in range(3):
        province.add(f"p{n}", 3)
    province.add("q", 5)
    found = province.usage(headcount={2: 6, 4: 2})
    assert {n: f.staff for n, f in by_unit(found).items()} == {1: 8, 2: 6, 3: 3, 4: 2, 5: 1}
    assert (found.table.province.staff, found.table.commune.staff) == (6, 2)
    assert (percent(found.table.whole.holders, found.table.whole.staff)) == 50.0
    refused(province.db, "no-such-unit", lambda tx: reports.usage(tx, SYSTEM, RULES, MARCH, MADE, headcount={9: 1}))


def test_storage_and_letters(province: Province) -> None:
    number = province.add("an", 3)
    province.db.write_now(lambda tx: tx.run("UPDATE store SET used = 3000000 WHERE account_id = ?", number))
    assert report_files.usage_csv(province.usage()).decode().splitlines()[1].split(",")[16:18] == ["", "2.9"]

    def sent(tx: Tx, instant: int, letters: int) -> None:
        tx.run("INSERT INTO sent VALUES (?, ?, ?, ?)", number, instant // 60, letters, 2 * letters)

    province.db.write_now(sent, MARCH.begin, 4)
    province.db.write_now(sent, MARCH.end, 8)  # the next day
    found = province.usage()
    assert (found.table.whole.letters, found.table.whole.recipients) == (4, 8)
    assert report_files.knows_sent(found)
    late = replace(found, sent_since=date(2026, 3, 3))
    assert not report_files.knows_sent(late)
    assert json.loads(report_files.usage_json(late))["total"]["letters"] is None  # not known is not none
    assert "chỉ còn số đếm từ 03/03/2026" in report_files.notes(late)[-1]


def test_everybody_sees_the_own_part(province: Province) -> None:
    for local, unit in (("a", 3), ("b", 5), ("c", 1)):
        province.add(local, unit)
    admin = province.actor("admin", Role.UNIT_ADMIN, 2)
    found = province.usage(admin)
    assert by_unit(found).keys() == {2, 3} and found.table.whole.staff == 2
    assert by_unit(province.usage(admin, unit_id=3)).keys() == {3}
    for unit in (4, 1):
        refused(province.db, "not-allowed", lambda tx, u=unit: reports.usage(tx, admin, RULES, MARCH, MADE, unit_id=u))  # type: ignore[misc]
    nobody = province.db.read_now(roles.actor, province.add("d", 2), "d@x.vn", "", date(2026, 3, 14))
    calls: list[Callable[[Tx], object]] = [
        lambda tx: reports.usage(tx, nobody, RULES, MARCH, MADE),
        lambda tx: reports.reviews(tx, nobody, RULES, MADE),
        lambda tx: reports.locked(tx, nobody, date(2026, 3, 14)),
        lambda tx: reports.waiting(tx, nobody, RULES, MADE),
        lambda tx: reports.attest(tx, nobody, 2, "", MADE),
        lambda tx: reports.changes(tx, nobody, 2, MADE),
        lambda tx: reports.keep(tx, nobody, "usage", 2, b"", {}, MADE),
    ]
    for call in calls:
        refused(province.db, "not-allowed", call)
    refused(province.db, "no-such-unit", lambda tx: reports.usage(tx, SYSTEM, RULES, MARCH, MADE, unit_id=99))


# ---- files


def test_the_form_and_the_ratios(province: Province) -> None:
    province.add("so", 2, Kind.ORGANISATION)
    province.add("phuong", 4, Kind.ORGANISATION)
    for n in range(4):
        province.signed_in(province.add(f"p{n}", 3), *(TEN if n else ()))
    province.add("q", 5)
    province.db.write_now(reports.attest, SYSTEM, 2, "", MARCH.begin + 5)
    found = province.usage(headcount={4: 2})
    values = [value for _, value in report_files.form(found, "Thiếu máy", "=Tập huấn")]
    assert values == [6, 5, 83.3, 3, 50.0, "Chưa đủ: 1/2 cơ quan", "Không", "Thiếu máy", "=Tập huấn"]
    ratios = [(i.part, i.whole, i.target, i.reached) for i in report_files.indicators(found)]
    assert ratios == [(4, 4, 100, True), (1, 2, 80, False), (3, 6, 85, False)]
    one = province.db.read_now(lambda tx: reports.usage(tx, SYSTEM, RULES, MARCH, MADE, unit_id=2))
    assert report_files.form(one)[5][1] == "Có"
    assert [i.reached for i in report_files.indicators(one)] == [True, None, False]


def test_the_same_data_give_the_same_bytes(province: Province) -> None:
    province.db.write_now(directory.change_unit, SYSTEM, Unit(2, 1, "=HYPERLINK(1) Sở", "so"), "", 0.0)
    province.add("an", 3)
    for make in (report_files.usage_xlsx, report_files.usage_json, report_files.usage_csv):
        assert make(province.usage()) == make(province.usage())
    assert b",'=HYPERLINK(1) S" in report_files.usage_csv(province.usage())
    table, form, ratios, how = xlsx.read(report_files.usage_xlsx(province.usage(), proposals="=1+1"))
    assert [s.name for s in (table, form, ratios, how)] == ["Số liệu", "Phụ lục 2", "Chỉ tiêu", "Cách tính"]
    names = {row[1].text for row in table.rows.values()}
    assert "=HYPERLINK(1) Sở" in names and not any(
        c.formula for s in (table, form) for r in s.rows.values() for c in r.values()
    )
    assert form.rows[13][2].text == "=1+1"
    assert how.rows[3][1].text.startswith("Dùng thường xuyên: số ngày làm việc có đăng nhập ≥ 50 %")
    told = json.loads(report_files.usage_json(province.usage()))
    assert told["total"]["staff"] == 1 and told["units"][0]["name"] == "Tỉnh An Giang"


def test_a_report_that_was_handed_out_can_be_proved(province: Province) -> None:
    content = report_files.usage_json(province.usage())
    digest = province.db.write_now(reports.keep, SYSTEM, "usage", None, content, {"to": "2026-03-13"}, MADE)
    (row,) = province.db.read_now(audit.recent, limit=1)
    assert row.act == "report.made" and json.loads(row.facts)["digest"] == digest and len(digest) == 64


# ---- lists that units confirm


def test_a_list_is_confirmed(province: Province) -> None:
    an = province.add("an", 3)
    admin = province.actor("admin", Role.UNIT_ADMIN, 2)
    before = province.db.read_now(reports.changes, admin, 2, MADE)
    assert (before.entries, before.last, before.changed, before.acts) == (2, None, None, ())
    made = province.db.write_now(lambda tx: reports.attest(tx, admin, 2, " Đã  rà soát ", MADE, seen=before.digest))
    assert (made.who, made.entries, made.remark, made.digest) == ("admin@x.vn", 2, "Đã rà soát", before.digest)
    (row,) = province.db.read_now(audit.recent, limit=1)
    assert (row.act, json.loads(row.facts)["entries"]) == ("unit.attest", 2)
    after = province.db.read_now(reports.changes, admin, 2, MADE + 10)
    assert (after.changed, after.acts, after.last) == (False, (), made)

    operator = SYSTEM
    contact = Contact(an, "Phó Trưởng phòng", "0296")
    province.db.write_now(directory.set_contact, operator, contact, MADE + 20)
    province.db.write_now(directory.set_contact, operator, Contact(province.add("q", 5)), MADE + 20)  # elsewhere
    province.db.write_now(directory.set_posts, operator, an, [Post(an, 5, "Chuyên viên", main=True)], "QĐ 7", MADE + 30)
    gone = province.db.read_now(reports.changes, admin, 2, MADE + 40)
    assert gone.changed and gone.entries == 1
    assert [row.act for row in gone.acts] == ["person.posts"]  # who moved away is told by where from
    refused(province.db, "list-changed", lambda tx: reports.attest(tx, admin, 2, "", MADE + 50, seen=before.digest))
    assert not province.db.read_now(reports.changes, admin, 2, MADE + 50, limit=0).acts
    assert province.db.read_now(reports.changes, admin, 2, MADE + 50, limit=0).more


def test_what_is_locked_changes_no_list(province: Province) -> None:
    an = province.add("an", 3)
    made = province.db.write_now(reports.attest, SYSTEM, 2, "", MADE)
    province.step(an, State.LOCKED, MADE + 1)
    assert province.db.read_now(reports.changes, SYSTEM, 2, MADE + 2).digest == made.digest
    province.step(an, State.REVOKED, MADE + 3)
    assert province.db.read_now(reports.changes, SYSTEM, 2, MADE + 4).changed


def test_confirming_is_refused(province: Province) -> None:
    admin = province.actor("admin", Role.UNIT_ADMIN, 2)
    auditor = province.actor("auditor", Role.AUDITOR, 1)
    db = province.db
    refused(db, "not-allowed", lambda tx: reports.attest(tx, admin, 4, "", MADE))
    refused(db, "not-allowed", lambda tx: reports.attest(tx, auditor, 2, "", MADE))
    refused(db, "no-such-unit", lambda tx: reports.attest(tx, SYSTEM, 99, "", MADE))
    refused(db, "bad-remark", lambda tx: reports.attest(tx, admin, 2, "x" * 1001, MADE))
    refused(db, "bad-remark", lambda tx: reports.attest(tx, admin, 2, "a\x07", MADE))
    refused(db, "unit-ended", lambda tx: reports.attest(tx, SYSTEM, 6, "", MADE))
    db.write_now(directory.end_unit, SYSTEM, 2, "2026-03-14", [4], How.MERGED, "", MADE)
    refused(db, "unit-ended", lambda tx: reports.attest(tx, admin, 2, "", MADE))


def test_who_is_due(province: Province) -> None:
    province.add("so", 2, Kind.ORGANISATION)
    province.add("phuong", 4, Kind.ORGANISATION)
    province.actor("admin", Role.UNIT_ADMIN, 5)
    province.db.write_now(reports.attest, SYSTEM, 2, "", MADE)

    def found(now: float) -> dict[int, tuple[str, bool]]:
        some = province.db.read_now(reports.reviews, SYSTEM, RULES, now)
        return {each.unit.id: (str(each.due), each.overdue) for each in some}

    assert found(MADE) == {4: ("2026-03-14", True), 5: ("2026-03-14", True), 2: ("2026-09-14", False)}  # six months
    assert found(datetime(2026, 9, 13, 3, tzinfo=UTC).timestamp())[2][1] is False
    assert found(datetime(2026, 9, 13, 17, tzinfo=UTC).timestamp())[2][1] is True  # 14/9 in Vietnam
    f = province.usage().table.whole
    assert (f.agencies, f.reviewed) == (3, 0)  # it was confirmed after the cut-off
    again = province.db.write_now(reports.attest, SYSTEM, 2, "lần hai", MADE)
    assert province.db.read_now(reports.reviews, SYSTEM, RULES, MADE, unit_id=2)[0].last == again
    assert province.db.read_now(lambda tx: list(accounts.check(tx))) == []
    province.db.write_now(lambda tx: tx.run("UPDATE attestation SET unit_id = 77"))
    assert province.db.read_now(lambda tx: list(accounts.check(tx))) == [
        "attestation of unit 77: the unit does not exist"
    ]


# ---- locked, waiting


def test_locked_by_agency(province: Province) -> None:
    province.add("so", 2, Kind.ORGANISATION)
    a, b, c, d = (province.add(*each) for each in (("a", 3), ("b", 2), ("c", 5), ("d", None)))
    for number in (a, b, c, d):
        province.step(number, State.LOCKED, MADE, "inactive" if number == a else "")
    found = province.db.read_now(lambda tx: reports.locked(tx, SYSTEM, date(2026, 3, 14)))
    told = [(at.unit.id if at.unit else None, [box.address for box in at.boxes]) for at in found]
    assert told == [(1, ["c@x.vn"]), (2, ["a@x.vn", "b@x.vn"]), (None, ["d@x.vn"])]  # no agency: the one above
    assert found[1].boxes[0].unit == "Phòng 2" and found[1].boxes[0].since == int(MADE)
    lines = report_files.locked_csv(found).decode("utf-8-sig").splitlines()
    assert lines[2].startswith("Sở Xây dựng,Phòng 2,Cá nhân,Tên a,a@x.vn,14/03/2026,không sử dụng")
    assert json.loads(report_files.locked_json(found, date(2026, 3, 14)))["agencies"][2]["unit"] is None
    (sheet,) = xlsx.read(report_files.locked_xlsx(found, int(MADE)))
    assert sheet.rows[6][5].text == "a@x.vn"
    admin = province.actor("admin", Role.UNIT_ADMIN, 2)
    own = province.db.read_now(lambda tx: reports.locked(tx, admin, date(2026, 3, 14)))
    assert [at.unit.id for at in own if at.unit] == [2]
    waiting = province.db.read_now(reports.waiting, admin, RULES, MADE)
    assert (waiting.locked, waiting.reviews, waiting.requests, waiting.oldest) == (2, 1, 0, "")


def test_overdue_requests(province: Province) -> None:
    def ask(tx: Tx, number: int, unit: int, state: str, due: str) -> None:
        tx.run(
            "INSERT INTO request (id, kind, state, unit_id, number, dated, summary, basis, file_name, created,"
            " created_by, due, decided, decided_by, answer, reply_number, version)"
            " VALUES (?, 'issue', ?, ?, '', '', '', '', '', 0, '', ?, 0, '', '', '', 1)",
            *(number, state, unit, due),
        )

    rows = [(2, "submitted", "2026-03-13"), (2, "submitted", "2026-03-14"), (3, "running", "2026-03-10")]
    rows += [(3, "granted", "2026-03-01"), (4, "submitted", "2026-03-02"), (3, "draft", "")]
    for number, (unit, state, due) in enumerate(rows, 1):
        province.db.write_now(ask, number, unit, state, due)
    admin = province.actor("admin", Role.UNIT_ADMIN, 2)
    for who, count, oldest in ((SYSTEM, 3, "2026-03-02"), (admin, 2, "2026-03-10")):
        found = province.db.read_now(reports.waiting, who, RULES, MADE)
        assert (found.requests, found.oldest) == (count, oldest)


def test_units_in_the_order_people_count(province: Province) -> None:
    for number, name in ((10, "Tổ 10"), (11, "Tổ 2"), (12, "Đội 1"), (13, "Ấp Đông")):
        province.db.write_now(units.add, Unit(number, 3, name, "other"))
    part = statistics.Part(roles.scope(SYSTEM, roles.Right.READ), 3)
    ordered = province.db.read_now(statistics.tree, part)
    assert [(depth, unit.name) for depth, unit in ordered] == [
        (0, "Phòng 2"), (1, "Ấp Đông"), (1, "Đội 1"), (1, "Tổ 2"), (1, "Tổ 10"),
    ]  # fmt: skip
