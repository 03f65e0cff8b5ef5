"""Acts on the life of an account: lock, restore, revoke, hold, new secret, hand-over, leave, seizure, deletion.

`who` is the first argument after the transaction. Each act asks the right, takes its step by the table of
`directory/lifecycle.py`, ends the sessions it must end and writes one audit row, all in the caller's transaction (rows
3.1, 3.8 to 3.14, 4.1, 4.4, 4.5, 4.8, 4.11, 4.12). Must never hand out or keep a password: hashes come in.
"""

from dataclasses import replace

from congvu.base.clock import day_of
from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.directory import addresses, credentials, lifecycle, people, roles, units
from congvu.directory.credentials import Stored
from congvu.directory.lifecycle import MUST_CHANGE, Reason, State
from congvu.directory.minutes import Minutes, Party
from congvu.directory.people import Account, Duty, Kind
from congvu.directory.regulation import Regulation
from congvu.directory.roles import Actor, Right
from congvu.mailstore import changes, erase, mailbox, rights

FOR_EVER = 2**53  # an address that rests where no text says when it may be given again


def take_step(tx: Tx, account_id: int, to: State, now: float, reason: str = "") -> State:
    """One step by the table; returns the state before. Whoever has a mailbox of this account open, or is open to it, is
    told to look. The caller has asked the right, or is the clock. Raises as `people.set_state`."""
    was = people.set_state(tx, account_id, to, now, reason)
    rights.hint(tx, account_id)
    return was


def _need(tx: Tx, who: Actor, right: Right, account_id: int) -> Account:
    roles.need_account(tx, who, right, account_id)
    account = people.get(tx, account_id)
    if account is None:
        raise Refused("no-such-account", address="")
    return account


def _need_grounds(tx: Tx, who: Actor, account_id: int, request: int, why: str) -> None:
    """Row 3.1: these steps need a request about this account. Who runs commands on the machine may name the agency's
    letter instead, as requests on paper exist."""
    if request:
        if tx.one("SELECT 1 FROM request_item WHERE request_id = ? AND account_id = ?", request, account_id) is None:
            raise Refused("no-such-request", request=request)
    elif who.account_id is not None or not why.strip():
        raise Refused("request-missing")


def lock(tx: Tx, who: Actor, account_id: int, reason: str, why: str, now: float, request: int = 0) -> None:
    """Stops access by every door; the mailbox still receives (row 4.1). `why`: the case or letter.

    Raises `Refused`: not-allowed, no-such-reason, case-missing, no-such-step.
    """
    account = _need(tx, who, Right.LOCK, account_id)
    checked = lifecycle.checked_reason(reason, State.LOCKED, why)
    was = take_step(tx, account_id, State.LOCKED, now, checked)
    facts = {"address": account.address, "was": was.value, "reason": checked.value}
    roles.note(tx, who, "account.lock", now, on=account_id, why=why, request=request, facts=facts)


def restore(
    tx: Tx, who: Actor, account_id: int, credential: Stored, now: float, request: int = 0, why: str = ""
) -> None:
    """Access again, with another secret that its holder must change (row 4.11). Raises `Refused`: not-allowed,
    request-missing, no-such-request, no-such-step."""
    account = _need(tx, who, Right.DECIDE, account_id)
    _need_grounds(tx, who, account_id, request, why)
    was = take_step(tx, account_id, State.ACTIVE, now)
    _new_secret(tx, account_id, credential, now)
    facts = {"address": account.address, "was": was.value}
    roles.note(tx, who, "account.restore", now, on=account_id, why=why, request=request, facts=facts)


def revoke(tx: Tx, who: Actor, account_id: int, reason: str, why: str, now: float, request: int = 0) -> None:
    """Neither sends nor receives from now on; the data stays for the time of grace (row 3.10). Raises as `lock` and
    `restore`."""
    account = _need(tx, who, Right.DECIDE, account_id)
    checked = lifecycle.checked_reason(reason, State.REVOKED, why)
    _need_grounds(tx, who, account_id, request, why)
    was = take_step(tx, account_id, State.REVOKED, now, checked)
    facts = {"address": account.address, "was": was.value, "reason": checked.value}
    roles.note(tx, who, "account.revoke", now, on=account_id, why=why, request=request, facts=facts)


def hold(tx: Tx, who: Actor, account_id: int, on: bool, why: str, now: float) -> None:
    """For an inquiry: nothing of it is deleted while this is on (row 3.10). Raises `Refused`: not-allowed,
    case-missing."""
    account = _need(tx, who, Right.MANAGE, account_id)
    if not why.strip():
        raise Refused("case-missing", reason="hold")
    tx.run("UPDATE account SET hold = ? WHERE id = ?", int(on), account_id)
    act = "account.hold" if on else "account.release"
    roles.note(tx, who, act, now, on=account_id, why=why, facts={"address": account.address})


