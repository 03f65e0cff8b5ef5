"""What the clock does: locks, deletions, old addresses, notices (rows 3.10, 4.6, 4.7, 4.9, 4.10, 5.4, 13.5).

Gather, decide, keep: accounts are read in pages, `lifecycle.decide` says what is to be done, and the transaction that
does it decides again from the rows as they then stand. So a crash anywhere costs nothing, two that run it at a time do
nothing twice, and nobody waits for more than a portion. Any process may run it; a row of `chore` keeps the others from
the work meanwhile. Must never send anything: what people are to be told comes back as `Notice`.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from congvu.actions import lifecycle as acts
from congvu.base.clock import Clock, day_of
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log, step
from congvu.base.texts import say, say_in
from congvu.db import audit
from congvu.db.engine import Database, Row, Tx
from congvu.directory import addresses, credentials, entries, lifecycle, people, roles, sent
from congvu.directory.lifecycle import Effect, Facts, Reason, Rules, State, What
from congvu.directory.regulation import Regulation
from congvu.directory.roles import Actor
from congvu.mailstore import erase, search

CLOCK = Actor("congvu daily")  # the system itself
PAGE = 500  # accounts looked at, or changed, in one transaction
PORTION = 500  # messages deleted in one transaction
LEASE = 3600  # seconds: who is killed in the middle is followed after so long
LOOK_EVERY = 600.0  # seconds between two looks at the hour
LEFTOVER_DAYS = 30  # so long after its end an account is looked at for rows that a crash left behind
_MOST_LISTED = 200  # addresses in one notice


@dataclass(frozen=True, slots=True)
class Notice:
    """What the administrators of a unit, or a person, are to be told. `code`: a word of the catalogue."""

    code: str
    unit_id: int | None
    account_id: int | None
    facts: dict[str, object]

    def text(self, language: str = "vi") -> str:
        return say_in(language, self.code, True, **self.facts)


@dataclass(frozen=True, slots=True)
class Case:
    """An account with what decides over it."""

    facts: Facts
    unit_id: int | None
    address: str


_FACTS = (
    "SELECT account.id, account.state, account.reason, account.since, account.created, account.kind, account.hold,"
    " account.seen_day, account.away, coalesce(credential.must_change, 0), coalesce(credential.changed, 0),"
    " account.unit_id, coalesce(address.address, '') FROM account"
    " LEFT JOIN credential ON credential.account_id = account.id"
    " LEFT JOIN address ON address.account_id = account.id AND address.is_primary = 1"
)


def _cases(tx: Tx, rows: list[Row]) -> list[Case]:
    numbers = [row[0] for row in rows]
    admins = {r[0] for r in tx.all("SELECT DISTINCT account_id FROM role WHERE account_id IN (?*)", numbers)}
    asked = {
        r[0]
        for r in tx.all(
            "SELECT DISTINCT request_item.account_id FROM request_item"
            " JOIN request ON request.id = request_item.request_id"
            " WHERE request_item.account_id IN (?*) AND request.kind = 'restore' AND request.decided = 0",
            numbers,
        )
    }
    found = []
    for number, state, reason, since, created, kind, hold, seen, away, change, changed, unit_id, address in rows:
        facts = Facts(
            account_id=number,
            state=State(state),
            reason=reason,
            since=since or created,
            person=kind == "person",
            hold=bool(hold),
            seen_day=seen,
            away=away,
            must_change=change,
            password_set=changed,
            admin=number in admins,
            restore_asked=number in asked,
        )
        found.append(Case(facts, unit_id, address))
    return found


def page(tx: Tx, after: int) -> list[Case]:
    """The next accounts that the clock may do something to, by number."""
    where = "account.id > ? AND account.state IN ('active', 'locked', 'revoked') ORDER BY account.id LIMIT ?"
    return _cases(tx, tx.all(f"{_FACTS} WHERE {where}", after, PAGE))


def some(tx: Tx, account_ids: list[int]) -> list[Case]:
    return _cases(tx, tx.all(f"{_FACTS} WHERE account.id IN (?*) ORDER BY account.id", account_ids))


def judge(tx: Tx, rules: Regulation, cases: list[Case], now: float) -> list[tuple[Case, Effect, Rules]]:
    """What is to be done to which of them."""
    found = []
    of_unit: dict[int | None, Rules] = {}
    for case in cases:
        if case.unit_id not in of_unit:
            of_unit[case.unit_id] = rules.rules(rules.of_unit(tx, case.unit_id))
        own = of_unit[case.unit_id]
        effect = lifecycle.decide(case.facts, own, now)
        if effect is not None:
            found.append((case, effect, own))
    return found


def keep(tx: Tx, rules: Regulation, account_ids: list[int], now: float) -> tuple[list[Notice], list[int]]:
    """Does what is still to be done to these accounts; what is to be told, and the accounts to be deleted."""
    notices: list[Notice] = []
    doomed: list[int] = []
    for case, effect, own in judge(tx, rules, some(tx, account_ids), now):
        number = effect.account_id
        facts: dict[str, object] = {"address": case.address}
        match effect.what:
            case What.LOCK | What.REVOKE:
                to = State.LOCKED if effect.what is What.LOCK else State.REVOKED
                reason = effect.reason or Reason.MANUAL
                acts.take_step(tx, number, to, now, reason)
                _note(tx, f"account.{effect.what.value}", case, now, reason)
                if own.tell_each or to is State.REVOKED:
                    facts["why"] = say_in("vi", f"reason-{reason.value}", True)
                    notices.append(Notice(f"notice-{to.value}", case.unit_id, number, facts))
            case What.RELEASE:
                acts.take_step(tx, number, State.ACTIVE, now)
                credentials.forget_wrong(tx, number)
                _note(tx, "account.unlock", case, now)
                notices.append(Notice("notice-released", case.unit_id, number, facts))
            case What.EXPIRE:
                credentials.expire(tx, number)
                people.end_sessions(tx, number, now)
                _note(tx, "account.password-too-old", case, now)
                notices.append(Notice("notice-password-too-old", case.unit_id, number, facts))
            case What.WARN:
                notices.append(Notice("notice-password-soon", case.unit_id, number, {**facts, "days": effect.days}))
            case What.PURGE:
                doomed.append(number)
    return notices, doomed


def _note(tx: Tx, act: str, case: Case, now: float, why: str = "") -> None:
    roles.note(tx, CLOCK, act, now, on=case.facts.account_id, why=why, facts={"address": case.address})


def _still_doomed(tx: Tx, rules: Regulation, account_id: int, now: float) -> bool:
    judged = judge(tx, rules, some(tx, [account_id]), now)
    return bool(judged) and judged[0][1].what is What.PURGE


def _portion(tx: Tx, rules: Regulation, account_id: int, now: float) -> int:
    """A portion of a deletion; a hold that came meanwhile stops it."""
    return erase.messages(tx, account_id, PORTION) if _still_doomed(tx, rules, account_id, now) else 0


def _finish(tx: Tx, rules: Regulation, account_id: int, now: float) -> bool:
    if not _still_doomed(tx, rules, account_id, now):
        return False
    acts.purge(tx, CLOCK, rules, account_id, now)
    return True


def _leftovers(tx: Tx, now: float) -> list[int]:
    return [
        row[0]
        for row in tx.all(
            "SELECT id FROM account WHERE state = 'purged' AND since > ? AND (EXISTS (SELECT 1 FROM change"
            " WHERE change.account_id = account.id) OR EXISTS (SELECT 1 FROM thread_key"
            " WHERE thread_key.account_id = account.id) OR EXISTS (SELECT 1 FROM text_cursor"
            " WHERE text_cursor.account_id = account.id))",
            int(now) - LEFTOVER_DAYS * 86_400,
        )
    ]


def _retire(tx: Tx, rules: Regulation, today: date, now: float) -> list[Notice]:
    """Old addresses whose end has come (row 13.5) receive no more, and rest."""
    notices = []
    for address, account_id in addresses.ended(tx, today, PAGE):
        account = people.get(tx, account_id)
        unit_id = account.unit_id if account else None
        quarantine = rules.rules(rules.of_unit(tx, unit_id)).quarantine
        addresses.lay_to_rest(tx, [address], now + quarantine.seconds if quarantine else acts.FOR_EVER)
        notices.append(Notice("notice-aliases-ended", unit_id, account_id, {"address": address}))
    if notices:
        entries.renew(tx, sorted({notice.account_id for notice in notices if notice.account_id}))
        ended = [notice.facts["address"] for notice in notices]
        audit.record(tx, CLOCK.name, "address.end", {"addresses": ended}, now)
    return notices


def _free(tx: Tx, now: float) -> int:
    count = addresses.free_rested(tx, now)
    if count:
        audit.record(tx, CLOCK.name, "address.free", {"count": count}, now)
    return count


def _lists(tx: Tx, rules: Regulation, today: date, now: float) -> list[Notice]:
    """The list of locked accounts for each unit, every so many months (row 4.10): due when as long has passed since the
    last time, however late the clock comes."""
    found: list[Notice] = []
    by_unit: dict[int | None, list[str]] = {}
    for unit_id, address in tx.all(
        "SELECT account.unit_id, address.address FROM account JOIN address ON address.account_id = account.id"
        " AND address.is_primary = 1 WHERE account.state = 'locked' ORDER BY account.unit_id, address.address"
    ):
        by_unit.setdefault(unit_id, []).append(address)
    for unit_id, locked in by_unit.items():
        every = rules.rules(rules.of_unit(tx, unit_id)).list_every
        name = f"locked-list {unit_id or 0}"
        row = tx.one("SELECT day FROM chore WHERE name = ?", name)
        if every is None or (row is not None and every.after(date.fromisoformat(row[0])) > today):
            continue
        tx.run(
            "INSERT INTO chore (name, day, lease) VALUES (?, ?, 0) ON CONFLICT (name) DO UPDATE SET day = excluded.day",
            *(name, today.isoformat()),
        )
        unit = tx.one("SELECT name FROM unit WHERE id = ?", unit_id) if unit_id is not None else None
        facts: dict[str, object] = {"unit": unit[0] if unit else "–", "addresses": ", ".join(locked[:_MOST_LISTED])}
        found.append(Notice("notice-locked-list", unit_id, None, facts))
        audit.record(tx, CLOCK.name, "account.locked-list", {"unit": unit_id or 0, "accounts": len(locked)}, now)
    return found


def run(db: Database, rules: Regulation, now: float) -> Iterator[Notice]:
    """The whole day's work; yields what is to be told as it is done. For a thread, or a command."""
    today = day_of(now)
    after = 0
    while cases := db.read_now(page, after):
        after = cases[-1].facts.account_id
        wanted = [case.facts.account_id for case, _, _ in db.read_now(judge, rules, cases, now)]
        if wanted:
            notices, doomed = db.write_now(keep, rules, wanted, now)
            step("daily-kept")
            yield from notices
            for account_id in doomed:
                yield from _purge(db, rules, account_id, now)
    for account_id in db.read_now(_leftovers, now):
        _sweep(db, account_id)
    while notices := db.write_now(_retire, rules, today, now):
        yield from notices
    db.write_now(_free, now)
    yield from db.write_now(_lists, rules, today, now)
    db.write_now(sent.forget_old, now)


