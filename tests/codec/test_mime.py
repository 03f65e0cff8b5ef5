"""MIME: what one scan gives, as the RFCs say and against the standard library; ugly letters; bounds."""

import contextlib
import email
import mmap
import re
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from congvu.codec import mime
from congvu.codec.mime import Part, scan

Wire = list["Wire"] | str | bytes | int | None


def lines(*text: str) -> bytes:
    return "".join(line + "\r\n" for line in text).encode()


def read_wire(raw: bytes) -> Wire:
    """Strict reader of what we send: quoted strings are ASCII on one line, literals have the size they say."""
    tokens = re.compile(rb'"((?:[^"\\\r\n\x00\x80-\xff]|\\["\\])*)"|\{(\d+)\}\r\n|(NIL)|(\d+)|([()])|( )')
    stack: list[list[Wire]] = [[]]
    at = 0
    while at < len(raw):
        match = tokens.match(raw, at)
        assert match, raw[at : at + 40]
        at = match.end()
        if match[1] is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[1]).decode())
        elif match[2] is not None:
            literal = raw[at : at + int(match[2])]
            assert len(literal) == int(match[2])
            assert b"\0" not in literal
            stack[-1].append(literal.decode())
            at += len(literal)
        elif match[3]:
            stack[-1].append(None)
        elif match[4]:
            stack[-1].append(int(match[4]))
        elif match[5] == b"(":
            stack.append([])
        elif match[5] == b")":
            done = stack.pop()
            stack[-1].append(done)
    assert len(stack) == 1
    assert len(stack[0]) == 1
    return stack[0][0]


def walk_numbers(part: Part, number: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Part]]:
    """Every IMAP part number of a letter, worked out another way than `find_part` does it."""
    if part.type == "multipart":
        for n, child in enumerate(part.children, 1):
            yield (*number, n), child
            yield from (walk_numbers(child, (*number, n)) if child.type == "multipart" else ())
            if child.type == "message" and child.children:
                yield from walk_numbers(child.children[0], (*number, n))
    else:
        yield (*number, 1), part
        if part.type == "message" and part.children:
            yield from walk_numbers(part.children[0], (*number, 1))


def check(data: bytes) -> mime.Scan:
    """Everything that holds for any bytes."""
    found = scan(data)

    def within(part: Part, start: int, end: int) -> None:
        assert start <= part.header <= part.body <= part.end <= end
        start = part.body
        for child in part.children:
            within(child, start, part.end)
            start = child.end
        assert bool(part.children) == (part.type == "multipart") or part.type == "message"

    within(found.root, 0, len(data))
    assert (found.root.header, found.root.end) == (0, len(data))
    assert mime.unpack_parts(found.parts) == found.root
    envelope = read_wire(found.envelope)
    assert isinstance(envelope, list)
    assert len(envelope) == 10
    assert isinstance(read_wire(found.structure), list)
    assert isinstance(read_wire(mime.plain_structure(found.structure)), list)
    assert len(found.subject) <= 1000
    assert len(found.sender) <= 2000
    assert len(found.recipients) <= 8000
    assert len(found.preview) <= 200
    assert not re.search(r"[\r\n]", found.subject + found.sender + found.preview)
    assert len(found.references) <= 100
    for number, part in walk_numbers(found.root):
        assert mime.find_part(found.root, number) is part
        assert mime.find_part(found.root, (*number, 99)) is None
    assert mime.find_part(found.root, ()) is found.root
    for part in mime.walk(found.root):
        assert len(mime.decode_body(data, part, 100)) <= 100
        assert len(mime.part_text(data, part, 50)) <= 50
    assert len(mime.letter_text(data, found.root, 300)) <= 300
    return found


# --- as the RFC has it ----------------------------------------------------------------------------------------------

RFC9051_8 = (
    lines(
        "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)",
        "From: Terry Gray <gray@cac.washington.edu>",
        "Subject: IMAP4rev1 WG mtg summary and minutes",
        "To: imap@cac.washington.edu",
        "cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>",
        "Message-Id: <B27397-0100000@cac.washington.edu>",
        "MIME-Version: 1.0",
        "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII",
        "",
    )
    + (b"x" * 30 + b"\r\n") * 91
    + b"y" * (3028 - 91 * 32 - 2)
    + b"\r\n"
)


