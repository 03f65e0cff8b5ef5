"""SORT and THREAD on a real mailbox: every key, both directions, portions, old letters, ESORT and PARTIAL."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from congvu.base.failure import Refused
from congvu.mailstore import message, sorting
from congvu.servers.imap import progress, sort
from congvu.servers.imap.session import Session
from congvu.servers.stream import Gone
from tests.store.test_outline import as_before_schema_6
from tests.talk.letters import NOW, Box, opened

LETTERS = [
    # subject, from, to, cc, date, received, size
    ("Re: Họp giao ban", "Ân Nguyễn <zz@x.vn>", "b@x.vn", "", "2 Nov 2026 10:00:00 +0700", 0, 5),
    ("họp giao BAN", "bình <binh@x.vn>, a <a@x.vn>", "Đức <duc@x.vn>", "c@x.vn", "2 Nov 2026 08:00:00 +0000", 50, 1),
    ("[sở] Âm lịch", "an@x.vn", "Dũng <aa@x.vn>", "", "", 20, 9),
    ("", '"Trần, Cường" <cuong@x.vn>', "", "B <b@x.vn>", "1 Nov 2026 23:59:00 -0700", 10, 3),
    ("Hôp giao ban (fwd)", "ẤN Nguyễn <a2@x.vn>", "Nhóm: x@x.vn;", "", "1 Jan 1969 00:00:00 +0000", 30, 7),
]


def content(subject: str, sender: str, to: str, cc: str, date: str, number: int, size: int) -> bytes:
    fields = {"Subject": subject, "From": sender, "To": to, "Cc": cc, "Date": date}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"{head}Message-ID: <{number}@x.vn>\r\n\r\n{'x' * 400 * size}\r\n".encode()


def fill(box: Box) -> None:
    for number, (subject, sender, to, cc, date, received, size) in enumerate(LETTERS, 1):
        box.put(content(subject, sender, to, cc, date, number, size), NOW + received)


def make_old(box: Box) -> None:
    box.db.write_now(as_before_schema_6)
    box.db.write_now(lambda tx: tx.run("UPDATE letter SET sort_subject = NULL, thread_keys = NULL"))


@pytest.fixture(params=["kept", "old"])
def box(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Box]:
    """`old`: letters of before schema 4."""
    with opened(tmp_path) as box:
        fill(box)
        if request.param == "old":
            make_old(box)
        yield box


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("ARRIVAL", [1, 4, 3, 5, 2]),
        ("REVERSE ARRIVAL", [2, 5, 3, 4, 1]),
        ("SIZE", [2, 4, 1, 5, 3]),
        ("DATE", [5, 3, 1, 4, 2]),
        ("REVERSE DATE", [2, 4, 1, 3, 5]),
        ("SUBJECT", [4, 3, 1, 2, 5]),
        ("REVERSE SUBJECT", [1, 2, 5, 3, 4]),  # equals stay in the mailbox's order
        ("SUBJECT DATE", [4, 3, 5, 1, 2]),
        ("SUBJECT REVERSE SIZE", [4, 3, 5, 1, 2]),
        ("FROM", [5, 3, 2, 4, 1]),
        ("DISPLAYFROM", [1, 5, 3, 2, 4]),
        ("TO", [4, 3, 1, 2, 5]),
        ("DISPLAYTO", [4, 1, 2, 3, 5]),
        ("CC", [1, 3, 5, 4, 2]),
        ("REVERSE CC TO", [2, 4, 3, 1, 5]),
    ],
)
@pytest.mark.parametrize("portion", [2, 5_000])
def test_keys(box: Box, keys: str, wanted: list[int], portion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "PORTION", portion)
    if keys == "DATE":
        assert NOW < 1_793_000_000  # the letter without a date came before those of November
    said = f"* SORT {' '.join(map(str, wanted))}\r\n".encode()
    assert box.sort(f"({keys}) UTF-8 ALL") == said


def test_numbers_follow_the_view(box: Box) -> None:
    box.db.write_now(message.store, 1, 1, [1, 2], message.Op.ADD, message.DELETED, (), NOW)
    box.db.write_now(message.expunge, 1, 1, [1], NOW)
    box.view = None
    assert box.sort("(SIZE) UTF-8 UNDELETED", by_uid=False) == b"* SORT 3 4 2\r\n"
    box.select()
    box.db.write_now(message.expunge, 1, 1, [2], NOW)  # seen by this session still, but gone
    assert box.sort("(SIZE) UTF-8 UID 2:4") == b"* SORT 4 3\r\n"
    assert box.sort("(SIZE) UTF-8 FLAGGED") == b"* SORT\r\n"


def test_answers_of_esort(box: Box) -> None:
    def said(returns: str) -> bytes:
        return box.sort(f"RETURN ({returns}) (REVERSE SIZE) UTF-8 ALL").removeprefix(b'* ESEARCH (TAG "t1") UID ')

    assert said("") == b"ALL 3,5,1,4,2\r\n"
    assert said("MIN MAX COUNT") == b"MIN 3 MAX 2 COUNT 5\r\n"
    assert said("PARTIAL 2:3") == b"PARTIAL (2:3 5,1)\r\n"
    assert said("PARTIAL -1:-2 COUNT") == b"PARTIAL (-1:-2 4,2) COUNT 5\r\n"
    assert said("PARTIAL 6:9") == b"PARTIAL (6:9 NIL)\r\n"
    box.db.write_now(message.store, 1, 1, [3, 4], message.Op.ADD, message.SEEN, (), NOW)
    highest = b"* OK [HIGHESTMODSEQ 1] Highest\r\n"  # rfc7162 3.1: once, with what makes the session know of it
    assert box.sort("(SIZE) UTF-8 MODSEQ 7") == highest + b"* SORT 4 3 (MODSEQ 7)\r\n"
    assert box.sort("RETURN (MIN) (SIZE) UTF-8 MODSEQ 1") == b'* ESEARCH (TAG "t1") UID MIN 2 MODSEQ 3\r\n'
    assert box.sort("RETURN (COUNT) (SIZE) UTF-8 KEYWORD x") == b'* ESEARCH (TAG "t1") UID COUNT 0\r\n'


def test_pages_of_a_search(box: Box) -> None:
    def said(returns: str) -> bytes:
        return box.search(f"RETURN ({returns}) NOT UID 2")[0].removeprefix(b'* ESEARCH (TAG "t1") UID ')

    def saved() -> list[int]:
        return list(box.view.saved) if box.view else []

    assert said("PARTIAL 1:2") == b"PARTIAL (1:2 1,3)\r\n"
    assert said("PARTIAL -2:-3 COUNT SAVE") == b"PARTIAL (-2:-3 3:4) COUNT 4\r\n"
    assert saved() == [1, 3, 4, 5]
    assert said("PARTIAL -9:-5") == b"PARTIAL (-5:-9 NIL)\r\n"
    assert said("PARTIAL 2:3 MIN SAVE") == b"MIN 1 PARTIAL (2:3 3:4)\r\n"
    assert saved() == [1, 3, 4]
    assert said("PARTIAL 4:400 SAVE") == b"PARTIAL (4:400 5)\r\n"
    assert saved() == [5]


def test_a_key_is_cut_where_memory_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort, "KEY_BYTES", 0)
    with opened(tmp_path) as box:
        for subject in ("x" * 30 + "b", "x" * 30 + "a", "x" * 20 + "b", "x" * 20 + "a"):
            box.put(f"Subject: {subject}\r\n\r\n".encode())
        assert box.sort("(SUBJECT) UTF-8 ALL") == b"* SORT 4 3 1 2\r\n"


@pytest.mark.parametrize("large", [False, True])
def test_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    if large:
        monkeypatch.setattr(sort, "LARGE", 0)
        monkeypatch.setattr(sort, "PORTION", 2)
        monkeypatch.setattr(sort, "PIECES", 3)
    letters = [
        ("Họp", "a", ""),
        ("Re: Họp", "b", "<a@x>"),
        ("Khác", "c", ""),
        ("Re: khác", "d", "<mất@x>"),
        ("Re: Họp", "e", "<a@x> <b@x>"),
        ("Re: Họp", "f", "<a@x> <b@x>"),
        ("Hợp", "g", ""),  # with another mark it is another subject
    ]
    with opened(tmp_path) as box:
        assert box.thread("REFERENCES UTF-8 ALL") == b"* THREAD\r\n"
        for number, (subject, name, above) in enumerate(letters):
            more = f"References: {above}\r\n" if above else ""
            text = (
                f"Subject: {subject}\r\nMessage-ID: <{name}@x>\r\nDate: {number + 1} Nov 2026 10:00 +0700\r\n{more}\r\n"
            )
            box.put(text.encode())
        assert box.thread("REFERENCES UTF-8 ALL") == b"* THREAD (1 2 (5)(6))(3 4)(7)\r\n"
        assert box.thread("ORDEREDSUBJECT UTF-8 ALL") == b"* THREAD (1 (2)(5)(6))(3 4)(7)\r\n"
        assert box.thread("REFERENCES UTF-8 NOT UID 2:3", by_uid=False) == b"* THREAD (1 (5)(6))(4)(7)\r\n"
        box.db.write_now(message.store, 1, 1, [2], message.Op.ADD, message.DELETED, (), NOW)
        box.db.write_now(message.expunge, 1, 1, None, NOW)
        box.view = None
        assert box.thread("REFERENCES UTF-8 ALL", by_uid=False) == b"* THREAD (1 (4)(5))(2 3)(6)\r\n"
        monkeypatch.setattr(sort, "MAX_THREAD", 1)
        with pytest.raises(Refused, match="thread-too-many"):
            box.thread("REFERENCES UTF-8 ALL")


def test_threads_of_old_letters(tmp_path: Path) -> None:
    with opened(tmp_path) as box:
        box.put(b'Subject: a "b"\r\nMessage-ID: <a@x>\r\nIn-Reply-To: nothing\r\n\r\n')
        box.put("Subject: Khác\r\nMessage-ID: <b@x>\r\nIn-Reply-To: <a@x> <z@x>\r\n\r\n".encode())
        box.put(b"\r\n")
        wanted = box.thread("REFERENCES UTF-8 ALL")
        assert wanted == b"* THREAD (1 2)(3)\r\n"
        make_old(box)
        assert box.thread("REFERENCES UTF-8 ALL") == wanted


def test_letters_stand_before_other_signs(box: Box) -> None:
    """As Dovecot's imaptest has it: texts are compared in capitals."""
    for subject in ("_", "b", "[x] ", "Á"):
        box.put(f"Subject: {subject}\r\n\r\n".encode())
    assert box.sort("(SUBJECT) UTF-8 UID 6:9") == b"* SORT 9 7 8 6\r\n"


