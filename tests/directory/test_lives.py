"""Acts on the life of an account and the work of the clock, on each engine."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from congvu.actions import accounts, daily, lifecycle
from congvu.actions.accounts import Doors, NewAccount
from congvu.actions.proofs import Proofs
from congvu.base.clock import Identifiers, ManualClock, day_of
from congvu.base.config import Config, TlsSettings
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret
from congvu.codec import mime
from congvu.db import audit
from congvu.db.blobs import Blob
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, credentials, entries, people, profile, roles, units
from congvu.directory.credentials import Stored
from congvu.directory.lifecycle import State
from congvu.directory.people import Kind
from congvu.directory.regulation import Regulation
from congvu.directory.roles import Actor, Grant, Role
from congvu.directory.units import Unit
from congvu.mailstore import check as mailstore
from congvu.mailstore import mailbox, message, rights
from congvu.mailstore.message import NewLetter, Target

RULES = profile.load("dongthap_2025")
SYSTEM = Actor("máy chủ")
NOW = datetime(2026, 3, 2, 3, tzinfo=UTC).timestamp()  # ten in the morning of a Monday in Vietnam
DAY = 86_400.0
PASSWORD = "Sông-Hậu-mênh-mông-2026"
QUICK = Stored("{SSHA}" + "x" * 8, None)  # a hash that nobody's password fits


@dataclass
class Office:
    """A sở with a unit, its people and their roles."""

    db: Database
    config: Config
    ids: Identifiers
    rules: Regulation
    clock: ManualClock

    def add(self, local: str, unit: int | None = 2, kind: Kind = Kind.PERSON, secret: Stored | None = QUICK) -> int:
        new = NewAccount(f"{local}@xa.test", f"Tên {local}", secret, kind, unit)
        return self.db.write_now(accounts.add_account, "test", new, RULES, self.ids, NOW)

    def actor(self, local: str, role: Role, unit: int) -> Actor:
        number = self.add(local, unit)
        self.db.write_now(roles.assign, number, Grant(role, unit))
        return self.db.read_now(roles.actor, number, f"{local}@xa.test", "10.0.0.1", day_of(NOW))

    def state(self, number: int) -> tuple[State, str, int]:
        row = self.db.read_now(lambda tx: tx.one("SELECT state, reason, since FROM account WHERE id = ?", number))
        assert row is not None
        return State(row[0]), row[1], row[2]

    def epoch(self, number: int) -> int:
        row = self.db.read_now(lambda tx: tx.one("SELECT epoch FROM account WHERE id = ?", number))
        assert row is not None
        return int(row[0])

    def request(self, number: int, kind: str = "restore", decided: int = 0) -> int:
        def put(tx: Tx) -> int:
            request = self.ids.draw()
            tx.run(
                "INSERT INTO request (id, kind, state, unit_id, number, dated, summary, basis, file, file_name,"
                " created, created_by, due, decided, decided_by, answer, reply_number, version)"
                " VALUES (?, ?, 'sent', 2, '12/CV', '2026-03-01', '', '', NULL, '', 0, '', '', ?, '', '', '', 1)",
                *(request, kind, decided),
            )
            tx.run(
                "INSERT INTO request_item (request_id, line, account_id, facts, outcome, remark)"
                " VALUES (?, 1, ?, '{}', '', '')",
                *(request, number),
            )
            return request

        return self.db.write_now(put)

    def put(self, number: int, count: int = 1, name: str = "INBOX") -> None:
        def keep(tx: Tx) -> None:
            box = mailbox.find(tx, number, name) or mailbox.create(tx, number, name, NOW)
            for _ in range(count):
                raw = b"Message-ID: <%d@x>\r\nSubject: Bien ban\r\n\r\nHop so %d\r\n" % ((self.ids.draw(),) * 2)
                letter = self.ids.draw()
                blob = Blob(letter.to_bytes(32, "big"), len(raw), "nowhere")
                new = NewLetter(letter, blob, b"", mime.scan(raw))
                message.keep_letter(tx, new, NOW)
                message.place(tx, new, [Target(number, box.id, 0)], NOW, NOW)

        self.db.write_now(keep)

    def day(self, now: float) -> list[str]:
        told = daily.run(self.db, self.rules, now)
        return [f"{n.code.removeprefix('notice-')} {n.facts.get('address', '')}".strip() for n in told]

    def findings(self) -> list[str]:
        def find(tx: Tx) -> list[str]:
            return [*accounts.check(tx), *mailstore.check(tx), *audit.verify_chain(tx)]

        return self.db.read_now(find)

    def acts(self) -> list[tuple[str, str]]:
        return [(row.act, row.who) for row in self.db.read_now(audit.recent)]


@pytest.fixture
def office(db: Database, tmp_path: Path) -> Iterator[Office]:
    clock = ManualClock(NOW)
    config = Config(("xa.test",), "mail.xa.test", tls=TlsSettings(tmp_path / "c", tmp_path / "k"))
    for unit in (Unit(1, None, "Tỉnh", "tinh"), Unit(2, 1, "Sở Y tế", "so"), Unit(3, 1, "Sở Tư pháp", "so")):
        db.write_now(units.add, unit)
    made = Office(db, config, Identifiers(clock), Regulation(RULES), clock)
    yield made
    assert made.findings() == []


def refused(code: str) -> object:
    return pytest.raises(Refused, match=f"^{code}$")


# ---- acts


def test_lock_restore_revoke(office: Office) -> None:
    operator = office.actor("vanhanh", Role.OPERATOR, 1)
    admin = office.actor("quantri", Role.UNIT_ADMIN, 2)
    other = office.actor("tuphap", Role.UNIT_ADMIN, 3)
    an, write = office.add("an"), office.db.write_now
    before = office.epoch(an)
    with refused("not-allowed"):
        write(lifecycle.lock, other, an, "manual", "", NOW)  # another's subtree
    with refused("case-missing"):
        write(lifecycle.lock, admin, an, "seized", "", NOW)
    write(lifecycle.lock, admin, an, "left", "QĐ 5/2026", NOW)
    assert office.state(an) == (State.LOCKED, "left", int(NOW)) and office.epoch(an) > before
    with refused("no-such-step"):
        write(lifecycle.lock, admin, an, "left", "", NOW)
    asked = office.request(an)
    with refused("not-allowed"):
        write(lifecycle.restore, admin, an, QUICK, NOW, asked)  # row 4.12: locks, does not restore
    with refused("request-missing"):
        write(lifecycle.restore, operator, an, QUICK, NOW, 0, "điện thoại")
    with refused("no-such-request"):
        write(lifecycle.restore, operator, an, QUICK, NOW, office.request(office.add("binh")))
    new = replace(QUICK, hash="{SSHA}" + "y" * 8)
    write(lifecycle.restore, operator, an, new, NOW + 5, asked)
    assert office.state(an) == (State.ACTIVE, "", int(NOW + 5))
    assert office.db.read_now(credentials.get, an) == replace(new, must_change=1)
    with refused("request-missing"):
        write(lifecycle.revoke, operator, an, "left", "", NOW)
    with refused("no-such-reason"):
        write(lifecycle.revoke, operator, an, "burst", "", NOW, asked)
    write(lifecycle.revoke, operator, an, "left", "", NOW + 9, asked)
    assert office.state(an)[:2] == (State.REVOKED, "left")
    with refused("no-such-step"):
        write(lifecycle.restore, operator, an, QUICK, NOW, asked)
    facts = office.db.read_now(audit.recent, act="account.restore")[0]
    assert facts.who == "vanhanh@xa.test"
    for fact in (f'"request":{asked}', '"from":"10.0.0.1"', '"was":"locked"', f'"on":{an}'):
        assert fact in facts.facts


def test_the_machine_names_a_letter_instead_of_a_request(office: Office) -> None:
    an = office.add("an")
    office.db.write_now(lifecycle.lock, SYSTEM, an, "manual", "", NOW)
    with refused("request-missing"):
        office.db.write_now(lifecycle.restore, SYSTEM, an, QUICK, NOW)
    office.db.write_now(lifecycle.restore, SYSTEM, an, QUICK, NOW, 0, "CV 12/SYT")
    assert office.state(an)[0] is State.ACTIVE


def test_reset_and_leave(office: Office) -> None:
    admin = office.actor("quantri", Role.UNIT_ADMIN, 2)
    an = office.add("an")
    before = office.epoch(an)
    office.db.write_now(lifecycle.reset_password, admin, an, QUICK, NOW)
    stored = office.db.read_now(credentials.get, an)
    assert stored is not None and stored.must_change == 1 and office.epoch(an) > before
    with refused("not-on-oneself"):
        office.db.write_now(lifecycle.reset_password, admin, admin.account_id or 0, QUICK, NOW)
    office.db.write_now(lifecycle.set_leave, admin, an, "2026-12-31", "thai sản", NOW)
    with refused("bad-day"):
        office.db.write_now(lifecycle.set_leave, admin, an, "31/12/2026", "", NOW)
    assert dict(office.db.read_now(lifecycle.told, an))["away"] == "2026-12-31"


def test_hand_over(office: Office) -> None:
    operator = office.actor("vanhanh", Role.OPERATOR, 1)
    box = office.add("soyte", kind=Kind.ORGANISATION)
    old, new = office.add("cu"), office.add("moi")
    write = office.db.write_now
    office.put(box, 3)
    write(lifecycle.hand_over, SYSTEM, box, old, QUICK, NOW, 0, "QĐ 1")
    write(rights.put, box, 1, old, "lrs")
    before = office.epoch(box)
    with refused("not-a-box"):
        write(lifecycle.hand_over, SYSTEM, old, new, QUICK, NOW, 0, "QĐ 2")
    with refused("no-such-clerk"):
        write(lifecycle.hand_over, SYSTEM, box, box, QUICK, NOW, 0, "QĐ 2")
    asked = office.request(box, "handover")
    minutes = write(lifecycle.hand_over, operator, box, new, QUICK, NOW, asked, "QĐ 2/2026")
    assert office.epoch(box) > before
    assert office.db.read_now(rights.entries, box, 1) == {new: "lrs"}
    duty = office.db.read_now(people.duty, box)
    assert duty is not None and duty.clerk_id == new
    assert (minutes.gives.address, minutes.takes.address, minutes.letters) == ("cu@xa.test", "moi@xa.test", 3)
    text = minutes.text()
    assert "Ngày 2 tháng 3 năm 2026" in text and "3 thư" in text and "Sở Y tế" in text
    assert "Tên cu (cu@xa.test)" in text and f"phiếu yêu cầu số {asked}; QĐ 2/2026" in text


def test_an_emergency_needs_two(office: Office) -> None:
    one, two = office.actor("mot", Role.OPERATOR, 1), office.actor("hai", Role.OPERATOR, 1)
    admin = office.actor("quantri", Role.UNIT_ADMIN, 2)
    an, binh = office.add("an"), office.add("binh")
    seize = lifecycle.seize
    for second, code in ((None, "second-person-missing"), (one, "second-person-missing"), (admin, "not-allowed"),
                         (SYSTEM, "second-person-missing")):  # fmt: skip
        with refused(code):
            office.db.write_now(seize, one, second, office.rules, an, "vụ 7", NOW)
    with refused("case-missing"):
        office.db.write_now(seize, one, two, office.rules, an, "", NOW)
    office.db.write_now(seize, one, two, office.rules, an, "vụ 7", NOW)
    assert office.state(an)[:2] == (State.REVOKED, "emergency")
    assert office.day(NOW + 400 * DAY)[:1] != ["purged an@xa.test"]  # it is held for the inquiry
    assert office.state(an)[0] is State.REVOKED
    office.db.write_now(seize, one, two, office.rules, binh, "vụ 8", NOW, destroy=True)
    assert "purged binh@xa.test" in office.day(NOW + 60)
    assert office.state(binh)[0] is State.PURGED


# ---- the clock


def test_a_day_of_the_clock(office: Office) -> None:
    for name in ("moi", "cu", "dihoc", "doi"):
        office.add(name, secret=replace(QUICK, must_change=int(name == "moi")))
    office.db.write_now(lifecycle.set_leave, SYSTEM, lifecycle_number(office, "dihoc"), "2026-12-31", "", NOW)
    assert office.day(NOW) == []
    assert office.day(NOW + 5 * DAY) == ["locked-list"]  # Đồng Tháp: five days for the first password
    assert office.state(lifecycle_number(office, "moi"))[:2] == (State.LOCKED, "default-password")
    office.db.write_now(daily_seen, [lifecycle_number(office, "doi")], NOW + 40 * DAY)
    assert office.day(NOW + 44 * DAY) == ["revoked moi@xa.test"]  # thirty days locked
    assert office.day(NOW + 45 * DAY) == []  # told once in three months, and nobody was locked for the list
    assert office.state(lifecycle_number(office, "cu"))[:2] == (State.LOCKED, "inactive")
    assert office.state(lifecycle_number(office, "doi"))[0] is State.ACTIVE
    assert office.state(lifecycle_number(office, "dihoc"))[0] is State.ACTIVE
    assert office.day(NOW + 45 * DAY) == []  # once more: nothing


def lifecycle_number(office: Office, local: str) -> int:
    return office.db.read_now(accounts.must_hold, f"{local}@xa.test").account_id


def daily_seen(tx: Tx, numbers: list[int], now: float) -> None:
    from congvu.actions.presence import note_seen
    from congvu.directory.lifecycle import day_number

    note_seen(tx, numbers, day_number(day_of(now)))


def test_who_asked_to_be_restored_is_not_revoked(office: Office) -> None:
    an = office.add("an")
    office.db.write_now(lifecycle.lock, SYSTEM, an, "manual", "", NOW)
    office.request(an)
    office.day(NOW + 100 * DAY)
    assert office.state(an)[0] is State.LOCKED


def test_units_have_rules_of_their_own(office: Office) -> None:
    office.db.write_now(lambda tx: tx.run("UPDATE unit SET profile = 'nghean_2025' WHERE id = 3"))
    office.db.write_now(units.add, Unit(4, 3, "Phòng", "phong"))
    mine, theirs = office.add("an", 2), office.add("binh", 4)
    for number in (mine, theirs):
        office.db.write_now(lifecycle.lock, SYSTEM, number, "manual", "", NOW)
    office.day(NOW + 31 * DAY)
    assert office.state(mine)[0] is State.REVOKED and office.state(theirs)[0] is State.LOCKED
    office.day(NOW + 190 * DAY)  # Nghệ An: six months, then deleted …
    assert office.state(theirs)[0] is State.REVOKED
    office.day(NOW + 190 * DAY)  # … with the next run, without a grace
    assert office.state(theirs)[0] is State.PURGED
    office.db.write_now(lambda tx: tx.run("UPDATE unit SET profile = 'khong-co' WHERE id = 3"))
    assert office.db.read_now(Regulation(RULES).of_account, theirs) is RULES


def test_a_purge_leaves_nothing_and_can_be_cut_anywhere(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    an, binh = office.add("an"), office.add("binh")
    office.put(an, 25)
    office.put(an, 5, "Kho/2025")
    office.put(binh, 2)
    office.db.write_now(rights.put, an, 1, binh, "lr")
    office.db.write_now(rights.put, binh, 1, an, "lr")
    office.db.write_now(people.set_duty, people.Duty(office.add("hop", kind=Kind.UNIT), an, an, 0))
    office.db.write_now(addresses.give, an, "anh@xa.test", False)
    office.db.write_now(entries.renew, [an])
    office.db.write_now(lifecycle.revoke, SYSTEM, an, "left", "QĐ 9", NOW)
    monkeypatch.setattr(daily, "PORTION", 10)

    class Cut(Exception):
        pass

    stages = []

    def cut(name: str) -> None:
        stages.append(name)
        assert office.findings() == []
        if name != "daily-kept" or stages.count(name) == 1:  # each run comes by there before it goes on
            raise Cut

    late = NOW + 93 * DAY
    monkeypatch.setattr(daily, "step", cut)
    told: list[str] = []
    for _ in range(20):  # a crash after each step
        try:
            told += office.day(late)
            break
        except Cut:
            continue
    assert stages.count("daily-portion") == 4 and "daily-purged" in stages and "daily-swept" in stages
    assert office.state(an)[0] is State.PURGED
    left = {}
    for table in ("message", "mailbox", "store", "change", "thread_key", "acl", "share", "seen", "metadata",
                  "credential", "entry", "person", "text_cursor", "text_doc", "activity", "role"):  # fmt: skip
        count = office.db.read_now(lambda tx, t=table: tx.one(f"SELECT count(*) FROM {t} WHERE account_id = ?", an))
        left[table] = count[0] if count else 0
    assert not any(left.values()), left
    assert office.db.read_now(rights.entries, binh, 1) == {}
    assert office.db.read_now(mailbox.quota, binh).messages == 2
    assert office.db.read_now(addresses.holder, "an@xa.test") is None
    taken = office.db.read_now(addresses.taken, ["an@xa.test", "anh@xa.test"])
    assert set(taken) == {"an@xa.test", "anh@xa.test"}  # they rest
    with refused("address-taken"):
        office.add("an")
    accounts_furnished(office)
    office.day(late + 731 * DAY)
    office.add("an")
    assert ("account.purge", "congvu daily") in office.acts()


def accounts_furnished(office: Office) -> None:
    """What a start does again must not bring a purged account's rows back."""
    office.db.write_now(accounts.furnish, office.config, RULES, office.ids, NOW)


