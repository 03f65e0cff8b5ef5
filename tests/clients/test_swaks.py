"""Debian's swaks: what a mail administrator tries first."""

import pytest

from tests.clients.words import run, subjects
from tests.house.running import PASSWORD, House


def swaks(
    house: House, door: str, to: str, *words: str, subject: str = "swaks", sender: str = "dao@xa.test"
) -> tuple[int, str]:
    head = ["--server", "127.0.0.1", "--port", str(house.port(door)), "--ehlo", "may.xa.test", "--timeout", "20"]
    letter = ["--from", sender, "--to", to, "--header", f"Subject: {subject}", "--body", "Kính gửi quý cơ quan."]
    done = run("swaks", *head, *letter, *words, good=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def sign_in(house: House, person: int, mechanism: str, password: str = PASSWORD) -> list[str]:
    return ["--auth", mechanism, "--auth-user", house.address(person), "--auth-password", password]


@pytest.mark.parametrize("words", [[], ["--tls"]], ids=["clear", "starttls"])
def test_from_outside(house: House, words: list[str]) -> None:
    code, told = swaks(house, "smtp", house.address(0), *words, subject=f"ngoai {len(words)}")
    assert code == 0, told
    assert f"Subject: ngoai {len(words)}".encode() in subjects(house, 0)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(("door", "tls"), [("submission", "--tls"), ("smtps", "--tls-on-connect")])
def test_signed_in(house: House, mechanism: str, door: str, tls: str) -> None:
    subject = f"{door} {mechanism}"
    words = [tls, *sign_in(house, 1, mechanism)]
    code, told = swaks(house, door, house.address(2), *words, subject=subject, sender=house.address(1))
    assert code == 0, told
    assert f"Subject: {subject}".encode() in subjects(house, 2)


def test_lmtp(house: House) -> None:
    code, told = swaks(house, "lmtp", house.address(3), "--protocol", "LMTP", subject="lmtp")
    assert code == 0, told
    assert b"Subject: lmtp" in subjects(house, 3)


def test_what_is_refused(house: House) -> None:
    code, told = swaks(house, "smtp", "ai-do@ngoai.test")
    assert (code, "550" in told or "551" in told or "554" in told) == (24, True), told  # no relay for strangers
    code, told = swaks(house, "smtp", "khong-co@angiang.gov.vn")
    assert (code, "550" in told) == (24, True), told
    code, told = swaks(house, "submission", house.address(2), "--tls", *sign_in(house, 1, "PLAIN", "sai"))
    assert (code, "535" in told) == (28, True), told
    # swaks gives up by itself when AUTH is not offered before TLS
    code, told = swaks(house, "submission", house.address(2), *sign_in(house, 1, "PLAIN"))
    assert code == 28, told
    words = ["--tls", *sign_in(house, 1, "PLAIN")]
    code, told = swaks(house, "submission", house.address(2), *words, sender=house.address(4))
    assert code in {23, 24, 26}, told
    assert " 55" in told, told


def test_the_largest_letter_is_announced(house: House) -> None:
    code, told = swaks(house, "smtp", house.address(0), "--quit-after", "EHLO")
    assert code == 0
    for word in (
        "PIPELINING",
        "SIZE ",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "LIMITS",
    ):
        assert word in told, told
