"""Old codes of Vietnamese are told apart and read; a wrong label does no harm."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.vietnamese import nfc
from congvu.codec import legacy

TONES = ("", "\u0300", "\u0309", "\u0303", "\u0301", "\u0323")
SMALL = [nfc(base + tone) for base in "aăâeêioôơuưy" for tone in TONES] + ["đ"]
LETTERS = [letter for letter in [*SMALL, *(s.upper() for s in SMALL)] if not letter.isascii()]
TEXT = (
    "Kính gửi: Ủy ban nhân dân các huyện, thị xã, thành phố. Thực hiện Công văn số 123 của Bộ Thông tin "
    "và Truyền thông, Sở đề nghị quý cơ quan báo cáo kết quả trước ngày 15. Đường Nguyễn Huệ, "
    "Quảng Ngãi, thuở ấy, giữ gìn, khuỷu tay."
)


def encode(text: str, code: str) -> bytes:
    if code == "windows-1258":
        out = bytearray()
        for letter in text:
            try:
                out += letter.encode("cp1258")
            except UnicodeEncodeError:
                base, *marks = unicodedata.normalize("NFD", letter)
                tone = [m for m in marks if m in TONES]
                out += nfc(base + "".join(m for m in marks if m not in TONES)).encode("cp1258")
                out += "".join(tone).encode("cp1258")
        return bytes(out)
    if code == "vni":
        back = {letter: pair for pair, letter in reversed(legacy._VNI.items())}
        return "".join(back.get(letter, letter) for letter in text).encode("cp1252")
    back_bytes = {letter: byte for byte, letter in legacy._TABLES[code].items()}
    return bytes(back_bytes[letter] if letter in back_bytes else ord(letter) for letter in text)


@pytest.mark.parametrize("code", legacy.OLD_CODES)
def test_whole_alphabet(code: str) -> None:
    for letter in LETTERS:
        assert legacy.decode(encode(f"x{letter}x", code), code) == f"x{letter}x"


@pytest.mark.parametrize(
    ("code", "text", "raw"),
    [
        ("tcvn3", "Việt Nam đất nước", b"Vi\xd6t Nam \xae\xcat n\xad\xedc"),
        ("vni", "Việt Nam đất nước", b"Vie\xe4t Nam \xf1a\xe1t n\xf6\xf4\xf9c"),
        ("viscii", "Việt Nam đất nước", b"Vi\xaet Nam \xf0\xa4t n\xdf\xbec"),
        ("vps", "Việt Nam đất nước", b"Vi\x8ct Nam \xc7\xc3t n\xdc\xa7c"),
        ("windows-1258", "Việt Nam đất nước", b"Vi\xea\xf2t Nam \xf0\xe2\xect n\xfd\xf5\xecc"),
    ],
)
def test_known_bytes(code: str, text: str, raw: bytes) -> None:
    assert legacy.decode(raw, code) == text
    assert encode(text, code) == raw
    assert legacy.recognise(raw) == code
    assert legacy.guess(raw) == text


@pytest.mark.parametrize("code", legacy.OLD_CODES)
@pytest.mark.parametrize("declared", ["", "iso-8859-1", "us-ascii", "utf-8", "x-unknown", "windows-1252"])
def test_wrong_or_no_label(code: str, declared: str) -> None:
    assert legacy.decode(encode(TEXT, code), declared) == TEXT


@pytest.mark.parametrize(
    ("raw", "declared", "text"),
    [
        ("Nguyễn Huệ".encode(), "iso-8859-1", "Nguyễn Huệ"),
        ("Nguyễn Huệ".encode(), "utf8", "Nguyễn Huệ"),
        ("Nguyễn Huệ".encode(), "x-nobody-knows", "Nguyễn Huệ"),
        ("Nguyễn".encode() + b"\xff" + " Huệ".encode(), "utf-8", "Nguyễn\ufffd Huệ"),
        ("café très déjà vu, garçon".encode("latin-1"), "iso-8859-1", "café très déjà vu, garçon"),
        ("“naïve” façade – Zürich Straße".encode("cp1252"), "", "“naïve” façade – Zürich Straße"),
        ("日本語".encode("iso-2022-jp"), "ISO-2022-JP", "日本語"),
        ("東京".encode("shift_jis"), "shift_jis", "東京"),
        ("Привет".encode("koi8-r"), "koi8-r", "Привет"),
        (b"plain", "utf-16x", "plain"),
        (b"abc", "zlib", "abc"),
        (b"x" * 10, "punycode", "x" * 10),
        (encode("Ỹ", "viscii"), "VISCII", "Ỹ"),
        (b"", "", ""),
    ],
)
def test_decode(raw: bytes, declared: str, text: str) -> None:
    assert legacy.decode(raw, declared) == text


def test_cut_within_a_character() -> None:
    raw = "ệệ".encode()
    assert [legacy.decode(raw[:n], "utf-8", cut=True) for n in range(7)] == ["", "", "", "ệ", "ệ", "ệ", "ệệ"]


NAMES = ["", "utf-8", "us-ascii", "utf-7", "utf-16", "hz", *legacy._ALIASES, *legacy._OTHERS, *legacy._SEVEN_BIT]


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_every_charset_exists(name: str) -> None:
    assert isinstance(legacy.decode(b"a\xe1\x80", name), str)


@given(st.binary(max_size=200), st.one_of(st.sampled_from(NAMES), st.text(max_size=20)), st.booleans())
def test_never_raises(raw: bytes, charset: str, cut: bool) -> None:
    assert isinstance(legacy.decode(raw, charset, cut=cut), str)


@given(st.text())
def test_utf8_is_never_mistaken(text: str) -> None:
    raw = text.encode("utf-8", "replace")
    assert legacy.decode(raw, "utf-8") == legacy.decode(raw, "iso-8859-1") == raw.decode()
