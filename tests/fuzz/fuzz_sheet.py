"""Spreadsheets from agencies: a list with every row judged, or one documented refusal; bounded whatever they claim."""

from datetime import date

from congvu.actions import sheets, sheets_out
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.texts import say
from congvu.codec import xlsx, zipped
from congvu.directory import profile
from congvu.directory.requests import Kind

_CONFIG = Config(("angiang.gov.vn",), "mail.angiang.gov.vn")
_PROFILE = profile.load("angiang_2016")
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_HEADS = ("STT", "Họ và tên", "Ngày sinh", "Phòng", "Số điện thoại", "Nội dung đề nghị", "Email", "Họ tên mới")


def book(sheet: str, texts: str = "", styles: str = "") -> bytes:
    """A spreadsheet of these inner parts, as the fuzzer changes them: the archive is whole, what it holds need not."""
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts = {
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r" Type="{_OFFICE}/officeDocument"'
        ' Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets><sheet name="A" r:id="a"/></sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}">'
        f'<Relationship Id="a" Type="{_OFFICE}/worksheet" Target="s.xml"/>'
        f'<Relationship Id="b" Type="{_OFFICE}/sharedStrings" Target="t.xml"/>'
        f'<Relationship Id="c" Type="{_OFFICE}/styles" Target="y.xml"/></Relationships>',
        "xl/s.xml": sheet,
        "xl/t.xml": f'<sst xmlns="{_MAIN}">{texts}</sst>',
        "xl/y.xml": f'<styleSheet xmlns="{_MAIN}"><cellXfs>{styles}</cellXfs></styleSheet>',
    }
    return zipped.written({name: content.encode("utf-8", "replace") for name, content in parts.items()})


def sheet_of(rows: list[list[str]], more: str = "") -> str:
    body = "".join(
        f'<row r="{n}">'
        + "".join(
            f'<c r="{xlsx.column_name(c)}{n}" t="inlineStr"><is><t>{cell}</t></is></c>' for c, cell in enumerate(row, 1)
        )
        + "</row>"
        for n, row in enumerate(rows, 1)
    )
    return f'<worksheet xmlns="{_MAIN}"><sheetData>{body}</sheetData>{more}</worksheet>'


_ROWS = [
    list(_HEADS),
    ["1", "NGUYỄN THỊ HUỆ", "25/04/1980", "Văn phòng", "0912345678", "Cấp mới", "nthue@angiang.gov.vn", ""],
    ["2", "NguyÔn V¨n An", "31/02/1980", "", "+84 912345678", "khóa", "nvan@angiang", "Lê Văn B"],
    ["3", "Lê Văn Tám", "1980", "", "", "", "nguyễn@gmail.com", ""],
]
SEEDS = [
    sheet_of(_ROWS, '<mergeCells><mergeCell ref="B2:C3"/><mergeCell ref="A1:XFD1048576"/></mergeCells>').encode(),
    f'<worksheet xmlns="{_MAIN}"><sheetData><row><c t="s"><v>0</v></c><c t="s"><v>1</v></c></row><row r="1048576">'
    '<c r="A1048576"><f>1+1</f><v>2</v></c><c r="B1048576" s="1"><v>29337</v></c><c t="e"><v>#N/A</v></c></row>'
    "</sheetData></worksheet>".encode(),
    b"\0" + book(sheet_of(_ROWS), "<si><t>STT</t></si>", '<xf numFmtId="14"/>'),
]
WORDS = [
    b'r="XFD1048576"',
    b't="s"',
    b't="d"',
    b"<f>",
    b"</c>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b"<v>1e308</v>",
]
WORDS += ["Họ và tên".encode(), b"31/12/1999", b"@angiang.gov.vn", b'ref="A1:A9"', b"PK\x01\x02", b"_x000D_"]


def one(data: bytes) -> None:
    # A zero first: the bytes are the file; otherwise they are the sheet within a whole one.
    file = (
        data[1:]
        if data[:1] == b"\0"
        else book(data.decode("utf-8", "replace"), "<si><t>STT</t></si><si><t>Email</t></si>")
    )
    for kind in (Kind.ISSUE, Kind.CHANGE):
        try:
            found = sheets.read(file, kind, _CONFIG, _PROFILE, date(2026, 11, 25))
        except Refused as refused:
            assert "\n" not in say(refused.code, True, **refused.facts)
            continue
        assert len({row.line for row in found.rows}) == len(found.rows) <= xlsx.MAX_ROWS
        for row in found.rows:
            _, reasons, _ = sheets_out.result(row, None)
            assert "\n" not in sheets_out.said(reasons)
            for value in row.values.values():
                assert value.isprintable()
        if len(found.rows) < 50:
            again = xlsx.read(sheets_out.annotated(found, {}))
            assert len(again[0].rows) >= len(found.rows)
