"""The one place where a statement's text is taken apart: finds placeholders outside of strings, names and comments."""

import re

_PIECE = re.compile(
    r"""
    (?P<skip> '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ )
    | (?P<list> \(\s*\?\*\s*\) )
    | (?P<one> \? )
    | (?P<percent> % )
    """,
    re.VERBOSE | re.DOTALL,
)


def split_lists(sql: str, list_text: str, one_text: str, double_percent: bool = False) -> tuple[str, tuple[int, ...]]:
    """The text with each `(?*)` and `?` replaced, and which parameters (from 0) are lists.

    `double_percent`: every `%`, wherever it stands, is written twice, for a driver that takes it as its own sign.
    """
    lists = []
    count = 0
    out = []
    end = 0
    for found in _PIECE.finditer(sql):
        out.append(sql[end : found.start()])
        end = found.end()
        match found.lastgroup:
            case "list":
                lists.append(count)
                count += 1
                out.append(list_text)
            case "one":
                count += 1
                out.append(one_text)
            case _:
                piece = found.group()
                out.append(piece.replace("%", "%%") if double_percent else piece)
    out.append(sql[end:])
    return "".join(out), tuple(lists)
