"""Spreadsheets that we write: empty forms to fill in, lists with what was found about each row, requests as lists.

Promises that no cell becomes a formula or a link, whatever it begins with, and that what a form asks for comes back as
text: telephone numbers keep their zero, days stay as they were typed. Must never hold a password.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from congvu.actions.sheet_words import BY_KEY, OURS, TEMPLATES
from congvu.actions.sheets import List, Row, Standing
from congvu.base.failure import Refused
from congvu.base.texts import say_in
from congvu.directory.deciding import Ruling, Verdict
from congvu.directory.requests import Kind

TITLES: Mapping[Kind, str] = {
    Kind.ISSUE: "Danh sách đề nghị cấp mới hộp thư điện tử công vụ",
    Kind.CHANGE: "Danh sách đề nghị thay đổi thông tin hộp thư điện tử công vụ",
    Kind.REVOKE: "Danh sách đề nghị thu hồi hộp thư điện tử công vụ",
    Kind.LOCK: "Danh sách đề nghị khóa tạm thời hộp thư điện tử công vụ",
    Kind.RESTORE: "Danh sách đề nghị khôi phục hộp thư điện tử công vụ",
    Kind.RESET: "Danh sách đề nghị cấp lại mật khẩu hộp thư điện tử công vụ",
    Kind.TRANSFER: "Danh sách đề nghị điều chuyển hộp thư điện tử công vụ",
    Kind.HAND_OVER: "Danh sách đề nghị bàn giao hộp thư cơ quan, đơn vị",
}
_CONTENT: Mapping[Kind, str] = {
    Kind.ISSUE: "Cấp mới",
    Kind.CHANGE: "Thay đổi",
    Kind.REVOKE: "Thu hồi",
    Kind.LOCK: "Tạm khóa",
    Kind.RESTORE: "Khôi phục",
    Kind.RESET: "Cấp lại mật khẩu",
    Kind.TRANSFER: "Điều chuyển",
    Kind.HAND_OVER: "Bàn giao",
}
_STANDINGS: Mapping[Standing, tuple[str, str]] = {
    Standing.GOOD: ("Được", "#E2EFDA"),
    Standing.CHECK: ("Cần kiểm tra", "#FFF2CC"),
    Standing.BAD: ("Không được", "#F8CBAD"),
    Standing.OTHER: ("Bỏ qua", "#EDEDED"),
}
_FORM_ROWS = 200  # rows of an empty form that are ruled
_FOUND = tuple(f"{title} {OURS}" for title in ("Kết quả", "Lý do", "Địa chỉ dự kiến"))


_CAME = ("Kết quả", "Ghi chú", "Địa chỉ thư công vụ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a request as a list: what its columns say, what came of it."""

    cells: Mapping[str, str]
    result: str
    address: str
    remark: str