def test_a_hold_stops_a_deletion(office: Office) -> None:
    an = office.add("an")
    office.put(an, 3)
    office.db.write_now(lifecycle.revoke, SYSTEM, an, "left", "QĐ 9", NOW)
    office.db.write_now(lifecycle.hold, SYSTEM, an, True, "vụ 3", NOW)
    with refused("account-on-hold"):
        office.db.write_now(lifecycle.purge, SYSTEM, office.rules, an, NOW)
    office.day(NOW + 200 * DAY)
    assert office.db.read_now(mailbox.quota, an).messages == 3
    office.db.write_now(lifecycle.hold, SYSTEM, an, False, "vụ 3 xong", NOW)
    assert "purged an@xa.test" in office.day(NOW + 200 * DAY)


def test_old_addresses_end_rest_and_are_freed(office: Office) -> None:
    an = office.add("an", secret=None)
    office.db.write_now(addresses.rename, an, "anmoi@xa.test", "2026-06-01")
    office.db.write_now(entries.renew, [an])
    assert office.day(NOW) == []
    june = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    assert office.day(june) == ["aliases-ended an@xa.test"]
    assert office.db.read_now(addresses.holder, "an@xa.test") is None
    assert office.day(june + 729 * DAY) == [] and office.db.read_now(addresses.taken, ["an@xa.test"])
    office.day(june + 731 * DAY)
    assert not office.db.read_now(addresses.taken, ["an@xa.test"])


