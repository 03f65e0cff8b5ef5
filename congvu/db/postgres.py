"""PostgreSQL 14 or newer: the same promises on a server of its own, for several nodes that share one database.

Writers of different processes run at the same time here, READ COMMITTED: a function that reads a row in order to
change it must take the row first, `UPDATE … SET n = n + 1 … RETURNING n`. A batch that meets another's locks for too
long, or a deadlock, is rolled back and its functions run one by one. A lost connection fails what was not
acknowledged and is made anew with the next batch; of a commit whose answer got lost nobody knows, so it counts as
failed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
from psycopg import errors
from psycopg.adapt import AdaptersMap
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import StrBinaryDumper

from congvu.base.failure import NotNow
from congvu.base.observe import log
from congvu.db.blobs import Blob, BlobKeeper, Buffer
from congvu.db.engine import Duplicate, IndexedText, Row, TextQuery
from congvu.db.group import GroupWriter, Job, ReadPool, Verdict
from congvu.db.migrations import index_steps, steps
from congvu.db.sqltext import schema_for, translate
from congvu.db.tsvector import exact_vectors, queries, word_vectors

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Connection = psycopg.Connection[Row]

READERS = 4
STREAM_ROWS = 1000  # rows fetched at a time by `each`
LONG = 20  # numbers of a list beyond which a statement is planned for it alone
BATCH_LOCK_MS = 300  # a batch waits no longer for another's locks; deadlocks are found by the server after a second
STOPPED_MS = 30_000  # a writer that says nothing for so long has stopped (SIGSTOP, a lost node): its locks go to others
# Text is compared byte by byte, as SQLite does, whatever the database's own order is.
TYPES = {"INTEGER": "BIGINT", "BLOB": "BYTEA", "TEXT": 'TEXT COLLATE "C"'}
INDEX_SCHEMA = """
CREATE TABLE text_words (doc BIGINT NOT NULL, part BIGINT NOT NULL, words TSVECTOR NOT NULL, PRIMARY KEY (doc, part));
CREATE INDEX text_words_words ON text_words USING GIN (words);
CREATE TABLE text_exact (doc BIGINT NOT NULL, part BIGINT NOT NULL, words TSVECTOR NOT NULL, PRIMARY KEY (doc, part));
CREATE INDEX text_exact_words ON text_exact USING GIN (words);
"""


class _WholeLoader(NumericBinaryLoader):
    """sum() of integers is a numeric on PostgreSQL; the rooms above expect an int, as SQLite gives."""

    def load(self, data: Any) -> Any:
        number = super().load(data)
        return int(number) if number == number.to_integral_value() else float(number)


def _adapters() -> AdaptersMap:
    adapters = AdaptersMap(psycopg.adapters)
    # One type for every int: else a statement would be planned anew for each width of number.
    adapters.register_dumper(int, Int8BinaryDumper)
    adapters.register_dumper(bool, Int8BinaryDumper)
    adapters.register_dumper(str, StrBinaryDumper)
    adapters.register_loader("numeric", _WholeLoader)
    return adapters


_ADAPTERS = _adapters()


@lru_cache(maxsize=4096)
def _prepared(sql: str) -> tuple[bytes, tuple[int, ...]]:
    text, lists = translate(sql, "= ANY (%s::text::bigint[])", "<> ALL (%s::text::bigint[])", "%s", double_percent=True)
    return text.replace("/*hold*/", "FOR NO KEY UPDATE").encode(), lists


@lru_cache(maxsize=4096)
def _with_gaps(sql: str) -> tuple[str, tuple[int, ...]]:
    return translate(sql, "= ANY ('\0'::bigint[])", "<> ALL ('\0'::bigint[])", "%s", double_percent=True)


def _array(numbers: object) -> str:
    # As text: psycopg chooses an array's type by its first numbers, and a statement planned for smallint[] stays so.
    return "{" + ",".join(f"{number:d}" for number in cast(Sequence[int], numbers)) + "}"


def _with_lists(params: tuple[object, ...], lists: tuple[int, ...]) -> list[object]:
    bound = list(params)
    for at in lists:
        bound[at] = _array(bound[at])
    return bound


def _spelt_out(sql: str, params: tuple[object, ...]) -> tuple[bytes, list[object]]:
    """The same with its lists in the text. A statement that is planned once for all lists takes each of them for ten
    numbers and may compare every row of a mailbox with every number: half a minute for 20,000 of 20,000. Where they
    stand in the text their count is known, and they are looked up by hash."""
    text, lists = _with_gaps(sql)
    for at in lists:
        text = text.replace("\0", _array(params[at]), 1)
    return text.encode(), [each for at, each in enumerate(params) if at not in lists]


class PostgresTx:
    """`engine.Tx` on one connection."""

    __slots__ = ("_connection", "_cursor", "_streams", "touched")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor(binary=True)
        self._streams = 0
        self.touched: set[int] = set()

    def _do(self, sql: str, params: tuple[object, ...]) -> "psycopg.Cursor[Row]":
        text, lists = _prepared(sql)
        if not lists:
            return self._cursor.execute(text, params)
        if any(len(cast(Sequence[int], params[at])) > LONG for at in lists):
            return self._cursor.execute(*_spelt_out(sql, params), prepare=False)
        return self._cursor.execute(text, _with_lists(params, lists))

    def run(self, sql: str, *params: object) -> int:
        return max(0, self._do(sql, params).rowcount)

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        if rows:
            text, lists = _prepared(sql)
            self._cursor.executemany(text, [_with_lists(row, lists) for row in rows] if lists else rows)

    def all(self, sql: str, *params: object) -> list[Row]:
        return self._do(sql, params).fetchall()

    def one(self, sql: str, *params: object) -> Row | None:
        return self._do(sql, params).fetchone()

    def each(self, sql: str, *params: object) -> Iterator[Row]:
        text, lists = _prepared(sql)
        self._streams += 1
        with self._connection.cursor(name=f"each_{self._streams}", binary=True) as cursor:
            cursor.itersize = STREAM_ROWS
            cursor.execute(text, _with_lists(params, lists) if lists else params)
            yield from cursor

    def script(self, text: str) -> None:
        """Several statements without parameters."""
        _execute(self._connection, text)

    def touch(self, account_id: int) -> None:
        self.touched.add(account_id)

    def index_add(self, texts: Sequence[IndexedText]) -> None:
        self.index_remove([text.doc for text in texts])
        words = [
            (text.doc, part, vector) for text in texts for part, vector in enumerate(word_vectors(text.head, text.body))
        ]
        exact = [(text.doc, part, vector) for text in texts for part, vector in enumerate(exact_vectors(text.exact))]
        self.many("INSERT INTO text_words (doc, part, words) VALUES (?, ?, ?::tsvector)", words)
        self.many("INSERT INTO text_exact (doc, part, words) VALUES (?, ?, ?::tsvector)", exact)

    def index_remove(self, docs: Sequence[int]) -> None:
        self.run("DELETE FROM text_words WHERE doc IN (?*)", docs)
        self.run("DELETE FROM text_exact WHERE doc IN (?*)", docs)

    def index_find(self, query: TextQuery) -> list[int]:
        terms = queries(query)
        if not terms:
            return []
        table = "text_exact" if query.field == "exact" else "text_words"
        # One search a phrase, since a long document is several rows.
        one = f"SELECT doc FROM {table} WHERE words @@ ?::tsquery"  # noqa: S608 (our own two names)
        found = self.all(" INTERSECT ".join([one] * len(terms)), *terms)
        return sorted({doc for (doc,) in found})


def _execute(connection: Connection, text: str) -> bytes:
    """Statements without parameters, in one round trip; returns the last one's command tag."""
    result = connection.pgconn.exec_(text.encode())
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        if connection.pgconn.status != ConnStatus.OK:
            raise psycopg.OperationalError(result.error_message.decode("utf-8", "replace").strip())
        raise errors.error_from_result(result)
    return result.command_status or b""


