"""What was done by whom, in a chain: each row is sealed together with the seal of the row before.

Whoever changes or removes a row breaks the seal that follows. Rows are only ever added. Row 0 is the chain's beginning
and counts the others; it is also the lock by which writers of several nodes take turns, so the chain never forks.
(Who may write to the database can rewrite all of it: `head` gives the last seal, to be kept where he cannot reach.)
One act is one call: an act that is recorded holds that lock until its commit, so what happens for every letter is no
audit row but a journal's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from congvu.db.engine import Tx

_BEGINNING = blake3("Công Vụ".encode()).digest()


_COUNT = "UPDATE audit SET at = at + 1 WHERE id = 0"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row of the chain. `facts`: JSON."""

    id: int
    at: int
    who: str
    act: str
    facts: str


def _seal(before: bytes, row_id: int, at: int, who: str, act: str, facts: str) -> bytes:
    # JSON of a list keeps the fields apart: no two rows give the same text.
    return blake3(before + json.dumps([row_id, at, who, act, facts], ensure_ascii=False).encode()).digest()


def record(tx: Tx, who: str, act: str, facts: Mapping[str, object], now: float) -> int:
    """Adds a row and returns its number. `facts` must be fit for JSON; no secret and no letter's text belongs there."""
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if not tx.run(_COUNT):
        tx.run(
            "INSERT INTO audit (id, at, who, act, facts, seal) VALUES (0, 0, '', 'begin', '{}', ?)"
            " ON CONFLICT (id) DO NOTHING",
            _BEGINNING,
        )
        tx.run(_COUNT)
    last = tx.one("SELECT id, seal FROM audit ORDER BY id DESC LIMIT 1")
    if last is None:
        raise RuntimeError("the audit chain has no beginning")
    row_id, at = last[0] + 1, int(now)
    tx.run(
        "INSERT INTO audit (id, at, who, act, facts, seal) VALUES (?, ?, ?, ?, ?, ?)",
        *(row_id, at, who, act, text, _seal(last[1], row_id, at, who, act, text)),
    )
    return int(row_id)


def head(tx: Tx) -> tuple[int, bytes]:
    """Number and seal of the last row, (0, the beginning) when nothing was recorded."""
    row = tx.one("SELECT id, seal FROM audit ORDER BY id DESC LIMIT 1")
    return (row[0], bytes(row[1])) if row else (0, _BEGINNING)


_ROWS = "SELECT id, at, who, act, facts FROM audit"


def recent(tx: Tx, *, before: int = 0, who: str = "", act: str = "", on: str = "", limit: int = 100) -> list[Recorded]:
    """The last rows, newest first, older than row `before`: by whom, of which kind ("account." all of accounts), with
    this text among their facts."""
    conditions, params = ["id > 0"], []
    for condition, value in (("id < ?", before), ("who = ?", who)):
        if value:
            conditions.append(condition)
            params.append(value)
    for column, text, form in (("act", act, "{}%"), ("facts", on, "%{}%")):
        if text:
            conditions.append(f"{column} LIKE ? ESCAPE '!'")
            params.append(form.format("".join(f"!{c}" if c in "!%_" else c for c in text)))
    rows = tx.all(
        f"{_ROWS} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?",
        *params,
        limit,
    )
    return [Recorded(*row) for row in rows]


def verify_chain(tx: Tx, known: tuple[int, bytes] | None = None) -> list[str]:
    """What is wrong with the chain, a sentence each, at most a hundred; empty when every seal holds. `known`: a `head`
    of earlier that was kept elsewhere, which must still be in the chain."""
    wrong: list[str] = []
    before, expected, counted, met = _BEGINNING, 0, 0, known is None
    for row_id, at, who, act, facts, seal in tx.each("SELECT id, at, who, act, facts, seal FROM audit ORDER BY id"):
        if row_id != expected:
            wrong.append(f"audit: rows {expected} to {row_id - 1} are missing")
        if row_id == 0:
            counted = at
        good = _BEGINNING if row_id == 0 else _seal(before, row_id, at, who, act, facts)
        if seal != good:
            wrong.append(f"audit: row {row_id} ({act}, {who}) was changed or its forerunner was")
        if known is not None and row_id == known[0]:
            met = True
            if seal != known[1]:
                wrong.append(f"audit: row {row_id} has another seal than the one kept")
        before, expected = seal, row_id + 1
        if len(wrong) >= 100:
            return wrong
    if expected and expected - 1 < counted:
        wrong.append(f"audit: rows {expected} to {counted} are missing")
    if not met:
        wrong.append(f"audit: row {known[0] if known else 0}, whose seal was kept, is missing")
    return wrong
