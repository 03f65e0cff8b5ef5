"""Letters to measure with: Vietnamese office letters of a wanted size, the same for the same seed."""

import base64
import random
import struct
from pathlib import Path

PROSE = """
công văn quyết định thông báo báo cáo ủy ban nhân dân tỉnh An Giang sở nội vụ phòng hành chính kế hoạch triển khai
thực hiện nhiệm vụ năm họp giao ban tuần tháng đề nghị các đơn vị phối hợp rà soát số liệu gửi về trước ngày trân
trọng kính gửi lãnh đạo chỉ đạo xã phường đặc khu chuyển đổi số dịch vụ trực tuyến hồ sơ thủ tục người dân doanh
nghiệp kinh phí dự toán quyết toán đường thủy lợi nông nghiệp môi trường giáo dục y tế văn hóa thể thao du lịch
Nguyễn Huệ Long Xuyên Rạch Giá Châu Đốc
"""
WORDS = PROSE.split()
FAMILY = ["Nguyễn Văn", "Trần Thị", "Lê Minh", "Phạm Ngọc", "Huỳnh Thanh", "Võ Hoàng", "Đặng Thùy"]
GIVEN = ["An", "Bình", "Châu", "Dũng", "Hạnh", "Khoa", "Lan", "Nhân", "Phúc", "Thảo", "Yến"]


def _encoded(text: str) -> str:
    """RFC 2047, in words short enough for one line each."""
    words = text.split(" ")
    return "\r\n ".join(
        f"=?UTF-8?B?{base64.b64encode((' '.join(words[i : i + 4]) + ' ').encode()).decode()}?="
        for i in range(0, len(words), 4)
    )


def _prose(chance: random.Random, size: int) -> bytes:
    lines, length = [], 0
    while length < size:
        line = " ".join(chance.choices(WORDS, k=11)).capitalize() + "."
        lines.append(line)
        length += len(line.encode()) + 2
    return "\r\n".join(lines).encode()


def letter(
    chance: random.Random, size: int, *, mark: str = "", title: str = "", sender: str = "nguoi.gui@xa.test"
) -> bytes:
    """About `size` bytes: text in UTF-8, as HTML, a small attachment. No Message-ID, no line begins with a dot.

    `mark` stands in the text, `title` at the subject's beginning.
    """
    who = f"{chance.choice(FAMILY)} {chance.choice(GIVEN)}"
    day = f"{chance.randint(1, 28):02d} Oct 2026 {chance.randint(7, 17):02d}:{chance.randint(0, 59):02d}:00 +0700"
    edge = f"----=_{chance.getrandbits(64):016x}"
    attachment = base64.encodebytes(chance.randbytes(size // 5)).replace(b"\n", b"\r\n")
    rest = size - len(attachment) - 1100
    text = f"{mark}. ".encode() * bool(mark) + _prose(chance, rest * 2 // 5)
    html = b"<html><body><p>" + _prose(chance, rest * 3 // 5).replace(b".\r\n", b".</p>\r\n<p>") + b"</p></body></html>"
    office = _encoded("Phòng Hành chính")
    subject = _encoded(" ".join([*title.split(), *chance.choices(WORDS, k=9)]))
    head = (
        f"Date: {day}\r\nFrom: {_encoded(who)} <{sender}>\r\nTo: {office} <phonghc@bench.test>\r\n"
        f"Subject: {subject}\r\nReply-To: nguoi.gui@xa.test\r\n"
        f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="{edge}"\r\nX-Mailer: bench\r\n\r\n'
        f'--{edge}\r\nContent-Type: multipart/alternative; boundary="{edge}a"\r\n\r\n'
        f"--{edge}a\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    second = f"\r\n--{edge}a\r\nContent-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    third = (
        f'\r\n--{edge}a--\r\n--{edge}\r\nContent-Type: application/pdf; name="van-ban.pdf"\r\n'
        f'Content-Disposition: attachment; filename="van-ban.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    )
    return head.encode() + text + second.encode() + html + third.encode() + attachment + f"--{edge}--\r\n".encode()


def letters(count: int, size: int, seed: int = 1, **special: str) -> list[bytes]:
    chance = random.Random(seed)
    return [letter(chance, size, **special) for _ in range(count)]


def write(path: Path, items: list[bytes]) -> None:
    """For gen.c."""
    path.write_bytes(b"".join(struct.pack("=I", len(item)) + item for item in items))
