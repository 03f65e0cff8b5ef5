"""INPROGRESS (RFC 9585): who asked for something long is told every ten seconds that it goes on.

Only for stretches of work during which nothing but whole lines is written to the peer. FETCH tells by its answers.
"""

import asyncio
from types import TracebackType

from congvu.servers.imap.session import Session

SECONDS = 10.0  # rfc9585 4: not more often


class Progress:
    """`with Progress(session, goal) as progress: … progress.done += 1`. A goal of 0 is not known."""

    __slots__ = ("_goal", "_session", "_timer", "done")

    def __init__(self, session: Session, goal: int = 0) -> None:
        self._session = session
        self._goal = goal
        self._timer: asyncio.TimerHandle | None = None
        self.done = 0

    def __enter__(self) -> "Progress":
        self._wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SECONDS, self._tell)

    def _tell(self) -> None:
        steps = f"{self.done} {self._goal}" if self.done < self._goal else "NIL NIL"
        self._session.untagged("OK", f'INPROGRESS ("{self._session.tag}" {steps})', "imap-in-progress")
        self._wait()
