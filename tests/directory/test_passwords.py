"""What a profile asks of a password (rows 5.1 to 5.5)."""

import pytest

from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.directory import profile
from congvu.directory.passwords import Demands, Holder, check, demands_of, is_reused

HOLDER = Holder("nthue@angiang.gov.vn", "Nguyễn Thị Huệ", "1980-01-31")
ALL = Demands(9, 4, ("login", "full_name", "birth_date"), 3)


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("Sông-Hậu-2026", ""),
        ("Ngắn-1a", "password-too-short"),
        ("sông-hậu-2026", "password-too-plain"),
        ("SôngHậu2026", "password-too-plain"),
        ("Sông-Hậu-xanh", "password-too-plain"),
        ("Đồng €ó-1", ""),  # capitals with marks, any sign
        ("xNTHue#2026", "password-holds-login"),
        ("N.t.h.u.e-2026", "password-holds-login"),
        ("Nguyễn Thị Huệ 1!", "password-holds-name"),
        ("nguyenthihue-A1", "password-holds-name"),
        ("NGUYEN_thi_hue-1", "password-holds-name"),
        ("Nguyễn-Huệ-1789", ""),  # not the whole name
        ("Sông-31011980", "password-holds-birth"),
        ("Sông-31/01/1980", "password-holds-birth"),
        ("Sông-1980.01.31", "password-holds-birth"),
        ("Sông-31-1-1980", "password-holds-birth"),
        ("Sông-Hậu-310180", "password-holds-birth"),
        ("Sông-Hậu-1980", ""),
    ],
)
def test_check(password: str, code: str) -> None:
    try:
        check(Secret(password), ALL, HOLDER)
    except Refused as refused:
        assert refused.code == code
    else:
        assert not code


def test_short_words_are_no_names() -> None:
    check(Secret("Bình-An-2026-x"), ALL, Holder("an@x.vn", "An"))
    check(Secret("x"), Demands(), HOLDER)  # nothing asked


def test_demands_of_profiles() -> None:
    bacninh = profile.load("bacninh_2025")
    assert demands_of(bacninh, admin=False, second_factor=False).length == 14  # row 5.1: TCVN without a second factor
    assert demands_of(bacninh, admin=False, second_factor=True).length == 8
    assert demands_of(bacninh, admin=True, second_factor=True).length == 10
    assert demands_of(bacninh, admin=False, second_factor=False).history == 3
    assert demands_of(bacninh, admin=True, second_factor=False).history == 10


def test_reuse() -> None:
    def fits(stored: str, password: Secret) -> bool:
        return stored == password.reveal()

    before = ["now", "one", "two", "three", "four"]
    assert [word for word in [*before, "new"] if is_reused(Secret(word), before, 3, fits)] == [
        "now",
        "one",
        "two",
        "three",
    ]
