"""codec.surrogate: what a program without UTF-8 is shown of a letter, whatever the cut."""

import email
import email.policy
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import mime, surrogate

INVALID = surrogate.INVALID.decode()
FIELDS = [
    ("Subject: Báo cáo quý", "Báo cáo quý"),
    ("Subject: =?UTF-8?Q?B=C3=A1o?= cáo", "Báo cáo"),
    ("Subject: " + "Tờ trình " * 60, ("Tờ trình " * 60).strip()),
    ("Content-Description: Bảng lương", "Bảng lương"),
    ("From: Nguyễn Văn An <an@xa.test>", "Nguyễn Văn An <an@xa.test>"),
    ('From: "Nguyễn, An" <an@xa.test>', '"Nguyễn, An" <an@xa.test>'),
    ("From: Đạt <đạt@xa.test>", f'"Đạt <đạt@xa.test>" {INVALID}'),
    ("From: đạt@xa.test", f'"đạt@xa.test" {INVALID}'),
    ("To: An <an@xa.test>, Bình <binh@xã.test>", f'An <an@xa.test>, "Bình <binh@xã.test>" {INVALID}'),
    ('Cc: Nhóm: An <an@xa.test>, "a b"@x.test;, Đạt <d@x.vn>', 'Nhóm: An <an@xa.test>, "a b"@x.test;, Đạt <d@x.vn>'),
    ("To: Người nhận không nêu:;", "Người nhận không nêu:;"),
    ("To: Ban giám đốc", f"Ban giám đốc {INVALID}"),
    ("Return-Path: <đạt@xa.test>", INVALID),
    ("X-Nhãn: x", None),
    ("X-Note: mật", None),
    ("Received: from x by y for <đạt@xa.test>; Mon, 1 Jan 2024 00:00:00 +0700", None),
    ("Message-ID: <đ@xa.test>", None),
    ("một dòng lạ", None),
]  # fmt: skip


def parsed(block: bytes) -> email.message.EmailMessage:
    return email.message_from_bytes(block, policy=email.policy.default)  # type: ignore[return-value]


@pytest.mark.parametrize(("field", "shown"), FIELDS)
def test_a_field(field: str, shown: str | None) -> None:
    block = f"Date: x\r\n{field}\r\nX-Last: y\r\n\r\n".encode()
    made = surrogate.header(block)
    assert made.isascii()
    assert made.startswith(b"Date: x\r\n") and made.endswith(b"X-Last: y\r\n\r\n")
    assert all(len(line) <= 76 for line in made.split(b"\r\n"))
    name = field.partition(":")[0]
    assert parsed(made)[name] == shown
    assert surrogate.header(made) is made


def test_parameters_keep_their_values() -> None:
    name = "Báo cáo " * 40 + ".docx"
    block = (
        'Content-Type: application/msword; name="Báo cáo.doc"; x="a\\"b"; boundary=abc\r\n'
        f'Content-Disposition: attachment;\r\n\tfilename="{name}"; size=5\r\n\r\n'
    ).encode()
    made = surrogate.header(block)
    letter = parsed(made)
    assert made.isascii() and max(map(len, made.split(b"\r\n"))) < 900
    assert letter.get_filename() == name
    assert dict(letter["Content-Type"].params) == {"name": "Báo cáo.doc", "x": 'a"b', "boundary": "abc"}
    assert dict(letter["Content-Disposition"].params)["size"] == "5"
    assert surrogate.header("Content-Type: văn/bản; a=b\r\n\r\n".encode()) == b"\r\n"


LETTER = (
    "Return-Path: <đạt@xa.test>\r\n"
    "Subject: một\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nlời đầu\r\n"
    '--b\r\nContent-Type: text/plain; charset=utf-8; name="hai.txt"\r\n\r\nthân thư\r\n'
    "--b\r\nContent-Disposition: attachment; filename=ảnh.png\r\n\r\nx\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: bên trong\r\n\r\nthân trong\r\n--b--\r\n"
).encode()
PREFIX = LETTER.partition(b"\n")[0] + b"\n"
SENT = (
    f"Return-Path: {INVALID}\r\n"
    "Subject: =?UTF-8?B?beG7mXQ=?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nlời đầu\r\n"
    '--b\r\nContent-Type: text/plain; charset=utf-8; name="hai.txt"\r\n\r\nthân thư\r\n'
    "--b\r\nContent-Disposition: attachment;\r\n filename*=UTF-8''%E1%BA%A3nh.png\r\n\r\nx\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?UTF-8?B?YsOqbiB0cm9uZw==?=\r\n\r\nthân trong\r\n--b--\r\n"
).encode()


@given(st.lists(st.integers(0, len(LETTER))))
def test_a_letter_however_it_is_cut(cuts: list[int]) -> None:
    places = surrogate.headers(mime.scan(LETTER[len(PREFIX) :]).root, len(PREFIX))
    pieces = [LETTER[a:b] for a, b in pairwise([0, *sorted(cuts), len(LETTER)])]
    made = list(surrogate.made(pieces, places))
    assert all(made)
    assert b"".join(made) == SENT


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b" ", b"From:", b"To: a@b", b"Subject:", "đ".encode(), b"\xff", b'"',
    b"<", b">", b",", b"=?", b"--b", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", b"=", b";", b"name"]),
    max_size=40))  # fmt: skip
def test_any_bytes(parts: list[bytes]) -> None:
    letter = b"".join(parts)
    root = mime.scan(letter).root
    places = surrogate.headers(root, 0)
    made = b"".join(surrogate.made([letter], places))
    if letter.isascii():
        assert made == letter
    again = mime.scan(made).root
    assert made[: again.body].isascii()


def test_an_endless_header_is_not_held() -> None:
    line = "X-Dài: đ\r\n".encode() * 100
    count = surrogate.WITHIN // len(line) + 2
    places = [(0, count * len(line) + 2)]
    for piece in surrogate.made([*[line] * count, b"\r\n", "thân".encode()], places):
        assert len(piece) <= len(line)
        assert piece.isascii() or piece == "thân".encode()
