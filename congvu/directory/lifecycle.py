"""The life of an account as one table: which states there are, what each may do, which step leads where and why; and
which steps the clock takes.

Pure: decides, never writes. Every door (SMTP, IMAP, POP3, LDAP, web) asks this table and no other. Promises that no
number of a regulation stands here: they come in `Rules`, made from the profile; and that `decide` says the same again
when asked again, until its effect has been carried out (a crash between the two costs nothing).
"""

from dataclasses import dataclass
from datetime import date, timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING

from congvu.base.clock import day_of
from congvu.base.failure import Refused

if TYPE_CHECKING:  # a profile knows kinds of accounts, which know states
    from congvu.directory.profile import Profile
    from congvu.directory.rules import Period

_EPOCH = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Days since 1970, as `account.seen_day` counts them."""
    return (day - _EPOCH).days


def numbered(number: int) -> date:
    return _EPOCH + timedelta(days=number)


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


class Reason(StrEnum):
    """Why an account is locked or revoked."""

    MANUAL = "manual"
    WRONG_PASSWORDS = "wrong-passwords"
    BURST = "burst"
    SEIZED = "seized"
    PROHIBITED = "prohibited"
    DEFAULT_PASSWORD = "default-password"  # noqa: S105  (a reason, no secret)
    INACTIVE = "inactive"
    LEFT = "left"
    LOCKED_TOO_LONG = "locked-too-long"
    DISSOLVED = "dissolved"
    EMERGENCY = "emergency"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class Cause:
    """What is known of a reason: the row it comes from, the state it leads to, whether a person may give it, and
    whether that needs a case or letter to point at."""

    row: str
    to: frozenset[State]
    by_hand: bool = True
    needs_case: bool = False


_LOCK, _REVOKE = frozenset({State.LOCKED}), frozenset({State.REVOKED})

REASONS: dict[Reason, Cause] = {
    Reason.MANUAL: Cause("4.12", _LOCK | _REVOKE),
    Reason.WRONG_PASSWORDS: Cause("4.2", _LOCK, by_hand=False),
    Reason.BURST: Cause("4.3", _LOCK, by_hand=False),
    Reason.SEIZED: Cause("4.4", _LOCK, needs_case=True),
    Reason.PROHIBITED: Cause("4.5", _LOCK, needs_case=True),
    Reason.DEFAULT_PASSWORD: Cause("4.6", _LOCK, by_hand=False),
    Reason.INACTIVE: Cause("4.7", _LOCK, by_hand=False),
    Reason.LEFT: Cause("4.8, 3.10", _LOCK | _REVOKE),
    Reason.LOCKED_TOO_LONG: Cause("4.9", _REVOKE, by_hand=False),
    Reason.DISSOLVED: Cause("3.10", _REVOKE),
    Reason.EMERGENCY: Cause("3.13", _REVOKE, by_hand=False),  # seized by two persons
    Reason.DESTROYED: Cause("3.13", _REVOKE, by_hand=False),  # … and deleted at once
}


def checked_reason(word: str, to: State, case: str) -> Reason:
    """A reason that a person gives for such a step. Raises `Refused`: no-such-reason, case-missing."""
    known = [reason for reason, cause in REASONS.items() if cause.by_hand and to in cause.to]
    if word not in known:
        raise Refused("no-such-reason", reason=word[:40], known=", ".join(known))
    reason = Reason(word)
    if REASONS[reason].needs_case and not case.strip():
        raise Refused("case-missing", reason=reason)
    return reason


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of a profile that concern the life of an account; None: not asked."""

    wrong_passwords: int | None = None  # locked beyond so many in a row …
    wrong_ends_after: "Period | None" = None  # … for so long; None: until somebody restores it
    burst_letters: int | None = None  # locked beyond so many to outside …
    burst_minutes: int = 10  # … within so many minutes
    burst_counts_recipients: bool = False
    default_password: "Period | None" = None
    inactive: "Period | None" = None
    too_long: "Period | None" = None  # locked so long …
    too_long_deletes: bool = False  # … is not only revoked but deleted
    grace: "Period | None" = None  # revoked, kept for so long; None: for ever
    quarantine: "Period | None" = None
    list_every: "Period | None" = None
    tell_each: bool = False
    confirmations: int = 2
    max_age_user: "Period | None" = None
    max_age_admin: "Period | None" = None


