"""Two writers at the same account at the same moment, on every engine: nothing is lost, doubled or counted twice.

Each test opens the database twice, as two worker processes do. The first writer stops inside its transaction with
the account in its hands; the second begins meanwhile and must see, once it is let in, what the first has done.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import NotNow, Refused
from congvu.codec import mime
from congvu.db import group, open_database
from congvu.db.blobs import Blob
from congvu.db.engine import Database
from congvu.mailstore import changes, check, mailbox, message
from congvu.mailstore.message import DELETED, FLAGGED, SEEN, NewLetter, Op, Placed, Target

NOW = 1_790_000_000
ids = Identifiers(ManualClock())


def letter() -> NewLetter:
    number = ids.draw()
    content = b"From: An <an@angiang.gov.vn>\r\nSubject: x\r\n\r\nx\r\n"
    return NewLetter(number, Blob(number.to_bytes(32, "big"), len(content), "nowhere"), b"", mime.scan(content))


def deliver(tx: Any, of: NewLetter, target: Target) -> Placed | Refused:
    message.keep_letter(tx, of, NOW)
    return message.place(tx, of, [target], NOW, NOW)[0]


class Two:
    """Two processes' databases, and account 1 with three letters in INBOX."""

    def __init__(self, first: Database, second: Database) -> None:
        self.first = first
        self.second = second
        first.write_now(mailbox.create_store, 1, 0, NOW)
        for _ in range(3):
            first.write_now(deliver, letter(), Target(1, 1))

    def meet(
        self, first: Callable[..., Any], second: Callable[..., Any], threads: ThreadPoolExecutor
    ) -> tuple[Any, Any]:
        """`first` has done its work but not committed when `second` begins. A `Refused` is an answer too."""
        done, go = threading.Event(), threading.Event()

        def hold(tx: Any) -> Any:
            result = first(tx)
            done.set()
            go.wait(10)
            return result

        def answer(db: Database, f: Callable[..., Any]) -> Future[Any]:
            def ask() -> Any:
                try:
                    return db.write_now(f)
                except Refused as refused:
                    return refused

            return threads.submit(ask)

        one = answer(self.first, hold)
        assert done.wait(10)
        other = answer(self.second, second)
        # Long enough for it to read what it reads before it meets the lock, if it does so.
        threading.Event().wait(0.15)
        go.set()
        return one.result(20), other.result(20)

    def rows(self, number: int) -> list[message.Row]:
        return self.first.read_now(message.rows, 1, number, 1, 99)


@pytest.fixture
def two(db: Database, engine_url: str, tmp_path: Path) -> Iterator[Two]:
    second = open_database(engine_url, data=tmp_path)
    pair = Two(db, second)
    yield pair
    findings = db.read_now(lambda tx: [f for f in check.check(tx) if "primary" not in f])
    second.close()
    assert findings == []


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_two_stores_keep_both_flags(two: Two, threads: ThreadPoolExecutor) -> None:
    two.meet(
        lambda tx: message.store(tx, 1, 1, [1, 2], Op.ADD, SEEN, ("$a",), NOW),
        lambda tx: message.store(tx, 1, 1, [1, 2], Op.ADD, FLAGGED, ("$b",), NOW),
        threads,
    )
    assert [(r.flags, r.keywords) for r in two.rows(1)] == [(SEEN | FLAGGED, "$a $b")] * 2 + [(0, "")]
    box = two.first.read_now(mailbox.get, 1, 1)
    assert box is not None
    assert set(box.keywords) == {"$a", "$b"}


def test_unchanged_since_sees_who_was_first(two: Two, threads: ThreadPoolExecutor) -> None:
    before = two.first.read_now(changes.highest, 1)
    _, second = two.meet(
        lambda tx: message.store(tx, 1, 1, [1], Op.ADD, SEEN, (), NOW),
        lambda tx: message.store(tx, 1, 1, [1], Op.SET, FLAGGED, (), NOW, unchanged_since=before),
        threads,
    )
    assert second.failed == [1]


def test_a_letter_is_moved_once(two: Two, threads: ThreadPoolExecutor) -> None:
    one, other = two.meet(
        lambda tx: message.move(tx, 1, 1, [1, 2], 5, NOW), lambda tx: message.move(tx, 1, 1, [1, 2], 6, NOW), threads
    )
    assert (one.source, other.source) == ([1, 2], [])
    assert [len(two.rows(n)) for n in (1, 5, 6)] == [1, 2, 0]


def test_what_was_moved_is_not_flagged_or_copied(two: Two, threads: ThreadPoolExecutor) -> None:
    _, stored = two.meet(
        lambda tx: message.move(tx, 1, 1, [1], 5, NOW),
        lambda tx: message.store(tx, 1, 1, [1, 2], Op.ADD, SEEN, (), NOW),
        threads,
    )
    assert [r.uid for r in stored.changed] == [2]
    _, copied = two.meet(
        lambda tx: message.move(tx, 1, 1, [2], 5, NOW), lambda tx: message.copy(tx, 1, 1, [2, 3], 6, NOW), threads
    )
    assert copied.source == [3]


def test_a_letter_is_expunged_once(two: Two, threads: ThreadPoolExecutor) -> None:
    two.first.write_now(message.store, 1, 1, [1, 2], Op.ADD, DELETED, (), NOW)
    one, other = two.meet(
        lambda tx: message.expunge(tx, 1, 1, None, NOW), lambda tx: message.expunge(tx, 1, 1, [1, 2], NOW), threads
    )
    assert (one, other) == ([1, 2], [])


