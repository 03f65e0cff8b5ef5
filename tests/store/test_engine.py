"""The contract of `db.engine`, on each engine: whatever stands in its docstrings is tried here."""

import asyncio
import fcntl
import multiprocessing
import shutil
import sqlite3
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from congvu.base import observe
from congvu.base.failure import NotNow, Refused
from congvu.db import audit, group, open_database, sqlite, sqlite_log
from congvu.db.blobs import Blob
from congvu.db.engine import Database, Duplicate, IndexedText, Row, TextQuery, Tx
from congvu.db.sqltext import schema_for, translate
from congvu.mailstore import message

INSERT = "INSERT INTO unit (id, parent_id, name, category) VALUES (?, ?, ?, ?)"


def add(tx: Tx, number: int, name: str = "Sở") -> int:
    assert tx.run(INSERT, number, None, name, "x") == 1
    tx.touch(number)
    return number


def ids(tx: Tx) -> list[int]:
    return [number for (number,) in tx.all("SELECT id FROM unit ORDER BY id")]


def fail(tx: Tx, number: int) -> None:
    add(tx, number)
    raise Refused("no-such-mailbox", name="x")


# ---- statements


def test_statements(db: Database) -> None:
    def work(tx: Tx) -> None:
        tx.many(INSERT, [(n, None, f"Sở {n}", "x") for n in range(1, 6)])
        tx.many(INSERT, [])
        assert tx.run("UPDATE unit SET name = ? WHERE id > ?", "Phòng", 3) == 2
        assert tx.run("DELETE FROM unit WHERE id = ?", 99) == 0
        assert tx.one("SELECT name FROM unit WHERE id = ?", 4) == ("Phòng",)
        assert tx.one("SELECT name FROM unit WHERE id = ?", 99) is None
        assert tx.all("SELECT id FROM unit WHERE name LIKE 'Sở%' ORDER BY id") == [(1,), (2,), (3,)]
        assert tx.all("SELECT id FROM unit WHERE name LIKE 'sở%'") == []
        assert list(tx.each("SELECT id FROM unit WHERE id > ? ORDER BY id", 3)) == [(4,), (5,)]
        assert tx.one("SELECT '?%''?', \"id\" FROM unit /* ? */ WHERE id = ? -- ?", 1) == ("?%'?", 1)
        assert tx.one("SELECT sum(id) FROM unit") == (15,)
        assert isinstance(tx.all("SELECT sum(id) FROM unit")[0][0], int)
        assert tx.all("UPDATE unit SET parent_id = parent_id WHERE id = ? RETURNING id", 2) == [(2,)]

    db.write_now(work)


def test_values_come_back_as_they_went(db: Database) -> None:
    def work(tx: Tx) -> None:
        data = bytes(range(256))
        tx.run(
            "INSERT INTO blob (hash, size, place, touched) VALUES (?, ?, ?, ?)",
            data,
            2**63 - 1,
            "Đường ' \\ \"",
            -(2**63),
        )
        assert tx.one("SELECT hash, size, place, touched FROM blob WHERE hash = ?", data) == (
            data,
            2**63 - 1,
            "Đường ' \\ \"",
            -(2**63),
        )
        tx.run(INSERT, 1, None, "", True)  # a bool is a number to both
        tx.run(INSERT.replace("parent_id", "parent_id "), 2, True, "", "x")
        assert tx.all("SELECT parent_id FROM unit ORDER BY id") == [(None,), (1,)]

    db.write_now(work)


def test_text_is_ordered_by_bytes(db: Database) -> None:
    words = ["b", "B", "a", "đ", "Z", "z", "A", "ă"]

    def work(tx: Tx) -> list[str]:
        tx.many(INSERT, [(n, None, word, "x") for n, word in enumerate(words)])
        return [name for (name,) in tx.all("SELECT name FROM unit ORDER BY name")]

    assert db.write_now(work) == sorted(words, key=lambda word: word.encode())


