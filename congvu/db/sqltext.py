"""The one place where a statement's text is taken apart: finds placeholders outside of strings, names and comments."""

import re

_PIECE = re.compile(
    r"""
    (?P<skip> '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ )
    | (?P<not_in> \bNOT\s+IN\s*\(\s*\?\*\s*\) )
    | (?P<in> \bIN\s*\(\s*\?\*\s*\) )
    | (?P<one> \? )
    | (?P<percent> % )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def translate(
    sql: str, in_list: str, not_in_list: str, one: str, double_percent: bool = False
) -> tuple[str, tuple[int, ...]]:
    """The text with each `IN (?*)`, `NOT IN (?*)` and `?` replaced, and which parameters (from 0) are lists.

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
            case "in" | "not_in" as which:
                lists.append(count)
                count += 1
                out.append(in_list if which == "in" else not_in_list)
            case "one":
                count += 1
                out.append(one)
            case _:
                piece = found.group()
                out.append(piece.replace("%", "%%") if double_percent else piece)
    out.append(sql[end:])
    return "".join(out), tuple(lists)


def schema_for(sql: str, clustered: str, types: dict[str, str]) -> str:
    """A schema file's text with `/*clustered*/` and the names of types replaced; comments are dropped."""
    sql = sql.replace("/*clustered*/", clustered)
    sql = re.sub(r"--[^\n]*", "", sql)
    return re.sub(r"\b[A-Z]+\b", lambda found: types.get(found.group(), found.group()), sql)
