"""Sheets: they say what the rows say, are made when a run is full and go when most of it is gone; damage is told and
mended. On every engine."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec.imap import internal_date
from congvu.db import known_in, open_blobs
from congvu.db.engine import Database, Tx
from congvu.mailstore import check, mailbox, message, repair, search, sheets
from congvu.mailstore.message import DELETED, Op, Target
from congvu.mailstore.sheets import Field, Message, Run
from tests.store.test_mailstore import NOW, Store, letter

RUN = 8  # messages of a run here


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "UIDS", RUN)
    monkeypatch.setattr(sheets, "LEAST", RUN // 2)


pieces = st.binary(max_size=40)
numbers = st.integers(0, (1 << 32) - 1)
messages = st.lists(
    st.tuples(numbers, st.integers(0, 1 << 33), numbers, pieces, pieces),
    min_size=1,
    max_size=20,
    unique_by=lambda m: m[0],
).map(sorted)


def said(of: Message, first: Field, last: Field) -> bytes:
    fields = (
        b"UID %d" % of[0],
        b"INTERNALDATE " + internal_date(of[1]).encode(),
        b"RFC822.SIZE %d" % of[2],
        b"ENVELOPE " + of[3],
        b"BODYSTRUCTURE " + of[4],
    )
    return b" ".join(fields[first : last + 1])


@given(messages, st.lists(st.sampled_from(Field), min_size=2, max_size=2).map(sorted), st.data())
def test_any_fields_of_any_messages(every: list[Message], ends: list[Field], data: st.DataObject) -> None:
    sheet = sheets.unpack(sheets.pack(every))
    some = [of for of in every if data.draw(st.booleans())]
    assert sheet.cut(*ends, tuple(of[0] for of in every)) == [said(of, *ends) for of in every]
    assert sheet.cut(*ends, [of[0] for of in some]) == [said(of, *ends) for of in some]
    assert sheet.cut(*ends, [of[0] for of in some] + [1 << 32]) is None


@given(messages, st.data())
def test_a_bent_bit_is_told(every: list[Message], data: st.DataObject) -> None:
    frame = bytearray(sheets.pack(every))
    at = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[at // 8] ^= 1 << at % 8
    try:
        sheet = sheets.unpack(bytes(frame))
    except ValueError:
        return
    assert sheet == sheets.unpack(sheets.pack(every))  # a bit that means nothing


@given(st.binary(max_size=200))
def test_nonsense_is_told(frame: bytes) -> None:
    with pytest.raises(ValueError, match="a sheet"):
        sheets.unpack(frame)


@pytest.fixture
def store(db: Database, tmp_path: Path) -> Iterator[Store]:
    """Two full runs in INBOX of account 1 and three messages more; the index and the sheets are made."""
    store = Store(db)
    for n in range(2 * RUN + 3):
        store.put(of=letter(f"Thư {n}"))
    keeper = open_blobs("file:blobs", data=tmp_path, worker="0", known=known_in(db))
    lay_out(store)
    yield store
    assert findings(db) == []
    keeper.close()


def lay_out(store: Store) -> None:
    """As the indexer does; the letters have no bytes here that it could read."""

    async def go() -> None:
        indexer = search.Indexer(store.db, None)  # type: ignore[arg-type]
        await indexer._lay_out([plan for account in (1, 2) if (plan := store.db.read_now(search.plan, account, 1000))])
        await store.db.write_index(read_to_the_end)

    def read_to_the_end(tx: Tx) -> None:
        tx.run("DELETE FROM text_cursor")
        tx.run("INSERT INTO text_cursor (account_id, indexed) SELECT account_id, modseq FROM store")

    asyncio.run(go())


def findings(db: Database) -> list[str]:
    found = db.read_now(lambda tx: list(check.check(tx)))
    return [f for f in found if "primary" not in f and "text index" not in f]


def kept(db: Database) -> list[tuple[int, int, int, int]]:
    return db.read_now(
        lambda tx: tx.all("SELECT account_id, mailbox_id, run, letters FROM sheet ORDER BY account_id, mailbox_id, run")
    )


def take(store: Store, *uids: int, box: int = 1) -> None:
    store.do(message.store, 1, box, uids, Op.ADD, DELETED, (), NOW)
    store.do(message.expunge, 1, box, uids, NOW)
    lay_out(store)


def test_full_runs_have_sheets(store: Store) -> None:
    assert kept(store.db) == [(1, 1, 0, RUN), (1, 1, 1, RUN)]
    sheet = store.db.read_now(sheets.find, Run(1, 1, 1))
    assert sheet is not None
    assert sheet.uids == tuple(range(RUN + 1, 2 * RUN + 1))
    rows = store.db.read_now(sheets._messages, Run(1, 1, 1))
    assert sheet.cut(Field.UID, Field.STRUCTURE, sheet.uids) == [said(of, Field.UID, Field.STRUCTURE) for of in rows]
    assert store.db.read_now(sheets.find, Run(1, 1, 2)) is None
    assert store.db.read_now(sheets.due, [1, 2]) == []
    for _ in range(RUN - 3):
        store.put()
    lay_out(store)
    assert kept(store.db)[2] == (1, 1, 2, RUN)


def test_what_was_there_before_gets_sheets_too(store: Store) -> None:
    store.do(lambda tx: tx.run("DELETE FROM sheet"))
    asyncio.run(search.Indexer(store.db, None)._lay_out_what_was_there())  # type: ignore[arg-type]
    assert kept(store.db) == [(1, 1, 0, RUN), (1, 1, 1, RUN)]


def test_many_runs_are_made_in_portions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "AT_ONCE", 2)
    for _ in range(2):
        store.do(message.copy, 1, 1, list(range(1, 2 * RUN + 1)), 2, NOW)
    assert len(store.db.read_now(sheets.due, [1])) == 2
    lay_out(store)
    assert [row[2] for row in kept(store.db) if row[1] == 2] == [0, 1, 2, 3]


def test_a_run_of_few_messages_has_a_blank_one(store: Store) -> None:
    store.do(message.copy, 1, 1, list(range(1, RUN + 1)), 2, NOW)
    store.do(message.move, 1, 2, list(range(4, RUN + 1)), 3, NOW)  # before it is looked at
    store.do(message.copy, 1, 1, [1], 2, NOW)
    lay_out(store)
    assert [row for row in kept(store.db) if row[1] == 2] == [(1, 2, 0, 0)]
    assert store.db.read_now(sheets.find, Run(1, 2, 0)) is None
    assert store.db.read_now(sheets.due, [1]) == []


def test_numbers_that_were_skipped_cost_nothing(store: Store) -> None:
    store.do(lambda tx: tx.run("UPDATE mailbox SET uid_next = 2000000000 WHERE account_id = 1 AND id = 2"))
    store.do(message.copy, 1, 1, list(range(1, RUN + 1)), 2, NOW)
    store.do(lambda tx: tx.run("UPDATE mailbox SET uid_next = 4000000000 WHERE account_id = 1 AND id = 2"))
    assert [run.number for run in store.db.read_now(sheets.due, [1])] == [
        2_000_000_000 // RUN - 1,
        2_000_000_000 // RUN,
    ]
    lay_out(store)
    assert store.db.read_now(sheets.due, [1]) == []


def test_a_letter_with_headers_without_end_has_no_sheet(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "LARGEST", 1000)
    store.do(message.copy, 1, 1, list(range(1, RUN + 1)), 2, NOW)
    store.do(message.copy, 1, 1, [1], 2, NOW)
    lay_out(store)
    assert (1, 2, 0, 0) in kept(store.db)


def test_a_sheet_goes_when_most_of_it_is_gone(store: Store) -> None:
    take(store, *range(1, RUN // 2 + 1))
    assert kept(store.db)[0] == (1, 1, 0, RUN)
    take(store, RUN // 2 + 1, 2 * RUN + 1)
    assert kept(store.db) == [(1, 1, 0, 0), (1, 1, 1, RUN)]
    assert store.db.read_now(sheets.due, [1]) == []


def test_it_goes_with_its_mailbox(store: Store) -> None:
    box = store.do(mailbox.create, 1, "Hồ sơ", NOW).id
    store.do(message.copy, 1, 1, list(range(1, RUN + 3)), box, NOW)
    lay_out(store)
    assert (1, box, 0, RUN) in kept(store.db)
    drawn = store.db.read_now(sheets.draw, [Run(1, box, 0)])
    store.do(mailbox.delete, 1, "Hồ sơ", NOW)
    store.do(sheets.keep, drawn)  # by a worker that had read it before
    assert not [row for row in kept(store.db) if row[1] == box]


DAMAGE = [
    ("UPDATE sheet SET frame = ? WHERE run = 1", "cannot be read"),
    ("UPDATE sheet SET letters = length(?) WHERE run = 1", f"has {RUN} messages, not"),
    ("UPDATE sheet SET run = 2 + 0 * length(?) WHERE run = 1", "not so many UIDs"),
    ("UPDATE sheet SET mailbox_id = 99 + 0 * length(?)", "not so many UIDs"),
    ("UPDATE message SET received = 7 + 0 * length(?) WHERE uid = 9", "does not say what their rows say"),
    (
        "UPDATE sheet SET frame = (SELECT s.frame FROM sheet s WHERE s.run = 1) WHERE run = 0 AND length(?) > 0",
        "lacks messages",
    ),
]


@pytest.mark.parametrize(("sql", "finding"), DAMAGE)
def test_damage_is_found_and_mended(store: Store, sql: str, finding: str) -> None:
    assert store.do(lambda tx: tx.run(sql, b"x")) > 0
    assert any(finding in line for line in findings(store.db)), findings(store.db)
    told = store.do(repair.mend, 1, [], "test", NOW)
    assert any(finding in line for line in told)
    assert findings(store.db) == []
    lay_out(store)
    assert [line for line in store.do(repair.mend, 1, [], "test", NOW) if "sheet" in line] == []


def test_targets_are_of_the_store(store: Store) -> None:
    """Another account's mailbox of the same number has sheets of its own."""
    for _ in range(RUN + 1):
        store.put(Target(2, 1))
    lay_out(store)
    assert (2, 1, 0, RUN) in kept(store.db)
    assert store.db.read_now(lambda tx: len(list(sheets.faults(tx, 2)))) == 0
