"""`congvu report …` as other tools call it."""

import json
from pathlib import Path

import pytest
from blake3 import blake3

from tests.test_cli import data, run

__all__ = ["data"]


@pytest.fixture
def town(data: Path) -> Path:
    run("unit", "add", "Tỉnh An Giang", "--category", "tinh", "--data", data)
    run("unit", "add", "Sở Xây dựng", "--category", "so", "--parent", "Tỉnh An Giang", "--data", data)
    run("account", "add", "an@angiang.gov.vn", "--name", "Nguyễn Văn An", "--data", data)
    run("person", "post", "an@angiang.gov.vn", "--unit", "so xay dung", "--title", "Giám đốc", "--data", data)
    run("person", "contact", "an@angiang.gov.vn", "--phone", "0296", "--public", "--data", data)
    run("account", "lock", "an@angiang.gov.vn", "--why", "x", "--data", data)
    return data


def test_the_commands(town: Path, tmp_path: Path) -> None:
    page, sheet = tmp_path / "p.html", tmp_path / "u.xlsx"
    run("report", "public", "--out", page, "--data", town)
    assert "an@<wbr>angiang.gov.vn" in page.read_text("utf-8") and page.stat().st_mode & 0o777 == 0o644
    told = json.loads(run("report", "public", "--format", "json", "--data", town).stdout)
    assert told["units"][1]["entries"][0]["title"] == "Giám đốc"

    span = ("--from", "2026-01-01", "--to", "2026-06-30")
    done = run("report", "usage", *span, "--out", sheet, "--unit", "so xay dung", "--data", town)
    assert done.stderr.strip() == f"BLAKE3 {blake3(sheet.read_bytes()).hexdigest()}"
    assert sheet.stat().st_mode & 0o777 == 0o600
    told = json.loads(
        run("report", "usage", *span, "--format", "json", "--staff", "so xay dung=4", "--data", town).stdout
    )
    assert told["total"]["staff"] == 4 and told["profile"] == "national_floor_2026"
    assert '"act"' not in done.stdout and "report.made" in run("audit", "list", "--data", town).stdout

    calendar = run("report", "calendar", "--data", town).stdout
    assert "an ninh mạng" in calendar and "15.4" in calendar
    assert run("report", "attested", "--data", town).stdout == ""  # no unit answers for its list yet
    count, digest = run("report", "attest", "so xay dung", "--remark", "Đã rà soát", "--data", town).stdout.split()
    assert count == "1"
    run("report", "attest", "so xay dung", "--seen", digest, "--data", town)
    run("person", "contact", "an@angiang.gov.vn", "--phone", "0297", "--data", town)
    assert (
        "danh sách" in run("report", "attest", "so xay dung", "--seen", digest, "--data", town, code=2).stderr.lower()
    )
    changed = run("report", "attested", "--unit", "so xay dung", "--data", town).stdout
    assert "đã thay đổi / changed" in changed and "person.contact" in changed
    assert "an@angiang.gov.vn" in run("report", "locked", "--data", town).stdout
    assert json.loads(run("report", "locked", "--format", "json", "--data", town).stdout)["agencies"]
    assert "locked: 1" in run("report", "waiting", "--data", town).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("usage", "--from", "2026-01-01", "--to", "2026-06-30"),  # xlsx goes to a file
        ("usage", "--from", "2026-06-30", "--to", "2026-01-01", "--format", "csv"),
        ("usage", "--from", "x", "--to", "2026-01-01", "--format", "csv"),
        ("usage", "--from", "2026-01-01", "--to", "2026-06-30", "--format", "csv", "--staff", "x"),
        ("locked", "--format", "xlsx"),
        ("public", "--unit", "không có"),
        ("public", "--format", "pdf"),
        ("attest", "không có"),
        ("attest", "1", "--seen", "zz"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    folder = tmp_path / "d"
    run("init", "--data", folder, "--domain", "angiang.gov.vn", "--base-port", "30000")
    run("report", *words, "--data", folder, code=2)
