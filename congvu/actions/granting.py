"""What granted items of a request do to accounts: the effects of one portion, inside the decision's transaction.

Promises that a portion is done as a whole or not at all, that whoever gets a secret must change it before it opens a
door (row 3.9), and that a list of new accounts costs a few statements, not some for each. Must never decide: the
verdicts come from `directory/deciding.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from congvu.actions import accounts, lifecycle
from congvu.actions.accounts import NewAccount
from congvu.base.clock import Identifiers
from congvu.base.observe import Secret
from congvu.db.engine import Tx
from congvu.directory import addresses, entries, people, units
from congvu.directory.credentials import Stored
from congvu.directory.deciding import Verdict
from congvu.directory.entries import NOTHING_SAID
from congvu.directory.lifecycle import MUST_CHANGE, Reason, State
from congvu.directory.people import Duty, Post
from congvu.directory.profile import Profile
from congvu.directory.requests import Change, Ground, HandOver, Issue, Item, Kind, Lock, Outcome, Revoke, Transfer

# Why an account is locked or revoked, in the words of the account's own row (rows 3.10, 4.4, 4.5, 4.8); else by hand.
_REASONS: Mapping[str, Reason] = {
    Ground.RETIRED: Reason.LEFT,
    Ground.LEFT: Reason.LEFT,
    Ground.MOVED: Reason.LEFT,
    Ground.DISSOLVED: Reason.DISSOLVED,
    Ground.MERGED: Reason.DISSOLVED,
    Ground.COMPROMISED: Reason.SEIZED,
    Ground.PROHIBITED: Reason.PROHIBITED,
}
SECRETS = frozenset({Kind.ISSUE, Kind.RESTORE, Kind.RESET, Kind.HAND_OVER})  # kinds that give out a new password


@dataclass(frozen=True, slots=True)
class Drawn:
    """A secret drawn for a line, and what is kept of it."""

    password: Secret
    stored: Stored


@dataclass(frozen=True, slots=True)
class World:
    """What the effects need besides the transaction: rules, identifiers, the day and the moment."""

    who: str
    profile: Profile
    ids: Identifiers
    today: date
    now: float


def carry_out(tx: Tx, world: World, kind: Kind, verdicts: Sequence[Verdict], drawn: Mapping[int, Drawn]) -> list[Item]:
    """Does what was granted; returns the items as they are kept from now on."""
    if kind is Kind.ISSUE:
        return _issue(tx, world, verdicts, drawn)
    done = []
    for verdict in verdicts:
        account_id = verdict.item.account_id
        if account_id is None:
            raise TypeError("an item about nobody")
        item = verdict.item
        match item.facts:
            case Change() as facts:
                _change(tx, world, account_id, facts, verdict.address)
            case Transfer() as facts:
                _transfer(tx, world, account_id, facts, verdict.address)
            case HandOver() as facts:
                item = replace(item, facts=_hand_over(tx, world, account_id, facts))
            case Lock(ground=ground):
                lifecycle.take_step(tx, account_id, State.LOCKED, world.now, _REASONS.get(ground, Reason.MANUAL))
            case Revoke(ground=ground):
                lifecycle.take_step(tx, account_id, State.REVOKED, world.now, _REASONS.get(ground, Reason.MANUAL))
            case _ if kind is Kind.RESTORE:
                lifecycle.take_step(tx, account_id, State.ACTIVE, world.now)
            case _:
                pass
        if kind in (Kind.RESTORE, Kind.RESET, Kind.HAND_OVER):
            lifecycle.give_secret(tx, account_id, drawn[verdict.item.line].stored, world.now)
        done.append(replace(item, outcome=Outcome.GRANTED, remark=_remark(verdict)))
    touched = [item.account_id for item in done if item.account_id is not None]
    if kind in (Kind.CHANGE, Kind.TRANSFER):
        entries.renew(tx, touched)
    return done


def _remark(verdict: Verdict) -> str:
    return f"{verdict.clause}: {verdict.why}" if verdict.clause else verdict.item.remark


def _issue(tx: Tx, world: World, verdicts: Sequence[Verdict], drawn: Mapping[int, Drawn]) -> list[Item]:
    new = []
    for verdict in verdicts:
        facts = verdict.item.facts
        if not isinstance(facts, Issue):
            raise TypeError("not a new account")
        contact = replace(NOTHING_SAID, title=facts.title, mobile=facts.mobile)
        new.append(
            NewAccount(
                verdict.address,
                facts.name,
                replace(drawn[verdict.item.line].stored, must_change=MUST_CHANGE),
                people.Kind(facts.holder),
                facts.unit_id,
                facts.birth,
                facts.category,
                facts.number,
                contact,
            )
        )
    numbers = accounts.add_accounts(tx, world.who, new, world.profile, world.ids, world.now)
    return [
        replace(v.item, account_id=number, choice=v.address, outcome=Outcome.GRANTED, remark=_remark(v))
        for v, number in zip(verdicts, numbers, strict=True)
    ]


def _change(tx: Tx, world: World, account_id: int, facts: Change, address: str) -> None:
    if facts.name:
        person = people.persons(tx, [account_id]).get(account_id)
        if person is None:
            people.rename(tx, account_id, facts.name)
        else:
            family, middle, given = people.split_name(facts.name)
            people.change_person(tx, replace(person, family=family, middle=middle, given=given))
    if facts.title or facts.mobile:
        said = entries.contact(tx, account_id) or replace(NOTHING_SAID, account_id=account_id)
        new = replace(said, title=facts.title or said.title, mobile=facts.mobile or said.mobile)
        entries.put_many(tx, [new])
    if facts.title:
        posts = [replace(each, title=facts.title) if each.main else each for each in people.posts(tx, account_id)]
        if posts:
            people.set_posts(tx, account_id, posts)
    if address:
        _rename(tx, world, account_id, address)


def _rename(tx: Tx, world: World, account_id: int, address: str) -> None:
    """The address before stays for the profile's time (row 13.5)."""
    period = world.profile.address.alias.or_none
    addresses.rename(tx, account_id, address, "" if period is None else period.after(world.today).isoformat())


def _transfer(tx: Tx, world: World, account_id: int, facts: Transfer, address: str) -> None:
    """The mailbox stays; the post in the unit before ends (row 3.7)."""
    day = world.today.isoformat()
    units.must_get(tx, facts.unit_id)
    said = entries.contact(tx, account_id) or replace(NOTHING_SAID, account_id=account_id)
    posts = people.posts(tx, account_id)
    title = facts.title or next((each.title for each in posts if each.main), said.title)
    others = [each for each in posts if not each.main and (each.unit_id, each.title) != (facts.unit_id, title)]
    people.set_posts(tx, account_id, [Post(account_id, facts.unit_id, title, main=True, since=day), *others])
    entries.put_many(tx, [replace(said, title=title)])
    if address:
        _rename(tx, world, account_id, address)


def _hand_over(tx: Tx, world: World, account_id: int, facts: HandOver) -> HandOver:
    """Another clerk; whoever had the mailbox open is out (row 3.14). Returns the facts with who had it before."""
    before = people.duty(tx, account_id)
    head = facts.head_id or (before.head_id if before else None)
    people.set_duty(tx, Duty(account_id, head, facts.clerk_id, int(world.now)))
    if before is not None and before.clerk_id is not None and before.clerk_id != facts.clerk_id:
        lifecycle.pass_on(tx, account_id, before.clerk_id, facts.clerk_id)
    return replace(facts, head_id=head or 0, from_id=(before.clerk_id if before else None) or 0)