class _Book:
    """One file with one sheet."""

    def __init__(self, title: str) -> None:
        self._out = BytesIO()
        options = {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self._book = xlsxwriter.Workbook(self._out, options)
        self.sheet: Worksheet = self._book.add_worksheet("Danh sách")
        self._title = self.form(bold=True, font_size=14)
        self.head = self.form(bold=True, border=1, text_wrap=True, align="center", valign="vcenter", bg_color="#D9E1F2")
        self.sheet.write_string(0, 0, title, self._title)
        self.sheet.set_landscape()
        self.sheet.set_paper(9)  # A4
        self.sheet.fit_to_pages(1, 0)

    def form(self, **asked: object) -> Format:
        return self._book.add_format({"font_name": "Times New Roman", "font_size": 12, "num_format": "@", **asked})

    def write(self, row: int, column: int, text: str, form: Format) -> None:
        """Always as text: a cell that begins with "=" is not worked out."""
        self.sheet.write_string(row, column, text, form)

    def done(self) -> bytes:
        self._book.close()
        return self._out.getvalue()


def template(kind: Kind) -> bytes:
    """An empty form: the columns of row 3.6, all of them text."""
    book = _Book(TITLES[kind])
    cell = book.form(border=1, text_wrap=True)
    columns = [BY_KEY[key] for key in TEMPLATES[kind]]
    book.write(1, 0, "Ngày ghi dd/mm/yyyy. Không gộp ô. Phòng/ban/đơn vị ghi đúng tên đầy đủ.", book.form(italic=True))
    for at, column in enumerate(columns):
        book.sheet.set_column(at, at, column.width, book.form())
        book.write(3, at, column.title, book.head)
        for row in range(4, 4 + _FORM_ROWS):
            book.sheet.write_blank(row, at, None, cell)
    book.sheet.freeze_panes(4, 0)
    book.sheet.repeat_rows(3)
    return book.done()


def annotated(found: List, verdicts: Mapping[int, Verdict]) -> bytes:
    """The same sheet with two more columns, and the address that each row would get. `verdicts`: by the row's line."""
    book = _Book(TITLES[found.kind])
    columns = sorted(set(found.heading.columns.values()) | set(_others(found)))
    titles = found.sheet.rows[found.heading.row]
    for at, column in enumerate(columns):
        book.sheet.set_column(at, at, 20)
        book.write(2, at, titles[column].text if column in titles else "", book.head)
    last = len(columns)
    for at, title in enumerate(_FOUND, last):
        book.sheet.set_column(at, at, (16, 70, 32)[at - last])
        book.write(2, at, title, book.head)
    forms = {s: book.form(border=1, text_wrap=True, bg_color=colour) for s, (_, colour) in _STANDINGS.items()}
    plain = book.form(border=1, text_wrap=True)
    for number, row in enumerate(found.rows, 3):
        standing, reasons, address = result(row, verdicts.get(row.line))
        cells = found.sheet.rows.get(row.line, {})
        for at, column in enumerate(columns):
            book.write(number, at, cells[column].text if column in cells else "", plain)
        book.write(number, last, _STANDINGS[standing][0], forms[standing])
        book.write(number, last + 1, said(reasons), forms[standing])
        book.write(number, last + 2, address, plain)
    book.sheet.freeze_panes(3, 0)
    book.sheet.autofilter(2, 0, max(3, 2 + len(found.rows)), last + 2)
    return book.done()


def _others(found: List) -> list[int]:
    """Columns of the heading that mean nothing to us; they go back as they came."""
    titles = found.sheet.rows[found.heading.row].items()
    return [column for column, cell in titles if cell.text.strip() and not cell.text.strip().endswith(OURS)]


def result(row: Row, verdict: Verdict | None) -> tuple[Standing, list[Refused], str]:
    """What a row comes to, by itself and in the directory: standing, sentences, address."""
    reasons = [*row.faults, *row.doubts, *row.notes]
    standing, address = row.standing, ""
    if verdict is not None:
        known = {(each.code, str(sorted(each.facts.items()))) for each in reasons}
        reasons += [each for each in verdict.reasons if (each.code, str(sorted(each.facts.items()))) not in known]
        address = verdict.address
        if verdict.ruling is Ruling.REFUSE:
            standing = Standing.BAD
        elif verdict.ruling is Ruling.DOUBT and standing is Standing.GOOD:
            standing = Standing.CHECK
    return standing, reasons, address


def said(reasons: Sequence[Refused]) -> str:
    return "; ".join(say_in("vi", each.code, True, **each.facts) for each in reasons)


def listed(kind: Kind, title: str, lines: Sequence[Line]) -> bytes:
    """A request as a list, with what came of each line."""
    book = _Book(title)
    keys = TEMPLATES[kind]
    heads = [*(BY_KEY[key].title for key in keys), *_CAME]
    widths = [*(BY_KEY[key].width for key in keys), 14, 50, 34]
    for at, (head, width) in enumerate(zip(heads, widths, strict=True)):
        book.sheet.set_column(at, at, width)
        book.write(2, at, head, book.head)
    plain = book.form(border=1, text_wrap=True)
    for number, line in enumerate(lines, 3):
        cells = {"stt": str(number - 2), "content": _CONTENT[kind], **line.cells}
        for at, text in enumerate((*(cells.get(key, "") for key in keys), line.result, line.remark, line.address)):
            book.write(number, at, text, plain)
    book.sheet.freeze_panes(3, 0)
    return book.done()
