"""Units: the tree of organisations, dated, with who came before and who took over (rows 13.1, 13.6).

Promises that a unit is never removed: it ends on a day and names its successors, so an old letter can still be put in
its place; that no circle and no depth beyond `MAX_DEPTH` comes about; and that a subtree is one piece of SQL, whatever
its size. Must never touch an address: names of units change, addresses stay until somebody decides (row 3.15).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from congvu.base.failure import Refused
from congvu.base.vietnamese import findable
from congvu.db.engine import Row, Tx
from congvu.db.sqltext import has_words
from congvu.directory.people import checked_name

MAX_DEPTH = 30  # levels; a province uses four, and a circle must end somewhere


class Category(StrEnum):
    """What a unit is, in the words of the naming rules (rows 2.3–2.13, 13.1)."""

    TINH = "tinh"
    SO = "so"
    BAN = "ban"
    HOI = "hoi"
    NGANH = "nganh"
    HUYEN = "huyen"  # huyện, thị xã, thành phố thuộc tỉnh: until 1 July 2025
    THIXA = "thixa"
    THANHPHO = "thanhpho"
    XA = "xa"
    PHUONG = "phuong"
    THITRAN = "thitran"
    DACKHU = "dackhu"
    PHONG = "phong"
    TRUNGTAM = "trungtam"
    CHICUC = "chicuc"
    VANPHONG = "vanphong"
    BENHVIEN = "benhvien"
    CONGAN = "congan"
    OTHER = "other"


class How(StrEnum):
    """How one unit followed another."""

    MERGED = "merged"
    SPLIT = "split"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit. `since` and `until` are days of law ("" open), `until` the first on which it is no more; `domain` and
    `profile` "" are the parent's; `code`: the State's number of a commune."""

    id: int
    parent_id: int | None
    name: str
    category: str
    since: str = ""
    until: str = ""
    domain: str = ""
    profile: str = ""
    code: str = ""

    def stands(self, day: date) -> bool:
        """Does it exist on that day?"""
        return self.since <= day.isoformat() and (not self.until or day.isoformat() < self.until)


@dataclass(frozen=True, slots=True)
class Succession:
    """`unit_id` ended on `day`, `successor_id` took over from it."""

    unit_id: int
    successor_id: int
    day: str
    how: How


def day(text: str) -> str:
    """A day of law as it is kept: "YYYY-MM-DD", or "" for open. Raises `Refused("bad-day")`."""
    if not text:
        return ""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise Refused("bad-day", text=text[:40]) from None


def checked(unit: Unit) -> Unit:
    """The unit as it is kept. Raises `Refused`: bad-name, no-such-category, bad-day, days-reversed."""
    if unit.category not in set(Category):
        raise Refused("no-such-category", category=unit.category, known=", ".join(Category))
    since, until = day(unit.since), day(unit.until)
    if until and until < since:
        raise Refused("days-reversed", since=since, until=until)
    return replace(unit, name=checked_name(unit.name), since=since, until=until)


def add(tx: Tx, unit: Unit) -> None:
    """A new unit under its parent. Raises what `checked` does, `Refused("no-such-unit")` and `Refused("too-deep")`."""
    if unit.parent_id is not None and len(path(tx, unit.parent_id)) >= MAX_DEPTH:
        raise Refused("too-deep")
    _insert(tx, [checked(unit)])


def add_children(tx: Tx, parent_id: int, many: Sequence[Unit]) -> None:
    """Many units under one parent in one statement. Raises as `add`."""
    if len(path(tx, parent_id)) >= MAX_DEPTH:
        raise Refused("too-deep")
    _insert(tx, [checked(replace(unit, parent_id=parent_id)) for unit in many])


_SELECT = "SELECT id, parent_id, name, category, since, until, domain, profile, code FROM unit"


def _insert(tx: Tx, units: Sequence[Unit]) -> None:
    tx.many(
        "INSERT INTO unit (id, parent_id, name, category, since, until, domain, profile, code, folded)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (u.id, u.parent_id, u.name, u.category, u.since, u.until, u.domain, u.profile, u.code, findable(u.name))
            for u in units
        ],
    )


def _unit(row: Row) -> Unit:
    return Unit(*row)


def get(tx: Tx, unit_id: int) -> Unit | None:
    row = tx.one(f"{_SELECT} WHERE id = ?", unit_id)
    return _unit(row) if row else None


def must_get(tx: Tx, unit_id: int) -> Unit:
    """Raises `Refused("no-such-unit")`."""
    unit = get(tx, unit_id)
    if unit is None:
        raise Refused("no-such-unit")
    return unit


def some(tx: Tx, unit_ids: Sequence[int]) -> dict[int, Unit]:
    """Those of these units that there are."""
    return {row[0]: _unit(row) for row in tx.all(f"{_SELECT} WHERE id IN (?*)", unit_ids)}


def path(tx: Tx, unit_id: int) -> list[Unit]:
    """From the root down to this unit. Raises `Refused("no-such-unit")`."""
    found: list[Unit] = []
    following: int | None = unit_id
    while following is not None and len(found) < MAX_DEPTH:
        unit = must_get(tx, following)
        found.append(unit)
        following = unit.parent_id
    return found[::-1]


def inherited(tx: Tx, unit_id: int) -> tuple[str, str]:
    """Mail domain and regulation profile that hold for a unit, "" when nothing on its path names one."""
    way = path(tx, unit_id)[::-1]
    return next((u.domain for u in way if u.domain), ""), next((u.profile for u in way if u.profile), "")