def test_passwords_grow_old(office: Office) -> None:
    office.rules = Regulation(profile.load("nghean_2025"))
    an = office.add("an")
    office.db.write_now(lambda tx: tx.run("UPDATE account SET away = '2030-01-01'"))
    assert office.day(NOW + 78 * DAY) == ["password-soon an@xa.test"]
    before = office.epoch(an)
    assert office.day(NOW + 92 * DAY) == ["password-too-old an@xa.test"]
    stored = office.db.read_now(credentials.get, an)
    assert stored is not None and stored.must_change == 2 and office.epoch(an) > before
    assert office.day(NOW + 93 * DAY) == []


def test_one_at_a_time_and_once_a_day(office: Office) -> None:
    today = date(2026, 3, 2)
    claim = office.db.write_now
    assert claim(daily.claim, today, NOW)
    assert not claim(daily.claim, today, NOW + 60)
    assert claim(daily.claim, today, NOW + 3601)  # who had it was killed
    claim(daily.done, today)
    assert not claim(daily.claim, today, NOW + 9000)
    assert claim(daily.claim, date(2026, 3, 3), NOW + DAY)


def test_the_hour_is_vietnams(office: Office) -> None:
    clock = ManualClock(datetime(2026, 3, 2, 18, 0, tzinfo=UTC).timestamp())  # one in the night of the third
    told: list[str] = []
    work = daily.Daily(office.db, office.rules, clock, 2, lambda notice: told.append(notice.code))
    assert work.look()  # the second was still to be done
    assert not work.look()
    clock.move(3600)
    assert work.look() and not work.look()
    office.add("an", secret=replace(QUICK, must_change=1))
    clock.move(6 * DAY)
    assert work.look() and told == ["notice-locked-list"]


