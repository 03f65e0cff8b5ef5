"""Group commit and the pool of readers: the threads under both engines, which know no SQL.

Promises: as many functions as wait run in one transaction and share its one commit; the contents they bring are put
into the blob keeper before, together; a failing one undoes only itself; no future is resolved before the commit is on
disk; all futures of a batch are resolved in one call into their event loop.

A batch is gathered when its turn to write has come and not before: what arrives while another process writes joins it,
and under load a commit serves two or three times as many.

A batch is first run without savepoints, since nearly all succeed. When one fails, everything is rolled back and the
batch runs again with a savepoint each, and so do the next few batches: functions must not mind being run again (see
`engine`).
"""

import asyncio
import concurrent.futures
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from queue import SimpleQueue
from typing import Any, Protocol

from congvu.base.failure import NotNow
from congvu.base.observe import log, step
from congvu.db.blobs import Blob, Buffer

BATCH_JOBS = 256  # so that the first in a batch does not wait for ever
TOGETHER = 32  # … that one call of their function may serve
BATCH_BYTES = 16 << 20  # of the contents that jobs bring
BATCH_SECONDS = 0.05  # after this long no further function joins the batch
MOST_WAITING = (
    5_000  # functions: some seconds of work, each with a letter's rows in memory. Whoever comes then comes later
)
CAREFUL_BATCHES = 16  # batches run with savepoints after one failed without
ATTEMPTS = 10  # for one function that meets deadlocks


class Verdict(Enum):
    """What a failure inside a transaction means for its neighbours."""

    OWN = 1  # the function's own: undo it alone
    AGAIN = 2  # another transaction stood in the way: run once more, alone
    LOST = 3  # nothing can be committed now


class Keeper(Protocol):
    """As much of a blob keeper as the writer uses."""

    def put_many(self, contents: Sequence[Buffer]) -> list[Blob]: ...


class Job:
    """One function waiting for its turn. `loop` is None when a thread waits for it, and `future` is then a thread's
    future. `contents` are put into `keeper` before, and the blobs are the function's first argument after the
    transaction. `together`: the function takes a list of the arguments of several, and returns a list of results."""

    __slots__ = ("args", "contents", "error", "f", "future", "keeper", "kwargs", "loop", "result", "together")

    def __init__(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        future: "asyncio.Future[Any] | concurrent.futures.Future[Any]",
        loop: asyncio.AbstractEventLoop | None,
        keeper: Keeper | None = None,
        contents: Sequence[Buffer] = (),
        together: bool = False,
    ) -> None:
        self.together = together
        self.keeper = keeper
        self.contents = contents
        self.f = f
        self.args = args
        self.kwargs = kwargs
        self.future = future
        self.loop = loop
        self.result: Any = None
        self.error: BaseException | None = None


