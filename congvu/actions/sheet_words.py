"""What the columns of a list are called: the forms of Nghệ An (Phụ lục 1) and Đồng Tháp (Mẫu 01–03), row 3.6, and the
other words that agencies write above them.

A table and its reading, nothing else: a province's new word is one more alternative here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from congvu.base.vietnamese import findable
from congvu.codec.xlsx import Sheet
from congvu.directory.requests import Kind

OURS = "(kiểm tra)"  # ends the headings of what we found: a list that comes back mended is read without them
HEAD_ROWS = 30  # rows among which the heading is looked for: letterheads take up to a dozen


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its word in code, the heading that our own templates write, and which folded headings mean it."""

    key: str
    title: str
    means: re.Pattern[str]
    width: int = 18


def _column(key: str, title: str, means: str, width: int = 18) -> Column:
    return Column(key, title, re.compile(means), width)


# In the order in which they are tried: what is more special comes first.
COLUMNS = (
    _column("identity", "Số CCCD", r"cccd|can cuoc|cmnd|cmtnd|dinh danh"),
    _column("private", "Thư cá nhân", r"gmail|yahoo|(thu|mail) .*(ca nhan|rieng|khac)|(ca nhan|rieng) .*(thu|mail)"),
    _column("new_name", "Họ và tên mới", r"ho (va )?ten .*moi|^ten moi", 26),
    _column("new_title", "Chức vụ mới", r"chuc (vu|danh).* moi", 22),
    _column("new_mobile", "Số điện thoại mới", r"(dien thoai|sdt|di dong).* moi"),
    _column("new_address", "Địa chỉ mới", r"(thu|mail|dia chi|hop thu).* moi$", 30),
    _column("new_unit", "Đơn vị mới", r"(don vi|phong|co quan|noi).* (moi|den|tiep nhan)", 34),
    _column("wish", "Địa chỉ đề nghị", r"(thu|mail|dia chi|hop thu).* (de nghi|du kien|mong muon|de xuat)", 30),
    _column("clerk", "Người nhận bàn giao (địa chỉ)", r"nguoi nhan|nhan ban giao|van thu", 30),
    _column("head", "Người đứng đầu (địa chỉ)", r"nguoi dung dau|thu truong", 30),
    _column("address", "Địa chỉ hiện có", r"dia chi (hien|thu|hop|cong vu)|mail|thu dien tu|hop thu|tai khoan", 30),
    _column("stt", "STT", r"^(stt|tt|so tt|so thu tu|no)$", 6),
    _column("before", "Họ và tên đệm", r"^ho( va)?( chu| ten)? (dem|lot)$|^ho$", 22),
    _column("given", "Tên", r"^ten$", 12),
    _column("name", "Họ và tên", r"ho (va )?(chu (dem|lot) )?(va )?ten|^ten (ca nhan|nguoi|can bo|cong chuc)", 26),
    _column("day", "Ngày nghỉ, chuyển", r"ngay (nghi|chuyen|thoi viec|quyet dinh)", 16),
    _column("birth", "Ngày sinh", r"ngay.* sinh|^(nam )?sinh|thang.* sinh", 14),
    _column("title", "Chức vụ", r"chuc (vu|danh)", 22),
    _column("number", "Số hiệu", r"so hieu|so ho so|^ma( so)?$|ma (so )?(can bo|cong chuc|vien chuc|nhan vien)", 14),
    _column("category", "Đối tượng", r"doi tuong|^loai|^ngach", 14),
    _column("mobile", "Số điện thoại", r"dien thoai|di dong|^s?dt$|so dt|mobile|phone", 16),
    _column("agency", "Cơ quan", r"^(ten )?co quan$|co quan chu quan", 30),
    _column("unit", "Phòng/ban/đơn vị", r"phong|^ban$|don vi|co quan|noi cong tac|bo phan", 34),
    _column("why", "Lý do", r"ly do|ghi chu|can cu", 30),
    _column("content", "Nội dung đề nghị", r"noi dung|de nghi|yeu cau", 20),
)  # fmt: skip
BY_KEY: Mapping[str, Column] = {column.key: column for column in COLUMNS}

