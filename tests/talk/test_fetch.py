"""FETCH: every item and section, flags set on the way, what is missing or damaged, large letters in little memory."""

import base64
import quopri
import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.base.failure import Refused
from congvu.codec import mime
from congvu.db import open_blobs
from congvu.db.blobs import Blob
from congvu.mailstore import message, seen, sheets
from congvu.mailstore.message import DELETED, FLAGGED, SEEN, Op
from congvu.servers.imap import fetch, marks, search, sections
from congvu.servers.stream import Gone
from tests.talk.letters import NOW, PREFIX, Box, opened

PLAIN = b"From: An <an@angiang.gov.vn>\r\nSubject: Mot\r\nDate: Mon, 5 Jan 2026 08:00:00 +0700\r\n\r\nXin chao\r\n"
INNER = b"From: b@x.vn\r\nSubject: Trong\r\n\r\nben trong\r\n"
PDF = bytes(range(256)) * 3
MIXED = (
    b"From: An <an@angiang.gov.vn>\r\nSubject: Hai\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\nloi mo\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"ngh=E1=BB=8B=\r\n quyet\r\n"
    b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + INNER + b"\r\n"
    b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(PDF).replace(b"\n", b"\r\n")
    + b"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: x-secret\r\n\r\n???\r\n--b--\r\n"
)
HEADER = MIXED[: MIXED.index(b"\r\n\r\n") + 4]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with opened(tmp_path) as box:
        box.put(PLAIN)
        box.put(MIXED, flags=FLAGGED, keywords=("$Gap",))
        yield box


def lit(name: str, data: bytes, mark: str = "") -> bytes:
    return f"{name} {mark}{{{len(data)}}}\r\n".encode() + data


def test_rows(box: Box) -> None:
    box.recent_from = 2
    out, done = box.fetch("1:* (FLAGS UID INTERNALDATE RFC822.SIZE)")
    assert out.split(b"\r\n") == [
        b'* 1 FETCH (FLAGS () UID 1 INTERNALDATE "21-Sep-2026 14:13:20 +0000" RFC822.SIZE %d)' % len(PREFIX + PLAIN),
        b'* 2 FETCH (FLAGS (\\Flagged $Gap \\Recent) UID 2 INTERNALDATE "21-Sep-2026 14:13:20 +0000" RFC822.SIZE %d)'
        % len(PREFIX + MIXED),
        b"",
    ]
    assert done.code == ""
    box.enabled = ("IMAP4REV2",)
    assert box.fetch("2 FLAGS")[0] == b"* 2 FETCH (FLAGS (\\Flagged $Gap))\r\n"


MARKS = st.sampled_from(["0 ", "1 ", "31 $Forwarded", "4 NonJunk $a"])


@given(st.integers(1, 3_000_000), st.integers(0, 2_500))
def test_consecutive_numbers(first: int, count: int) -> None:
    numbers = range(first, first + count)
    assert marks.joined(numbers, b" x ") == b" x ".join(b"%d" % n for n in numbers)
    assert marks.decimals(numbers) == marks.decimals(list(numbers)) == [b"%d" % n for n in numbers]


