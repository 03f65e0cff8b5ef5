"""Deliveries of a batch, on every engine: as if each had come by itself, and one change an account."""

from collections.abc import Iterator

import pytest

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import Refused
from congvu.codec import mime
from congvu.db.blobs import Blob
from congvu.db.engine import Database, Tx
from congvu.mailstore import arrivals, changes, check, mailbox, message
from congvu.mailstore.arrivals import Delivery
from congvu.mailstore.changes import Kind
from congvu.mailstore.message import NewLetter, Target

NOW = 1_790_000_000
ids = Identifiers(ManualClock())


def letter(message_id: str = "", references: str = "") -> NewLetter:
    content = f"From: An <an@xa.test>\r\nMessage-ID: <{message_id}>\r\nReferences: {references}\r\n\r\nx\r\n".encode()
    number = ids.draw()
    return NewLetter(number, Blob(number.to_bytes(32, "big"), len(content), "nowhere"), b"", mime.scan(content))


@pytest.fixture
def store(db: Database) -> Iterator[Database]:
    db.write_now(mailbox.create_stores, [1, 2, 3], 0, NOW)
    yield db
    assert [f for f in db.read_now(lambda tx: list(check.check(tx))) if "primary" not in f] == []


def inbox(db: Database, account: int) -> list[message.Row]:
    return db.read_now(message.rows, account, mailbox.INBOX, 1, 1000)


def test_a_batch_is_one_change_an_account(store: Database) -> None:
    before = {account: store.read_now(changes.highest, account) for account in (1, 2, 3)}
    a, b, c = letter(), letter(), letter()
    deliveries = [Delivery(a, (1, 2), NOW - 3), Delivery(b, (2,), NOW - 2), Delivery(c, (1, 2), NOW - 1)]
    assert store.write_now(arrivals.receive, deliveries, NOW) == [{}, {}, {}]
    assert [(r.uid, r.letter_id, r.received, r.modseq) for r in inbox(store, 1)] == [
        (1, a.id, NOW - 3, before[1] + 1),
        (2, c.id, NOW - 1, before[1] + 1),
    ]
    assert [r.letter_id for r in inbox(store, 2)] == [a.id, b.id, c.id]
    assert inbox(store, 3) == []
    for account, uids in ((1, "1:2"), (2, "1:3")):
        (change,) = store.read_now(changes.since, account, before[account])
        assert (change.kind, change.mailbox_id, change.uids) == (Kind.APPEARED, mailbox.INBOX, uids)
        box = store.read_now(mailbox.get, account, mailbox.INBOX)
        assert box is not None
        assert (box.uid_next, box.modseq) == (int(uids[-1]) + 1, before[account] + 1)
    assert store.read_now(changes.highest, 3) == before[3]
    assert store.write_now(arrivals.receive, [Delivery(letter(), (1,), NOW)], NOW) == [{}]
    assert [r.uid for r in inbox(store, 1)] == [1, 2, 3]


def test_letters_of_a_batch_find_each_others_threads(store: Database) -> None:
    first, answer, third = letter("a@x"), letter("b@x", "<a@x>"), letter("c@x", "<a@x> <b@x>")
    other = letter("d@x", "<a@x>")
    store.write_now(arrivals.receive, [Delivery(first, (1,), NOW)], NOW)
    batch = [Delivery(answer, (1,), NOW), Delivery(third, (1, 2), NOW), Delivery(other, (2,), NOW)]
    store.write_now(arrivals.receive, batch, NOW)
    assert [r.thread_id for r in inbox(store, 1)] == [first.id] * 3
    assert [r.thread_id for r in inbox(store, 2)] == [third.id] * 2  # which has noted what it refers to


def test_who_has_too_many_or_is_gone_is_told(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals, "MAX_MESSAGES", 2)
    a, b, c = letter(), letter(), letter()
    told = store.write_now(
        arrivals.receive, [Delivery(a, (1, 2, 9), NOW), Delivery(b, (1,), NOW), Delivery(c, (1, 2), NOW)], NOW
    )
    assert [{account: why.code for account, why in each.items()} for each in told] == [
        {9: "no-such-mailbox"},
        {},
        {1: "too-many-letters"},
    ]
    assert [r.letter_id for r in inbox(store, 1)] == [a.id, b.id]
    assert [r.letter_id for r in inbox(store, 2)] == [a.id, c.id]
    again = store.write_now(arrivals.receive, [Delivery(letter(), (1, 3), NOW)], NOW)
    assert {account: type(why) for account, why in again[0].items()} == {1: Refused}


def test_many_letters_for_many(store: Database) -> None:
    """More accounts and thread keys than one statement takes."""
    store.write_now(mailbox.create_stores, list(range(10, 60)), 0, NOW)
    everybody = tuple(range(10, 60))
    batch = [Delivery(letter(f"{n}@x", f"<{n - 1}@x>"), everybody, NOW) for n in range(1, 9)]
    assert store.write_now(arrivals.receive, batch, NOW) == [{}] * 8
    for account in everybody:
        assert {r.thread_id for r in inbox(store, account)} == {batch[0].letter.id}
        assert [r.uid for r in inbox(store, account)] == list(range(1, 9))


def test_it_reads_like_letters_placed_one_by_one(store: Database) -> None:
    of, same = letter("a@x"), letter("a@x")

    def place(tx: Tx) -> None:
        message.keep_letter(tx, of, NOW)
        message.place(tx, of, [Target(1, mailbox.INBOX)], NOW, NOW)

    store.write_now(place)
    store.write_now(arrivals.receive, [Delivery(same, (2,), NOW)], NOW)
    (one,), (other,) = inbox(store, 1), inbox(store, 2)
    assert one._replace(letter_id=0, thread_id=0) == other._replace(letter_id=0, thread_id=0)
