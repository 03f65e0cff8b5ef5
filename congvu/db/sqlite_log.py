"""SQLite's write-ahead log: who may write next, and the log's way back into the file.

Every process that writes to a file has a `LogKeeper`, a thread that copies the log back beside those who write, once
for many commits, and cuts it off when nobody has written for a while. Promises: the log of a busy file stays bounded
unless a reader stays on an old snapshot; a quiet one takes no more than `KEPT`; no commit waits for more copying than
what came during the copying before. Must never make a commit fail: what cannot be done now is tried again later.
"""

import fcntl
import os
import threading
from pathlib import Path

import apsw

from congvu.base.observe import log

# Bytes of log. A page that changes often is written back once for all its changes in so much of it.
COPY = 32 << 20
AGAIN = 8 << 20  # after so many more, when a reader kept the log from starting anew
KEPT = 4 << 20  # stays when all is quiet: to give back less is not worth the writing
LIMIT = 64 << 20  # what a long reader made it grow beyond is cut off when it starts anew
QUIET = 1.0  # seconds without a commit
LATER = 60.0  # seconds at most until what did not succeed is tried again


class Turn:
    """The place in the queue of processes that write to one file.

    Two locks: who holds `next` waits for `main` and then lets `next` go, so a process that has just written cannot
    slip in again before the one that waits. Not for two threads: each takes a turn of its own.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._main = os.open(path.with_name(path.name + "-turn"), flags, 0o600)
        self._next = os.open(path.with_name(path.name + "-next"), flags, 0o600)

    def take(self) -> None:
        fcntl.flock(self._next, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._main, fcntl.LOCK_EX)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def take_if_free(self) -> bool:
        try:
            fcntl.flock(self._main, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give(self) -> None:
        fcntl.flock(self._main, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._main)
        os.close(self._next)


class LogKeeper:
    """`connection` is the keeper's own, to the same file."""

    def __init__(self, path: Path, connection: apsw.Connection, page: int) -> None:
        self._log = Path(connection.filename_wal)
        self._connection = connection
        self._connection.set_busy_timeout(0)
        self._turn = Turn(path)
        self._page = page
        self._size = 0  # of the log at the last commit
        self._due = COPY
        self._copying = False
        self._watching = True  # what a crash left is given back too
        self._written = 0  # when the log was last written to, by its own clock
        self._pause = QUIET
        self._wanted = threading.Event()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="sqlite-log", daemon=True)
        self._thread.start()

    def grown(self, pages: int) -> None:
        """Told after each commit how long the log is."""
        size = pages * self._page
        if size < self._size:  # it started anew
            self._due = COPY
        self._size = size
        if size >= self._due:
            self._due = size + AGAIN
            self._copying = True
            self._wanted.set()
        elif size > KEPT and not self._watching:
            self._watching = True
            self._wanted.set()

    def close(self) -> None:
        self._open = False
        self._wanted.set()
        self._thread.join()
        self._connection.close()
        self._turn.close()

    # ---- the keeper's thread

    def _work(self) -> None:
        while True:
            self._wanted.wait(self._pause if self._watching else None)
            self._wanted.clear()  # before the work: a wish that comes meanwhile counts
            if not self._open:
                return
            try:
                if self._copying:
                    self._copying = False
                    self._copy()
                elif self._watching:
                    self._look()
            except apsw.BusyError:  # another process is at it, or somebody reads
                self._pause = min(self._pause * 2, LATER)
            except (apsw.Error, OSError) as error:
                log.warning("the database's log: %s", error)
                self._pause = min(self._pause * 2, LATER)

    def _copy(self) -> None:
        """Nearly all of it beside those who write, the rest while they wait: only a log that has been copied whole
        starts anew."""
        self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._turn.take()
        try:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            self._turn.give()

    def _look(self) -> None:
        """Gives the log's room back when no process has written since the last look."""
        found = self._log.stat()
        if found.st_size <= KEPT:
            self._watching = False
            self._pause = QUIET
        elif found.st_mtime_ns != self._written:
            self._written = found.st_mtime_ns
            self._pause = QUIET
        else:
            length, copied = self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
            if copied < length:
                raise apsw.BusyError("somebody reads what is older")
            if self._turn.take_if_free():
                try:
                    self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
                finally:
                    self._turn.give()

    def _checkpoint(self, mode: int) -> tuple[int, int]:
        return self._connection.wal_checkpoint("main", mode)
