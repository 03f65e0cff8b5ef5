"""The text index's own file: damaged, cut short, without its tables, older or newer than the database, another's.

Nobody's mail notices; the index is made anew, and what it answers is true.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from congvu.base.failure import NotNow
from congvu.db import audit, open_blobs, open_database
from congvu.db.engine import Database
from congvu.mailstore import check, scan, search
from congvu.mailstore.words import Field, phrase
from congvu.main import begin
from tests.store.test_search import NOW, Store


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A store with forty letters, indexed, and closed."""
    with house(tmp_path) as store:
        for number in range(40):
            store.put(f"Công văn {number}", f"đường phố số {number} " + "chữ " * 300)
        store.index()
    yield tmp_path


class house:  # noqa: N801  used as a function
    """An open store on the files of `data`, as after a start."""

    def __init__(self, data: Path, told: list[str] | None = None) -> None:
        self.data = data
        self.told = told if told is not None else []

    def __enter__(self) -> Store:
        self.db = open_database("sqlite:///congvu.db", data=self.data)
        self.told += begin(self.db, NOW)
        self.blobs = open_blobs("file:blobs", data=self.data, worker="test")
        return Opened(self.db, self.blobs)

    def __exit__(self, *_: object) -> None:
        self.blobs.close()
        self.db.close()


class Opened(Store):
    def __init__(self, db: Database, blobs: Any) -> None:
        if db.read_now(lambda tx: tx.one("SELECT account_id FROM store")) is None:
            super().__init__(db, blobs)
        else:
            self.db, self.blobs, self.indexer = db, blobs, search.Indexer(db, blobs)


def index_of(data: Path) -> Path:
    return data / "congvu.db-text"


def folded(data: Path) -> None:
    """The log is copied into the index's file, so that its bytes can be damaged."""
    with closing(apsw.Connection(str(index_of(data)))) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def scribble(data: Path) -> None:
    folded(data)
    index_of(data).write_bytes(b"\xff" * index_of(data).stat().st_size)


def cut(data: Path) -> None:
    folded(data)
    with index_of(data).open("r+b") as file:
        file.truncate(index_of(data).stat().st_size // 2)


def drop(table: str) -> Callable[[Path], None]:
    def damage(data: Path) -> None:
        with closing(apsw.Connection(str(index_of(data)))) as connection:
            connection.execute(f"DROP TABLE {table}")

    return damage


def holes(data: Path) -> None:
    """Everything behind the first two pages is nonsense."""
    folded(data)
    with index_of(data).open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (index_of(data).stat().st_size - 8192))


DAMAGES = {
    "scribbled over": scribble,
    "cut short": cut,
    "no cursors": drop("text_cursor"),
    "no words": drop("text_words"),
    "no version": drop("schema_version"),
    "full of holes": holes,
}


def findings(store: Store) -> list[str]:
    return store.read(lambda tx: [f for f in check.check(tx) if "primary" not in f])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_put_aside_at_the_start(data: Path, damage: Callable[[Path], None]) -> None:
    damage(data)
    said: list[str] = []
    with house(data, said) as store:
        assert len(said) == 1 and "put aside" in said[0]
        assert (data / "congvu.db-text.damaged").exists()
        assert store.find("duong pho so 7") != set()
        store.index()
        letters = store.read(lambda tx: search.find(tx, 1, phrase("duong pho", Field.ANY)))
        assert (len(letters.letters), letters.pending) == (40, [])
        assert findings(store) == []
        acts = store.read(lambda tx: tx.all("SELECT act FROM audit WHERE id > 0"))
        assert acts == [("repair-index",)]
        assert store.read(audit.verify_chain) == []


def test_a_whole_index_stays(data: Path) -> None:
    before = index_of(data).stat().st_ino
    said: list[str] = []
    with house(data, said) as store:
        assert said == []
        assert len(store.read(lambda tx: search.find(tx, 1, phrase("duong", Field.ANY))).letters) == 40
    assert index_of(data).stat().st_ino == before


