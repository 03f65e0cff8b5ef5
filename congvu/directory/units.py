"""Units: the tree of organisations. (Dates, successors, heads and clerks grow here in the directory's issue.)"""

from collections.abc import Iterator
from dataclasses import dataclass

from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.directory.people import checked_name

MAX_DEPTH = 30  # levels; a province uses four, and a circle must end somewhere


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit. `category`: a word of the naming rule, such as so, ban, hoi, nganh, xa, phuong, phong, vanphong."""

    id: int
    parent_id: int | None
    name: str
    category: str


def add(tx: Tx, unit: Unit) -> None:
    """A new unit under its parent. Raises `Refused("no-such-unit")` or `Refused("too-deep")`."""
    if unit.parent_id is not None and len(path(tx, unit.parent_id)) >= MAX_DEPTH:
        raise Refused("too-deep")
    tx.run(
        "INSERT INTO unit (id, parent_id, name, category) VALUES (?, ?, ?, ?)",
        unit.id,
        unit.parent_id,
        checked_name(unit.name),
        unit.category,
    )


def get(tx: Tx, unit_id: int) -> Unit | None:
    row = tx.one("SELECT id, parent_id, name, category FROM unit WHERE id = ?", unit_id)
    return Unit(*row) if row else None


def path(tx: Tx, unit_id: int) -> list[Unit]:
    """From the root down to this unit. Raises `Refused("no-such-unit")`."""
    found: list[Unit] = []
    following: int | None = unit_id
    while following is not None and len(found) < MAX_DEPTH:
        unit = get(tx, following)
        if unit is None:
            raise Refused("no-such-unit")
        found.append(unit)
        following = unit.parent_id
    return found[::-1]


def everything(tx: Tx) -> Iterator[Unit]:
    """All units, in the order in which they were added."""
    return (Unit(*row) for row in tx.each("SELECT id, parent_id, name, category FROM unit ORDER BY id"))