class WritingEnd(Protocol):
    """What an engine gives the group writer: one connection, used by the writer's thread alone."""

    touched: set[int]

    def turn_begins(self) -> None:
        """Waits until this process may write."""

    def turn_ends(self) -> None: ...

    def begin(self, alone: bool) -> None:
        """`alone`: one function only, which may wait long for another transaction; a batch rather gives up and is
        split."""

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Never raises; leaves no transaction open."""

    def savepoint(self) -> None: ...

    def release(self) -> None: ...

    def undo(self) -> None:
        """Back to the savepoint, which is gone then."""

    def call(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...

    def judge(self, error: Exception) -> tuple[Verdict, Exception]:
        """The verdict, and the failure as the caller shall see it."""

    def rest(self) -> None:
        """Housekeeping between two batches, when nobody waits for an answer."""

    def close(self) -> None: ...


class ReadingEnd(Protocol):
    """What an engine gives each reading thread."""

    def call(self, job: Job) -> Any:
        """Runs the function on one snapshot; raises failures as the caller shall see them."""

    def close(self) -> None: ...


def _in_calls(jobs: list[Job]) -> list[list[Job]]:
    """The jobs by the calls they take: those of one function that takes many stand together, where the first stood."""
    calls: dict[object, list[Job]] = {}
    for job in jobs:
        calls.setdefault(job.f if job.together else job, []).append(job)
    return [call[at : at + TOGETHER] for call in calls.values() for at in range(0, len(call), TOGETHER)]


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        future = job.future
        if not future.done():
            if job.error is None:
                future.set_result(job.result)
            else:
                future.set_exception(job.error)


def _settle_and_tell(
    jobs: list[Job], touched: frozenset[int], committed: Callable[[frozenset[int]], None] | None
) -> None:
    _settle(jobs)
    if touched and committed is not None:
        try:
            committed(touched)
        except Exception:
            log.exception("telling of a commit failed")


def answer(
    jobs: list[Job], touched: frozenset[int] = frozenset(), tell: Callable[[frozenset[int]], None] | None = None
) -> None:
    """Resolves the futures: one call into each event loop. `tell` is called once, on a loop's thread if there is
    one."""
    first = jobs[0].loop
    groups: dict[asyncio.AbstractEventLoop | None, list[Job]] = {first: jobs}
    if any(job.loop is not first for job in jobs):
        groups = {}
        for job in jobs:
            groups.setdefault(job.loop, []).append(job)
    told = not touched
    for loop, group in groups.items():
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle_and_tell, group, frozenset() if told else touched, tell)
                told = True
    _settle_and_tell(groups.get(None, []), frozenset() if told else touched, tell)


class GroupWriter:
    """The one thread of this process that writes."""

    def __init__(
        self, open_end: Callable[[], WritingEnd], committed: Callable[[frozenset[int]], None] | None, name: str
    ) -> None:
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._put = self._queue.put
        self._committed = committed
        self._careful = 0
        self._touched: set[int] = set()
        self._closed = False
        self._door = threading.Lock()  # nothing is put behind the end, where nobody would ever come to it
        self._end = open_end()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def write(
        self,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        keeper: Keeper | None = None,
        contents: Sequence[Buffer] = (),
        together: bool = False,
    ) -> Any:
        if self._queue.qsize() >= MOST_WAITING:
            raise NotNow("too-busy")
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._enter(Job(f, args, kwargs, future, loop, keeper, contents, together))
        return await future

    def write_now(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._enter(Job(f, args, kwargs, future, None))
        return future.result()

    def _enter(self, job: Job) -> None:
        with self._door:
            if self._closed:
                raise NotNow("shutting-down")
            self._put(job)

    def close(self) -> None:
        """Runs what waits, then ends the thread and the connection."""
        with self._door:
            if self._closed:
                return
            self._closed = True
            self._put(None)
        self._thread.join()

    # ---- the writer's thread

    def _work(self) -> None:
        queue, end = self._queue, self._end
        open_ = True
        while open_:
            job = queue.get()
            if job is None:
                break
            jobs = [job]
            self._touched = set()
            try:
                end.turn_begins()
                try:
                    open_ = self._gather(jobs)
                    ready = self._keep_contents(jobs)
                    if ready:
                        self._run(ready)
                finally:
                    end.turn_ends()
            except Exception:  # a bug of ours or of the engine: the writer itself must live on
                log.exception("the writer met trouble")
                for job in jobs:
                    job.error = job.error or NotNow("storage-trouble")
            answer(jobs, frozenset(self._touched), self._committed)
            jobs = []
            job = None  # lets go of letters and tracebacks while nothing is to be done
            end.rest()
        end.close()

    def _gather(self, jobs: list[Job]) -> bool:
        """Adds those that have come meanwhile; False when the last one has."""
        queue = self._queue
        size = sum(map(len, jobs[0].contents))
        for _ in range(min(queue.qsize(), BATCH_JOBS - 1)):
            if size > BATCH_BYTES:
                break
            job = queue.get_nowait()
            if job is None:
                return False
            if not job.future.cancelled():
                jobs.append(job)
                size += sum(map(len, job.contents))
        return True

    @staticmethod
    def _keep_contents(jobs: list[Job]) -> list[Job]:
        """Makes what the jobs bring safe, with one call for each keeper; returns those that may now run."""
        keepers: dict[Keeper, list[Job]] = {}
        for job in jobs:
            if job.keeper is not None:
                keepers.setdefault(job.keeper, []).append(job)
        for keeper, some in keepers.items():
            try:
                blobs = iter(keeper.put_many([content for job in some for content in job.contents]))
            except NotNow as error:
                for job in some:
                    job.error = error
            else:
                for job in some:
                    job.args = ([next(blobs) for _ in job.contents], *job.args)
        return [job for job in jobs if job.error is None]

    def _run(self, jobs: list[Job]) -> None:
        """Runs a batch to its end: every job has a result or an error, and what has a result is committed."""
        if len(jobs) == 1:
            self._alone(jobs[0])
            return
        left = _in_calls(jobs)
        while left:
            careful = self._careful > 0
            if careful:
                left = [[job] for call in left for job in call]
            self._careful = max(0, self._careful - 1)
            done: list[list[Job]] = []
            try:
                self._batch(left, done, careful)
            except Exception as error:
                self._end.rollback()
                verdict, told = self._end.judge(error)
                if verdict is Verdict.OWN and not careful:
                    self._careful = CAREFUL_BATCHES
                    continue
                if verdict is Verdict.AGAIN:
                    for call in left:
                        for job in call:
                            self._alone(job)
                    return
                for call in left:
                    for job in call:
                        job.error = told if verdict is Verdict.LOST else NotNow("storage-trouble")
                if verdict is Verdict.OWN:
                    log.error("a commit failed for no reason known to us", exc_info=error)
                return
            left = left[len(done) :]

    def _batch(self, calls: list[list[Job]], done: list[list[Job]], careful: bool) -> None:
        """One transaction with as many of the calls as fit in its time; those are put into `done`. `careful`: each
        call is of one job."""
        end = self._end
        monotonic = time.monotonic
        end.begin(alone=False)
        until = monotonic() + BATCH_SECONDS
        for call in calls:
            for job in call:
                job.error = None
            if careful:
                end.savepoint()
                try:
                    self._call(call)
                except Exception as error:
                    verdict, told = end.judge(error)
                    if verdict is not Verdict.OWN:
                        raise
                    end.undo()
                    call[0].error = told
                else:
                    end.release()
            else:
                self._call(call)
            done.append(call)
            if monotonic() > until:
                break
        self._commit()

    def _call(self, jobs: list[Job]) -> None:
        """One call of the function that all these jobs have."""
        first = jobs[0]
        if first.together:
            results = self._end.call(first.f, [job.args for job in jobs])
            for job, result in zip(jobs, results, strict=True):
                job.result = result
        else:
            first.result = self._end.call(first.f, *first.args, **first.kwargs)

    def _alone(self, job: Job) -> None:
        """One function in its own transaction, again and again while others stand in its way."""
        end = self._end
        for attempt in range(ATTEMPTS):
            try:
                end.begin(alone=True)
                self._call([job])
                self._commit()
                return
            except Exception as error:
                end.rollback()
                verdict, told = end.judge(error)
                if verdict is not Verdict.AGAIN:
                    job.error = told
                    return
                time.sleep(random.uniform(0.001, 0.01) * (attempt + 1))  # noqa: S311 (no secret)
        job.error = NotNow("storage-trouble")

    def _commit(self) -> None:
        step("rows-written")
        self._end.commit()
        step("committed")
        self._touched |= self._end.touched


class ReadPool:
    """A few threads, each with a connection that cannot write."""

    def __init__(self, open_end: Callable[[], ReadingEnd], threads: int, name: str) -> None:
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._put = self._queue.put
        self._open_end = open_end
        self._closed = False
        self._door = threading.Lock()  # nothing is put behind the end, where nobody would ever come to it
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def read(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._enter(Job(f, args, kwargs, future, loop))
        return await future

    def read_now(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._enter(Job(f, args, kwargs, future, None))
        return future.result()

    def _enter(self, job: Job) -> None:
        with self._door:
            if self._closed:
                raise NotNow("shutting-down")
            self._put(job)

    def close(self) -> None:
        """Answers what waits, then ends the threads and their connections."""
        with self._door:
            if self._closed:
                return
            self._closed = True
            for _ in self._threads:
                self._put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        end: ReadingEnd | None = None
        while (job := self._queue.get()) is not None:
            if job.future.cancelled():
                continue
            try:
                end = end or self._open_end()
                job.result = end.call(job)
            except Exception as error:
                job.error = error
            answer([job])
            del job
        if end is not None:
            end.close()