def test_mail_goes_on_beside_an_index_that_cannot_be_opened(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the store without mending it, as a worker that is started again."""
    monkeypatch.setattr("congvu.db.sqlite.FOLLOW_SECONDS", 0.0)
    scribble(data)
    db = open_database("sqlite:///congvu.db", data=data)
    blobs = open_blobs("file:blobs", data=data, worker="test")
    store = Opened(db, blobs)
    letter = store.put("Thư mới", "vẫn đến")
    assert len(store.read(scan.uids_of, 1, 1, {letter})) == 1
    with pytest.raises(NotNow) as caught:
        store.find("duong")
    assert caught.value.code == "index-unavailable"
    assert db.index_suspect
    # The indexer puts it aside; readers that are open turn to the new one by themselves.
    asyncio.run(round_of(store.indexer))
    assert not db.index_suspect
    db.close()
    with house(data) as again:
        assert len(again.find("duong pho")) == 40
        assert again.find("van den") == {letter}
    blobs.close()


async def round_of(indexer: search.Indexer) -> None:
    """Until the index is up to date."""
    task = asyncio.create_task(indexer.run())
    try:
        while indexer._db.index_suspect or await indexer._db.read(search.pending, 1):
            await asyncio.sleep(0.01)
    finally:
        task.cancel()


def test_damage_met_while_running_is_mended_while_running(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("congvu.db.sqlite.FOLLOW_SECONDS", 0.0)
    holes(data)
    db = open_database("sqlite:///congvu.db", data=data)
    blobs = open_blobs("file:blobs", data=data, worker="test")
    store = Opened(db, blobs)
    with pytest.raises(NotNow) as caught:
        store.find("duong")
    assert caught.value.code == "storage-trouble"
    letter = store.put("Thư mới", "vẫn đến")
    assert len(store.read(scan.uids_of, 1, 1, {letter})) == 1
    asyncio.run(round_of(store.indexer))
    assert len(store.find("duong pho")) == 40
    assert findings(store) == []
    blobs.close()
    db.close()


def copy(data: Path, to: Path, what: str) -> None:
    to.mkdir(exist_ok=True)
    for each in data.glob(what):
        if each.is_file():
            shutil.copy(each, to / each.name)


@pytest.mark.parametrize("meanwhile", [0, 1, 30])
def test_a_database_restored_beside_a_newer_index(data: Path, tmp_path: Path, meanwhile: int) -> None:
    """`meanwhile`: letters that come after the restore and before the indexer looks; their numbers in the change log
    are those of letters that are lost, which the index has read."""
    copy(data, tmp_path / "backup", "congvu.db*")
    with house(data) as store:
        for number in range(10):
            store.put(f"Mất {number}", "thu mat")
        store.index()
    for each in data.glob("congvu.db*"):
        if "-text" not in each.name:
            each.unlink()
    for each in (tmp_path / "backup").glob("congvu.db*"):
        if "-text" not in each.name:
            shutil.copy(each, data / each.name)
    said: list[str] = []
    with house(data, said) as store:
        assert len(said) == 1 and "ahead of 1 account" in said[0]
        new = {store.put(f"Mới {number}", "thu moi") for number in range(meanwhile)}
        assert store.find("thu moi") == new
        store.index()
        assert store.find("thu moi") == new
        assert store.find("thu mat") == set()
        assert len(store.find("duong pho")) == 40
        assert store.state()[0] == store.state()[1]
        assert findings(store) == []


def test_a_cursor_ahead_is_no_cursor(data: Path) -> None:
    """Also when nobody has settled it: it is neither "up to date" nor does the indexer turn on the spot."""
    with house(data) as store:
        store.db.write_index_now(lambda tx: tx.run("UPDATE text_cursor SET indexed = 9999 WHERE account_id = 1"))
        store.db.write_index_now(lambda tx: tx.run("DELETE FROM text_doc WHERE letter_id > 0"))
        assert len(store.find("duong pho")) == 40
        store.index()
        assert store.state()[0] == store.state()[1]
        assert len(store.read(lambda tx: search.find(tx, 1, phrase("duong", Field.ANY))).letters) == 40


def test_an_older_index_reads_on(data: Path, tmp_path: Path) -> None:
    copy(data, tmp_path / "backup", "congvu.db-text*")
    with house(data) as store:
        letter = store.put("Mới", "thu moi")
        store.index()
    copy(tmp_path / "backup", data, "congvu.db-text*")
    said: list[str] = []
    with house(data, said) as store:
        assert said == []
        assert store.find("thu moi") == {letter}
        store.index()
        assert findings(store) == []


def test_the_index_of_another_database_is_put_aside(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with house(other) as store:
        store.put("Của nhà khác", "bí mật nhà bên")
        store.index()
    copy(other, data, "congvu.db-text*")
    said: list[str] = []
    with house(data, said) as store:
        assert len(said) == 1 and "another database" in said[0]
        assert store.find("bi mat") == set()
        assert len(store.find("duong pho")) == 40
        store.index()
        assert findings(store) == []
