"""Figures of the directory for reports: who has an account, who uses it regularly, by unit and rolled up (section 15).

Promises that every figure is counted once (a person counts in the unit of the main post), that a roll-up is the sum of
its parts, that whoever asks gets figures of the own part of the tree only, and a handful of statements whatever the
size. What is kept can be counted as of a past day: posts by their days, sign-ins by theirs, accounts by when they were
made. The state of an account on a past day is not kept: `Figures.later` says how many have changed since. Must never
know a number of a regulation: the share that makes use "regular" comes from the profile (row 15.3).
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, timedelta

from congvu.base.clock import day_of
from congvu.base.failure import Refused
from congvu.base.vietnamese import findable
from congvu.db.engine import Tx
from congvu.directory import units
from congvu.directory.lifecycle import State
from congvu.directory.people import Kind
from congvu.directory.roles import Role, Scope
from congvu.directory.units import Category, Unit

Workday = Callable[[date], bool]
_MOST_DAYS = 3700  # of one report: ten years
COMMUNES = frozenset({Category.XA, Category.PHUONG, Category.THITRAN, Category.DACKHU})
_ISSUED = (State.ACTIVE, State.LOCKED)


# ---- the time a report is about


@dataclass(frozen=True, slots=True)
class Span:
    """From a day to a day, both included; `last` is the cut-off (ngày chốt số liệu)."""

    first: date
    last: date

    @property
    def end(self) -> int:
        """The instant in which the last day is over in Vietnam."""
        return _midnight(self.last + timedelta(days=1))

    @property
    def begin(self) -> int:
        return _midnight(self.first)


def _midnight(day: date) -> int:
    """When that day begins in Vietnam."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()  # 19 o'clock in Vietnam
    return int(noon) - 19 * 3600


def span(first: str, last: str) -> Span:
    """From days as texts. Raises `Refused`: bad-day, days-reversed."""
    a, b = units.day(first), units.day(last)
    if not a or not b:
        raise Refused("bad-day", text="")
    found = Span(date.fromisoformat(a), date.fromisoformat(b))
    if found.last < found.first:
        raise Refused("days-reversed", since=a, until=b)
    if (found.last - found.first).days >= _MOST_DAYS or found.last.year >= date.max.year:
        raise Refused("bad-day", text=f"{a} – {b}")
    return found


class Workdays:
    """The working days of a span, as bits of months, as `activity` keeps sign-ins."""

    def __init__(self, within: Span, is_workday: Workday) -> None:
        count = (within.last - within.first).days + 1
        self._days = [day for n in range(count) if is_workday(day := within.first + timedelta(days=n))]
        self.masks: dict[int, int] = {}
        for day in self._days:
            month = month_number(day)
            self.masks[month] = self.masks.get(month, 0) | 1 << (day.day - 1)

    def __len__(self) -> int:
        return len(self._days)

    def since(self, day: date) -> int:
        """How many there are from that day on."""
        return len(self._days) - bisect_left(self._days, day)


def month_number(day: date) -> int:
    return day.year * 12 + day.month - 1


# ---- figures


@dataclass(frozen=True, slots=True)
class Figures:
    """What is counted of a unit, or of a unit and all below it."""

    staff: int = 0  # people with a post, whose account was not taken away
    holders: int = 0  # … who have an account that was issued
    regular: int = 0  # … who use it regularly
    used: int = 0  # … who signed in at all
    active: int = 0  # accounts of persons, by state
    locked: int = 0
    revoked: int = 0
    waiting: int = 0  # asked for, not yet issued
    new: int = 0  # made within the time of the report, those of boxes too
    boxes: int = 0  # mailboxes of organisations, units and functions that were issued
    boxes_locked: int = 0
    public: int = 0  # entries on the public list (row 7.4)
    letters: int = 0  # sent outside
    recipients: int = 0
    storage: int = 0  # octets
    agencies: int = 0  # units that have to confirm their list
    reviewed: int = 0  # … that did within the time of the report
    later: int = 0  # accounts whose state changed after the cut-off

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in NAMES)

    @property
    def issued(self) -> int:
        """Accounts of persons that were issued and not taken away."""
        return self.active + self.locked


NAMES = tuple(each.name for each in fields(Figures))


def total(some: Iterable[Figures]) -> Figures:
    parts = [tuple(getattr(each, name) for name in NAMES) for each in some]
    return Figures(*map(sum, zip(*parts, strict=True))) if parts else Figures()


def percent(part: int, whole: int) -> float | None:
    """To a tenth; None where there is nothing to compare with."""
    return round(100 * part / whole, 1) if whole else None


