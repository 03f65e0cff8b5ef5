"""Reports that people ask for: use of the mail by unit (rows 15.1–15.3, 15.5), lists that units confirm (7.5), locked
mailboxes (4.10), what is overdue (3.4).

Promises that everybody gets figures of the own part of the tree only, that the same data give the same report, and that
a report that was handed out can be proved: `keep` writes its digest into the audit, the file is the caller's. Account
states on a past day are not kept, so a report as of a cut-off is made on that day or says how many have changed since.
`files` of reports are made by `report_files`, the public list by `public_list`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from blake3 import blake3

from congvu.base.clock import day_of
from congvu.base.failure import Refused
from congvu.db import audit
from congvu.db.audit import Recorded
from congvu.db.engine import Tx
from congvu.directory import attestation, report_days, roles, statistics, units
from congvu.directory.attestation import Attested
from congvu.directory.calendar import Calendar
from congvu.directory.people import Kind
from congvu.directory.profile import Profile
from congvu.directory.report_days import Due
from congvu.directory.roles import Actor, Right, note
from congvu.directory.statistics import Part, Span, Table, Tally, Workday, Workdays
from congvu.directory.units import Unit

_CALENDAR = Calendar()
_AUDIT_PAGE = 500
_MAX_REMARK = 1000


def _part(tx: Tx, who: Actor, right: Right, unit_id: int | None) -> Part:
    """What somebody may see of a unit and below it, or of everything. Raises `Refused`: not-allowed, no-such-unit."""
    if unit_id is not None:
        units.must_get(tx, unit_id)
        roles.need(tx, who, right, unit_id)
    return Part(roles.scope(who, right), unit_id)


# ---- use of the mail


@dataclass(frozen=True, slots=True)
class Usage:
    """The figures of a time, and how they came about. `sent_since`: first day of which letters to outside are still
    known, None when of none; `made`: when it was counted."""

    title: str
    unit_id: int | None
    within: Span
    made: int
    regular: int  # per cent of working days
    workdays: int
    table: Table
    sent_since: date | None
    profile: Profile = field(compare=False)


def usage(
    tx: Tx,
    who: Actor,
    profile: Profile,
    within: Span,
    now: float,
    *,
    unit_id: int | None = None,
    headcount: Mapping[int, int] | None = None,
    is_workday: Workday = _CALENDAR.is_workday,
) -> Usage:
    """Figures by unit and rolled up. `headcount`: staff as the personnel office counts it, by unit with all below it;
    elsewhere people with a post in the directory are staff. Raises `Refused`: not-allowed, no-such-unit."""
    part = _part(tx, who, Right.STATISTICS, unit_id)
    ordered = statistics.tree(tx, part)
    if strange := set(headcount or {}) - {unit.id for _, unit in ordered}:
        raise Refused("no-such-unit", unit=min(strange))
    workdays, regular, tally = Workdays(within, is_workday), profile.report.regular_use.value, Tally()
    statistics.count_people(tx, part, within, workdays, regular, tally)
    statistics.count_public(tx, part, tally)
    sent_since = statistics.count_sent(tx, part, within, tally)
    _count_storage(tx, part, tally)
    agency = statistics.agencies(tx, part, within.last)
    last = attestation.latest(tx, part, within.end)
    for number in agency:
        tally.add(number, "agencies")
        if number in last and last[number].at >= within.begin:
            tally.add(number, "reviewed")
    attested = {number: each.at for number, each in last.items()}
    table = statistics.roll_up(ordered, tally.figures(), headcount or {}, attested, agency, within.last)
    tops = [unit.name for depth, unit in ordered if depth == 0]
    title = ", ".join(tops) if len(tops) <= 3 else ""
    return Usage(title, unit_id, within, int(now), regular, len(workdays), table, sent_since, profile)


_STORAGE = "SELECT account.unit_id, sum(store.used) FROM store JOIN account ON account.id = store.account_id"


def _count_storage(tx: Tx, part: Part, tally: Tally) -> None:
    where, params = part.where("account.unit_id")
    for unit_id, used in tx.each(f"{_STORAGE} WHERE {where} GROUP BY account.unit_id", *params):
        tally.add(unit_id, "storage", int(used))


def keep(
    tx: Tx, who: Actor, report: str, unit_id: int | None, content: bytes, facts: Mapping[str, object], now: float
) -> str:
    """Writes down that a report was made, with the BLAKE3 digest of the file, and returns it: the file is the caller's
    to keep, and that its figures are those that were frozen can be proved (row 15.1). Raises `Refused`: not-allowed,
    no-such-unit."""
    _part(tx, who, Right.STATISTICS, unit_id)
    digest = blake3(content).hexdigest()
    note(tx, who, "report.made", now, on=unit_id or 0, facts={"report": report, "digest": digest, **facts})
    return digest


# ---- when which report is due


def calendar(profile: Profile, on: date, until: date) -> list[Due]:
    """Reports that come due (sắp đến hạn); everybody may know them."""
    return report_days.due(profile, on, until)


# ---- lists that units confirm


@dataclass(frozen=True, slots=True)
class Review:
    """A unit that answers for its list. `due`: from that day it has to be confirmed anew."""

    unit: Unit
    last: Attested | None
    due: date
    overdue: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """What became of a list since it was confirmed last: `changed` None when it never was. `acts`: the rows of the
    audit about its people and units since then, the newest first, `more` when there are others."""

    entries: int
    digest: bytes
    last: Attested | None
    changed: bool | None
    acts: tuple[Recorded, ...]
    more: bool


def attest(tx: Tx, who: Actor, unit_id: int, remark: str, now: float, *, seen: bytes = b"") -> Attested:
    """Confirms the list of a unit and everything below it. `seen`: the digest of the list that was looked at; when
    something changed since, nothing is confirmed. Raises `Refused`: not-allowed, no-such-unit, unit-ended,
    list-changed, bad-remark."""
    roles.need(tx, who, Right.ATTEST, unit_id)
    unit = units.must_get(tx, unit_id)
    if not unit.stands(day_of(now)):
        raise Refused("unit-ended", name=unit.name, day=unit.until or unit.since)
    text = " ".join(remark.split())
    if len(text) > _MAX_REMARK or not text.isprintable():
        raise Refused("bad-remark", most=_MAX_REMARK)
    count, digest = attestation.digest(attestation.listed(tx, _part(tx, who, Right.ATTEST, unit_id)))
    if seen and seen != digest:
        raise Refused("list-changed", name=unit.name)
    made = Attested(unit_id, int(now), who.name, count, digest, text)
    attestation.put(tx, made)
    note(tx, who, "unit.attest", now, on=unit_id, why=text, facts={"entries": count, "digest": digest.hex()})
    return made


def reviews(tx: Tx, who: Actor, profile: Profile, now: float, *, unit_id: int | None = None) -> list[Review]:
    """Every unit that answers for its list, in the order of the tree, with its last confirmation. Raises `Refused`:
    not-allowed, no-such-unit."""
    part = _part(tx, who, Right.STATISTICS, unit_id)
    on, every = day_of(now), profile.report.review_every.value
    agency = statistics.agencies(tx, part, on)
    last = attestation.latest(tx, part, int(now) + 1)
    found = []
    for _, unit in statistics.tree(tx, part):
        if unit.id in agency:
            made = last.get(unit.id)
            day = attestation.due(made, every, on)
            found.append(Review(unit, made, day, day <= on))
    return found


def changes(tx: Tx, who: Actor, unit_id: int, now: float, limit: int = 100) -> Changes:
    """The list as it is now against the one that was confirmed last. Raises `Refused`: not-allowed, no-such-unit."""
    part = _part(tx, who, Right.READ, unit_id)
    entries = list(attestation.listed(tx, part))
    count, digest = attestation.digest(entries)
    last = attestation.latest(tx, part, int(now) + 1).get(unit_id)
    if last is None:
        return Changes(count, digest, None, None, (), False)
    below = set(units.within(tx, [unit_id]))
    numbers = {row[0] for row in tx.all("SELECT id FROM account WHERE unit_id IN (?*)", sorted(below))}
    addresses = {each.address for each in entries}
    acts: list[Recorded] = []
    before = 0
    while page := audit.recent(tx, before=before, limit=_AUDIT_PAGE):
        before = page[-1].id
        acts += [row for row in page if row.at >= last.at and _concerns(row, below, numbers, addresses)]
        if len(acts) > limit or page[-1].at < last.at:
            break
    return Changes(count, digest, last, digest != last.digest, tuple(acts[:limit]), len(acts) > limit)


_OF_LISTS = ("unit.", "person.", "account.", "box.", "address.", "merge.")


def _concerns(row: Recorded, unit_ids: set[int], account_ids: set[int], addresses: set[str]) -> bool:
    """Does this act touch one of these units or accounts, or did it move somebody in or out?"""
    if not row.act.startswith(_OF_LISTS) or row.act == "unit.attest":
        return False
    facts = json.loads(row.facts)
    on = facts.get("on")
    touched = set(on) if isinstance(on, list) else {on}
    if row.act.startswith("unit."):
        return bool(touched & unit_ids)
    if touched & (account_ids | addresses) or addresses.intersection(facts.get("addresses", ())):
        return True
    posts = [*facts.get("was", ()), *facts.get("is", ())] if row.act == "person.posts" else []
    return any(post[0] in unit_ids for post in posts)


# ---- locked mailboxes, and what waits too long


@dataclass(frozen=True, slots=True)
class LockedBox:
    """A locked mailbox; `since`: when it was locked, `reason` as in `lifecycle`."""

    account_id: int
    kind: Kind
    name: str
    address: str
    unit: str
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class LockedAt:
    """What one agency gets: its locked mailboxes. `unit` None: those that stand in no unit."""

    unit: Unit | None
    boxes: tuple[LockedBox, ...]


_LOCKED = (
    "SELECT account.id, account.kind, account.name, account.unit_id, account.since, account.created, account.reason,"
    " coalesce(address.address, '') FROM account LEFT JOIN address ON address.account_id = account.id"
    " AND address.is_primary = 1 WHERE account.state = 'locked'"
)


def locked(tx: Tx, who: Actor, on: date, *, unit_id: int | None = None) -> list[LockedAt]:
    """The locked mailboxes by agency, in the order of the tree: each stands at the nearest unit above that answers for
    its list (row 4.10). Raises `Refused`: not-allowed, no-such-unit."""
    part = _part(tx, who, Right.STATISTICS, unit_id)
    agency = statistics.agencies(tx, part, on)
    known: dict[int, Unit] = {}
    home: dict[int, int] = {}
    for _, unit in statistics.tree(tx, part):
        known[unit.id] = unit
        above = home.get(unit.parent_id or 0)
        home[unit.id] = unit.id if above is None or unit.id in agency else above
    where, params = part.where("account.unit_id")
    found: dict[int, list[LockedBox]] = {}
    for number, kind, name, unit, since, created, reason, address in tx.all(
        f"{_LOCKED} AND {where} ORDER BY address.address, account.id", *params
    ):
        place = known[unit].name if unit in known else ""
        box = LockedBox(number, Kind(kind), name, address, place, since or created, reason)
        found.setdefault(home.get(unit, 0), []).append(box)
    order = [unit for unit in known if unit in found] + ([0] if 0 in found else [])
    return [LockedAt(known.get(unit), tuple(found[unit])) for unit in order]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What an operator has to look at: requests past their day and the oldest of these days, lists not confirmed in
    time, locked mailboxes."""

    requests: int
    oldest: str
    reviews: int
    locked: int


_OVERDUE = (  # submitted, or being carried out: nobody has answered yet
    "SELECT count(*), coalesce(min(due), '') FROM request WHERE state IN ('submitted', 'running') AND due <> ''"
    " AND due < ?"
)
_LOCKED_COUNT = "SELECT count(*) FROM account WHERE state = 'locked'"


def waiting(tx: Tx, who: Actor, profile: Profile, now: float) -> Waiting:
    """Raises `Refused("not-allowed")`."""
    within = roles.scope(who, Right.STATISTICS)
    where, params = within.where("unit_id")
    row = tx.one(f"{_OVERDUE} AND {where}", day_of(now).isoformat(), *params) or (0, "")
    boxes = tx.one(f"{_LOCKED_COUNT} AND {where}", *params) or (0,)
    late = sum(each.overdue for each in reviews(tx, who, profile, now))
    return Waiting(row[0], row[1], late, boxes[0])