def test_rfc9051_section_8() -> None:
    found = check(RFC9051_8)
    assert found.envelope == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )
    assert found.structure == (b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92 NIL NIL NIL NIL)')
    assert mime.plain_structure(found.structure) == (b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92)')
    assert found.sent == 837595405
    assert found.sender == "Terry Gray <gray@cac.washington.edu>"
    assert found.recipients == (
        "To: imap@cac.washington.edu\nCc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>"
    )
    assert found.message_id == "B27397-0100000@cac.washington.edu"
    assert found.from_addresses == ("gray@cac.washington.edu",)


def test_rfc9051_body_of_two_parts() -> None:
    data = lines(
        'Content-Type: MULTIPART/MIXED; BOUNDARY="b"',
        "",
        "preamble",
        "--b",
        "Content-Type: TEXT/PLAIN; CHARSET=US-ASCII",
        "",
    )
    data += b"x\r\n" * 22 + b"y" * (1152 - 66 - 2) + b"\r\n\r\n--b\r\n"
    data += lines(
        'Content-Type: TEXT/PLAIN; CHARSET=US-ASCII; NAME="cc.diff"',
        "Content-ID: <960723163407.20117h@cac.washington.edu>",
        "Content-Description: Compiler diff",
        "Content-Transfer-Encoding: BASE64",
        "",
    )
    data += b"x\r\n" * 72 + b"y" * (4554 - 216 - 2) + b"\r\n\r\n--b--\r\nepilogue"
    found = check(data)
    assert mime.plain_structure(found.structure) == (
        b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)'
        b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") "<960723163407.20117h@cac.washington.edu>" '
        b'"Compiler diff" "BASE64" 4554 73) "MIXED")'
    )
    assert found.structure.endswith(b'"MIXED" ("BOUNDARY" "b") NIL NIL NIL)')
    assert found.root.children[1].filename == "cc.diff"


