"""CSV that spreadsheet programs open as it was meant."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec.tables import as_csv, harmless


def test_vietnamese_is_seen_as_such() -> None:
    assert as_csv([("Đơn vị", 1, None, 2.5), ("a,b", '"', "x\ny", "")]) == (
        b"\xef\xbb\xbf" + 'Đơn vị,1,,2.5\r\n"a,b","""","x\ny",\r\n'.encode()
    )


@pytest.mark.parametrize("text", ["=1+1", "+84 296", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\n=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "0296", "Nguyễn Văn A", "1-2", "'=1"])
def test_others_stay_as_they_are(text: str) -> None:
    assert harmless(text) == text


@given(st.lists(st.lists(st.text(st.characters(exclude_characters="\r\0", codec="utf-8"), max_size=9), min_size=2)))
def test_what_is_written_is_read(rows: list[list[str]]) -> None:
    text = as_csv(rows).decode("utf-8-sig")
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [[harmless(cell) for cell in row] for row in rows]