class Tally:
    """Figures while they are counted, by unit; None is an account without one."""

    def __init__(self) -> None:
        self._counts: dict[int | None, dict[str, int]] = {}

    def add(self, unit_id: int | None, name: str, count: int = 1) -> None:
        row = self._counts.setdefault(unit_id, {})
        row[name] = row.get(name, 0) + count

    def figures(self) -> dict[int | None, Figures]:
        return {unit_id: Figures(**row) for unit_id, row in self._counts.items()}


# ---- counting


@dataclass(frozen=True, slots=True)
class Part:
    """What a report is about: as much of a scope as lies in a unit and below it, or all of it."""

    within: Scope
    below: int | None = None

    def where(self, column: str) -> tuple[str, tuple[object, ...]]:
        sql, params = self.within.where(column)
        if self.below is None:
            return sql, params
        return f"{sql} AND {column} IN ({units.SUBTREE})", (*params, [self.below])


_ACCOUNTS = "SELECT id, unit_id, kind, state, created, since FROM account WHERE state <> 'purged' AND created < ?"
_POSTS = "SELECT account_id FROM post WHERE main = 1 AND since <= ? AND (until = '' OR until > ?)"
_ACTIVITY = (
    "SELECT activity.account_id, activity.month, activity.days FROM activity"
    " JOIN account ON account.id = activity.account_id WHERE activity.month >= ? AND activity.month <= ?"
)
_SENT = (
    "SELECT account.unit_id, sum(sent.letters), sum(sent.recipients) FROM sent"
    " JOIN account ON account.id = sent.account_id WHERE sent.minute >= ? AND sent.minute < ?"
)
_PUBLIC = (
    "SELECT account.unit_id, count(*) FROM entry JOIN account ON account.id = entry.account_id"
    " WHERE entry.shown % 2 = 1 AND entry.shown / 8 % 2 = 1 AND account.state IN ('active', 'locked')"
)
_AGENCIES = (
    "SELECT unit.id FROM unit WHERE unit.since <= ? AND (unit.until = '' OR unit.until > ?) AND (unit.id IN"
    " (SELECT unit_id FROM account WHERE kind = 'organisation' AND state IN ('active', 'locked')) OR unit.id IN"
    " (SELECT unit_id FROM role WHERE role = ? AND since <= ? AND (until = '' OR until > ?)))"
)
_UNITS = "SELECT id, parent_id, name, category, since, until, domain, profile, code FROM unit"


def count_people(tx: Tx, part: Part, within: Span, workdays: Workdays, regular: int, tally: Tally) -> None:
    """Staff, accounts by state, and use. `regular`: per cent of the working days with a sign-in that make it regular;
    of an account that was made within the span the days from then on count."""
    signed = _days_signed_in(tx, part, within, workdays)
    # Posts are not joined: right after a bulk load PostgreSQL would go through all of them for each account.
    where, params = part.where("unit_id")
    day = within.last.isoformat()
    posted = {row[0] for row in tx.each(f"{_POSTS} AND {where}", day, day, *params)}
    for account_id, unit_id, kind, state, created, since in tx.each(f"{_ACCOUNTS} AND {where}", within.end, *params):
        issued = state in _ISSUED
        if since >= within.end:
            tally.add(unit_id, "later")
        if issued and created >= within.begin:
            tally.add(unit_id, "new")
        if kind != Kind.PERSON:
            if issued:
                tally.add(unit_id, "boxes")
            if state == State.LOCKED:
                tally.add(unit_id, "boxes_locked")
            continue
        tally.add(unit_id, "waiting" if state == State.REQUESTED else state)
        if account_id not in posted or state == State.REVOKED:
            continue
        tally.add(unit_id, "staff")
        if not issued:
            continue
        tally.add(unit_id, "holders")
        days, any_day = signed.get(account_id, (0, False))
        if any_day:
            tally.add(unit_id, "used")
        asked = workdays.since(day_of(created)) if created >= within.begin else len(workdays)
        if asked and days and days * 100 >= regular * asked:
            tally.add(unit_id, "regular")


def _days_signed_in(tx: Tx, part: Part, within: Span, workdays: Workdays) -> dict[int, tuple[int, bool]]:
    """By account: on how many working days somebody signed in, and whether on any day."""
    every = Workdays(within, lambda day: True).masks
    where, params = part.where("account.unit_id")
    found: dict[int, tuple[int, bool]] = {}
    months = month_number(within.first), month_number(within.last)
    for account_id, month, days in tx.each(f"{_ACTIVITY} AND {where}", *months, *params):
        count, some = found.get(account_id, (0, False))
        count += (days & workdays.masks.get(month, 0)).bit_count()
        found[account_id] = count, some or bool(days & every[month])
    return found


def count_sent(tx: Tx, part: Part, within: Span, tally: Tally) -> date | None:
    """Letters to addresses outside; the first day that is still known, None when none is."""
    where, params = part.where("account.unit_id")
    minutes = within.begin // 60, within.end // 60
    for unit_id, letters, recipients in tx.each(f"{_SENT} AND {where} GROUP BY account.unit_id", *minutes, *params):
        tally.add(unit_id, "letters", int(letters))
        tally.add(unit_id, "recipients", int(recipients))
    row = tx.one("SELECT min(minute) FROM sent")
    return None if row is None or row[0] is None else day_of(row[0] * 60)


