"""Python's smtplib and imaplib, and imapclient: a working day of two people."""

import imaplib
import re
import smtplib
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

import imapclient
import pytest

from tests.clients.words import eventually, letter
from tests.house.running import PASSWORD, House, run, trusting

FOLDERS = ["Công văn đi", "Công văn đến/Sở Nội vụ", "Đảng ủy & Đoàn thể", "日本"]


@pytest.fixture
def client(house: House) -> Iterator[imapclient.IMAPClient]:
    client = imapclient.IMAPClient("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30)
    client.plain_login(house.address(6), PASSWORD)
    yield client
    client.logout()


def submission(house: House, person: int) -> smtplib.SMTP:
    sender = smtplib.SMTP("127.0.0.1", house.port("submission"), timeout=30)
    sender.starttls(context=trusting())
    sender.ehlo()
    sender.user, sender.password = house.address(person), PASSWORD
    initial = f"\0{sender.user}\0{PASSWORD}"  # smtplib's own login() knows only ASCII passwords
    code, answer = sender.docmd("AUTH", "PLAIN " + __import__("base64").b64encode(initial.encode()).decode())
    assert code == 235, answer
    return sender


def note(house: House, sender: int, subject: str, text: str) -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"], message["To"] = house.address(sender), house.address(6)
    message["Subject"] = subject
    message.set_content(text)
    return message


def test_a_letter_between_two_people_is_found_without_marks(house: House, client: imapclient.IMAPClient) -> None:
    with submission(house, 7) as sender:
        sender.send_message(note(house, 7, "Họp về đường Nguyễn Huệ", "Mời đồng chí dự họp tại hội trường."))
        sender.send_message(note(house, 7, "Duong day nong", "Số điện thoại mới."))
    client.select_folder("INBOX")
    assert eventually(lambda: len(client.search()) == 2)
    for query, count in [("nguyen hue", 1), ("NGUYỄN HUỆ", 1), ("duong", 2), ("hoi truong", 1), ("thành phố", 0)]:
        assert len(client.search(["TEXT", query], "UTF-8")) == count, query
    uid = client.search(["SUBJECT", "duong nguyen"], "UTF-8")[0]
    data = client.fetch(uid, ["ENVELOPE", "BODY.PEEK[]", "FLAGS", "RFC822.SIZE", "BODYSTRUCTURE"])[uid]
    assert data[b"RFC822.SIZE"] == len(data[b"BODY[]"])
    message = message_from_bytes(data[b"BODY[]"], policy=policy.default)
    assert message["Subject"] == "Họp về đường Nguyễn Huệ"
    assert data[b"BODY[]"].startswith((b"Return-Path:", b"Received:", b"Delivered-To:"))
    assert data[b"ENVELOPE"].from_[0].mailbox == house.address(7).partition("@")[0].encode()


def test_nobody_writes_under_another_name(house: House) -> None:
    with submission(house, 7) as sender:
        with pytest.raises(smtplib.SMTPResponseException):
            sender.sendmail(house.address(7), [house.address(6)], note(house, 5, "Giả", "Giả danh").as_bytes())
        sender.rset()
        with pytest.raises(smtplib.SMTPSenderRefused):
            sender.sendmail(house.address(5), [house.address(6)], note(house, 5, "Giả", "Giả danh").as_bytes())


def test_a_letter_to_the_outside_waits_in_the_queue(house: House) -> None:
    with submission(house, 7) as sender:
        sender.sendmail(
            house.address(7), ["chi.lan@ngoai.test", house.address(6)], note(house, 7, "Gửi ra", "x").as_bytes()
        )
    assert "chi.lan@ngoai.test" in run("queue", "--data", str(house.data)).stdout


def test_folders(client: imapclient.IMAPClient) -> None:
    for name in FOLDERS:
        client.create_folder(name)
        client.subscribe_folder(name)
        client.append(name, letter("a@xa.test", "b@xa.test", name, name))
    listed = {name: flags for flags, _, name in client.list_folders()}
    assert set(FOLDERS) <= set(listed)
    assert "Công văn đến" in listed  # the parent was made too
    assert set(FOLDERS) <= {name for _, _, name in client.list_sub_folders()}
    assert client.folder_status(FOLDERS[0], ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 1, b"UNSEEN": 1}
    client.rename_folder("Công văn đến", "Công văn đến 2026")
    assert client.folder_exists("Công văn đến 2026/Sở Nội vụ")
    client.select_folder(FOLDERS[0])
    client.move(client.search(), "Công văn đến 2026")
    assert client.search() == []
    client.delete_folder(FOLDERS[0])
    assert not client.folder_exists(FOLDERS[0])
    for use in (rb"\Sent", rb"\Drafts", rb"\Junk", rb"\Trash", rb"\Archive"):
        assert client.find_special_folder(use), use
    assert client.find_special_folder(rb"\Trash") == "Thùng rác"


def test_idle_hears_of_a_new_letter(house: House, client: imapclient.IMAPClient) -> None:
    client.select_folder("INBOX")
    before = len(client.search())
    client.idle()

    def deliver() -> None:
        with house.smtp() as sender:
            sender.sendmail(
                "hue@xa.test", [house.address(6)], letter("hue@xa.test", house.address(6), "Mới", "Thư mới")
            )

    thread = threading.Thread(target=deliver)
    thread.start()
    heard = client.idle_check(timeout=10)
    thread.join()
    client.idle_done()
    assert (before + 1, b"EXISTS") in heard, heard


def test_two_clients_see_the_same(house: House, client: imapclient.IMAPClient) -> None:
    other = imapclient.IMAPClient("127.0.0.1", house.port("imap"), ssl=False, timeout=30)
    other.starttls(trusting())
    other.plain_login(house.address(6), PASSWORD)
    client.append("INBOX", letter("a@xa.test", "b@xa.test", "Chung", "Chung"))
    client.select_folder("INBOX")
    other.select_folder("INBOX")
    uid = other.search()[-1]
    client.add_flags(uid, [rb"\Flagged", b"$CanXuLy"])
    other.noop()
    assert set(other.get_flags(uid)[uid]) >= {rb"\Flagged", b"$CanXuLy"}
    client.delete_messages(uid)
    client.uid_expunge([uid])
    _, heard = other.noop()
    assert any(item[1] == b"EXPUNGE" for item in heard), heard
    other.logout()


def test_imaplib_the_old_way(house: House) -> None:
    old = imaplib.IMAP4("127.0.0.1", house.port("imap"), timeout=30)
    assert "LOGINDISABLED" in old.capabilities
    old.starttls(trusting())
    assert "LOGINDISABLED" not in old.capabilities
    with pytest.raises(imaplib.IMAP4.error):
        old.authenticate("PLAIN", lambda _: f"\0{house.address(4)}\0sai".encode())
    old.authenticate("PLAIN", lambda _: f"\0{house.address(4)}\0{PASSWORD}".encode())
    old.enable("UTF8=ACCEPT") if "UTF8=ACCEPT" in old.capabilities else None
    for number in range(5):
        typ, answer = old.append(
            "INBOX", r"(\Seen)", None, letter("a@xa.test", "b@xa.test", f"Số {number}", f"Thân {number}")
        )  # type: ignore[arg-type]
        assert typ == "OK"
        assert re.search(rb"APPENDUID \d+ \d+", answer[0])
    typ, count = old.select()
    assert (typ, count) == ("OK", [b"5"])
    assert old.search(None, "SUBJECT", '"so 3"') == ("OK", [b"4"])
    assert old.search(None, "2:4", "SEEN", "NOT", "SUBJECT", '"so 2"') == ("OK", [b"2 4"])
    typ, data = old.fetch("2", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT]<0.4>)")
    assert typ == "OK"
    assert b"Subject: " in data[0][1]
    assert old.copy("1:2", '"Th&APk-ng r&AOE-c"')[0] == "OK"  # Thùng rác
    old.store("1:3", "+FLAGS", r"(\Deleted)")
    typ, gone = old.expunge()
    assert (typ, len(gone)) == ("OK", 3), gone
    assert old.status("INBOX", "(MESSAGES UIDNEXT)")[1][0].startswith(b"INBOX (MESSAGES 2 UIDNEXT 6")
    assert old.close()[0] == "OK"
    old.logout()


