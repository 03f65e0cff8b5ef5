"""QRESYNC: sets of UIDs as ranges, what a client's numbers prove, and logs that do not reach back."""

import re
from array import array
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from congvu.codec import uidset
from congvu.codec.imap import Resync, SequenceSet
from congvu.mailstore import changes, mailbox, message
from congvu.servers.imap import resync, view
from congvu.servers.imap.session import Done, Session
from tests.talk.letters import NOW, Box, opened

uids = st.sets(st.integers(1, 30)).map(sorted)
span = st.tuples(st.integers(1, 30), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))
spans = st.lists(span, max_size=6)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    return {uid for low, high in ranges for uid in range(low, min(high, 40) + 1)}


@given(spans, spans, uids)
def test_ranges_are_sets(some: list[tuple[int, int]], others: list[tuple[int, int]], there: list[int]) -> None:
    left, right = resync.merged(some), resync.merged(others)
    assert members(left) == members(some)
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(left))
    assert members(resync.clipped(left, right)) == members(some) & members(others)
    assert list(resync.within(there, left)) == [uid for uid in there if uid in members(some)]
    assert members(resync.gaps(there, 40)) == set(range(1, 41)) - set(there)
    assert members(resync.gaps(there, 0)) == set(range(1, max(there, default=0))) - set(there)


def numbers(*ranges: tuple[int | None, int | None]) -> SequenceSet:
    return SequenceSet(ranges)


def test_stars() -> None:
    assert resync.ranges(numbers((3, None)), [5, 9]) == [(3, resync.MAX_UID)]
    assert resync.ranges(numbers((None, None)), [5, 9]) == [(9, resync.MAX_UID)]
    assert resync.ranges(numbers((20, None), (1, 2)), [5, 9]) == [(1, 2), (9, resync.MAX_UID)]
    assert resync.ranges(numbers((1, None)), []) == [(1, resync.MAX_UID)]


@pytest.mark.parametrize(
    ("seqs", "named", "wanted"),
    [
        (((1, 1),), ((1, 1),), 1),
        (((1, 2),), ((1, 2),), 0),  # the second is another now
        (((1, 1), (2, 2)), ((1, 1), (3, 3)), 3),
        (((1, 1), (3, 3)), ((1, 1), (5, 5)), 1),
        (((1, 3),), ((1, 1), (3, 3), (7, 7)), 7),
        (((1, 1),), ((1, 4294967295),), 1),
        (((9, 9),), ((9, 9),), 0),
        ((), (), 0),
    ],
)
def test_what_numbers_prove(seqs, named, wanted: int) -> None:
    assert resync.matching_up_to(array("I", [1, 3, 7, 8]), SequenceSet(seqs), SequenceSet(named)) == wanted


@pytest.fixture
def box(tmp_path: Path):
    with opened(tmp_path) as box:
        for number in range(6):
            box.put(b"Subject: %d\r\n\r\n" % number)
        box.db.write_now(message.store, 1, 1, [2, 3, 5], message.Op.ADD, message.DELETED, (), NOW)
        box.db.write_now(message.expunge, 1, 1, [2, 5], NOW)
        box.db.write_now(message.expunge, 1, 1, [3], NOW)
        box.view = None
        box.enabled = ("QRESYNC",)
        yield box


def tell(box: Box, modseq: int, known: SequenceSet | None = None) -> bytes:
    async def run(session: Session) -> Done:
        await resync.tell(session, Resync(1, modseq, known))
        return Done()

    return box.do(run)[0]


def test_the_log_tells_what_vanished_since(box: Box) -> None:
    last = box.db.read_now(changes.highest, 1)
    assert tell(box, last) == b""
    assert tell(box, last - 1) == b"* VANISHED (EARLIER) 3\r\n"
    assert tell(box, last - 2) == b"* VANISHED (EARLIER) 2:3,5\r\n"
    assert tell(box, last - 2, numbers((1, 2), (5, 9))) == b"* VANISHED (EARLIER) 2,5\r\n"
    assert tell(box, last - 2, numbers((1, 1))) == b""
    assert tell(box, 6) == b"* VANISHED (EARLIER) 2:3,5\r\n* 3 FETCH (UID 6 FLAGS () MODSEQ (7))\r\n"


