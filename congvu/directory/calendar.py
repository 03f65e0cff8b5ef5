"""Working days in Vietnam, for deadlines that the regulations count in them (rows 3.4, 3.11, 4.11).

Holidays of Bộ luật Lao động Đ112, Tết and Giỗ Tổ by the lunar calendar, days in lieu and the working days that the
Government swapped come from the package `holidays`; what it does not know yet (each autumn the Government decides the
next Tết) stands as exceptions in the caller's hands. Pure; must never ask what day it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache

from congvu.base.clock import VIETNAM

_MOST = 3660  # days looked at for one deadline: ten years, and an end to any mistake
SATURDAY = 5


@cache
def _year(year: int) -> tuple[dict[date, str], frozenset[date]]:
    """The holidays of a year with their names, and the Saturdays and Sundays that were swapped for working days."""
    from holidays.countries.vietnam import Vietnam  # noqa: PLC0415  (a tenth of a second, only where deadlines are)

    known = Vietnam(years=[year], language="vi")  # type: ignore[no-untyped-call]  # the package says no types
    return {day: name for day, name in known.items() if day.year == year}, frozenset(known.weekend_workdays)


@dataclass(frozen=True, slots=True)
class Calendar:
    """`off`: days off, `on`: working days, beyond what is known of Vietnam. `closes`: the hour (Vietnam) from which
    what comes counts as come on the next working day."""

    off: frozenset[date] = field(default_factory=frozenset)
    on: frozenset[date] = field(default_factory=frozenset)
    closes: int = 17

    def holiday(self, day: date) -> str:
        """The name of a holiday, "" when it is none."""
        return _year(day.year)[0].get(day, "")

    def is_workday(self, day: date) -> bool:
        if day in self.on:
            return True
        if day in self.off or day in _year(day.year)[0]:
            return False
        return day.weekday() < SATURDAY or day in _year(day.year)[1]

    def next_workday(self, day: date) -> date:
        """The first working day after that one."""
        return self.add_workdays(day, 1)

    def add_workdays(self, start: date, count: int) -> date:
        """The working day that lies so many after `start`, which does not count itself (Bộ luật Dân sự Đ147). With 0:
        `start`, or the first working day after it."""
        day, left = start, count
        for _ in range(_MOST):
            if left <= 0 and self.is_workday(day):
                return day
            day += timedelta(days=1)
            if left > 0 and self.is_workday(day):
                left -= 1
        raise ValueError(f"no working day within ten years of {start}")

    def workdays_between(self, start: date, end: date) -> int:
        """Working days after `start` up to `end`, that included; below zero when `end` is earlier."""
        if end < start:
            return -self.workdays_between(end, start)
        days = (start + timedelta(days=n) for n in range(1, (end - start).days + 1))
        return sum(map(self.is_workday, days))

    def received(self, instant: float) -> date:
        """The working day on which something counts as come: the next one in the evening and on days off."""
        local = datetime.fromtimestamp(instant, VIETNAM)
        if self.is_workday(local.date()) and local.hour < self.closes:
            return local.date()
        return self.next_workday(local.date())

    def due(self, instant: float, workdays: int) -> date:
        """The last working day for an answer to what came at that instant."""
        return self.add_workdays(self.received(instant), workdays)


def calendar(off: Iterable[str] = (), on: Iterable[str] = (), closes: int = 17) -> Calendar:
    """From days as texts, "2026-02-14"."""
    return Calendar(frozenset(map(date.fromisoformat, off)), frozenset(map(date.fromisoformat, on)), closes)
