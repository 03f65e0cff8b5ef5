"""The life of an account as one table: which states there are, what each may do, which step leads where.

Pure: decides, never writes. Every door (SMTP, IMAP, later POP3, LDAP, web) asks this table and no other.
"""

from enum import Enum, StrEnum

from congvu.base.failure import Refused


class State(StrEnum):
    """Where an account stands (regulation rows 3.1, 4.1; the words of the account table)."""

    REQUESTED = "requested"  # asked for, not yet granted
    ACTIVE = "active"
    LOCKED = "locked"  # tạm khóa: still receives
    REVOKED = "revoked"  # thu hồi: kept for the time of grace
    PURGED = "purged"  # the mailbox is gone, the address rests


class Act(Enum):
    """What a door wants to know."""

    RECEIVE = "receive"
    SIGN_IN = "sign in"
    SEND = "send"


_ALL = frozenset(Act)
_NONE: frozenset[Act] = frozenset()

# state: what it may do, where it may go
TABLE: dict[State, tuple[frozenset[Act], frozenset[State]]] = {
    State.REQUESTED: (_NONE, frozenset({State.ACTIVE})),
    State.ACTIVE: (_ALL, frozenset({State.LOCKED, State.REVOKED})),
    State.LOCKED: (frozenset({Act.RECEIVE}), frozenset({State.ACTIVE, State.REVOKED})),  # row 4.1
    State.REVOKED: (_NONE, frozenset({State.PURGED})),  # row 3.10
    State.PURGED: (_NONE, frozenset()),
}


def may(state: State, act: Act) -> bool:
    """May an account in this state do that?"""
    return act in TABLE[state][0]


def step(state: State, to: State) -> State:
    """The new state, or `Refused("no-such-step")` when the table knows no way from one to the other."""
    if to not in TABLE[state][1]:
        raise Refused("no-such-step", state=state, to=to)
    return to
