"""codec.pop3: commands by table, letters as lines whatever the cut."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import pop3
from congvu.codec.pop3 import BadCommand, DotWriter, TopCutter

GOOD = [
    (b"user an@xa.test", pop3.User("an@xa.test")),
    ("USER đạt@xa.test".encode(), pop3.User("đạt@xa.test")),
    (b"PASS a b  ", pop3.Pass("a b  ")),
    (b"PASS  ", pop3.Pass(" ")),
    (b"AUTH", pop3.Auth("", None)),
    (b"AUTH plain", pop3.Auth("PLAIN", None)),
    (b"AUTH PLAIN =", pop3.Auth("PLAIN", b"")),
    (b"AUTH PLAIN AGEAYg==", pop3.Auth("PLAIN", b"\0a\0b")),
    (b"STLS", pop3.Stls()),
    (b"utf8", pop3.Utf8()),
    (b"LANG", pop3.Lang("")),
    (b"LANG *", pop3.Lang("*")),
    (b"LANG vi-VN", pop3.Lang("vi-vn")),
    (b"CAPA", pop3.Capa()),
    (b"QUIT", pop3.Quit()),
    (b"NOOP", pop3.Noop()),
    (b"RSET", pop3.Rset()),
    (b"STAT", pop3.Stat()),
    (b"LIST", pop3.List(None)),
    (b"LIST 7", pop3.List(7)),
    (b"UIDL", pop3.Uidl(None)),
    (b"uidl 7  ", pop3.Uidl(7)),
    (b"RETR 007", pop3.Retr(7)),
    (b"DELE 9999999999", pop3.Dele(9_999_999_999)),
    (b"TOP 1 0", pop3.Top(1, 0)),
]
BAD = [
    (b"", "unknown-command"),
    (b"APOP a b", "unknown-command"),
    (b"GET / HTTP/1.1", "not-pop3"),
    (b"Host: x", "not-pop3"),
    (b"\xff", "bad-utf8"),
    (b"USER \xc3", "bad-utf8"),
    (b"USER", "bad-syntax"),
    (b"USER  ", "bad-syntax"),
    (b"USER a\tb", "bad-syntax"),
    (b"PASS", "bad-syntax"),
    (b"PASS a\0b", "bad-syntax"),
    (b"QUIT now", "bad-syntax"),
    (b"QUIT ", "bad-syntax"),
    (b"LANG a_b", "bad-syntax"),
    (b"AUTH pl/ain", "bad-syntax"),
    (b"AUTH PLAIN A", "bad-base64"),
    (b"AUTH PLAIN AGEAYg==AA", "bad-base64"),
    (b"RETR", "bad-syntax"),
    (b"RETR x", "bad-syntax"),
    (b"RETR +1", "bad-syntax"),
    ("RETR ١".encode(), "bad-syntax"),
    (b"RETR 12345678901", "bad-syntax"),
    (b"TOP 1", "bad-syntax"),
    (b"TOP 1 2 3", "bad-syntax"),
    (b"TOP 1 -1", "bad-syntax"),
]


@pytest.mark.parametrize(("line", "command"), GOOD)
def test_commands(line: bytes, command: pop3.Command) -> None:
    assert pop3.parse(line) == command


@pytest.mark.parametrize(("line", "code"), BAD)
def test_no_commands(line: bytes, code: str) -> None:
    with pytest.raises(BadCommand) as caught:
        pop3.parse(line)
    assert caught.value.code == code


def test_secrets_do_not_print() -> None:
    assert "matkhau" not in repr(pop3.parse(b"PASS matkhau"))
    assert "matkhau" not in repr(pop3.Auth("PLAIN", b"\0a\0matkhau"))


def test_answers() -> None:
    assert pop3.answer(True, "") == b"+OK\r\n"
    assert pop3.answer(False, "x\r\n+OK", "AUTH") == b"-ERR [AUTH] x  +OK\r\n"
    long = pop3.answer(True, "đ" * 1000)
    assert len(long) <= 512 and long.endswith("đ\r\n".encode())


def reference(letter: bytes) -> bytes:
    """The same, one line after the other."""
    lines = re.split(rb"\r?\n", letter)
    last = lines.pop()
    lines += [last] if last else []
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"


letters = st.lists(
    st.sampled_from([b"\r\n", b"\n", b"\r", b".", b"..", b"a", b"bcdef", b"\0", "đ".encode()]), max_size=60
).map(b"".join)
places = st.lists(st.integers(0, 200), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    marks = [0, *sorted(p % (len(data) + 1) for p in at), len(data)]
    return [data[a:b] for a, b in pairwise(marks)]


@given(letters, places)
def test_the_cut_of_a_letter_does_not_matter(letter: bytes, at: list[int]) -> None:
    writer = DotWriter()
    assert b"".join(map(writer.feed, cut(letter, at))) + writer.end() == reference(letter)


@given(letters, st.integers(0, 8), places)
def test_the_top(letter: bytes, count: int, at: list[int]) -> None:
    whole = reference(letter)[: -len(pop3.END)]
    head, empty, body = (b"\r\n" + whole).partition(b"\r\n\r\n")
    lines = body.split(b"\r\n")
    wanted = (head + empty)[2:] + b"".join(line + b"\r\n" for line in lines[:-1][:count])
    writer, cutter = DotWriter(), TopCutter(count)
    said = b"".join(cutter.feed(writer.feed(piece)) for piece in cut(letter, at))
    said += pop3.END if cutter.done else writer.end()
    assert said == wanted + pop3.END
