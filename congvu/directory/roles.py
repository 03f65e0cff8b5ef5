"""Who may do what in which part of the tree (rows 4.12, 5.10 and house rule "checked in one place").

A right is asked with `need` for one unit or account, or with `scope` for a list: a `Scope` is the only thing that list
functions take, and only this module makes one, so a list nobody checked cannot be written. Must never be asked by a
person for the own mailbox: that needs no role.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from congvu.base.failure import Refused
from congvu.db import audit
from congvu.db.engine import Tx
from congvu.directory import units


class Role(StrEnum):
    """What somebody is, in one part of the tree."""

    OPERATOR = "operator"  # đơn vị vận hành
    APPROVER = "approver"  # người duyệt
    UNIT_ADMIN = "unit_admin"  # quản trị của cơ quan, đơn vị
    AUDITOR = "auditor"  # kiểm tra, giám sát


class Right(StrEnum):
    """What can be asked for."""

    READ = "read"  # everything the directory knows of the part, hidden fields too
    REQUEST = "request"
    ATTEST = "attest"
    RESET = "reset"
    LOCK = "lock"
    STATISTICS = "statistics"
    DECIDE = "decide"
    MANAGE = "manage"  # units, people, addresses without a request
    MERGE = "merge"
    ASSIGN = "assign"  # roles
    AUDIT = "audit"


# Row 4.12: an agency's administrator resets, locks and draws statistics; what creates or deletes goes by request (3.2).
TABLE: dict[Role, frozenset[Right]] = {
    Role.OPERATOR: frozenset(Right) - {Right.AUDIT},
    Role.APPROVER: frozenset({Right.READ, Right.DECIDE, Right.STATISTICS}),
    Role.UNIT_ADMIN: frozenset({Right.READ, Right.REQUEST, Right.ATTEST, Right.RESET, Right.LOCK, Right.STATISTICS}),
    Role.AUDITOR: frozenset({Right.READ, Right.STATISTICS, Right.AUDIT}),
}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role in a unit and everything below it."""

    role: Role
    unit_id: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. `name`: as the audit shows it; `account_id` None: the system itself or who runs commands on its
    machine, which may do everything. `peer`: from where."""

    name: str
    account_id: int | None = None
    peer: str = ""
    grants: tuple[Grant, ...] = ()

    def roots(self, right: Right) -> tuple[int, ...]:
        """The units under which this right holds."""
        return tuple(g.unit_id for g in self.grants if right in TABLE[g.role])


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the tree that a list may show. Made by `scope` only. `roots` None: everything."""

    roots: tuple[int, ...] | None

    def where(self, column: str) -> tuple[str, tuple[object, ...]]:
        """A condition on a column of unit ids, and its parameters."""
        if self.roots is None:
            return "1 = 1", ()
        return f"{column} IN ({units.SUBTREE})", (self.roots,)


def actor(tx: Tx, account_id: int, name: str, peer: str, today: date) -> Actor:
    """Somebody who signed in, with the roles that hold today."""
    rows = tx.all(
        "SELECT role, unit_id FROM role WHERE account_id = ? AND since <= ? AND (until = '' OR until > ?)",
        *(account_id, today.isoformat(), today.isoformat()),
    )
    return Actor(name, account_id, peer, tuple(Grant(Role(role), unit_id) for role, unit_id in rows))


def may(tx: Tx, who: Actor, right: Right, unit_id: int | None) -> bool:
    """Does the right hold in this unit? None: for the province as a whole, which only the system itself may."""
    if who.account_id is None:
        return True
    roots = who.roots(right)
    if not roots or unit_id is None:
        return False
    return any(unit.id in roots for unit in units.path(tx, unit_id))


def need(tx: Tx, who: Actor, right: Right, unit_id: int | None) -> None:
    """Raises `Refused("not-allowed")` unless the right holds in this unit."""
    if not may(tx, who, right, unit_id):
        raise Refused("not-allowed", right=right.value)


def need_account(tx: Tx, who: Actor, right: Right, account_id: int) -> None:
    """The same for an account, by its unit. Nobody uses a right on the own account: an administrator that locks,
    resets or judges asks another one. Raises `Refused`: not-allowed, no-such-account."""
    row = tx.one("SELECT unit_id FROM account WHERE id = ?", account_id)
    if row is None:
        raise Refused("no-such-account")
    if who.account_id == account_id:
        raise Refused("not-on-oneself", right=right.value)
    need(tx, who, right, row[0])


def scope(who: Actor, right: Right) -> Scope:
    """What a list may show. Raises `Refused("not-allowed")` when the right holds nowhere."""
    if who.account_id is None:
        return Scope(None)
    roots = who.roots(right)
    if not roots:
        raise Refused("not-allowed", right=right.value)
    return Scope(roots)


def listed(who: Actor) -> Scope:
    """What everybody who signed in may find: entries that are shown, of the whole province (row 7.1)."""
    return Scope(None)


def assign(tx: Tx, account_id: int, grant: Grant, since: str = "", until: str = "") -> None:
    """Gives a role, or changes its days. The caller has asked `need(…, Right.ASSIGN, …)`."""
    tx.run(
        "INSERT INTO role (account_id, role, unit_id, since, until) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (account_id, role, unit_id) DO UPDATE SET since = excluded.since, until = excluded.until",
        *(account_id, grant.role.value, grant.unit_id, units.day(since), units.day(until)),
    )


def withdraw(tx: Tx, account_id: int, grant: Grant) -> bool:
    """Takes a role away; was there one?"""
    return (
        tx.run(
            "DELETE FROM role WHERE account_id = ? AND role = ? AND unit_id = ?",
            *(account_id, grant.role.value, grant.unit_id),
        )
        == 1
    )


_HOLDERS = "SELECT account_id, role, unit_id, since, until FROM role"


def holders(tx: Tx, within: Scope) -> list[tuple[int, Grant, str, str]]:
    """Who has which role in this part: account, grant, since, until."""
    where, params = within.where("unit_id")
    return [
        (account_id, Grant(Role(role), unit_id), since, until)
        for account_id, role, unit_id, since, until in tx.all(
            f"{_HOLDERS} WHERE {where} ORDER BY unit_id, role, account_id",
            *params,
        )
    ]


def note(
    tx: Tx,
    who: Actor,
    act: str,
    now: float,
    *,
    on: str | int | Sequence[str],
    why: str = "",
    request: int = 0,
    facts: Mapping[str, object] | None = None,
) -> int:
    """The audit row of an act: who, what, on whom, why, on which request, from where."""
    told: dict[str, object] = {"on": list(on) if isinstance(on, tuple) else on, **(facts or {})}
    if why:
        told["why"] = why
    if request:
        told["request"] = request
    if who.peer:
        told["from"] = who.peer
    return audit.record(tx, who.name, act, told, now)