@pytest.mark.parametrize("kind", [list, tuple, lambda n: array("I", n), lambda n: array("q", n)])
def test_lists(db: Database, kind: Callable[[list[int]], Any]) -> None:
    def work(tx: Tx) -> None:
        tx.many(INSERT, [(n, n % 3, "x", "x") for n in range(1, 2001)])
        assert tx.all("SELECT id FROM unit WHERE id IN (?*) ORDER BY id", kind([3, 1, 9999])) == [(1,), (3,)]
        assert tx.all("SELECT id FROM unit WHERE id IN (?*)", kind([])) == []
        assert tx.one("SELECT count(*) FROM unit WHERE id NOT IN (?*)", kind([])) == (2000,)
        assert tx.one("SELECT count(*) FROM unit WHERE id not in ( ?* )", kind([1, 2])) == (1998,)
        assert tx.one("SELECT count(*) FROM unit WHERE parent_id = ? AND id IN (?*)", 0, kind(list(range(50_000)))) == (
            666,
        )
        assert tx.run("UPDATE unit SET name = ? WHERE id IN (?*)", "y", kind([1, 2])) == 2
        # Long and short ones among other parameters, each in its place.
        for few, many in ((2, 1000), (1000, 2), (1000, 1000), (2, 2)):
            assert tx.one(
                "SELECT count(*), min(id) FROM unit WHERE name LIKE 'x%' AND id > ? AND id NOT IN (?*)"
                " AND parent_id <> ? AND id IN (?*) AND id < ?",
                *(3, kind(range(few)), 7, kind(range(few, few + many)), 3000),
            ) == (sum(3 < n <= 2000 for n in range(few, few + many)), max(few, 4) if few + many > 4 else None)

    db.write_now(work)


def test_translation() -> None:
    assert translate("a ? '?' \"?\" -- ?\n ? /* ? */ x NOT IN (?*) IN(?*)", "IN!", "NOT!", "%s", True) == (
        "a %s '?' \"?\" -- ?\n %s /* ? */ x NOT! IN!",
        (2, 3),
    )
    assert translate("'%' % ?", "", "", "%s", True)[0] == "'%%' %% %s"
    assert (
        schema_for("a INTEGER /*clustered*/ -- INTEGER\n, b TEXT", "!", {"INTEGER": "BIGINT"})
        == "a BIGINT ! \n, b TEXT"
    )


def test_each_streams_with_bounded_memory(db: Database) -> None:
    db.write_now(lambda tx: tx.many(INSERT, [(n, None, "x" * 100, "x") for n in range(20_000)]))

    def first(tx: Tx) -> list[int]:
        rows: Iterator[Any] = tx.each("SELECT id, name FROM unit ORDER BY id")
        found = [next(rows)[0] for _ in range(3)]
        del rows
        assert tx.one("SELECT count(*) FROM unit") == (20_000,)
        return found

    assert db.read_now(first) == [0, 1, 2]
    assert db.write_now(first) == [0, 1, 2]
    assert db.read_now(lambda tx: sum(1 for _ in tx.each("SELECT id FROM unit WHERE id >= ?", 5))) == 19_995


# ---- transactions


def test_a_failing_function_undoes_only_itself(db: Database) -> None:
    async def work() -> None:
        outcomes = await asyncio.gather(
            *(db.write(fail if n % 10 == 3 else add, n) for n in range(100)), return_exceptions=True
        )
        for n, outcome in enumerate(outcomes):
            if n % 10 == 3:
                assert isinstance(outcome, Refused)
                assert outcome.facts == {"name": "x"}
            else:
                assert outcome == n
        assert await db.read(ids) == [n for n in range(100) if n % 10 != 3]

    asyncio.run(work())


def test_waiting_functions_share_a_commit(engine_url: str, tmp_path: Path) -> None:
    told: list[frozenset[int]] = []
    threads = set()

    def committed(accounts: frozenset[int]) -> None:
        told.append(accounts)
        threads.add(threading.current_thread())

    db = open_database(engine_url, data=tmp_path, committed=committed)
    db.migrate()

    async def work() -> None:
        await asyncio.gather(*(db.write(add, n) for n in range(200)))

    asyncio.run(work())
    assert frozenset().union(*told) == frozenset(range(200))
    assert len(told) < 20
    assert threads == {threading.main_thread()}
    db.close()


def test_what_comes_while_another_process_writes_shares_the_next_commit(tmp_path: Path) -> None:
    told: list[frozenset[int]] = []
    db = open_database("sqlite:///turn.db", data=tmp_path, committed=told.append)
    db.migrate()

    async def work() -> None:
        with (tmp_path / "turn.db-turn").open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            waiting = []
            for n in range(5):  # the first is with the writer when the others come
                waiting.append(asyncio.create_task(db.write(add, n)))
                await asyncio.sleep(0.02)
        await asyncio.gather(*waiting)

    asyncio.run(work())
    assert told == [frozenset(range(5))]
    db.close()