def test_a_folder_is_sorted_and_put_into_conversations(client: imapclient.IMAPClient) -> None:
    client.create_folder("Xếp")
    letters = [
        ("Re: Họp", "b", "<a@x>", 2),
        ("Ân", "c", "", 3),
        ("họp", "a", "", 1),
        ("Re: Ân", "d", "<mat@x> <c@x>", 4),
    ]
    for subject, name, above, day in letters:
        message = EmailMessage(policy=policy.SMTP)
        message["Subject"], message["Message-ID"] = subject, f"<{name}@x>"
        message["Date"] = f"{day} Nov 2026 08:00:00 +0700"
        if above:
            message["References"] = above
        message.set_content("x")
        client.append("Xếp", message.as_bytes())
    client.select_folder("Xếp")
    assert client.sort(["REVERSE DATE"]) == [4, 2, 1, 3]
    assert client.sort(["SUBJECT", "DATE"], ["SUBJECT", "ân"], "UTF-8") == [2, 4]
    assert client.thread("REFERENCES") == ((3, 1), (2, 4))
    assert client.thread("ORDEREDSUBJECT", ["SUBJECT", "hop"], "UTF-8") == ((3, 1),)


def test_a_mailbox_is_opened_to_a_colleague(house: House, client: imapclient.IMAPClient) -> None:
    client.create_folder("Hồ sơ chung")
    client.append("Hồ sơ chung", note(house, 6, "Chung", "Cùng đọc.").as_bytes())
    owner = imaplib.IMAP4_SSL("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30)
    owner.authenticate("PLAIN", lambda _: f"\0{house.address(6)}\0{PASSWORD}".encode())
    folder = '"H&HtM- s&AaE- chung"'
    assert owner.setacl(folder, house.address(5), "lrswite")[0] == "OK"
    assert house.address(5).encode() + b" lrswited" in owner.getacl(folder)[1][0]
    owner.logout()
    with imapclient.IMAPClient("127.0.0.1", house.port("imaps"), ssl_context=trusting(), timeout=30) as reader:
        reader.plain_login(house.address(5), PASSWORD)
        others = reader.namespace().other[0][0]
        assert others == "Người khác/"
        name = f"{others}{house.address(6).partition('@')[0]}/Hồ sơ chung"
        assert name in [folder for _, _, folder in reader.list_folders()]
        assert reader.folder_status(name, ["UNSEEN"]) == {b"UNSEEN": 1}
        reader.select_folder(name)
        assert b"Subject: Chung" in reader.fetch(1, ["BODY[]"])[1][b"BODY[]"]
        assert reader.folder_status(name, ["UNSEEN"]) == {b"UNSEEN": 0}
        assert reader.append(name, note(house, 5, "Thêm", "Của đồng nghiệp.").as_bytes())
        reader.move([1], "INBOX")
        reader.select_folder("INBOX")
        assert len(reader.search(["SUBJECT", "chung"])) == 1
    assert client.folder_status("Hồ sơ chung", ["MESSAGES", "UNSEEN"]) == {b"MESSAGES": 1, b"UNSEEN": 1}
