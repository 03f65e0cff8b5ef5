"""SQLite: one file, write-ahead log, every commit on disk before it is acknowledged. The text index has its own file.

Promises what `engine.Database` promises. The index can be made anew from the letters, so its file has a log and a lock
of its own and no delivery waits for either. Several processes share the files; before a batch each takes its turn by
`flock` on a side file, so that they hand over at once and fairly (SQLite itself would sleep and poll). The log is
copied back into the file by a thread of its own (`sqlite_log`), so that commits seldom wait for it. Must never be used
on a network file system.
"""

import secrets
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import apsw

from congvu.base.failure import NotNow
from congvu.base.observe import log
from congvu.db import beside
from congvu.db.blobs import Blob, BlobKeeper, Buffer
from congvu.db.engine import Duplicate, IndexedText, Row, TextQuery
from congvu.db.group import GroupWriter, Job, ReadPool, Verdict
from congvu.db.migrations import Step, index_steps, steps
from congvu.db.sqlite_log import LIMIT, LogKeeper, Turn
from congvu.db.sqltext import schema_for, translate

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Bytes of a page of a new file. A letter touches one page in each of half a dozen trees, which lie far apart for a
# thousand people, and each is written to the log as a whole: half the page is nearly half the log. The index writes
# leaves of four thousand by itself.
PAGE, INDEX_PAGE = 2048, 4096
READERS = 3
BUSY_MS = 30_000
INDEX_SUFFIX = "-text"  # congvu.db-text
FOLLOW_SECONDS = 10.0  # a reader looks so often whether the index it has is the one that is there

# Every printable ASCII character but the space belongs to a word; SQLite's "ascii" tokenizer adds letters, digits and
# all that is not ASCII by itself. Each quote is doubled once for the tokenizer's own string.
_TOKENS = "".join(chr(c) for c in range(33, 127) if not chr(c).isalnum()).replace("'", "''")
_FTS = "content='', contentless_delete=1, tokenize='{}'".format(f"ascii tokenchars '{_TOKENS}'".replace("'", "''"))
INDEX_SCHEMA = f"""
CREATE VIRTUAL TABLE text_words USING fts5(head, body, detail=full, {_FTS});
CREATE VIRTUAL TABLE text_exact USING fts5(exact, detail=none, {_FTS});
"""


@lru_cache(maxsize=4096)
def _prepared(sql: str) -> tuple[str, tuple[int, ...]]:
    return translate(sql, "IN (SELECT value FROM carray(?))", "NOT IN (SELECT value FROM carray(?))", "?")


def _with_lists(params: tuple[object, ...], lists: tuple[int, ...]) -> list[Any]:
    bound = list(params)
    for at in lists:
        numbers = array("q", cast(Sequence[int], bound[at]))
        bound[at] = apsw.carray(numbers) if numbers else None
    return bound


