"""POP3 with Python's poplib, and Debian's curl, mpop and fetchmail, under TLS in both ways."""

import poplib
from pathlib import Path

import pytest

from tests.clients.words import house_letters, letter, run
from tests.house.running import PASSWORD, House, trusting

PERSON = 2
BODY = "Kính mời dự họp.\r\n.dòng bắt đầu bằng dấu chấm\r\n.\r\n..\r\nHết"


def deliver(house: House, count: int, mark: str) -> list[bytes]:
    """New letters for PERSON, as they will be read."""
    to = house.address(PERSON)
    sent = [letter("hue@xa.test", to, f"{mark} {n}", f"{BODY} {mark} {n}") for n in range(count)]
    with house.smtp() as sender:
        for content in sent:
            sender.sendmail("hue@xa.test", [to], content)
    return sent


def shown(content: bytes) -> bytes:
    """As a program sees it that has not said UTF8 (RFC 6858)."""
    return content.replace("From: Nguyễn Huệ <".encode(), b"From: =?UTF-8?B?Tmd1eeG7hW4gSHXhu4c=?=\r\n <")


def emptied(house: House) -> None:
    client = poplib.POP3_SSL("127.0.0.1", house.port("pop3s"), context=trusting(), timeout=30)
    signed_in(house, client)
    for number in range(1, client.stat()[0] + 1):
        client.dele(number)
    client.quit()


def signed_in(house: House, client: poplib.POP3) -> None:
    client.encoding = "UTF-8"  # poplib's own `utf8()` is for after RFC 6856's answer
    client.user(house.address(PERSON))
    client.pass_(PASSWORD)


def test_poplib(house: House) -> None:
    emptied(house)
    sent = deliver(house, 3, "poplib")
    client = poplib.POP3("127.0.0.1", house.port("pop3"), timeout=30)
    assert "STLS" in client.capa() and "USER" not in client.capa()
    with pytest.raises(poplib.error_proto, match="needs TLS"):
        client.user("x")
    client.stls(trusting())
    assert client.capa()["UTF8"] == ["USER"]
    client.utf8()
    signed_in(house, client)
    count, octets = client.stat()
    listed = [tuple(map(int, line.split())) for line in client.list()[1]]
    assert (count, octets) == (3, sum(size for _, size in listed))
    ids = [line.split()[1] for line in client.uidl()[1]]
    assert len(set(ids)) == 3
    for number, content in enumerate(sent, 1):
        got = b"".join(line + b"\r\n" for line in client.retr(number)[1])
        assert got.endswith(content) and len(got) == listed[number - 1][1]
    assert client.top(2, 1)[1][-1] == "Kính mời dự họp.".encode()
    client.dele(2)
    client.quit()
    client = poplib.POP3_SSL("127.0.0.1", house.port("pop3s"), context=trusting(), timeout=30)
    signed_in(house, client)
    assert [line.split()[1] for line in client.uidl()[1]] == [ids[0], ids[2]]
    client.quit()
    assert len(house_letters(house, PERSON)) == 2


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "USER"])
@pytest.mark.parametrize("scheme", ["pop3", "pop3s"])
def test_curl(house: House, scheme: str, mechanism: str) -> None:
    emptied(house)
    sent = deliver(house, 2, scheme + mechanism)
    options = [] if mechanism == "USER" else ["--login-options", f"AUTH={mechanism}"]

    def curl(path: str, *words: str, password: str = PASSWORD, good: bool = True) -> bytes:
        who = ["--user", f"{house.address(PERSON)}:{password}", *options]
        url = f"{scheme}://127.0.0.1:{house.port(scheme)}/{path}"
        return run("curl", "-sSk", "--ssl-reqd", "--max-time", "30", *who, *words, url, good=good).stdout

    assert len(curl("").splitlines()) == 2
    assert curl("1").endswith(shown(sent[0]))
    assert curl("", "--request", "UIDL").startswith(b"1 ")
    assert b"Subject:" in curl("", "--request", "TOP 2 0")
    curl("2", "--request", "DELE", "--head")
    assert len(house_letters(house, PERSON)) == 1
    assert curl("1", password="sai", good=False) == b""


@pytest.mark.parametrize("auth", ["plain", "scram-sha-256", "user"])
def test_mpop(house: House, tmp_path: Path, auth: str) -> None:
    emptied(house)
    sent = deliver(house, 3, f"mpop {auth}")
    for name in ("cur", "new", "tmp"):
        (tmp_path / "mail" / name).mkdir(parents=True)
    rc = tmp_path / "mpoprc"
    rc.write_text(
        f"""account congvu
host 127.0.0.1
port {house.port("pop3")}
user {house.address(PERSON)}
password {PASSWORD}
auth {auth}
tls on
tls_starttls on
tls_certcheck off
keep on
uidls_file {tmp_path}/uidls
delivery maildir {tmp_path}/mail
account default : congvu
""",
        "utf-8",
    )
    rc.chmod(0o600)
    words = ["--file", str(rc), "--quiet"]
    run("mpop", *words)
    got = [path.read_bytes() for path in (tmp_path / "mail/new").iterdir()]
    assert len(got) == 3
    for content in sent:
        assert any(found.endswith(shown(content).replace(b"\r\n", b"\n")) for found in got)
    run("mpop", *words)  # nothing comes twice
    assert len(list((tmp_path / "mail/new").iterdir())) == 3
    run("mpop", *words, "--keep=off", "--only-new=off")
    assert house_letters(house, PERSON) == []


def test_fetchmail(house: House, tmp_path: Path) -> None:
    emptied(house)
    sent = deliver(house, 3, "fetchmail")
    box = tmp_path / "box"
    rc = tmp_path / "fetchmailrc"
    rc.write_text(
        f"""poll 127.0.0.1 protocol pop3 port {house.port("pop3s")} uidl
 user "{house.address(PERSON)}" password "{PASSWORD}" ssl no sslcertck nokeep
 mda "cat >> {box}"
""",
        "utf-8",
    )
    rc.chmod(0o600)
    run("fetchmail", "--fetchmailrc", str(rc), "--idfile", str(tmp_path / "ids"), "--pidfile", str(tmp_path / "pid"))
    got = box.read_bytes()
    for content in sent:
        assert content.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") in got
    assert house_letters(house, PERSON) == []
