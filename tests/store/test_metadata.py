"""Notes about mailboxes, on every engine: private and shared ones, depth, bounds, and what becomes of them."""

from collections.abc import Iterator

import pytest

from congvu.base.failure import Refused
from congvu.db.engine import Database
from congvu.mailstore import changes, check, mailbox, metadata
from congvu.mailstore.metadata import ACCOUNT, Depth, Entry
from tests.store.test_mailstore import NOW, Store

COLOUR = Entry("/vendor/x/colour", True)
COMMENT = Entry("/comment", True)
SHARED = Entry("/comment", False)


@pytest.fixture
def store(db: Database) -> Iterator[Store]:
    store = Store(db)
    yield store
    assert db.read_now(lambda tx: [f for f in check.check(tx) if "primary" not in f]) == []


def test_each_reader_has_own_ones_and_all_share_others(store: Store) -> None:
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"mine"), (SHARED, b"ours\0")])
    store.do(metadata.put, 1, 1, 2, [(COMMENT, b"theirs")])
    assert store.do(metadata.get, 1, 1, 1, [COMMENT, SHARED]) == {COMMENT: b"mine", SHARED: b"ours\0"}
    assert store.do(metadata.get, 1, 1, 2, [COMMENT, SHARED]) == {COMMENT: b"theirs", SHARED: b"ours\0"}
    assert store.do(metadata.get, 2, 1, 1, [COMMENT, SHARED]) == {}
    assert store.do(metadata.of_all, 1, 1, [COMMENT]) == {1: {COMMENT: b"mine"}}
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"x"), (COMMENT, None), (SHARED, None)])
    assert store.do(metadata.get, 1, 1, 1, [COMMENT, SHARED]) == {}


def test_the_log_says_that_notes_changed_and_digests_say_which(store: Store) -> None:
    def log(before: int) -> list[tuple[int, changes.Kind]]:
        return store.db.read_now(changes.kinds_since, 1, before, 9)

    before = store.db.read_now(changes.highest, 1)
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"mine"), (SHARED, b"ours")])
    store.do(metadata.put, 1, ACCOUNT, 1, [(COLOUR, b"red")])
    store.do(metadata.put, 1, 1, 1, [(COLOUR, None)])  # there was none
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"mine"), (SHARED, b"ours")])  # they are so
    assert log(before) == [(1, changes.Kind.NOTES), (ACCOUNT, changes.Kind.NOTES)]
    assert [each.letters for each in store.db.read_now(changes.since, 1, before)] == [(), ()]
    first = store.do(metadata.digests, 1, 1, [ACCOUNT, 1])
    assert {number: set(notes) for number, notes in first.items()} == {ACCOUNT: {COLOUR}, 1: {COMMENT, SHARED}}
    assert store.do(metadata.digests, 1, 2, [ACCOUNT, 1]) == {1: {SHARED: first[1][SHARED]}}
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"other")])
    second = store.do(metadata.digests, 1, 1, [1])[1]
    assert second[SHARED] == first[1][SHARED] and second[COMMENT] != first[1][COMMENT]


def test_notes_are_copied_where_there_is_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"mine"), (SHARED, b"ours")])
    store.do(metadata.put, 1, 1, 2, [(COMMENT, b"theirs")])
    store.do(metadata.copy, 1, 1, 2)
    assert store.do(metadata.get, 1, 2, 1, [COMMENT, SHARED]) == {COMMENT: b"mine", SHARED: b"ours"}
    assert store.do(metadata.get, 1, 2, 2, [COMMENT]) == {}
    monkeypatch.setattr(metadata, "MAX_ENTRIES", 5)
    store.do(metadata.copy, 1, 1, 3)
    assert store.do(metadata.get, 1, 3, 1, [COMMENT, SHARED]) == {}


