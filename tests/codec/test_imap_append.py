"""APPEND and REPLACE while they come, and the URLs of CATENATE."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import imap_append, imap_url
from congvu.codec.imap import Section
from congvu.codec.imap_append import Complete, Event, Held, Message, Target, Text, Url
from congvu.codec.imap_words import Bad, TooBig


def drive(data: bytes, replacing: bool = False, utf8: bool = False) -> list[Event | bytes]:
    """What a command says, literals of letters as bytes behind their `Text`."""
    line, _, rest = data.partition(b"\r\n")
    reading = imap_append.read(line, 0, utf8, replacing)
    seen: list[Event | bytes] = []
    try:
        event = next(reading)
        while True:
            answer = b""
            if isinstance(event, Text | Held):
                literal, rest = rest[: event.literal.size], rest[event.literal.size :]
                line, _, rest = rest.partition(b"\r\n")
                answer = line if isinstance(event, Text) else literal + line
                if isinstance(event, Text):
                    seen.append(literal)
            else:
                seen.append(event)
            event = reading.send(answer)
    except StopIteration:
        assert not rest
        return seen


PLAIN = Message(0, (), None, False)


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (b" INBOX {2}\r\nab\r\n", [Target("INBOX", None), PLAIN, b"ab", Complete()]),
        (b" INBOX {2}\r\nab  \r\n", [Target("INBOX", None), PLAIN, b"ab", Complete()]),
        (
            b' {5}\r\nINBOX (\\Seen x) "22-Nov-2026 07:00:00 +0700" ~{1+}\r\na () {1}\r\nb\r\n',
            [Target("INBOX", None), Message(1, ("x",), 1795305600, False), b"a", Complete(), PLAIN, b"b", Complete()],
        ),
        (b" INBOX UTF8 (~{2}\r\n{}) {2}\r\n}{\r\n", [*[Target("INBOX", None), PLAIN, b"{}", Complete()], PLAIN, b"}{"]),
        (
            b' x (\\Draft) catenate (URL "/a/;UID=1" TEXT {3+}\r\nabc utf8 (~{1}\r\nd) URL {2}\r\n/b)\r\n',
            [
                Target("x", None),
                Message(16, (), None, True),
                *[Url("/a/;UID=1"), b"abc", b"d", Url("/b")],
                Complete(),
            ],
        ),
    ],
)
def test_append(command: bytes, wanted: list[Event | bytes]) -> None:
    seen = drive(command)
    assert seen[: len(wanted)] == wanted
    assert len(seen) - len(wanted) in {0, 1}


def test_replace() -> None:
    assert drive(b" 5 INBOX {1}\r\na\r\n", replacing=True)[0] == Target("INBOX", 5)
    assert drive(b" * INBOX {1}\r\na\r\n", replacing=True)[0] == Target("INBOX", 0)
    with pytest.raises(TooBig):
        drive(b" 5 INBOX {1}\r\na {1}\r\nb\r\n", replacing=True)


@pytest.mark.parametrize(
    "command",
    [
        b" INBOX",
        b" INBOX \r\n",
        b" INBOX x {1}\r\na\r\n",
        b" INBOX {1}\r\nab\r\n",
        b" INBOX {1}\r\na{1}\r\nb\r\n",
        b" INBOX UTF8 (~{1}\r\na\r\n",
        b" INBOX CATENATE ()\r\n",
        b" INBOX CATENATE (TEXT {1}\r\na\r\n",
        b" INBOX CATENATE (NONE x)\r\n",
        b" INBOX CATENATE (URL \xc3\xa1)\r\n",
        b" INBOX CATENATE (TEXT x)\r\n",
        b" INBOX (\\Seen {1}\r\na\r\n",
        b'" INBOX "22-Xyz-2026 07:00:00 +0700" {1}\r\na\r\n',
    ],
)
def test_what_is_no_append(command: bytes) -> None:
    with pytest.raises(Bad):
        drive(command)


def test_replace_names_one_message() -> None:
    for number in (b"0", b"4294967296", b"1:2", b"x", b""):
        with pytest.raises(Bad):
            drive(b" " + number + b" INBOX {1}\r\na\r\n", replacing=True)


def test_bounds() -> None:
    with pytest.raises(TooBig):
        drive(b" INBOX" + b" {1}\r\na" * (imap_append.MAX_MESSAGES + 1) + b"\r\n")
    assert len(drive(b" INBOX" + b" {1}\r\na" * imap_append.MAX_MESSAGES + b"\r\n")) == 1 + 3 * imap_append.MAX_MESSAGES
    with pytest.raises(TooBig):
        drive(b" INBOX CATENATE (" + b"URL /a " * imap_append.MAX_PARTS + b"URL /a)\r\n")
    with pytest.raises(Bad):
        drive(b" INBOX CATENATE (URL " + b"a" * (imap_append.MAX_URL + 1) + b")\r\n")


@given(st.lists(st.tuples(st.integers(0, 31), st.binary(max_size=30)), min_size=1, max_size=5))
def test_letters_are_never_taken_for_words(letters: list[tuple[int, bytes]]) -> None:
    names = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"]
    command = b" INBOX"
    wanted: list[Event | bytes] = [Target("INBOX", None)]
    for flags, letter in letters:
        words = " ".join(name for bit, name in enumerate(names) if flags >> bit & 1)
        command += f" ({words}) ~{{{len(letter)}+}}\r\n".encode() + letter
        wanted += [Message(flags, (), None, False), letter, Complete()]
    assert drive(command + b"\r\n") == wanted


# URLs


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/Drafts;UIDVALIDITY=385759045/;UID=20", imap_url.Url(None, None, "Drafts", 385759045, 20, Section(), None)),
        (";UID=20", imap_url.Url(None, None, None, None, 20, Section(), None)),
        (
            "/Th%C6%B0/a/;uid=2/;section=1.2.MIME",
            imap_url.Url(None, None, "Thư/a", None, 2, Section((1, 2), "MIME", (), b"1.2.MIME"), None),
        ),
        ("/a;UIDVALIDITY=7/;UID=1;section=2", imap_url.Url(None, None, "a", 7, 1, Section((2,), "", (), b"2"), None)),
        (
            "imap://an%40x;AUTH=*@mail.x:143/a/;UID=1/;SECTION=HEADER.FIELDS%20(To)/;PARTIAL=5.10",
            imap_url.Url(
                *("an@x", "mail.x", "a", None, 1),
                Section((), "HEADER.FIELDS", ("To",), b"HEADER.FIELDS (To)"),
                (5, 10),
            ),
        ),
        ("/a/;UID=1/;PARTIAL=5", imap_url.Url(None, None, "a", None, 1, Section(), (5, None))),
    ],
)
def test_urls(text: str, wanted: imap_url.Url) -> None:
    assert imap_url.parse(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *["", "/", "/a", "/a/", "/a/;UID=0", "/a/;UID=x", "/a/;UID=4294967296", "/;UID=1", "a/;UID=1"],
        *["imap://mail.x/;UID=1", "http://mail.x/a/;UID=1", "/a/;UID=1/;SECTION=", "/a/;UID=1/;SECTION=1..2"],
        *["/a/;UID=1/;PARTIAL=x", "/a/;UID=1;EXPIRE=2026-01-01T00:00:00Z;URLAUTH=anonymous", "/%zz/;UID=1"],
        *["/%ff/;UID=1", "/a%00/;UID=1", "/a/;UID=1/;SECTION=%0d%0a", "/a?SUBJECT%20x", "/a/;UID=1/;SECTION=1]%20x["],
    ],
)
def test_what_is_no_url_of_a_message(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        imap_url.parse(text)