def test_a_delivery_while_flags_change(two: Two, threads: ThreadPoolExecutor) -> None:
    _, placed = two.meet(
        lambda tx: message.store(tx, 1, 1, [1], Op.ADD, SEEN, ("$a",), NOW),
        lambda tx: deliver(tx, letter(), Target(1, 1, 0, ("$b",))),
        threads,
    )
    assert placed.uid == 4
    two.meet(
        lambda tx: deliver(tx, letter(), Target(1, 1)),
        lambda tx: message.store(tx, 1, 1, [1], Op.ADD, 0, ("$c",), NOW),
        threads,
    )
    log = [c.modseq for c in two.first.read_now(changes.since, 1, 1)]
    assert log == sorted(set(log))
    box = two.first.read_now(mailbox.get, 1, 1)
    assert box is not None
    assert set(box.keywords) == {"$a", "$b", "$c"}


def test_a_mailbox_is_deleted_with_what_came_last(two: Two, threads: ThreadPoolExecutor) -> None:
    made = two.first.write_now(mailbox.create, 1, "Tạm", NOW)
    two.meet(
        lambda tx: deliver(tx, letter(), Target(1, made.id)), lambda tx: mailbox.delete(tx, 1, "Tạm", NOW), threads
    )
    assert two.first.read_now(mailbox.quota, 1).messages == 3


def test_nothing_comes_to_a_mailbox_that_goes(two: Two, threads: ThreadPoolExecutor) -> None:
    made = two.first.write_now(mailbox.create, 1, "Tạm", NOW)
    _, refused = two.meet(
        lambda tx: mailbox.delete(tx, 1, "Tạm", NOW), lambda tx: deliver(tx, letter(), Target(1, made.id)), threads
    )
    assert isinstance(refused, Refused)
    assert refused.code == "no-such-mailbox"
    made = two.first.write_now(mailbox.create, 1, "Tạm", NOW)
    _, refused = two.meet(
        lambda tx: mailbox.delete(tx, 1, "Tạm", NOW), lambda tx: message.move(tx, 1, 1, [1], made.id, NOW), threads
    )
    assert isinstance(refused, Refused)


def test_a_name_is_given_once(two: Two, threads: ThreadPoolExecutor) -> None:
    _, refused = two.meet(
        lambda tx: mailbox.create(tx, 1, "Việc/Một", NOW), lambda tx: mailbox.create(tx, 1, "Việc/Một", NOW), threads
    )
    assert isinstance(refused, Refused)
    _, refused = two.meet(
        lambda tx: mailbox.rename(tx, 1, "Việc", "Cũ", NOW),
        lambda tx: mailbox.rename(tx, 1, "Việc", "Mới", NOW),
        threads,
    )
    assert isinstance(refused, Refused)
    _, refused = two.meet(
        lambda tx: mailbox.delete(tx, 1, "Cũ/Một", NOW), lambda tx: mailbox.subscribe(tx, 1, "Cũ/Một", True), threads
    )
    assert "Cũ/Một" in two.first.read_now(mailbox.subscriptions, 1)


def test_recent_is_claimed_by_one(two: Two, threads: ThreadPoolExecutor) -> None:
    assert two.meet(lambda tx: mailbox.claim_recent(tx, 1, 1), lambda tx: mailbox.claim_recent(tx, 1, 1), threads) == (
        1,
        4,
    )


def test_a_writer_that_stops_does_not_hold_others_for_ever(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    monkeypatch.setattr("congvu.db.postgres.STOPPED_MS", 300)
    first, second = (open_database(postgres_url, data=tmp_path) for _ in range(2))
    first.write_now(mailbox.create_store, 1, 0, NOW)
    held, go = threading.Event(), threading.Event()

    def stops(tx: Any) -> None:
        changes.advance(tx, 1)
        held.set()
        go.wait(10)
        changes.advance(tx, 1)

    stopped = threads.submit(first.write_now, stops)
    assert held.wait(10)
    assert threads.submit(second.write_now, changes.advance, 1).result(5) == 2
    go.set()
    with pytest.raises(NotNow):
        stopped.result(10)
    assert first.write_now(changes.advance, 1) == 3
    first.close()
    second.close()


def test_a_writer_with_too_many_waiting_refuses_for_now(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "MOST_WAITING", 3)
    begun, go = threading.Event(), threading.Event()

    def busy(_: Any) -> str:
        begun.set()
        assert go.wait(20)
        return "kept"

    async def main() -> None:
        first = asyncio.create_task(db.write(busy))
        assert await asyncio.to_thread(begun.wait, 20)
        waiting = [asyncio.create_task(db.write(lambda _: "kept")) for _ in range(5)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [str(task.exception()) for task in done] == ["too-busy"] * 2
        go.set()
        assert {await task for task in (first, *(set(waiting) - done))} == {"kept"}
        assert await db.write(lambda _: "kept") == "kept"  # it recovers by itself

    asyncio.run(main())


def test_a_reader_who_comes_while_the_door_closes_is_answered() -> None:
    """What is put behind the end of the queue would be waited for without end."""

    class End:
        def call(self, job: group.Job) -> Any:
            return job.f()

        def close(self) -> None: ...

    pool = group.ReadPool(End, 2, "test")
    closing = threading.Thread(target=pool.close)
    put = pool._put

    def put_late(job: group.Job | None) -> None:
        if job is not None:
            closing.start()
            closing.join(0.5)  # as far as it comes
        put(job)

    pool._put = put_late
    answers: list[str] = []
    reading = threading.Thread(target=lambda: answers.append(pool.read_now(lambda: "read", (), {})), daemon=True)
    reading.start()
    reading.join(10)
    assert answers == ["read"]
    closing.join(10)
    with pytest.raises(NotNow):
        pool.read_now(lambda: "read", (), {})
