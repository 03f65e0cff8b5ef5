"""On which line of a TOML text a key stands: for messages only, as the reader of the standard library does not tell.

Promises an answer for every path and any text, right for texts that are laid out as people lay them out: a key at the
beginning of a line, an inline table of an array on a line of its own. Must never decide what a file means.
"""

import re
from collections.abc import Sequence

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=(.*)$""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_MOST_LINES = 20_000


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def lines(text: str) -> dict[Path, int]:
    """Every path that begins on a line of its own, with the number of that line."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    array: Path | None = None  # the key whose list goes on over several lines
    item = -1
    quotes = ""  # the sign that ends a text of several lines
    for number, line in enumerate(text.splitlines()[:_MOST_LINES], 1):
        if quotes:
            quotes = "" if quotes in line else quotes
            continue
        if array is not None:
            start = line.lstrip()
            if start.startswith("]"):
                array = None
            elif start and not start.startswith("#"):
                item += 1
                found.setdefault((*array, item), number)
            continue
        if header := _HEADER.match(line):
            table = _parts(header[2])
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            path = (*table, *_parts(key[1]))
            found.setdefault(path, number)
            value = key[2].strip()
            for sign in ('"""', "'''"):
                if value.startswith(sign) and sign not in value[3:]:
                    quotes = sign
            if value.startswith("[") and value.split("#")[0].rstrip() in {"[", "[["}:
                array, item = path, -1
    return found


def line_of(found: dict[Path, int], path: Sequence[str | int]) -> int:
    """The line of a path, else of what it stands in, else of its table's header; 0 when nothing is found."""
    wanted = tuple(path)
    while wanted:
        if wanted in found:
            return found[wanted]
        wanted = wanted[:-1]
    return 0
