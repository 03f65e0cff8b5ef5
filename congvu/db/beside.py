"""The text index's own file beside an SQLite database: whether it can be used, and what becomes of one that cannot.

The file is derived data. One that is damaged, or that belongs to another database, is put aside under another name
(the last one stays, for whoever wants to look at it) and a fresh one takes its place; nobody's mail waits for that.
Must never take a disk that does not answer for damage.
"""

from contextlib import closing, suppress
from pathlib import Path

import apsw

from congvu.base.observe import log
from congvu.db.migrations import index_steps
from congvu.db.sqltext import schema_for

DAMAGE = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)
BUSY_MS = 30_000
ASIDE = ".damaged"  # congvu.db-text.damaged
SUSPECT = "-suspect"  # congvu.db-text-suspect: somebody met damage since the file was looked at


def suspect(index: Path) -> None:
    """Damage was met while running, here or in the database itself: whoever mends the index is to look closely."""
    with suppress(OSError):  # the disk is full or broken: that is told elsewhere
        index.with_name(index.name + SUSPECT).touch()


def is_suspect(index: Path) -> bool:
    return index.with_name(index.name + SUSPECT).exists()


def cleared(index: Path) -> None:
    """It has been looked at closely."""
    index.with_name(index.name + SUSPECT).unlink(missing_ok=True)


def fault(index: Path, words: str, identity: int, newly_named: bool) -> str:
    """Why the file cannot be the index of the database with this identity, "" when it can.

    `words`: the engine's own part of the index's schema; `newly_named`: the database had no identity before, so neither
    has its index. Takes some milliseconds, but reads the whole file when it `is_suspect`. Raises `apsw.Error` when the
    disk does not answer.
    """
    if not index.exists():
        return ""
    try:
        with closing(apsw.Connection(str(index), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.set_busy_timeout(BUSY_MS)
            names = _tables(connection)
            version = 0
            if "schema_version" in names:
                row = connection.execute("SELECT version FROM schema_version WHERE part = 'index'").fetchone()
                version = row[0] if row else 0
            wanted = _wanted(words, version)
            if missing := sorted(wanted - names):
                return f"it lacks {', '.join(missing)}"
            if not version and names - {"schema_version"}:
                return "its tables have no version"
            for name in sorted(wanted):
                connection.execute(f'SELECT * FROM "{name}" LIMIT 1').fetchall()  # noqa: S608 (names of our schema)
            ((stamp,),) = connection.execute("PRAGMA user_version").fetchall()
            if stamp != identity and (stamp or (version and not newly_named)):
                return "it belongs to another database"
            if is_suspect(index):
                ((said,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
                return "" if said == "ok" else str(said)
    except (*DAMAGE, apsw.SQLError) as error:
        return str(error)
    return ""


def put_aside(index: Path, reason: str) -> str:
    """Gives the file another name; a sentence that tells of it. Those who have it open may go on reading it."""
    aside = index.with_name(index.name + ASIDE)
    for end in ("", "-wal"):
        with suppress(FileNotFoundError):
            Path(f"{aside}{end}").unlink()
    for end in ("-wal", ""):  # a log without its file harms nobody, a file without its log would be another one
        with suppress(FileNotFoundError):
            Path(f"{index}{end}").replace(f"{aside}{end}")
    Path(f"{index}-shm").unlink(missing_ok=True)
    said = f"the text index {index.name} cannot be used ({reason}): put aside as {aside.name}, made anew"
    log.error("%s", said)
    return said


def _tables(connection: apsw.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _wanted(words: str, version: int) -> set[str]:
    """The tables that the index has at a version, those that its engine makes of its own accord among them."""
    with closing(apsw.Connection(":memory:")) as model:
        for _, number, text in index_steps(words):
            if number <= version:
                model.execute(schema_for(text, " WITHOUT ROWID", {}))
        return _tables(model)