def _purge(db: Database, rules: Regulation, account_id: int, now: float) -> Iterator[Notice]:
    case = db.read_now(some, [account_id])[0]
    while db.write_now(_portion, rules, account_id, now):
        step("daily-portion")
    while db.write_index_now(search.rebuild, account_id):
        pass
    if not db.write_now(_finish, rules, account_id, now):
        return
    step("daily-purged")
    _sweep(db, account_id)
    yield Notice("notice-purged", case.unit_id, account_id, {"address": case.address})


def _sweep(db: Database, account_id: int) -> None:
    """What means nothing any more, and the index's own rows."""
    while db.write_now(erase.leftovers, account_id, PORTION):
        step("daily-swept")
    while db.write_index_now(search.rebuild, account_id):
        pass
    db.write_index_now(search.forget_account, account_id)


def release(db: Database, rules: Regulation, now: float) -> list[Notice]:
    """Locks for a time that are over (row 5.9); asked more often than once a day."""
    wanted = db.read_now(_timed)
    return db.write_now(keep, rules, wanted, now)[0] if wanted else []


def _timed(tx: Tx) -> list[int]:
    rows = tx.all(
        "SELECT id FROM account WHERE state = 'locked' AND reason = ? ORDER BY since LIMIT ?",
        *(Reason.WRONG_PASSWORDS.value, PAGE),
    )
    return [row[0] for row in rows]