def count_public(tx: Tx, part: Part, tally: Tally) -> None:
    """Entries that stand on the public list today."""
    where, params = part.where("account.unit_id")
    for unit_id, count in tx.each(f"{_PUBLIC} AND {where} GROUP BY account.unit_id", *params):
        tally.add(unit_id, "public", count)


def agencies(tx: Tx, part: Part, on: date) -> set[int]:
    """Units that answer for their list: those that stand on the day and have a mailbox of an organisation or somebody
    who administers them."""
    where, params = part.where("unit.id")
    day = on.isoformat()
    rows = tx.all(f"{_AGENCIES} AND {where}", *(day, day, Role.UNIT_ADMIN.value, day, day), *params)
    return {row[0] for row in rows}


# ---- the tree


def _sorting(name: str) -> str:
    """Without marks, and Tổ 2 before Tổ 10."""
    return re.sub(r"\d+", lambda found: found[0].zfill(6), findable(name))


def tree(tx: Tx, part: Part) -> list[tuple[int, Unit]]:
    """The units of a part in the order of the tree, each with its depth: those above first, neighbours by name."""
    where, params = part.where("id")
    found = [Unit(*row) for row in tx.all(f"{_UNITS} WHERE {where}", *params)]
    known = {unit.id for unit in found}
    below: dict[int | None, list[Unit]] = {}
    for unit in sorted(found, key=lambda unit: (_sorting(unit.name), unit.name, unit.id), reverse=True):
        below.setdefault(unit.parent_id if unit.parent_id in known else None, []).append(unit)
    waiting = [(0, unit) for unit in below.get(None, [])]
    ordered: list[tuple[int, Unit]] = []
    while waiting:
        depth, unit = waiting.pop()
        ordered.append((depth, unit))
        waiting += [(depth + 1, child) for child in below.get(unit.id, [])]
    return ordered


@dataclass(frozen=True, slots=True)
class Line:
    """One unit of a report: its own figures, and those of everything from it downwards. `attested`: when its list was
    last confirmed, 0 never."""

    depth: int
    unit: Unit
    own: Figures
    whole: Figures
    agency: bool = False
    attested: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """A report's figures: a line a unit in the order of the tree; `unplaced`: of accounts that stand in no unit;
    `commune`: of units at or below communes, `province`: of all others."""

    lines: tuple[Line, ...]
    whole: Figures
    province: Figures
    commune: Figures
    unplaced: Figures = field(default_factory=Figures)


def roll_up(
    ordered: Sequence[tuple[int, Unit]],
    figures: Mapping[int | None, Figures],
    headcount: Mapping[int, int],
    attested: Mapping[int, int],
    agency: set[int],
    on: date,
) -> Table:
    """Sums from below. `headcount`: how many staff the personnel office counts in a unit and below it, where it says
    so. Units that have ended are left out unless something is still in them."""
    known = {unit.id for _, unit in ordered}
    parts: dict[int, list[Figures]] = {unit.id: [figures.get(unit.id, Figures())] for _, unit in ordered}
    whole: dict[int, Figures] = {}
    tops: list[Figures] = []
    for _, unit in reversed(ordered):  # those below come before those above
        summed = total(parts[unit.id])
        if unit.id in headcount:
            summed = _with_staff(summed, headcount[unit.id])
        whole[unit.id] = summed
        if unit.parent_id in parts:
            parts[unit.parent_id].append(summed)
        else:
            tops.append(summed)
    communes: set[int] = set()
    for _, unit in ordered:
        if unit.category in COMMUNES or unit.parent_id in communes:
            communes.add(unit.id)
    # The first commune on each way down has the sum of what is below it, with its headcount.
    by_commune = total(whole[u.id] for _, u in ordered if u.id in communes and u.parent_id not in communes)
    unplaced = total(found for unit_id, found in figures.items() if unit_id not in known)
    everything = total([*tops, unplaced])
    lines = tuple(
        Line(depth, unit, figures.get(unit.id, Figures()), whole[unit.id], unit.id in agency, attested.get(unit.id, 0))
        for depth, unit in ordered
        if unit.stands(on) or whole[unit.id]
    )
    return Table(lines, everything, _minus(everything, by_commune), by_commune, unplaced)


def _with_staff(figures: Figures, staff: int) -> Figures:
    return Figures(staff, *(getattr(figures, name) for name in NAMES[1:]))


def _minus(a: Figures, b: Figures) -> Figures:
    return Figures(*(max(0, getattr(a, name) - getattr(b, name)) for name in NAMES))
