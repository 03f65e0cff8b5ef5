"""IMAP words: every command's arguments, bounds, names, patterns; how input was cut must not matter."""

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import imap_parse as parse
from congvu.codec import uidset
from congvu.codec.imap import (
    Authenticate,
    Copy,
    Create,
    Enable,
    Fetch,
    FetchItem,
    Identity,
    Listing,
    Login,
    Named,
    Nothing,
    Rename,
    Search,
    SearchKey,
    Section,
    Select,
    SequenceSet,
    Sort,
    SortKey,
    Status,
    Store,
    StoreOp,
    Thread,
    Uids,
    astring,
    internal_date,
    string,
)
from congvu.codec.imap_names import Pattern, decode_utf7, encode_utf7
from congvu.codec.imap_search import search, sort, thread
from congvu.codec.imap_words import Assembly, Bad, BadCharset, Literal, TooBig, Words, literal_at_end
from congvu.codec.lines import LineBuffer

ONE = SequenceSet(((1, 1),))
ALL = SearchKey("ALL")


def key(name: str, **given: object) -> Search:
    return Search(SearchKey(name, **given), None)  # type: ignore[arg-type]  # a table's brevity


def items(*found: FetchItem) -> Fetch:
    return Fetch(ONE, found, None)


COMMANDS = [
    (parse.nothing, b"", Nothing()),
    (parse.nothing, b" ", Nothing()),
    (parse.login, b" an secret", Login("an", "secret")),
    (parse.login, b' "an" "s\\"e\\\\c"', Login("an", 's"e\\c')),
    (parse.login, " {6}\r\nNguyễn {3}\r\na b".replace("{6}", "{8}").encode(), Login("Nguyễn", "a b")),
    (parse.authenticate, b" PLAIN", Authenticate("PLAIN", None)),
    (parse.authenticate, b" plain AGEAYg==", Authenticate("PLAIN", b"\0a\0b")),
    (parse.authenticate, b" SCRAM-SHA-256 =", Authenticate("SCRAM-SHA-256", b"")),
    (parse.enable, b" imap4rev2 UTF8=ACCEPT", Enable(("IMAP4REV2", "UTF8=ACCEPT"))),
    (parse.identity, b" NIL", Identity(())),
    (parse.identity, b' ("name" "x" "os" NIL)', Identity((("name", "x"), ("os", "")))),
    (parse.select, b" INBOX", Select("INBOX", ())),
    (parse.select, b" inbox (condstore)", Select("inbox", ("CONDSTORE",))),
    (parse.named, b' "Th&AbA- nh&AOE-p"', Named("Thư nháp")),
    (parse.named, "\x20Thư".encode(), Named("Thư")),
    (parse.named, b' "Q&A"', Named("Q&A")),
    (parse.create, b" x/y/", Create("x/y/", ())),
    (parse.create, b" x (USE (\\Sent \\Junk))", Create("x", ("sent", "junk"))),
    (parse.rename, b' x "y z"', Rename("x", "y z")),
    (parse.lsub, b' "" %', Listing("", ("%",))),
    (parse.listing, b' "" *', Listing("", ("*",))),
    (parse.listing, b' "" ""', Listing("", ("",))),
    (
        parse.listing,
        b' (SUBSCRIBED recursivematch) x (a% "b*") RETURN (CHILDREN STATUS (messages SIZE))',
        Listing(
            "x",
            ("a%", "b*"),
            frozenset({"SUBSCRIBED", "RECURSIVEMATCH"}),
            frozenset({"CHILDREN", "STATUS"}),
            ("MESSAGES", "SIZE"),
            True,
        ),
    ),
    (parse.listing, b' "" % RETURN ()', Listing("", ("%",), extended=True)),
    (parse.status, b" INBOX (UIDNEXT messages)", Status("INBOX", ("UIDNEXT", "MESSAGES"))),
    (parse.uids, b" 1:*,5", Uids(SequenceSet(((1, None), (5, 5))))),
    (parse.copy, b" $ Trash", Copy(SequenceSet((), saved=True), "Trash")),
    (parse.store, b" 1 FLAGS (\\Seen)", Store(ONE, StoreOp.SET, False, 1, (), None)),
    (parse.store, b" 1 +flags.silent (\\deleted $a b)", Store(ONE, StoreOp.ADD, True, 8, ("$a", "b"), None)),
    (parse.store, b" 1 -FLAGS \\Seen \\Draft x", Store(ONE, StoreOp.REMOVE, False, 17, ("x",), None)),
    (parse.store, b" 1 FLAGS ()", Store(ONE, StoreOp.SET, False, 0, (), None)),
    (parse.store, b" 1 (UNCHANGEDSINCE 9) FLAGS ()", Store(ONE, StoreOp.SET, False, 0, (), 9)),
    (parse.fetch, b" 1 FAST", items(*map(FetchItem, ("FLAGS", "INTERNALDATE", "RFC822.SIZE")))),
    (parse.fetch, b" 1 (UID envelope)", items(FetchItem("UID"), FetchItem("ENVELOPE"))),
    (parse.fetch, b" 1 BODY", items(FetchItem("BODY"))),
    (parse.fetch, b" 1 BODY[]", items(FetchItem("BODY[]", Section()))),
    (
        parse.fetch,
        b" 1 body.peek[text]<10.20>",
        items(FetchItem("BODY[]", Section((), "TEXT", (), b"text"), (10, 20), True)),
    ),
    (parse.fetch, b" 1 BODY[1.2.MIME]", items(FetchItem("BODY[]", Section((1, 2), "MIME", (), b"1.2.MIME")))),
    (
        parse.fetch,
        b' 1 BODY.PEEK[HEADER.FIELDS.NOT (From "To")]',
        items(
            FetchItem(
                "BODY[]", Section((), "HEADER.FIELDS.NOT", ("From", "To"), b'HEADER.FIELDS.NOT (From "To")'), None, True
            )
        ),
    ),
    (parse.fetch, b" 1 BINARY.PEEK[3]<0.5>", items(FetchItem("BINARY[]", Section((3,), "", (), b"3"), (0, 5), True))),
    (parse.fetch, b" 1 BINARY.SIZE[3]", items(FetchItem("BINARY.SIZE[]", Section((3,), "", (), b"3"), None, True))),
    (parse.fetch, b" 1 FLAGS (CHANGEDSINCE 12)", Fetch(ONE, (FetchItem("FLAGS"),), 12)),
    (search, b" ALL", key("ALL")),
    (search, b" 1:3", key("SEQ", set=SequenceSet(((1, 3),)))),
    (search, b" UID $", key("UID", set=SequenceSet((), saved=True))),
    (
        search,
        " CHARSET utf-8 SUBJECT {9}\r\nđường".encode(),
        Search(SearchKey("SUBJECT", text="đường"), None, charset=True),
    ),
    (search, b" NOT SEEN", key("NOT", keys=(SearchKey("SEEN"),))),
    (search, b" OR ALL (ALL SEEN)", key("OR", keys=(ALL, SearchKey("AND", keys=(ALL, SearchKey("SEEN")))))),
    (search, b" ALL SEEN", key("AND", keys=(ALL, SearchKey("SEEN")))),
    (search, b" SINCE 2-Jan-1970", key("SINCE", day=1)),
    (search, b' BEFORE "02-jan-1970"', key("BEFORE", day=1)),
    (search, b" HEADER X-A b", key("HEADER", field="X-A", text="b")),
    (search, b" LARGER 5", key("LARGER", number=5)),
    (search, b" OLDER 86400", key("OLDER", number=86_400)),
    (search, b" younger 1", key("YOUNGER", number=1)),
    (search, b" KEYWORD $x", key("KEYWORD", field="$x")),
    (search, b' MODSEQ "/flags/\\\\Seen" all 7', key("MODSEQ", number=7)),
    (search, b" MODSEQ 7", key("MODSEQ", number=7)),
    (search, b" RETURN () ALL", Search(ALL, ("ALL",))),
    (search, b" return (MIN count SAVE) ALL", Search(ALL, ("MIN", "COUNT", "SAVE"))),
    (search, b" RETURN (PARTIAL 500:1 COUNT) ALL", Search(ALL, ("PARTIAL", "COUNT"), False, (1, 500))),
    (search, b" RETURN (PARTIAL -100:-1) ALL", Search(ALL, ("PARTIAL",), False, (-1, -100))),
    (sort, b" (DATE) UTF-8 ALL", Sort((SortKey("DATE"),), ALL)),
    (
        sort,
        b' RETURN (COUNT) (REVERSE displayFrom SUBJECT reverse SUBJECT) "us-ascii" ALL SEEN',
        Sort(
            (SortKey("DISPLAYFROM", True), SortKey("SUBJECT")),
            key("AND", keys=(ALL, SearchKey("SEEN"))).key,
            ("COUNT",),
        ),
    ),
    (thread, b" references UTF-8 ALL", Thread("REFERENCES", ALL)),
]