def reset_password(
    tx: Tx, who: Actor, account_id: int, credential: Stored, now: float, request: int = 0, why: str = ""
) -> None:
    """Another secret that its holder must change; open sessions end (row 3.8: also by the unit's administrator)."""
    account = _need(tx, who, Right.RESET, account_id)
    _new_secret(tx, account_id, credential, now)
    people.end_sessions(tx, account_id, now)
    facts = {"address": account.address}
    roles.note(tx, who, "account.reset", now, on=account_id, why=why, request=request, facts=facts)


def set_password(tx: Tx, who: Actor, account_id: int, credential: Stored, now: float) -> None:
    """A secret that stands as it is, without a change at the first sign-in: for who gives it to a program or to
    nobody. Only by who manages accounts."""
    account = _need(tx, who, Right.MANAGE, account_id)
    credentials.put(tx, account_id, replace(credential, must_change=0), now)
    people.end_sessions(tx, account_id, now)
    roles.note(tx, who, "account.password", now, on=account_id, facts={"address": account.address})


def _new_secret(tx: Tx, account_id: int, credential: Stored, now: float) -> None:
    # Earlier hashes are kept: the first password of one's own must not be the one before the reset.
    kept = tx.one("SELECT count(*) FROM credential_past WHERE account_id = ?", account_id)
    credentials.put(tx, account_id, replace(credential, must_change=MUST_CHANGE), now, (kept[0] if kept else 0) + 1)


def give_secret(tx: Tx, account_id: int, credential: Stored, now: float) -> None:
    """A secret that its holder must change; open sessions end. The caller has asked the right and writes the audit."""
    _new_secret(tx, account_id, credential, now)
    people.end_sessions(tx, account_id, now)


def set_leave(tx: Tx, who: Actor, account_id: int, until: str, why: str, now: float) -> None:
    """Away until that day ("" no more): not being used does not count until then (row 4.7: "without stated reason").
    Raises `Refused`: not-allowed, bad-day."""
    account = _need(tx, who, Right.LOCK, account_id)
    day = units.day(until)
    tx.run("UPDATE account SET away = ? WHERE id = ?", day, account_id)
    facts = {"address": account.address, "until": day}
    roles.note(tx, who, "account.leave", now, on=account_id, why=why, facts=facts)


def hand_over(
    tx: Tx,
    who: Actor,
    account_id: int,
    clerk_id: int,
    credential: Stored,
    now: float,
    request: int = 0,
    why: str = "",
) -> Minutes:
    """A unit's mailbox and all its contents go to another clerk (row 3.14): the old one's sessions end and rights go to
    the new one, the secret is another, and what happened is put into minutes.

    Raises `Refused`: not-allowed, not-a-box, no-such-clerk, request-missing, no-such-request.
    """
    account = _need(tx, who, Right.MANAGE, account_id)
    _need_grounds(tx, who, account_id, request, why)
    if account.kind is Kind.PERSON or not lifecycle.may(account.state, lifecycle.Act.SIGN_IN):
        raise Refused("not-a-box")
    clerk = people.get(tx, clerk_id)
    if clerk is None or clerk.kind is not Kind.PERSON or clerk.state is not State.ACTIVE:
        raise Refused("no-such-clerk")
    duty = people.duty(tx, account_id)
    old_id = duty.clerk_id if duty else None
    people.set_duty(tx, Duty(account_id, duty.head_id if duty else None, clerk_id, int(now)))
    _new_secret(tx, account_id, credential, now)
    people.end_sessions(tx, account_id, now)
    if old_id is not None and old_id != clerk_id:
        pass_on(tx, account_id, old_id, clerk_id)
    room = mailbox.quota(tx, account_id)
    unit = units.get(tx, account.unit_id) if account.unit_id is not None else None
    minutes = Minutes(
        address=account.address,
        name=account.name,
        unit=unit.name if unit else "",
        day=day_of(now),
        gives=_party(tx, old_id),
        takes=_party(tx, clerk_id),
        letters=room.messages,
        octets=room.used,
        by=who.name,
        request=request,
        why=why,
    )
    facts = {"address": account.address, "gives": old_id or 0, "takes": clerk_id, "letters": room.messages}
    roles.note(tx, who, "account.handover", now, on=account_id, why=why, request=request, facts=facts)
    return minutes


def pass_on(tx: Tx, account_id: int, old_id: int, new_id: int) -> None:
    """What was opened to the old clerk is opened to the new one instead."""
    changes.hold(tx, [account_id])
    for box in mailbox.all_mailboxes(tx, account_id):
        had = rights.entries(tx, account_id, box.id)
        if old_id in had:
            if new_id not in had:
                rights.put(tx, account_id, box.id, new_id, had[old_id])
            rights.put(tx, account_id, box.id, old_id, "")


