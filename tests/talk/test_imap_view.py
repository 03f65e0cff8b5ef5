"""A session's view of its mailbox: whatever happens, what the client has been told adds up to what is there."""

import re
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.failure import Refused
from congvu.codec.imap import SequenceSet
from congvu.mailstore import message
from congvu.mailstore.message import Row
from congvu.servers.imap.view import News, Selected, flags_lines, flags_text, join, meet, without


def uids(*numbers: int) -> "array[int]":
    return array("I", numbers)


def view(*numbers: int) -> Selected:
    return Selected(1, 1, 7, uids(*numbers), 10)


def news(appeared: tuple[int, ...] = (), vanished: tuple[int, ...] = (), **more: object) -> News:
    return News(11, uids(*appeared), uids(*vanished), **{"flags": (), "keywords": None} | more)  # type: ignore[arg-type]


def tell(seen: Selected, told: News | None, **how: bool) -> list[bytes]:
    return seen.tell(told, **{"can_expunge": True, "rev2": True} | how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ranges", "by_uid", "wanted"),
    [
        (((1, 2),), False, (3, 5)),
        (((2, 1),), False, (3, 5)),
        (((None, None),), False, (9,)),
        (((2, None),), False, (5, 9)),
        (((1, 1), (1, 3), (2, 2)), False, (3, 5, 9)),
        (((1, 4),), True, (3,)),
        (((9, None),), True, (9,)),
        (((100, None),), True, (9,)),
        (((100, 200),), True, ()),
        (((5, 5), (3, 3), (3, 9)), True, (3, 5, 9)),
    ],
)
def test_sets(ranges, by_uid: bool, wanted: tuple[int, ...]) -> None:
    assert view(3, 5, 9).resolve(SequenceSet(ranges), by_uid) == uids(*wanted)


def test_sets_at_the_edges() -> None:
    assert not view().resolve(SequenceSet(((1, None),)), False)
    for empty in (view(), view(3, 5)):
        with pytest.raises(Refused, match="bad-sequence"):
            empty.resolve(SequenceSet(((3, 3),)), False)
    seen = view(3, 5, 9)
    seen.saved = uids(3, 4, 9)
    assert seen.resolve(SequenceSet((), saved=True), False) == uids(3, 9)
    assert [seen.number(n) for n in (2, 3, 4, 9, 10)] == [None, 1, None, 3, None]


def test_what_is_told() -> None:
    seen = view(3, 5, 9)
    row = Row(9, 1, 1, 11, 5, "x", 0, 0, 1)
    lines = tell(seen, news((9, 10, 11), (5, 11), flags=(row,)), rev2=False, condstore=True)
    assert lines == [
        b"* 2 EXPUNGE\r\n",
        b"* 3 EXISTS\r\n",
        b"* 0 RECENT\r\n",
        b"* 2 FETCH (UID 9 FLAGS (\\Seen \\Flagged x) MODSEQ (11))\r\n",
    ]
    assert seen.uids == uids(3, 9, 10)
    assert seen.modseq == 11


def test_expunges_wait_for_their_time() -> None:
    seen = view(3, 5, 9)
    assert tell(seen, news(vanished=(3,)), can_expunge=False) == []
    assert tell(seen, news((10,)), can_expunge=False) == [b"* 4 EXISTS\r\n"]
    assert tell(seen, None) == [b"* 1 EXPUNGE\r\n"]
    assert seen.uids == uids(5, 9, 10)
    assert tell(seen, news(vanished=(5, 9)), vanished=True) == [b"* VANISHED 5,9\r\n"]
    assert tell(seen, news(deleted=True)) == [b"* 1 EXPUNGE\r\n"]
    assert not seen.uids


def test_new_keywords_are_announced() -> None:
    seen = view(1)
    lines = tell(seen, news(keywords=("a", "b")))
    assert lines[0] == b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft a b)\r\n"
    assert tell(seen, news(keywords=("a", "b"))) == []


@given(st.data())
def test_a_client_that_counts_along_is_right(data: st.DataObject) -> None:
    there, next_uid = list[int](), 1
    seen, counted = view(), list[int]()
    for _ in range(data.draw(st.integers(1, 6))):
        came = tuple(range(next_uid, next_uid + data.draw(st.integers(0, 3))))
        next_uid += len(came)
        there += came
        went = tuple(sorted(data.draw(st.sets(st.sampled_from(there), max_size=3)))) if there else ()
        there = [n for n in there if n not in went]
        can_expunge = data.draw(st.booleans())
        for line in tell(seen, news(came, went), can_expunge=can_expunge):
            if found := re.match(rb"\* (\d+) EXPUNGE", line):
                assert can_expunge
                del counted[int(found[1]) - 1]
            elif found := re.match(rb"\* (\d+) EXISTS", line):
                assert int(found[1]) >= len(counted)
                counted += [n for n in seen.uids if n not in counted][: int(found[1]) - len(counted)]
        assert list(seen.uids) == counted
    tell(seen, None)
    assert list(seen.uids) == there


NUMBERS = st.sets(st.integers(1, 40)).map(lambda found: uids(*sorted(found)))


@given(NUMBERS, NUMBERS)
def test_sets_of_uids(one: "array[int]", two: "array[int]") -> None:
    assert set(meet(one, two)) == set(one) & set(two)
    assert set(join(one, two)) == set(one) | set(two)
    assert set(without(one, two)) == set(one) - set(two)
    assert list(without(one, two)) == sorted(without(one, two))


def test_new_keywords_are_offered_while_there_is_room() -> None:
    words = [f"k{n}" for n in range(message.MAX_KEYWORDS)]
    assert b" \\*)" in flags_lines(words[:-1], False)[1]
    assert b"\\*" not in flags_lines(words, False)[1]  # rfc9051 7.1, PERMANENTFLAGS


def test_flags() -> None:
    assert flags_text(0, "") == ""
    assert flags_text(31, "a b", True) == "\\Seen \\Answered \\Flagged \\Deleted \\Draft a b \\Recent"
