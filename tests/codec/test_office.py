"""Archives, spreadsheets and letters: what is written is read again, what is hostile costs no more than a small one."""

import io
import zipfile
import zlib
from datetime import date, datetime

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import docx, xlsx, zipped
from congvu.codec.xlsx import Cell, Kind
from tests.fuzz.fuzz_sheet import book, sheet_of


def unpacked(data: bytes, most: int = 1 << 20) -> dict[str, bytes]:
    return {name: b"".join(zipped.pieces(data, part, most)) for name, part in zipped.parts(data).items()}


@given(
    st.dictionaries(st.text(st.characters(codec="ascii", min_codepoint=97, max_codepoint=122), min_size=1), st.binary())
)
def test_archives_are_read_as_written(contents: dict[str, bytes]) -> None:
    data = zipped.written(contents)
    assert unpacked(data) == contents
    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        assert theirs.testzip() is None
        assert {name: theirs.read(name) for name in theirs.namelist()} == contents


def test_archives_of_others_are_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.txt", "an" * 100_000, zipfile.ZIP_DEFLATED)
        file.writestr("tên.txt", b"binh", zipfile.ZIP_STORED)
    assert unpacked(out.getvalue()) == {"a.txt": b"an" * 100_000, "tên.txt": b"binh"}


def test_a_part_stops_at_its_bound_whatever_it_claims() -> None:
    data = zipped.written({"a": b"\0" * 10_000_000})
    got = 0
    with pytest.raises(zipped.BadZip, match="too large"):
        for piece in zipped.pieces(data, zipped.parts(data)["a"], 100_000):
            got += len(piece)
    assert got <= 200_000 and len(data) < 20_000


@pytest.mark.parametrize("cut", [0, 10, 30, 100, 150])
def test_damaged_archives_are_refused(cut: int) -> None:
    data = zipped.written({"a": b"x" * 1000, "b": b"y"})
    with pytest.raises(zipped.BadZip):
        unpacked(data[:cut])


def test_encrypted_and_crowded_archives_are_refused() -> None:
    data = bytearray(zipped.written({"a": b"x"}))
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(zipped.BadZip, match="encrypted"):
        zipped.parts(bytes(data))
    with pytest.raises(zipped.BadZip, match="directory"):
        zipped.parts(zipped.written({f"{n}": b"" for n in range(zipped.MOST_PARTS + 1)}))


def test_a_spreadsheet_as_another_program_writes_it() -> None:
    out = io.BytesIO()
    theirs = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = theirs.add_worksheet("Danh sách")
    day = theirs.add_format({"num_format": "dd/mm/yyyy"})
    sheet.write(0, 0, "Họ và tên")
    sheet.write_number(1, 0, 912345678)
    sheet.write_number(1, 1, 0.5)
    sheet.write_datetime(1, 2, datetime(1980, 4, 25), day)
    sheet.write_formula(1, 3, "=1+1", None, 2)
    sheet.write_boolean(1, 4, True)
    sheet.write_rich_string(1, 5, "Lê ", theirs.add_format({"bold": True}), "Văn")
    sheet.merge_range(2, 1, 3, 2, "gộp")
    theirs.add_worksheet("ẩn").hide()
    theirs.close()
    found, hidden = xlsx.read(out.getvalue())
    assert hidden.hidden and not found.hidden and found.name == "Danh sách"
    assert found.rows[1] == {1: Cell("Họ và tên")}
    assert found.rows[2] == {
        1: Cell("912345678", Kind.NUMBER),
        2: Cell("0.5", Kind.NUMBER),
        3: Cell("1980-04-25", Kind.DATE),
        4: Cell("2", Kind.NUMBER, True),
        5: Cell("TRUE"),
        6: Cell("Lê Văn"),
    }
    assert found.merged == [xlsx.Merged(3, 2, 4, 3)]


def test_a_sheet_that_claims_a_million_rows_costs_nothing() -> None:
    body = '<c r="A1" t="inlineStr"><is><t>x</t></is></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c>'
    body += '<c r="B1048576"><v>7</v></c>'
    sheet = f'<worksheet><dimension ref="A1:XFD1048576"/><sheetData><row r="1">{body}</row></sheetData></worksheet>'
    (found,) = xlsx.read(book(sheet))
    assert found.rows == {1: {1: Cell("x")}, 1048576: {2: Cell("7", Kind.NUMBER)}}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "zip"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "old or protected"),
        (zipped.written({"a": b"x"}), "no workbook"),
        (book("<worksheet>"), "xml"),
        (book("<!DOCTYPE a [<!ENTITY b 'c'>]><worksheet>&b;</worksheet>"), "document type"),
        (book(sheet_of([["x"]] * (xlsx.MAX_ROWS + 1))), "too many rows"),
        (book("<worksheet>" + "<a/>" * 6_100_000 + "</worksheet>"), "too large"),
        (b"x" * (xlsx.MAX_FILE + 1), "too large"),
    ],
    ids=["empty", "ole", "no-book", "cut", "doctype", "rows", "elements", "file"],
)
def test_what_is_refused(data: bytes, word: str) -> None:
    with pytest.raises(xlsx.BadSheet, match=word):
        xlsx.read(data)


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    sheet = b"<worksheet>" + b" " * (200 << 20) + b"</worksheet>"
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = packed.compress(sheet) + packed.flush()
    data = bytearray(book("<worksheet/>"))
    part = zipped.parts(bytes(data))["xl/s.xml"]
    assert part.deflated
    # The same archive with another part in its place.
    contents = {name: content for name, content in unpacked(bytes(data)).items() if name != "xl/s.xml"}
    whole = zipped.written({**contents, "xl/s.xml": sheet})
    assert len(raw) < 1 << 20
    with pytest.raises(xlsx.BadSheet, match="too large"):
        xlsx.read(whole)


@pytest.mark.parametrize(
    ("form", "shows"),
    [
        ("dd/mm/yyyy", True),
        ('"ngày" 0', False),
        ("[Red]0.00", False),
        ("mmm-yy", True),
        ("[$-42A]d/m/yy", True),
        ("0", False),
    ],
)
def test_forms_of_dates(form: str, shows: bool) -> None:
    assert xlsx._is_date_form(form) is shows


def test_letters_hold_what_xml_can() -> None:
    data = docx.written([docx.text("Lê <An> & \x01\ud800\uffff", bold=True)], docx.Page(), "T<")
    document = unpacked(data)["word/document.xml"].decode()
    assert "Lê &lt;An&gt; &amp; </w:t>" in document
    from xml.dom import minidom

    for name, content in unpacked(data).items():
        minidom.parseString(content)
        assert name
    assert data == docx.written([docx.text("Lê <An> & ", bold=True)], docx.Page(), "T<")


def test_dates_before_excels_own_mistake_stay_numbers() -> None:
    sheet = '<worksheet><sheetData><row><c s="0"><v>59</v></c><c s="0"><v>61</v></c></row></sheetData></worksheet>'
    (found,) = xlsx.read(book(sheet, styles='<xf numFmtId="14"/>'))
    assert found.rows[1] == {1: Cell("59", Kind.NUMBER), 2: Cell(date(1900, 3, 1).isoformat(), Kind.DATE)}
