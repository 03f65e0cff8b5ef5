"""Working days against the days off that the Government decided: Tết of each year, swapped days, Giỗ Tổ."""

from datetime import UTC, date, datetime

import pytest

from congvu.directory.calendar import Calendar, calendar

VIETNAM = Calendar()


def days(text: str) -> date:
    return date.fromisoformat(text)


# Days off in a row, first and last, as they were decided for civil servants.
OFF = [
    ("2023-01-20", "2023-01-26"),  # Tết Quý Mão
    ("2024-02-08", "2024-02-14"),  # Tết Giáp Thìn
    ("2024-04-27", "2024-05-01"),  # 29 April off for Saturday 4 May
    ("2025-01-25", "2025-02-02"),  # Tết Ất Tỵ
    ("2025-04-07", "2025-04-07"),  # Giỗ Tổ
    ("2025-04-30", "2025-05-04"),  # 2 May off for Saturday 26 April
    ("2025-08-30", "2025-09-02"),
    ("2026-01-01", "2026-01-01"),
    ("2026-02-16", "2026-02-20"),  # Tết Bính Ngọ
    ("2026-04-25", "2026-04-27"),  # Giỗ Tổ on a Sunday: Monday in lieu
    ("2030-02-02", "2030-02-06"),  # the new moon by the time of Hanoi: a day before China's
]


@pytest.mark.parametrize(("first", "last"), OFF)
def test_days_off(first: str, last: str) -> None:
    day = days(first)
    while day <= days(last):
        assert not VIETNAM.is_workday(day), day
        day = date.fromordinal(day.toordinal() + 1)


@pytest.mark.parametrize(
    "day", ["2025-01-24", "2025-02-03", "2025-04-26", "2026-02-13", "2026-02-23", "2024-02-07", "2026-11-25"]
)
def test_working_days(day: str) -> None:
    assert VIETNAM.is_workday(days(day))


def test_names() -> None:
    assert VIETNAM.holiday(days("2026-02-17")) == "Tết Nguyên Đán"
    assert VIETNAM.holiday(days("2026-09-02")) == "Quốc khánh"
    assert VIETNAM.holiday(days("2026-02-13")) == ""


@pytest.mark.parametrize(
    ("start", "count", "end"),
    [
        (
            "2026-02-12",
            3,
            "2026-02-24",
        ),  # the Thursday before Tết
        ("2025-01-24", 1, "2025-02-03"),
        ("2025-04-25", 1, "2025-04-26"),  # the Saturday that was worked
        ("2026-11-25", 2, "2026-11-27"),
        ("2026-11-28", 0, "2026-11-30"),
        ("2026-11-25", 0, "2026-11-25"),
        ("2025-12-31", 1, "2026-01-02"),  # over the year's end
    ],
)
def test_adding(start: str, count: int, end: str) -> None:
    assert VIETNAM.add_workdays(days(start), count) == days(end)
    if count:
        assert VIETNAM.workdays_between(days(start), days(end)) == count
        assert VIETNAM.workdays_between(days(end), days(start)) == -count


def instant(text: str) -> float:
    """An hour of Vietnam."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - 7 * 3600


@pytest.mark.parametrize(
    ("came", "received", "due"),
    [
        ("2026-11-25T08:00", "2026-11-25", "2026-11-30"),  # Wednesday morning, three working days
        ("2026-11-25T16:59", "2026-11-25", "2026-11-30"),
        ("2026-11-25T17:00", "2026-11-26", "2026-12-01"),  # as if it came on Thursday
        ("2026-11-28T10:00", "2026-11-30", "2026-12-03"),  # a Saturday
        ("2026-02-13T18:00", "2026-02-23", "2026-02-26"),  # the evening before Tết
        ("2026-11-26T00:30", "2026-11-26", "2026-12-01"),  # still Wednesday in UTC
    ],
)
def test_due(came: str, received: str, due: str) -> None:
    assert VIETNAM.received(instant(came)) == days(received)
    assert VIETNAM.due(instant(came), 3) == days(due)


def test_exceptions() -> None:
    own = calendar(off=["2027-02-11"], on=["2027-02-13"], closes=24)
    assert own.is_workday(days("2027-02-13")) and not own.is_workday(days("2027-02-11"))
    assert own.received(instant("2026-11-25T23:30")) == days("2026-11-25")
    never = Calendar(off=frozenset(date.fromordinal(days("2026-01-01").toordinal() + n) for n in range(4000)))
    with pytest.raises(ValueError, match="no working day"):
        never.add_workdays(days("2026-01-01"), 1)
