"""What people send outside is counted with the letter (row 4.3), on each engine: the one too many locks, and is refused
as a whole."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from congvu.actions import accounts, lifecycle
from congvu.actions.accounts import NewAccount, SignedIn
from congvu.base.clock import Identifiers, ManualClock
from congvu.base.config import Config, TlsSettings
from congvu.base.failure import NotNow, Refused
from congvu.db import audit, known_in, open_blobs
from congvu.db.engine import Database, Tx
from congvu.delivery.inbound import Arriving, Inbound, Peer, Recipient
from congvu.directory import people, profile, sent
from congvu.directory.credentials import Stored
from congvu.directory.lifecycle import State
from congvu.directory.regulation import Regulation
from congvu.directory.roles import Actor
from congvu.mailstore import check, mailbox

NOW = 1_790_000_000.0
RULES = profile.load("ninhbinh_2025")  # 250 letters in ten minutes
LIMIT = 250


@dataclass
class Office:
    db: Database
    inbound: Inbound
    clock: ManualClock
    an: int
    binh: int

    async def send(self, *to: str, sender: str = "an", epoch: int = 0) -> str:
        number = self.an if sender == "an" else self.binh
        address = f"{sender}@xa.test"
        who = SignedIn(number, address, sender, epoch)
        peer = Peer("192.0.2.7", "may", "ESMTPSA", "", who, "submission")
        recipients = tuple(Recipient(a, self.binh if a == "binh@xa.test" else None) for a in to)
        with self.inbound._blobs.spool() as spool:
            spool.write(b"From: <%b>\r\nSubject: x\r\n\r\n%d\r\n" % (address.encode(), int(self.clock.now())))
            try:
                answers = await self.inbound.take(Arriving(peer, address, recipients, spool, False, "", "", ""))
            except (Refused, NotNow) as failure:
                return failure.code
        codes = {a.code if a is not None else "" for a in answers}
        assert len(codes) == 1
        return codes.pop()

    def already(self, letters: int, minutes_ago: int = 0) -> None:
        def put(tx: Tx) -> None:
            tx.run(
                "INSERT INTO sent (account_id, minute, letters, recipients) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (account_id, minute) DO UPDATE SET letters = excluded.letters",
                *(self.an, int(self.clock.now()) // 60 - minutes_ago, letters, letters),
            )

        self.db.write_now(put)

    def state(self) -> str:
        account = self.db.read_now(people.get, self.an)
        assert account is not None
        return account.state.value

    def queued(self) -> int:
        row = self.db.read_now(lambda tx: tx.one("SELECT count(*) FROM queue"))
        return int(row[0]) if row else 0


@pytest.fixture
def office(db: Database, tmp_path: Path) -> Iterator[Office]:
    clock = ManualClock(NOW)
    ids = Identifiers(clock)
    config = Config(("xa.test",), "mx.xa.test", tls=TlsSettings(tmp_path / "c", tmp_path / "k"))
    blobs = open_blobs("file:blobs", data=tmp_path, worker="0", known=known_in(db))
    numbers = [
        db.write_now(accounts.add_account, "test", NewAccount(f"{n}@xa.test", n, Stored("x", None)), RULES, ids, NOW)
        for n in ("an", "binh")
    ]
    inbound = Inbound(db, blobs, clock, ids, config, Regulation(RULES))
    yield Office(db, inbound, clock, *numbers)
    findings = db.read_now(lambda tx: list(check.check(tx, blobs.verify)))
    blobs.close()
    assert findings == []


def test_the_letter_too_many(office: Office) -> None:
    async def go() -> None:
        office.already(LIMIT - 1)
        assert await office.send("ai@noi-khac.test", "binh@xa.test") == ""  # the two hundred and fiftieth
        assert office.state() == "active" and office.queued() == 1
        assert await office.send("binh@xa.test") == ""  # inside is not counted
        assert await office.send("ai@noi-khac.test", "binh@xa.test") == "sent-too-many"
        assert office.state() == "locked" and office.queued() == 1
        assert office.db.read_now(mailbox.quota, office.binh).messages == 2  # nothing of it was kept
        assert await office.send("binh@xa.test") == "sender-locked"  # the session has not heard yet
        assert await office.send("ai@noi-khac.test", sender="binh") == ""

    asyncio.run(go())
    row = office.db.read_now(audit.recent, act="account.lock")[0]
    assert '"why":"burst"' in row.facts and '"letters":251' in row.facts and "192.0.2.7" in row.facts


def test_the_window_moves_on(office: Office) -> None:
    async def go() -> None:
        office.already(LIMIT, 9)
        assert office.state() == "active"
        office.clock.move(60)
        assert await office.send("ai@noi-khac.test") == ""
        office.already(LIMIT, 9)
        assert await office.send("ai@noi-khac.test") == "sent-too-many"

    asyncio.run(go())
    assert office.db.write_now(sent.forget_old, NOW + 86_400) == 0
    assert office.db.write_now(sent.forget_old, NOW + 3 * 86_400) > 1


def test_many_at_once_are_counted_one_by_one(office: Office) -> None:
    async def go() -> list[str]:
        office.already(LIMIT - 10)
        return await asyncio.gather(*(office.send(f"a{n}@noi-khac.test") for n in range(40)))

    said = asyncio.run(go())
    assert said.count("") == 10 and set(said) <= {"", "sent-too-many", "sender-locked"}
    assert office.state() == "locked" and office.queued() == 10


def test_a_session_of_before_does_not_send(office: Office) -> None:
    async def go() -> None:
        secret = Stored("y", None)
        await office.db.write(lifecycle.reset_password, Actor("máy chủ"), office.an, secret, NOW)
        row = office.db.read_now(lambda tx: tx.one("SELECT epoch FROM account WHERE id = ?", office.an))
        assert row is not None
        assert await office.send("binh@xa.test") == "sender-locked"
        assert await office.send("binh@xa.test", epoch=row[0]) == ""
        peer = Peer("192.0.2.7", "may", "ESMTPSA", "", SignedIn(office.an, "an@xa.test", "an", 0), "submission")
        for sender in ("an@xa.test", ""):
            with pytest.raises(Refused, match="sender-locked"):
                await office.inbound.may_send(peer, sender)

    asyncio.run(go())
    assert office.state() == State.ACTIVE
