"""Regulation profiles: the numbers and forms on which provinces differ, read from `profiles/*.toml`.

Promises that no such number stands in code. (Naming, deadlines and lock rules grow here in the directory's own issue.)
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from congvu.base.failure import Refused
from congvu.directory.people import Kind


@dataclass(frozen=True, slots=True)
class Profile:
    """What is asked of a profile so far. `quota`: bytes of a new mailbox by what holds it; 0 means none.
    `share_with_anyone`: may a mailbox be opened to everybody at once? `one_seen`: kinds of mailboxes in which \\Seen is
    one for all who open them, instead of each one's own."""

    name: str
    quota: dict[Kind, int]
    share_with_anyone: bool = False
    one_seen: frozenset[Kind] = frozenset()


def folder() -> Path:
    """Inside the installed package, or beside it in a checkout."""
    package = Path(str(files("congvu")))
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"


@cache
def load(name: str) -> Profile:
    """Raises `Refused`: no-such-profile, bad-profile."""
    known = sorted(path.stem for path in folder().glob("*.toml"))
    if name not in known:
        raise Refused("no-such-profile", name=name, known=", ".join(known))
    path = folder() / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused("bad-profile", file=path.name, reason=error) from None
    quota = table.get("quota_bytes", {})
    if not isinstance(quota, dict) or set(quota) != set(Kind):
        raise Refused("bad-profile", file=path.name, reason=f"[quota_bytes]: {', '.join(Kind)}")
    for kind, number in quota.items():
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**50:
            raise Refused("bad-profile", file=path.name, reason=f"[quota_bytes] {kind}")
    match table.get("sharing", {"anyone": False, "one_seen": []}):
        case {"anyone": bool(anyone), "one_seen": list(kinds), **more} if not more and all(
            k in list(Kind) for k in kinds
        ):
            one_seen = frozenset(map(Kind, kinds))
        case _:
            raise Refused("bad-profile", file=path.name, reason=f"[sharing] anyone, one_seen: {', '.join(Kind)}")
    return Profile(name, {kind: quota[kind] for kind in Kind}, anyone, one_seen)