@pytest.mark.parametrize(
    ("reader", "text", "wanted"),
    COMMANDS,
    ids=lambda v: v[:40].decode("utf-8", "replace") if isinstance(v, bytes) else "",
)
def test_arguments(reader, text, wanted) -> None:
    assert reader(Words(text)) == wanted


BAD = [
    (parse.nothing, b" x"),
    (parse.login, b" an"),
    (parse.login, b' "an'),
    (parse.login, b' an "a\\b"'),
    (parse.login, b" an {9}\r\nabc"),
    (parse.login, b" a {1}\r\n\xff"),
    (parse.named, b" {1}\r\n\0"),
    (parse.named, b' "\xc3"'),
    (parse.named, b' "a\rb"'),
    (parse.authenticate, b" PLAIN !!"),
    (parse.enable, b""),
    (parse.select, b" x (UNKNOWN)"),
    (parse.status, b" x ()"),
    (parse.status, b" x (NONE)"),
    (parse.listing, b' "" ()'),
    (parse.listing, b' (RECURSIVEMATCH) "" *'),
    (parse.listing, b' (FOO) "" *'),
    (parse.uids, b" 0"),
    (parse.uids, b" 4294967296"),
    (parse.uids, b" 1,,2"),
    (parse.uids, b" 1:"),
    (parse.store, b" 1 FLAGS (\\Foo)"),
    (parse.store, b" 1 FLAGS.LOUD ()"),
    (parse.store, b" 1 FLAGS (a"),
    (parse.fetch, b" 1 ()"),
    (parse.fetch, b" 1 NONSENSE"),
    (parse.fetch, b" 1 BODY[MIME]"),
    (parse.fetch, b" 1 BODY[1.]"),
    (parse.fetch, b" 1 BODY[0]"),
    (parse.fetch, b" 1 BODY[HEADER.FIELDS ()]"),
    (parse.fetch, b" 1 BINARY[TEXT]"),
    (parse.fetch, b" 1 BODY[]<1>"),
    (parse.fetch, b" 1 (FLAGS"),
    (parse.select, b" &AAA-"),  # NUL in modified UTF-7
    (search, b" "),
    (search, b" NOT"),
    (search, b" OR ALL"),
    (search, b" SINCE 31-Feb-2026"),
    (search, b" (ALL"),
    (search, b" RETURN (FOO) ALL"),
    (search, b" RETURN (PARTIAL 0:5) ALL"),
    (search, b" RETURN (PARTIAL 1:*) ALL"),
    (search, b" RETURN (PARTIAL 1:-5) ALL"),
    (search, b" RETURN (PARTIAL 1:4294967296) ALL"),
    (search, b" RETURN (PARTIAL 1:5 PARTIAL 6:9) ALL"),
    (search, b" RETURN (PARTIAL 1:5 ALL) ALL"),
    (search, b" RETURN (PARTIAL) ALL"),
    (sort, b" (DATE) UTF-8"),
    (sort, b" () UTF-8 ALL"),
    (sort, b" (REVERSE) UTF-8 ALL"),
    (sort, b" (REVERSE REVERSE DATE) UTF-8 ALL"),
    (sort, b" (DATE ) UTF-8 ALL"),
    (sort, b" (" + b" ".join([b"DATE"] * 51) + b") UTF-8 ALL"),
    (sort, b" RETURN (SAVE) (DATE) UTF-8 ALL"),
    (thread, b" REFS UTF-8 ALL"),
    (thread, b" REFERENCES ALL"),
    (search, b" " + b"(" * 1000 + b"ALL"),
    (search, b" " + b"NOT " * 1000 + b"ALL"),
    (search, b" ALL" * 5000),
    (parse.fetch, b" 1 (" + b"UID " * 5000 + b"UID)"),
    (parse.fetch, b" 1 BODY[" + b"1." * 500 + b"1]"),
    (parse.uids, b" " + b"1," * 200_000 + b"1"),
    (parse.store, b" 1 FLAGS (" + b"x" * 5000 + b")"),
    (search, b" OLDER 0"),
    (search, b" YOUNGER"),
    (search, b" YOUNGER -1"),
    (search, b" OLDER 1-Jan-2026"),
]


