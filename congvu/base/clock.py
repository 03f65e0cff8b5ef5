"""Time as an argument: the one seam through which tests move the clock by hand, and the identifiers drawn from it."""

import os
import time
from datetime import date, datetime, timedelta, timezone
from typing import Protocol

VIETNAM = timezone(timedelta(hours=7))  # ahead of UTC the whole year, whatever zone the machine is set to


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()


def day_of(instant: float) -> date:
    """The day it is in Vietnam at that instant."""
    return datetime.fromtimestamp(instant, VIETNAM).date()


class ManualClock:
    """A clock that stands until it is moved; for tests."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def move(self, seconds: float) -> None:
        self._now += seconds


class Identifiers:
    """Draws 63-bit numbers that grow with time: 42 bits of milliseconds since 2020, 21 bits that begin at random.

    Two processes may draw the same number only in the same millisecond with a chance of about one in two million for
    each pair drawn; a primary key then refuses the second and its writer tries again. No shared sequence is needed, so
    nodes never wait for each other, and rows that come together lie together on disk.
    """

    _EPOCH = 1_577_836_800_000  # 2020-01-01 in ms

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._low = 0
        self._last = 0

    def draw(self) -> int:
        ms = max(int(self._clock.now() * 1000) - self._EPOCH, self._last)
        if ms > self._last:
            self._last = ms
            # The top bit of the random start is left clear: a million numbers can follow within the millisecond.
            self._low = int.from_bytes(os.urandom(3), "big") & 0xFFFFF
        elif self._low == 0x1FFFFF:
            self._last += 1
            self._low = 0
            ms = self._last
        else:
            self._low += 1
        return ms << 21 | self._low