@pytest.mark.parametrize("cause", ["short", "long"])
def test_a_log_that_does_not_help_is_made_up_for(box: Box, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[tuple[object, ...]] = []
    if cause == "long":
        monkeypatch.setattr(resync, "LOG_ROWS", 1)
        asked = box.db.read_now(changes.highest, 1) - 2
    else:
        lost = box.db.read_now(lambda tx: tx.all("SELECT * FROM change WHERE modseq < 5"))
        box.db.write_now(lambda tx: tx.run("DELETE FROM change WHERE modseq < 5"))
        asked = 3
    assert tell(box, asked, numbers((1, 6))).startswith(b"* VANISHED (EARLIER) 2:3,5\r\n")
    box.db.write_now(message.store, 1, 1, [6], message.Op.ADD, message.DELETED, (), NOW)
    box.db.write_now(message.expunge, 1, 1, [6], NOW)
    box.select()
    box.db.write_now(message.copy, 1, 1, [1], 1, NOW)  # came after the mailbox was opened: neither seen nor gone
    assert tell(box, asked).startswith(b"* VANISHED (EARLIER) 2:3,5:6\r\n")
    box.db.write_now(lambda tx: tx.many("INSERT INTO change VALUES (?, ?, ?, ?, ?, ?)", lost))


def test_who_still_counts_a_message_is_not_told_that_it_was_earlier(box: Box) -> None:
    seen = box.select()
    before = seen.modseq
    box.db.write_now(message.store, 1, 1, [4], message.Op.ADD, message.DELETED, (), NOW)
    box.db.write_now(message.expunge, 1, 1, [4], NOW)
    assert tell(box, before - 1) == b"* VANISHED (EARLIER) 3\r\n"


def test_long_sets_come_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_RANGES", 2)
    assert list(view.vanished_lines([(1, 1), (3, 9), (11, 11)])) == [b"* VANISHED 1,3:9\r\n", b"* VANISHED 11\r\n"]
    assert list(view.vanished_lines([], earlier=True)) == []


OP = st.tuples(st.sampled_from(["put", "flag", "delete", "copy"]), st.integers(0, 9))


def happen(box: Box, what: str, which: int) -> None:
    there = box.db.read_now(message.uids, 1, 1)
    if what == "put" or not there:
        box.put(b"\r\n")
        return
    uid = [there[which % len(there)]]
    match what:
        case "flag":
            box.db.write_now(message.store, 1, 1, uid, message.Op.SET, which, (), NOW)
        case "copy":
            box.db.write_now(message.copy, 1, 1, uid, 1, NOW)
        case _:
            box.db.write_now(message.store, 1, 1, uid, message.Op.ADD, message.DELETED, (), NOW)
            box.db.write_now(message.expunge, 1, 1, uid, NOW)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(OP, max_size=6), min_size=1, max_size=4), st.sampled_from([0, 3, 1000]))
def test_who_comes_back_knows_everything(times: list[list[tuple[str, int]]], rows: int) -> None:
    """A client that only ever uses QRESYNC has the same messages and flags as the mailbox, whatever happened."""
    before, resync.LOG_ROWS = resync.LOG_ROWS, rows
    try:
        with TemporaryDirectory() as folder, opened(Path(folder)) as box:
            known: dict[int, bytes] = {}
            modseq = 1
            box.enabled = ("QRESYNC",)
            for time in times:
                for what, which in time:
                    happen(box, what, which)
                seen = box.select()
                for line in tell(box, modseq, numbers(*((uid, uid) for uid in known)) if known else None).splitlines():
                    if line.startswith(b"* VANISHED (EARLIER) "):
                        for low, high in uidset.ranges(line.split()[-1].decode()):
                            known = {uid: flags for uid, flags in known.items() if not low <= uid <= high}
                    else:
                        told = re.fullmatch(rb"\* (\d+) FETCH \(UID (\d+) FLAGS \((.*)\) MODSEQ \(\d+\)\)", line)
                        assert told
                        assert seen.uids[int(told[1]) - 1] == int(told[2])
                        known[int(told[2])] = told[3]
                # New ones are found by UIDNEXT: who names what it knows is told of nothing else.
                fresh = box.db.read_now(message.rows, 1, 1, 1, 1 << 31)
                first_new = max(known, default=0) + 1
                known |= {r.uid: view.flags_text(r.flags, "").encode() for r in fresh if r.uid >= first_new}
                assert known == {r.uid: view.flags_text(r.flags, "").encode() for r in fresh}
                modseq = max(modseq, *(r.modseq for r in fresh), box.db.read_now(mailbox.get, 1, 1).modseq)
    finally:
        resync.LOG_ROWS = before
