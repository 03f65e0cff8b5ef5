"""Full-text search on every engine: what is found before and after it is indexed; the index follows and repairs."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.vietnamese import fold
from congvu.codec import mime
from congvu.db import open_blobs
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database
from congvu.mailstore import check, mailbox, message, scan, search, words
from congvu.mailstore.message import DELETED, FLAGGED, SEEN, NewLetter, Op, Target
from congvu.mailstore.words import Field

NOW = 1_790_000_000
clock = ManualClock()
ids = Identifiers(clock)


class Store:
    """Two accounts, real blobs; each call is a transaction of its own."""

    def __init__(self, db: Database, blobs: BlobKeeper) -> None:
        self.db = db
        self.blobs = blobs
        self.indexer = search.Indexer(db, blobs)
        for account in (1, 2):
            db.write_now(mailbox.create_store, account, 0, NOW)

    def put(
        self,
        subject: str,
        body: str = "",
        *accounts: int,
        sender: str = "an@angiang.gov.vn",
        shared: bool = False,
        received: int = NOW,
        flags: int = 0,
        more: str = "",
    ) -> int:
        content = f"From: {sender}\r\nTo: Bình <binh@angiang.gov.vn>\r\nSubject: {subject}\r\n{more}\r\n{body}\r\n"
        with self.blobs.spool() as spool:
            spool.write(content.encode())
            blob = self.blobs.put_many([spool.buffer()])[0]
        letter = NewLetter(ids.draw(), blob, b"Received: x\r\n", mime.scan(content.encode()), shared)

        def f(tx: Any) -> None:
            message.keep_letter(tx, letter, NOW)
            message.place(tx, letter, [Target(a, 1, flags) for a in accounts or (1,)], received, NOW)

        self.db.write_now(f)
        return letter.id

    def index(self) -> None:
        asyncio.run(self.indexer.sweep())

    def state(self, account: int = 1) -> tuple[int, int]:
        return self.db.read_now(
            lambda tx: tx.one(
                "SELECT s.modseq, c.indexed FROM store s JOIN text_cursor c ON c.account_id = s.account_id"
                " WHERE s.account_id = ?",
                account,
            )
        )  # type: ignore[return-value]

    def find(self, text: str, field: Field = Field.ANY, account: int = 1) -> set[int]:
        """As IMAP searches: the index, then the letters it has not read."""

        def f(tx: Any) -> set[int]:
            question = words.phrase(text, field)
            found = search.find(tx, account, question)
            (more,) = search.matching(self.blobs.read, words.sources(tx, found.pending), [question])
            return found.letters | more

        return self.db.read_now(f)

    def ranked(self, query: str, account: int = 1, limit: int = 100) -> list[tuple[int, bool]]:
        return self.db.read_now(search.ranked, account, query, limit, self.blobs.read)

    def read(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.db.read_now(f, *args)


@pytest.fixture
def store(db: Database, tmp_path: Path) -> Iterator[Store]:
    blobs = open_blobs("file:blobs", data=tmp_path, worker="test")
    store = Store(db, blobs)
    yield store
    findings = db.read_now(lambda tx: [f for f in check.check(tx) if "primary" not in f])
    assert findings == []
    blobs.close()


@pytest.fixture(params=["indexed", "not yet indexed"])
def ready(store: Store, request: pytest.FixtureRequest) -> Callable[[], None]:
    """Every question is asked twice: of the index, and of letters it has not read."""
    return store.index if request.param == "indexed" else lambda: None


def test_marks_do_not_matter_but_rank(store: Store, ready: Callable[[], None]) -> None:
    plain = store.put("Duong pho", "Sua duong pho", received=NOW + 5)
    exact = store.put("Đường phố", "Sửa đường phố Nguyễn Huệ", received=NOW)
    other = store.put("Dưỡng", "nuôi dưỡng", received=NOW + 9)
    ready()
    assert store.find("duong") == store.find("ĐƯỜNG") == {plain, exact, other}
    assert store.find("nguyen hue") == store.find("Nguyễn Huệ") == {exact}
    assert store.ranked("đường") == [(exact, True), (other, False), (plain, False)]
    assert store.ranked("duong") == [(other, False), (plain, False), (exact, False)]
    assert store.ranked("đường", limit=1) == [(exact, True)]


def test_phrases_and_beginnings(store: Store, ready: Callable[[], None]) -> None:
    a = store.put("Họp", "kế hoạch năm 2027 của Ủy ban nhân dân")
    b = store.put("Họp", "hoạch định kế sách")
    ready()
    assert store.find("ke hoach") == {a}
    assert store.find("ke hoa") == {a}  # the last word may be the beginning of one
    assert store.find("k hoach") == set()
    assert store.find("hoach") == {a, b}
    assert store.find("uy ban, nhan-dan") == {a}
    assert store.find("") == store.find("?!") == set()
    # A search box: no letter has the phrase, so those that have all its words.
    assert store.ranked("hoạch kế 2027") == [(a, True)]
    assert store.ranked('"ke hoach" "uy ban"') == [(a, False)]
    assert store.ranked('"hoach ke"') == [(b, False), (a, False)]


def test_fields(store: Store, ready: Callable[[], None]) -> None:
    a = store.put("Công văn", "về việc khác", sender="Trần Văn Chín <chin@x.vn>")
    ready()
    assert store.find("cong van") == {a}
    assert store.find("cong van", Field.BODY) == set()
    assert store.find("chin@x.vn", Field.HEAD) == store.find("tran van chin") == store.find("Bình") == {a}
    assert store.find("viec khac", Field.BODY) == {a}
    assert store.find("viec khac", Field.HEAD) == set()


def test_encodings_and_files(store: Store, ready: Callable[[], None]) -> None:
    a = store.put(
        "=?UTF-8?B?UXV54bq/dCDEkeG7i25o?=",
        "--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "<p>ngh=E1=BB=8B quy=E1=BA=BFt</p>\r\n--b\r\nContent-Type: application/pdf\r\n"
        'Content-Disposition: attachment; filename="tohoso.pdf"\r\n\r\nx\r\n--b--',
        more="Content-Type: multipart/mixed; boundary=b\r\n",
    )
    ready()
    assert store.find("quyet dinh") == store.find("nghị quyết") == store.find("tohoso") == {a}


def test_one_account_never_sees_another(store: Store, ready: Callable[[], None]) -> None:
    a = store.put("mật", "chuyện riêng", 1)
    b = store.put("mật", "chuyện riêng", 2)
    all_ = store.put("thông báo", "nghỉ lễ", 1, 2, shared=True)
    one = store.put("thông báo", "nghỉ lễ", 2, shared=True)
    ready()
    assert store.find("chuyen rieng", account=1) == {a}
    assert store.find("chuyen rieng", account=2) == {b}
    assert store.find("nghi le", account=1) == {all_}
    assert store.find("nghi le", account=2) == {all_, one}
    assert store.ranked("nghỉ lễ", account=1) == [(all_, True)]


def test_shared_text_is_kept_once(store: Store) -> None:
    letter = store.put("thông báo", "nghỉ lễ", 1, 2, shared=True)
    store.index()
    rows = store.read(lambda tx: tx.all("SELECT account_id FROM text_doc WHERE letter_id = ?", letter))
    assert rows == [(0,)]
    for account in (1, 2):
        store.db.write_now(message.store, account, 1, [1], Op.ADD, DELETED, (), NOW)
        store.db.write_now(message.expunge, account, 1, None, NOW)
    store.index()
    store.db.write_index_now(search.forget_letters, [letter])
    assert store.read(lambda tx: tx.all("SELECT doc FROM text_doc WHERE letter_id = ?", letter)) == []


def test_prefixes_do_not_run_into_each_other() -> None:
    prefixes = [words.prefix_of(n) for n in (0, *range(1, 3000), 36**12, 2**63 - 1)]
    for a, b in zip(sorted(prefixes), sorted(prefixes)[1:], strict=False):
        assert a != b and not b.startswith(a)


def test_the_cursor_moves_and_nothing_is_done_twice(store: Store) -> None:
    store.index()
    letters = [store.put(f"thư {n}", f"số {n}") for n in range(80)]
    assert store.read(search.pending, 10) == [1]
    store.index()
    assert store.state()[0] == store.state()[1]
    assert store.read(search.pending, 10) == []
    assert store.find("thu") == set(letters)
    store.db.write_now(message.store, 1, 1, [1, 2], Op.ADD, FLAGGED, (), NOW)
    store.db.write_now(message.copy, 1, 1, [1, 2], 2, NOW)
    assert store.read(search.pending_letters, 1) == []  # copies are no new text
    store.index()
    assert store.state()[0] == store.state()[1]
    assert store.read(lambda tx: tx.one("SELECT count(*) FROM text_doc WHERE account_id = 1")) == (80,)


def test_overtaken_work_is_undone(store: Store) -> None:
    store.index()
    a = store.put("một", "hai")

    def portion() -> tuple[search.Plan, list[words.Text]]:
        plan = store.read(search.plan, 1, 10)
        return plan, [words.prepare(store.blobs.read, s) for s in store.read(words.sources, plan.letters)]

    first, texts = portion()
    number = store.db.write_index_now(search.claim_docs, 10)
    store.db.write_index_now(search.commit_index, [first], texts, number)
    with pytest.raises(search.OvertakenError):
        store.db.write_index_now(search.commit_index, [first], texts, number + 1)
    assert store.db.write_index_now(search.claim_docs, 10) == number + 10
    assert store.find("hai") == {a}
    assert store.read(search.plan, 1, 10) is None


def test_what_vanished_for_good_is_forgotten(store: Store) -> None:
    a, b = store.put("thư", "bỏ đi", flags=DELETED), store.put("thư", "bỏ đi")
    store.db.write_now(message.copy, 1, 1, [2], 2, NOW)
    store.index()
    store.db.write_now(message.store, 1, 1, [2], Op.ADD, DELETED, (), NOW)
    assert store.db.write_now(message.expunge, 1, 1, None, NOW) == [1, 2]
    store.index()
    assert store.find("bo di") == {b}  # its copy is still there
    assert store.read(lambda tx: tx.all("SELECT letter_id FROM text_doc WHERE account_id = 1")) == [(b,)]
    assert a != b


def test_a_letter_that_came_and_went_unread(store: Store) -> None:
    store.put("thư", "thoáng qua", flags=DELETED)
    store.db.write_now(message.expunge, 1, 1, None, NOW)
    store.index()
    assert store.find("thoang qua") == set()
    assert store.state()[0] == store.state()[1]


def test_a_big_copy_and_many_changes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHANGES", 7)
    letters = {store.put(f"thư {n}") for n in range(30)}
    store.db.write_now(message.copy, 1, 1, list(range(1, 31)), 2, NOW)
    store.db.write_now(message.move, 1, 2, list(range(1, 31)), 3, NOW)
    store.indexer.LETTERS = 4  # type: ignore[misc]  # smaller than one change
    store.index()
    assert store.find("thu") == letters
    assert store.state()[0] == store.state()[1]


def test_rebuild(store: Store) -> None:
    letters = {store.put(f"thư {n}", "xây lại") for n in range(70)}
    store.index()
    while store.db.write_index_now(search.rebuild, 1, 20):
        pass
    assert store.read(lambda tx: tx.one("SELECT count(*) FROM text_doc WHERE account_id = 1")) == (0,)
    assert store.find("xay lai") == letters  # read directly
    letters.add(store.put("thư mới", "xây lại"))
    store.index()
    assert store.read(search.pending_letters, 1) == []
    assert store.find("xay lai") == letters
    assert store.state()[0] == store.state()[1]


def test_two_indexers_at_once(store: Store) -> None:
    letters = {store.put(f"thư {n}", "hai thợ", *([1, 2] if n % 3 else [1]), shared=n % 2 == 0) for n in range(90)}
    other = search.Indexer(store.db, store.blobs)

    async def both() -> None:
        await asyncio.gather(store.indexer.sweep(), other.sweep())

    asyncio.run(both())
    assert store.find("hai tho") == letters
    assert store.read(search.pending, 10) == []
    found = store.read(lambda tx: tx.one("SELECT count(*), count(DISTINCT doc) FROM text_doc WHERE account_id >= 0"))
    assert found[0] == found[1]


def test_a_letter_whose_bytes_are_gone_keeps_its_head(store: Store, tmp_path: Path) -> None:
    a = store.put("Tiêu đề", "nội dung")
    for pack in (tmp_path / "blobs").rglob("*"):
        if pack.is_file():
            pack.write_bytes(b"")
    blobs = open_blobs("file:blobs", data=tmp_path, worker="other")
    asyncio.run(search.Indexer(store.db, blobs).sweep())
    assert store.find("tieu de") == {a}
    blobs.close()


def test_run_is_cancelled_cleanly(store: Store) -> None:
    a = store.put("nền", "chạy nền")

    async def go() -> None:
        task = asyncio.create_task(store.indexer.run())
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not await store.db.read(search.pending, 1):
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(go())
    assert store.read(search.pending, 1) == []
    assert store.find("chay nen") == {a}


def test_a_huge_letter(store: Store) -> None:
    body = "rộng rãi " * 200_000 + "đuôi"
    a = store.put("to", "đầu " + body)
    store.index()
    assert store.find("dau rong rai") == {a}
    assert store.find("duoi") == set()  # beyond what counts


def test_marks(store: Store) -> None:
    for n in range(12):
        store.put(f"Số {n}")
    assert store.read(scan.marks, 1, 1, 1, 99) == (["0 "], 12)
    assert store.read(scan.marks, 1, 1, 50, 99) == ([], 0)
    store.db.write_now(message.store, 1, 1, [2, 11], Op.SET, SEEN, ("$B", "$A"), NOW)
    marks = ["0 "] * 12
    marks[1] = marks[10] = "1 $B $A"
    assert store.read(scan.marks, 1, 1, 1, 99) == (marks, 12)
    assert store.read(scan.marks, 1, 1, 2, 3) == (marks[1:3], 2)


def test_scan(store: Store) -> None:
    for n in range(1, 21):
        store.put(f"Số {n}", received=NOW + n, flags=SEEN if n % 2 else 0)
    store.db.write_now(message.store, 1, 1, [3, 4], Op.ADD, 0, ("$Gấp_1", "x%"), NOW)
    c = scan

    def select(condition: scan.Condition, low: int = 1, high: int = 20) -> list[int]:
        return store.read(scan.select, 1, 1, low, high, condition)  # type: ignore[no-any-return]

    assert select(c.has_flag(SEEN)) == list(range(1, 21, 2))
    assert select(c.none_of(c.has_flag(SEEN)), 5, 9) == [6, 8]
    assert select(c.has_keyword("X%")) == [3, 4]
    assert select(c.has_keyword("x_")) == select(c.has_keyword("%")) == []
    assert select(c.any_of([c.uid_from(19), c.has_keyword("x%")])) == [3, 4, 19, 20]
    assert select(c.all_of([c.received_since(NOW + 5), c.none_of(c.received_since(NOW + 7))])) == [5, 6]
    assert select(c.larger(0)) == list(range(1, 21)) and select(c.smaller(10)) == []
    assert list(store.read(c.changed, 1, 1, 21)) == [3, 4]
    assert select(c.modseq_from(22)) == [3, 4]
    assert store.read(c.highest_modseq, 1, 1, [3, 5]) == 22
    assert store.read(c.highest_modseq, 1, 1, []) == 0
    pairs = store.read(c.column, 1, 1, range(1, 21), c.Column.SUBJECT)
    assert pairs[0] == (1, "Số 1") and len(pairs) == 20
    assert scan.containing(pairs, "so 2") == [2, 20]
    assert [uid for uid, _ in store.read(c.column, 1, 1, [1, 20], c.Column.LETTER)] == [1, 20]
    letters = [letter for _, letter in store.read(c.column, 1, 1, [5, 6], c.Column.LETTER)]
    assert list(store.read(c.uids_of, 1, 1, set(letters))) == [5, 6]


LETTERS = st.text(st.sampled_from("aAáạÂấđĐdDuưừ eéễ\u0301\u0323\u031b-ñıİſKßЖж1\n"), max_size=12)


@given(st.lists(LETTERS, max_size=5), LETTERS)
def test_containing_is_a_substring_of_the_fold(texts: list[str], needle: str) -> None:
    pairs = list(enumerate(texts))
    folded = fold(needle)
    assert scan.containing(pairs, folded) == [n for n, text in pairs if folded in fold(text)]