def test_part_numbers_of_rfc9051_6_4_5_1() -> None:
    data = lines(
        "Content-Type: multipart/mixed; boundary=A", "",
        "--A", "Content-Type: text/plain", "", "one",
        "--A", "Content-Type: application/octet-stream", "", "two",
        "--A", "Content-Type: message/rfc822", "",
        "Subject: three", "Content-Type: multipart/mixed; boundary=B", "",
        "--B", "", "three one", "--B", "Content-Type: application/octet-stream", "", "three two", "--B--",
        "--A", "Content-Type: multipart/mixed; boundary=C", "",
        "--C", "Content-Type: image/gif", "", "four one",
        "--C", "Content-Type: message/rfc822", "",
        "Subject: four two", "Content-Type: multipart/mixed; boundary=D", "",
        "--D", "Content-Type: text/plain", "", "four two one",
        "--D", "Content-Type: multipart/alternative; boundary=E", "",
        "--E", "", "four two two one",
        "--E", "Content-Type: text/richtext", "", "four two two two", "--E--",
        "--D--", "--C--", "--A--",
    )  # fmt: skip
    root = check(data).root
    for number, kind, text in (
        ((1,), "text/plain", b"one"),
        ((2,), "application/octet-stream", b"two"),
        ((3,), "message/rfc822", None),
        ((3, 1), "text/plain", b"three one"),
        ((3, 2), "application/octet-stream", b"three two"),
        ((4,), "multipart/mixed", None),
        ((4, 1), "image/gif", b"four one"),
        ((4, 2), "message/rfc822", None),
        ((4, 2, 1), "text/plain", b"four two one"),
        ((4, 2, 2), "multipart/alternative", None),
        ((4, 2, 2, 1), "text/plain", b"four two two one"),
        ((4, 2, 2, 2), "text/richtext", b"four two two two"),
    ):
        part = mime.find_part(root, number)
        assert part is not None
        assert f"{part.type}/{part.subtype}" == kind
        assert text is None or data[part.body : part.end] == text
    for number in ((5,), (0,), (1, 1), (3, 3), (3, 1, 1), (4, 2, 2, 3), (4, 1, 1)):
        assert mime.find_part(root, number) is None
    assert mime.letter_text(data, root, 1000).split("\n") == [
        "one", "three", "three one", "four two", "four two one", "four two two one",
    ]  # fmt: skip
    single = check(b"Subject: x\r\n\r\nbody").root
    assert mime.find_part(single, (1,)) is single
    assert mime.find_part(single, (2,)) is None
    assert mime.find_part(single, (1, 1)) is None
    forwarded = check(b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nbody").root
    assert mime.find_part(forwarded, (1,)) is forwarded
    assert mime.find_part(forwarded, (1, 1)) is forwarded.children[0]


def test_a_letter_within_has_envelope_structure_and_lines() -> None:
    inner = lines("From: a@b", "Subject: in", "", "text", "more")
    found = check(
        lines("Content-Type: message/rfc822", "Content-Disposition: attachment; filename=thu.eml", "") + inner
    )
    whole = read_wire(found.structure)
    assert whole == [
        "MESSAGE", "RFC822", None, None, None, "7BIT", len(inner),
        [None, "in", *[[[None, None, "a", "b"]]] * 3, None, None, None, None, None],
        ["TEXT", "PLAIN", ["CHARSET", "US-ASCII"], None, None, "7BIT", 12, 2, None, None, None, None],
        5, None, ["ATTACHMENT", ["FILENAME", "thu.eml"]], None, None,
    ]  # fmt: skip
    plain = read_wire(mime.plain_structure(found.structure))
    assert isinstance(plain, list)
    assert plain[7:] == [whole[7], ["TEXT", "PLAIN", ["CHARSET", "US-ASCII"], None, None, "7BIT", 12, 2], 5]


def test_extension_data() -> None:
    found = check(
        lines(
            "Content-Type: application/pdf; name*=utf-8''b%C3%A1o%20c%C3%A1o.pdf",
            "Content-Disposition: Attachment; filename*0*=utf-8''b%C3%A1o; filename*1=\" 100%.pdf\"; size=5",
            "Content-Language: vi, en",
            "Content-Location: http://x/y",
            "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==",
            'Content-Description: "a\\b"',
            "",
            "12345",
        )
    )
    assert read_wire(found.structure) == [
        "APPLICATION", "PDF", ["NAME*", "utf-8''b%C3%A1o%20c%C3%A1o.pdf"], None, '"a\\b"', "7BIT", 7,
        "Q2hlY2sgSW50ZWdyaXR5IQ==",
        ["ATTACHMENT", ["SIZE", "5", "FILENAME*", "utf-8''b%C3%A1o 100%25.pdf"]], ["vi", "en"], "http://x/y",
    ]  # fmt: skip
    assert found.root.filename == "báo 100%.pdf"
    assert found.root.disposition == "attachment"


A = [None, None, "a", "b.c"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"a@b.c", [A]),
        (b"<a@b.c>", [A]),
        (b"a@b.c,\r\n\ta@b.c,,", [A, A]),
        (b"x y <a@b.c>", [["x y", None, "a", "b.c"]]),
        (b'"y, x" <a@b.c>', [["y, x", None, "a", "b.c"]]),
        (b'"say \\"hi\\"" <a@b.c>', [['say "hi"', None, "a", "b.c"]]),
        (b"a@b.c (the (nested) name)", [["the (nested) name", None, "a", "b.c"]]),
        (b"=?UTF-8?B?4buH?= <a@b.c>", [["=?UTF-8?B?4buH?=", None, "a", "b.c"]]),
        ("Nguyễn <a@b.c>".encode(), [["Nguyễn", None, "a", "b.c"]]),
        (b"Nguy\xd4n V\xa8n An <a@b.c>", [["Nguyễn Văn An", None, "a", "b.c"]]),  # TCVN3
        (b"undisclosed-recipients:;", [[None, None, "undisclosed-recipients", None], [None] * 4]),
        (b"g: a@b.c, a@b.c;, a@b.c", [[None, None, "g", None], A, A, [None] * 4, A]),
        (b"g: a@b.c", [[None, None, "g", None], A, [None] * 4]),
        (b"<@x,@y:a@b.c>", [[None, "@x,@y", "a", "b.c"]]),
        (b'"a b"@b.c', [[None, None, "a b", "b.c"]]),
        (b"a@[127.0.0.1]", [[None, None, "a", "[127.0.0.1]"]]),
        (b"root", [[None, None, "root", "MISSING_DOMAIN"]]),
        (b"Ban Giam doc", [["Ban Giam doc", None, "MISSING_MAILBOX", "MISSING_DOMAIN"]]),
        (b"own@here.vn <a@b.c>", [["own@here.vn", None, "a", "b.c"]]),
        (b"a@b.c; a@b.c", [A, A]),
        (b"", None),
        (b" , ,", None),
    ],
)
def test_addresses(field: bytes, expected: Wire) -> None:
    envelope = read_wire(check(b"To: " + field + b"\r\n\r\n").envelope)
    assert isinstance(envelope, list)
    assert envelope[5] == expected


