"""Debian's curl: letters in by smtp:// and smtps://, letters, folders and searches by imap:// and imaps://."""

from pathlib import Path

import pytest

from tests.clients.words import house_letters, letter, run
from tests.house.running import PASSWORD, House

QUYET_DINH = "Quyết định về đường liên xã"


def curl(house: House, url: str, *words: str, person: int | None = None, good: bool = True) -> bytes:
    who = ["--user", f"{house.address(person)}:{PASSWORD}"] if person is not None else []
    return run(
        "curl", "--silent", "--show-error", "--insecure", "--max-time", "30", *who, *words, url, good=good
    ).stdout


def hand_over(
    house: House, tmp_path: Path, url: str, sender: str, to: str, *words: str, content: bytes, **more: int
) -> None:
    path = tmp_path / "letter"
    path.write_bytes(content)
    curl(house, url, "--mail-from", sender, "--mail-rcpt", to, "--upload-file", str(path), *words, **more)


def test_a_stranger_writes_to_a_person(house: House, tmp_path: Path) -> None:
    to = house.address(0)
    content = letter("hue@xa.test", to, "Thu moi", "Kính mời dự họp.")
    for number, words in enumerate([[], ["--ssl-reqd"]]):
        hand_over(house, tmp_path, f"smtp://127.0.0.1:{house.port('smtp')}", "hue@xa.test", to, *words, content=content)
        assert len(found := house_letters(house, 0)) == number + 1
        assert found[-1].endswith(content)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("door", ["smtps", "submission"])
def test_a_person_writes_to_a_person(house: House, tmp_path: Path, door: str, mechanism: str) -> None:
    sender, to = house.address(1), house.address(2)
    content = letter(sender, to, f"{door} {mechanism}", "Đã nhận được công văn.")
    scheme, words = ("smtps", []) if door == "smtps" else ("smtp", ["--ssl-reqd"])
    words += ["--login-options", f"AUTH={mechanism}"]
    url = f"{scheme}://127.0.0.1:{house.port(door)}"
    hand_over(house, tmp_path, url, sender, to, *words, content=content, person=1)
    assert any(found.endswith(content) for found in house_letters(house, 2))


def test_folders_letters_and_searches(house: House, tmp_path: Path) -> None:
    base = f"imaps://127.0.0.1:{house.port('imaps')}"
    listed = curl(house, f"{base}/", person=3)
    assert b"INBOX" in listed
    assert all(use in listed for use in (b"\\Sent", b"\\Drafts", b"\\Junk", b"\\Trash", b"\\Archive")), listed
    path = tmp_path / "letter"
    content = letter("hue@xa.test", house.address(3), QUYET_DINH, "Nguyễn Huệ trình bày kế hoạch làm đường.")
    path.write_bytes(content)
    curl(house, f"{base}/INBOX", "--upload-file", str(path), person=3)
    assert curl(house, f"{base}/INBOX;MAILINDEX=1", person=3) == content
    for query, hit in [("nguyen hue", True), ("duong lien xa", True), ("ke hoach", True), ("khong co", False)]:
        answer = curl(house, f"{base}/INBOX", "--request", f'SEARCH TEXT "{query}"', person=3)
        assert (answer.split() == [b"*", b"SEARCH", b"1"]) is hit, (query, answer)
    # "Công văn" in modified UTF-7 (RFC 3501 5.1.3)
    curl(house, f"{base}/", "--request", 'CREATE "C&APQ-ng v&AQM-n"', person=3)
    assert b'"C&APQ-ng v&AQM-n"' in curl(house, f"{base}/", person=3)
    over_starttls = f"imap://127.0.0.1:{house.port('imap')}/INBOX;MAILINDEX=1"
    assert curl(house, over_starttls, "--ssl-reqd", person=3) == content


def test_no_password_in_the_clear(house: House) -> None:
    curl(house, f"imap://127.0.0.1:{house.port('imap')}/INBOX;MAILINDEX=1", person=3, good=False)
    done = run(
        "curl", "-sk", "--user", f"{house.address(3)}:{PASSWORD}", f"imap://127.0.0.1:{house.port('imap')}/", good=False
    )
    assert done.returncode == 67, done  # CURLE_LOGIN_DENIED
