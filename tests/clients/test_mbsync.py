"""Debian's mbsync: a mailbox on the server and a maildir are kept the same, both ways, folders in Vietnamese too."""

import re
from collections.abc import Iterator
from pathlib import Path

import imapclient
import pytest

from tests.clients.words import letter, run
from tests.house.running import PASSWORD, House, trusting

PERSON = 5


@pytest.fixture
def client(house: House) -> Iterator[imapclient.IMAPClient]:
    client = imapclient.IMAPClient("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30)
    client.plain_login(house.address(PERSON), PASSWORD)
    yield client
    client.logout()


def configure(house: House, place: Path) -> list[str]:
    (place / "mail").mkdir()
    (place / "state").mkdir()
    certificate = next(iter(sorted((house.data / "tls").glob("cert*.pem"))))
    rc = place / "mbsyncrc"
    rc.write_text(
        f"""IMAPAccount congvu
Host 127.0.0.1
Port {house.port("imaps")}
User {house.address(PERSON)}
Pass "{PASSWORD}"
SSLType IMAPS
CertificateFile {certificate}
AuthMechs PLAIN

IMAPStore far
Account congvu

MaildirStore near
Path {place}/mail/
Inbox {place}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState {place}/state/
""",
        "utf-8",
    )
    return ["--config", str(rc), "--all"]


def test_both_ways(house: House, tmp_path: Path, client: imapclient.IMAPClient) -> None:
    sync = configure(house, tmp_path)
    client.create_folder("Công văn đến/Năm 2026")
    contents = [letter("hue@xa.test", house.address(PERSON), f"Thu {n}", f"Nội dung {n}") for n in range(12)]
    for content in contents:
        client.append("INBOX", content, flags=[rb"\Seen"])
    client.append("Công văn đến/Năm 2026", contents[0])
    run("mbsync", *sync)
    inbox = tmp_path / "mail/INBOX"
    # mbsync writes lines with LF only and adds a header of its own
    local = sorted(re.sub(rb"X-TUID: .*\n", b"", path.read_bytes()) for path in inbox.glob("cur/*"))
    assert local == sorted(content.replace(b"\r\n", b"\n") for content in contents)
    assert len([path for path in (tmp_path / "mail").rglob("*") if path.name == "cur"]) >= 8

    # here → there: a new letter, a flag, a deletion
    (inbox / "new/1.moi.may").write_bytes(
        letter("toi@xa.test", "toi@xa.test", "Thu moi tu may", "Xin chào").replace(b"\r\n", b"\n")
    )
    first, second, *_ = sorted(inbox.glob("cur/*"))
    first.rename(first.with_name(first.name + "F"))
    second.rename(second.with_name(second.name + "T"))
    run("mbsync", *sync)
    client.select_folder("INBOX")
    assert len(client.search()) == 12
    assert len(client.search(["FLAGGED"])) == 1
    assert len(client.search(["SUBJECT", "thu moi tu may"], "UTF-8")) == 1

    # there → here: a flag, an expunge
    uids = client.search(["NOT", "FLAGGED"])
    client.add_flags(uids[0], [rb"\Answered"])
    client.delete_messages(uids[1])
    client.expunge()
    run("mbsync", *sync)
    names = [path.name for path in inbox.glob("*/*") if path.parent.name in {"cur", "new"}]
    assert len(names) == 11
    assert sum("R" in name.partition(":2,")[2] for name in names) == 1
    run("mbsync", *sync)  # nothing more to do, and no error
