"""Requests: who may make and decide them, what comes of each item, and that a list is granted whole or not at all."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from congvu.actions import accounts, answers, letters
from congvu.actions import requests as acts
from congvu.actions.requests import Decision, Office
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.db import audit, open_blobs
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, entries, people, profile, requests, units
from congvu.directory.calendar import Calendar
from congvu.directory.credentials import Stored
from congvu.directory.deciding import Choice, Ruling
from congvu.directory.lifecycle import State as Life
from congvu.directory.people import Account
from congvu.directory.people import Kind as Holder
from congvu.directory.requests import (
    Change,
    Doubt,
    HandOver,
    Issue,
    Item,
    Kind,
    Lock,
    Outcome,
    Request,
    Reset,
    Restore,
    Revoke,
    State,
    Transfer,
)
from congvu.directory.roles import Actor, Grant, Role
from congvu.directory.units import Unit

CONFIG = Config(("angiang.gov.vn",), "mail.angiang.gov.vn", profile="angiang_2016")
NINHBINH = Config(("ninhbinh.gov.vn",), "mail.ninhbinh.gov.vn", profile="ninhbinh_2025")
CLOCK = ManualClock()
NOW = CLOCK.now()
TODAY = date(2026, 9, 21)
DAY = "2026-09-20"
SYSTEM = Actor("congvu cli")
CLERK = Actor("vthu@angiang.gov.vn", 20, "192.0.2.1", (Grant(Role.UNIT_ADMIN, 2),))
OPERATOR = Actor("vanhanh@angiang.gov.vn", 10, "192.0.2.2", (Grant(Role.OPERATOR, 1),))
OTHER = Actor("vanhanh2@angiang.gov.vn", 11, "192.0.2.3", (Grant(Role.OPERATOR, 1),))


def after(now: float, count: int) -> date:
    return date(2026, 9, 21) + timedelta(days=count)


def quick(password: Secret) -> Stored:
    return Stored(f"$test${password.reveal()}", None)


def office(config: Config = CONFIG) -> Office:
    return Office(config, Identifiers(CLOCK), after, quick)


@pytest.fixture
def tree(db: Database) -> Database:
    def fill(tx: Tx) -> None:
        for unit in (
            Unit(1, None, "Tỉnh An Giang", "tinh"),
            Unit(2, 1, "Sở Xây dựng", "so"),
            Unit(3, 2, "Văn phòng", "phong"),
            Unit(4, 1, "Sở Y tế", "so"),
            Unit(5, 2, "Phòng cũ", "phong", until="2026-01-01"),
        ):
            units.add(tx, unit)
        for number, name, unit_id in ((10, "Vận Hành", 1), (11, "Vận Hành Hai", 1), (20, "Văn Thư", 2)):
            _person(tx, number, name, unit_id)
        _person(tx, 30, "Lê Văn Tám", 3, "1980-04-25", "CB01")
        _person(tx, 40, "Trần Thị Bê", 4)

    db.write_now(fill)
    return db


def _person(tx: Tx, number: int, name: str, unit_id: int, birth: str = "", file: str = "") -> None:
    local = f"u{number}@angiang.gov.vn"
    people.add(tx, Account(number, Holder.PERSON, Life.ACTIVE, name, unit_id, 0, local))
    addresses.give(tx, number, local, primary=True)
    people.add_persons(tx, [people.Person(number, *people.split_name(name), birth, "", file)])
    people.add_posts(tx, [people.Post(number, unit_id, "Chuyên viên", main=True)])
    entries.put_many(tx, [replace(entries.NOTHING_SAID, account_id=number)])
    entries.renew(tx, [number])
    from congvu.mailstore import mailbox

    mailbox.create_stores(tx, [number], 0, NOW)


def box(tx: Tx, number: int, unit_id: int, address: str) -> None:
    people.add(tx, Account(number, Holder.UNIT, Life.ACTIVE, "Hộp thư", unit_id, 0, address))
    addresses.give(tx, number, address, primary=True)
    entries.put_many(tx, [replace(entries.NOTHING_SAID, account_id=number)])
    entries.renew(tx, [number])
    from congvu.mailstore import mailbox

    mailbox.create_stores(tx, [number], 0, NOW)


def draft(kind: Kind, unit_id: int = 2) -> Request:
    return Request(0, kind, unit_id, "12/SXD-VP", DAY, "Đề nghị cấp mới")


def handed_in(
    db: Database, kind: Kind, *items: Item, by: Actor = CLERK, unit_id: int = 2, config: Config = CONFIG
) -> int:
    number, version = db.write_now(acts.create, by, office(config), draft(kind, unit_id), items, NOW)
    if by is CLERK and kind is not Kind.RESET:
        db.write_now(_signed, number)
    db.write_now(acts.submit, by, office(config), number, version, NOW)
    return number


def _signed(tx: Tx, number: int) -> None:
    tx.run(
        "INSERT INTO blob (hash, size, place, touched) VALUES (?, 1, 'x', 0) ON CONFLICT (hash) DO NOTHING", b"h" * 32
    )
    tx.run("UPDATE request SET file = ? WHERE id = ?", b"h" * 32, number)


def decide(
    db: Database, number: int, decision: Decision, who: Actor = OPERATOR, version: int = 0, config: Config = CONFIG
) -> acts.Decided:
    seen = version or db.read_now(requests.must_get, number).version
    return asyncio.run(acts.decide(db, who, office(config), CLOCK, number, seen, decision))


def items_of(db: Database, number: int) -> list[Item]:
    return db.read_now(lambda tx: requests.items(tx, requests.must_get(tx, number)))


def whole(db: Database) -> None:
    def look(tx: Tx) -> list[str]:
        found = list(accounts.check(tx)) + audit.verify_chain(tx)
        for sentence, sql in requests.NEVER:
            found += [sentence.format(*row) for row in tx.all(sql)]
        return found

    assert db.read_now(look) == []


def refused(code: str, f: object, *args: object, **more: object) -> Refused:
    with pytest.raises(Refused) as failure:
        f(*args, **more)  # type: ignore[operator]
    assert failure.value.code == code, failure.value.facts
    return failure.value


NEW = Item(0, Issue("Nguyễn Thị Huệ", 3, title="Chuyên viên", birth="1990-01-02", mobile="0912345678"))


def test_a_new_person_gets_the_address_of_the_rule(tree: Database) -> None:
    number = handed_in(tree, Kind.ISSUE, NEW)
    decided = decide(tree, number, Decision(True, answer="Đồng ý", reply_number="5/TL"))
    assert decided.state is State.GRANTED and len(decided.handed) == 1
    (item,) = items_of(tree, number)
    assert item.outcome is Outcome.GRANTED and item.account_id and item.remark.startswith("2.15")

    def look(tx: Tx) -> None:
        account = people.get(tx, item.account_id or 0)
        assert account and account.address == "nthue@angiang.gov.vn" and account.unit_id == 3
        assert tx.one("SELECT must_change FROM credential WHERE account_id = ?", account.id) == (1,)
        assert people.posts(tx, account.id)[0].title == "Chuyên viên"
        contact = entries.contact(tx, account.id)
        assert contact and contact.mobile == "0912345678"
        row = audit.recent(tx, act="request.decide")[0]
        assert str(number) in row.facts and row.who == OPERATOR.name
        assert decided.handed[0].password.reveal() not in "".join(r.facts for r in audit.recent(tx))

    tree.read_now(look)
    whole(tree)


def test_a_list_is_granted_whole_or_not_at_all(tree: Database) -> None:
    bad = replace(NEW, facts=Issue("Phạm Văn Cường", 5))
    number = handed_in(tree, Kind.ISSUE, NEW, bad)
    assert refused("request-items-bad", decide, tree, number, Decision(True)).facts["lines"] == "2"
    assert tree.read_now(requests.must_get, number).state is State.SUBMITTED
    assert all(item.outcome is Outcome.OPEN for item in items_of(tree, number))
    decided = decide(tree, number, Decision(True, partly=True))
    assert decided.state is State.PARTLY
    assert "Phòng cũ" in items_of(tree, number)[1].remark
    whole(tree)


def test_two_who_decide_at_once(tree: Database) -> None:
    number = handed_in(tree, Kind.ISSUE, NEW)
    version = tree.read_now(requests.must_get, number).version

    async def both() -> list[object]:
        return await asyncio.gather(
            *(acts.decide(tree, who, office(), CLOCK, number, version, Decision(True)) for who in (OPERATOR, OTHER)),
            return_exceptions=True,
        )

    results = asyncio.run(both())
    won = [r for r in results if isinstance(r, acts.Decided)]
    lost = [r for r in results if isinstance(r, Refused)]
    assert len(won) == len(lost) == 1
    winner = (OPERATOR, OTHER)[results.index(won[0])]
    assert lost[0].code == "request-decided" and lost[0].facts["by"] == winner.name
    whole(tree)


def test_who_saw_an_older_version_is_told(tree: Database) -> None:
    number, version = tree.write_now(acts.create, CLERK, office(), draft(Kind.ISSUE), [NEW], NOW)
    newer = tree.write_now(acts.add_items, CLERK, office(), number, version, [NEW], NOW)
    assert newer == version + 1
    refused("request-changed", tree.write_now, acts.add_items, CLERK, office(), number, version, [NEW], NOW)
    assert tree.read_now(requests.must_get, number).version == newer  # a refusal changes nothing


def test_rights(tree: Database) -> None:
    stranger = Actor("x", 40, "", (Grant(Role.UNIT_ADMIN, 4),))
    refused("not-allowed", tree.write_now, acts.create, stranger, office(), draft(Kind.ISSUE), [NEW], NOW)
    number = handed_in(tree, Kind.ISSUE, NEW)
    refused("not-allowed", decide, tree, number, Decision(True), CLERK)
    refused("not-allowed", tree.read_now, acts.show, stranger, number)
    assert tree.read_now(acts.listed, stranger) == []
    assert [r.id for r, _ in tree.read_now(acts.listed, CLERK)] == [number]
    own = handed_in(tree, Kind.ISSUE, replace(NEW, facts=Issue("Ai Đó", 2)), by=OPERATOR)
    refused("request-own", decide, tree, own, Decision(True), OPERATOR)
    assert decide(tree, own, Decision(True), OTHER).state is State.GRANTED


def test_a_request_needs_its_signed_letter(tree: Database, tmp_path: object) -> None:
    number, version = tree.write_now(acts.create, CLERK, office(), draft(Kind.ISSUE), [NEW], NOW)
    refused("request-needs-file", tree.write_now, acts.submit, CLERK, office(), number, version, NOW)
    keeper = open_blobs("file:blobs", data=tmp_path, worker="t")

    async def attach(data: bytes) -> int:
        return await acts.attach(tree, keeper, CLERK, office(), number, version, "C:\\vb\\12.pdf", data, NOW)

    for data, code in ((b"MZ\x90", "paper-kind"), (b"%PDF-" + b"x" * acts.MAX_FILE, "paper-too-large")):
        with pytest.raises(Refused) as failure:
            asyncio.run(attach(data))
        assert failure.value.code == code
    version = asyncio.run(attach(b"%PDF-1.7 ..."))
    tree.write_now(acts.submit, CLERK, office(), number, version, NOW)
    shown = tree.read_now(acts.show, CLERK, number)
    assert shown.request.file_name == "12.pdf" and shown.request.state is State.SUBMITTED and len(shown.papers) == 1
    assert tree.read_now(lambda tx: list(requests.contents(tx))) == [shown.request.file]
    whole(tree)
    keeper.close()


def test_doubts_wait_for_a_person(tree: Database) -> None:
    same = Item(0, Issue("Lê Văn Tám", 2, birth="1980-04-25"))
    file = Item(0, Issue("Lê Văn Tám", 3, number="CB01"))
    mate = Item(0, Issue("LÊ VĂN TÁM", 3))
    odd = replace(NEW, doubts=(Doubt("sheet-no-marks", {"text": "x"}),))
    number = handed_in(tree, Kind.ISSUE, same, file, mate, odd)
    verdicts = tree.read_now(acts.preview, OPERATOR, office(), number, {}, NOW)
    assert [v.ruling for v in verdicts] == [Ruling.DOUBT, Ruling.REFUSE, Ruling.DOUBT, Ruling.DOUBT]
    assert [[reason.code for reason in v.reasons] for v in verdicts] == [
        ["request-maybe-birth"],
        ["request-has-address"],
        ["request-maybe-twice", "request-maybe-unit"],
        ["sheet-no-marks"],
    ]
    choices = {
        1: Choice(confirm=True),
        3: Choice(refuse="trùng"),
        4: Choice(confirm=True, address="hue.xd@angiang.gov.vn"),
    }
    decided = decide(tree, number, Decision(True, choices, partly=True))
    assert decided.progress.granted == 2 and decided.progress.refused == 2
    done = items_of(tree, number)
    assert people_address(tree, done[3]) == "hue.xd@angiang.gov.vn"
    assert "trùng" in done[2].remark
    whole(tree)


def people_address(db: Database, item: Item) -> str:
    account = db.read_now(people.get, item.account_id or 0)
    return account.address if account else ""


def test_addresses_of_one_list_do_not_collide(tree: Database) -> None:
    some = [replace(NEW, facts=Issue("Lê Văn An", 3, number=f"A{n}")) for n in range(12)]
    number = handed_in(tree, Kind.ISSUE, *some)
    decide(tree, number, Decision(True))
    got = [people_address(tree, item).partition("@")[0] for item in items_of(tree, number)]
    assert got == ["lvan", *(f"lvan{n:02}" for n in range(2, 13))]
    whole(tree)


def test_states(tree: Database) -> None:
    def about(account: int, facts: requests.Facts) -> Item:
        return Item(0, facts, account)

    def life(account: int) -> Life:
        found = tree.read_now(people.get, account)
        assert found
        return found.state

    refused(
        "request-items-bad", decide, tree, handed_in(tree, Kind.RESTORE, about(30, Restore())), Decision(True)
    )  # not locked
    decide(tree, handed_in(tree, Kind.LOCK, about(30, Lock("retired"))), Decision(True))
    assert life(30) is Life.LOCKED
    assert tree.read_now(lambda tx: tx.one("SELECT reason FROM account WHERE id = 30")) == ("left",)  # row 4.8
    decided = decide(tree, handed_in(tree, Kind.RESTORE, about(30, Restore())), Decision(True))
    assert life(30) is Life.ACTIVE and len(decided.handed) == 1  # row 4.11
    decide(tree, handed_in(tree, Kind.RESET, about(30, Reset())), Decision(True))
    decide(tree, handed_in(tree, Kind.REVOKE, about(30, Revoke("left"))), Decision(True))
    assert life(30) is Life.REVOKED
    number = handed_in(tree, Kind.LOCK, about(40, Lock()), about(30, Lock()))
    assert decide(tree, number, Decision(True, partly=True)).state is State.REFUSED  # another agency's; revoked
    number = handed_in(tree, Kind.LOCK, about(20, Lock()), about(20, Lock()))
    assert decide(tree, number, Decision(True, partly=True)).state is State.PARTLY  # the same person twice
    whole(tree)


def test_a_late_request_is_told(tree: Database) -> None:
    config = replace(CONFIG, profile="bacninh_2025")  # row 3.11: fifteen days
    number = handed_in(tree, Kind.REVOKE, Item(0, Revoke("retired", "2026-08-01"), 30), config=config)
    (item,) = items_of(tree, number)
    assert "01/08/2026" in item.remark and item.outcome is Outcome.OPEN
    decide(tree, number, Decision(True), config=config)
    assert items_of(tree, number)[0].remark == item.remark
    number = handed_in(tree, Kind.REVOKE, Item(0, Revoke("retired", "2026-09-19"), 20), config=config)
    assert items_of(tree, number)[0].remark == ""


def test_nobody_decides_about_himself(tree: Database) -> None:
    number = handed_in(tree, Kind.RESET, Item(0, Reset(), 10), by=OTHER, unit_id=1)
    assert refused("request-items-bad", decide, tree, number, Decision(True)).facts["lines"] == "1"


def test_a_change_keeps_the_old_address(tree: Database) -> None:
    change = Change(name="Lê Văn Chín", title="Trưởng phòng", mobile="0987654321", address="lvchin@angiang.gov.vn")
    number = handed_in(tree, Kind.CHANGE, Item(0, change, 30))
    decide(tree, number, Decision(True))

    def look(tx: Tx) -> None:
        assert addresses.of_account(tx, 30) == ("lvchin@angiang.gov.vn", "u30@angiang.gov.vn")
        account = people.get(tx, 30)
        assert account and account.name == "Lê Văn Chín"
        assert people.posts(tx, 30)[0].title == "Trưởng phòng"

    tree.read_now(look)
    whole(tree)


def test_the_receiving_agency_asks_for_a_transfer(tree: Database) -> None:
    number = handed_in(tree, Kind.TRANSFER, Item(0, Transfer(3, "Chuyên viên"), 40))
    decide(tree, number, Decision(True))
    account = tree.read_now(people.get, 40)
    assert account and account.unit_id == 3 and account.address == "u40@angiang.gov.vn"  # row 3.7
    near = Actor("duyet", 11, "", (Grant(Role.APPROVER, 2),))
    number = handed_in(tree, Kind.TRANSFER, Item(0, Transfer(3), 10))
    verdict = tree.read_now(acts.preview, near, office(), number, {}, NOW)[0]
    assert [r.code for r in verdict.reasons] == ["request-other-operator"]
    whole(tree)


def test_where_the_agency_stands_in_the_address_a_transfer_changes_it(tree: Database) -> None:
    tree.write_now(box, 50, 2, "sxd@ninhbinh.gov.vn")
    number = handed_in(tree, Kind.TRANSFER, Item(0, Transfer(3), 40), config=NINHBINH)
    decide(tree, number, Decision(True), config=NINHBINH)
    found = tree.read_now(addresses.of_account, 40)
    assert found == ("bett.sxd@ninhbinh.gov.vn", "u40@angiang.gov.vn")
    whole(tree)


def test_a_unit_has_one_box(tree: Database) -> None:
    new = Item(0, Issue("Sở Xây dựng", 2, holder="unit"))
    number = handed_in(tree, Kind.ISSUE, new)
    decide(tree, number, Decision(True))
    assert people_address(tree, items_of(tree, number)[0]) == "soxaydung@angiang.gov.vn"
    again = handed_in(tree, Kind.ISSUE, new)
    verdict = tree.read_now(acts.preview, OPERATOR, office(), again, {}, NOW)[0]
    assert verdict.reasons[0].code == "request-has-box"
    whole(tree)


def test_hand_over(tree: Database) -> None:
    tree.write_now(box, 50, 2, "soxaydung@angiang.gov.vn")
    number = handed_in(tree, Kind.HAND_OVER, Item(0, HandOver(30, 20), 50))
    decided = decide(tree, number, Decision(True))
    assert decided.handed[0].account_id == 50
    duty = tree.read_now(people.duty, 50)
    assert duty and (duty.clerk_id, duty.head_id) == (30, 20)
    (sheet,) = tree.read_now(answers.sealed, number, decided.handed)
    assert (sheet.name, sheet.address) == ("Lê Văn Tám", "soxaydung@angiang.gov.vn")
    again = handed_in(tree, Kind.HAND_OVER, Item(0, HandOver(20), 50))
    decide(tree, again, Decision(True))
    agency, (minutes,) = tree.read_now(answers.handed_over, OPERATOR, again)
    assert (minutes.old_clerk, minutes.new_clerk, minutes.head) == ("Lê Văn Tám", "Văn Thư", "Văn Thư")
    assert agency == "Sở Xây dựng" and letters.minutes(letters.Letterhead(agency), agency, [minutes, minutes])
    number = handed_in(tree, Kind.HAND_OVER, Item(0, HandOver(50), 30))
    verdict = tree.read_now(acts.preview, OPERATOR, office(), number, {}, NOW)[0]
    assert [r.code for r in verdict.reasons] == ["request-not-a-box", "request-not-a-clerk"]
    whole(tree)


def test_a_long_list_goes_in_portions_and_on_after_a_crash(tree: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "_AT_ONCE", 4)
    some = [replace(NEW, facts=Issue("Lê Văn An", 3, number=f"A{n}")) for n in range(10)]
    number = handed_in(tree, Kind.ISSUE, *some, replace(NEW, facts=Issue("Phạm Văn Cường", 5)))
    refused("request-items-bad", decide, tree, number, Decision(True))
    portions = 0

    class Crash(Exception):
        pass

    def crash(done: int, total: int) -> None:
        nonlocal portions
        portions += 1
        if portions == 2:
            raise Crash

    version = tree.read_now(requests.must_get, number).version
    with pytest.raises(Crash):
        asyncio.run(acts.decide(tree, OPERATOR, office(), CLOCK, number, version, Decision(True, partly=True), crash))
    whole(tree)
    shown = tree.read_now(acts.show, OPERATOR, number)
    assert shown.request.state is State.RUNNING and shown.progress.granted == 8
    refused("request-decided", decide, tree, number, Decision(True))
    decided = asyncio.run(acts.carry_on(tree, OPERATOR, office(), CLOCK, number))
    assert decided.state is State.PARTLY and decided.progress.granted == 10 and len(decided.handed) == 2
    sheets = asyncio.run(acts.sheets_anew(tree, OPERATOR, office(), CLOCK, number))
    assert len(sheets) == 10  # nobody has set a password yet
    assert len({people_address(tree, i) for i in items_of(tree, number)[:10]}) == 10
    whole(tree)


def test_overdue(tree: Database) -> None:
    number = handed_in(tree, Kind.ISSUE, NEW)
    tree.write_now(lambda tx: tx.run("UPDATE request SET due = '2026-09-24' WHERE id = ?", number))
    assert tree.read_now(acts.overdue, OPERATOR, date(2026, 9, 24)) == []
    assert [r.id for r in tree.read_now(acts.overdue, OPERATOR, date(2026, 9, 25))] == [number]
    decide(tree, number, Decision(False, answer="Không đủ hồ sơ"))
    assert tree.read_now(acts.overdue, OPERATOR, date(2026, 9, 25)) == []
    assert tree.read_now(requests.must_get, number).state is State.REFUSED
    whole(tree)


@pytest.mark.parametrize(
    ("moment", "kind", "due"),
    [
        (datetime(2026, 2, 13, 3, tzinfo=UTC), Kind.ISSUE, "2026-02-25"),  # three working days over Tết
        (datetime(2026, 4, 23, 3, tzinfo=UTC), Kind.ISSUE, "2026-04-29"),  # Giỗ Tổ and its day in lieu
        (datetime(2026, 11, 20, 3, tzinfo=UTC), Kind.ISSUE, "2026-11-26"),  # a weekend, Ngày Văn hóa (24/11)
        (datetime(2026, 11, 20, 12, tzinfo=UTC), Kind.ISSUE, "2026-11-27"),  # Friday evening counts as Monday
        (datetime(2026, 11, 20, 3, tzinfo=UTC), Kind.RESET, "2026-11-20"),  # two hours
    ],
)
def test_due_dates_count_working_days(moment: datetime, kind: Kind, due: str) -> None:
    rules = profile.load("ninhbinh_2025")  # row 3.4: three days
    assert requests.due(rules, kind, moment.timestamp(), Calendar().due) == due


def test_withdrawn_is_not_decided(tree: Database) -> None:
    number = handed_in(tree, Kind.ISSUE, NEW)
    version = tree.read_now(requests.must_get, number).version
    tree.write_now(acts.withdraw, CLERK, number, version, "nhầm", NOW)
    refused("request-state", decide, tree, number, Decision(True))


def test_facts_are_typed() -> None:
    assert requests.facts_from(Kind.ISSUE, {"name": "An", "unit_id": 3}) == Issue("An", 3)
    for table in (
        {"name": "An"},
        {"name": "An", "unit_id": "3"},
        {"name": "An", "unit_id": 3, "x": 1},
        [],
        {"name": "A", "unit_id": True},
    ):
        refused("request-facts", requests.facts_from, Kind.ISSUE, table)
    item = Item(4, Issue("An", 3, birth="1990-01-02"), None, (Doubt("sheet-phone", {"text": "1"}),), "a@x.vn", True)
    again = requests.unpacked(Kind.ISSUE, 4, None, requests.packed(item), "", "")
    assert again == item


def test_papers_of_a_request(tree: Database) -> None:
    number = handed_in(tree, Kind.ISSUE, NEW)
    decided = decide(tree, number, Decision(True, answer="Đồng ý"))
    request, agency, lines = tree.read_now(answers.answered, OPERATOR, number)
    head = letters.Letterhead("Sở Khoa học và Công nghệ", day=TODAY)
    reply = letters.reply(head, request, agency, lines, "https://mail.angiang.gov.vn")
    sheets = letters.password_sheets(head, tree.read_now(answers.sealed, number, decided.handed), "https://m")
    from congvu.codec import zipped

    def body(data: bytes) -> str:
        return b"".join(zipped.pieces(data, zipped.parts(data)["word/document.xml"], 1 << 20)).decode()

    secret = decided.handed[0].password.reveal()
    from xml.sax.saxutils import escape

    assert escape(secret) in body(sheets) and escape(secret) not in body(reply)
    assert "nthue@angiang.gov.vn" in body(reply) and "ngày 20 tháng 9 năm 2026" in body(reply)
