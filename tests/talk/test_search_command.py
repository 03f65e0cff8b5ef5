"""SEARCH: every key, every form of answer, what is saved, what is indexed and what not yet, portions, damage."""

import time
import tracemalloc
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from congvu.base.clock import ManualClock
from congvu.base.failure import Refused
from congvu.codec.imap import SearchKey, SequenceSet
from congvu.mailstore import message
from congvu.mailstore.message import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, Op
from congvu.servers.imap import search
from congvu.servers.imap.view import Selected
from tests.talk.letters import NOW, Box, opened

DAY = 86_400


def letter(subject: str, body: str = "", **fields: str) -> bytes:
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"Subject: {subject}\r\n{more}\r\n{body}\r\n".encode()


@contextmanager
def filled(data: Path, indexed: bool) -> Iterator[Box]:
    with opened(data) as box:
        box.put(
            letter(
                "Quyết định số 5",
                "Đường Nguyễn Huệ",
                From="Trần Thị Bích <bich@angiang.gov.vn>",
                To="Lê Văn An <an@x.vn>",
                Cc="Phòng Tài chính <taichinh@x.vn>",
                Bcc="Kín <kin@x.vn>",
                Date="Sun, 20 Sep 2026 23:30:00 -0500",
                Message_ID="<Một.1@x.vn>",
                X_Priority="1 (Cao)",
            ),
            NOW,
            SEEN,
        )
        box.put(
            letter(
                "Thông báo nghỉ lễ",
                "Kính gửi " * 200,
                From="an@x.vn",
                To="bich@angiang.gov.vn",
                Date="20 Sep 2026 01:00 +0700",
                Message_ID="<hai.2@x.vn>",
            ),
            NOW - 2 * DAY,
            FLAGGED | ANSWERED,
            ("$Forwarded",),
        )
        box.put(letter("Re: quyet dinh", "sua duong", To="an@x.vn", In_Reply_To="<mot.1@x.vn>"), NOW - DAY, DRAFT)
        box.put(letter("", ""), NOW - 10 * DAY, DELETED | SEEN)
        box.recent_from = 3
        if indexed:
            box.index()
        yield box


@pytest.fixture(params=[True, False], ids=["indexed", "not yet indexed"])
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Box]:
    with filled(tmp_path, request.param) as box:
        yield box


@pytest.fixture(scope="module", params=[True, False], ids=["indexed", "not yet indexed"])
def same_box(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Box]:
    """For questions that change nothing."""
    with filled(tmp_path_factory.mktemp("box"), request.param) as box:
        yield box


