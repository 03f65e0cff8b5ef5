"""Which report is due when."""

from datetime import date

import pytest

from congvu.directory import profile
from congvu.directory.people import Kind
from congvu.directory.report_days import Due, Report, due


def told(name: str, on: date, until: date, *reports: Report) -> list[tuple[str, str, str, bool]]:
    found = [each for each in due(profile.load(name), on, until) if each.report in reports]
    return [(str(e.before), str(e.first or ""), str(e.last or ""), e.exact) for e in found]


@pytest.mark.parametrize(
    ("name", "report", "expected"),
    [
        # Row 15.1: before 11/12 with figures of a year up to 10/12; each day is counted in one report.
        ("nghean_2025", Report.AGENCY, [("2026-12-11", "2025-12-11", "2026-12-10", True)]),
        ("ninhbinh_2025", Report.AGENCY, [("2026-12-15", "", "", True)]),
        ("dongthap_2025", Report.AGENCY, [("2026-06-20", "", "", True), ("2026-12-20", "", "", True)]),
        ("kiengiang", Report.AGENCY, []),
        # Row 15.2
        ("dongthap_2025", Report.OPERATOR, [("2026-06-30", "", "", True), ("2026-12-25", "", "", True)]),
        (
            "nghean_2025",
            Report.OPERATOR,
            [
                ("2026-04-01", "2026-01-01", "2026-03-31", False),
                ("2026-07-01", "2026-04-01", "2026-06-30", False),
                ("2026-10-01", "2026-07-01", "2026-09-30", False),
            ],
        ),
        # Row 15.4 holds for everybody.
        ("kiengiang", Report.SECURITY_AGENCY, [("2026-12-20", "2025-12-15", "2026-12-14", True)]),
        ("angiang_2016", Report.SECURITY_OWNER, [("2026-12-25", "2025-12-15", "2026-12-14", True)]),
    ],
)
def test_of_a_year(name: str, report: Report, expected: list[tuple[str, str, str, bool]]) -> None:
    assert told(name, date(2026, 1, 1), date(2026, 12, 31), report) == expected


def test_the_day_itself_is_too_late() -> None:
    first = date(2026, 12, 11)
    assert told("nghean_2025", first, date(2027, 11, 30), Report.AGENCY) == []
    assert len(told("nghean_2025", first.replace(day=10), first, Report.AGENCY)) == 1
    assert told("nghean_2025", first, date(2027, 12, 11), Report.AGENCY)[0][:2] == ("2027-12-11", "2026-12-11")


def test_the_soonest_first_with_the_row() -> None:
    found = due(profile.load("nghean_2025"), date(2026, 11, 25), date(2027, 1, 1))
    assert [e.before for e in found] == sorted(e.before for e in found)
    assert found[0] == Due(
        *(Report.AGENCY, date(2026, 12, 11), date(2025, 12, 11), date(2026, 12, 10), True, "15.1", "NA Đ15.1c")
    )
    assert {e.row for e in found} == {"15.1", "15.2", "15.4", "12.12"}


def test_a_profile_that_says_nothing() -> None:
    assert due(profile.Profile("test", dict.fromkeys(Kind, 1)), date(2026, 1, 1), date(2030, 1, 1)) == []
