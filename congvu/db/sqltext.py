"""The one place where a statement's text is taken apart: finds placeholders outside of strings, names and comments;
and where a condition on words is put together."""

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


MAX_WORDS = 8  # of a question; more say nothing new


def has_words(column: str, findable: str) -> tuple[str, tuple[str, ...]]:
    """A condition that each of these words begins a word of a column, and its parameters. Both hold folded words with a
    space before each (`vietnamese.findable`): letters and digits only, so no sign of LIKE can be among them."""
    words = sorted(findable.split()[:MAX_WORDS], key=len, reverse=True)  # long ones are rare: they decide soonest
    return " AND ".join([f"{column} LIKE ?"] * len(words)) or "1 = 1", tuple(f"% {word}%" for word in words)
