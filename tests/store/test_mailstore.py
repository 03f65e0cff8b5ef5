"""The mailstore's contract, on every engine: UIDs, modseqs, counters, the change log, threads, quota."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import Refused
from congvu.codec import mime, uidset
from congvu.db.blobs import Blob
from congvu.db.engine import Database
from congvu.mailstore import changes, check, mailbox, message
from congvu.mailstore.changes import Kind
from congvu.mailstore.message import DELETED, FLAGGED, SEEN, NewLetter, Op, Placed, Target

NOW = 1_790_000_000
clock = ManualClock()
ids = Identifiers(clock)


def letter(text: str = "Xin chào", message_id: str = "", references: str = "", shared: bool = False) -> NewLetter:
    content = (
        f"From: An <an@angiang.gov.vn>\r\nSubject: {text}\r\n"
        + (f"Message-ID: <{message_id}>\r\n" if message_id else "")
        + (f"References: {references}\r\n" if references else "")
        + f"\r\n{text}\r\n"
    ).encode()
    number = ids.draw()
    blob = Blob(number.to_bytes(32, "big"), len(content), "nowhere")
    return NewLetter(number, blob, b"Received: x\r\n", mime.scan(content), shared)


class Store:
    """A database with two accounts, 1 and 2; each call is a transaction of its own."""

    def __init__(self, db: Database) -> None:
        self.db = db
        for account in (1, 2):
            db.write_now(mailbox.create_store, account, 0, NOW)

    def do(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.db.write_now(f, *args, **kwargs)

    def put(self, *targets: Target, of: NewLetter | None = None, **kwargs: Any) -> list[Placed | Refused]:
        of = of or letter()

        def f(tx: Any) -> list[Placed | Refused]:
            message.keep_letter(tx, of, NOW)
            return message.place(tx, of, targets or (Target(1, 1),), NOW, NOW, **kwargs)

        return self.db.write_now(f)  # type: ignore[no-any-return]

    def box(self, account: int = 1, number: int = 1) -> mailbox.Mailbox:
        found = self.db.read_now(mailbox.get, account, number)
        assert found is not None
        return found


@pytest.fixture
def store(db: Database) -> Iterator[Store]:
    store = Store(db)
    yield store
    # Accounts and addresses are the directory's; here only the store's own invariants are asked.
    findings = db.read_now(lambda tx: [f for f in check.check(tx) if "primary" not in f])
    assert findings == []


def test_what_sorting_and_threading_need_is_kept(store: Store) -> None:
    store.put(of=letter("Re: [x] Họp Đảng ủy", "b@x", "<a@x> <b@x>"))
    store.put(of=letter("họp đảng ỦY"))
    (subject, keys), (other, others) = store.db.read_now(
        lambda tx: tx.all("SELECT sort_subject, thread_keys FROM letter ORDER BY id")
    )
    assert subject == other == "hop dang uy"
    base, own, *ancestors = struct.unpack(">4Q", keys)
    assert struct.unpack(">2Q", others) == (base ^ 1, 0)  # the same conversation, but no answer
    assert (own, ancestors) == (message.thread_key("b@x"), [message.thread_key("a@x"), own])
    assert max(own, base) < 1 << 64


def test_an_account_holds_so_many_messages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "MAX_MESSAGES", 4)
    store.put(), store.put()
    # Onto itself: without a bound this doubles for ever where no quota of bytes is set.
    store.do(message.copy, 1, 1, [1, 2], 1, NOW)
    with pytest.raises(Refused, match="too-many-letters"):
        store.do(message.copy, 1, 1, [1], 1, NOW)
    (one, two) = store.put(Target(1, 1), Target(2, 1), check_quota=False)
    assert isinstance(one, Refused)
    assert one.code == "too-many-letters"
    assert isinstance(two, Placed)
    assert store.do(mailbox.full, [1, 2]) == {1}
    assert store.do(mailbox.quota, 1).messages == 4
    assert len(store.do(message.move, 1, 1, [1, 2, 3, 4], 1, NOW).target) == 4  # adds none


def test_six_mailboxes_from_the_start(store: Store) -> None:
    boxes = store.do(mailbox.all_mailboxes, 1)
    assert {b.name: b.role for b in boxes} == {
        "INBOX": "inbox",
        "Thư đã gửi": "sent",
        "Thư nháp": "drafts",
        "Thư rác": "junk",
        "Thùng rác": "trash",
        "Lưu trữ": "archive",
    }
    assert boxes[0].name == "INBOX"
    assert store.do(mailbox.find, 1, "inbox").id == 1
    assert store.do(mailbox.find, 1, "Thư đã gửi").id == 2  # decomposed


def test_a_letter_for_many_is_one_letter_and_a_row_each(store: Store) -> None:
    placed = store.put(Target(2, 1), Target(1, 1, SEEN))
    assert [(p.account_id, p.uid) for p in placed if isinstance(p, Placed)] == [(2, 1), (1, 1)]
    assert store.db.read_now(lambda tx: tx.one("SELECT count(*) FROM letter")) == (1,)
    assert (store.box(1).unseen, store.box(2).unseen) == (0, 1)
    again = store.put()[0]
    assert isinstance(again, Placed)
    assert again.uid == 2
    assert again.modseq > max(p.modseq for p in placed if isinstance(p, Placed) and p.account_id == 1)


def test_two_targets_in_one_account_are_an_error(store: Store) -> None:
    with pytest.raises(ValueError, match="one target"):
        store.put(Target(1, 1), Target(1, 2))


def test_a_missing_mailbox_or_no_room_refuses_only_that_account(store: Store) -> None:
    store.do(lambda tx: tx.run("UPDATE store SET quota = 10 WHERE account_id = 2"))
    answers = store.put(Target(1, 99), Target(2, 1))
    assert [a.code for a in answers if isinstance(a, Refused)] == ["no-such-mailbox", "over-quota"]
    assert isinstance(store.put(Target(2, 1), check_quota=False)[0], Placed)
    assert store.do(mailbox.full, [1, 2]) == {2}


def test_flags(store: Store) -> None:
    for _ in range(4):
        store.put()
    before = store.box().modseq
    done = store.do(message.store, 1, 1, [1, 2, 9], Op.ADD, SEEN | DELETED, ("$Viec",), NOW)
    assert [(r.uid, r.flags, r.keywords) for r in done.changed] == [
        (1, SEEN | DELETED, "$Viec"),
        (2, SEEN | DELETED, "$Viec"),
    ]
    box = store.box()
    assert (box.unseen, box.deleted, box.keywords, box.modseq) == (2, 2, ("$Viec",), done.modseq)
    assert done.modseq > before
    same = store.do(message.store, 1, 1, [1], Op.ADD, SEEN, ("$viec",), NOW)
    assert same.changed == []
    assert store.box().modseq == done.modseq
    gone = store.do(message.store, 1, 1, [1, 2, 3], Op.SET, FLAGGED, (), NOW, unchanged_since=before)
    assert gone.failed == [1, 2]
    assert [(r.uid, r.flags) for r in gone.changed] == [(3, FLAGGED)]
    store.do(message.store, 1, 1, [1], Op.REMOVE, DELETED, ("$VIEC",), NOW)
    assert store.do(message.rows, 1, 1, 1, 1)[0].keywords == ""


def test_keywords_in_another_order_are_no_change(store: Store) -> None:
    store.put()
    store.do(message.store, 1, 1, [1], Op.SET, FLAGGED, ("$A", "$B"), NOW)
    assert store.do(message.store, 1, 1, [1], Op.SET, FLAGGED, ("$B", "$A"), NOW).changed == []
    assert store.do(message.store, 1, 1, [1], Op.SET, FLAGGED, ("$B",), NOW).changed[0].keywords == "$B"


def test_expunge_only_takes_what_is_flagged_deleted(store: Store) -> None:
    for _ in range(5):
        store.put()
    store.do(message.store, 1, 1, [2, 4, 5], Op.ADD, DELETED, (), NOW)
    assert store.do(message.expunge, 1, 1, [1, 2], NOW) == [2]
    assert store.do(message.expunge, 1, 1, None, NOW) == [4, 5]
    assert list(store.do(message.uids, 1, 1)) == [1, 3]
    assert store.do(mailbox.quota, 1).messages == 2
    store.put()
    assert list(store.do(message.uids, 1, 1)) == [1, 3, 6]


def test_remove_takes_exactly_what_is_named(store: Store) -> None:
    for _ in range(5):
        store.put()
    store.do(message.store, 1, 1, [1, 2], Op.ADD, DELETED, (), NOW)
    before = store.box().modseq
    assert store.do(message.remove, 1, 1, [2, 4, 9]) == [2, 4]
    assert store.do(message.remove, 1, 1, [2, 4]) == []
    numbers, octets = store.do(message.sizes, 1, 1)
    assert list(numbers) == [1, 3, 5]
    assert sum(octets) == store.box().size == store.do(mailbox.quota, 1).used
    assert (store.box().messages, store.box().deleted, store.box().modseq) == (3, 1, before + 1)
    assert store.do(changes.since, 1, before)[0].kind is Kind.VANISHED


def test_copy_keeps_letter_thread_flags_and_date(store: Store) -> None:
    store.put(Target(1, 1, FLAGGED, ("$Viec",)), of=letter())
    copied = store.do(message.copy, 1, 1, [1], 6, NOW + 100)
    assert (copied.source, copied.target) == ([1], [1])
    one, other = store.do(message.rows, 1, 1, 1, 1)[0], store.do(message.rows, 1, 6, 1, 1)[0]
    assert (one.letter_id, one.thread_id, one.flags, one.keywords, one.received) == (
        other.letter_id,
        other.thread_id,
        other.flags,
        other.keywords,
        other.received,
    )
    assert other.saved == NOW + 100
    assert store.box(1, 6).keywords == ("$Viec",)
    store.do(lambda tx: tx.run("UPDATE store SET quota = used + 1 WHERE account_id = 1"))
    with pytest.raises(Refused, match="over-quota"):
        store.do(message.copy, 1, 1, [1], 6, NOW)
    with pytest.raises(Refused, match="no-such-mailbox"):
        store.do(message.move, 1, 1, [1], 77, NOW)


def test_move_is_one_change(store: Store) -> None:
    for _ in range(3):
        store.put()
    before = store.do(changes.highest, 1)
    moved = store.do(message.move, 1, 1, [1, 3], 5, NOW)
    assert (moved.source, moved.target) == ([1, 3], [1, 2])
    log = store.do(changes.since, 1, before)
    assert [(c.modseq, c.mailbox_id, c.kind, c.uids) for c in log] == [
        (before + 1, 1, Kind.VANISHED, "1,3"),
        (before + 1, 5, Kind.APPEARED, "1:2"),
    ]
    assert len(log[0].letters) == 2
    assert store.do(mailbox.quota, 1).messages == 3
    store.do(message.move, 1, 5, [1], 5, NOW)
    assert list(store.do(message.uids, 1, 5)) == [2, 3]


def test_the_change_log_tells_a_mailbox_from_the_others(store: Store) -> None:
    store.put()
    start = store.do(changes.highest, 1)
    store.put(Target(1, 6))
    store.do(message.store, 1, 1, [1], Op.ADD, SEEN, (), NOW)
    assert [c.kind for c in store.do(changes.since, 1, start)] == [Kind.APPEARED, Kind.FLAGS]
    assert [c.kind for c in store.do(changes.since, 1, start, 1)] == [Kind.FLAGS]
    assert store.do(changes.since, 2, 1) == []


def test_threads_follow_references_and_never_change(store: Store) -> None:
    store.put(of=letter("một", "a@x"))
    store.put(of=letter("hai", "b@x", "<a@x>"))
    store.put(of=letter("khác", "c@x"))
    store.put(of=letter("nối", "d@x", "<zz@x> <b@x>"))
    store.put(of=letter("đến muộn", "zz@x"))  # referred to before it came
    threads = [r.thread_id for r in store.do(message.rows, 1, 1, 1, 9)]
    assert threads[0] == threads[1] == threads[3] == threads[4]
    assert threads[2] != threads[0]
    store.put(Target(2, 1), of=letter("hai", "b@x", "<a@x>"))
    assert store.do(message.rows, 2, 1, 1, 1)[0].thread_id not in threads


@pytest.mark.parametrize(
    "name", ["", "a//b", "/a", "..", "a/../b", "a\nb", "a\0b", "x" * 501, "/".join("a" * 40), " a", "a*"]
)
def test_bad_names(store: Store, name: str) -> None:
    with pytest.raises(Refused):
        store.do(mailbox.create, 1, name, NOW)


@pytest.mark.parametrize(
    "name",
    [
        "\u200b",
        "a/\u2060\ufeff/b",
        "\u0378",  # assigned to nothing
        "\u3164",
        "\u0301",
        "\U000e0041\U000e0042",
        "a\uffff",
        "a\ufdd0",
        "a\U0010fffe",
        "Thư \u202etxt.gnod",
        "\u2066Thư\u2069",
    ],
)
def test_names_that_deceive(store: Store, name: str) -> None:
    with pytest.raises(Refused, match="bad-mailbox-name"):
        store.do(mailbox.create, 1, name, NOW)


def test_names_in_any_script(store: Store) -> None:
    for name in ("năm/quý", "công\u200dvăn", "文書", "✓", "2026", "\U0001f468\u200d\U0001f469"):
        assert store.do(mailbox.create, 1, name, NOW).name == name


def test_inbox_is_folded_by_ascii_only(store: Store) -> None:
    for name in ("inbox", "InBoX"):
        assert store.do(mailbox.find, 1, name).id == mailbox.INBOX
    assert store.do(mailbox.find, 1, "ınbox") is None
    assert store.do(mailbox.create, 1, "ınbox/a", NOW).name == "ınbox/a"


def test_mailboxes_come_and_go(store: Store) -> None:
    made = store.do(mailbox.create, 1, "Công việc/Năm 2026/", NOW)
    assert made.name == "Công việc/Năm 2026"
    assert store.do(mailbox.find, 1, "Công việc") is not None
    with pytest.raises(Refused, match="mailbox-exists"):
        store.do(mailbox.create, 1, "Công việc", NOW)
    store.put(Target(1, made.id))
    store.do(mailbox.subscribe, 1, "Công việc/Năm 2026", True)
    store.do(mailbox.rename, 1, "Công việc", "Hồ sơ/Cũ", NOW)
    assert store.do(mailbox.find, 1, "Hồ sơ/Cũ/Năm 2026").id == made.id
    with pytest.raises(Refused, match="bad-mailbox-name"):
        store.do(mailbox.rename, 1, "Hồ sơ", "Hồ sơ/x", NOW)
    store.do(mailbox.delete, 1, "Hồ sơ/Cũ/Năm 2026", NOW)
    assert "Hồ sơ/Cũ/Năm 2026" in store.do(mailbox.subscriptions, 1)
    assert store.do(mailbox.quota, 1).messages == 0
    again = store.do(mailbox.create, 1, "Hồ sơ/Cũ/Năm 2026", NOW)
    assert again.subscribed
    assert again.uid_validity > made.uid_validity
    assert again.id != made.id
    for special in ("INBOX", "Thư đã gửi"):
        with pytest.raises(Refused, match="special-mailbox"):
            store.do(mailbox.delete, 1, special, NOW)
    with pytest.raises(Refused, match="no-such-mailbox"):
        store.do(mailbox.delete, 1, "không có", NOW)


def test_no_name_ever_has_the_same_uid_validity_again(store: Store) -> None:
    first = store.do(mailbox.find, 1, "Thư nháp")
    store.do(mailbox.rename, 1, "Thư nháp", "Nháp cũ", NOW)
    store.do(mailbox.rename, 1, "Lưu trữ", "Thư nháp", NOW)
    second = store.do(mailbox.find, 1, "Thư nháp")
    store.do(mailbox.rename, 1, "Thư nháp", "Kho", NOW)
    third = store.do(mailbox.create, 1, "Thư nháp", NOW)
    assert len({box.uid_validity for box in (first, second, third)}) == 3


def test_renaming_inbox_moves_its_letters(store: Store) -> None:
    store.put()
    store.do(mailbox.rename, 1, "inbox", "Cũ", NOW)
    assert store.box().messages == 0
    assert store.do(mailbox.find, 1, "Cũ").messages == 1


def test_recent_is_claimed_once(store: Store) -> None:
    store.put()
    assert store.do(mailbox.claim_recent, 1, 1) == 1
    assert store.do(mailbox.claim_recent, 1, 1) == 2


def test_too_many_keywords(store: Store) -> None:
    store.put()
    with pytest.raises(Refused, match="too-many-keywords"):
        store.do(message.store, 1, 1, [1], Op.ADD, 0, tuple(f"k{n}" for n in range(201)), NOW)


def test_a_thousand_accounts_at_once(store: Store) -> None:
    accounts = list(range(10, 1010))
    store.do(mailbox.create_stores, accounts, 0, NOW)
    placed = store.put(*(Target(a, 1) for a in accounts), of=letter("cho cả tỉnh", "all@x", shared=True))
    assert all(isinstance(p, Placed) and p.uid == 1 for p in placed)
    assert store.box(1009).messages == 1


def test_uid_sets() -> None:
    assert uidset.encode([1, 2, 3, 7, 9, 10]) == "1:3,7,9:10"
    assert list(uidset.decode("1:3,7,9:10")) == [1, 2, 3, 7, 9, 10]
    assert uidset.encode([]) == ""
    assert list(uidset.decode("")) == []


def test_uids_with_and_without_gaps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "_BLOCK", 3)
    assert list(store.do(message.uids, 1, 1)) == []
    for _ in range(11):
        store.put()
    assert list(store.do(message.uids, 1, 1)) == list(range(1, 12))
    for gone, left in (([1, 2], [3, 4, 5, 6, 7, 8, 9, 10, 11]), ([7], [3, 4, 5, 6, 8, 9, 10, 11]), ([11, 10], None)):
        store.do(message.store, 1, 1, sorted(gone), Op.ADD, DELETED, (), NOW)
        store.do(message.expunge, 1, 1, sorted(gone), NOW)
        assert list(store.do(message.uids, 1, 1)) == (left or [3, 4, 5, 6, 8, 9])
