"""`congvu request …`: from a dirty list to mailboxes, the reply and the sheets, as an operator does it."""

import json
from io import BytesIO
from pathlib import Path

import xlsxwriter

from congvu.codec import xlsx, zipped
from tests.test_cli import run


def roster() -> bytes:
    out = BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True})
    sheet = book.add_worksheet()
    rows = [
        ["STT", "Họ và tên", "Ngày sinh", "Phòng/ban/đơn vị"],
        ["1", "Nguyễn Thị Huệ", "25/04/1980", "Văn phòng"],
        ["2", "Nguyen Van An", "", ""],
        ["3", "Lê Văn Tám", "31/02/1980", ""],
    ]
    for n, row in enumerate(rows):
        for column, text in enumerate(row):
            sheet.write_string(n, column, text)
    book.close()
    return out.getvalue()


def document(path: Path) -> str:
    data = path.read_bytes()
    return b"".join(zipped.pieces(data, zipped.parts(data)["word/document.xml"], 1 << 22)).decode()


def test_a_request_from_the_list_to_the_sheets(tmp_path: Path, engine_url: str) -> None:
    data = tmp_path / "d"
    at = ("--data", data)
    run("init", *at, "--domain", "angiang.gov.vn", "--profile", "angiang_2016", "--db", engine_url)
    run("unit", "add", "Sở Xây dựng", "--category", "so", *at)
    run("unit", "add", "Văn phòng", "--category", "vanphong", "--parent", "Sở Xây dựng", *at)
    listed, found, signed = tmp_path / "ds.xlsx", tmp_path / "kq.xlsx", tmp_path / "12.pdf"
    listed.write_bytes(roster())
    signed.write_bytes(b"%PDF-1.7 signed")
    unit = ("--unit", "so xay dung")
    told = run("request", "import", listed, *unit, "--dry-run", "--out", found, *at)
    assert "good: 1" in told.stdout and "bad: 1" in told.stdout and "ds.xlsx:4: Lê Văn Tám" in told.stderr
    assert xlsx.read(found.read_bytes())[0].rows[4][7].text == "nthue@angiang.gov.vn"
    letter = ("--number", "12/SXD", "--date", "2026-11-20", "--summary", "Đề nghị cấp mới", "--file", signed)
    assert run("request", "list", *at).stdout == ""
    made = run("request", "import", listed, *unit, *letter, "--skip-bad", *at)
    number = made.stdout.splitlines()[-1].split("\t")[0]
    shown = json.loads(run("request", "show", number, "--json", *at).stdout)
    assert [item["ruling"] for item in shown["items"]] == ["grant", "doubt"] and shown["file"] == "12.pdf"
    sheets, other = tmp_path / "phieu.docx", tmp_path / "khac.docx"
    grant = ("request", "decide", number, "--grant", *at)
    run(*grant, code=2)  # without a place for the sheets
    run(*grant, "--sheets", sheets, code=2)  # a doubt that nobody confirmed
    assert not sheets.exists()
    assert run(*grant, "--sheets", sheets, "--line", "2=ok", "--by", "Lê An").stdout.startswith("granted")
    assert sheets.stat().st_mode & 0o777 == 0o600
    before = sheets.read_bytes()
    assert "giải quyết" in run(*grant, "--sheets", other, code=2).stderr
    run("request", "sheets", number, sheets, *at, code=2)
    assert sheets.read_bytes() == before and not other.exists()
    assert document(sheets).count("Mật khẩu khởi tạo") == 2
    run("request", "sheets", number, other, *at)
    assert document(other) != document(sheets)
    reply = tmp_path / "tl.docx"
    run("request", "reply", number, reply, "--issuer", "Sở KHCN", *at)
    assert "nvan@angiang.gov.vn" in document(reply) and "Sở Xây dựng" in document(reply)
    run("request", "export", number, tmp_path / "x.xlsx", *at)
    one = ("request", "new", "lock", "--about", "nvan@angiang.gov.vn", *unit, "--number", "13", "--date", "2026-11-21")
    lock = run(*one, "--summary", "Khóa", "--set", "ground=left", *at).stdout.split("\t")[0]
    assert run("request", "decide", lock, "--grant", *at).stdout.startswith("granted")
    assert "person\tlocked" in run("account", "list", *at).stdout
    assert "Lê An" in run("audit", "list", "--act", "request.decide", *at).stdout
    run("check", *at)
    assert "no letter speaks of" not in run("check", "--repair", *at).stdout
