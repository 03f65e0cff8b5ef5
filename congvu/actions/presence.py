"""Who is connected, so that sessions end when they must, and the days on which accounts were used are known.

Every worker of every node asks the database each second or two which accounts' epoch has just grown (one statement by
index, nearly always without a row, however many sessions there are): a hint may be lost and crosses no machine, so
nothing hangs on one. Promises that a session whose account was locked, revoked, handed over or given another secret is
told within some seconds, idle or not; and one write a day and account for `seen_day`, behind the answers, many in one.
Must never read for a command.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from congvu.base.clock import Clock, day_of
from congvu.base.failure import NotNow
from congvu.base.observe import log
from congvu.db.engine import Database, Tx
from congvu.directory import lifecycle, statistics
from congvu.directory.lifecycle import Act, State

EVERY = 2.0  # seconds between two looks
SKEW = 120  # seconds by which the clocks of two nodes may differ
TOGETHER = 500  # accounts noted in one write
LATER = 1.0  # seconds that a note waits for others


def _ended(tx: Tx, since: int) -> list[tuple[int, int, State]]:
    rows = tx.all("SELECT id, epoch, state FROM account WHERE epoch > ?", since)
    return [(number, epoch, State(state)) for number, epoch, state in rows]


def note_seen(tx: Tx, account_ids: Sequence[int], day: int) -> None:
    """These accounts were used on that day."""
    date = lifecycle.numbered(day)
    month, bit = statistics.month_number(date), 1 << (date.day - 1)
    tx.run("UPDATE account SET seen_day = ? WHERE id IN (?*) AND seen_day < ?", day, account_ids, day)
    tx.many(
        "INSERT INTO activity (account_id, month, days) VALUES (?, ?, ?)"
        " ON CONFLICT (account_id, month) DO UPDATE SET days = activity.days | excluded.days",
        [(number, month, bit) for number in account_ids],
    )


class Presence:
    """The sessions of one process. For the event loop's thread."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._sessions: dict[int, list[tuple[int, Callable[[str], None]]]] = {}  # by account: epoch, how to end it
        self._day = 0
        self._noted: set[int] = set()  # accounts whose use today has been noted, or waits for it
        self._to_note: list[int] = []
        self._noting: asyncio.Task[None] | None = None

    def enter(self, account_id: int, epoch: int, end: Callable[[str], None]) -> Callable[[], None]:
        """A session begins. What is returned takes it out again; it may be called twice."""
        entry = (epoch, end)
        self._sessions.setdefault(account_id, []).append(entry)

        def leave() -> None:
            held = self._sessions.get(account_id, [])
            if entry in held:
                held.remove(entry)
                if not held:
                    del self._sessions[account_id]

        return leave

    def saw(self, account_id: int, seen_day: int) -> None:
        """Somebody signed in; `seen_day` as the database has it."""
        today = self._today()
        if seen_day >= today or account_id in self._noted:
            return
        self._noted.add(account_id)
        self._to_note.append(account_id)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.ensure_future(self._note(LATER))

    def _today(self) -> int:
        today = lifecycle.day_number(day_of(self._clock.now()))
        if today != self._day:
            self._day = today
            self._noted.clear()
        return today

    async def _note(self, later: float) -> None:
        await asyncio.sleep(later)
        while self._to_note:
            some, self._to_note = self._to_note[:TOGETHER], self._to_note[TOGETHER:]
            try:
                await self._db.write(note_seen, some, self._today())
            except NotNow as trouble:  # the next sign-in tells it again
                log.warning("not noted who signed in: %s", trouble.code)
                self._noted.difference_update(some)

    async def flush(self) -> None:
        """Notes at once what waits."""
        if self._noting is not None:
            self._noting.cancel()
            with suppress(asyncio.CancelledError):
                await self._noting
            self._noting = None
        await self._note(0)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.look()
            except NotNow as trouble:
                log.warning("which sessions have to end is not known now: %s", trouble.code)
            except Exception:
                log.exception("the look at the sessions failed")

    async def look(self) -> None:
        """Ends what has to end; a program that stays connected over midnight is used on the new day too."""
        before = self._day
        if self._today() != before:
            for account_id in self._sessions:
                self.saw(account_id, 0)
        if not self._sessions:
            return
        for account_id, epoch, state in await self._db.look(_ended, int(self._clock.now()) - SKEW):
            self._end(account_id, epoch, state)

    def _end(self, account_id: int, epoch: int, state: State) -> None:
        code = "session-ended" if lifecycle.may(state, Act.SIGN_IN) else "session-locked"
        for entry in list(self._sessions.get(account_id, ())):
            opened_at, end = entry
            if opened_at < epoch:
                self._sessions[account_id].remove(entry)
                try:
                    end(code)
                except Exception:
                    log.exception("a session would not end")
        if not self._sessions.get(account_id, True):
            del self._sessions[account_id]
