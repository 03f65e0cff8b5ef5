"""Reports as files: .xlsx for people, CSV and JSON for programs; the form of Nghệ An (row 15.3) and the two ratios of
row 15.5 filled in.

Promises that each figure stands beside the sentence that says how it was counted, that what is not known is an empty
cell and never a zero, that no cell becomes a formula, and that the same report gives the same bytes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any

import xlsxwriter

from congvu.actions.reports import LockedAt, Usage
from congvu.base.clock import day_of
from congvu.base.texts import say_in
from congvu.codec.tables import as_csv
from congvu.directory.report_days import Due, Report
from congvu.directory.rules import Rule
from congvu.directory.statistics import NAMES, Figures, Line, percent

Cell = str | int | float | None


def day(when: date | None) -> str:
    return f"{when:%d/%m/%Y}" if when else ""


# ---- use of the mail: what stands in it


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    width: int
    value: Callable[[Usage, Figures], Cell]


def _share(part: str, whole: str) -> Callable[[Usage, Figures], Cell]:
    return lambda _, f: percent(getattr(f, part), getattr(f, whole))


def _count(name: str) -> Callable[[Usage, Figures], Cell]:
    def value(_: Usage, figures: Figures) -> int:
        found: int = getattr(figures, name)
        return found

    return value


_COLUMNS = (
    _Column("Cán bộ, công chức, viên chức, người lao động", 12, _count("staff")),
    _Column("Có hộp thư", 10, _count("holders")),
    _Column("Có hộp thư, %", 10, _share("holders", "staff")),
    _Column("Dùng thường xuyên", 10, _count("regular")),
    _Column("Dùng thường xuyên, %", 10, _share("regular", "staff")),
    _Column("Có đăng nhập trong kỳ", 10, _count("used")),
    _Column("Tài khoản đang hoạt động", 10, _count("active")),
    _Column("Tài khoản bị khóa", 10, _count("locked")),
    _Column("Tài khoản đã thu hồi", 10, _count("revoked")),
    _Column("Chờ cấp", 10, _count("waiting")),
    _Column("Cấp mới trong kỳ", 10, _count("new")),
    _Column("Hộp thư cơ quan, đơn vị, chức năng", 12, _count("boxes")),
    _Column("… bị khóa", 10, _count("boxes_locked")),
    _Column("Địa chỉ đã công bố", 10, _count("public")),
    _Column("Thư gửi ra ngoài", 10, lambda u, f: f.letters if knows_sent(u) else None),
    _Column("Dung lượng, MB", 11, lambda _, f: round(f.storage / 2**20, 1)),
    _Column("Cơ quan phải xác nhận danh sách", 11, _count("agencies")),
    _Column("… đã xác nhận trong kỳ", 11, _count("reviewed")),
)


def knows_sent(usage: Usage) -> bool:
    """Are the letters of the whole time still counted? They are kept for some days only."""
    return usage.sent_since is not None and usage.sent_since <= usage.within.first


def formula(usage: Usage) -> str:
    rule = usage.profile.report.regular_use
    return (
        f"Dùng thường xuyên: số ngày làm việc có đăng nhập ≥ {usage.regular} % số ngày làm việc trong kỳ"
        f" ({usage.workdays} ngày; hộp thư cấp trong kỳ: tính từ ngày cấp). Nguồn: {_source(rule)}, dòng {rule.row}."
    )


def notes(usage: Usage) -> list[str]:
    """How it was counted, and what could not be."""
    made = day_of(usage.made)
    found = [
        formula(usage),
        "Cán bộ: người có chức vụ chính trong danh bạ vào ngày chốt; nơi có số của cơ quan nhân sự thì theo số ấy.",
        "Tỷ lệ tính trên số cán bộ. Mỗi người tính một lần, ở đơn vị của chức vụ chính.",
        f"Dung lượng, địa chỉ công bố và trạng thái tài khoản: vào lúc lập, {day(made)}.",
    ]
    if made < usage.within.last:
        found.append("Kỳ báo cáo chưa hết khi lập báo cáo này: số liệu chưa phải số chốt.")
    if usage.table.whole.later:
        found.append(f"{usage.table.whole.later} tài khoản đã đổi trạng thái sau ngày chốt.")
    if not knows_sent(usage):
        since = f" từ {day(usage.sent_since)}" if usage.sent_since else ""
        found.append(f"Thư gửi ra ngoài: hệ thống chỉ còn số đếm{since}, không đủ cho cả kỳ nên để trống.")
    return found


def form(usage: Usage, problems: str = "", proposals: str = "") -> list[tuple[str, Cell]]:
    """Nghệ An, Phụ lục 2, filled in (row 15.3)."""
    f = usage.table.whole
    if f.agencies == 0:
        reviewed = ""
    elif f.agencies == 1:
        reviewed = "Có" if f.reviewed else "Không"
    else:
        reviewed = f"{'Có' if f.reviewed == f.agencies else 'Chưa đủ'}: {f.reviewed}/{f.agencies} cơ quan"
    return [
        ("a) Tổng số cán bộ, công chức, viên chức, người lao động", f.staff),
        ("    Số người đã được cấp hộp thư", f.holders),
        ("    Tỷ lệ, %", percent(f.holders, f.staff)),
        ("b) Số người thường xuyên sử dụng trong công việc", f.regular),
        ("    Tỷ lệ, %", percent(f.regular, f.staff)),
        ("c) Danh bạ đã được rà soát trong kỳ", reviewed),
        ("    Danh bạ đã được công bố", "Có" if f.public else "Không"),
        ("d) Khó khăn, vướng mắc", problems),
        ("đ) Đề xuất, kiến nghị", proposals),
    ]


@dataclass(frozen=True, slots=True)
class Indicator:
    """A ratio against what is aimed at (row 15.5). `reached` None where there is nobody or no target."""

    name: str
    part: int
    whole: int
    percent: float | None
    target: int | None
    source: str

    @property
    def reached(self) -> bool | None:
        if self.target is None or not self.whole:
            return None
        return self.part * 100 >= self.target * self.whole  # the ratio itself, not as it is rounded


def indicators(usage: Usage) -> list[Indicator]:
    table, r = usage.table, usage.profile.report

    def one(name: str, part: int, whole: int, rule: Rule[int]) -> Indicator:
        return Indicator(name, part, whole, percent(part, whole), rule.or_none, _source(rule))

    upper, commune, every = table.province, table.commune, table.whole
    return [
        one("Cán bộ cấp tỉnh có hộp thư", upper.holders, upper.staff, r.target_accounts),
        one("Cán bộ cấp xã có hộp thư", commune.holders, commune.staff, r.target_accounts_commune),
        one("Cán bộ dùng thường xuyên", every.regular, every.staff, r.target_regular),
    ]


def _source(rule: Rule[Any]) -> str:
    return rule.applied.source if rule.applied else ""


def _rows(usage: Usage) -> list[tuple[int, str, Figures, Line | None]]:
    """Depth, name and figures of each line: all together first when there is more than one root."""
    table = usage.table
    rows: list[tuple[int, str, Figures, Line | None]] = []
    if sum(line.depth == 0 for line in table.lines) != 1 or table.unplaced:
        rows.append((0, "Toàn bộ", table.whole, None))
    rows += [(line.depth, line.unit.name, line.whole, line) for line in table.lines]
    if table.unplaced:
        rows.append((0, "Không thuộc đơn vị nào", table.unplaced, None))
    return rows


def _attested(line: Line | None) -> str:
    return day(day_of(line.attested)) if line and line.attested else ""


# ---- use of the mail: as files


def usage_csv(usage: Usage) -> bytes:
    heads = ["Cấp", "Đơn vị", *(c.title for c in _COLUMNS), "Xác nhận danh sách lần cuối"]
    rows = [
        [depth, name, *(c.value(usage, figures) for c in _COLUMNS), _attested(line)]
        for depth, name, figures, line in _rows(usage)
    ]
    return as_csv([heads, *rows])


def usage_json(usage: Usage, problems: str = "", proposals: str = "") -> bytes:
    """Everything that is known of it; `own` of each unit besides what is rolled up."""
    table = usage.table
    whole = {
        "report": "usage",
        "unit": _id(usage.unit_id),
        "title": usage.title,
        "from": usage.within.first.isoformat(),
        "to": usage.within.last.isoformat(),
        "made": datetime.fromtimestamp(usage.made, UTC).isoformat(),
        "profile": usage.profile.name,
        "regular_percent": usage.regular,
        "workdays": usage.workdays,
        "notes": notes(usage),
        "form": [{"what": what.strip(), "value": value} for what, value in form(usage, problems, proposals)],
        "indicators": [
            {
                "name": each.name,
                "part": each.part,
                "whole": each.whole,
                "percent": each.percent,
                "target": each.target,
                "reached": each.reached,
                "source": each.source,
            }
            for each in indicators(usage)
        ],
        "total": _told(usage, table.whole),
        "unplaced": _told(usage, table.unplaced),
        "units": [
            {
                "id": _id(line.unit.id),
                "parent": _id(line.unit.parent_id),
                "depth": line.depth,
                "name": line.unit.name,
                "category": line.unit.category,
                "agency": line.agency,
                "attested": day_of(line.attested).isoformat() if line.attested else "",
                "own": _told(usage, line.own),
                "total": _told(usage, line.whole),
            }
            for line in table.lines
        ],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n"


def _id(number: int | None) -> str | None:
    """As text: numbers of 63 bits are more than JavaScript can hold."""
    return None if number is None else str(number)


def _told(usage: Usage, figures: Figures) -> dict[str, Cell]:
    told: dict[str, Cell] = {name: getattr(figures, name) for name in NAMES}
    if not knows_sent(usage):
        told |= {"letters": None, "recipients": None}
    shares = {
        "holders_percent": percent(figures.holders, figures.staff),
        "regular_percent": percent(figures.regular, figures.staff),
    }
    return told | shares


class _Book:
    """A workbook; text is always text, whatever it begins with."""

    def __init__(self, made: int) -> None:
        self._out = BytesIO()
        options = {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self._book = xlsxwriter.Workbook(self._out, options)
        # Without it the file tells when it was written, not when it was counted.
        self._book.set_properties({"created": datetime.fromtimestamp(made, UTC).replace(tzinfo=None)})
        self.title = self.form(bold=True, font_size=14)
        self.head = self.form(bold=True, border=1, text_wrap=True, align="center", valign="vcenter", bg_color="#D9E1F2")
        self.plain = self.form(border=1, text_wrap=True, valign="top")
        self.number = self.form(border=1, num_format="#,##0", valign="top")
        self.share = self.form(border=1, num_format="0.0", valign="top")
        self.small = self.form(italic=True)
        self.wrapped = self.form(text_wrap=True, valign="top")

    def form(self, **asked: object) -> Any:
        return self._book.add_format({"font_name": "Times New Roman", "font_size": 12, **asked})

    def sheet(self, name: str, title: str, widths: Sequence[int], landscape: bool = False) -> Any:
        sheet = self._book.add_worksheet(name)
        for at, width in enumerate(widths):
            sheet.set_column(at, at, width)
        sheet.write_string(0, 0, title, self.title)
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        if landscape:
            sheet.set_landscape()
        return sheet

    def heads(self, sheet: Any, row: int, titles: Sequence[str], height: int = 32) -> None:
        sheet.set_row(row, height)  # not every program works out how high wrapped text is
        for at, title in enumerate(titles):
            sheet.write_string(row, at, title, self.head)
        sheet.freeze_panes(row + 1, 1)
        sheet.repeat_rows(row)

    def write(self, sheet: Any, row: int, at: int, value: Cell, form: Any = None) -> None:
        match value:
            case None:
                sheet.write_blank(row, at, None, form or self.plain)
            case str():
                sheet.write_string(row, at, value, form or self.plain)
            case float():
                sheet.write_number(row, at, value, form or self.share)
            case _:
                sheet.write_number(row, at, value, form or self.number)

    def done(self) -> bytes:
        self._book.close()
        return self._out.getvalue()


_MOST_INDENT = 15  # what Excel knows


def usage_xlsx(usage: Usage, problems: str = "", proposals: str = "") -> bytes:
    book = _Book(usage.made)
    period = f"Từ {day(usage.within.first)} đến {day(usage.within.last)}; lập ngày {day(day_of(usage.made))}"
    of = f" – {usage.title}" if usage.title else ""
    widths = [44, *(c.width for c in _COLUMNS), 13]
    sheet = book.sheet("Số liệu", f"Số liệu sử dụng thư điện tử công vụ{of}", widths, landscape=True)
    sheet.write_string(1, 0, period, book.small)
    book.heads(sheet, 3, ["Đơn vị", *(c.title for c in _COLUMNS), "Xác nhận danh sách lần cuối"], 96)
    names: dict[tuple[int, bool], Any] = {}
    for row, (depth, name, figures, line) in enumerate(_rows(usage), 4):
        look = min(depth, _MOST_INDENT), line is None or line.agency or depth == 0
        if look not in names:
            names[look] = book.form(border=1, text_wrap=True, valign="top", align="left", indent=look[0], bold=look[1])
        book.write(sheet, row, 0, name, names[look])
        for at, column in enumerate(_COLUMNS, 1):
            book.write(sheet, row, at, column.value(usage, figures))
        book.write(sheet, row, len(_COLUMNS) + 1, _attested(line))
    sheet = book.sheet("Phụ lục 2", f"Báo cáo tình hình sử dụng thư điện tử công vụ{of}", [64, 40])
    sheet.write_string(1, 0, period, book.small)
    book.heads(sheet, 3, ["Nội dung", "Số liệu"])
    for row, (what, value) in enumerate(form(usage, problems, proposals), 4):
        book.write(sheet, row, 0, what)
        book.write(sheet, row, 1, value)
    sheet = book.sheet("Chỉ tiêu", "Chỉ tiêu sử dụng", [40, 12, 12, 12, 14, 12, 44])
    book.heads(sheet, 2, ["Chỉ tiêu", "Số người", "Trên tổng", "Tỷ lệ, %", "Mục tiêu, %", "Đạt", "Nguồn"])
    for row, each in enumerate(indicators(usage), 3):
        reached = {True: "Đạt", False: "Chưa đạt", None: ""}[each.reached]
        for at, cell in enumerate((each.name, each.part, each.whole, each.percent, each.target, reached, each.source)):
            book.write(sheet, row, at, cell)
    sheet = book.sheet("Cách tính", "Cách tính", [110])
    for row, text in enumerate(notes(usage), 2):
        book.write(sheet, row, 0, text, book.wrapped)
    return book.done()


# ---- locked mailboxes

_KINDS = {"organisation": "Cơ quan", "unit": "Đơn vị", "functional": "Chức năng", "person": "Cá nhân"}
_LOCKED = ("Cơ quan", "Đơn vị", "Loại", "Tên", "Địa chỉ thư điện tử", "Khóa từ ngày", "Lý do")


def reason(word: str) -> str:
    """Why an account is locked, "" when nobody said."""
    return say_in("vi", f"reason-{word}") if word else ""


def _locked_rows(found: Sequence[LockedAt]) -> list[tuple[str, ...]]:
    return [
        (
            *(at.unit.name if at.unit else "", box.unit, _KINDS[box.kind], box.name, box.address),
            *(day(day_of(box.since)), reason(box.reason)),
        )
        for at in found
        for box in at.boxes
    ]


def locked_csv(found: Sequence[LockedAt]) -> bytes:
    return as_csv([_LOCKED, *_locked_rows(found)])


def locked_json(found: Sequence[LockedAt], on: date) -> bytes:
    told = [
        {
            "agency": at.unit.name if at.unit else "",
            "unit": _id(at.unit.id if at.unit else None),
            "boxes": [
                {
                    "kind": box.kind.value,
                    "name": box.name,
                    "address": box.address,
                    "unit": box.unit,
                    "since": day_of(box.since).isoformat(),
                    "reason": box.reason,
                }
                for box in at.boxes
            ],
        }
        for at in found
    ]
    return (
        json.dumps({"report": "locked", "date": on.isoformat(), "agencies": told}, ensure_ascii=False).encode() + b"\n"
    )


def locked_xlsx(found: Sequence[LockedAt], made: int) -> bytes:
    book = _Book(made)
    sheet = book.sheet("Bị khóa", "Danh sách hộp thư đang bị khóa", [36, 36, 12, 32, 36, 14, 30], landscape=True)
    sheet.write_string(1, 0, f"Lập ngày {day(day_of(made))}", book.small)
    book.heads(sheet, 3, _LOCKED)
    for row, cells in enumerate(_locked_rows(found), 4):
        for at, cell in enumerate(cells):
            book.write(sheet, row, at, cell)
    return book.done()


# ---- the calendar

REPORTS = {
    Report.AGENCY: "Cơ quan báo cáo đơn vị vận hành",
    Report.OPERATOR: "Đơn vị vận hành báo cáo",
    Report.SECURITY_AGENCY: "Cơ quan báo cáo an ninh mạng cho chủ quản hệ thống",
    Report.SECURITY_OWNER: "Chủ quản hệ thống báo cáo an ninh mạng cho Bộ Công an",
    Report.RIGHTS: "Rà soát quyền",
}


def due_line(each: Due, on: date) -> tuple[str, ...]:
    """The day, how many are left, what, the time it is about, where it is said."""
    word = "trước" if each.exact else "hết kỳ"
    about = f"{day(each.first)} – {day(each.last)}" if each.first else ""
    left = f"còn {(each.before - on).days} ngày"
    return f"{word} {day(each.before)}", left, REPORTS[each.report], about, f"{each.source}; {each.row}"
