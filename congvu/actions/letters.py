"""Papers that go out: the reply to a request (row 3.5), the sealed sheet of an initial password for each person, the
minutes of a hand-over (row 3.14). In the form of Nghị định 30/2020/NĐ-CP, Phụ lục I.

Promises that a password stands on its sheet and nowhere else: sheets are made once, from memory, given to the caller
and never kept. Lengths and sizes are those of the decree, which binds every province; what differs (names, places, who
signs) comes from the caller, and what he leaves out is a dotted line for the pen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from congvu.base.observe import Secret
from congvu.codec import docx
from congvu.codec.docx import Block, Page, Paragraph, Row, Run, Table, text
from congvu.directory.requests import Kind, Outcome, Request

_DOTS = "……………"
_LEFT, _RIGHT = 71.0, 94.0  # millimetres of the letterhead's two columns


@dataclass(frozen=True, slots=True)
class Letterhead:
    """Who writes. `above`: cơ quan chủ quản, "" none; `number`: số và ký hiệu; `signer`: quyền hạn, chức vụ and name of
    who signs; `unit`: abbreviation of the drafting unit, for "Lưu: VT, …"."""

    issuer: str
    above: str = ""
    number: str = ""
    place: str = ""
    day: date | None = None
    signer_title: str = ""
    signer: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """One line of a request with what came of it."""

    name: str
    title: str
    unit: str
    address: str
    outcome: Outcome
    remark: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """What stands on one person's sheet."""

    name: str
    title: str
    unit: str
    address: str
    password: Secret


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A mailbox that goes from one clerk to the next. `letters`, `megabytes`: what lies in it."""

    box: str
    address: str
    old_clerk: str
    new_clerk: str
    head: str
    letters: int
    megabytes: int


def vietnamese_day(day: date | None) -> str:
    """Days below 10 and the months 1 and 2 are written with a zero (NĐ 30/2020)."""
    if day is None:
        return "ngày …… tháng …… năm ………"
    month = f"{day.month:02}" if day.month < 3 else str(day.month)
    return f"ngày {day.day:02} tháng {month} năm {day.year}"


def _written_day(iso: str) -> str:
    return vietnamese_day(date.fromisoformat(iso)) if iso else _DOTS


def _letterhead(head: Letterhead, about: str, kind: str = "") -> list[Block]:
    """Quốc hiệu, tiêu ngữ; names; number; place and day; V/v (for a công văn)."""
    centre = {"align": "center"}
    left = [text(head.above.upper(), size=12, **centre)] if head.above else []
    left += [
        text(head.issuer.upper(), size=12, bold=True, **centre),
        Paragraph((Run("", size=2),), rule=True, left=23, right=23, after=4),
        text(f"Số: {head.number or _DOTS}", size=13, **centre),
    ]
    if about:
        left.append(text(f"V/v {about}", size=12, before=6, **centre))
    right = [
        text("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", size=12, bold=True, **centre),
        text("Độc lập - Tự do - Hạnh phúc", size=13, bold=True, **centre),
        Paragraph((Run("", size=2),), rule=True, left=20, right=20, after=4),
        text(f"{head.place or _DOTS}, {vietnamese_day(head.day)}", size=13, italic=True, **centre),
    ]
    blocks: list[Block] = [Table((_LEFT, _RIGHT), (Row((left, right)),))]
    if kind:
        blocks.append(text(kind, bold=True, before=18, after=0, **centre))
    return blocks


def _body(words: str, **asked: object) -> Paragraph:
    return text(words, **{"align": "both", "first": 12.7, "before": 6, **asked})


def _signature(head: Letterhead, receivers: Sequence[str]) -> Table:
    left = [text("Nơi nhận:", bold=True, italic=True, size=12)]
    left += [text(f"- {each};", size=11) for each in receivers]
    left.append(text(f"- Lưu: VT{f', {head.unit}' if head.unit else ''}.", size=11))
    right = [
        text((head.signer_title or _DOTS).upper(), bold=True, align="center"),
        Paragraph((Run("", size=14),), before=54),
        text(head.signer or _DOTS, bold=True, align="center"),
    ]
    return Table((_LEFT, _RIGHT), (Row((left, right)),))


_DONE: Mapping[Kind, str] = {
    Kind.ISSUE: "cấp mới {0} hộp thư điện tử công vụ",
    Kind.CHANGE: "thay đổi thông tin của {0} hộp thư điện tử công vụ",
    Kind.REVOKE: "thu hồi {0} hộp thư điện tử công vụ; các hộp thư này ngừng gửi và nhận ngay",
    Kind.LOCK: "khóa tạm thời {0} hộp thư điện tử công vụ; các hộp thư này vẫn nhận thư",
    Kind.RESTORE: "khôi phục {0} hộp thư điện tử công vụ và khởi tạo lại mật khẩu",
    Kind.RESET: "cấp lại mật khẩu của {0} hộp thư điện tử công vụ",
    Kind.TRANSFER: "điều chuyển {0} hộp thư điện tử công vụ; nội dung hộp thư được giữ nguyên",
    Kind.HAND_OVER: "bàn giao {0} hộp thư cơ quan, đơn vị cho người được phân công",
}
ABOUT: Mapping[Kind, str] = {
    Kind.ISSUE: "cấp mới hộp thư điện tử công vụ",
    Kind.CHANGE: "thay đổi thông tin hộp thư điện tử công vụ",
    Kind.REVOKE: "thu hồi hộp thư điện tử công vụ",
    Kind.LOCK: "khóa tạm thời hộp thư điện tử công vụ",
    Kind.RESTORE: "khôi phục hộp thư điện tử công vụ",
    Kind.RESET: "cấp lại mật khẩu hộp thư điện tử công vụ",
    Kind.TRANSFER: "điều chuyển hộp thư điện tử công vụ",
    Kind.HAND_OVER: "bàn giao hộp thư điện tử công vụ",
}
_WITH_SECRETS = frozenset({Kind.ISSUE, Kind.RESTORE, Kind.RESET, Kind.HAND_OVER})


def reply(head: Letterhead, request: Request, agency: str, lines: Sequence[Answered], website: str) -> bytes:
    """The reply letter with the list behind it."""
    granted = [line for line in lines if line.outcome is Outcome.GRANTED]
    refused = [line for line in lines if line.outcome is Outcome.REFUSED]
    about = ABOUT[request.kind]
    blocks = _letterhead(head, f"trả lời đề nghị {about}")
    blocks.append(text(f"Kính gửi: {agency}.", align="center", before=18, after=6))
    blocks.append(
        _body(
            f"Phúc đáp văn bản số {request.number} {_written_day(request.dated)} của {agency} về việc"
            f" {_continued(request.summary)}, {head.issuer} trả lời như sau:"
        )
    )
    points = []
    if granted:
        points.append(f"Đã {_DONE[request.kind].format(f'{len(granted):02}')} theo Danh sách kèm theo.")
    if refused:
        points.append(f"Chưa thực hiện {len(refused):02} trường hợp, lý do ghi trong Danh sách kèm theo.")
    if request.answer:
        points.append(_sentence(request.answer))
    if granted and request.kind in _WITH_SECRETS:
        points.append(
            "Mật khẩu khởi tạo được giao cho từng người trong phiếu niêm phong. Người nhận đăng nhập tại"
            f" {website} và phải đổi mật khẩu ngay lần đầu; trước khi đổi, hộp thư chưa mở được bằng phần mềm nào."
        )
    blocks += [_body(f"{n}. {point}") for n, point in enumerate(points, 1)]
    blocks.append(_body(f"{head.issuer} trả lời để {agency} biết, thực hiện./.", after=12))
    blocks.append(_signature(head, ["Như trên"]))
    blocks += _list(head, about, granted, refused)
    return docx.written(blocks, Page(), f"Trả lời đề nghị {about}")


def _continued(words: str) -> str:
    """A summary within a sentence: its first letter small, unless the word is a name or an abbreviation."""
    words = words.strip().rstrip(".;")
    first = words.split(" ", 1)[0]
    known = ("Đề", "Cấp", "Thu", "Khóa", "Khoá", "Khôi", "Thay", "Điều", "Bàn", "Danh", "Về", "Xin", "Tạm")
    return words[:1].lower() + words[1:] if first in known else words


def _sentence(words: str) -> str:
    return words if words.endswith((".", "!", "?")) else f"{words}."


_COLUMNS = (("STT", 13.0), ("Họ và tên", 40.0), ("Chức vụ", 27.0), ("Đơn vị", 35.0), ("Địa chỉ thư công vụ", 50.0))


def _list(head: Letterhead, about: str, granted: Sequence[Answered], refused: Sequence[Answered]) -> list[Block]:
    centre = {"align": "center"}
    blocks: list[Block] = [
        text("DANH SÁCH", bold=True, new_page=True, **centre),
        text(f"{about[:1].upper()}{about[1:]}", bold=True, **centre),
        text(
            f"(Kèm theo Văn bản số {head.number or _DOTS} {vietnamese_day(head.day)} của {head.issuer})",
            italic=True,
            after=8,
            **centre,
        ),
    ]
    if granted:
        rows = [(a.name, a.title, a.unit, a.address) for a in granted]
        blocks.append(_ruled([*_COLUMNS], rows))
    if refused:
        blocks.append(text("Trường hợp chưa thực hiện", bold=True, before=12, after=4, keep=True))
        why = [(a.name, a.address or a.unit, a.remark) for a in refused]
        blocks.append(_ruled([_COLUMNS[0], _COLUMNS[1], ("Địa chỉ, đơn vị", 48.0), ("Lý do", 64.0)], why))
    return blocks


def _ruled(columns: Sequence[tuple[str, float]], rows: Sequence[Sequence[str]]) -> Table:
    header = Row([[text(title, bold=True, size=12, align="center")] for title, _ in columns], head=True, middle=True)
    body = [
        Row([[text(str(n), size=12, align="center")], *([text(cell, size=12)] for cell in row)])
        for n, row in enumerate(rows, 1)
    ]
    return Table([width for _, width in columns], [header, *body], ruled=True)


# ---- sheets


def password_sheets(head: Letterhead, sealed: Sequence[Sealed], website: str, number: str = "") -> bytes:
    """A page for each person, folded in three: outside the name, inside address and password. Never keep it."""
    blocks: list[Block] = []
    for n, each in enumerate(sealed):
        if n:
            blocks.append(Paragraph((Run("", size=1),), new_page=True))
        blocks.append(_sheet(head, each, website, number))
    return docx.written(
        blocks, Page(top=9, bottom=5, left=20, right=20, numbered=False), "Phiếu giao mật khẩu khởi tạo"
    )


_PANELS = (88.0, 99.0, 88.0)  # with the margin on top the folds lie at the thirds of the sheet


def _sheet(head: Letterhead, each: Sealed, website: str, number: str) -> Table:
    centre = {"align": "center"}
    outside = [
        text(head.issuer.upper(), bold=True, size=13, **centre),
        text("PHIẾU GIAO MẬT KHẨU KHỞI TẠO", bold=True, size=15, before=14, **centre),
        text("Chỉ người nhận được mở", italic=True, size=13, after=12, **centre),
        text(f"Người nhận: {each.name}", bold=True, size=15, left=15),
        text(f"Chức vụ: {each.title}" if each.title else "", size=13, left=15, before=3),
        text(f"Đơn vị: {each.unit}", size=13, left=15, before=3),
        text(
            "Gấp nửa dưới vào trong theo đường chấm thứ hai, gấp ra sau theo đường chấm thứ nhất, rồi dán kín ba mép."
            + (f" Phiếu số {number}." if number else ""),
            size=10,
            italic=True,
            before=18,
            **centre,
        ),
    ]
    mono = "Courier New"
    inside = [
        text("Địa chỉ thư điện tử công vụ", size=12, **centre),
        text(each.address, bold=True, size=16, font=mono, after=12, **centre),
        text("Mật khẩu khởi tạo", size=12, **centre),
        text(each.password.reveal(), bold=True, size=20, font=mono, spaced=2, after=8, **centre),
        text(
            "Mật khẩu phân biệt chữ hoa, chữ thường; không có chữ I, O hoa, chữ l thường, số 0, số 1.",
            size=10,
            italic=True,
            **centre,
        ),
    ]
    steps = (
        f"1. Mở {website}, đăng nhập bằng địa chỉ và mật khẩu khởi tạo ở trên.",
        "2. Đặt mật khẩu mới ngay lần đầu. Trước khi đổi, hộp thư chưa mở được bằng phần mềm hay điện thoại.",
        "3. Không cho ai biết mật khẩu, không lưu mật khẩu trong trình duyệt, đăng xuất khi dùng xong.",
        "4. Phiếu đã bị mở trước khi đến tay, hoặc không đăng nhập được: báo ngay quản trị của cơ quan.",
        "5. Hủy phiếu này sau khi đã đổi mật khẩu.",
    )
    guide = [text("Hướng dẫn đăng nhập lần đầu", bold=True, size=13, after=4, **centre)]
    guide += [text(step, size=12, before=3, align="both") for step in steps]
    rows = (
        Row((outside,), height=_PANELS[0], below=True, middle=True),
        Row((inside,), height=_PANELS[1], below=True, middle=True),
        Row((guide,), height=_PANELS[2], middle=True),
    )
    return Table((170.0,), rows)


# ---- minutes


def minutes(head: Letterhead, agency: str, handed: Sequence[HandedOver]) -> bytes:
    """Biên bản bàn giao of mailboxes (row 3.14), a page each, to be signed by three."""
    blocks: list[Block] = []
    for n, each in enumerate(handed):
        if n:
            blocks.append(Paragraph((Run("", size=1),), new_page=True))
        blocks += _minutes(head, agency, each)
    return docx.written(blocks, Page(), "Biên bản bàn giao hộp thư")


def _minutes(head: Letterhead, agency: str, handed: HandedOver) -> list[Block]:
    blocks = _letterhead(head, "", "BIÊN BẢN")
    blocks.append(text("Bàn giao hộp thư điện tử công vụ của cơ quan, đơn vị", bold=True, align="center", after=12))
    day = vietnamese_day(head.day)
    paragraphs = [
        f"Hôm nay, {day}, tại {agency}, chúng tôi gồm:",
        f"1. Bên giao: {handed.old_clerk or _DOTS}, văn thư được phân công trước đây.",
        f"2. Bên nhận: {handed.new_clerk}, văn thư được phân công kể từ ngày bàn giao.",
        f"3. Người đứng đầu cơ quan, đơn vị: {handed.head or _DOTS}.",
        f"Cùng lập biên bản bàn giao hộp thư {handed.address} ({handed.box}) với các nội dung sau:",
        f"- Toàn bộ nội dung hộp thư, khi lập biên bản này: {handed.letters} thư, {handed.megabytes} MB.",
        "- Mọi phiên đăng nhập của bên giao đã bị kết thúc; mật khẩu cũ không còn giá trị; mật khẩu khởi tạo mới được"
        " giao cho bên nhận trong phiếu niêm phong và phải đổi ở lần đăng nhập đầu tiên.",
        "- Bên giao giữ bí mật nội dung đã biết; bên nhận chịu trách nhiệm quản lý, sử dụng hộp thư từ ngày bàn giao.",
        "Biên bản được lập thành 03 bản có giá trị như nhau, mỗi bên giữ 01 bản./.",
    ]
    blocks += [_body(each) for each in paragraphs]
    names = ((handed.old_clerk, "BÊN GIAO"), (handed.new_clerk, "BÊN NHẬN"), (handed.head, "NGƯỜI ĐỨNG ĐẦU"))
    cells = [
        [
            text(title, bold=True, align="center", before=14),
            text("(Ký, ghi rõ họ tên)", italic=True, size=12, align="center"),
            Paragraph((Run("", size=14),), before=50),
            text(name, bold=True, align="center"),
        ]
        for name, title in names
    ]
    blocks.append(Table((55.0, 55.0, 55.0), (Row(cells),)))
    return blocks
