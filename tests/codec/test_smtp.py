"""codec.smtp: commands as a table, and the readers of a letter's bytes under every cut."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import smtp
from congvu.codec.smtp import Auth, BadCommand, Bdat, DotReader, Hello, LineWatch, Mail, Rcpt

GOOD = [
    ("EHLO mx.nguon.test", Hello("EHLO", "mx.nguon.test")),
    ("helo [127.0.0.1]", Hello("HELO", "[127.0.0.1]")),
    ("LHLO ten_may ", Hello("LHLO", "ten_may")),
    ("MAIL FROM:<>", Mail("", 0, "", False, "", "")),
    ("mail from: <> size=9", Mail("", 9, "", False, "", "")),
    ("MAIL FROM:<An.Nguyen@XA.Test>", Mail("An.Nguyen@xa.test", 0, "", False, "", "")),
    (
        "MAIL FROM:<a@b> BODY=8bitmime  RET=full ENVID=a+2Bb AUTH=c+3Dd SIZE=77",
        Mail("a@b", 77, "8BITMIME", False, "FULL", "a+2Bb"),
    ),
    ('MAIL FROM:<"a.b"@c>', Mail("a.b@c", 0, "", False, "", "")),
    (r'MAIL FROM:<"a\ \"b>"@c>', Mail(r'"a \"b>"@c', 0, "", False, "", "")),
    (r'MAIL FROM:<"a\\b"@c>', Mail(r'"a\\b"@c', 0, "", False, "", "")),
    ('MAIL FROM:<""@c>', Mail('""@c', 0, "", False, "", "")),
    ('MAIL FROM:<"a@b"@c>', Mail('"a@b"@c', 0, "", False, "", "")),
    ("MAIL FROM:<@x.test,@y:a@[IPv6:2001:DB8::1]>", Mail("a@[ipv6:2001:db8::1]", 0, "", False, "", "")),
    ("MAIL FROM:<a=b%c+d@x-1.test>", Mail("a=b%c+d@x-1.test", 0, "", False, "", "")),
    ("MAIL FROM:<đ@XÃ.test> SMTPUTF8", Mail("đ@xã.test", 0, "", True, "", "")),
    ("MAIL FROM:<e\u0302\u0301@x> SMTPUTF8", Mail("ế@x", 0, "", True, "", "")),
    ("RCPT TO:<a@b>", Rcpt("a@b", "", "")),
    ("RCPT TO:<Postmaster>", Rcpt("postmaster", "", "")),
    ("RCPT TO:<a@b> NOTIFY=success,delay ORCPT=rfc822;a+2Bb@c", Rcpt("a@b", "SUCCESS,DELAY", "rfc822;a+2Bb@c")),
    ("DATA", smtp.Data()),
    ("data ", smtp.Data()),
    ("BDAT 0", Bdat(0, False)),
    ("bdat 86 last", Bdat(86, True)),
    ("RSET", smtp.Rset()),
    ("NOOP what ever", smtp.Noop()),
    ("QUIT", smtp.Quit()),
    ("HELP me", smtp.Help()),
    ("VRFY an", smtp.Vrfy("an")),
    ("VRFY đ SMTPUTF8", smtp.Vrfy("đ")),
    ("EXPN x", smtp.Expn("x")),
    ("STARTTLS", smtp.StartTls()),
    ("AUTH plain", Auth("PLAIN", None)),
    ("AUTH PLAIN =", Auth("PLAIN", b"")),
    ("AUTH PLAIN AGEAYg==", Auth("PLAIN", b"\0a\0b")),
]


@pytest.mark.parametrize(("line", "command"), GOOD)
def test_commands(line: str, command: smtp.Command) -> None:
    assert smtp.parse(line.encode()) == command


BAD = [
    (b"", "unknown-command"),
    (b"FOO", "unknown-command"),
    (b" NOOP", "unknown-command"),
    (b"get / HTTP/1.1", "not-smtp"),
    (b"\xff", "bad-utf8"),
    (b"NOOP \0", "bad-syntax"),
    (b"MAIL FROM:<a@b>\r", "bad-syntax"),
    (b"EHLO", "bad-hello-name"),
    (b"EHLO a b", "bad-hello-name"),
    (b"EHLO " + b"x" * 256, "bad-hello-name"),
    (b"MAIL", "bad-syntax"),
    (b"MAIL TO:<a@b>", "bad-syntax"),
    (b"MAIL FROM:<>x", "bad-sender"),
    (b"MAIL FROM:<a>", "bad-sender"),
    (b"MAIL FROM:<a@b", "bad-sender"),
    (b"MAIL FROM:<a@b>x", "bad-sender"),
    (b"MAIL FROM:<a b@c>", "bad-sender"),
    (b"MAIL FROM:<.a@c>", "bad-sender"),
    (b"MAIL FROM:<a.@c>", "bad-sender"),
    (b"MAIL FROM:<a..b@c>", "bad-sender"),
    (b"MAIL FROM:<a@b@c>", "bad-sender"),
    (b'MAIL FROM:<"a"b"@c>', "bad-sender"),
    (b"MAIL FROM:<a@b..c>", "bad-sender"),
    (b"MAIL FROM:<a@b.>", "bad-sender"),
    (b"MAIL FROM:<a@-b>", "bad-sender"),
    (b"MAIL FROM:<a@[1.2.3]>", "bad-sender"),
    (b"MAIL FROM:<a@[IPv6:1]>", "bad-sender"),
    (b"MAIL FROM:<a@" + b"x." * 130 + b"y>", "bad-sender"),
    (b"MAIL FROM:<" + b"a" * 65 + b"@b>", "bad-sender"),
    ("MAIL FROM:<a@b\u2028> SMTPUTF8".encode(), "bad-sender"),
    ("MAIL FROM:<đ@b>".encode(), "needs-smtputf8"),
    (b"MAIL FROM:<a@b> X-FOO", "unknown-parameter"),
    (b"MAIL FROM:<a@b> MT-PRIORITY=3", "unknown-parameter"),
    (b"MAIL FROM:<a@b> =3", "bad-syntax"),
    (b"MAIL FROM:<a@b> SIZE", "bad-parameter"),
    (b"MAIL FROM:<a@b> SIZE=" + b"9" * 21, "bad-parameter"),
    (b"MAIL FROM:<a@b> RET=ALL", "bad-parameter"),
    (b"MAIL FROM:<a@b> ENVID=" + b"x" * 101, "bad-parameter"),
    (b"MAIL FROM:<a@b> ENVID=a+2", "bad-parameter"),
    (b"RCPT TO:<>", "bad-recipient"),
    (b"RCPT TO:<a>", "bad-recipient"),
    ("RCPT TO:<đ@b>".encode(), "needs-smtputf8"),
    (b"RCPT TO:<a@b> NOTIFY=", "bad-parameter"),
    (b"RCPT TO:<a@b> NOTIFY=NEVER,DELAY", "bad-parameter"),
    (b"RCPT TO:<a@b> ORCPT=rfc822", "bad-parameter"),
    (b"RCPT TO:<a@b> SIZE=1", "unknown-parameter"),
    (b"DATA now", "bad-syntax"),
    (b"BDAT", "bad-chunk"),
    (b"BDAT -1", "bad-chunk"),
    (b"BDAT 1 LAST 2", "bad-chunk"),
    (b"bdat 5 FIRST", "bad-chunk"),
    (b"BDAT " + b"9" * 21, "bad-chunk"),
    (b"BDAT\t5", "bad-chunk"),
    (b"BDAT 5 \xff", "bad-chunk"),
    (b"BDAT 5\0", "bad-chunk"),
    (b"AUTH", "bad-syntax"),
    (b"AUTH PLAIN a", "bad-base64"),
    (b"AUTH PLAIN AGEAYg== x", "bad-base64"),
]


@pytest.mark.parametrize(("line", "code"), BAD)
def test_bad_commands(line: bytes, code: str) -> None:
    with pytest.raises(BadCommand) as bad:
        smtp.parse(line)
    assert bad.value.code == code


def test_utf8_only_where_announced() -> None:
    assert smtp.parse("RCPT TO:<đ@b>".encode(), utf8=True) == Rcpt("đ@b", "", "")


@given(
    st.text(max_size=300), st.sampled_from(["", "MAIL FROM:<", "RCPT TO:<", "AUTH ", "BDAT ", "EHLO "]), st.booleans()
)
def test_any_line_is_a_command_or_bad(text: str, start: str, utf8: bool) -> None:
    with contextlib.suppress(BadCommand):
        smtp.parse((start + text).encode("utf-8", "surrogatepass"), utf8)


def test_replies() -> None:
    assert smtp.reply(250, "2.0.0", "OK") == b"250 2.0.0 OK\r\n"
    assert smtp.reply(354, "", "go") == b"354 go\r\n"
    assert smtp.reply(250, "", "a", "b") == b"250-a\r\n250 b\r\n"
    assert smtp.reply(550, "5.0.0", "a\r\n250 b") == b"550 5.0.0 a  250 b\r\n"
    long = smtp.reply(550, "5.7.1", "không nhận được " * 100)
    lines = long.split(b"\r\n")[:-1]
    assert len(lines) > 3
    assert all(len(line) <= 510 for line in lines)
    assert all(line.startswith(b"550-5.7.1 ") for line in lines[:-1])
    assert lines[-1].startswith(b"550 5.7.1 ")
    assert all(len(line) <= 510 for line in smtp.reply(550, "5.7.1", "\U0001f600" * 900).split(b"\r\n"))


def simple(data: bytes) -> tuple[bytes, bytes, bool] | None:
    """The same as DotReader, line by line over the whole input. None when the end has not come."""
    lines, rest = [], data
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        if line == b".":
            body = b"".join(x.removeprefix(b".") + b"\r\n" for x in lines)
            bare = any(b"\r" in x or b"\n" in x for x in lines)
            return body, rest, bare
        lines.append(line)


tokens = st.sampled_from([b"\r\n", b"\r\n", b".", b".", b"\r", b"\n", b"a", b"xyz", b"\r\n.\r\n", b"\0"])


@given(st.lists(tokens, max_size=40).map(b"".join), st.lists(st.integers(0, 200), max_size=20))
def test_the_dot_reader(data: bytes, places: list[int]) -> None:
    expected = simple(data)
    reader, out = DotReader(1000), b""
    marks = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    rest = b""
    for i, start in enumerate(marks[:-1]):
        if reader.done:
            break
        out += reader.feed(data[start : marks[i + 1]])
        rest = data[marks[i + 1] :]
    assert reader.done == (expected is not None)
    if expected is not None:
        assert (out, reader.rest + rest, reader.watch.bare) == expected


@given(st.lists(tokens, max_size=60).map(b"".join), st.lists(st.integers(0, 200), max_size=20), st.integers(0, 6))
def test_the_line_watch(data: bytes, places: list[int], limit: int) -> None:
    watch = LineWatch(limit)
    marks = [0, *sorted(p % (len(data) + 1) for p in places), len(data)]
    for i, start in enumerate(marks[:-1]):
        watch.feed(data[start : marks[i + 1]])
    clean = data.replace(b"\r\n", b"")
    assert watch.bare == (b"\r" in clean or b"\n" in clean)
    longest = max(len(line) for line in data.split(b"\n"))
    # A line's length is known for sure only with its end; one CR more is given the benefit of the doubt.
    if longest <= limit:
        assert not watch.too_long
    if longest > limit + 1:
        assert watch.too_long


def test_an_end_needs_its_crlf_on_both_sides() -> None:
    for almost in [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n"]:
        reader = DotReader(1000)
        reader.feed(b"text" + almost + b"MAIL FROM:<x@y>\r\n")
        assert not reader.done
