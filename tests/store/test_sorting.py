"""What SORT, THREAD, QRESYNC and NOTIFY read of the store, on every engine."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.vietnamese import fold
from congvu.db.engine import Database
from congvu.mailstore import changes, mailbox, message, scan, sorting
from congvu.mailstore.changes import Kind
from congvu.mailstore.message import DELETED, Op
from congvu.mailstore.sorting import Key
from tests.store.test_mailstore import NOW, Store, letter


@pytest.fixture
def store(db: Database) -> Store:
    store = Store(db)
    for subject, number, above in (
        ("Bình", "a", ""),
        ("Re: ẤN", "b", "<x> <a>"),
        ("ân", "c", "<b>"),
        ("[x] Ba", "", ""),
    ):
        store.put(of=letter(subject, number, above))
    return store


def order(store: Store, keys: list[tuple[Key, bool]], uids: list[int] | None = None, room: int = 1000) -> list[int]:
    run = store.db.read_now(sorting.run, 1, 1, uids or [1, 2, 3, 4], keys, room)
    return list(sorting.merged([run]))


@pytest.mark.parametrize("old", [False, True])
def test_runs(store: Store, old: bool) -> None:
    if old:
        store.do(lambda tx: tx.run("UPDATE letter SET sort_subject = NULL, thread_keys = NULL"))
    assert order(store, [(Key.SUBJECT, False)]) == [2, 3, 4, 1]
    assert order(store, [(Key.SUBJECT, True)]) == [1, 4, 2, 3]
    assert order(store, [(Key.SUBJECT, False), (Key.SIZE, False)], [1, 2, 3, 900]) == [3, 2, 1]
    assert order(store, [(Key.DATE, False), (Key.ARRIVAL, False), (Key.SUBJECT, True)]) == [1, 4, 2, 3]
    for key in Key:
        assert sorted(order(store, [(key, True)])) == [1, 2, 3, 4]
    assert order(store, [(Key.SUBJECT, False)], room=1) == [2, 3, 1, 4]


def test_runs_are_merged(store: Store) -> None:
    keys = [(Key.SUBJECT, False)]
    runs = [store.db.read_now(sorting.run, 1, 1, uids, keys, 100) for uids in ([1, 3], [2], [4])]
    assert list(sorting.merged(runs)) == [2, 3, 4, 1]
    assert list(sorting.merged([])) == []


def test_letters_of_threads(store: Store) -> None:
    uids, found = store.db.read_now(sorting.letters, 1, 1, [1, 2, 3, 500], 100)
    assert list(uids) == [1, 2, 3]
    a, b, c = found.ids
    assert list(found.ancestors) == [message.thread_key("x"), a, b]
    assert list(found.ends) == [0, 2, 3]
    assert [subject & 1 for subject in found.subjects] == [0, 1, 0]
    assert found.subjects[1] >> 1 != found.subjects[2] >> 1  # marks make another subject
    assert list(found.dates) == [NOW, NOW, NOW]
    _, few = store.db.read_now(sorting.letters, 1, 1, [2], 1)
    assert list(few.ancestors) == [a]
    assert c != b


def test_keys_fill_64_bits(store: Store) -> None:
    for (keys,) in store.db.read_now(lambda tx: tx.all("SELECT thread_keys FROM letter")):
        assert len(keys) % 8 == 0
        assert all(0 <= key < 1 << 64 for key in struct.unpack(f">{len(keys) // 8}Q", keys))


def test_identifiers_and_days_of_saving(store: Store) -> None:
    row = store.db.read_now(message.rows, 1, 1, 2, 2)[0]

    def found(condition: scan.Condition) -> list[int]:
        return store.db.read_now(scan.select, 1, 1, 1, 99, condition)

    assert found(scan.letter_is(row.letter_id)) == [2]
    assert found(scan.thread_is(row.thread_id)) == [1, 2, 3]
    assert found(scan.saved_since(int(NOW))) == [1, 2, 3, 4]
    assert found(scan.saved_since(int(NOW) + 1)) == []
    assert store.db.read_now(scan.table, 1, 1, row.uid, row.uid, (scan.Column.PREVIEW,)) == [("Re: ẤN",)]


def test_what_vanished(store: Store) -> None:
    store.do(message.store, 1, 1, [1, 2, 4], Op.ADD, DELETED, (), NOW)
    before = store.db.read_now(changes.highest, 1)
    store.do(message.expunge, 1, 1, [1, 2], NOW)
    store.do(message.expunge, 1, 1, [4], NOW)
    now = store.db.read_now(changes.highest, 1)

    def vanished(since: int, upto: int = now, limit: int = 100, box: int = 1) -> list[str] | None:
        return store.db.read_now(changes.vanished, 1, box, since, upto, limit)

    assert vanished(before) == ["1:2", "4"]
    assert vanished(before, upto=now - 1) == ["1:2"]
    assert vanished(now) == []
    assert vanished(before, box=2) == []
    assert vanished(before, limit=1) is None
    assert store.db.read_now(changes.kinds_since, 1, before, 9) == [(1, Kind.VANISHED), (1, Kind.VANISHED)]
    assert len(store.db.read_now(changes.kinds_since, 1, 0, 3)) == 3
    store.do(lambda tx: tx.run("DELETE FROM change WHERE account_id = 1 AND modseq < ?", now))
    assert vanished(before) is None
    assert vanished(now - 1) == ["4"]
    store.do(lambda tx: tx.run("DELETE FROM change WHERE account_id = 1"))
    assert vanished(now) is None


def test_some_mailboxes(store: Store) -> None:
    assert {box.name for box in store.db.read_now(mailbox.some, 1, [1, 2, 99])} == {"INBOX", "Thư đã gửi"}
    assert store.db.read_now(mailbox.some, 1, []) == []


@given(
    st.lists(
        st.tuples(st.integers(-(2**40), 2**40), st.sampled_from(["", "a", "ab", "ă", "Ấ", "b", "ba", "日"])),
        max_size=12,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(1, 4),
)
def test_keys_are_ordered_as_what_they_stand_for(
    letters: list[tuple[int, str]], back: bool, text_first: bool, size: int
) -> None:
    """Against Python's own sorting, whatever is first and whatever is the other way round, in runs of any size."""
    keys = (
        [(Key.SUBJECT, back), (Key.ARRIVAL, not back)] if text_first else [(Key.ARRIVAL, not back), (Key.SUBJECT, back)]
    )
    rows = [
        (uid, fold(text), when) if text_first else (uid, when, fold(text))
        for uid, (when, text) in enumerate(letters, 1)
    ]

    class Rows:
        def all(self, sql: str, account: int, box: int, *uids: int) -> list[tuple[object, ...]]:
            return rows

    runs = [
        sorting.run(Rows(), 1, 1, list(range(at + 1, min(at + size, len(rows)) + 1)), keys, 1000)  # type: ignore[arg-type]
        for at in range(0, len(rows), size)
    ]
    wanted = list(range(1, len(letters) + 1))
    for key, reverse in reversed(keys):  # stable, backwards too: the last key first
        wanted.sort(
            key=lambda uid: fold(letters[uid - 1][1]).encode() if key is Key.SUBJECT else letters[uid - 1][0],
            reverse=reverse,
        )
    assert list(sorting.merged(runs)) == wanted