def test_sender_and_reply_to() -> None:
    def at(*fields: str) -> Wire:
        envelope = read_wire(check(lines(*fields, "")).envelope)
        assert isinstance(envelope, list)
        return envelope[2:5]

    a, b = [[None, None, "a", "x"]], [[None, None, "b", "x"]]
    assert at("From: a@x") == [a, a, a]
    assert at("From: a@x", "Sender: b@x", "Reply-To: ") == [a, b, a]
    assert at("Reply-To: b@x") == [None, None, b]
    assert at("From: a@x", "From: b@x") == [[*a, *b]] * 3


def test_every_from_is_known() -> None:
    """The rule "only an own address" must see each address that any program might show."""
    found = check(lines('From: "own@here" <Evil@X.vn>, g: two@x;', "from : three@X (own@here)", ""))
    assert found.from_addresses == ("evil@x.vn", "two@x", "three@x")
    assert found.sender == "own@here <Evil@X.vn>, g:, two@x, own@here <three@X>"


def test_kept_words() -> None:
    found = check(
        lines(
            "Subject: =?utf-8?B?VGjDtG5nIGLhu?=",
            " =?utf-8?B?olvIEzhu40=?= ke^'t",
            "References: <1@x> (x) <2@x>\r\n <3@x>",
            "In-Reply-To: <3@x> <4@x>",
            "Message-ID:  <5@x>",
            "From: =?x-viet-tcvn?Q?Nguy=D4n?= <a@b>",
            "Date: Thu, 01 Jan 1970 07:00:10 +0700",
            "",
            "",
        )
    )
    assert found.references == ("1@x", "2@x", "3@x", "4@x")
    assert found.message_id == "5@x"
    assert found.sender == "Nguyễn <a@b>"
    assert found.sent == 10
    quoted = check(b'Message-ID: <"a.b\\"c"@x>\r\nReferences: <"1"@x> <"open@x>\r\n\r\n')
    assert (quoted.message_id, quoted.references) == ('a.b"c@x', ("1@x", '"open@x'))  # rfc5256 3
    many = check(b"References: " + b"".join(b"<%d@x>\r\n " % n for n in range(500)) + b"\r\n\r\n")
    assert many.references == ("0@x", *(f"{n}@x" for n in range(401, 500)))


def test_headers_with_bare_bytes_are_shown_in_literals() -> None:
    found = check("Subject: Báo cáo\x00 quý".encode() + b"\r\n\r\n")
    assert found.envelope.startswith("(NIL {16}\r\nBáo cáo quý ".encode()[:24].replace(b"16", b"14"))
    assert found.subject == "Báo cáo quý"
    tcvn = check(b"Subject: C\xabng v\xa8n s\xe8 12\r\n\r\n")
    assert tcvn.subject == "Công văn số 12"
    assert b"{17}\r\n" + "Công văn số 12".encode()[:10] in tcvn.envelope or "Công văn số 12".encode() in tcvn.envelope


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        # RFC 2047 section 8
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
        (b"=?ISO-8859-1?Q?Andr=E9?= Pirard", "André Pirard"),
        # as it comes
        (b"=?utf-8?B?4bs=?=\r\n\t=?UTF-8?B?hw==?=", "ệ"),
        (b"=?utf-8?Q?e=CC=82=CC=A3?=", "ệ"),
        (b"=?utf-8?B?" + b"4buH" * 100 + b"?=", "ệ" * 100),
        (b"=?utf-8*vi?Q?x?=y", "xy"),
        (b"=?utf-8?Q?a b?=", "a b"),
        (b"=?utf-8?B?4buH4buH4b?=", "ệệ\ufffd"),
        (b"=?x-none?B?4buH?=", "ệ"),
        (b"=?utf-8?X?abc?=", "=?utf-8?X?abc?="),
        (b"=?utf-8?B?abc", "=?utf-8?B?abc"),
        (b"a\0b\r\n\tc", "ab c"),
        (b"=?utf-8?Q?a=0D=0Ab=09c?=", "a b c"),
        ("Thư điện tử".encode(), "Thư điện tử"),
        (b"", ""),
    ],
)
def test_decode_header(raw: bytes, text: str) -> None:
    assert mime.decode_header(raw) == text


# --- bodies ---------------------------------------------------------------------------------------------------------


def leaf(encoding: str, body: bytes, kind: str = "text/plain; charset=utf-8") -> tuple[bytes, Part]:
    data = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body
    return data, check(data).root