def _party(tx: Tx, account_id: int | None) -> Party:
    account = people.get(tx, account_id) if account_id is not None else None
    if account is None:
        return Party()
    post = next(iter(people.posts(tx, account.id)), None)
    return Party(account.name, post.title if post else "", account.address)


def seize(
    tx: Tx,
    who: Actor,
    second: Actor | None,
    rules: Regulation,
    account_id: int,
    why: str,
    now: float,
    *,
    destroy: bool = False,
) -> None:
    """In an emergency of the province's security (row 3.13): the account is revoked at once and held as it is, or, with
    `destroy`, deleted at once. Two persons with the right to it confirm.

    Raises `Refused`: not-allowed, case-missing, second-person-missing, account-on-hold, no-such-step.
    """
    account = _need(tx, who, Right.MANAGE, account_id)
    if not why.strip():
        raise Refused("case-missing", reason=Reason.EMERGENCY)
    count = rules.rules(rules.of_account(tx, account_id)).confirmations
    if count > 1:
        # The machine's own commands are nobody's confirmation: who is second has an account and signed in.
        if second is None or second.account_id is None or second.account_id == who.account_id:
            raise Refused("second-person-missing", count=count)
        roles.need_account(tx, second, Right.MANAGE, account_id)
    held = tx.one("SELECT hold FROM account WHERE id = ?", account_id)
    if destroy and held is not None and held[0]:
        raise Refused("account-on-hold")
    reason = Reason.DESTROYED if destroy else Reason.EMERGENCY
    was = take_step(tx, account_id, State.REVOKED, now, reason)
    if not destroy:
        tx.run("UPDATE account SET hold = 1 WHERE id = ?", account_id)
    facts = {
        "address": account.address,
        "was": was.value,
        "second": second.name if second else "",
        "destroy": destroy,
    }
    roles.note(tx, who, "account.seize", now, on=account_id, why=why, facts=facts)


def purge(tx: Tx, who: Actor, rules: Regulation, account_id: int, now: float) -> None:
    """The end (row 3.10): a revoked account whose messages are gone loses the rest, and its addresses rest. The clock
    calls it after the last portion; see `daily`. Raises `Refused`: not-allowed, account-on-hold, no-such-step."""
    account = _need(tx, who, Right.MANAGE, account_id)
    row = tx.one("SELECT hold FROM account WHERE id = ?", account_id)
    if row is None or row[0]:
        raise Refused("account-on-hold")
    if erase.messages(tx, account_id, 1):
        raise RuntimeError(f"account {account_id}: messages are left")  # the caller has removed them
    quarantine = rules.rules(rules.of_account(tx, account_id)).quarantine
    held = addresses.of_account(tx, account_id)
    take_step(tx, account_id, State.PURGED, now)
    erase.store(tx, account_id)
    people.forget(tx, account_id)
    addresses.lay_to_rest(tx, held, now + quarantine.seconds if quarantine else FOR_EVER)
    roles.note(tx, who, "account.purge", now, on=account_id, facts={"address": account.address, "rests": list(held)})


def told(tx: Tx, account_id: int) -> list[tuple[str, object]]:
    """Everything about the life of one account, for who may see it: names and values in order. The caller has asked
    the right (`roles.need_account(…, Right.READ, …)`) or runs on the machine."""
    row = tx.one(
        "SELECT account.kind, account.state, account.reason, account.since, account.created, account.hold,"
        " account.away, account.seen_day, account.name, account.unit_id, coalesce(credential.changed, 0),"
        " coalesce(credential.must_change, 0), coalesce(credential.wrong, 0) FROM account"
        " LEFT JOIN credential ON credential.account_id = account.id WHERE account.id = ?",
        account_id,
    )
    if row is None:
        raise Refused("no-such-account", address="")
    kind, state, reason, since, created, held, away, seen, name, unit_id, changed, must_change, wrong = row

    def day(instant: int) -> str:
        return day_of(instant).isoformat() if instant else ""

    return [
        ("addresses", " ".join(addresses.of_account(tx, account_id))),
        ("name", name),
        ("kind", kind),
        ("state", state),
        ("since", day(since)),
        ("reason", reason),
        ("unit", unit_id or ""),
        ("created", day(created)),
        ("hold", bool(held)),
        ("away", away),
        ("seen", lifecycle.numbered(seen).isoformat() if seen else ""),
        ("password", day(changed)),
        ("must-change", bool(must_change)),
        ("wrong", wrong),
    ]
