"""codec.lines: how input was cut never matters, overlong lines are told once, memory stays bounded."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec.lines import BareLineFeed, LineBuffer, LineTooLong

Pieces = list[bytes]


def cut(data: bytes, places: list[int]) -> Pieces:
    marks = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


def read_lines(pieces: Pieces, limit: int, strict: bool) -> list[bytes | str]:
    buffer, seen = LineBuffer(), []
    for piece in pieces:
        buffer.feed(piece)
        while True:
            try:
                line = buffer.line(limit, strict)
            except LineTooLong:
                seen.append("long")
                continue
            except BareLineFeed:
                seen.append("bare")
                continue
            if line is None:
                break
            seen.append(line)
        assert len(buffer) < limit
    return seen


text = st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"a", b"bcdef", b"\x00", "đ".encode()]), max_size=60).map(
    b"".join
)


@given(text, st.lists(st.integers(0, 400), max_size=30), st.integers(1, 12), st.booleans())
def test_cuts_do_not_matter(data: bytes, places: list[int], limit: int, strict: bool) -> None:
    assert read_lines(cut(data, places), limit, strict) == read_lines([data], limit, strict)


@given(text, st.lists(st.integers(0, 400), max_size=30), st.lists(st.integers(0, 20), max_size=20))
def test_counted_bytes_and_chunks(data: bytes, places: list[int], counts: list[int]) -> None:
    buffer, out = LineBuffer(), b""
    todo = iter(counts)
    for piece in cut(data, places):
        buffer.feed(piece)
        for count in todo:
            got = buffer.exactly(count)
            if got is None:
                break
            assert len(got) == count
            out += got
        more = buffer.chunk(3)
        buffer.give_back(more[1:])
        out += more[:1]
    out += buffer.chunk(1000)
    assert out == data
    assert len(buffer) == 0


@pytest.mark.parametrize(
    ("data", "limit", "strict", "seen"),
    [
        (b"NOOP\r\nQUIT\r\n", 6, True, [b"NOOP", b"QUIT"]),
        (b"NOOP\r\nQUIT1\r\nRSET\r\n", 6, True, [b"NOOP", "long", b"RSET"]),
        (b"NOOP\nQUIT\r\n", 9, True, ["bare", b"QUIT"]),
        (b"NOOP\nQUIT\r\n", 9, False, [b"NOOP", b"QUIT"]),
        (b"NO\rOP\r\n", 9, True, [b"NO\rOP"]),
        (b"\r\n\n", 9, False, [b"", b""]),
        (b"x" * 100_000 + b"\r\nQUIT\r\n", 9, True, ["long", b"QUIT"]),
    ],
)
def test_lines(data: bytes, limit: int, strict: bool, seen: list[bytes | str]) -> None:
    assert read_lines([data], limit, strict) == seen
    assert read_lines([data[i : i + 1] for i in range(len(data))], limit, strict) == seen


def test_a_long_line_of_many_pieces_is_dropped_as_it_comes() -> None:
    buffer = LineBuffer()
    buffer.feed(b"x" * 600)
    with pytest.raises(LineTooLong):
        buffer.line(512)
    for _ in range(1000):
        buffer.feed(b"y" * 1000)
        assert len(buffer) == 0
        assert buffer.line(512) is None
    buffer.feed(b"end\r\nNOOP\r\n")
    assert buffer.line(512) == b"NOOP"


@pytest.mark.parametrize("step", [1, 3, 100])
def test_the_head_of_a_dropped_line_is_its_own(step: int) -> None:
    """Not the neighbour's bytes, which may or may not have come already."""
    data, buffer, seen = b"ab\nMAIL FROM\r\n" + b"x" * 30 + b"\r\nBDAT", LineBuffer(), []
    for at in range(0, len(data), step):
        buffer.feed(data[at : at + step])
        try:
            while buffer.line(20) is not None:
                pass
        except (BareLineFeed, LineTooLong) as bad:
            seen.append(bad.head)
            with suppress(LineTooLong):
                buffer.line(20)
    assert seen[0] == b"ab"
