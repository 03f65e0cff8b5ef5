"""Letters that an account's owner adds, on every engine: each command whole or refused, whatever its neighbours do."""

from collections.abc import Iterator
from typing import Any

import pytest

from congvu.base.failure import Refused
from congvu.db.engine import Database
from congvu.mailstore import append, changes, mailbox, message
from congvu.mailstore.append import Added, Adding
from congvu.mailstore.changes import Kind
from congvu.mailstore.message import DELETED, SEEN, Arrival
from tests.store.test_mailstore import NOW, Store, letter


@pytest.fixture
def store(db: Database) -> Iterator[Store]:
    store = Store(db)
    yield store
    from congvu.mailstore import check

    assert db.read_now(lambda tx: [f for f in check.check(tx) if "primary" not in f]) == []


def adding(count: int = 1, to: str = "INBOX", flags: int = 0, keywords: tuple[str, ...] = (), **more: Any) -> Adding:
    return Adding(to, tuple(Arrival(letter(), flags, keywords, NOW) for _ in range(count)), **more)


def put(store: Store, *wanted: Adding) -> list[str]:
    """The answers as text."""
    answers = store.do(append.append, 1, wanted, NOW)
    return [a.code if isinstance(a, Refused) else f"{a.mailbox_id}:{a.uids[0]}-{a.uids[-1]}" for a in answers]


def test_many_commands_are_one_change_a_mailbox(store: Store) -> None:
    before = store.box().modseq
    answers = put(
        store, adding(2, flags=SEEN), adding(), adding(to="Thư nháp", flags=DELETED), adding(3), adding(to="x")
    )
    assert answers == ["1:1-2", "1:3-3", "3:1-1", "1:4-6", "no-such-mailbox"]
    box = store.box()
    assert (box.messages, box.unseen, box.deleted, box.uid_next) == (6, 4, 0, 7)
    log = store.db.read_now(changes.since, 1, before, 1)
    assert [(c.kind, c.uids) for c in log] == [(Kind.APPEARED, "1:6")]
    assert store.box(1, 3).deleted == 1


def test_a_refusal_is_that_commands_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    size = letter().size
    store.do(lambda tx: tx.run("UPDATE store SET quota = ? WHERE account_id = 1", 3 * size))
    assert put(store, adding(2), adding(2), adding(), adding()) == ["1:1-2", "over-quota", "1:3-3", "over-quota"]
    store.do(lambda tx: tx.run("UPDATE store SET quota = 0 WHERE account_id = 1"))
    monkeypatch.setattr(message, "MAX_MESSAGES", 5)
    monkeypatch.setattr(message, "MAX_KEYWORDS", 1)
    assert put(store, adding(3), adding(keywords=("a", "b")), adding(keywords=("A",)), adding(), adding()) == [
        *("too-many-letters", "too-many-keywords", "1:4-4", "1:5-5", "too-many-letters")
    ]
    assert store.box().keywords == ("A",)


def test_a_letter_takes_anothers_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, adding(3))
    monkeypatch.setattr(message, "MAX_MESSAGES", 3)
    store.do(lambda tx: tx.run("UPDATE store SET quota = used WHERE account_id = 1"))
    answers = put(store, adding(replaces=(1, 2)), adding(replaces=(1, 2)), adding(to="Thư nháp", replaces=(1, 1)))
    assert answers == ["1:4-4", "expunge-issued", "3:1-1"]
    assert list(store.db.read_now(message.uids, 1, 1)) == [3, 4]
    assert put(store, adding(to="x", replaces=(1, 3)), adding(replaces=(1, 99))) == [
        "no-such-mailbox",
        "expunge-issued",
    ]
    assert list(store.db.read_now(message.uids, 1, 1)) == [3, 4]
    assert store.do(mailbox.quota, 1).messages == 3


def test_letters_of_one_command_know_each_other(store: Store) -> None:
    first, second = letter(message_id="a@x"), letter(message_id="b@x", references="<a@x>")
    (added,) = store.do(
        append.append, 1, [Adding("INBOX", tuple(Arrival(each, 0, (), NOW) for each in (first, second)))], NOW
    )
    assert isinstance(added, Added)
    one, two = store.db.read_now(message.rows, 1, 1, 1, 2)
    assert one.thread_id == two.thread_id == first.id