def claim(tx: Tx, today: date, now: float) -> bool:
    """Is today's work still to be done, and nobody at it? Then it is the caller's."""
    tx.run("INSERT INTO chore (name, day, lease) VALUES ('daily', '', 0) ON CONFLICT (name) DO NOTHING")
    return (
        tx.run(
            "UPDATE chore SET lease = ? WHERE name = 'daily' AND day < ? AND lease < ?",
            *(int(now) + LEASE, today.isoformat(), int(now)),
        )
        == 1
    )


def done(tx: Tx, today: date) -> None:
    tx.run("UPDATE chore SET day = ?, lease = 0 WHERE name = 'daily' AND day < ?", today.isoformat(), today.isoformat())


class Daily:
    """The clock of one process: asks every ten minutes whether the hour has come. `hour`: of Vietnam."""

    def __init__(
        self,
        db: Database,
        rules: Regulation,
        clock: Clock,
        hour: int,
        tell: Callable[[Notice], None] | None = None,
    ) -> None:
        self._db = db
        self._rules = rules
        self._clock = clock
        self._hour = hour
        self._tell = tell or (lambda notice: log.info("daily: %s", say(notice.code, True, **notice.facts)))

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except (NotNow, Refused) as trouble:
                log.warning("the day's work has to wait: %s", trouble.code)
            except Exception:
                log.exception("the day's work stumbled")
            await asyncio.sleep(LOOK_EVERY)

    def look(self) -> bool:
        """Does what is due; was it the day's work?"""
        now = self._clock.now()
        for notice in release(self._db, self._rules, now):
            self._tell(notice)
        # The day begins at that hour: before it, yesterday's work is what may still be missing.
        today = day_of(now - timedelta(hours=self._hour).total_seconds())
        if not self._db.write_now(claim, today, now):
            return False
        for notice in run(self._db, self._rules, now):
            self._tell(notice)
        self._db.write_now(done, today)
        return True
