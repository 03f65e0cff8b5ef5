"""Attestation: a unit's administrator has confirmed the list of the unit (row 7.5).

Promises that the same list gives the same digest on any engine, and that what was confirmed stays as it was. Only the
digest is kept: whether a list has changed since can be told, what changed stands in the audit.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from blake3 import blake3

from congvu.base.clock import day_of
from congvu.db.engine import Tx
from congvu.directory import entries
from congvu.directory.entries import Entry
from congvu.directory.rules import Period
from congvu.directory.statistics import Part

_TOGETHER = 500  # entries in one read


@dataclass(frozen=True, slots=True)
class Attested:
    """A confirmation. `entries`: how many stood on the list, `digest`: of the list as it was confirmed."""

    unit_id: int
    at: int
    who: str
    entries: int
    digest: bytes
    remark: str


def listed(tx: Tx, part: Part) -> Iterator[Entry]:
    """The list of a unit and all below it: everything that was issued and not taken away, hidden or not."""
    after = 0
    while some := entries.search(
        tx, "", part.within, units_below=part.below, everybody=True, after=after, limit=_TOGETHER
    ):
        after = some[-1].account_id
        yield from (each for each in some if each.receives)


def digest(some: Iterable[Entry]) -> tuple[int, bytes]:
    """How many entries there are, and the digest of what they say. Aliases and who is locked are the operator's
    business and left out."""
    seal, count = blake3(), 0
    for e in some:
        fields = [e.account_id, e.kind.value, e.name, e.title, e.unit_id, e.address, e.phone, e.mobile, e.place]
        seal.update(json.dumps([*fields, int(e.shown)], ensure_ascii=False).encode() + b"\n")
        count += 1
    return count, seal.digest()


def put(tx: Tx, made: Attested) -> None:
    """Once more within a second replaces the first."""
    tx.run(
        "INSERT INTO attestation (unit_id, at, who, entries, digest, remark) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (unit_id, at) DO UPDATE SET who = excluded.who, entries = excluded.entries,"
        " digest = excluded.digest, remark = excluded.remark",
        *(made.unit_id, made.at, made.who, made.entries, made.digest, made.remark),
    )


_LATEST = (
    "SELECT unit_id, at, who, entries, digest, remark FROM attestation AS a"
    " WHERE at = (SELECT max(at) FROM attestation AS b WHERE b.unit_id = a.unit_id AND b.at < ?)"
)


def latest(tx: Tx, part: Part, before: int) -> dict[int, Attested]:
    """The last confirmation of each unit, made before that instant."""
    where, params = part.where("unit_id")
    rows = tx.all(f"{_LATEST} AND {where}", before, *params)
    return {row[0]: Attested(row[0], row[1], row[2], row[3], bytes(row[4]), row[5]) for row in rows}


def due(last: Attested | None, every: Period, on: date) -> date:
    """The day from which the list has to be confirmed anew; that of today when it never was."""
    return on if last is None else every.after(day_of(last.at))


# Each statement returns rows that must not exist, with the sentence they fill.
NEVER = (
    (
        "attestation of unit {0}: the unit does not exist",
        "SELECT attestation.unit_id FROM attestation LEFT JOIN unit ON unit.id = attestation.unit_id"
        " WHERE unit.id IS NULL",
    ),
)