def rules_of(profile: "Profile") -> Rules:
    """The numbers of a profile."""
    lock, revoke, password = profile.lock, profile.revoke, profile.password
    within = lock.burst_within.or_none
    return Rules(
        wrong_passwords=lock.wrong_passwords.or_none,
        # Where only the national standard speaks, its lock is one for a time (row 5.9); a province's own article
        # (row 4.2) ends by its procedure of restoring (row 4.11).
        wrong_ends_after=lock.wrong_passwords_for.or_none if lock.wrong_passwords.own is None else None,
        burst_letters=lock.burst_messages.or_none,
        burst_minutes=max(1, within.seconds // 60) if within else 10,
        burst_counts_recipients=lock.burst_counts.or_none == "recipients",
        default_password=lock.default_password.or_none,
        inactive=lock.inactive.or_none,
        too_long=lock.too_long.or_none,
        too_long_deletes=lock.too_long_then.or_none == "delete",
        grace=revoke.grace.or_none,
        quarantine=revoke.quarantine.or_none,
        list_every=lock.list_every.or_none,
        tell_each=bool(lock.tell_each.or_none),
        confirmations=revoke.emergency_persons.or_none or 2,
        max_age_user=password.max_age_user.or_none,
        max_age_admin=password.max_age_admin.or_none,
    )


MUST_CHANGE = 1  # the values of credential.must_change: given out by somebody …
TOO_OLD = 2  # … or used for longer than the profile allows …
CLOSED = 3  # … or of no use until another is given: the box of a unit that is no more is read by its successor only


@dataclass(frozen=True, slots=True)
class Facts:
    """What the clock looks at. `since`: when the state was reached, or the account was made; `password_set` 0: it has
    none; `person`: a person's own account; `admin`: holds a role; `restore_asked`: a request to restore it is open."""

    account_id: int
    state: State
    reason: str
    since: int
    person: bool = True
    hold: bool = False
    seen_day: int = 0
    away: str = ""
    must_change: int = 0
    password_set: int = 0
    admin: bool = False
    restore_asked: bool = False


class What(StrEnum):
    """What the clock does to an account."""

    LOCK = "lock"
    RELEASE = "release"  # a lock for a time is over
    REVOKE = "revoke"
    PURGE = "purge"
    EXPIRE = "expire"  # the password is too old: it opens no door until it is changed
    WARN = "warn"  # … and will be soon


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to do. `days`: of a warning, until it happens."""

    what: What
    account_id: int
    reason: Reason | None = None
    days: int = 0


WARNING_DAYS = (14, 7, 3, 1)  # before a password is too old (row 5.4: "with advance notice"; no text says how long)


def decide(facts: Facts, rules: Rules, now: float) -> Effect | None:
    """What the clock does to this account now; one step at a time."""
    today = day_of(now)
    match facts.state:
        case State.ACTIVE:
            return _of_active(facts, rules, today)
        case State.LOCKED if facts.reason == Reason.WRONG_PASSWORDS and rules.wrong_ends_after:  # row 5.9
            if facts.since + rules.wrong_ends_after.seconds <= now:
                return Effect(What.RELEASE, facts.account_id)
        case State.LOCKED if rules.too_long and not facts.restore_asked:  # row 4.9
            if rules.too_long.after(day_of(facts.since)) <= today:
                return Effect(What.REVOKE, facts.account_id, Reason.LOCKED_TOO_LONG)
        case State.REVOKED if not facts.hold:
            if _grace_over(facts, rules, today):
                return Effect(What.PURGE, facts.account_id)
    return None


def _grace_over(facts: Facts, rules: Rules, today: date) -> bool:
    """Row 3.10; at once where the text says "deleted" (row 4.9) or two persons ordered it (row 3.13)."""
    if facts.reason == Reason.DESTROYED or (facts.reason == Reason.LOCKED_TOO_LONG and rules.too_long_deletes):
        return True
    return rules.grace is not None and rules.grace.after(day_of(facts.since)) <= today


def _of_active(facts: Facts, rules: Rules, today: date) -> Effect | None:
    number = facts.account_id
    if not facts.password_set:
        return None  # nobody signs in to it: it is opened by delegation only
    changed = day_of(facts.password_set)
    first = rules.default_password if facts.must_change == MUST_CHANGE else None
    if first and first.after(max(changed, day_of(facts.since))) <= today:  # row 4.6
        return Effect(What.LOCK, number, Reason.DEFAULT_PASSWORD)
    # Row 4.7 speaks of people: a unit's box that delegates open is used without a sign-in of its own.
    if facts.person and rules.inactive and not (facts.away and facts.away >= today.isoformat()):
        last = max(numbered(facts.seen_day), day_of(facts.since))
        if facts.away:
            last = max(last, date.fromisoformat(facts.away))
        if rules.inactive.after(last) <= today:
            return Effect(What.LOCK, number, Reason.INACTIVE)
    age = rules.max_age_admin if facts.admin else rules.max_age_user
    if age and not facts.must_change:  # row 5.4
        left = (age.after(changed) - today).days
        if left <= 0:
            return Effect(What.EXPIRE, number)
        if left in WARNING_DAYS:
            return Effect(What.WARN, number, days=left)
    return None


def is_burst(rules: Rules, letters: int, recipients: int) -> bool:
    """Row 4.3: is this more than may be sent outside within the window?"""
    counted = recipients if rules.burst_counts_recipients else letters
    return rules.burst_letters is not None and counted > rules.burst_letters