class SqliteTx:
    """`engine.Tx` on one connection."""

    __slots__ = ("_changes", "_execute", "_executemany", "touched")

    def __init__(self, connection: apsw.Connection) -> None:
        self._execute = connection.execute
        self._executemany = connection.executemany
        self._changes = connection.changes
        self.touched: set[int] = set()

    def run(self, sql: str, *params: object) -> int:
        text, lists = _prepared(sql)
        self._execute(text, _with_lists(params, lists) if lists else cast(Any, params))
        return self._changes()

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        text, lists = _prepared(sql)
        self._executemany(text, [_with_lists(row, lists) for row in rows] if lists else rows)

    def all(self, sql: str, *params: object) -> list[Row]:
        text, lists = _prepared(sql)
        return self._execute(text, _with_lists(params, lists) if lists else cast(Any, params)).fetchall()

    def one(self, sql: str, *params: object) -> Row | None:
        text, lists = _prepared(sql)
        return cast(
            "Row | None", self._execute(text, _with_lists(params, lists) if lists else cast(Any, params)).fetchone()
        )

    def each(self, sql: str, *params: object) -> Iterator[Row]:
        text, lists = _prepared(sql)
        return iter(self._execute(text, _with_lists(params, lists) if lists else cast(Any, params)))

    def touch(self, account_id: int) -> None:
        self.touched.add(account_id)

    def index_add(self, texts: Sequence[IndexedText]) -> None:
        self._executemany(
            "INSERT OR REPLACE INTO text_words (rowid, head, body) VALUES (?, ?, ?)",
            [(text.doc, text.head, text.body) for text in texts],
        )
        self._executemany(
            "INSERT OR REPLACE INTO text_exact (rowid, exact) VALUES (?, ?)",
            [(text.doc, text.exact) for text in texts],
        )

    def index_remove(self, docs: Sequence[int]) -> None:
        self._executemany("DELETE FROM text_words WHERE rowid = ?", [(doc,) for doc in docs])
        self._executemany("DELETE FROM text_exact WHERE rowid = ?", [(doc,) for doc in docs])

    def index_find(self, query: TextQuery) -> list[int]:
        table = "text_exact" if query.field == "exact" else "text_words"
        column = f"{{{query.field}}} : " if query.field in ("head", "body") else ""
        terms = []
        for phrase in query.phrases:
            # A quote inside an FTS5 string is doubled; nothing else is special there. NUL would end the text.
            words = [word.replace("\0", "").replace('"', '""') for word in phrase]
            words = [word for word in words if word]
            if not words:
                continue
            star = " *" if query.prefix else ""
            if query.field == "exact":  # kept without positions: single words only
                terms += [f'"{word}"' for word in words[:-1]] + [f'"{words[-1]}"{star}']
            else:
                terms.append(f'{column}"{" ".join(words)}"{star}')
        if not terms:
            return []
        match = " AND ".join(terms)
        sql = f"SELECT rowid FROM {table} WHERE {table} MATCH ? ORDER BY rowid"  # noqa: S608 (our own two names)
        return [doc for (doc,) in self._execute(sql, (match,))]


def _extended(error: Exception) -> int:
    return cast(int, getattr(error, "extendedresult", 0))


def _judge(error: Exception) -> tuple[Verdict, Exception]:
    match error:
        case apsw.FullError():
            return Verdict.LOST, NotNow("disk-full")
        case apsw.ConstraintError():
            unique = apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_ROWID
            if _extended(error) in unique:
                duplicate = Duplicate(str(error))
                duplicate.__cause__ = error
                return Verdict.OWN, duplicate
            return Verdict.OWN, error
        case (
            apsw.IOError()
            | apsw.CantOpenError()
            | apsw.BusyError()
            | apsw.LockedError()
            | apsw.CorruptError()
            | apsw.NotADBError()
            | apsw.ProtocolError()
            | apsw.NoMemError()
        ):
            log.error("SQLite: %s (%s)", error, _extended(error))
            return Verdict.LOST, NotNow("storage-trouble")
        case apsw.ReadOnlyError() if _extended(error) != apsw.SQLITE_READONLY:
            log.error("SQLite: %s (%s)", error, _extended(error))
            return Verdict.LOST, NotNow("storage-trouble")
        case _:
            return Verdict.OWN, error


def _judge_with_index(index: Path, error: Exception) -> tuple[Verdict, Exception]:
    """`_judge`, for who may ask the index: there may be none now, or a damaged one (see `beside`)."""
    if isinstance(error, beside.DAMAGE):
        beside.suspect(index)
    if isinstance(error, apsw.SQLError) and "no such table: text_" in str(error):
        return Verdict.OWN, NotNow("index-unavailable")
    return _judge(error)


def _index_of(path: Path) -> Path:
    return path.with_name(path.name + INDEX_SUFFIX)


@contextmanager
def _told() -> Iterator[None]:
    """Failures of the engine as the caller shall see them."""
    try:
        yield
    except apsw.Error as error:
        told = _judge(error)[1]
        if told is error:
            raise
        raise told from error


