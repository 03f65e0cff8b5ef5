"""delivery.inbound: nobody who signed in writes under another's name, however the header is made up."""

import pytest

from congvu.base.failure import Refused
from congvu.codec import mime
from congvu.delivery import inbound
from congvu.delivery.inbound import Facts, decide

OWN = ("an@tinh.test", "van.an@tinh.test")


def answer(header: bytes) -> str:
    """The decision about a letter with this header, sent by somebody whose addresses are OWN."""
    content = header + b"\r\nSubject: x\r\n\r\nFrom: chi@tinh.test\r\n"
    scan = mime.scan(content)
    clear, authors = inbound._authors(content, scan)
    try:
        decide(Facts(0, OWN, scan.from_addresses, authors, clear))
    except Refused as refused:
        return refused.code
    return ""


@pytest.mark.parametrize(
    "header",
    [
        b"From: an@tinh.test",
        b"from:\tAN@Tinh.Test",
        b"From: An <an+hop@tinh.test>, Van An <van.an@tinh.test>",
        b"From: =?utf-8?q?An_=3Cchi=40tinh=2Etest=3E?= <an@tinh.test>",
        b'From: "an@tinh.test" <an@tinh.test>',
        b"From: an@tinh.test <an@tinh.test>",
        b'From: "an"@tinh.test',
        b"From: nhom: an@tinh.test;",
        b"From: an@tinh.test (An)\r\nSender: van.an@tinh.test\r\nReply-To: chi@tinh.test",
        "From: Nguyễn Văn An <an@tinh.test>".encode(),
        b"X-From: chi@tinh.test\r\nFrom: an@tinh.test\r\nTo: chi@tinh.test",
    ],
)
def test_an_own_from_is_welcome(header: bytes) -> None:
    assert answer(header) == ""


@pytest.mark.parametrize(
    "header",
    [
        b"From: chi@tinh.test",
        b"FROM : chi@tinh.test",
        b"From: an@tinh.test, chi@tinh.test",
        b"From: an@tinh.test\r\n ,chi@tinh.test",
        b"From: nhom: an@tinh.test, chi@tinh.test;",
        b"From: an@tinh.test; chi@tinh.test",
        b"From: <an@tinh.test> <chi@tinh.test>",
        b"From: <an@tinh.test> chi@tinh.test",
        b"From: chi@tinh.test <an@tinh.test>",
        b"From: an@tinh.test (chi@tinh.test)",
        b"From: <@chi@tinh.test:an@tinh.test>",
        b'From: "an@tinh.test"@tinh.test',
        b'From: "' + b" " * 307 + b'an"@tinh.test.evil.example',
        b"From: an@tinh.test\r\nSender: chi@tinh.test",
        b"From: an@tinh.test\r\nResent-From: chi@tinh.test",
        b"From: ch\0i@tinh.test",
        "From: ân@tinh.test".encode(),
        "From: ａn@tinh.test".encode(),
    ],
)
def test_another_s_address_is_not(header: bytes) -> None:
    assert answer(header) == "not-your-address"


@pytest.mark.parametrize(
    "header",
    [
        b"From: an@tinh.test\r\nFrom: an@tinh.test",
        b"From: an@tinh.test\r\nfrom\t: chi@tinh.test",
        b"From: an@tinh.test\r\n" + b"X: y\r\n" * 60_000 + b"From: chi@tinh.test",  # beyond what a scan reads
        b"From: " + b"an@tinh.test," * 2_000 + b"chi@tinh.test",  # more addresses than a scan keeps
        b"X: a\rFrom: chi@tinh.test\r\nFrom: an@tinh.test",  # BINARYMIME
        b"X: a\nFrom: chi@tinh.test\r\nFrom: an@tinh.test",
    ],
)
def test_a_from_that_can_be_read_in_two_ways_is_not(header: bytes) -> None:
    assert answer(header) == "from-unclear"


@pytest.mark.parametrize("header", [b"To: chi@tinh.test", b"From:", b"\r\nFrom: an@tinh.test", b"From: nhom:;"])
def test_there_must_be_one(header: bytes) -> None:
    assert answer(header) == "from-missing"


def test_a_stranger_s_from_is_not_looked_at() -> None:
    decide(Facts(0, None, ("chi@tinh.test",)))


@pytest.mark.parametrize("given", [b"", b"Date: Sun, 22 Nov 2026 08:00:00 +0700\r\n", b"Message-ID: <a@b>\r\n"])
def test_a_letter_without_date_or_number_gets_them(given: bytes) -> None:
    content = given + b"From: an@tinh.test\r\nSubject: x\r\n\r\nxin ch\r\n"
    added, scan = inbound.complete(mime.scan(content), 0xABC, "thu.tinh.test", 1_790_000_000.0)
    whole = mime.scan(added + content)
    assert (scan.envelope, scan.sent, scan.message_id) == (whole.envelope, whole.sent, whole.message_id)
    assert (b"Date:" in added, b"Message-ID:" in added) == (b"Date" not in given, b"Message-ID" not in given)
    assert inbound.complete(whole, 1, "x", 0.0) == (b"", whole)
