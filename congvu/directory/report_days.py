"""Which report is due when: the days of a profile as a list (rows 15.1, 15.2, 15.4, 12.12). Pure.

Promises that a day that a text names is told as that day ("trước ngày 15/12"), and that a rhythm without a day ("mỗi
quý") is told as such: it is laid on the year, and `exact` is off. What the clock sends by itself (locked mailboxes, row
4.10) is not here. Must never invent a cut-off that no text names.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from congvu.directory.profile import Profile
from congvu.directory.rules import Days, Period, Rule


class Report(StrEnum):
    """Who reports what to whom."""

    AGENCY = "agency"  # agencies to the operator
    OPERATOR = "operator"  # the operator to the province
    SECURITY_AGENCY = "security-agency"  # units to the owner of the system
    SECURITY_OWNER = "security-owner"  # the owner to the Ministry of Public Security
    RIGHTS = "rights"  # who may do what is looked through


@dataclass(frozen=True, slots=True)
class Due:
    """A report that has to be there before a day. `first` and `last`: the time it is about, None when the text does not
    say; `exact`: the text names the day."""

    report: Report
    before: date
    first: date | None
    last: date | None
    exact: bool
    row: str
    source: str


def due(profile: Profile, on: date, until: date) -> list[Due]:
    """What is due after `on` and not after `until`, the soonest first."""
    r = profile.report
    found = [
        *_on_days(Report.AGENCY, r.agency_before, r.agency_until, on, until),
        *_on_days(Report.OPERATOR, r.operator_before, Rule("", None), on, until),
        *_on_days(Report.SECURITY_AGENCY, r.security_before, r.security_until, on, until),
        *_every(Report.OPERATOR, r.operator_every, on, until),
        *_every(Report.RIGHTS, r.rights_review_every, on, until),
    ]
    return sorted(found, key=lambda each: (each.before, list(Report).index(each.report)))


def _in_year(year: int, text: str) -> date:
    month, day = map(int, text.split("-"))
    if (month, day) == (2, 29) and not (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)):
        day = 28
    return date(year, month, day)


def _on_days(report: Report, before: Rule[Days], cut: Rule[Days], on: date, until: date) -> Iterator[Due]:
    for year in range(on.year, until.year + 1):
        for place, text in enumerate(before.or_none or ()):
            day = _in_year(year, text)
            if on < day <= until:
                first, last = _about(cut.or_none, day)
                # Row 15.4 names two days: first the units report to the owner, then the owner to the ministry.
                who = Report.SECURITY_OWNER if report is Report.SECURITY_AGENCY and place else report
                yield Due(who, day, first, last, True, before.row, _source(before))


def _about(cut: Days | None, day: date) -> tuple[date | None, date | None]:
    """From the day after the cut-off before the last to the last one: each day is counted in one report (row 15.4:
    15/12 to 14/12; NA writes 10/12 to 10/12)."""
    if not cut:
        return None, None
    days = sorted(_in_year(year, text) for year in range(day.year - 2, day.year + 1) for text in cut)
    *_, first, last = [each for each in days if each < day]
    return first + timedelta(days=1), last


def _every(report: Report, every: Rule[Period], on: date, until: date) -> Iterator[Due]:
    """Laid on the year: every three months are its quarters."""
    rhythm = every.or_none
    if rhythm is None:
        return
    first = date(on.year, 1, 1)
    while (following := rhythm.after(first)) <= until and following > first:
        if following > on:
            yield Due(report, following, first, following - timedelta(days=1), False, every.row, _source(every))
        first = following


def _source(rule: Rule[Any]) -> str:
    return rule.applied.source if rule.applied else ""
