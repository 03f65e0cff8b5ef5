"""Tables as CSV for people's spreadsheet programs.

Promises UTF-8 with a BOM (without it Excel shows Vietnamese as rubble), CRLF, and that no cell is worked out as a
formula when the file is opened: one that begins with a sign of formulas gets an apostrophe before it.
"""

import re
from collections.abc import Iterable, Sequence

_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")
_QUOTED = re.compile(r'[",\r\n]|^ | $')


def harmless(text: str) -> str:
    """A cell's text that no spreadsheet program takes for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(_SIGNS) else text


def as_csv(rows: Iterable[Sequence[str | float | None]]) -> bytes:
    """Numbers stay numbers; None is an empty cell."""
    lines = [",".join(map(_cell, row)) for row in rows]
    return b"\xef\xbb\xbf" + "".join(f"{line}\r\n" for line in lines).encode()


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    text = harmless(value) if isinstance(value, str) else str(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
