"""What the program writes is read back by its own reader."""

import pytest

from congvu.codec.compose import compose
from congvu.codec.mime import letter_text, scan

SENDER = ("Quản trị thư công vụ", "quantri@angiang.gov.vn")


def test_a_letter_reads_back() -> None:
    text = "Kính gửi ông,\n\nHộp thư đã sẵn sàng.\n" + "dài " * 500 + "\n.\nFrom hết\n"
    raw = compose(
        SENDER,
        [("Nguyễn Văn An", "an@angiang.gov.vn"), ("", "b@x.vn")],
        "Chào mừng đến với hệ thống thư điện tử công vụ của tỉnh An Giang",
        text,
        now=1_790_000_000.5,
        message_id="1@angiang.gov.vn",
        in_reply_to="0@x",
        automatic=True,
    )
    found = scan(raw)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert found.subject == "Chào mừng đến với hệ thống thư điện tử công vụ của tỉnh An Giang"
    assert found.sender == "Quản trị thư công vụ <quantri@angiang.gov.vn>"
    assert found.recipients == "To: Nguyễn Văn An <an@angiang.gov.vn>, b@x.vn"
    assert (found.message_id, found.references, found.sent) == ("1@angiang.gov.vn", ("0@x",), 1_790_000_000)
    assert b"\r\nAuto-Submitted: auto-generated\r\n" in raw
    assert letter_text(raw, found.root, 10_000).replace("\r\n", "\n").strip() == text.strip()


@pytest.mark.parametrize("wrong", ["a\r\nBcc: x@y", "a\nb"])
def test_no_header_is_smuggled_in(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compose(SENDER, [("", "a@b")], wrong, "", now=0, message_id="1@x")
    with pytest.raises(ValueError, match=r"."):
        compose(SENDER, [(wrong, "a@b")], "x", "", now=0, message_id="1@x")
    with pytest.raises(ValueError, match=r"."):
        compose(SENDER, [("", wrong + "@b")], "x", "", now=0, message_id="1@x")
    with pytest.raises(ValueError, match=r"."):
        compose(SENDER, [("", "a@b")], "x", "", now=0, message_id=wrong)