@given(st.lists(MARKS, min_size=1, max_size=12), st.integers(1, 2000), st.lists(st.integers(1, 3)), st.integers(0, 40))
def test_marks_make_the_lines_that_rows_make(found: list[str], first: int, steps: list[int], recent: int) -> None:
    uids = list(accumulate((steps * 12 + [1] * 12)[: len(found) - 1], initial=first))
    numbers = range(first // 2 + 1, first // 2 + 1 + len(uids))
    texts = [
        marks.flags_bytes(int(mark.split(" ")[0]), mark.partition(" ")[2], uid >= first + recent)
        for mark, uid in zip(found, uids, strict=True)
    ]
    told = found[:1] if len(set(found)) == 1 else found
    only, both = (b" FETCH (FLAGS (", b"))\r\n"), (b" FETCH (UID ", b" FLAGS (", b"))\r\n")
    assert marks.lines(told, numbers, uids, only, first + recent) == b"".join(
        b"* %d FETCH (FLAGS (%b))\r\n" % each for each in zip(numbers, texts, strict=True)
    )
    assert marks.lines(told, numbers, uids, both, first + recent) == b"".join(
        b"* %d FETCH (UID %d FLAGS (%b))\r\n" % each for each in zip(numbers, uids, texts, strict=True)
    )


@pytest.mark.parametrize("recent_from", [1, 7, 1 << 31])
@pytest.mark.parametrize("alike", [True, False])
def test_flags_of_a_whole_mailbox(box: Box, recent_from: int, alike: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come as one text from the engine; asked for in another order they come row by row."""
    monkeypatch.setattr(fetch, "CHUNK_ROWS", 5)
    for n in range(10):
        box.put(b"Subject: %d\r\n\r\n" % n, *(() if alike else (NOW, n, ("$Gap", "$Xa")[: n % 3])))
    box.db.write_now(message.store, 1, 1, [1, 2, 4, 9], Op.ADD, DELETED, (), NOW)
    box.db.write_now(message.expunge, 1, 1, [4], NOW)
    box.recent_from = recent_from
    box.select()
    box.db.write_now(message.expunge, 1, 1, [9], NOW)  # the client does not know yet
    flags, done = box.fetch("1:* (FLAGS)")
    both = box.fetch("1:* (UID FLAGS)")[0]
    assert done.code == "EXPUNGEISSUED"
    rows = re.findall(
        rb"^\* (\d+) FETCH \(FLAGS \((.*)\) UID (\d+)\)\r$", box.fetch("1:* (FLAGS UID)")[0], re.MULTILINE
    )
    assert [int(uid) for _, _, uid in rows] == [1, 2, 3, 5, 6, 7, 8, 10, 11, 12]
    assert flags == b"".join(b"* %b FETCH (FLAGS (%b))\r\n" % row[:2] for row in rows)
    assert both == b"".join(b"* %b FETCH (UID %b FLAGS (%b))\r\n" % (n, uid, text) for n, text, uid in rows)


def test_uid_fetch_always_tells_the_uid(box: Box) -> None:
    assert box.fetch("2 FLAGS", by_uid=True)[0] == b"* 2 FETCH (UID 2 FLAGS (\\Flagged $Gap))\r\n"
    assert box.fetch("2 BODY.PEEK[1]<0.3>", by_uid=True)[0] == b"* 2 FETCH (UID 2 BODY[1]<0> {3}\r\nngh)\r\n"
    assert box.fetch("7 FLAGS", by_uid=True)[0] == b""


def test_what_was_kept_at_delivery(box: Box) -> None:
    scan = mime.scan(MIXED)
    out, _ = box.fetch("2 (ENVELOPE BODYSTRUCTURE BODY)")
    assert out == (
        b"* 2 FETCH (ENVELOPE %b BODYSTRUCTURE %b BODY %b)\r\n"
        % (scan.envelope, scan.structure, mime.plain_structure(scan.structure))
    )


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ("", PREFIX + MIXED),
        ("HEADER", PREFIX + HEADER),
        ("TEXT", MIXED[len(HEADER) :]),
        ("HEADER.FIELDS (Subject Received)", PREFIX + b"Subject: Hai\r\n\r\n"),
        (
            "HEADER.FIELDS.NOT (Subject Received Content-Type)",
            HEADER[: HEADER.index(b"Subject")] + b"MIME-Version: 1.0\r\n\r\n",
        ),
        ("1", b"ngh=E1=BB=8B=\r\n quyet"),
        ("1.MIME", b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"),
        ("2", INNER),
        ("2.HEADER", INNER[: INNER.index(b"\r\n\r\n") + 4]),
        ("2.TEXT", b"ben trong\r\n"),
        ("2.1", b"ben trong\r\n"),
        ("2.HEADER.FIELDS (SUBJECT)", b"Subject: Trong\r\n\r\n"),
        ("2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        ("9", None),
        ("1.1", None),
        ("1.HEADER", None),
    ],
)
def test_sections(box: Box, section: str, wanted: bytes | None) -> None:
    name = f"BODY[{section}]"
    expected = f"{name} NIL".encode() if wanted is None else lit(name, wanted)
    assert box.fetch(f"2 BODY.PEEK[{section}]")[0] == b"* 2 FETCH (" + expected + b")\r\n"


def test_what_is_not_at_hand_is_waited_for(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that lie in memory are taken on the spot, any others by a thread; the client sees no difference."""
    asked: list[bool] = []
    at_hand = type(box.blobs).at_hand

    def watched(self: Any, blob: Blob) -> bytes | None:
        found = at_hand(self, blob)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(type(box.blobs), "at_hand", watched)
    command = "2 (BODY.PEEK[] BODY.PEEK[2.HEADER])"
    first, second = box.fetch(command)[0], box.fetch(command)[0]
    assert asked == [False, True]  # the first opened the pack
    assert first == second and lit("BODY[]", PREFIX + MIXED) in first
    box.fetch("1:2 BODY.PEEK[]")
    monkeypatch.setattr(sections, "NEAR", 10)
    assert box.fetch(command)[0] == first
    assert asked == [False, True]  # of several, and of large ones, nobody asks


def test_sections_of_a_plain_letter(box: Box) -> None:
    body = b"Xin chao\r\n"
    header = PLAIN[: -len(body)]
    out, _ = box.fetch("1 (BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[TEXT])")
    assert (
        out
        == b"* 1 FETCH ("
        + b" ".join([lit("BODY[1]", body), lit("BODY[1.MIME]", header), lit("BODY[TEXT]", body)])
        + b")\r\n"
    )


def test_partials(box: Box) -> None:
    whole = PREFIX + PLAIN
    for start, count in [(0, 5), (30, 10), (len(PREFIX) - 2, 4), (len(whole) - 3, 100)]:
        part = whole[start : start + count]
        assert (
            box.fetch(f"1 BODY.PEEK[]<{start}.{count}>")[0] == b"* 1 FETCH (" + lit(f"BODY[]<{start}>", part) + b")\r\n"
        )
    assert box.fetch(f"1 BODY.PEEK[]<{len(whole)}.5>")[0] == b'* 1 FETCH (BODY[]<%d> "")\r\n' % len(whole)
    assert box.fetch("1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]<9.3>")[0] == (
        b"* 1 FETCH (" + lit("BODY[HEADER.FIELDS (SUBJECT)]<9>", b"Mot") + b")\r\n"
    )


def test_fields_of_an_endless_header_are_told_apart_within_a_bound(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of short fields would take gigabytes; the header itself comes whole."""
    for room in (sections, search):
        monkeypatch.setattr(room, "FIELDS_WITHIN", 4096)
    header = b"X-Early: 1\r\n" + b"a:\r\n" * 5_000 + b"X-Late: 1\r\n\r\n"
    box.put(header + b"x")
    assert b"{%d}\r\n%b" % (len(PREFIX + header), PREFIX + header) in box.fetch("3 BODY.PEEK[HEADER]")[0]
    assert (
        lit("BODY[HEADER.FIELDS (X-Early X-Late)]", b"X-Early: 1\r\n\r\n")
        in (box.fetch("3 BODY.PEEK[HEADER.FIELDS (X-Early X-Late)]")[0])
    )
    assert len(box.fetch("3 BODY.PEEK[HEADER.FIELDS.NOT (X)]")[0]) < 5_000
    assert box.found("HEADER X-Early 1") == [3]
    assert box.found("HEADER X-Late 1") == []


def test_old_names(box: Box) -> None:
    out, _ = box.fetch("1 (RFC822.HEADER)")
    assert out == b"* 1 FETCH (" + lit("RFC822.HEADER", PREFIX + PLAIN[:-10]) + b")\r\n"
    out, _ = box.fetch("1 (RFC822.TEXT RFC822)")
    assert out == (
        b"* 1 FETCH (FLAGS (\\Seen) "
        + lit("RFC822.TEXT", PLAIN[-10:])
        + b" "
        + lit("RFC822", PREFIX + PLAIN)
        + b")\r\n"
    )


def test_binary(box: Box) -> None:
    out, _ = box.fetch(
        "2 (BINARY.SIZE[3] BINARY.PEEK[3] BINARY.PEEK[1] BINARY.PEEK[3]<10.5> BINARY.SIZE[9] BINARY.PEEK[9])"
    )
    text = quopri.decodestring(b"ngh=E1=BB=8B=\r\n quyet")
    assert (
        out
        == b"* 2 FETCH ("
        + b" ".join(
            [
                b"BINARY.SIZE[3] %d" % len(PDF),
                lit("BINARY[3]", PDF, "~" if b"\0" in PDF else ""),
                lit("BINARY[1]", text),  # without a NUL it is a string (rfc3516 4.3)
                lit("BINARY[3]<10>", PDF[10:15], "~" if b"\0" in PDF[10:15] else ""),
                b"BINARY.SIZE[9] 0",
                b"BINARY[9] NIL",
            ]
        )
        + b")\r\n"
    )
    whole = PREFIX + MIXED
    assert box.fetch("2 (BINARY.PEEK[] BINARY.SIZE[])")[0] == (
        b"* 2 FETCH (" + lit("BINARY[]", whole, "~" if b"\0" in whole else "") + b" BINARY.SIZE[] %d)\r\n" % len(whole)
    )


@pytest.mark.parametrize("size", [1, sections.SMALL + 1])
def test_no_nul_is_in_a_literal(box: Box, size: int) -> None:
    """rfc9051 9: only a literal8 may hold one."""
    body = b"a\0b" * size
    box.put(b"Content-Transfer-Encoding: binary\r\n\r\n" + body)
    shown = body.replace(b"\0", b"\x80")
    assert box.fetch("* (BODY.PEEK[TEXT])")[0].endswith(b"(" + lit("BODY[TEXT]", shown) + b")\r\n")
    assert box.fetch("* (RFC822)")[0].endswith(shown + b")\r\n")
    assert box.fetch("* (BINARY.PEEK[1])")[0].endswith(b"(" + lit("BINARY[1]", body, "~") + b")\r\n")


def test_an_unknown_encoding_is_refused(box: Box) -> None:
    with pytest.raises(Refused, match="imap-unknown-encoding"):
        box.fetch("1:2 (UID BINARY.PEEK[4])")
    assert bytes(box.stream.out) == b"* 1 FETCH (UID 1 BINARY[4] NIL)\r\n* 2 FETCH (UID 2)\r\n"
    with pytest.raises(Refused, match="imap-unknown-encoding"):
        box.fetch("2 BINARY.SIZE[4]")
    assert bytes(box.stream.out) == b""


def flags(box: Box, uid: int) -> int:
    (row,) = box.db.read_now(message.rows, 1, 1, uid, uid)
    return row.flags


def test_reading_marks_as_seen(box: Box) -> None:
    assert box.fetch("1:2 BODY.PEEK[TEXT]<0.1>")[0].count(b"FLAGS") == 0
    assert not flags(box, 1) & SEEN
    out, _ = box.fetch("1:2 BODY[TEXT]<0.1>")
    assert out == (
        b"* 1 FETCH (FLAGS (\\Seen) BODY[TEXT]<0> {1}\r\nX)\r\n"
        b"* 2 FETCH (FLAGS (\\Seen \\Flagged $Gap) BODY[TEXT]<0> {1}\r\nl)\r\n"
    )
    assert flags(box, 1) == SEEN and flags(box, 2) == SEEN | FLAGGED
    assert box.view is not None and len(box.view.own) == 1
    out, _ = box.fetch("1 (FLAGS BODY[TEXT]<0.1>)")
    assert out == b"* 1 FETCH (FLAGS (\\Seen) BODY[TEXT]<0> {1}\r\nX)\r\n"


def test_reading_does_not_mark_in_examine(box: Box) -> None:
    box.read_only = True
    assert b"FLAGS" not in box.fetch("1 BODY[]")[0]
    assert flags(box, 1) == 0


def test_changed_since(box: Box) -> None:
    box.db.write_now(message.store, 1, 1, [2], Op.ADD, SEEN, (), 0)
    (row,) = box.db.read_now(message.rows, 1, 1, 2, 2)
    out, _ = box.fetch(f"1:* (FLAGS) (CHANGEDSINCE {row.modseq - 1})")
    highest = b"* OK [HIGHESTMODSEQ 1] Highest\r\n"  # rfc7162 3.1: once, with what makes the session know of it
    assert out == highest + b"* 2 FETCH (FLAGS (\\Seen \\Flagged $Gap) MODSEQ (%d))\r\n" % row.modseq
    assert "CONDSTORE" in box.enabled
    assert box.fetch(f"1:* (FLAGS) (CHANGEDSINCE {row.modseq})")[0] == b""
    out, _ = box.fetch("1 (BODY[TEXT]<0.1>)")
    assert re.fullmatch(rb"\* 1 FETCH \(UID 1 FLAGS \(\\Seen\) MODSEQ \((\d+)\) BODY\[TEXT\]<0> \{1\}\r\nX\)\r\n", out)


def test_gone_meanwhile(box: Box) -> None:
    box.select()
    box.db.write_now(message.store, 1, 1, [1], Op.ADD, DELETED, (), 0)
    box.db.write_now(message.expunge, 1, 1, None, 0)
    for items in ("(UID)", "(UID BODY.PEEK[TEXT]<0.1>)", "(UID BODY[TEXT]<0.1>)"):
        out, done = box.fetch(f"1:2 {items}")
        assert out.startswith(b"* 2 FETCH (UID 2") and out.count(b"FETCH") == 1
        assert done.code == "EXPUNGEISSUED"


def damage(box: Box) -> None:
    for file in (box.data / "blobs").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    box.blobs = open_blobs("file:blobs", data=box.data, worker="other")  # goes on in a pack of its own


def test_a_damaged_letter_is_nil_and_the_others_come(box: Box) -> None:
    box.put(b"Subject: " + b"x" * 300_000 + b"\r\n\r\nlon\r\n")
    damage(box)
    box.put(PLAIN.replace(b"Mot", b"Ba "))
    with pytest.raises(Refused, match="letter-damaged"):
        box.fetch("2:4 (UID BODY.PEEK[] BINARY.SIZE[1])")
    lines = bytes(box.stream.out).split(b"\r\n")
    assert lines[0] == b"* 2 FETCH (UID 2 BODY[] NIL BINARY.SIZE[1] NIL)"
    assert lines[1].startswith(b"* 3 FETCH (UID 3 BODY[] NIL BINARY.SIZE[1] 5)")
    assert lines[2] == b"* 4 FETCH (UID 4 BODY[] {%d}" % len(PREFIX + PLAIN)


def test_many_messages_in_chunks(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "CHUNK", 10)
    for n in range(60):
        box.put(b"Subject: %d\r\n\r\n%d\r\n" % (n, n), flags=DELETED if n % 7 == 0 else 0)
    box.db.write_now(message.expunge, 1, 1, None, 0)
    uids = list(box.select().uids)
    out, _ = box.fetch("1:* (UID)")
    assert out == b"".join(b"* %d FETCH (UID %d)\r\n" % pair for pair in enumerate(uids, 1))
    out, _ = box.fetch("1,3,5:20,50 (UID)")
    assert [int(line.split()[1]) for line in out.splitlines()] == [1, 3, *range(5, 21), 50]
    out, _ = box.fetch("1:* (BODY[TEXT]<0.2>)")
    assert out.count(b"FETCH") == out.count(b"\\Seen") == len(uids)
    assert all(row.flags & SEEN for row in box.db.read_now(message.rows, 1, 1, 1, 100))


def test_a_neighbour_does_not_stand_in_for_what_is_gone(box: Box) -> None:
    box.put(PLAIN)
    box.select()
    box.db.write_now(message.store, 1, 1, [1], Op.ADD, DELETED, (), 0)
    box.db.write_now(message.expunge, 1, 1, None, 0)
    out, done = box.fetch("1,3 (UID)")
    assert out == b"* 3 FETCH (UID 3)\r\n" and done.code == "EXPUNGEISSUED"


def test_far_apart_uids(box: Box) -> None:
    for n in range(200):
        box.put(b"Subject: %d\r\n\r\n\r\n" % n)
    out, _ = box.fetch("1,2,80,81,199,202 (UID)")
    assert [int(line.split()[1]) for line in out.splitlines()] == [1, 2, 80, 81, 199, 202]


def test_large_letters_are_streamed(box: Box) -> None:
    data = base64.encodebytes(bytes(range(256)) * 20_000).replace(b"\n", b"\r\n")
    text = b"d=C3=A0i =\r\n" * 100_000
    content = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n"
        + data
        + b"\r\n--b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + text
        + b"\r\n--b--\r\n"
    )
    box.put(content)
    out, _ = box.fetch("3 BODY[]")
    assert out == b"* 3 FETCH (FLAGS (\\Seen) " + lit("BODY[]", PREFIX + content) + b")\r\n"
    out, _ = box.fetch("3 (BODY.PEEK[1] UID)")
    assert out == b"* 3 FETCH (UID 3 " + lit("BODY[1]", data) + b")\r\n"
    raw = bytes(range(256)) * 20_000
    out, _ = box.fetch("3 (BINARY.SIZE[1] BINARY.PEEK[1] BINARY.PEEK[2])")
    assert out == b"* 3 FETCH (BINARY.SIZE[1] %d " % len(raw) + lit("BINARY[1]", raw, "~") + b" " + (
        lit("BINARY[2]", "dài ".encode() * 100_000, "~") + b")\r\n"
    )
    out, _ = box.fetch("3 (BINARY.PEEK[1]<300000.400000> BODY.PEEK[]<100.300000>)")
    assert out == b"* 3 FETCH (" + lit("BINARY[1]<300000>", raw[300_000:700_000], "~") + b" " + (
        lit("BODY[]<100>", (PREFIX + content)[100:300_100]) + b")\r\n"
    )
    assert box.stream.most <= 300_000


def test_many_copies_of_one_section_stay_bounded(box: Box) -> None:
    box.put(b"Subject: x\r\n\r\n" + b"y" * 200_000)
    items = " ".join(f"BODY.PEEK[]<{n}.200000>" for n in range(40))
    out, _ = box.fetch(f"3 ({items})")
    assert out.count(b"BODY[]<") == 40
    assert box.stream.most < 3_000_000


def test_a_stream_that_breaks_off_ends_the_connection(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put(b"Subject: x\r\n\r\n" + b"y" * 2_000_000)
    monkeypatch.setattr(box.blobs, "stream", lambda *_: iter([b"abc"]))
    with pytest.raises(Gone):
        box.fetch("3 BODY.PEEK[]")
    assert box.stream.aborted


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_encodings_piece_by_piece(size: int) -> None:
    """How the stream was cut must not matter."""
    for encoding, raw in [
        ("base64", base64.encodebytes(PDF)),
        ("base64", base64.encodebytes(b"abcd").strip() + b"\r\n" + base64.encodebytes(b"efg")),
        ("base64", b"YW Jj!\r\nZ"),
        ("quoted-printable", b"a=3D b  \r\nc=\r\nd=E1=BB=8B\r\n=\r\nlast=2"),
        ("quoted-printable", b"=41" * 500),
    ]:
        part = mime.Part("a", "b", "", encoding, "", "", 0, 0, len(raw), ())
        pieces = iter([raw[i : i + size] for i in range(0, len(raw), size)])
        assert b"".join(sections.decoded(encoding, pieces)) == mime.decode_body(raw, part)


# ---- sheets


@pytest.fixture
def laid(monkeypatch: pytest.MonkeyPatch, box: Box) -> Box:
    """Runs of eight UIDs: three are full, of the second most is gone, in the first and third a letter."""
    monkeypatch.setattr(sheets, "UIDS", 8)
    monkeypatch.setattr(sheets, "LEAST", 4)
    monkeypatch.setattr(fetch, "FEW_LINES", 2)
    for n in range(25):
        box.put(
            b"Subject: %d\r\nTo: a@x.vn\r\n\r\n%d\r\n" % (n, n), NOW + 1000 * n, n % 8 & ~DELETED, ("$Gap",)[: n % 2]
        )
    box.index()
    assert box.db.read_now(lambda tx: tx.all("SELECT run, letters FROM sheet")) == [(0, 8), (1, 8), (2, 8)]
    gone = [3, 10, 11, 12, 13, 14, 20]
    box.db.write_now(message.store, 1, 1, gone, Op.ADD, DELETED, (), NOW)
    box.db.write_now(message.expunge, 1, 1, gone, NOW)
    box.index()
    assert box.db.read_now(lambda tx: tx.all("SELECT run, letters FROM sheet")) == [(0, 8), (1, 0), (2, 8)]
    box.recent_from = 22
    box.select()
    return box


ON_SHEETS = ["UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE"]


def items_of(box: Box, numbers: str, name: str) -> dict[bytes, bytes]:
    """One item of some messages, as it is told when it is asked for alone."""
    out = box.fetch(f"{numbers} ({name})")[0]
    return dict(re.findall(rb"^\* (\d+) FETCH \((.*)\)\r$", out, re.MULTILINE))


@pytest.mark.parametrize("numbers", ["1:*", "2:6,8:9", "3", "1:2,17:*", "5:*"])
@pytest.mark.parametrize(
    "names",
    [
        ["ENVELOPE"],
        ["BODYSTRUCTURE", "UID"],
        ["UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE"],
        ["MODSEQ", "ENVELOPE", "RFC822.SIZE", "FLAGS"],
        ["INTERNALDATE", "BODYSTRUCTURE", "EMAILID", "SAVEDATE"],
    ],
)
@pytest.mark.parametrize("chunk", [3, 4096])
def test_lines_of_sheets_say_what_rows_say(
    laid: Box, monkeypatch: pytest.MonkeyPatch, numbers: str, names: list[str], chunk: int
) -> None:
    monkeypatch.setattr(fetch, "CHUNK_ROWS", chunk)
    with monkeypatch.context() as without:
        without.setattr(sheets, "find", lambda *_: None)
        alone = {name: items_of(laid, numbers, name) for name in names}
        rows = laid.fetch(f"{numbers} ({' '.join(names)})")[0]
    opened = []
    find = sheets.find
    monkeypatch.setattr(sheets, "find", lambda tx, run: opened.append(sheet := find(tx, run)) or sheet)
    out, done = laid.fetch(f"{numbers} ({' '.join(names)})")
    assert done.code == ""
    assert any(opened) is (numbers != "3")
    lines = out.splitlines(keepends=True)
    assert len(lines) == len(alone[names[0]]) == len(rows.splitlines())
    orders = (names, [name for name in names if name not in ON_SHEETS] + [name for name in ON_SHEETS if name in names])
    for line in lines:
        number = line.split()[1]
        assert line in [
            b"* %b FETCH (%b)\r\n" % (number, b" ".join(alone[name][number] for name in order)) for order in orders
        ]


def test_a_sheet_passes_over_what_has_gone_meanwhile(laid: Box) -> None:
    laid.db.write_now(message.store, 1, 1, [5, 19], Op.ADD, DELETED, (), NOW)
    laid.db.write_now(message.expunge, 1, 1, [5, 19], NOW)
    out, done = laid.fetch("1:* (UID ENVELOPE)")
    assert done.code == "EXPUNGEISSUED"
    pairs = re.findall(rb"^\* (\d+) FETCH \(UID (\d+) ENVELOPE", out, re.MULTILINE)
    assert [int(uid) for _, uid in pairs] == [1, 2, 4, 6, 7, 8, 9, 15, 16, 17, 18, *range(21, 28)]
    assert laid.view is not None
    assert [laid.view.uids[int(number) - 1] for number, _ in pairs] == [int(uid) for _, uid in pairs]


def test_a_damaged_sheet_is_none(laid: Box) -> None:
    whole = laid.fetch("1:* (UID ENVELOPE)")[0]
    kept = laid.db.read_now(lambda tx: tx.all("SELECT frame, run FROM sheet"))
    laid.db.write_now(lambda tx: tx.run("UPDATE sheet SET frame = ? WHERE run = 0", b"x"))
    assert laid.fetch("1:* (UID ENVELOPE)")[0] == whole
    laid.db.write_now(lambda tx: tx.many("UPDATE sheet SET frame = ? WHERE run = ?", kept))


def test_long_lines_end_a_chunk_early(laid: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = laid.fetch("1:* (UID ENVELOPE)")[0]
    monkeypatch.setattr(fetch, "LINES", 100)
    laid.stream.most = 0
    assert laid.fetch("1:* (UID ENVELOPE)")[0] == whole
    assert laid.stream.most < len(whole) / 2


def test_a_sheet_shows_each_reader_their_own_seen(laid: Box) -> None:
    laid.db.write_now(seen.mark, 1, 1, 2, [2, 17], True)
    view = laid.select()
    view.reader = 2
    out = laid.fetch("1:* (FLAGS UID ENVELOPE)")[0]
    found = re.findall(rb"^\* \d+ FETCH \(FLAGS \(([^)]*)\) UID (\d+) ENVELOPE", out, re.MULTILINE)
    assert len(found) == 20
    assert [int(uid) for flags, uid in found if b"\\Seen" in flags] == [2, 17]


def test_lines_by_uid_alone(laid: Box) -> None:
    laid.enabled = ("UIDONLY",)
    out = laid.fetch("1:* (BODYSTRUCTURE RFC822.SIZE UID)", by_uid=True)[0]
    found = re.findall(rb"^\* (\d+) UIDFETCH \(UID (\d+) RFC822.SIZE \d+ BODYSTRUCTURE \(", out, re.MULTILINE)
    assert [uid for uid, _ in found] == [uid for _, uid in found]
    assert len(found) == 14  # those on sheets; the others come in the order asked for
    assert out.count(b" UIDFETCH (BODYSTRUCTURE") == 6
