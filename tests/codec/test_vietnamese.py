"""One fold for all: every written form of a word gives the same plain letters."""

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.vietnamese import WORD_LIMIT, fold, fold_words, marked, nfc, unmarked, words

BASES = {"a": "aăâ", "e": "eê", "i": "i", "o": "oôơ", "u": "uư", "y": "y"}
TONES = ("", "\u0300", "\u0309", "\u0303", "\u0301", "\u0323")
VOWELS = [(plain, nfc(base + tone)) for plain, bases in BASES.items() for base in bases for tone in TONES]


def all_forms(letter: str) -> set[str]:
    """Precomposed, decomposed, and with the marks in any order, in both cases."""
    found = set()
    for case in (letter, letter.upper()):
        base, *marks = unicodedata.normalize("NFD", case)
        found |= {case} | {base + "".join(order) for order in itertools.permutations(marks)}
    return found


def test_the_alphabet_has_all_its_vowels() -> None:
    assert len({vowel for _, vowel in VOWELS}) == 72


@pytest.mark.parametrize(("plain", "letter"), [*VOWELS, ("d", "đ")])
def test_every_form_folds_alike(plain: str, letter: str) -> None:
    assert {fold(form) for form in all_forms(letter)} == {plain}
    assert {fold("×" + form) for form in all_forms(letter)} == {"×" + plain}  # the way for text with other characters


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Đường Nguyễn Huệ", "duong nguyen hue"),
        ("ĐẶNG THỊ NGỌC — “Tổ trưởng”", "dang thi ngoc — “to truong”"),
        ("Ðà Nẵng", "da nang"),  # written with Eth
        ("İstanbul", "istanbul"),
        ("東京 한국", "東京 한국"),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(unicodedata.normalize("NFD", text)) == folded


def test_words_and_marked() -> None:
    text = unicodedata.normalize("NFD", "Kính gửi: ông An_Bình, số 12/QĐ-UBND (đường Huệ, HUỆ)")
    assert words(text) == ["Kính", "gửi", "ông", "An", "Bình", "số", "12", "QĐ", "UBND", "đường", "Huệ", "HUỆ"]
    assert marked(words(text)) == ["kính", "gửi", "ông", "bình", "số", "qđ", "đường", "huệ"]
    assert fold_words(words(text))[-3:] == ["duong", "hue", "hue"]
    assert words("x" * 1000 + " y") == ["x" * WORD_LIMIT, "y"]


@given(st.text())
def test_fold_settles_and_does_not_care_about_the_form(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert fold(unicodedata.normalize("NFC", text)) == fold(unicodedata.normalize("NFD", text)) == folded
    assert nfc(folded) == folded


@given(st.text())
def test_words_of_the_fold_are_folds_of_the_words(text: str) -> None:
    assert all(0 < len(word) <= WORD_LIMIT for word in words(text))
    assert fold_words(words(text)) == [fold(word) for word in words(text)]
    assert not marked(words(fold(text)))


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Đường Nguyễn Huệ", "Duong Nguyen Hue"),
        ("plain Ab", "plain Ab"),
        ("ĐỖ đỗ", "DO do"),
        ("日本", "日本"),
        ("", ""),
    ],
)
def test_marks_off_and_capitals_kept(text: str, bare: str) -> None:
    assert unmarked(text) == unmarked(unicodedata.normalize("NFD", text)) == bare