# Columns of our own templates, and those without which nothing can be asked; a tuple of the latter: one of them.
TEMPLATES: Mapping[Kind, tuple[str, ...]] = {
    Kind.ISSUE: ("stt", "name", "birth", "title", "unit", "mobile", "number", "category", "wish", "content", "why"),
    Kind.CHANGE: ("stt", "address", "name", "new_name", "new_title", "new_mobile", "new_address", "content", "why"),
    Kind.REVOKE: ("stt", "address", "name", "title", "unit", "day", "content", "why"),
    Kind.LOCK: ("stt", "address", "name", "title", "unit", "content", "why"),
    Kind.RESTORE: ("stt", "address", "name", "title", "unit", "content", "why"),
    Kind.RESET: ("stt", "address", "name", "title", "unit", "content", "why"),
    Kind.TRANSFER: ("stt", "address", "name", "new_unit", "new_title", "new_address", "content"),
    Kind.HAND_OVER: ("stt", "address", "clerk", "head", "content", "why"),
}
REQUIRED: Mapping[Kind, tuple[tuple[str, ...], ...]] = {
    Kind.ISSUE: (("name", "given"),),
    Kind.CHANGE: (("address",), ("new_name", "new_title", "new_mobile", "new_address")),
    Kind.REVOKE: (("address",),),
    Kind.LOCK: (("address",),),
    Kind.RESTORE: (("address",),),
    Kind.RESET: (("address",),),
    Kind.TRANSFER: (("address",), ("new_unit", "unit")),
    Kind.HAND_OVER: (("address",), ("clerk",)),
}

_CONTENTS = (
    (Kind.RESET, r"mat khau|\bmk\b"),
    (Kind.RESTORE, r"khoi phuc|mo khoa|kich hoat lai"),
    (Kind.LOCK, r"khoa"),
    (Kind.REVOKE, r"xoa|thu hoi|huy"),
    (Kind.HAND_OVER, r"ban giao"),
    (Kind.TRANSFER, r"dieu chuyen|luan chuyen|chuyen (den|cong tac|don vi)"),
    (Kind.CHANGE, r"thay doi|dieu chinh|cap nhat|sua|^doi"),
    (Kind.ISSUE, r"cap (moi|tai khoan|hop thu|email)|cap$|tao moi|dang ky|^moi$"),
)


def folded(text: str) -> str:
    """A heading as its words, folded; what stands in brackets is an explanation of it."""
    return findable(re.sub(r"\([^()]*\)", " ", text[:200]) or text[:200]).strip()


def key_of(heading: str) -> str:
    """Which column a heading means, "" none."""
    words = folded(heading)
    if not words or len(words) > 80 or heading.endswith(OURS):
        return ""
    return next((column.key for column in COLUMNS if column.means.search(words)), "")


def content_of(text: str) -> Kind | None:
    """What a row asks for, in the words of its column "nội dung đề nghị"."""
    words = folded(text)
    return next((kind for kind, means in _CONTENTS if re.search(means, words)), None)


@dataclass(frozen=True, slots=True)
class Heading:
    """Where the columns stand: the row of the heading and the column of each word; `missing`: titles of those without
    which nothing can be asked."""

    row: int
    columns: Mapping[str, int]
    missing: tuple[str, ...]


def heading(sheet: Sheet, kind: Kind) -> Heading:
    """The row that looks most like a heading, among the first ones."""
    best = Heading(0, {}, _missing(kind, ()))
    for number in sorted(sheet.rows)[:HEAD_ROWS]:
        columns: dict[str, int] = {}
        for column, cell in sorted(sheet.rows[number].items()):
            key = key_of(cell.text) if len(cell.text) <= 80 else ""
            if key:
                columns.setdefault(key, column)
        found = Heading(number, columns, _missing(kind, tuple(columns)))
        if (len(best.missing), -len(best.columns)) > (len(found.missing), -len(found.columns)):
            best = found
    return best


def _missing(kind: Kind, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(BY_KEY[some[0]].title for some in REQUIRED[kind] if not set(some) & set(keys))