def test_a_lock_for_a_time_ends_by_itself(office: Office) -> None:
    office.rules = Regulation(profile.load("angiang_2025"))
    an = office.add("an")

    def lock(tx: Tx) -> None:
        lifecycle.take_step(tx, an, State.LOCKED, NOW, "wrong-passwords")
        for _ in range(6):
            credentials.count_wrong(tx, an)

    office.db.write_now(lock)
    assert daily.release(office.db, office.rules, NOW + 11 * 3600) == []
    assert [n.code for n in daily.release(office.db, office.rules, NOW + 12 * 3600)] == ["notice-released"]
    assert office.state(an)[0] is State.ACTIVE
    stored = office.db.read_now(credentials.get, an)
    assert stored is not None and stored.wrong == 0


# ---- the doors


@pytest.fixture
def doors(office: Office) -> Iterator[Doors]:
    made = Doors(office.db, office.clock, office.config, Proofs(), rules=Regulation(profile.load("ninhbinh_2025")))
    yield made
    made.close()


async def try_(doors: Doors, login: str, password: str, ip: str = "10.0.0.1") -> str:
    try:
        return (await doors.sign_in(login, Secret(password), ip)).address
    except (Refused, NotNow) as failure:
        return failure.code


def wrong(office: Office, number: int) -> int:
    stored = office.db.read_now(credentials.get, number)
    assert stored is not None
    return stored.wrong


