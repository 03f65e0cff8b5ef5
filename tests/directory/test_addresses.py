"""Addresses and states, without a database where none is needed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.failure import Refused
from congvu.directory import addresses, lifecycle, people
from congvu.directory.lifecycle import Act, State


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("SoXayDung@AnGiang.gov.VN", "soxaydung@angiang.gov.vn"),
        ("  an@x.vn. ", "an@x.vn"),
        (unicodedata.normalize("NFD", "Huệ@tỉnh.vn"), "huệ@tỉnh.vn"),
        ("an@xn--tnh-hnz.vn", "an@" + b"xn--tnh-hnz.vn".decode("idna")),
        ('"an"@x.vn', "an@x.vn"),
        ('"a b"@x.vn', '"a b"@x.vn'),
        ("postmaster", "postmaster"),
        ("a@b@c.vn", "a@b@c.vn"),
    ],
)
def test_one_form(given_: str, kept: str) -> None:
    assert addresses.normalise(given_) == kept


@given(st.text(max_size=400))
def test_normalising_never_fails_and_twice_changes_nothing(text: str) -> None:
    once = addresses.normalise(text)
    assert addresses.normalise(once) == once or len(text) > addresses.MAX_ADDRESS or "@" in once
    addresses.base(once)


@pytest.mark.parametrize(
    "address",
    ["", "an", "@x.vn", "an@", "a b@x.vn", "an@x..vn", "an@-x.vn", ".an@x.vn", "an.@x.vn", "a+b@x.vn", "an@x_.vn",
     "a" * 65 + "@x.vn", "an@" + "a" * 64 + ".vn", "an@" + "a.b" * 200, "a\0n@x.vn", "a\r\nn@x.vn",
     '"an b"@x.vn', "ê" * 33 + "@x.vn"],
)  # fmt: skip
def test_what_nobody_can_be_given(address: str) -> None:
    with pytest.raises(Refused) as caught:
        addresses.checked(address)
    assert caught.value.code == "bad-address"


@pytest.mark.parametrize("address", ["vhxh.chauphong@angiang.gov.vn", "huệ@tỉnh.vn", "o'brien-1_2@x", "thutuc@A.vn"])
def test_what_can_be_given(address: str) -> None:
    assert addresses.checked(address) == address.lower()


def test_tags() -> None:
    assert addresses.base("an+hop@x.vn") == "an@x.vn"
    assert addresses.base("an@x+y.vn") == "an@x+y.vn"
    assert addresses.base("+hop@x.vn") == "+hop@x.vn"
    assert addresses.is_own(("an@x.vn",), "An+Hop@X.vn") and not addresses.is_own(("an@x.vn",), "binh@x.vn")


def test_table_of_states() -> None:
    assert lifecycle.may(State.LOCKED, Act.RECEIVE) and not lifecycle.may(State.LOCKED, Act.SIGN_IN)
    assert not any(lifecycle.may(State.REVOKED, act) for act in Act)
    assert all(lifecycle.may(State.ACTIVE, act) for act in Act)
    assert set(lifecycle.TABLE) == set(State)
    assert lifecycle.step(State.LOCKED, State.ACTIVE) is State.ACTIVE
    for wrong in ((State.REVOKED, State.ACTIVE), (State.ACTIVE, State.PURGED), (State.PURGED, State.ACTIVE)):
        with pytest.raises(Refused):
            lifecycle.step(*wrong)


def test_names() -> None:
    assert people.checked_name(unicodedata.normalize("NFD", "  Nguyễn  Thị Huệ ")) == "Nguyễn Thị Huệ"
    for bad in ("", "   ", "a\0b", "x" * 300):
        with pytest.raises(Refused):
            people.checked_name(bad)