@pytest.mark.parametrize(
    ("keys", "uids"),
    [
        ("ALL", [1, 2, 3, 4]),
        ("ANSWERED", [2]),
        ("UNANSWERED", [1, 3, 4]),
        ("DELETED", [4]),
        ("UNDELETED", [1, 2, 3]),
        ("DRAFT", [3]),
        ("UNDRAFT", [1, 2, 4]),
        ("FLAGGED", [2]),
        ("UNFLAGGED", [1, 3, 4]),
        ("SEEN", [1, 4]),
        ("UNSEEN", [2, 3]),
        ("RECENT", [3, 4]),
        ("OLD", [1, 2]),
        ("NEW", [3]),
        ("KEYWORD $forwarded", [2]),
        ("UNKEYWORD $Forwarded", [1, 3, 4]),
        ("LARGER 1000", [2]),
        ("SMALLER 1000", [1, 3, 4]),
        ("SINCE 21-Sep-2026", [1]),
        ("BEFORE 20-Sep-2026", [2, 4]),
        ("ON 20-Sep-2026", [3]),
        ("SENTON 20-Sep-2026", [1, 2]),
        ("SENTSINCE 21-Sep-2026", []),
        ("SENTBEFORE 21-Sep-2026", [1, 2]),
        ('SUBJECT "quyet"', [1, 3]),
        ('SUBJECT "QUYẾT ĐỊNH"', [1, 3]),
        ("SUBJECT uyet", [1, 3]),
        ('SUBJECT ""', [1, 2, 3, 4]),
        ("FROM bich", [1]),
        ("FROM tran", [1]),
        ("TO an@x.vn", [1, 3]),
        ("TO taichinh", []),
        ("TO to:", []),
        ("CC taichinh", [1]),
        ("BCC kin", [1]),
        ("HEADER Message-ID hai.2", [2]),
        ('HEADER Message-Id "<HAI.2@x.vn>"', [2]),
        ("HEADER In-Reply-To mot.1", [3]),
        ("HEADER X-Priority cao", [1]),
        ('HEADER X-Priority ""', [1]),
        ('HEADER Cc ""', [1]),
        ("HEADER Subject thong", [2]),
        ("HEADER Received angiang", [1, 2, 3, 4]),
        ("BODY duong", [1, 3]),
        ('BODY "đường nguyễn"', [1]),
        ("BODY quyet", []),
        ('BODY ""', [1, 2, 3, 4]),
        ('BODY "??"', []),
        ("TEXT quyet", [1, 3]),
        ("NOT TEXT quyet", [2, 4]),
        ("TEXT duong TEXT quyet UNSEEN", [3]),
        ("OR BODY duong SUBJECT thong", [1, 2, 3]),
        ("OR (SEEN FLAGGED) (NOT SEEN NOT FLAGGED)", [3]),
        ("NOT (OR SEEN FLAGGED)", [3]),
        ("NOT NOT SEEN", [1, 4]),
        ("NOT ALL", []),
        ("OR ALL SEEN", [1, 2, 3, 4]),
        ("2:3", [2, 3]),
        ("UID 2:*", [2, 3, 4]),
        ("UID 9:10", []),
        ("NOT UID 2", [1, 3, 4]),
        ("UID 1,3 SEEN", [1]),
        ("OR UID 1 UID 4", [1, 4]),
        ("SEEN BCC kin FROM bich BODY duong 1:2", [1]),
    ],
)
def test_keys(same_box: Box, keys: str, uids: list[int]) -> None:
    assert same_box.found(keys) == uids


def test_within(box: Box) -> None:
    """OLDER and YOUNGER (RFC 5032) are rows already; the parser does not know them yet."""
    box.clock.move(NOW + 100 - box.clock.now())
    view = box.select()
    for name, number in (("YOUNGER", 200), ("OLDER", 200)):
        assert isinstance(search.compiled(SearchKey(name, number=number), view, 1, NOW), search.Rows)


def test_answers_of_rev1(box: Box) -> None:
    box.db.write_now(message.store, 1, 1, [1], Op.ADD, DELETED, (), 0)
    box.select()
    box.db.write_now(message.expunge, 1, 1, [1], 0)
    box.select()  # numbers are one less than UIDs now
    assert box.search("ALL", by_uid=False)[0] == b"* SEARCH 1 2 3\r\n"
    assert box.search("ALL", by_uid=True)[0] == b"* SEARCH 2 3 4\r\n"
    assert box.search("LARGER 1000000", by_uid=True)[0] == b"* SEARCH\r\n"
    assert box.search("1:2", by_uid=True)[0] == b"* SEARCH 2 3\r\n"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("RETURN () 1:3", b'* ESEARCH (TAG "t1") UID ALL 1:3\r\n'),
        ("RETURN (MIN) ALL", b'* ESEARCH (TAG "t1") UID MIN 1\r\n'),
        ("RETURN (MIN MAX COUNT) ALL", b'* ESEARCH (TAG "t1") UID MIN 1 MAX 4 COUNT 4\r\n'),
        ("RETURN (ALL COUNT) NOT UID 2", b'* ESEARCH (TAG "t1") UID ALL 1,3:4 COUNT 3\r\n'),
        ("RETURN (MIN MAX ALL COUNT) NOT ALL", b'* ESEARCH (TAG "t1") UID COUNT 0\r\n'),
        ("RETURN (ALL) NOT ALL", b'* ESEARCH (TAG "t1") UID\r\n'),
        ("RETURN (SAVE) ALL", b""),
        ("RETURN (SAVE COUNT) ALL", b'* ESEARCH (TAG "t1") UID COUNT 4\r\n'),
    ],
)
def test_esearch(same_box: Box, command: str, line: bytes) -> None:
    assert same_box.search(command)[0] == line