def test_depth(store: Store) -> None:
    names = ["/vendor/x", "/vendor/x/a", "/vendor/x/a/b", "/vendor/xy", "/vendor/x_", "/vendor/x_/z", "/vendor/xyz/z"]
    store.do(metadata.put, 1, ACCOUNT, 1, [(Entry(name, True), name.encode()) for name in names])

    def found(path: str, depth: Depth) -> list[str]:
        return [each.path for each in store.do(metadata.get, 1, ACCOUNT, 1, [Entry(path, True)], depth)]

    assert found("/vendor/x", Depth.ENTRY) == ["/vendor/x"]
    assert found("/vendor/x", Depth.CHILDREN) == ["/vendor/x", "/vendor/x/a"]
    assert found("/vendor/x", Depth.ALL) == ["/vendor/x", "/vendor/x/a", "/vendor/x/a/b"]
    assert found("/vendor/x_", Depth.ALL) == ["/vendor/x_", "/vendor/x_/z"]


def test_bounds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="metadata-too-big"):
        store.do(metadata.put, 1, 1, 1, [(COMMENT, b""), (SHARED, bytes(metadata.MAX_VALUE + 1))])
    assert store.do(metadata.get, 1, 1, 1, [COMMENT]) == {}
    monkeypatch.setattr(metadata, "MAX_ENTRIES", 2)
    store.do(metadata.put, 1, 1, 1, [(COMMENT, b"1")])
    store.do(metadata.put, 1, 2, 1, [(COMMENT, b"2")])
    with pytest.raises(Refused, match="metadata-too-many"):
        store.do(metadata.put, 1, 1, 1, [(SHARED, b"3")])
    store.do(metadata.put, 1, 1, 1, [(SHARED, b"3"), (COMMENT, None)])  # one for another
    monkeypatch.setattr(metadata, "MAX_BYTES", 5)
    store.do(metadata.put, 1, 1, 1, [(SHARED, b"1234")])
    with pytest.raises(Refused, match="metadata-too-many"):
        store.do(metadata.put, 1, 1, 1, [(SHARED, b"12345")])
    monkeypatch.setattr(metadata, "MAX_BYTES", 1)
    store.do(metadata.put, 1, 1, 1, [(SHARED, None)])  # to make room is never refused
    store.do(metadata.put, 2, 1, 2, [(COMMENT, b"4")])  # each account has bounds of its own


def test_a_mailbox_takes_its_own_along(store: Store) -> None:
    made = store.do(mailbox.create, 1, "one", NOW)
    store.do(metadata.put, 1, made.id, 1, [(COLOUR, b"red"), (SHARED, b"x")])
    store.do(metadata.put, 1, 1, 1, [(COLOUR, b"blue")])
    store.do(mailbox.rename, 1, "one", "two", NOW)
    assert store.do(metadata.get, 1, made.id, 1, [COLOUR]) == {COLOUR: b"red"}
    store.do(mailbox.delete, 1, "two", NOW)
    assert store.do(metadata.of_all, 1, 1, [COLOUR, SHARED]) == {1: {COLOUR: b"blue"}}


def test_check_finds_notes_without_a_mailbox(store: Store) -> None:
    store.do(metadata.put, 1, 77, 1, [(COMMENT, b"x")])
    assert "account 1 mailbox 77: has metadata but does not exist" in store.db.read_now(
        lambda tx: list(check.check(tx))
    )
    store.do(metadata.put, 1, 77, 1, [(COMMENT, None)])


def test_a_guest_takes_none_of_the_owners_room(db: Database) -> None:
    db.write_now(mailbox.create_store, 1, 0, NOW)
    entry = [(Entry(f"/vendor/x/{n}", True), b"1") for n in range(metadata.GUEST_ENTRIES + 1)]
    with pytest.raises(Refused) as caught:
        db.write_now(metadata.put, 1, 1, 2, entry)
    assert caught.value.code == "metadata-too-many"
    db.write_now(metadata.put, 1, 1, 2, entry[1:])
    db.write_now(metadata.put, 1, 1, 1, [(Entry(f"/vendor/x/{n}", True), b"1") for n in range(metadata.MAX_ENTRIES)])
    with pytest.raises(Refused):
        db.write_now(metadata.put, 1, 1, 3, [(Entry("/vendor/x/more", False), b"1")])
    db.write_now(metadata.put, 1, 1, 3, [(Entry("/vendor/x/more", True), b"1")])
    db.write_now(metadata.forget, 1, 1, 2)
    assert db.read_now(metadata.get, 1, 1, 2, [Entry("/vendor/x/1", True)]) == {}
    assert db.read_now(metadata.get, 1, 1, 1, [Entry("/vendor/x/1", True)]) != {}