# A subtree as SQL, to stand in parentheses behind IN. One parameter: the ids of its roots. UNION ends a circle.
SUBTREE = (
    "WITH RECURSIVE subtree (id) AS (SELECT id FROM unit WHERE id IN (?*)"
    " UNION SELECT unit.id FROM unit JOIN subtree ON unit.parent_id = subtree.id) SELECT id FROM subtree"
)


def within(tx: Tx, roots: Sequence[int]) -> list[int]:
    """The roots and everything below them."""
    return [row[0] for row in tx.all(SUBTREE, roots)]


def children(tx: Tx, unit_id: int | None) -> list[Unit]:
    """Directly below, by name; below None are the roots."""
    where = "parent_id = ?" if unit_id is not None else "parent_id IS NULL"
    params = () if unit_id is None else (unit_id,)
    return [_unit(row) for row in tx.all(f"{_SELECT} WHERE {where} ORDER BY folded, id", *params)]


def everything(tx: Tx) -> Iterator[Unit]:
    """All units, in the order in which they were added."""
    return map(_unit, tx.each(f"{_SELECT} ORDER BY id"))


def find(tx: Tx, text: str, limit: int = 50) -> list[Unit]:
    """Units with all these words in their name, marks or not, the last as a beginning; those that stand first."""
    where, params = has_words("folded", findable(text))
    return [
        _unit(row)
        for row in tx.all(
            f"{_SELECT} WHERE {where} ORDER BY CASE until WHEN '' THEN 0 ELSE 1 END, folded LIMIT ?",
            *params,
            limit,
        )
    ]


def change(tx: Tx, unit: Unit) -> Unit:
    """Replaces what is known of a unit; returns what it was. Raises what `add` does, and `Refused("circle")` when it
    would stand below itself."""
    was = must_get(tx, unit.id)
    new = checked(unit)
    if new.parent_id != was.parent_id and new.parent_id is not None:
        below = set(within(tx, [new.id]))
        if new.parent_id in below:
            raise Refused("circle")
        if len(path(tx, new.parent_id)) >= MAX_DEPTH:
            raise Refused("too-deep")
    tx.run(
        "UPDATE unit SET parent_id = ?, name = ?, category = ?, since = ?, until = ?, domain = ?, profile = ?,"
        " code = ?, folded = ? WHERE id = ?",
        *(new.parent_id, new.name, new.category, new.since, new.until, new.domain, new.profile, new.code),
        findable(new.name),
        new.id,
    )
    return was


def end(tx: Tx, unit_id: int, on: str, successors: Sequence[int], how: How) -> None:
    """The unit is no more from that day on, and these took over. Raises `Refused`: no-such-unit, bad-day,
    days-reversed, unit-ended."""
    unit = must_get(tx, unit_id)
    if unit.until:
        raise Refused("unit-ended", name=unit.name, day=unit.until)
    until = day(on)
    if not until or until < unit.since:
        raise Refused("days-reversed", since=unit.since, until=until)
    if len(some(tx, successors)) != len(set(successors)):
        raise Refused("no-such-unit")
    tx.run("UPDATE unit SET until = ? WHERE id = ?", until, unit_id)
    tx.many(
        "INSERT INTO succession (unit_id, successor_id, day, how) VALUES (?, ?, ?, ?)",
        [(unit_id, other, until, how.value) for other in dict.fromkeys(successors)],
    )


def revive(tx: Tx, unit_id: int) -> None:
    """Takes `end` back."""
    tx.run("UPDATE unit SET until = '' WHERE id = ?", unit_id)
    tx.run("DELETE FROM succession WHERE unit_id = ?", unit_id)


def successions(tx: Tx, unit_id: int) -> list[Succession]:
    """What this unit followed and what follows it."""
    return [
        Succession(a, b, on, How(how))
        for a, b, on, how in tx.all(
            "SELECT unit_id, successor_id, day, how FROM succession WHERE unit_id = ? OR successor_id = ? ORDER BY day",
            unit_id,
            unit_id,
        )
    ]


def fold_missing(tx: Tx) -> None:
    """Rows from before schema 7 have no folded name yet. May run again."""
    rows = tx.all("SELECT id, name FROM unit WHERE folded = ''")
    tx.many("UPDATE unit SET folded = ? WHERE id = ?", [(findable(name), number) for number, name in rows])


# Each statement returns rows that must not exist, with the sentence they fill.
NEVER = (
    (
        "unit {0}: its parent {1} does not exist",
        "SELECT unit.id, unit.parent_id FROM unit LEFT JOIN unit AS parent ON parent.id = unit.parent_id"
        " WHERE unit.parent_id IS NOT NULL AND parent.id IS NULL",
    ),
    (
        "unit {0}: it stands in a circle",
        "SELECT id FROM unit WHERE id NOT IN (WITH RECURSIVE tree (id) AS (SELECT id FROM unit"
        " WHERE parent_id IS NULL OR parent_id NOT IN (SELECT id FROM unit)"  # whose parent is missing is told above
        " UNION SELECT unit.id FROM unit JOIN tree ON unit.parent_id = tree.id) SELECT id FROM tree) ORDER BY id",
    ),
    ("unit {0}: it ends before it begins", "SELECT id FROM unit WHERE until <> '' AND until < since"),
    (
        "succession of unit {0} by {1}: one of them does not exist",
        "SELECT s.unit_id, s.successor_id FROM succession AS s LEFT JOIN unit AS a ON a.id = s.unit_id"
        " LEFT JOIN unit AS b ON b.id = s.successor_id WHERE a.id IS NULL OR b.id IS NULL",
    ),
)