@pytest.mark.parametrize(
    ("encoding", "body", "decoded"),
    [
        ("7bit", b"a=41", b"a=41"),
        ("BASE64", b"4buH\r\n4buH", "ệệ".encode()),
        ("base64", b"4buH4b", "ệ".encode() + b"\xe1"),
        ("base64", b"4bu", b"\xe1\xbb"),
        ("base64", b"YQ==\r\nYg==\r\n", b"ab"),
        ("base64", b"YWJj!!\r\n--\r\n", b"abc"),
        ("base64", b"Y", b""),
        ("base64", b"====", b""),
        ("quoted-printable", b"=E1=BB=87 =\r\nx=3D=", "ệ x=".encode()),
        ("quoted-printable", b"a=zz", b"a=zz"),
        ("x-uuencode", b"begin 644 f\r\n#8V%T\r\n`\r\nend\r\n", b"cat"),
        ("x-nobody-knows", b"raw", b"raw"),
        ("8bit ; x", b"raw", b"raw"),
    ],
)
def test_decode_body(encoding: str, body: bytes, decoded: bytes) -> None:
    data, part = leaf(encoding, body)
    assert mime.decode_body(data, part) == decoded
    assert mime.decode_body(data, part, 1) == decoded[:1]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>Ng<b>uy</b>ễn</p><p>Văn</p>", "Nguyễn\nVăn"),
        ("<style>p{}</style>a<SCRIPT>x<b></script >b<!-- c -->d", "abd"),
        ("a<br>b&nbsp;&eacute;&#7879;&lt;p&gt;", "a\nb éệ<p>"),
        ("2 < 3 and 4 > 3", "2 < 3 and 4 > 3"),
        ("a<style>never closed", "a"),
        ("a\r\n  b\t c", "a b c"),
        ("<table><tr><td>1</td><td>2</td></tr></table>", "1\n2"),
    ],
)
def test_html_text(source: str, text: str) -> None:
    assert mime.html_text(source) == text
    data, part = leaf("8bit", source.encode(), "text/html; charset=utf-8")
    assert mime.part_text(data, part, 100) == text


def test_part_text() -> None:
    data, part = leaf("8bit", "ệ".encode() * 100)
    assert mime.part_text(data, part, 7) == "ệ" * 7
    data, part = leaf("8bit", b"<meta charset='windows-1258'><p>Vi\xea\xf2t", "text/html")
    assert mime.part_text(data, part, 100) == "Việt"
    data, part = leaf("8bit", b"Vi\xd6t Nam", "text/plain; charset=x-viet-tcvn")
    assert mime.part_text(data, part, 100) == "Việt Nam"


def test_letter_text_and_preview_prefer_the_plain_words() -> None:
    data = lines(
        "Content-Type: multipart/mixed; boundary=a", "",
        "--a", "Content-Type: multipart/alternative; boundary=b", "",
        "--b", "Content-Type: text/html", "", "<p>rich</p>",
        "--b", "Content-Type: text/plain", "", "  plain", "", "words",
        "--b--",
        "--a", "Content-Type: application/pdf; name=\"=?utf-8?Q?c=C3=B4ng_v=C4=83n.pdf?=\"", "", "%PDF",
        "--a", "Content-Type: text/csv", "Content-Disposition: attachment; filename=s.csv", "", "1,2",
        "--a--",
    )  # fmt: skip
    found = check(data)
    assert found.preview == "plain words"
    assert mime.letter_text(data, found.root, 1000) == "plain\r\n\r\nwords\ncông văn.pdf\ns.csv\n1,2"
    empty_plain = data.replace(b"  plain\r\n\r\nwords", b"  ")
    assert check(empty_plain).preview == "rich"
    assert mime.letter_text(empty_plain, check(empty_plain).root, 1000).startswith("rich\n")


# --- headers --------------------------------------------------------------------------------------------------------

BLOCK = b"From: a\r\nX-Long: 1\r\n 2\r\n\t3\r\nno field\r\nTo : b\r\nfrom:c\r\n\r\n"


def test_header_fields() -> None:
    assert mime.header_fields(BLOCK) == [
        (b"from", b"From: a\r\n"),
        (b"x-long", b"X-Long: 1\r\n 2\r\n\t3\r\n"),
        (b"", b"no field\r\n"),
        (b"to", b"To : b\r\n"),
        (b"from", b"from:c\r\n"),
    ]