def test_rev2_answers_esearch(box: Box) -> None:
    box.enabled = ("IMAP4REV2",)
    assert box.search("SEEN", by_uid=False)[0] == b'* ESEARCH (TAG "t1") ALL 1,4\r\n'
    assert box.search("RECENT")[0] == b'* ESEARCH (TAG "t1") UID\r\n'


def test_saved(box: Box) -> None:
    view = box.select()
    for command, saved in [
        ("RETURN (SAVE) UNSEEN", [2, 3]),
        ("RETURN (ALL) ALL", [2, 3]),
        ("RETURN (SAVE MIN) ALL", [1]),
        ("RETURN (SAVE MIN MAX) ALL", [1, 4]),
        ("RETURN (SAVE MIN COUNT) ALL", [1, 2, 3, 4]),
        ("RETURN (SAVE) NOT ALL", []),
    ]:
        box.search(command)
        assert list(view.saved) == saved, command
    box.search("RETURN (SAVE) UNSEEN")
    assert box.found("$") == [2, 3]
    assert box.found("UID $ DRAFT") == [3]
    with pytest.raises(Refused, match="bad-sequence"):  # which is BAD, and no search (rfc5182 2.1)
        box.search("RETURN (SAVE) 9")
    assert list(view.saved) == [2, 3]
    with pytest.raises(Refused, match="search-too-many-texts"):
        box.search("RETURN (SAVE) " + " ".join(f"TEXT w{n}" for n in range(search.MAX_QUESTIONS + 1)))
    assert view.saved == array("I")


def test_modseq(box: Box) -> None:
    box.db.write_now(message.store, 1, 1, [2], Op.ADD, DELETED, (), 0)
    (row,) = box.db.read_now(message.rows, 1, 1, 2, 2)
    highest = b"* OK [HIGHESTMODSEQ 1] Highest\r\n"  # rfc7162 3.1: once, with what makes the session know of it
    assert box.search(f"MODSEQ {row.modseq}")[0] == highest + b"* SEARCH 2 (MODSEQ %d)\r\n" % row.modseq
    assert "CONDSTORE" in box.enabled
    assert box.search(f"MODSEQ {row.modseq + 1}")[0] == b"* SEARCH\r\n"
    assert box.search("RETURN (COUNT) MODSEQ 1")[0] == b'* ESEARCH (TAG "t1") UID COUNT 4 MODSEQ %d\r\n' % row.modseq
    (first,) = box.db.read_now(message.rows, 1, 1, 1, 1)
    assert box.search("RETURN (MIN) MODSEQ 1")[0] == b'* ESEARCH (TAG "t1") UID MIN 1 MODSEQ %d\r\n' % first.modseq


def test_new_letters_are_no_part_of_the_view(box: Box) -> None:
    view = box.select()
    box.put(letter("Quyết định mới"))
    box.view = view
    assert box.found("SUBJECT quyet") == [1, 3]
    assert box.found("TEXT quyet") == [1, 3]
    assert box.found("UNSEEN") == [2, 3]