def _connect(url: str) -> Connection:
    connection = psycopg.connect(
        url,
        autocommit=True,  # transactions are begun and ended by hand
        prepare_threshold=0,
        context=_ADAPTERS,
        client_encoding="utf8",
        application_name="congvu",
        connect_timeout=10,
        keepalives_idle=30,
        tcp_user_timeout=30_000,
    )
    connection.prepared_max = 500
    try:
        _execute(
            connection,
            "SET jit = off; SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'",
        )
    except psycopg.Error:
        connection.close()
        raise
    return connection


def _judge(error: Exception) -> tuple[Verdict, Exception]:
    match error:
        case errors.DeadlockDetected() | errors.SerializationFailure() | errors.LockNotAvailable():
            return Verdict.AGAIN, NotNow("storage-trouble")
        case errors.UniqueViolation():
            duplicate = Duplicate(str(error))
            duplicate.__cause__ = error
            return Verdict.OWN, duplicate
        case errors.DiskFull():
            return Verdict.LOST, NotNow("disk-full")
        case (
            psycopg.OperationalError()
            | psycopg.InterfaceError()
            | errors.ReadOnlySqlTransaction()
            | errors.IdleInTransactionSessionTimeout()
        ):
            log.error("PostgreSQL: %s", error)
            return Verdict.LOST, NotNow("storage-trouble")
        case _:
            return Verdict.OWN, error