@pytest.mark.parametrize(("reader", "text"), BAD, ids=lambda v: repr(v[:30]) if isinstance(v, bytes) else "")
def test_what_is_not_imap_is_bad(reader, text: bytes) -> None:
    with pytest.raises(Bad):
        reader(Words(text))


@pytest.mark.parametrize(
    "text",
    [
        b"(UID FLAGS ENVELOPE)",
        b"FULL",
        b"BODY.PEEK[HEADER.FIELDS (From To)]",
        b"(UID BODY.PEEK[HEADER.FIELDS (From To)]<0.9> PREVIEW (LAZY)) (CHANGEDSINCE 3)",
        b'(BODY[HEADER.FIELDS ("From")])',
        b"(" + b" ".join([b"RFC822.SIZE"] * 40) + b")",  # longer than what is remembered
        b"(UID FLAGS NONSENSE)",
        b"(UID",
        b"FLAGS)",
        b"(BODY[HEADER.FIELDS (A)B])",
    ],
)
def test_fetch_items_are_read_the_same_when_they_are_known(text: bytes) -> None:
    def read(f: Callable[[Words], tuple[FetchItem, ...]], ahead: int) -> object:
        w = Words(b" " * ahead + text, at=ahead)
        try:
            return f(w), w.at - ahead
        except Bad as error:
            said, _, at = str(error).partition(" at byte ")
            return said, int(at or ahead) - ahead

    parse._known.cache_clear()
    for ahead in (0, 0, 7):
        assert read(parse._usual_items, ahead) == read(parse._items, ahead)