def test_wrong_passwords_in_a_row_lock(office: Office, doors: Doors) -> None:
    an = office.add("an", secret=credentials.make(Secret(PASSWORD)))
    other = Doors(office.db, office.clock, office.config, Proofs(), rules=doors._rules)  # another worker

    async def talk() -> None:
        for n in range(4):
            assert await try_(doors, "an", f"sai {n}", f"10.0.{n}.1") == "bad-credentials"
        assert wrong(office, an) == 4
        assert await try_(other, "an", PASSWORD) == "an@xa.test"  # a right one begins anew
        assert wrong(office, an) == 0
        for n in range(3):
            assert await try_(doors, "an", f"sai {n}", f"10.1.{n}.1") == "bad-credentials"
        assert wrong(office, an) == 0  # those were tried before: a telephone with an old password locks nobody
        for n in range(4, 9):
            assert await try_(doors if n % 2 else other, "an", f"sai {n}", f"10.2.{n}.1") == "bad-credentials"
        assert wrong(office, an) == 5 and office.state(an)[0] is State.ACTIVE
        other.failed("an", "10.3.0.1")  # by SCRAM: the sixth, more than five
        await other.counted()
        assert office.state(an)[:2] == (State.LOCKED, "wrong-passwords")
        assert await try_(doors, "an", PASSWORD, "10.9.0.1") == "account-locked"
        assert await try_(doors, "an", "sai nữa", "10.9.0.2") == "bad-credentials"  # a stranger hears nothing
        assert wrong(office, an) == 6
        await doors.counted()

    asyncio.run(talk())
    other.close()
    facts = office.db.read_now(audit.recent, act="account.lock")[0].facts
    assert "wrong-passwords" in facts and "10.3.0.1" in facts