def _connect(path: Path, other: Path | None = None, synchronous: str = "FULL") -> apsw.Connection:
    """`other`: another file whose tables can be read by their names, but not written.

    Raises as a transaction does: a disk that does not answer now may do so for the next who comes.
    """
    with _told():
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(str(path), flags=flags, statementcachesize=512)
        connection.set_busy_timeout(BUSY_MS)
        connection.execute(f"PRAGMA page_size={INDEX_PAGE if path.name.endswith(INDEX_SUFFIX) else PAGE}")
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA case_sensitive_like=ON")  # as PostgreSQL does
        connection.execute(f"PRAGMA journal_size_limit={LIMIT}").fetchall()
        # A plan does not hang on the values that are bound. SQLite would else prepare a statement anew for each range
        # of UIDs: as much work as to read a few rows, and without statistics the plan becomes no better.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        connection.wal_autocheckpoint(0)
        if other is not None:
            _attach(connection, other)
        return connection


def _attach(connection: apsw.Connection, other: Path) -> None:
    connection.execute("ATTACH ? AS beside", (f"{other.absolute().as_uri()}?mode=ro",))


class _WritingEnd:
    """Writes to one of the two files."""

    def __init__(self, path: Path, other: Path | None = None, synchronous: str = "FULL") -> None:
        self._index = None if other is None else path
        self._connection = _connect(path, other, synchronous)
        self._connection.execute("PRAGMA cache_size=-65536")
        self._execute = self._connection.execute
        self._tx = SqliteTx(self._connection)
        self.touched = self._tx.touched
        self._turn = Turn(path)
        self._pages = 0
        self._connection.set_wal_hook(self._committed)
        self._log = LogKeeper(path, _connect(path), self._connection.pragma("page_size"))

    def _committed(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def turn_begins(self) -> None:
        self._turn.take()

    def turn_ends(self) -> None:
        self._turn.give()

    def begin(self, alone: bool) -> None:
        self.touched.clear()
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._execute("COMMIT")

    def rollback(self) -> None:
        self.touched.clear()
        if not self._connection.get_autocommit():
            with suppress(apsw.Error):
                self._execute("ROLLBACK")

    def savepoint(self) -> None:
        self._execute("SAVEPOINT one")

    def release(self) -> None:
        self._execute("RELEASE one")

    def undo(self) -> None:
        self._execute("ROLLBACK TO one")
        self._execute("RELEASE one")

    def call(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return f(self._tx, *args, **kwargs)

    def judge(self, error: Exception) -> tuple[Verdict, Exception]:
        return _judge(error) if self._index is None else _judge_with_index(self._index, error)

    def rest(self) -> None:
        self._log.grown(self._pages)

    def close(self) -> None:
        self._log.close()
        self._connection.close()
        self._turn.close()


class _ReadingEnd:
    """Reads both files; the database alone while there is no index that can be read."""

    def __init__(self, path: Path) -> None:
        self._index = _index_of(path)
        self._connection = _connect(path)
        with _told():
            self._connection.execute("PRAGMA cache_size=-16384")
            self._connection.execute("PRAGMA query_only=ON")
        self._execute = self._connection.execute
        self._tx = SqliteTx(self._connection)
        self._attached = 0  # the inode of the index
        self._follow_at = 0.0

    def _follow(self) -> None:
        """Turns to the index that is there now. What is wrong with it is told to those who ask it, and to no other."""
        self._follow_at = time.monotonic() + FOLLOW_SECONDS
        try:
            number = self._index.stat().st_ino
            if number != self._attached:
                if self._attached:
                    self._attached = 0
                    self._execute("DETACH beside")
                _attach(self._connection, self._index)
                self._execute("PRAGMA beside.cache_size=-16384")
                self._attached = number
        except (OSError, apsw.Error) as error:
            log.error("the text index cannot be opened: %s", error)
            _judge_with_index(self._index, error)

    def call(self, job: Job) -> Any:
        return self.run(job.f, job.args, job.kwargs)

    def run(self, f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if time.monotonic() >= self._follow_at:
            self._follow()
        try:
            self._execute("BEGIN")
            try:
                return f(self._tx, *args, **kwargs)
            finally:
                self._tx.touched.clear()
                if not self._connection.get_autocommit():
                    self._execute("ROLLBACK")
        except Exception as error:
            told = _judge_with_index(self._index, error)[1]
            if told is error:
                raise
            raise told from error

    def close(self) -> None:
        self._connection.close()


class SqliteDatabase:
    """`engine.Database` on one file, and one for the text index."""

    def __init__(self, path: Path, committed: Callable[[frozenset[int]], None] | None) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._index = _index_of(path)
        self._writer = GroupWriter(lambda: _WritingEnd(path), committed, "sqlite-writer")
        with suppress(apsw.Error, NotNow):  # the first of all makes the file, so that those who only read it find one
            _connect(self._index).close()
        self._indexer: GroupWriter | None = None  # opened by who writes to the index: few processes do
        self._readers = ReadPool(lambda: _ReadingEnd(path), READERS, "sqlite-reader")
        self._looker: _ReadingEnd | None = None  # the event loop's own
        self._closed = False

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

    async def look(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        # A row by key costs some ten microseconds, the way to another thread and back ten times that.
        if self._looker is None:
            if self._closed:
                raise NotNow("shutting-down")
            self._looker = _ReadingEnd(self.path)
        return cast(R, self._looker.run(f, args, kwargs))

    async def write_index(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, await self._index_writer().write(f, args, kwargs))

    def write_now(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._writer.write_now(f, args, kwargs))

    def write_index_now(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._index_writer().write_now(f, args, kwargs))

    def _index_writer(self) -> GroupWriter:
        if self._indexer is None:
            if self._closed:
                raise NotNow("shutting-down")
            # What a power failure takes from the index's tail is read from the change log once more: its cursor is in
            # the same file.
            self._indexer = GroupWriter(
                lambda: _WritingEnd(self._index, self.path, "NORMAL"), None, "sqlite-index-writer"
            )
        return self._indexer

    def read_now(self, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return cast(R, self._readers.read_now(f, args, kwargs))

    def migrate(self) -> list[str]:
        self.write_now(_migrate, list(steps()))
        try:
            return self.mend_index()
        except NotNow as trouble:
            log.error("the text index has to wait: %s", trouble.code)
            return []

    @property
    def index_suspect(self) -> bool:
        return beside.is_suspect(self._index)

    def mend_index(self) -> list[str]:
        said: list[str] = []
        identity, newly_named = self.write_now(_identity)
        with _told():
            reason = beside.fault(self._index, INDEX_SCHEMA, identity, newly_named)
        if reason:
            if self._indexer is not None:
                self._indexer.close()
                self._indexer = None
            said.append(beside.put_aside(self._index, reason))
        # Each file counts its own steps.
        self.write_index_now(_migrate, list(index_steps(INDEX_SCHEMA)))
        self.write_index_now(_stamp, identity)
        beside.cleared(self._index)
        return said

    def close(self) -> None:
        self._readers.close()
        self._closed = True
        for writer in (self._indexer, self._writer):  # the index reads the other file until it is closed
            if writer is not None:
                writer.close()
        if self._looker is not None:
            self._looker.close()
            self._looker = None


def _migrate(tx: SqliteTx, todo: list[Step]) -> None:
    """The version is looked up inside the transaction: of two processes that start together the second finds it
    done."""
    tx.run("CREATE TABLE IF NOT EXISTS main.schema_version (part TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL)")
    for part, version, text in todo:
        row = tx.one("SELECT version FROM main.schema_version WHERE part = ?", part)
        if (row[0] if row else 0) < version:
            tx.run(schema_for(text, " WITHOUT ROWID", {}))
            tx.run("INSERT OR REPLACE INTO main.schema_version (part, version) VALUES (?, ?)", part, version)
            log.info("schema %s is now at version %d", part, version)


def _identity(tx: SqliteTx) -> tuple[int, bool]:
    """What tells this database from every other, and whether it has just been drawn. Both files carry it."""
    row = tx.one("PRAGMA main.user_version")
    if row and row[0]:
        return row[0], False
    number = 1 + secrets.randbelow((1 << 31) - 1)
    _stamp(tx, number)
    return number, True


def _stamp(tx: SqliteTx, identity: int) -> None:
    row = tx.one("PRAGMA main.user_version")
    if row is None or row[0] != identity:
        tx.run(f"PRAGMA main.user_version = {identity:d}")