def test_a_section_is_echoed_as_a_server_may_write_it() -> None:
    said = parse.fetch(Words(b' 1 BODY[HEADER.FIELDS ({4+}\r\nFrom "To" {2}\r\nCc)]'))
    section = said.items[0].section
    assert section is not None
    assert section.raw == b'HEADER.FIELDS ({4}\r\nFrom "To" {2}\r\nCc)'
    assert section.fields == ("From", "To", "Cc")


def test_other_charsets_are_told_apart() -> None:
    with pytest.raises(BadCharset):
        search(Words(b" CHARSET windows-1258 ALL"))


def test_passwords_do_not_show() -> None:
    assert "secret" not in repr(parse.login(Words(b" an secret")))
    assert "hush" not in repr(Authenticate("PLAIN", b"hush"))


# Names


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", "INBOX"),
        ("Thư nháp", "Th&AbA- nh&AOE-p"),
        ("Thùng rác", "Th&APk-ng r&AOE-c"),
        ("Q&A", "Q&-A"),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("😀", "&2D3eAA-"),
    ],
)
def test_modified_utf7(name: str, wire: str) -> None:
    assert encode_utf7(name) == wire
    assert decode_utf7(wire) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_modified_utf7_comes_back(name: str) -> None:
    assert decode_utf7(encode_utf7(name)) == name
    assert encode_utf7(name).isascii()


@given(st.text(st.sampled_from("&-,AbZ0/ ư")))
def test_modified_utf7_is_forgiving_and_settles(wire: str) -> None:
    name = decode_utf7(wire)
    assert decode_utf7(encode_utf7(name)) == name


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("*", "a/b", True),
        ("%", "a/b", False),
        ("%/%", "a/b", True),
        ("%/%", "a/b/c", False),
        ("a*", "a", True),
        ("a%", "a/b", False),
        ("*b", "a/b", True),
        ("*%*b", "a/b", True),
        ("inbox", "INBOX", True),
        ("Inbox/%", "INBOX/x", True),
        ("ınbox", "INBOX", False),
        ("ınbox", "ınbox", True),
        ("", "", True),
        ("", "a", False),
        ("a.b", "axb", False),
    ],
)
def test_list_patterns(pattern: str, name: str, wanted: bool) -> None:
    assert Pattern(pattern).matches(name) is wanted


