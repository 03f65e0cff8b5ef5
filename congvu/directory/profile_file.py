"""A profile's file as it is read: what stands at a path, of which kind, and where in the file a mistake is.

Promises that every refusal names file and line. Must never know what a value is for.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar, cast

from congvu.base import tomlplace
from congvu.base.failure import Refused

MAX_FILE = 300_000  # octets; ours have some 20,000
_ROW = re.compile(r"[1-9]\d?\.[1-9]\d?")
T = TypeVar("T")

WORD: dict[Any, str] = {str: '"…"', int: "123", bool: "true | false", dict: "{ … }", list: "[ … ]", date: "2026-01-31"}


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """A TOML file with the lines of its keys. What is read from it is bounded and of the kind that was asked for."""

    name: str
    table: dict[str, Any]
    lines: dict[tomlplace.Path, int]

    @classmethod
    def read(cls, data: bytes, name: str) -> "ProfileFile":
        if len(data) > MAX_FILE:
            raise Refused("profile-not-toml", place=name, reason=f"> {MAX_FILE}")
        try:
            text = data.decode("utf-8")
            table = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # tomllib's own name the line
            raise Refused("profile-not-toml", place=name, reason=error) from None
        return cls(name, table, tomlplace.lines(text))

    def place(self, path: Sequence[str | int]) -> str:
        """`angiang_2016.toml:12 [lock]`"""
        line = tomlplace.line_of(self.lines, path)
        place = f"{self.name}:{line}" if line else self.name
        return f"{place} [{'.'.join(str(part) for part in path[:-1])}]" if len(path) > 1 else place

    def wrong(self, path: Sequence[str | int], wanted: str, found: object) -> Refused:
        try:
            told = str(found)[:100]
        except (ValueError, RecursionError):  # 0xfff… of any length, lists in lists
            told = "…"
        return Refused("profile-wrong-type", place=self.place(path), key=path[-1], wanted=wanted, found=told)

    def known(self, path: Sequence[str | int], table: Mapping[str, Any], known: Sequence[str]) -> None:
        """Refuses keys that nobody knows."""
        for key in table:
            if key not in known:
                nearest = (difflib.get_close_matches(key[:50], known, 1, 0.5) or [", ".join(known)])[0]
                raise Refused("profile-unknown-key", place=self.place([*path, key]), key=key, nearest=nearest)

    def at(self, path: Sequence[str | int], kind: type[T], usual: T | None = None) -> T:
        """What stands at a path, of this kind. Without `usual` it must be there."""
        found: Any = self.table
        for depth, part in enumerate(path):
            if isinstance(part, str) and not isinstance(found, dict):
                raise self.wrong(path[:depth], "{ … }", found)
            found = found[part] if isinstance(part, int) else found.get(part)
            if found is None:
                if usual is not None:
                    return usual
                raise Refused("profile-missing", place=self.place(path), key=part)
        if not isinstance(found, kind) or (kind in (int, date) and type(found) is not kind):  # a bool, a point in time
            raise self.wrong(path, WORD[kind], found)
        if isinstance(found, str) and (not found or not found.isprintable() or len(found) > 300):
            raise self.wrong(path, WORD[str], found)
        return cast("T", found)

    def words(self, path: Sequence[str | int], usual: Sequence[str] = ()) -> list[str]:
        found = self.at(path, list, list(usual))
        for n in range(len(found)):
            if not isinstance(found[n], str) or not found[n] or not found[n].isprintable() or len(found[n]) > 300:
                raise self.wrong([*path, n], '["…"]', found[n])
        return found

    def row(self, path: Sequence[str | int], usual: str | None = None) -> str:
        found = self.at(path, str, usual)
        if not _ROW.fullmatch(found):
            raise self.wrong(path, "2.14", found)
        return found