def test_portions(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one read looks at must not matter."""
    for n in range(40):
        box.put(letter(f"Số {n}", f"phần {n}", Bcc=f"u{n}@x.vn"), NOW, SEEN if n % 3 else 0)
    programs = ["SEEN", "SUBJECT so", "BCC u1", "NOT BODY phan", "OR UNSEEN BCC u2", "UID 3,17,30:33 SUBJECT so"]
    before = [box.found(p) for p in programs]
    assert before[1] == [1, *range(5, 45)] and len(before[2]) == 11 and before[3] == [1, 2, 3, 4]
    for name in ("PORTION", "PORTION_BYTES", "WAITING", "NUMBERS"):
        monkeypatch.setattr(search, name, 3)
    monkeypatch.setattr("congvu.mailstore.scan._FEW", 1)
    assert [box.found(p) for p in programs] == before


def test_a_damaged_letter_does_not_match(box: Box) -> None:
    for file in (box.data / "blobs").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    assert box.found("BCC kin") == []
    assert box.found("SUBJECT quyet") == [1, 3]


def test_programs_as_large_as_they_may_be(same_box: Box) -> None:
    """SQLite takes an expression a thousand deep, and a AND b AND c … is as deep as it is long."""
    assert same_box.found(" ".join(["SEEN"] * 1000)) == [1, 4]
    assert same_box.found(" ".join(f"NOT KEYWORD k{n}" for n in range(500))) == [1, 2, 3, 4]
    # Twenty keys on each of 24 levels, AND and OR in turn.
    text = "SEEN"
    for _ in range(24):
        ors = "OR SEEN " * 20
        text = f"({text}{' UNDRAFT' * 18} {ors}SEEN)"
        if text.count(" ") > 900:
            break
    assert same_box.found(text) == [1, 4]


def test_a_program_of_sets_takes_no_more_than_its_text() -> None:
    """A set of each key was made whole: a thousand keys for a million messages took the machine's memory."""
    view = Selected(1, 1, 7, array("I", range(1, 100_001)), 10)
    keys = tuple(SearchKey("SEQ", set=SequenceSet(((n, None),))) for n in range(2, 502))
    tracemalloc.start()
    try:
        plan = search.compiled(SearchKey("AND", keys=keys), view, 0, 0)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert isinstance(plan, search.All)
    given = [each for each in plan.nodes if isinstance(each, search.Spans)]
    assert len(given) == 500
    assert search._picked(view.uids, given) == array("I", range(501, 100_001))


def test_large_programs_are_asked_of_fewer_messages_at_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEWEST", 1)
    monkeypatch.setattr(search, "PORTION", 4)
    monkeypatch.setattr(search, "QUESTIONS", 2)
    sizes: list[int] = []
    narrow = search._narrow

    def spy(*args: Any) -> set[int]:
        sizes.append(len(args[-1]))
        return narrow(*args)

    monkeypatch.setattr(search, "_narrow", spy)
    program = " ".join(["SUBJECT quyet"] * 6)
    assert box.found(program) == [1, 3]
    assert max(sizes) == 1


def test_texts_of_one_program(same_box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_QUESTIONS", 2)
    assert same_box.found("BODY duong TEXT quyet BODY duong") == [1, 3]
    with pytest.raises(Refused, match="search-too-many-texts"):
        same_box.found("OR BODY duong OR TEXT quyet BODY sua")


def test_a_needle_longer_than_any_text_costs_little(same_box: Box) -> None:
    begin = time.process_time()
    for needle in ("a " * 20_000, "quyet" + "a" * 40_000, "a" * 201):
        assert same_box.found(f'SUBJECT "{needle}"') == []
    assert time.process_time() - begin < 1.0  # a pattern of it was compiled in nine seconds


def test_sent_day() -> None:
    for text, day in [
        (b'("Thu, 1 Jan 1970 23:59:59 -0500" NIL', 0),
        (b'("2 january 1970 0:0 +0700" NIL', 1),
        (b"({24}\r\n03 Jan 1970 00:00 +0000", 2),
        (b"(NIL NIL", None),
        (b'("31 Feb 1970" NIL', None),
        (b'("1 Xxx 1970" NIL', None),
    ]:
        assert search.sent_day(text) == day


def test_age_in_seconds(same_box: Box) -> None:
    """RFC 5032: both keys hold for the very second."""
    clock, same_box.clock = same_box.clock, ManualClock(NOW)
    try:
        assert same_box.found(f"YOUNGER {DAY}") == [1, 3]
        assert same_box.found(f"OLDER {DAY}") == [2, 3, 4]
        assert same_box.found(f"YOUNGER {DAY - 1}") == [1]
        assert same_box.found(f"OLDER {DAY + 1}") == [2, 4]
        assert same_box.found(f"OLDER {DAY} YOUNGER {9 * DAY}") == [2, 3]
        assert same_box.found(f"NOT OLDER {DAY}") == [1]
        assert same_box.found(f"YOUNGER {2**63 - 1}") == [1, 2, 3, 4]
        assert same_box.found(f"OLDER {2**63 - 1}") == []
    finally:
        same_box.clock = clock