@pytest.mark.parametrize(
    ("people", "wanted"),
    [
        ("", ("", "")),
        ("an@x", ("an@x", "an")),
        ("an@x, Bình <b@x>", ("an@x", "an")),
        ("Bình <b@x>, an@x", ("Bình", "b")),
        ("Trần, Cường <c@x>", ("Trần, Cường", "c")),
        ("Nhóm:, an@x", ("Nhóm:", "Nhóm")),
    ],
)
def test_first_addresses(people: str, wanted: tuple[str, str]) -> None:
    assert sorting.first_address(people) == wanted


def test_large_answers_take_turns(box: Box) -> None:
    async def go() -> list[str]:
        seen: list[str] = []
        asking = Session(box.stream, box, {}, None)  # type: ignore[arg-type]  # stand-ins

        async def one(name: str) -> None:
            async with sort._turn(asking, sort.LARGE + 1):
                seen.append(name)
                await asyncio.sleep(0)
                seen.append(name)

        await asyncio.gather(one("a"), one("b"))
        return seen

    assert asyncio.run(go()) == ["a", "a", "b", "b"]


def test_nothing_more_is_read_for_who_has_left(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SEARCH of a million letters went on for minutes when its client had gone."""
    monkeypatch.setattr(sort, "PORTION", 1)
    read: list[int] = []
    run = sorting.run

    def leaves(*args: Any) -> sorting.Run:
        read.append(1)
        box.stream.closed = True
        return run(*args)

    monkeypatch.setattr(sorting, "run", leaves)
    with pytest.raises(Gone):
        box.sort("(SIZE) UTF-8 ALL")
    assert read == [1]


def test_who_waits_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setattr(sort, "PORTION", 1)
    out = box.sort("(SIZE) UTF-8 ALL")
    *told, answer = out.removesuffix(b"\r\n").split(b"\r\n")
    assert answer == b"* SORT 2 4 1 5 3"
    assert told
    for line in told:
        assert re.fullmatch(rb'\* OK \[INPROGRESS \("t1" (?:NIL NIL|[0-4] 5)\)\] Still working', line)
    box.stream.out.clear()
    monkeypatch.undo()
    assert box.sort("(SIZE) UTF-8 ALL") == b"* SORT 2 4 1 5 3\r\n"
