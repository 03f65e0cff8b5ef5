"""Lists of people: each row its own sentence, nothing guessed, the good ones go on (row 7.7)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from io import BytesIO

import pytest
import xlsxwriter

from congvu.actions import requests as acts
from congvu.actions import sheets, sheets_out
from congvu.actions.sheet_words import TEMPLATES, content_of, key_of
from congvu.actions.sheets import Row, Standing
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.codec import xlsx
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, entries, people, profile, units
from congvu.directory.lifecycle import State
from congvu.directory.people import Account
from congvu.directory.people import Kind as Holder
from congvu.directory.requests import Change, Issue, Kind, Lock, Request, Transfer
from congvu.directory.roles import Actor
from congvu.directory.units import Unit

CONFIG = Config(("angiang.gov.vn",), "mail.angiang.gov.vn", profile="angiang_2016")
PROFILE = profile.load("angiang_2016")
TODAY = date(2026, 11, 25)
HEAD = ("STT", "Họ và tên", "Ngày sinh", "Chức vụ", "Phòng/ban/đơn vị", "Số điện thoại", "Nội dung đề nghị", "Email")

Value = str | int | date | None


def book(rows: Sequence[Sequence[Value]], head: Sequence[str] = HEAD, at: int = 5, merge: str = "") -> bytes:
    out = BytesIO()
    file = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False})
    sheet = file.add_worksheet()
    day = file.add_format({"num_format": "dd/mm/yyyy"})
    sheet.write(0, 0, "ỦY BAN NHÂN DÂN TỈNH")
    for n, row in enumerate([head, *rows]):
        for column, value in enumerate(row):
            if isinstance(value, date):
                sheet.write_datetime(at + n, column, datetime(value.year, value.month, value.day), day)
            elif value is not None:
                sheet.write(at + n, column, value)
    if merge:
        sheet.merge_range(merge, "gộp")
    file.close()
    return out.getvalue()


def read(rows: Sequence[Sequence[Value]], kind: Kind = Kind.ISSUE, **more: object) -> list[Row]:
    found = sheets.read(book(rows, **more), kind, CONFIG, PROFILE, TODAY)  # type: ignore[arg-type]  # as given
    return list(found.rows)


def person(
    name: Value = "Lê Văn Tám", birth: Value = "", phone: Value = "", content: str = "", mail: str = ""
) -> list[Value]:
    return ["1", name, birth, "Chuyên viên", "", phone, content, mail]


def codes(row: Row) -> list[str]:
    return [each.code for each in (*row.faults, *row.doubts, *row.notes)]


@pytest.mark.parametrize(
    ("row", "standing", "said"),
    [
        (person(), Standing.GOOD, []),
        (person("NGUYỄN THỊ HUỆ"), Standing.GOOD, ["sheet-capitals"]),
        (person("Nguye\u0302\u0303n An"), Standing.GOOD, []),  # decomposed
        (person("NguyÔn V¨n An"), Standing.CHECK, ["sheet-old-code"]),
        (person("Nguyeãn Vaên An"), Standing.CHECK, ["sheet-old-code"]),
        (person("Nguyen Van An"), Standing.CHECK, ["sheet-no-marks"]),
        (person("Ông Lê Văn An"), Standing.CHECK, ["sheet-form-of-address"]),
        (person("H'HEN NIÊ"), Standing.CHECK, ["sheet-capitals-unsure"]),
        (person("Tám"), Standing.CHECK, ["sheet-one-word"]),
        (person("Lê Văn 8"), Standing.BAD, ["sheet-name"]),
        (person(""), Standing.BAD, ["sheet-no-name"]),
        (person(birth="25/04/1980"), Standing.GOOD, []),
        (person(birth=date(1980, 4, 25)), Standing.GOOD, []),
        (person(birth="1980"), Standing.GOOD, ["sheet-birth-year"]),
        (person(birth="31/02/1980"), Standing.BAD, ["sheet-birth"]),
        (person(birth="25/04/80"), Standing.BAD, ["sheet-birth"]),
        (person(birth="04/25/1980"), Standing.BAD, ["sheet-birth"]),
        (person(birth="25/04/2020"), Standing.BAD, ["sheet-birth-age"]),
        (person(phone=912345678), Standing.GOOD, ["sheet-phone-zero"]),
        (person(phone="912345678"), Standing.GOOD, ["sheet-phone"]),  # text that lacks something: left empty
        (person(phone="+84 912 345 678"), Standing.GOOD, []),
        (person(content="tạm khóa"), Standing.OTHER, ["sheet-other-kind"]),
        (person(content="Cấp mới"), Standing.GOOD, []),
        (person(content="gì đó"), Standing.CHECK, ["sheet-content"]),
        (person(mail="tam@gmail.com"), Standing.GOOD, ["sheet-private"]),
        (person(mail="lvtam@angiang"), Standing.BAD, ["sheet-address-cut"]),
        (person(mail="lvtám@angiang.gov.vn"), Standing.BAD, ["sheet-address-marks"]),
        (person(mail="lvtam@angiang,gov.vn"), Standing.BAD, ["sheet-address-sign"]),
        (person(mail="lvtam"), Standing.BAD, ["sheet-address-domain"]),
        (person(mail="lvtam@kiengiang.gov.vn"), Standing.BAD, ["sheet-address-foreign"]),
        (person(mail="a@angiang.gov.vn; b@angiang.gov.vn"), Standing.BAD, ["sheet-address-several"]),
        (person(mail="ttbinh@angiang.gov.vn"), Standing.CHECK, ["sheet-unlike"]),
        ([None, "Tổng cộng: 9 người", None, None, None, None, None, None], Standing.OTHER, ["sheet-not-a-row"]),
    ],
)  # fmt: skip
def test_one_row(row: list[Value], standing: Standing, said: list[str]) -> None:
    (found,) = read([row])
    assert (found.standing, codes(found)) == (standing, said)


def test_what_is_put_right_is_said() -> None:
    (row,) = read([person("NGUYỄN THỊ HUỆ", phone=912345678)])
    assert row.values["name"] == "Nguyễn Thị Huệ" and row.values["mobile"] == "0912345678"
    (row,) = read([person("NguyÔn V¨n An")])
    assert row.values["name"] == "Nguyễn Văn An"


def test_days_that_a_spreadsheet_may_have_turned_round() -> None:
    rows = read(
        [person(birth="25/04/1980"), person("Lê Văn Chín", birth=date(1980, 3, 4)), person("Lê An", date(1980, 3, 3))]
    )
    assert [codes(row) for row in rows] == [[], ["sheet-birth-swapped"], []]


def test_swapped_rows_are_found() -> None:
    rows = read(
        [person("Lê Văn Tám", mail="ttbinh@angiang.gov.vn"), person("Trần Thanh Bình", mail="lvtam@angiang.gov.vn")]
    )
    assert [codes(row) for row in rows] == [["sheet-swapped"], ["sheet-swapped"]]
    assert [row.faults[0].facts["line"] for row in rows] == [8, 7]


def test_merged_cells_are_told_and_not_guessed() -> None:
    rows = read([person(), person("Lê An"), person("Lê Bê")], merge="E8:E9")
    assert [codes(row) for row in rows] == [[], [], ["sheet-merged"]]
    assert rows[2].faults[0].facts["cells"] == "E8:E9"


def test_formulas_are_never_worked_out() -> None:
    out = BytesIO()
    file = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = file.add_worksheet()
    for column, title in enumerate(HEAD):
        sheet.write(0, column, title)
    sheet.write(1, 0, 1)
    sheet.write_formula(1, 1, '="Lê Văn "&"Tám"', None, "Lê Văn Tám")
    file.close()
    (row,) = sheets.read(out.getvalue(), Kind.ISSUE, CONFIG, PROFILE, TODAY).rows
    assert codes(row) == ["sheet-formula"]
    for text in ("=1+1", "+84", "-1", "@SUM(A1)"):
        found = sheets.read(book([person(), person(text)]), Kind.ISSUE, CONFIG, PROFILE, TODAY)
        back = xlsx.read(sheets_out.annotated(found, {}))[0]
        assert not any(cell.formula for cells in back.rows.values() for cell in cells.values())


def test_the_heading_is_found_by_its_words() -> None:
    names = (
        "TT",
        "Họ tên",
        "Ngày, tháng, năm sinh",
        "Chức danh",
        "Đơn vị công tác",
        "SĐT",
        "Nội dung",
        "Thư điện tử công vụ",
    )
    rows = read([["(1)", "(2)", "(3)", "(4)", "(5)", "(6)", "(7)", "(8)"], person()], head=names, at=12)
    assert [row.standing for row in rows] == [Standing.OTHER, Standing.GOOD]
    apart = read([["1", "Nguyễn Thị", "Huệ"]], head=("STT", "Họ và tên đệm", "Tên"))
    assert apart[0].values["name"] == "Nguyễn Thị Huệ"
    with pytest.raises(Refused) as failure:
        read([person()], kind=Kind.HAND_OVER)
    assert failure.value.code == "sheet-columns" and "Người nhận bàn giao" in failure.value.facts["missing"]  # type: ignore[operator]  # text


@pytest.mark.parametrize(
    ("heading", "key"),
    [
        ("Họ và tên", "name"), ("HỌ VÀ TÊN MỚI", "new_name"), ("Phòng/ban", "unit"), ("Số điện thoại", "mobile"),
        ("Địa chỉ hiện có", "address"), ("Email cá nhân", "private"), ("Gmail", "private"), ("Địa chỉ đề nghị", "wish"),
        ("Năm sinh", "birth"), ("Số CCCD", "identity"), ("Đơn vị mới", "new_unit"), ("Lý do (kiểm tra)", ""),
        ("Địa chỉ dự kiến (kiểm tra)", ""), ("Ghi chú", "why"), ("Mã số cán bộ", "number"), ("Quê quán", ""),
    ],
)  # fmt: skip
def test_headings(heading: str, key: str) -> None:
    assert key_of(heading) == key


def test_contents() -> None:
    assert [content_of(t) for t in ("Cấp mới", "Tạm khóa", "Xóa", "Khôi phục", "Cấp lại mật khẩu", "Thu hồi", "?")] == [
        Kind.ISSUE, Kind.LOCK, Kind.REVOKE, Kind.RESTORE, Kind.RESET, Kind.REVOKE, None,
    ]  # fmt: skip


@pytest.mark.parametrize("kind", list(Kind))
def test_our_own_forms_come_back(kind: Kind) -> None:
    sheet = xlsx.read(sheets_out.template(kind))[0]
    keys = [key_of(cell.text) for _, cell in sorted(sheet.rows[4].items())]
    assert keys == list(TEMPLATES[kind])


@pytest.fixture
def tree(db: Database) -> Database:
    def fill(tx: Tx) -> None:
        for unit in (
            Unit(1, None, "Tỉnh", "tinh"), Unit(2, 1, "Sở Xây dựng", "so"), Unit(3, 2, "Văn phòng", "vanphong"),
            Unit(4, 1, "Sở Y tế", "so"), Unit(5, 4, "Văn phòng", "vanphong"),
        ):  # fmt: skip
            units.add(tx, unit)
        people.add(tx, Account(30, Holder.PERSON, State.ACTIVE, "Lê Văn Tám", 3, 0, ""))
        addresses.give(tx, 30, "lvtam@angiang.gov.vn", primary=True)
        people.add_persons(tx, [people.Person(30, "Lê", "Văn", "Tám", "1980-04-25")])
        entries.put_many(tx, [replace(entries.NOTHING_SAID, account_id=30)])
        entries.renew(tx, [30])

    db.write_now(fill)
    return db


def met(db: Database, rows: Sequence[Sequence[Value]], kind: Kind, unit_id: int = 2, **more: object) -> sheets.List:
    found = sheets.read(book(rows, **more), kind, CONFIG, PROFILE, TODAY)  # type: ignore[arg-type]  # as given
    return db.read_now(sheets.meet, found, unit_id)


def test_units_are_found_by_their_whole_name(tree: Database) -> None:
    def unit(text: str, agency: int = 2) -> tuple[object, list[str]]:
        (row,) = met(tree, [["1", "Nguyễn Bê", "", "", text, "", "", ""]], Kind.ISSUE, agency).rows
        return getattr(row.item.facts if row.item else None, "unit_id", None), codes(row)

    assert unit("văn phòng") == (3, [])
    assert unit("") == (2, [])
    assert unit("Văn ph") == (None, ["sheet-unit"])
    assert unit("Sở Y tế") == (None, ["sheet-unit"])  # another agency's
    assert unit("Văn phòng", 1) == (None, ["sheet-unit-several"])


def test_rows_meet_their_accounts(tree: Database) -> None:
    head = ("STT", "Họ và tên", "Địa chỉ hiện có", "Lý do")
    rows = met(
        tree,
        [
            ["1", "LÊ VĂN TÁM", "LVTam@angiang.gov.vn", "nghỉ hưu"],
            ["2", "Lê Văn Chín", "lvchin@angiang.gov.vn", ""],
            ["3", "", "", "không"],
        ],
        Kind.LOCK,
        head=head,
    ).rows
    assert rows[0].item and rows[0].item.account_id == 30 and rows[0].item.facts == Lock(why="nghỉ hưu")
    assert codes(rows[1]) == ["no-such-account"] and rows[2].standing in (Standing.BAD, Standing.OTHER)
    (row,) = met(tree, [["1", "Trần Bê", "lvtam@angiang.gov.vn", ""]], Kind.LOCK, head=head).rows
    assert "sheet-holder" in codes(row) and row.item is None
    (row,) = met(tree, [["1", "Lê Văn Tám", "lvtam@angiang.gov.vn", "Văn phòng"]], Kind.TRANSFER, 4,
                 head=("STT", "Họ và tên", "Địa chỉ hiện có", "Đơn vị mới")).rows  # fmt: skip
    assert row.item and row.item.facts == Transfer(5)
    (row,) = met(tree, [["1", "lvtam@angiang.gov.vn", "Lê Văn Chín"]], Kind.CHANGE,
                 head=("STT", "Địa chỉ hiện có", "Họ và tên mới")).rows  # fmt: skip
    assert row.item and row.item.facts == Change(name="Lê Văn Chín")


def test_the_dry_run_comes_back_with_reasons_and_addresses(tree: Database) -> None:
    found = met(tree, [person("Nguyễn Thị Huệ"), person("Lê Văn Tám", "25/04/1980"), person("Lê 1")], Kind.ISSUE)
    who = Actor("congvu cli")

    def judge(tx: Tx) -> dict[int, acts.Verdict]:
        from congvu.base.clock import Identifiers, ManualClock

        office = acts.Office(CONFIG, Identifiers(ManualClock()), lambda now, n: TODAY)
        draft = Request(0, Kind.ISSUE, 2, "", "", "")
        return {v.item.line: v for v in acts.judged(tx, who, office, draft, found.items(), {}, 1_790_000_000)}

    (sheet,) = xlsx.read(sheets_out.annotated(found, tree.read_now(judge)))
    said = [[sheet.rows[n].get(c, xlsx.Cell("")).text for c in (9, 10, 11)] for n in (3, 4, 5, 6)]
    assert said[0] == ["Kết quả (kiểm tra)", "Lý do (kiểm tra)", "Địa chỉ dự kiến (kiểm tra)"]
    assert said[1] == ["Được", "", "nthue@angiang.gov.vn"]
    assert (
        said[2][0] == "Cần kiểm tra" and "lvtam@angiang.gov.vn" in said[2][1] and said[2][2] == "lvtam02@angiang.gov.vn"
    )
    assert said[3][0] == "Không được" and "họ và tên" in said[3][1] and said[3][2] == ""
    again = sheets.read(sheets_out.annotated(found, {}), Kind.ISSUE, CONFIG, PROFILE, TODAY)
    assert [codes(row) for row in again.rows] == [codes(row) for row in found.rows]
    assert isinstance(found.items()[0].facts, Issue)