@pytest.mark.parametrize(
    ("names", "invert", "expected"),
    [
        (["FROM"], False, b"From: a\r\nfrom:c\r\n\r\n"),
        (["To", "x-long"], False, b"X-Long: 1\r\n 2\r\n\t3\r\nTo : b\r\n\r\n"),
        (["none", "("], False, b"\r\n"),
        ([], False, b"\r\n"),
        (["from", "to"], True, b"X-Long: 1\r\n 2\r\n\t3\r\nno field\r\n\r\n"),
        ([f"x{n}" for n in range(100)] + ["to"], False, b"To : b\r\n\r\n"),
    ],
)
def test_select_fields(names: list[str], invert: bool, expected: bytes) -> None:
    assert mime.select_fields(BLOCK, names, invert) == expected
    assert mime.select_fields(BLOCK, [name.encode() for name in names], invert) == expected


def test_select_fields_of_a_block_without_end() -> None:
    assert mime.select_fields(b"To: x", ["to"], False) == b"To: x\r\n\r\n"
    assert mime.select_fields(b"", ["to"], True) == b"\r\n"


# --- ugly letters ---------------------------------------------------------------------------------------------------


M = b"Content-Type: multipart/mixed; boundary=b"


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (b"", "text/plain"),
        (b"\r\n", "text/plain"),
        (b"no header at all", "text/plain"),
        (b"Content-Type: text\r\n\r\n", "text/plain"),
        (b"Content-Type: nonsense\r\n\r\n", "application/octet-stream"),
        (b"Content-Type: ;charset=x\r\n\r\n", "text/plain"),
        (b"Content-Type: multipart/mixed\r\n\r\nx", "multipart/mixed[text/plain]"),
        (b'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n\r\nx\r\n--', "multipart/mixed[text/plain]"),
        (M + b"\r\n\r\n--b--\r\n", "multipart/mixed[text/plain]"),
        (M + b"\r\n\r\n--b", "multipart/mixed[text/plain]"),
        (M + b"\r\n\r\n--b\r\n", "multipart/mixed[text/plain]"),
        (M + b"\r\n\r\n--b\r\n--b\r\n--b--", "multipart/mixed[text/plain,text/plain]"),
        (M + b"\n\n--b\n\nx\n--b \t\n\ny\n--b--", "multipart/mixed[text/plain,text/plain]"),
        (M + b"\r\n\r\n--b\r\n\r\nx\r\n--bc\r\ny\r\n--b--", "multipart/mixed[text/plain]"),
        (b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\ny\r\n--b--",
         "multipart/digest[message/rfc822[text/plain]]"),
        (b"Content-Type: message/rfc822\r\n\r\n", "message/rfc822[text/plain]"),
        (b"Content-Type: message/delivery-status\r\n\r\nx: y", "message/delivery-status"),
    ],
)  # fmt: skip
def test_ugly(data: bytes, shape: str) -> None:
    def told(part: Part) -> str:
        within = ",".join(map(told, part.children))
        return f"{part.type}/{part.subtype}" + (f"[{within}]" if within else "")

    assert told(check(data).root) == shape


def test_outer_delimiter_ends_inner_parts() -> None:
    data = lines(
        "Content-Type: multipart/mixed; boundary=a", "", "--a", "Content-Type: multipart/mixed; boundary=ab", "",
        "--ab", "", "in", "--a", "", "out", "--a--",
    )  # fmt: skip
    root = check(data).root
    assert [data[p.body : p.end] for p in mime.walk(root) if not p.children] == [b"in", b"out"]


def test_depth_is_bounded() -> None:
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(5000))
    letters = b"Content-Type: message/rfc822\r\n\r\n" * 5000
    for data in (deep, letters):
        found = check(data)
        part, depth = found.root, 0
        while part.children:
            part, depth = part.children[0], depth + 1
        assert depth == mime.MAX_DEPTH
        assert (part.type, part.subtype) == ("application", "octet-stream")


def test_number_of_parts_is_bounded() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\r\n" + b"\r\n--b\r\n\r\nx" * 5000 + b"\r\n--b--\r\n"
    found = check(data)
    assert sum(1 for _ in mime.walk(found.root)) == 1000
    assert found.root.children[-1].end == len(data)
    assert sum(1 for _ in mime.walk(scan(data, max_parts=3).root)) == 3