def test_the_commit_is_there_before_the_answer(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(group, "step", steps.append)

    async def work() -> None:
        await db.write(add, 1)
        steps.append("answered")

    asyncio.run(work())
    assert steps == ["rows-written", "committed", "answered"]
    assert observe.step is not steps.append


class NoKeeper:
    """Keeps nothing."""

    def put_many(self, contents: Sequence[Any]) -> list[Blob]:
        return [Blob(b"", len(content), "nowhere") for content in contents]


def test_what_waits_together_is_done_by_one_call(db: Database) -> None:
    calls: list[int] = []

    def add_all(tx: Tx, items: list[tuple[list[Blob], int]]) -> list[tuple[int, int]]:
        calls.append(len(items))
        if any(n == 13 for _, n in items):
            raise Refused("unlucky")
        tx.many(INSERT, [(n, None, "x", "x") for _, n in items])
        return [(n, blobs[0].size) for blobs, n in items]

    async def work(numbers: Sequence[int]) -> list[Any]:
        keeper: Any = NoKeeper()
        hold = threading.Event()
        holding = asyncio.create_task(db.write(lambda _: hold.wait(10)))
        waiting = [asyncio.create_task(db.write_together(keeper, [b"x" * n], add_all, n)) for n in numbers]
        await asyncio.sleep(0.05)
        hold.set()
        await holding
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert asyncio.run(work(range(1, 6))) == [(n, n) for n in range(1, 6)]
    assert calls == [5]
    answers = asyncio.run(work(range(10, 16)))
    assert [a for a in answers if not isinstance(a, Refused)] == [(n, n) for n in (10, 11, 12, 14, 15)]
    assert isinstance(answers[3], Refused)
    assert calls[1:] == [6, 1, 1, 1, 1, 1, 1]
    assert db.read_now(lambda tx: tx.one("SELECT count(*) FROM unit")) == (10,)


def test_a_broken_unique_key_is_a_duplicate(db: Database) -> None:
    db.write_now(add, 1)
    with pytest.raises(Duplicate):
        db.write_now(add, 1)

    async def work() -> list[object]:
        return await asyncio.gather(*(db.write(add, n) for n in (2, 1, 3)), return_exceptions=True)

    outcomes = asyncio.run(work())
    assert outcomes[0] == 2
    assert isinstance(outcomes[1], Duplicate)
    assert outcomes[2] == 3
    assert db.read_now(ids) == [1, 2, 3]


def test_our_own_errors_come_through(db: Database) -> None:
    def wrong(tx: Tx) -> None:
        add(tx, 5)
        tx.run("SELECT nonsense FROM nowhere")

    with pytest.raises(Exception, match="nowhere"):
        db.write_now(wrong)
    with pytest.raises(ZeroDivisionError):
        db.read_now(lambda tx: 1 // 0)
    assert db.write_now(add, 6) == 6
    assert db.read_now(ids) == [6]


def test_a_hidden_database_error_commits_nothing_half(db: Database) -> None:
    """On PostgreSQL the transaction is void after an error; a function that hides it must not look as if it had
    succeeded."""

    def hides(tx: Tx) -> None:
        add(tx, 5)
        try:
            tx.run("SELECT nonsense FROM nowhere")
        except Exception:
            return

    try:
        db.write_now(hides)
    except NotNow:
        raise
    except Exception:
        assert db.read_now(ids) == []
    else:
        assert db.read_now(ids) == [5]


def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only"):
        db.read_now(add, 1)
    assert db.read_now(ids) == []
    with pytest.raises(Exception, match=r"read-?only"):
        asyncio.run(db.look(add, 1))
    assert db.write_now(add, 1) == 1


def test_a_read_sees_what_was_acknowledged_and_nothing_later(db: Database) -> None:
    async def work() -> None:
        for n in range(50):
            await db.write(add, n)
            assert len(await db.read(ids)) == n + 1
            assert len(await db.look(ids)) == n + 1

    asyncio.run(work())
    inside, go = threading.Event(), threading.Event()

    def slow(tx: Tx) -> tuple[int, int]:
        before = len(ids(tx))
        inside.set()
        assert go.wait(10)
        return before, len(ids(tx))

    async def snapshot() -> None:
        reading = asyncio.ensure_future(db.read(slow))
        await asyncio.to_thread(inside.wait, 10)
        await db.write(add, 1000)
        go.set()
        assert await reading == (50, 50)

    asyncio.run(snapshot())


def test_a_cancelled_wait_hurts_nobody(db: Database) -> None:
    async def work() -> None:
        tasks = [asyncio.ensure_future(db.write(add, n)) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(await db.read(ids)) >= set(range(1, 50, 2))

    asyncio.run(work())


def test_a_long_batch_is_split(db: Database) -> None:
    def slow(tx: Tx, n: int) -> int:
        time.sleep(0.02)
        return add(tx, n)

    async def work() -> None:
        assert await asyncio.gather(*(db.write(slow, n) for n in range(12))) == list(range(12))

    asyncio.run(work())


def test_after_closing_it_says_so(db: Database) -> None:
    db.write_now(add, 1)
    db.close()
    for call in (db.write_now, db.read_now):
        with pytest.raises(NotNow) as caught:
            call(ids)
        assert caught.value.code == "shutting-down"


# ---- several processes


def _fill(url: str, folder: str, start: int, count: int) -> None:
    db = open_database(url, data=Path(folder))
    db.migrate()

    def count_up(tx: Tx, n: int) -> None:
        if not tx.run("UPDATE unit SET parent_id = parent_id + 1 WHERE id = ?", -1):
            raise AssertionError
        add(tx, n)

    async def one(first: int) -> None:
        for n in range(first, start + count, 10):
            await db.write(count_up, n)

    async def work() -> None:
        await asyncio.gather(*(one(start + k) for k in range(10)))

    asyncio.run(work())
    db.close()


def test_processes_write_side_by_side(engine_url: str, tmp_path: Path) -> None:
    db = open_database(engine_url, data=tmp_path)
    db.migrate()
    db.write_now(lambda tx: tx.run(INSERT, -1, 0, "counter", "x"))
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_fill, args=(engine_url, str(tmp_path), 1000 * k, 200)) for k in (1, 2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert len(db.read_now(ids)) == 601
    assert db.read_now(lambda tx: tx.one("SELECT parent_id FROM unit WHERE id = ?", -1)) == (600,)
    db.close()


def _migrate(url: str, folder: str, start: float) -> None:
    db = open_database(url, data=Path(folder))
    time.sleep(max(0.0, start - time.time()))
    db.migrate()
    db.close()


def test_two_processes_migrate_at_once(empty_url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = time.time() + 1.5
    children = [context.Process(target=_migrate, args=(empty_url, str(tmp_path), start)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    db = open_database(empty_url, data=tmp_path)
    db.migrate()
    found = db.write_index_now(lambda tx: tx.all("SELECT part, version FROM schema_version ORDER BY part"))
    assert found[0] == ("index", 2)
    db.close()


# ---- trouble


def test_sqlite_full_disk(tmp_path: Path) -> None:
    """The file may not grow: writes fail as "not now", nothing acknowledged is lost, and afterwards all goes on."""
    db = open_database("sqlite:///full.db", data=tmp_path)
    db.migrate()
    kept: list[int] = []

    def big(tx: Tx, n: int) -> int:
        return add(tx, n, "x" * 20_000)

    def pages(tx: Tx, limit: int) -> None:
        tx.all(f"PRAGMA max_page_count={limit}")

    now = db.read_now(lambda tx: tx.one("PRAGMA page_count"))
    assert now is not None
    db.write_now(pages, now[0] + 50)

    async def work(numbers: range) -> list[object]:
        return await asyncio.gather(*(db.write(big, n) for n in numbers), return_exceptions=True)

    for start in (0, 10, 20):
        for outcome in asyncio.run(work(range(start, start + 5))):
            if isinstance(outcome, int):
                kept.append(outcome)
            else:
                assert isinstance(outcome, NotNow)
                assert outcome.code == "disk-full"
    assert 5 <= len(kept) < 15
    assert db.read_now(ids) == sorted(kept)
    db.write_now(pages, 1 << 30)
    assert asyncio.run(work(range(100, 105))) == list(range(100, 105))
    assert db.read_now(ids) == sorted(kept) + list(range(100, 105))
    db.close()


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_sqlite_failing_writes(tmp_path: Path) -> None:
    """The system refuses to write: the log file cannot grow."""
    db = open_database("sqlite:///limited.db", data=tmp_path)
    db.migrate()
    db.write_now(add, 1)
    with limited_file_size((tmp_path / "limited.db-wal").stat().st_size + 10_000), pytest.raises(NotNow) as caught:
        db.write_now(lambda tx: tx.many(INSERT, [(n, None, "x" * 1000, "x") for n in range(2, 200)]))
    assert caught.value.code in ("storage-trouble", "disk-full")
    assert db.write_now(add, 2) == 2
    assert db.read_now(ids) == [1, 2]
    db.close()
    assert sqlite3.connect(tmp_path / "limited.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_sqlite_that_cannot_be_opened_now_is_trouble_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are opened when they are first wanted, by then the disk may fail."""
    import apsw

    db = open_database("sqlite:///late.db", data=tmp_path)
    db.migrate()

    def failing(*_: object, **__: object) -> None:
        raise apsw.CantOpenError("unable to open database file")

    with monkeypatch.context() as patch:
        patch.setattr(apsw, "Connection", failing)
        for ask in (db.read_now, lambda f: asyncio.run(db.look(f))):
            with pytest.raises(NotNow, match="storage-trouble"):
                ask(lambda tx: tx.all("SELECT 1"))
    assert db.read_now(lambda tx: tx.all("SELECT 1")) == [(1,)]
    assert asyncio.run(db.look(lambda tx: tx.all("SELECT 1"))) == [(1,)]
    db.close()


def test_sqlite_log_does_not_grow_without_end(tmp_path: Path) -> None:
    db = open_database("sqlite:///log.db", data=tmp_path)
    db.migrate()
    for n in range(40):
        db.write_now(lambda tx, n=n: tx.many(INSERT, [(n * 1000 + k, None, "x" * 4000, "x") for k in range(1000)]))
    assert (tmp_path / "log.db-wal").stat().st_size < 100 << 20  # 32 MB, and what came while it was copied
    db.close()


def _grow(db: Database, begin: int) -> None:
    db.write_now(lambda tx: tx.many(INSERT, [(begin + n, None, "x" * 4000, "x") for n in range(2000)]))


def _comes_true(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.02)
    return what()


def test_sqlite_log_is_given_back_when_nobody_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever process wrote last, as soon as no reader needs what is older."""
    monkeypatch.setattr(sqlite_log, "QUIET", 0.1)
    log = tmp_path / "quiet.db-wal"
    first = open_database("sqlite:///quiet.db", data=tmp_path)
    first.migrate()
    second = open_database("sqlite:///quiet.db", data=tmp_path)
    _grow(second, 0)
    assert log.stat().st_size > sqlite_log.KEPT
    assert _comes_true(lambda: log.stat().st_size == 0)
    reading, read = threading.Event(), threading.Event()

    def slow(tx: Tx) -> list[Row]:
        before = tx.all("SELECT count(*) FROM unit")
        reading.set()
        read.wait(30)
        return before + tx.all("SELECT count(*) FROM unit")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(first.read_now, slow)
        assert reading.wait(30)
        _grow(first, 10_000)
        time.sleep(0.5)
        assert log.stat().st_size > sqlite_log.KEPT  # the reader still needs it
        _grow(second, 20_000)  # and holds nobody up
        read.set()
        assert answer.result(30) == [(2000,), (2000,)]
    assert _comes_true(lambda: log.stat().st_size == 0)
    assert second.read_now(lambda tx: tx.all("SELECT count(*) FROM unit")) == [(6000,)]
    _grow(first, 30_000)
    first.close()
    second.close()


def test_sqlite_log_that_a_crash_left_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_log, "QUIET", 1000.0)
    db = open_database("sqlite:///left.db", data=tmp_path)
    db.migrate()
    _grow(db, 0)
    (tmp_path / "after").mkdir()
    for name in ("left.db", "left.db-wal"):  # as they lay at one moment
        shutil.copy(tmp_path / name, tmp_path / "after" / name)
    db.close()
    monkeypatch.setattr(sqlite_log, "QUIET", 0.1)
    db = open_database("sqlite:///left.db", data=tmp_path / "after")
    assert _comes_true(lambda: (tmp_path / "after/left.db-wal").stat().st_size == 0)
    assert db.read_now(lambda tx: tx.all("SELECT count(*) FROM unit")) == [(2000,)]
    db.close()


def test_sqlite_log_is_copied_back_while_it_grows(tmp_path: Path) -> None:
    db = open_database("sqlite:///log.db", data=tmp_path)
    db.migrate()
    before = (tmp_path / "log.db").stat().st_size
    for n in range(12):  # 48 MB: too little for the writer to do it itself
        db.write_now(lambda tx, n=n: tx.many(INSERT, [(n * 1000 + k, None, "x" * 4000, "x") for k in range(1000)]))
    end = time.monotonic() + 30
    while (tmp_path / "log.db").stat().st_size < before + (20 << 20) and time.monotonic() < end:
        time.sleep(0.01)
    assert (tmp_path / "log.db").stat().st_size >= before + (20 << 20)
    db.close()


@pytest.fixture
def postgres(postgres_url: str, tmp_path: Path) -> Iterator[tuple[str, Database]]:
    db = open_database(postgres_url, data=tmp_path)
    db.migrate()
    yield postgres_url, db
    db.close()


def test_sqlite_prepares_a_statement_once_whatever_is_bound(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask(action: int, *_: str | None) -> int:
        asked.append(action)
        return apsw.SQLITE_OK

    db = open_database("sqlite:///prepared.db", data=tmp_path)
    db.migrate()
    end = sqlite._ReadingEnd(tmp_path / "prepared.db")
    try:
        end.run(message.rows, (1, 1, 1, 9), {})
        end._connection.authorizer = ask  # is asked when a statement is prepared, and has those that are prepared anew
        end.run(message.rows, (1, 1, 1, 9), {})
        assert asked
        asked.clear()
        end.run(message.rows, (1, 1, 5, 20), {})
        assert not asked
    finally:
        end.close()
        db.close()


def test_postgres_deadlocks_are_run_again(postgres: tuple[str, Database], tmp_path: Path) -> None:
    url, one = postgres
    two = open_database(url, data=tmp_path)
    one.write_now(lambda tx: tx.many(INSERT, [(1, 0, "x", "x"), (2, 0, "x", "x")]))
    runs = []

    def cross(tx: Tx, first: int, second: int) -> None:
        runs.append(first)
        tx.run("UPDATE unit SET parent_id = parent_id + 1 WHERE id = ?", first)
        time.sleep(0.1)
        tx.run("UPDATE unit SET parent_id = parent_id + 1 WHERE id = ?", second)

    async def work() -> None:
        await asyncio.gather(one.write(cross, 1, 2), two.write(cross, 2, 1), one.write(add, 3), two.write(add, 4))

    asyncio.run(work())
    assert len(runs) > 2
    assert one.read_now(lambda tx: tx.all("SELECT parent_id FROM unit WHERE id < 3")) == [(2,), (2,)]
    assert one.read_now(ids) == [1, 2, 3, 4]
    two.close()


def test_postgres_lost_connections(postgres: tuple[str, Database]) -> None:
    url, db = postgres
    db.write_now(add, 1)
    db.read_now(ids)

    def cut() -> None:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            time.sleep(0.2)

    cut()  # while idle: nobody notices
    assert db.write_now(add, 2) == 2
    assert db.read_now(ids) == [1, 2]

    def cut_inside(tx: Tx) -> None:
        add(tx, 3)
        cut()
        add(tx, 4)

    with pytest.raises(NotNow) as caught:
        db.write_now(cut_inside)
    assert caught.value.code == "storage-trouble"
    assert db.write_now(add, 5) == 5
    assert db.read_now(ids) == [1, 2, 5]


def test_postgres_commits_are_synchronous(postgres: tuple[str, Database]) -> None:
    url, _ = postgres
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    again = open_database(url, data=Path())
    assert again.write_now(lambda tx: tx.one("SHOW synchronous_commit")) == ("on",)
    again.close()


def test_a_database_that_is_away(tmp_path: Path) -> None:
    db = open_database("postgresql://nobody@127.0.0.1:9/none", data=tmp_path)
    for call in (db.write_now, db.read_now):
        with pytest.raises(NotNow) as caught:
            call(ids)
        assert caught.value.code == "storage-trouble"
    db.close()


def test_an_unknown_url(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mysql"):
        open_database("mysql://x", data=tmp_path)


# ---- the text index


def find(db: Database, *phrases: str, field: str = "any", prefix: bool = False) -> list[int]:
    query = TextQuery(tuple(tuple(phrase.split(" ")) for phrase in phrases), field, prefix)
    return db.read_now(lambda tx: tx.index_find(query))


def test_index(db: Database) -> None:
    texts = [
        IndexedText(3, "7:cong 7:van 7:so", "7:kinh 7:gui 7:nguyen 7:hue", "7:công 7:văn 7:nguyễn 7:huệ"),
        IndexedText(1, "7:nguyen 7:van 7:an", "7:duong 7:di 7:cong", "7:đường 7:đi"),
        IndexedText(2**62, "8:cong 8:van", "8:nguyen 8:hue", "8:công"),
    ]
    db.write_index_now(lambda tx: tx.index_add(texts))
    assert find(db, "7:cong") == [1, 3]
    assert find(db, "8:cong") == [2**62]
    assert find(db, "7:cong 7:van") == [3]
    assert find(db, "7:cong", "7:an") == [1]
    assert find(db, "7:van 7:cong") == []
    assert find(db, "7:so 7:kinh") == []  # not from the head over into the body
    assert find(db, "7:cong", field="head") == [3]
    assert find(db, "7:cong", field="body") == [1]
    assert find(db, "7:ngu") == []
    assert find(db, "7:ngu", prefix=True) == [1, 3]
    assert find(db, "7:nguyen 7:h", prefix=True) == [3]
    assert find(db, "7:nguyen 7:h", field="head", prefix=True) == []
    assert find(db, "7:công", field="exact") == [3]
    assert find(db, "7:nguyễn 7:huệ", field="exact") == [3]
    assert find(db, "7:đư", field="exact", prefix=True) == [1]
    assert find(db, "7:duong", field="exact") == []
    assert find(db) == []
    assert find(db, "") == []
    # replaced
    db.write_index_now(lambda tx: tx.index_add([IndexedText(3, "7:khac", "", "")]))
    assert find(db, "7:cong") == [1]
    assert find(db, "7:khac") == [3]
    assert find(db, "7:công", field="exact") == []
    db.write_index_now(lambda tx: tx.index_remove([3, 1, 99]))
    assert find(db, "7:khac") == []
    assert find(db, "8:cong") == [2**62]


def test_index_changes_are_undone_with_their_function(db: Database) -> None:
    def work(tx: Tx) -> None:
        tx.index_add([IndexedText(1, "1:a", "1:b", "1:ạ")])
        raise Refused("x")

    def good(tx: Tx, doc: int) -> None:
        tx.index_add([IndexedText(doc, "1:c", "", "")])

    async def both() -> None:
        await asyncio.gather(
            db.write_index(good, 2), db.write_index(work), db.write_index(good, 3), return_exceptions=True
        )

    asyncio.run(both())
    assert find(db, "1:a") == []
    assert find(db, "1:c") == [2, 3]


HOSTILE = [
    '"',
    "'",
    "\\",
    "a\"b'c\\d",
    "AND",
    "NEAR(",
    "a*",
    "(x)",
    "-x",
    "^x",
    "{head}:x",
    "x:y:*",
    "&|!<->",
    "%s?",
    "đ'đ",
    "$$",
]


def test_index_words_are_only_words(db: Database) -> None:
    for number, word in enumerate(HOSTILE, 1):
        db.write_index_now(lambda tx, n=number, w=word: tx.index_add([IndexedText(n, f"p {w}", f"q {w} r", w)]))
    for number, word in enumerate(HOSTILE, 1):
        assert find(db, word) == [number], word
        assert find(db, f"{word} r") == [number], word
        assert find(db, f"p {word}", field="head") == [number], word
        assert find(db, word, field="exact") == [number], word
        assert number in find(db, word, prefix=True), word
    assert find(db, "p a\0*") == [HOSTILE.index("a*") + 1]


def test_index_of_a_very_long_letter(db: Database) -> None:
    body = " ".join(f"1:w{n % 9973}" if n % 2 else "1:va" for n in range(60_000)) + " 1:cuoi 1:thu"
    long_word = "1:" + "ă" * 5000
    db.write_index_now(lambda tx: tx.index_add([IndexedText(1, "1:dau", f"{body} {long_word}", "")]))
    assert find(db, "1:cuoi 1:thu") == [1]
    assert find(db, "1:va 1:cuoi") == []
    assert find(db, "1:va 1:w1 1:va", "1:dau", "1:cuoi") == [1]
    for n in (1001, 20_001, 40_001, 59_999):
        assert find(db, f"1:va 1:w{n % 9973}") == [1]
    assert find(db, long_word) == [1]
    words = body.split(" ")
    assert find(db, " ".join(words[100:180])) == [1]


def test_nobody_waits_for_the_index(engine_url: str, tmp_path: Path) -> None:
    """While the index is being written, in a transaction that does not end, letters are kept and searches answer."""
    one, two = (open_database(engine_url, data=tmp_path) for _ in range(2))
    one.migrate()
    one.write_index_now(lambda tx: tx.index_add([IndexedText(1, "1:a", "", "")]))
    begun, done = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        tx.index_add([IndexedText(2, "1:a", "", "")])
        begun.set()
        assert done.wait(60)

    writer = threading.Thread(target=one.write_index_now, args=(slow,))
    writer.start()
    try:
        assert begun.wait(60)
        if engine_url.startswith("sqlite"):  # a server's writers are of different processes
            one.write_now(add, 1)
        two.write_now(add, 2)
        assert find(two, "1:a") == [1]
        assert 2 in two.read_now(ids)
    finally:
        done.set()
        writer.join()
    assert find(one, "1:a") == [1, 2]
    one.close()
    two.close()


def test_the_index_writer_changes_nothing_else(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path}/congvu.db", data=tmp_path)
    db.migrate()
    with pytest.raises(Exception, match="readonly"):
        db.write_index_now(lambda tx: tx.run("UPDATE store SET modseq = 1"))
    with pytest.raises(Exception, match="no such table"):
        db.write_now(lambda tx: tx.run("DELETE FROM text_doc"))
    db.close()


# ---- the audit chain


def test_audit_chain(db: Database) -> None:
    assert db.read_now(audit.verify_chain) == []
    for n in range(5):
        assert db.write_now(audit.record, "an@angiang.gov.vn", "test", {"n": n, "tên": "Đường"}, 1000.5 + n) == n + 1
    assert db.read_now(audit.verify_chain) == []
    db.write_now(lambda tx: tx.run("UPDATE audit SET who = ? WHERE id = ?", "x", 3))
    assert [line for line in db.read_now(audit.verify_chain) if "row 3" in line]
    db.write_now(lambda tx: tx.run("UPDATE audit SET who = ? WHERE id = ?", "an@angiang.gov.vn", 3))
    db.write_now(lambda tx: tx.run("DELETE FROM audit WHERE id = ?", 2))
    assert [line for line in db.read_now(audit.verify_chain) if "missing" in line]


def test_audit_rows_cut_off_at_the_end_are_missed(db: Database) -> None:
    for n in range(3):
        db.write_now(audit.record, "an", "test", {"n": n}, 1.0)
    kept = db.read_now(audit.head)
    assert kept[0] == 3
    db.write_now(lambda tx: tx.run("DELETE FROM audit WHERE id = 3"))
    assert db.read_now(audit.verify_chain) == ["audit: rows 3 to 3 are missing"]
    # Who covers that up too cannot cover up the seal that was kept elsewhere.
    db.write_now(lambda tx: tx.run("UPDATE audit SET at = 2 WHERE id = 0"))
    assert db.read_now(audit.verify_chain) == []
    assert db.read_now(audit.verify_chain, kept) == ["audit: row 3, whose seal was kept, is missing"]
    db.write_now(audit.record, "an", "other", {}, 1.0)
    assert db.read_now(audit.verify_chain, kept) == ["audit: row 3 has another seal than the one kept"]


def test_audit_rows_are_found(db: Database) -> None:
    for n, (who, act) in enumerate([("an", "account.add"), ("huệ", "account.lock"), ("an", "unit.add")]):
        db.write_now(audit.record, who, act, {"on": f"100%_{n}"}, 1.0)
    ids = lambda **words: [row.id for row in db.read_now(audit.recent, **words)]  # noqa: E731
    assert ids() == [3, 2, 1]
    assert ids(limit=1) == [3] and ids(before=3) == [2, 1]
    assert ids(who="an") == [3, 1] and ids(act="account.") == [2, 1]
    assert ids(on="100%_1") == [2] and ids(on="1001") == []


def test_audit_chain_of_two_writers(engine_url: str, tmp_path: Path) -> None:
    one, two = (open_database(engine_url, data=tmp_path) for _ in range(2))
    one.migrate()

    async def work() -> None:
        await asyncio.gather(*(db.write(audit.record, "x", "y", {"n": n}, 1.0) for n in range(50) for db in (one, two)))

    asyncio.run(work())
    assert one.read_now(audit.verify_chain) == []
    assert one.read_now(lambda tx: tx.one("SELECT max(id) FROM audit")) == (100,)
    one.close()
    two.close()