class _Line:
    """A connection that is made anew when it was lost, with the transaction on it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None
        self._tx: PostgresTx | None = None

    def begin(self, text: str) -> PostgresTx:
        if self._tx is not None:
            try:
                self.execute(text)
                return self._tx
            except psycopg.OperationalError:
                self.drop()  # nothing was begun on it: a fresh one will do as well
        self._connection = _connect(self._url)
        self._tx = PostgresTx(self._connection)
        self.execute(text)
        return self._tx

    def execute(self, text: str) -> bytes:
        if self._connection is None:
            raise psycopg.OperationalError("not connected")
        return _execute(self._connection, text)

    def rollback(self) -> None:
        try:
            if self._connection is not None:
                _execute(self._connection, "ROLLBACK")
        except psycopg.Error:
            self.drop()

    def drop(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
        self._connection = self._tx = None


class _WritingEnd:
    def __init__(self, url: str) -> None:
        self._line = _Line(url)
        self._tx: PostgresTx | None = None
        self.touched: set[int] = set()

    def turn_begins(self) -> None:
        pass  # the server lets several write at once

    def turn_ends(self) -> None:
        pass

    def begin(self, alone: bool) -> None:
        limit = 0 if alone else BATCH_LOCK_MS
        self._tx = self._line.begin(
            f"BEGIN READ WRITE; SET LOCAL lock_timeout = {limit};"
            f" SET LOCAL idle_in_transaction_session_timeout = {STOPPED_MS}"
        )
        self.touched = self._tx.touched
        self.touched.clear()

    def commit(self) -> None:
        if self._line.execute("COMMIT") != b"COMMIT":
            raise RuntimeError("a function hid a database error; its transaction was rolled back")

    def rollback(self) -> None:
        self.touched.clear()
        self._line.rollback()

    def savepoint(self) -> None:
        self._line.execute("SAVEPOINT one")

    def release(self) -> None:
        self._line.execute("RELEASE one")

    def undo(self) -> None:
        self._line.execute("ROLLBACK TO one; RELEASE one")

    def call(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return f(self._tx, *args, **kwargs)

    def judge(self, error: Exception) -> tuple[Verdict, Exception]:
        return _judge(error)

    def rest(self) -> None:
        pass

    def close(self) -> None:
        self._line.drop()


class _ReadingEnd:
    def __init__(self, url: str) -> None:
        self._line = _Line(url)

    def call(self, job: Job) -> Any:
        try:
            tx = self._line.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return job.f(tx, *job.args, **job.kwargs)
            finally:
                tx.touched.clear()
                self._line.rollback()
        except errors.ReadOnlySqlTransaction:
            raise  # a bug of ours; in the writer it means that the server has become a standby
        except Exception as error:
            told = _judge(error)[1]
            if told is error:
                raise
            raise told from error

    def close(self) -> None:
        self._line.drop()


class PostgresDatabase:
    """`engine.Database` on a PostgreSQL server."""

    def __init__(self, url: str, committed: Callable[[frozenset[int]], None] | None) -> None:
        self._writer = GroupWriter(lambda: _WritingEnd(url), committed, "postgres-writer")
        self._readers = ReadPool(lambda: _ReadingEnd(url), READERS, "postgres-reader")

    async def write(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, await self._writer.write(f, args, kwargs))

    async def write_with(
        self,
        keeper: BlobKeeper,
        contents: Sequence[Buffer],
        f: Callable[Concatenate[Any, list[Blob], P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        return cast(R, await self._writer.write(f, args, kwargs, keeper, contents))

    async def write_together(
        self,
        keeper: BlobKeeper,
        contents: Sequence[Buffer],
        f: Callable[[Any, list[tuple[list[Blob], T]]], list[R]],
        item: T,
    ) -> R:
        return cast(R, await self._writer.write(f, (item,), {}, keeper, contents, together=True))

    async def read(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, await self._readers.read(f, args, kwargs))

    look = read  # the server is further away than a thread
    write_index = write  # the server lets several write at once

    def write_now(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._writer.write_now(f, args, kwargs))

    write_index_now = write_now

    def read_now(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._readers.read_now(f, args, kwargs))

    def migrate(self) -> list[str]:
        try:
            self.write_now(_make_versions)
        except (Duplicate, errors.DuplicateObject, errors.DuplicateTable):
            # Two made it at the same moment: IF NOT EXISTS looks before the other's commit, the catalogue's unique keys
            # after it. Now it is there.
            self.write_now(_make_versions)
        for part, version, text in (*steps(), *index_steps(INDEX_SCHEMA)):
            self.write_now(_migrate_step, part, version, schema_for(text, "", TYPES))
        return []

    index_suspect = False  # the index lies among the other tables, which the server looks after

    def mend_index(self) -> list[str]:
        return []

    def close(self) -> None:
        self._readers.close()
        self._writer.close()


def _make_versions(tx: PostgresTx) -> None:
    tx.run("CREATE TABLE IF NOT EXISTS schema_version (part TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL)")


def _migrate_step(tx: PostgresTx, part: str, version: int, text: str) -> None:
    tx.run("LOCK TABLE schema_version IN EXCLUSIVE MODE")
    row = tx.one("SELECT version FROM schema_version WHERE part = ?", part)
    if row is None:
        tx.run("INSERT INTO schema_version (part, version) VALUES (?, 0)", part)
    if (row[0] if row else 0) < version:
        tx.script(text)
        tx.run("UPDATE schema_version SET version = ? WHERE part = ?", version, part)
        log.info("schema %s is now at version %d", part, version)