def test_many_headers_addresses_and_parameters() -> None:
    many = b"".join(b"X-%d: y\r\n" % n for n in range(100_000))
    found = check(b"Subject: first\r\n" + many + b"\r\nbody")
    assert found.subject == "first"
    assert found.preview == "body"
    assert len(mime.header_fields(many)) == 100_000
    crowd = check(b"To: " + b",\r\n ".join(b"a%d@b" % n for n in range(10_000)) + b"\r\n\r\n")
    envelope = read_wire(crowd.envelope)
    assert isinstance(envelope, list)
    assert isinstance(envelope[5], list)
    assert len(envelope[5]) == 2000
    check(b"Content-Type: a/b" + b"".join(b"; p%d=v" % n for n in range(10_000)) + b"\r\n\r\n")


BOMBS: dict[str, Callable[[int], bytes]] = {
    "delimiters": lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * n,
    "nearly delimiters": lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + b"--bb\r\n" * n,
    "delimiters and blanks": lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (b"--b" + b" " * 50) * n,
    "same boundary within": lambda n: b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * n,
    "letters within": lambda n: b"Content-Type: message/rfc822\r\n\r\n" * n,
    "header without end": lambda n: b"a: b\r\n" * n,
    "no line end": lambda n: b"a" * n * 5,
    "bare line feeds": lambda n: b"x\n" * n,
    "folds": lambda n: b"To: a\r\n" + b" b\r\n" * n + b"\r\n",
    "quotes": lambda n: b"To: " + b'"' * n + b"\r\n\r\n",
    "quoted pairs": lambda n: b'To: "' + b"\\x" * n + b"\r\n\r\n",
    "comments": lambda n: b"To: " + b"(" * n + b"\r\n\r\n",
    "closed comments": lambda n: b"To: " + b"()" * n + b"\r\n\r\n",
    "angles": lambda n: b"To: " + b"<" * n + b"\r\n\r\n",
    "groups": lambda n: b"To: " + b"a:" * n + b"\r\n\r\n",
    "colons behind an address": lambda n: b"To: " + b"a " * n + b"@" + b":" * n + b"\r\n\r\n",
    "brackets": lambda n: b"To: " + b"[" * n + b"\r\n\r\n",
    "at signs": lambda n: b"To: " + b"@" * n + b"\r\n\r\n",
    "quoted pairs of an author": lambda n: b'From: "' + b'\\"' * n + b"\r\n\r\n",
    "a long author": lambda n: b"From: " + b"a" * n + b"=?" * n + b"\r\n\r\n",
    "spaces": lambda n: b"To: a" + b" " * n + b"b\r\n\r\n",
    "spaces and commas": lambda n: b"To: " + b"a , " * n + b"\r\n\r\n",
    "words": lambda n: b"Subject: " + b"=?utf-8?q?" * n + b"\r\n\r\n",
    "encoded words": lambda n: b"Subject: " + b"=?utf-8?q?a?= " * n + b"\r\n\r\n",
    "semicolons": lambda n: b"Content-Type: a/b" + b" ; " * n + b"\r\n\r\n",
    "names": lambda n: b"Content-Type: a/b; " + b"a" * n + b"\r\n\r\n",
    "equal signs": lambda n: b"Content-Type: a/b; " + b"=" * n + b"\r\n\r\n",
    "identifiers": lambda n: b"References: " + b"<" * n + b"<a" * n + b"\r\n\r\n",
    "angle brackets in HTML": lambda n: b"Content-Type: text/html\r\n\r\n" + b"<a" * n,
    "styles in HTML": lambda n: b"Content-Type: text/html\r\n\r\n" + b"<style>" * n,
    "comments in HTML": lambda n: b"Content-Type: text/html\r\n\r\n" + b"<!--" * n,
    "lines in HTML": lambda n: b"Content-Type: text/html\r\n\r\n" + b"<br> " * n,
    "entities in HTML": lambda n: b"Content-Type: text/html\r\n\r\n" + b"&" * n + b"&#" * n,
    "base64": lambda n: b"Content-Transfer-Encoding: base64\r\n\r\n" + b"YQ==" * n,
    "quoted-printable": lambda n: b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" * n,
    "uuencode": lambda n: b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\n" + b"#8V%T\n" * n,
    "eight-bit": lambda n: b"Subject: " + b"\xd6\xe1" * n + b"\r\n\r\n" + b"\xd6\xe1" * n,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_time_grows_with_the_size_only(bomb: str) -> None:
    """Six times the bytes may take twelve times as long (allocation, caches), not thirty-six."""

    def cost(size: int) -> float:
        data = BOMBS[bomb](size)
        best = float("inf")
        for _ in range(3):
            begin = time.process_time()
            found = scan(data, max_header=1 << 30, max_addresses=1 << 30, max_parameters=1 << 30)
            mime.letter_text(data, found.root, 1 << 30)
            mime.select_fields(data, ["to", "x"], False)
            mime.authors(data)
            best = min(best, time.process_time() - begin)
        return best

    for size in (5_000, 20_000):  # a second look, in case the first was disturbed
        if cost(6 * size) <= 12 * cost(size) + 0.002:
            return
    pytest.fail("more than linear")


# --- whatever comes -------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b"\r\n\r\n",
     b"--b", b"--b--", b"--", b"b", b":", b" ", b"\t", b";", b'"', b"\\", b"(", b")",
     b"<", b">", b"@", b",", b"=", b"=?utf-8?q?", b"=?utf-8?b?", b"?=", b"\0", b"\xff", b"\xe1\xbb\x87", b"Subject: ",
     b"From: ", b"To: ", b"Date: ", b"References: ", b"Content-Type: ", b"multipart/mixed; boundary=b\r\n\r\n",
     b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", b"message/rfc822\r\n\r\n", b"text/html",
     b"Content-Disposition: attachment; filename", b"*0*=utf-8''", b"charset=", b"Content-Transfer-Encoding: ",
     b"base64\r\n\r\n", b"quoted-printable\r\n\r\n", b"x-uuencode", b"begin \n", b"<style>", b"<p>", b"{3}", b"NIL"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=40).map(b"".join))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes(data: bytes) -> None:
    check(data)