@given(st.text(st.sampled_from("ab/*%"), max_size=8), st.text(st.sampled_from("ab/"), max_size=8))
def test_list_patterns_as_plain_recursion_says(pattern: str, name: str) -> None:
    def matches(p: str, n: str) -> bool:
        if not p:
            return not n
        if p[0] in "*%":
            return matches(p[1:], n) or bool(n and (p[0] == "*" or n[0] != "/") and matches(p, n[1:]))
        return bool(n) and p[0] == n[0] and matches(p[1:], n[1:])

    assert Pattern(pattern).matches(name) is matches(pattern, name)


def test_a_row_of_shifts_costs_no_more_than_its_length() -> None:
    begin = time.process_time()
    assert decode_utf7("&" * 300_000) == "&" * 300_000
    assert time.process_time() - begin < 5.0  # it was half an hour
    assert decode_utf7("&&AZA-&-") == "&\u0190&"


def test_a_pattern_as_long_as_a_command_costs_no_more_than_a_name() -> None:
    begin = time.process_time()
    for text in ("*a" * 120_000, "a*b" * 80_000, "%" * 250_000, "*%" * 120_000 + "a" * 400):
        pattern = Pattern(text)
        for _ in range(200):
            assert pattern.matches("ab" * 250) is ("a" not in text)
    assert time.process_time() - begin < 5.0  # it was minutes


# Literals and cuts


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"a {5}", Literal(5, True, False, 2)),
        (b"a {5+}", Literal(5, False, False, 2)),
        (b"a ~{0}", Literal(0, True, True, 2)),
        (b'a "{5}"', None),
        (b"a {5} ", None),
        (b"a {x}", None),
        (b"a {123456789012345678901}", None),
    ],
)
def test_announced_literals(line: bytes, wanted: Literal | None) -> None:
    assert literal_at_end(line) == wanted


def assemble(data: bytes, cuts: list[int], limit: int = 1000) -> list[bytes]:
    """Commands as a server reads them, fed in pieces."""
    buffer = LineBuffer()
    edges = [0, *sorted(c for c in cuts if c < len(data)), len(data)]
    fed = iter([data[a:b] for a, b in pairwise(edges)])
    commands = []

    def wait(take):
        while (got := take()) is None:
            buffer.feed(next(fed))
        return got

    try:
        while True:
            assembly = Assembly(limit)
            while literal := assembly.line(wait(lambda: buffer.line(limit, False))):
                assembly.literal(wait(lambda size=literal.size: buffer.exactly(size)))
            commands.append(assembly.command())
    except StopIteration:
        return commands


@given(st.lists(st.integers(0, 80)))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    data = b"a LOGIN {3}\r\nx\r\n {2+}\r\n{}\r\nb NOOP\r\nc SEARCH BODY ~{0}\r\n\r\n"
    assert assemble(data, cuts) == [b"a LOGIN {3}\r\nx\r\n {2+}\r\n{}", b"b NOOP", b"c SEARCH BODY ~{0}\r\n"]


@pytest.mark.parametrize("data", [b"a LOGIN {991}\r\n", b"a LOGIN {5}\r\n12345" + b"x" * 990 + b"\r\n"])
def test_a_command_is_bounded(data: bytes) -> None:
    with pytest.raises(TooBig):
        assemble(data, [])


# Rendering


def test_rendering() -> None:
    assert string('a"b\\c') == b'"a\\"b\\\\c"'
    assert string("a\r\nb") == b"{4}\r\na\r\nb"
    assert string("ư") == b"{2}\r\n\xc6\xb0"
    assert string("ư", utf8=True) == b'"\xc6\xb0"'
    assert [astring(t) for t in ("INBOX", "a b", "NIL", "", "a]")] == [b"INBOX", b'"a b"', b'"NIL"', b'""', b'"a]"']
    assert internal_date(0) == '"01-Jan-1970 00:00:00 +0000"'
    assert internal_date(1_795_305_600, 420) == '"22-Nov-2026 07:00:00 +0700"'
    assert internal_date(-1, -90).endswith('22:29:59 -0130"')


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.booleans())
def test_strings_come_back(text: str, utf8: bool) -> None:
    import unicodedata

    assert Words(b"%b" % astring(text, utf8)).text() == unicodedata.normalize("NFC", text)


@given(st.sets(st.integers(1, 60)))
def test_sets_come_back(numbers: set[int]) -> None:
    wire = uidset.encode(sorted(numbers))
    if not numbers:
        return
    found = Words(wire.encode()).sequence_set()
    assert {n for low, high in found.ranges for n in range(low or 0, (high or 0) + 1)} == numbers
