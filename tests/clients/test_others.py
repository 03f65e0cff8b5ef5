"""Debian's offlineimap and imapfilter: a maildir kept beside the server, and rules that run over a mailbox."""

from pathlib import Path

import imapclient
import pytest

from tests.clients.words import letter, run
from tests.house.running import PASSWORD, House, trusting

PERSON = 1
FOLDER = "Thư mục/con"


@pytest.fixture
def client(house: House) -> imapclient.IMAPClient:
    client = imapclient.IMAPClient("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30)
    client.plain_login(house.address(PERSON), PASSWORD)
    return client


def test_offlineimap(house: House, client: imapclient.IMAPClient, tmp_path: Path) -> None:
    client.create_folder(FOLDER)
    sent = [letter("a@xa.test", "b@xa.test", f"Số {n}", f"Thân thư {n}") for n in range(5)]
    for content in sent[:4]:
        client.append("INBOX", content)
    client.append(FOLDER, sent[4])
    rc = tmp_path / "rc"
    certificate = next(iter(sorted((house.data / "tls").glob("cert*.pem"))))
    rc.write_text(
        f"""[general]
accounts = a
metadata = {tmp_path}/meta
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {tmp_path}/mail
[Repository far]
type = IMAP
remotehost = localhost
remoteport = {house.port("imaps")}
ssl = yes
sslcacertfile = {certificate}
auth_mechanisms = PLAIN
remoteuser = {house.address(PERSON)}
remotepass = {PASSWORD}
""",
        "utf-8",
    )
    words = ["-c", str(rc), "-o", "-u", "quiet"]
    run("offlineimap", *words)
    near = [path for path in (tmp_path / "mail").rglob("*:2,*") if path.is_file()]
    assert len(near) == 5
    (inner,) = (path for path in near if "INBOX" not in str(path))
    assert inner.read_bytes().endswith(sent[4].partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n"))
    inner.rename(f"{inner}F")  # flagged here, known there
    run("offlineimap", *words)
    client.select_folder(FOLDER)
    assert rb"\Flagged" in client.get_flags(1)[1]
    client.logout()


def test_imapfilter(house: House, client: imapclient.IMAPClient, tmp_path: Path) -> None:
    client.create_folder("Nguon")
    for n in range(6):
        client.append("Nguon", letter("a@xa.test", "b@xa.test", f"{'Hop' if n % 2 else 'Khac'} {n}", f"Thân {n}"))
    rules = tmp_path / "rules.lua"
    rules.write_text(
        f"""options.certificates = false
options.create = true
local a = IMAP {{ server = 'localhost', port = {house.port("imaps")}, username = '{house.address(PERSON)}',
                 password = '{PASSWORD}', ssl = 'auto' }}
local found = a.Nguon:contain_subject('hop') * a.Nguon:is_unseen()
found:mark_flagged()
a.Nguon:is_flagged():move_messages(a.Hop)
""",
        "utf-8",
    )
    certificate = next(iter(sorted((house.data / "tls").glob("cert*.pem"))))
    run("imapfilter", "-t", str(certificate), "-c", str(rules))
    assert client.folder_status("Nguon", ["MESSAGES"]) == {b"MESSAGES": 3}
    assert client.folder_status("Hop", ["MESSAGES"]) == {b"MESSAGES": 3}
    client.logout()
