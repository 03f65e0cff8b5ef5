"""The list of official addresses: only what may be published, the same bytes for the same data, nothing that bites."""

import csv
import io
import json
import re
from datetime import date
from html.parser import HTMLParser

import pytest

from congvu.actions import accounts, directory, public_list
from congvu.actions.accounts import NewAccount
from congvu.actions.public_list import PublicList
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import Refused
from congvu.db.engine import Database
from congvu.directory import people, profile, units
from congvu.directory.entries import Contact, Shown
from congvu.directory.lifecycle import State
from congvu.directory.people import Duty, Kind
from congvu.directory.roles import Actor
from congvu.directory.units import Unit

SYSTEM = Actor("máy chủ")
DAY = date(2026, 11, 25)
PUBLIC = Shown.LISTED | Shown.PHONE | Shown.PUBLIC
EVIL = """<script>alert("1")</script>&'"""


@pytest.fixture
def town(db: Database) -> dict[str, int]:
    tree = (
        Unit(1, None, "Tỉnh An Giang", "tinh"),
        Unit(2, 1, "Sở Xây dựng", "so"),
        Unit(3, 2, "Văn phòng", "vanphong"),
        Unit(4, 1, "Sở Nội vụ", "so"),  # nobody of it is on the list
        Unit(5, 1, f"Đội {EVIL}", "other"),
    )
    for unit in tree:
        db.write_now(units.add, unit)
    who: list[tuple[str, str, int | None, Kind, Contact]] = [
        ("so", "Sở Xây dựng", 2, Kind.ORGANISATION, Contact(0, phone="+84 296", place="Số 1 & 2", shown=PUBLIC)),
        ("an", "Nguyễn Văn An", 2, Kind.PERSON, Contact(0, "Phó Giám đốc", "1", "0900", shown=PUBLIC)),
        ("binh", "Trần Bình", 2, Kind.PERSON, Contact(0, "Giám đốc", "2", "0901", shown=PUBLIC | Shown.MOBILE)),
        ("hidden", "Lê Ẩn", 2, Kind.PERSON, Contact(0, shown=Shown.PUBLIC)),  # not in the directory at all
        ("listed", "Lê Thường", 2, Kind.PERSON, Contact(0)),
        ("quiet", "Lê Im", 3, Kind.PERSON, Contact(0, "Văn thư", "0296", shown=Shown.LISTED | Shown.PUBLIC)),
        ("gone", "Lê Nghỉ", 3, Kind.PERSON, Contact(0, shown=PUBLIC)),
        ("noivu", "Lê Nội", 4, Kind.PERSON, Contact(0)),
        ("evil", EVIL, 5, Kind.PERSON, Contact(0, EVIL, EVIL, EVIL, EVIL, PUBLIC | Shown.MOBILE)),
        ("lone", "Lê Riêng", None, Kind.PERSON, Contact(0, shown=PUBLIC)),
    ]
    new = [NewAccount(f"{a}@x.vn", n, None, kind, unit, contact=c) for a, n, unit, kind, c in who]
    ids = Identifiers(ManualClock())
    numbers = db.write_now(accounts.add_accounts, "test", new, profile.load("angiang_2016"), ids, 0.0)
    found = {a[0]: n for a, n in zip(who, numbers, strict=True)}
    db.write_now(people.set_state, found["gone"], State.REVOKED, 0.0)
    db.write_now(directory.set_duty, SYSTEM, Duty(found["so"], found["binh"], None, 0), "", 0.0)
    return found


def read(db: Database, unit_id: int | None = None) -> PublicList:
    return db.read_now(lambda tx: public_list.public_list(tx, SYSTEM, DAY, unit_id=unit_id))


def test_who_is_on_it_in_which_order(db: Database, town: dict[str, int]) -> None:
    found = read(db)
    told = [(s.depth, s.unit.id if s.unit else None, [c.address for c in s.cards]) for s in found.sections]
    assert told == [
        (0, 1, []),
        (1, 5, ["evil@x.vn"]),
        (1, 2, ["so@x.vn", "binh@x.vn", "an@x.vn"]),  # the box, the head, then by tên
        (2, 3, ["quiet@x.vn"]),
        (0, None, ["lone@x.vn"]),
    ]
    assert (found.of, found.count) == ("Tỉnh An Giang", 6)


def test_part_of_it(db: Database, town: dict[str, int]) -> None:
    found = read(db, 3)
    assert (found.of, found.count) == ("Văn phòng", 1)
    assert [(s.depth, s.path) for s in found.sections] == [(0, ("Tỉnh An Giang", "Sở Xây dựng", "Văn phòng"))]
    assert read(db, 4).sections == ()
    assert "Chưa có địa chỉ nào" in public_list.html(read(db, 4)).decode()
    with pytest.raises(Refused, match="no-such-unit"):
        read(db, 99)


def test_csv(db: Database, town: dict[str, int]) -> None:
    content = public_list.csv(read(db))
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert content.startswith(b"\xef\xbb\xbf") and len(rows) == 7
    assert rows[2] == [
        *("2", "Sở Xây dựng", "Tỉnh An Giang", "Hộp thư cơ quan", "Sở Xây dựng", "", "so@x.vn"),
        *("'+84 296", "", "Số 1 & 2"),
    ]
    assert [row[8] for row in rows[2:]] == ["", "0901", "", "", ""]  # a mobile number only where it is shown
    assert rows[5][7] == ""  # and a telephone that is not shown is not there


def test_json(db: Database, town: dict[str, int]) -> None:
    told = json.loads(public_list.as_json(read(db)))
    assert (told["of"], told["date"], told["count"]) == ("Tỉnh An Giang", "2026-11-25", 6)
    assert told["units"][2]["path"] == ["Tỉnh An Giang", "Sở Xây dựng"]
    assert [entry["mobile"] for entry in told["units"][2]["entries"]] == ["", "0901", ""]
    assert told["units"][1]["entries"][0]["name"] == EVIL


class Reader(HTMLParser):
    """Sees that every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page(db: Database, town: dict[str, int]) -> None:
    page = public_list.html(read(db)).decode()
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    tags = [tag for tag, _ in reader.seen]
    assert not {"script", "link", "img", "iframe", "form"} & set(tags)
    assert page.count("http") == 1  # http-equiv: nothing is loaded from anywhere
    assert [tag for tag in tags if re.fullmatch(r"h\d", tag)] == ["h1", "h2", "h3", "h3", "h4", "h2"]
    assert EVIL in reader.text and f"Di động: {EVIL}" in reader.text
    ids = [attrs["id"] for _, attrs in reader.seen if "id" in attrs]
    links = [attrs["href"] for tag, attrs in reader.seen if tag == "a"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link and link.startswith("#")} <= set(ids)
    assert "mailto:binh@x.vn" in links and "Di động: 0901" in page and "0900" not in page
    assert '<html lang="vi">' in page and "25/11/2026" in page and "6 địa chỉ" in page
    assert all(attrs.get("scope") for tag, attrs in reader.seen if tag == "th")


def test_the_same_data_give_the_same_bytes(db: Database, town: dict[str, int]) -> None:
    for make in (public_list.csv, public_list.as_json, public_list.html):
        assert make(read(db)) == make(read(db))


def test_a_long_list_is_read_in_portions(db: Database, town: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(db)
    monkeypatch.setattr(public_list, "_TOGETHER", 2)
    assert read(db) == whole
