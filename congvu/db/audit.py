"""What was done by whom, in a chain: each row is sealed together with the seal of the row before.

Whoever changes or removes a row breaks every seal after it. Rows are only ever added. Row 0 is the chain's beginning;
it is also the lock by which writers of several nodes take turns, so the chain never forks. One act is one call: an
act that is recorded holds that lock until its commit, so what happens for every letter is no audit row but a journal's.
"""

import json
from collections.abc import Mapping

from blake3 import blake3

from congvu.db.engine import Tx

_BEGINNING = blake3("Công Vụ".encode()).digest()


def _seal(before: bytes, row_id: int, at: int, who: str, act: str, facts: str) -> bytes:
    # JSON of a list keeps the fields apart: no two rows give the same text.
    return blake3(before + json.dumps([row_id, at, who, act, facts], ensure_ascii=False).encode()).digest()


def record(tx: Tx, who: str, act: str, facts: Mapping[str, object], now: float) -> int:
    """Adds a row and returns its number. `facts` must be fit for JSON; no secret and no letter's text belongs there."""
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if not tx.run("UPDATE audit SET at = at WHERE id = 0"):
        tx.run(
            "INSERT INTO audit (id, at, who, act, facts, seal) VALUES (0, 0, '', 'begin', '{}', ?)"
            " ON CONFLICT (id) DO NOTHING",
            _BEGINNING,
        )
        tx.run("UPDATE audit SET at = at WHERE id = 0")
    last = tx.one("SELECT id, seal FROM audit ORDER BY id DESC LIMIT 1")
    if last is None:
        raise RuntimeError("the audit chain has no beginning")
    row_id, at = last[0] + 1, int(now)
    tx.run(
        "INSERT INTO audit (id, at, who, act, facts, seal) VALUES (?, ?, ?, ?, ?, ?)",
        *(row_id, at, who, act, text, _seal(last[1], row_id, at, who, act, text)),
    )
    return int(row_id)


def verify_chain(tx: Tx) -> list[str]:
    """What is wrong with the chain, a sentence each, at most a hundred; empty when every seal holds."""
    wrong: list[str] = []
    before, expected = _BEGINNING, 0
    for row_id, at, who, act, facts, seal in tx.each("SELECT id, at, who, act, facts, seal FROM audit ORDER BY id"):
        if row_id != expected:
            wrong.append(f"audit: rows {expected} to {row_id - 1} are missing")
        good = _BEGINNING if row_id == 0 else _seal(before, row_id, at, who, act, facts)
        if seal != good:
            wrong.append(f"audit: row {row_id} was changed or its forerunner was")
        before, expected = seal, row_id + 1
        if len(wrong) >= 100:
            break
    return wrong