def test_must_change_opens_no_door(office: Office, doors: Doors) -> None:
    first = replace(credentials.make(Secret("Cấp-lần-đầu-2026!")), must_change=1)
    an = office.add("an", secret=first)

    async def change(old: str, new: str) -> str:
        try:
            await doors.change_own_password("an", Secret(old), Secret(new), "10.0.0.1")
        except Refused as refused:
            return refused.code
        return ""

    async def talk() -> None:
        assert await try_(doors, "an", "Cấp-lần-đầu-2026!") == "password-must-change"
        with refused("password-must-change"):
            await doors.signed_in("an")
        assert await change("sai", PASSWORD) == "bad-credentials"
        assert await change("Cấp-lần-đầu-2026!", "Cấp-lần-đầu-2026!") == "password-same"
        assert await change("Cấp-lần-đầu-2026!", "ngắn") == "password-too-short"
        assert await change("Cấp-lần-đầu-2026!", "Tên-an-Sông-Hậu-1") == "password-holds-name"
        before = office.epoch(an)
        assert await change("Cấp-lần-đầu-2026!", PASSWORD) == ""
        assert office.epoch(an) > before
        assert await try_(doors, "an", PASSWORD) == "an@xa.test"
        for n in range(3):
            office.clock.move(60)
            assert await change(PASSWORD if n == 0 else f"Sông-Tiền-rộng-{n}", f"Sông-Tiền-rộng-{n + 1}") == ""
        office.clock.move(60)
        assert await change("Sông-Tiền-rộng-3", PASSWORD) == "password-reused"
        assert await change("Sông-Tiền-rộng-3", "Sông-Tiền-rộng-4") == ""
        assert await change("Sông-Tiền-rộng-4", PASSWORD) == ""  # four ago
        await doors.counted()

    asyncio.run(talk())
    assert len(office.db.read_now(credentials.past, an)) == 4  # three before it are kept, not more


