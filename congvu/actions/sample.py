"""A sample An Giang to try the system with: real kinds of unit, invented people, a few letters.

Promises that its passwords are drawn anew each time, given to the caller once and kept nowhere. Every person here is
invented; addresses are those that the rules of 2016 propose (rows 2.3 to 2.16).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, make_msgid

from congvu.actions import accounts
from congvu.actions.accounts import NewAccount
from congvu.actions.mail import Mail
from congvu.base.clock import Clock, Identifiers
from congvu.base.observe import Secret
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, credentials, naming, units
from congvu.directory import profile as profiles
from congvu.directory.forms import PERSON
from congvu.directory.naming import Subject
from congvu.directory.people import Kind
from congvu.directory.profile import Profile
from congvu.directory.units import Unit


@dataclass(frozen=True, slots=True)
class _Body:
    """A unit with its box and its people. `parent`: the name of the unit above, "" for the province itself."""

    name: str
    category: str
    people: tuple[str, ...]
    parent: str = ""


_BODIES = (
    _Body("Văn phòng Ủy ban nhân dân tỉnh", "vanphong", ("Nguyễn Thị Huệ", "Trần Quốc Bảo", "Lê Minh Đức")),
    _Body("Sở Xây dựng", "so", ("Lê Văn An", "Phạm Thị Ngọc Ánh", "Huỳnh Hữu Đường")),
    _Body("Văn phòng Sở Xây dựng", "vanphong", ("Võ Thị Diễm Thúy",), "Sở Xây dựng"),
    _Body("Sở Nội vụ", "so", ("Đặng Thị Mỹ Linh", "Bùi Thanh Tùng")),
    _Body("Sở Tài chính", "so", ("Nguyễn Hoàng Khánh", "Lâm Thị Kim Chi")),
    _Body("Sở Giáo dục và Đào tạo", "so", ("Trương Công Lý", "Lê Vũ An")),
    _Body("Hội Chữ thập đỏ tỉnh", "hoi", ("Ngô Thị Bích Vân",)),
    _Body("Ủy ban nhân dân phường Long Xuyên", "phuong", ("Đỗ Văn Phước", "Nguyễn Thị Hoa")),
    _Body("Ủy ban nhân dân phường Châu Đốc", "phuong", ("Mai Xuân Trường",)),
    _Body("Ủy ban nhân dân xã Châu Phong", "xa", ("Chau Sóc Kha", "Phan Thị Tuyết Nga")),
    _Body("Phòng Văn hóa - Xã hội xã Châu Phong", "phong", ("Hồ Ngọc Ẩn",), "Ủy ban nhân dân xã Châu Phong"),
    _Body("Ủy ban nhân dân xã Vĩnh Gia", "xa", ("Dương Thị Cẩm Tiên",)),
)

RULES = "angiang_2016"  # whatever profile the server follows otherwise
MARK = "vpubnd"  # where this address is held, the sample has been made


@dataclass(frozen=True, slots=True)
class Login:
    """What is shown once: an address, whose it is, and the password."""

    address: str
    name: str
    unit: str
    password: Secret


def is_there(tx: Tx, domain: str) -> bool:
    """Has the sample been made in this database?"""
    return bool(addresses.taken(tx, [f"{MARK}@{domain}"]))


def fill(db: Database, domain: str, profile: Profile, ids: Identifiers, now: float) -> list[Login]:
    """Units, boxes and people in one transaction; returns every login with its password."""
    rules = profiles.load(RULES)
    logins: list[Login] = []
    chosen: list[tuple[NewAccount, str]] = []  # account and the name of its unit
    boxes: dict[str, str] = {"": ""}  # address of a unit's box by its name
    given: set[str] = set()
    for body in _BODIES:
        box_kind = Kind.UNIT if body.parent else Kind.ORGANISATION
        unit = Subject(body.category, body.name, boxes[body.parent], domain=domain)
        people = (Subject(PERSON, person, domain=domain) for person in body.people)
        for subject, kind in [(unit, box_kind), *((person, Kind.PERSON) for person in people)]:
            address = naming.propose(rules, subject, given.intersection)[0].address
            given.add(address)
            boxes.setdefault(body.name, address)
            password = credentials.invent_password()
            logins.append(Login(address, subject.name, body.name, password))
            chosen.append((NewAccount(address, subject.name, credentials.make(password), kind), body.name))

    def keep(tx: Tx) -> None:
        root = ids.draw()
        units.add(tx, Unit(root, None, "Tỉnh An Giang", "tinh"))
        known = {"": root}
        for body in _BODIES:
            known[body.name] = ids.draw()
            units.add(tx, Unit(known[body.name], known[body.parent], body.name, body.category))
        accounts.add_accounts(
            tx,
            "congvu sample",
            [NewAccount(a.address, a.name, a.credential, a.kind, known[unit]) for a, unit in chosen],
            profile,
            ids,
            now,
        )

    db.write_now(keep)
    return logins


@dataclass(frozen=True, slots=True)
class _Letter:
    """`sender` and `to` by name; `hours` ago; `file`: the name of one that goes with it."""

    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    hours: int
    file: str = ""


_LETTERS = (
    _Letter(
        "Sở Xây dựng",
        ("Ủy ban nhân dân phường Long Xuyên", "Nguyễn Thị Huệ", "Lê Văn An"),
        "V/v sửa chữa mặt đường Nguyễn Huệ",
        "Kính gửi: Ủy ban nhân dân phường Long Xuyên.\n\nSở Xây dựng thông báo kế hoạch sửa chữa mặt đường Nguyễn Huệ, "
        "đoạn từ đường Trần Hưng Đạo đến cầu Hoàng Diệu, bắt đầu từ tuần sau. Đề nghị phường thông báo cho các "
        "hộ dân hai bên đường.\n\nTrân trọng.",
        50,
        "ke-hoach.csv",
    ),
    _Letter(
        "Văn phòng Ủy ban nhân dân tỉnh",
        ("Nguyễn Thị Huệ", "Lê Văn An", "Đặng Thị Mỹ Linh", "Đỗ Văn Phước", "Chau Sóc Kha"),
        "Giấy mời họp giao ban tháng",
        "Văn phòng Ủy ban nhân dân tỉnh kính mời các đồng chí dự họp giao ban lúc 8 giờ sáng thứ Hai tại Hội trường."
        "\n\nTài liệu họp gửi trước một ngày.\n\nTrân trọng kính mời.",
        30,
    ),
    _Letter(
        "Đặng Thị Mỹ Linh",
        ("Nguyễn Thị Huệ", "Lê Văn An"),
        "Danh sách cán bộ dự tập huấn",
        "Chị Huệ, anh An,\n\nEm gửi danh sách cán bộ dự lớp tập huấn sử dụng thư điện tử công vụ. Nhờ anh chị xem lại "
        "tên và chức vụ trước thứ Năm.\n\nCảm ơn anh chị.\nMỹ Linh",
        26,
        "danh-sach.csv",
    ),
    _Letter(
        "Lê Văn An",
        ("Nguyễn Thị Huệ",),
        "Re: Danh sách cán bộ dự tập huấn",
        "Chị Huệ ơi,\n\nSở Xây dựng đề nghị bổ sung anh Huỳnh Hữu Đường vào danh sách.\n\nCảm ơn chị,\nAn",
        20,
    ),
    _Letter(
        "Chau Sóc Kha",
        ("Nguyễn Thị Huệ", "Sở Tài chính"),
        "Báo cáo tình hình nước lũ xã Châu Phong",
        "Mực nước sông Hậu sáng nay là 3,2 mét, tăng 5 cm so với hôm qua. Đường liên ấp chưa bị ngập.",
        6,
    ),
    _Letter(
        "Nguyễn Thị Huệ",
        ("Lê Văn An",),
        "Chào mừng đến với Công Vụ",
        'Anh An thân mến,\n\nĐây là hộp thư thử nghiệm. Hãy thử tìm "duong" hoặc "nguyen hue": thư về đường Nguyễn Huệ '
        "sẽ hiện ra, dù gõ không dấu.\n\nHuệ",
        1,
    ),
)


async def write_letters(
    logins: Sequence[Login], db: Database, blobs: BlobKeeper, clock: Clock, ids: Identifiers
) -> int:
    """Puts the sample letters into inboxes and into what their writers sent; returns how many."""
    mail = Mail(db, blobs, clock, ids)
    by_name = {login.name: login for login in logins}
    previous: dict[str, str] = {}  # subject without "Re: " → Message-ID, so that answers thread
    count = 0
    for letter in _LETTERS:
        sent = clock.now() - letter.hours * 3600
        content = _compose(letter, by_name, sent, previous)
        places = [(letter.sender, "Thư đã gửi"), *((name, "INBOX") for name in letter.to)]
        for name, box in places:
            held = await db.read(addresses.exact, by_name[name].address)
            if held is None:
                continue
            spool = blobs.spool()
            try:
                spool.write(content)
                await mail.put(held.account_id, box, spool, 0 if box == "INBOX" else 1, received=sent)
            finally:
                spool.close()
            count += 1
    return count


def _compose(letter: _Letter, by_name: dict[str, Login], sent: float, previous: dict[str, str]) -> bytes:
    sender = by_name[letter.sender]
    message = EmailMessage(policy=SMTP)
    message["From"] = formataddr((sender.name, sender.address))
    message["To"] = ", ".join(formataddr((by_name[name].name, by_name[name].address)) for name in letter.to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(datetime.fromtimestamp(sent).astimezone())
    message["Message-ID"] = number = make_msgid(domain=sender.address.rpartition("@")[2])
    topic = letter.subject.removeprefix("Re: ")
    if topic in previous:
        message["In-Reply-To"] = message["References"] = previous[topic]
    previous[topic] = number
    message.set_content(letter.text)
    if letter.file:
        rows = "STT,Nội dung,Thời gian\r\n1,Khảo sát,Thứ Hai\r\n2,Thi công,Thứ Tư\r\n"
        message.add_attachment(rows.encode("utf-8-sig"), maintype="text", subtype="csv", filename=letter.file)
    return message.as_bytes()
