"""The table of states, and what the clock decides."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from congvu.base.clock import day_of
from congvu.base.failure import Refused
from congvu.base.texts import catalogue
from congvu.directory import profile
from congvu.directory.lifecycle import (
    MUST_CHANGE,
    REASONS,
    TABLE,
    TOO_OLD,
    Act,
    Effect,
    Facts,
    Reason,
    Rules,
    State,
    What,
    checked_reason,
    day_number,
    decide,
    is_burst,
    may,
    rules_of,
    step,
)
from congvu.directory.rules import Period


def at(text: str) -> float:
    """Noon of a day in Vietnam, or an hour there."""
    moment = datetime.fromisoformat(text if "T" in text else f"{text}T12:00")
    return moment.replace(tzinfo=UTC).timestamp() - 7 * 3600


def seen(text: str) -> int:
    return day_number(day_of(at(text)))


def test_what_each_state_may() -> None:
    assert [(s.value, sorted(a.value for a in TABLE[s][0])) for s in State] == [
        ("requested", []),
        ("active", ["receive", "send", "sign in"]),
        ("locked", ["receive"]),
        ("revoked", []),
        ("purged", []),
    ]
    assert may(State.LOCKED, Act.RECEIVE) and not may(State.LOCKED, Act.SEND)


def test_every_way_leads_to_the_end_and_none_back() -> None:
    steps = {(a, b) for a in State for b in State if b in TABLE[a][1]}
    assert steps == {
        (State.REQUESTED, State.ACTIVE),
        (State.ACTIVE, State.LOCKED),
        (State.ACTIVE, State.REVOKED),
        (State.LOCKED, State.ACTIVE),
        (State.LOCKED, State.REVOKED),
        (State.REVOKED, State.PURGED),
    }
    with pytest.raises(Refused, match="no-such-step"):
        step(State.REVOKED, State.ACTIVE)


def test_reasons() -> None:
    assert set(REASONS) == set(Reason)
    assert {f"reason-{reason.value}" for reason in Reason} <= set(catalogue())
    assert checked_reason("left", State.LOCKED, "") is Reason.LEFT
    assert checked_reason("prohibited", State.LOCKED, "vụ 12") is Reason.PROHIBITED
    for word, to, case, code in (
        ("burst", State.LOCKED, "", "no-such-reason"),  # the clock's own
        ("dissolved", State.LOCKED, "", "no-such-reason"),
        ("nonsense", State.LOCKED, "", "no-such-reason"),
        ("seized", State.LOCKED, " ", "case-missing"),
    ):
        with pytest.raises(Refused, match=code):
            checked_reason(word, to, case)


DONGTHAP = Rules(
    default_password=Period(days=5), inactive=Period(days=45), too_long=Period(days=30), grace=Period(months=3)
)
NGHEAN = Rules(
    inactive=Period(months=6),
    too_long=Period(months=6),
    too_long_deletes=True,
    grace=Period(months=3),
    max_age_user=Period(months=3),
    max_age_admin=Period(months=2),
)
NATIONAL = Rules(wrong_passwords=5, wrong_ends_after=Period(minutes=720), inactive=Period(days=45))
BASE = Facts(1, State.ACTIVE, "", int(at("2026-01-01")), password_set=int(at("2026-01-01")))
LOCKED = replace(BASE, state=State.LOCKED, reason="manual", since=int(at("2026-03-01")))
REVOKED = replace(BASE, state=State.REVOKED, reason="left", since=int(at("2026-03-01")))

CASES = [
    # not used: from the day it was made, or last seen, or came back
    ("new", BASE, DONGTHAP, "2026-02-14", None),
    ("never seen", BASE, DONGTHAP, "2026-02-15", (What.LOCK, Reason.INACTIVE)),
    ("seen", replace(BASE, seen_day=seen("2026-02-01")), DONGTHAP, "2026-03-17", None),
    ("seen long ago", replace(BASE, seen_day=seen("2026-02-01")), DONGTHAP, "2026-03-18", (What.LOCK, Reason.INACTIVE)),
    ("restored", replace(BASE, since=int(at("2026-03-01"))), DONGTHAP, "2026-03-18", None),
    ("on leave", replace(BASE, away="2026-06-30"), DONGTHAP, "2026-06-30", None),
    ("back from leave", replace(BASE, away="2026-06-30"), DONGTHAP, "2026-08-13", None),
    ("stayed away", replace(BASE, away="2026-06-30"), DONGTHAP, "2026-08-14", (What.LOCK, Reason.INACTIVE)),
    ("a box by delegation", replace(BASE, password_set=0), DONGTHAP, "2027-01-01", None),
    ("a unit's box", replace(BASE, person=False), DONGTHAP, "2027-01-01", None),
    ("half a year", BASE, replace(NGHEAN, max_age_user=None), "2026-06-30", None),
    ("half a year over", BASE, replace(NGHEAN, max_age_user=None), "2026-07-01", (What.LOCK, Reason.INACTIVE)),
    ("no text", BASE, Rules(), "2036-01-01", None),
    # the first password
    ("given", replace(BASE, must_change=MUST_CHANGE), DONGTHAP, "2026-01-05", None),
    ("kept", replace(BASE, must_change=MUST_CHANGE), DONGTHAP, "2026-01-06", (What.LOCK, Reason.DEFAULT_PASSWORD)),
    ("too old", replace(BASE, must_change=TOO_OLD), DONGTHAP, "2026-01-06", None),
    (
        "a unit's too",
        replace(BASE, must_change=MUST_CHANGE, person=False),
        DONGTHAP,
        "2026-01-06",
        (What.LOCK, Reason.DEFAULT_PASSWORD),
    ),
    # the age of a password
    ("two weeks before", BASE, NGHEAN, "2026-03-18", (What.WARN, None)),
    ("between", BASE, NGHEAN, "2026-03-19", None),
    ("the day before", BASE, NGHEAN, "2026-03-31", (What.WARN, None)),
    ("over", BASE, NGHEAN, "2026-04-01", (What.EXPIRE, None)),
    ("an administrator's", replace(BASE, admin=True), NGHEAN, "2026-03-01", (What.EXPIRE, None)),
    ("told already", replace(BASE, must_change=TOO_OLD), NGHEAN, "2026-04-02", None),
    # locked too long
    ("locked", LOCKED, DONGTHAP, "2026-03-30", None),
    ("locked too long", LOCKED, DONGTHAP, "2026-03-31", (What.REVOKE, Reason.LOCKED_TOO_LONG)),
    ("asked to restore", replace(LOCKED, restore_asked=True), DONGTHAP, "2026-12-31", None),
    ("no text of it", LOCKED, NATIONAL, "2036-01-01", None),
    # wrong passwords
    ("for a time", replace(LOCKED, reason="wrong-passwords"), NATIONAL, "2026-03-01T23:59", None),
    ("over", replace(LOCKED, reason="wrong-passwords"), NATIONAL, "2026-03-02T00:00", (What.RELEASE, None)),
    ("until restored", replace(LOCKED, reason="wrong-passwords"), DONGTHAP, "2026-03-02", None),
    # grace
    ("in grace", REVOKED, DONGTHAP, "2026-05-31", None),
    ("grace over", REVOKED, DONGTHAP, "2026-06-01", (What.PURGE, None)),
    ("on hold", replace(REVOKED, hold=True), DONGTHAP, "2030-01-01", None),
    ("no grace said", REVOKED, NATIONAL, "2036-01-01", None),
    ("deleted at once", replace(REVOKED, reason="locked-too-long"), NGHEAN, "2026-03-01", (What.PURGE, None)),
    ("kept elsewhere", replace(REVOKED, reason="locked-too-long"), DONGTHAP, "2026-03-02", None),
    ("destroyed", replace(REVOKED, reason="destroyed"), DONGTHAP, "2026-03-01", (What.PURGE, None)),
    ("destroyed, held", replace(REVOKED, reason="destroyed", hold=True), DONGTHAP, "2026-03-01", None),
    ("requested", replace(BASE, state=State.REQUESTED), DONGTHAP, "2036-01-01", None),
    ("purged", replace(BASE, state=State.PURGED), DONGTHAP, "2036-01-01", None),
]


@pytest.mark.parametrize(("name", "facts", "rules", "now", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_decide(name: str, facts: Facts, rules: Rules, now: str, wanted: tuple[What, Reason | None] | None) -> None:
    effect = decide(facts, rules, at(now))
    assert (effect and (effect.what, effect.reason)) == wanted


def test_days_left_are_told() -> None:
    assert decide(BASE, NGHEAN, at("2026-03-18")) == Effect(What.WARN, 1, days=14)


def test_the_day_is_vietnams() -> None:
    assert day_of(at("2026-03-01T00:30")).isoformat() == "2026-03-01"
    assert day_of(at("2026-02-28T23:30")).isoformat() == "2026-02-28"


def test_bursts() -> None:
    letters = Rules(burst_letters=250)
    assert not is_burst(letters, 250, 9999) and is_burst(letters, 251, 251)
    assert is_burst(replace(letters, burst_counts_recipients=True), 1, 251)
    assert not is_burst(Rules(), 10**6, 10**6)


def test_numbers_of_the_profiles() -> None:
    of = {name: rules_of(profile.load(name)) for name in profile.names()}
    assert of["dongthap_2025"].default_password == Period(days=5)
    assert of["dongthap_2025"].too_long == Period(days=30) and not of["dongthap_2025"].too_long_deletes
    assert of["nghean_2025"].too_long == Period(months=6) and of["nghean_2025"].too_long_deletes
    assert of["ninhbinh_2025"].burst_letters == 250 and of["ninhbinh_2025"].burst_minutes == 10
    assert of["bacninh_2025"].tell_each and not of["dongthap_2025"].tell_each
    # Ninh Bình's own article locks until the agency asks (rows 4.2, 4.11); the national standard alone, for a time.
    assert of["ninhbinh_2025"].wrong_ends_after is None
    assert of["angiang_2025"].wrong_ends_after == Period(minutes=720)
    assert all(rules.inactive == Period(days=45) for rules in of.values())  # row 4.7: the floor is the strictest
    assert rules_of(profile.Profile("test", {})) == Rules()