@given(st.binary())
def test_unpack_refuses_with_value_error_only(raw: bytes) -> None:
    for packed in (raw, b"\x01" + raw):
        with contextlib.suppress(ValueError):
            mime.unpack_parts(packed)


@given(st.lists(st.one_of(PIECES, st.binary(max_size=8)), min_size=1, max_size=40).map(b"".join))
def test_a_file_and_bytes_give_the_same(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    data = data or b"x"  # an empty file cannot be mapped
    path = tmp_path_factory.getbasetemp() / "letter"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        small, chunk = mime._SMALL, mime._CHUNK
        mime._SMALL, mime._CHUNK = 0, 7
        try:
            assert scan(mapped) == scan(data)
            assert mime.letter_text(mapped, scan(data).root, 100) == mime.letter_text(data, scan(data).root, 100)
        finally:
            mime._SMALL, mime._CHUNK = small, chunk


TREES = st.recursive(
    st.text("abc -\n", max_size=30).map(lambda text: ("text", text.replace("\n", "\r\n"))),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda children: ("multipart", children)),
        inner.map(lambda child: ("message", child)),
    ),
    max_leaves=12,
)


def write(tree: tuple[str, object], numbers: Iterator[int]) -> str:
    kind, content = tree
    if kind == "text":
        return f"Content-Type: text/plain; charset=utf-8\r\n\r\n{content}"
    if kind == "message":
        return f"Content-Type: message/rfc822\r\n\r\n{write(content, numbers)}"  # type: ignore[arg-type]
    mark = f"=_{next(numbers)}_="
    assert isinstance(content, list)
    parts = "".join(f"--{mark}\r\n{write(child, numbers)}\r\n" for child in content)
    return f'Content-Type: multipart/mixed; boundary="{mark}"\r\n\r\n{parts}--{mark}--\r\n'


@given(TREES)
def test_same_parts_as_the_standard_library(tree: tuple[str, object]) -> None:
    data = write(tree, count()).encode()
    ours = [
        (f"{p.type}/{p.subtype}", data[p.body : p.end] if not p.children else b"") for p in mime.walk(check(data).root)
    ]
    theirs = [
        (m.get_content_type(), b"" if m.is_multipart() else str(m.get_payload()).encode())
        for m in email.message_from_bytes(data).walk()
    ]
    assert ours == theirs


def test_large_letter_in_a_file(tmp_path: Path) -> None:
    head = lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "", "text", "--b", "Content-Type: a/b", "")
    path = tmp_path / "large"
    path.write_bytes(head + (b"x" * 76 + b"\r\n") * 100_000 + b"\r\n--b--\r\n")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        found = scan(mapped)
    assert [(p.body, p.end - p.body) for p in found.root.children] == [(len(head) - 32, 4), (len(head), 7_800_000)]