def test_days_of_use(office: Office, doors: Doors) -> None:
    an = office.add("an", secret=credentials.make(Secret(PASSWORD)))

    def activity() -> list[tuple[int, int]]:
        return office.db.read_now(
            lambda tx: tx.all("SELECT month, days FROM activity WHERE account_id = ? ORDER BY month", an)
        )

    async def talk() -> None:
        for _ in range(3):
            await try_(doors, "an", PASSWORD)
        await doors.counted()
        assert activity() == [(2026 * 12 + 2, 0b10)]
        office.clock.move(2 * DAY)
        await try_(doors, "an", PASSWORD)
        await doors.counted()
        leave = doors.present(await doors.sign_in("an", Secret(PASSWORD), "::1"), lambda code: None)
        office.clock.move(28 * DAY)  # a program that stays connected is used every day
        await doors.presence.look()
        await doors.counted()
        leave()
        leave()
        assert activity() == [(2026 * 12 + 2, 0b1010), (2026 * 12 + 3, 1)]

    asyncio.run(talk())
    assert dict(office.db.read_now(lifecycle.told, an))["seen"] == "2026-04-01"


def test_sessions_end(office: Office, doors: Doors) -> None:
    an = office.add("an", secret=credentials.make(Secret(PASSWORD)))
    told: list[str] = []

    async def talk() -> None:
        known = await doors.sign_in("an", Secret(PASSWORD), "::1")
        doors.present(known, told.append)
        leave = doors.present(known, lambda code: told.append("left"))
        await doors.presence.look()
        leave()
        assert told == []
        await office.db.write(lifecycle.reset_password, SYSTEM, an, credentials.make(Secret(PASSWORD)), NOW)
        await doors.presence.look()
        await doors.presence.look()
        assert told == ["session-ended"]
        await office.db.write(people.end_sessions, an, NOW)  # nobody is there
        await doors.presence.look()
        await office.db.write(lambda tx: tx.run("UPDATE credential SET must_change = 0"))
        doors.present(await doors.sign_in("an", Secret(PASSWORD), "::1"), told.append)
        await office.db.write(lifecycle.lock, SYSTEM, an, "manual", "", NOW)
        await doors.presence.look()
        assert told == ["session-ended", "session-locked"]
        await doors.counted()

    asyncio.run(talk())


def test_two_who_lock_at_once(office: Office) -> None:
    """The second is told, nothing is half done."""
    an = office.add("an")
    said: list[str] = []

    def go() -> None:
        try:
            office.db.write_now(lifecycle.lock, SYSTEM, an, "manual", "", NOW)
            said.append("")
        except Refused as refused:
            said.append(refused.code)

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["", "no-such-step", "no-such-step", "no-such-step"]
