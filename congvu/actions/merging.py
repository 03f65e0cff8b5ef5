"""Carrying out a plan of `directory/merging.py`: drawn and shown, decided, run in portions, taken back.

Promises that a plan runs as a whole or goes on where it stopped: each portion is one transaction that does its steps,
notes what was before, and marks them done; that nothing runs while a question is open; that each step can be taken back
for `TAKE_BACK_DAYS`; and that a plan that somebody else changed meanwhile is not run by who has not seen it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr, make_msgid
from enum import StrEnum
from typing import Any

from congvu.actions import accounts, lifecycle
from congvu.actions.accounts import NewAccount
from congvu.base.clock import Clock, Identifiers
from congvu.base.failure import Refused
from congvu.base.texts import say_in
from congvu.codec import mime
from congvu.db.blobs import Blob, BlobKeeper
from congvu.db.engine import Database, Tx
from congvu.directory import addresses, entries, merging, people, roles, units
from congvu.directory.lifecycle import CLOSED, Reason, State
from congvu.directory.merging import Act, Holder, Order, Step, World
from congvu.directory.people import Kind
from congvu.directory.profile import Profile
from congvu.directory.roles import Actor, Right, note
from congvu.directory.units import How, Unit
from congvu.mailstore import append, changes, mailbox, rights
from congvu.mailstore.append import Adding
from congvu.mailstore.message import Arrival, NewLetter

TAKE_BACK_DAYS = 30  # what a province asked for: long enough to see what went wrong, short enough to remember why
_PORTION = 200  # steps in one transaction: some tens of milliseconds, so that letters are delivered in between


class Stage(StrEnum):
    """How far a plan is."""

    DRAWN = "drawn"
    RUNNING = "running"
    DONE = "done"
    TAKING_BACK = "taking-back"
    TAKEN_BACK = "taken-back"


@dataclass(frozen=True, slots=True)
class Plan:
    """A kept plan. `done`: when it was carried out, 0 not yet; `steps`: how many, `left` of them not done (or, while it
    is taken back, still done), `open` questions."""

    id: int
    stage: Stage
    title: str
    created: int
    created_by: str
    done: int
    version: int
    steps: int
    left: int
    open: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A step of a kept plan."""

    line: int
    act: Act
    facts: Mapping[str, Any]
    undo: Mapping[str, Any]
    done: int


# --- drawing ----------------------------------------------------------------------------------------------------------


def gather(tx: Tx) -> World:
    """The directory as it is: three reads, whatever its size."""
    holders = [
        Holder(number, Kind(kind), name, address, unit_id, birth or "")
        for number, kind, name, address, unit_id, birth in tx.all(
            "SELECT account.id, account.kind, account.name, address.address, account.unit_id, person.birth FROM account"
            " JOIN address ON address.account_id = account.id AND address.is_primary = 1"
            " LEFT JOIN person ON person.account_id = account.id"
            " WHERE account.state IN ('active', 'locked') ORDER BY account.id"
        )
    ]
    return World({unit.id: unit for unit in units.everything(tx)}, holders, addresses.all_taken(tx))


def draw(
    db: Database, who: Actor, order: Order, profile: Profile, ids: Identifiers, now: float, domains: Sequence[str]
) -> int:
    """Draws a plan and keeps it; returns its number. Raises `Refused`: not-allowed, foreign-domain, and what
    `merging.draw` does."""
    if order.domain not in domains:
        raise Refused("foreign-domain", domain=order.domain, known=", ".join(domains))
    steps = merging.draw(order, db.read_now(gather), profile, ids.draw)
    return db.write_now(_keep, who, order, steps, ids.draw(), now)


def _keep(tx: Tx, who: Actor, order: Order, steps: Sequence[Step], number: int, now: float) -> int:
    _need(tx, who)
    facts = {"basis": order.basis, "day": order.day, "domain": order.domain, "until": order.aliases_until}
    tx.run(
        "INSERT INTO plan (id, state, title, facts, created, created_by, done, version)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, 1)",
        *(number, Stage.DRAWN.value, order.title, _json(facts), int(now), who.name),
    )
    tx.many(
        "INSERT INTO plan_step (plan_id, line, kind, facts, undo, done) VALUES (?, ?, ?, ?, '', 0)",
        [(number, line, s.act.value, _json({**s.facts, "question": s.question})) for line, s in enumerate(steps, 1)],
    )
    note(tx, who, "merge.draw", now, on=number, why=order.basis, facts={"title": order.title, "steps": len(steps)})
    return number


def _need(tx: Tx, who: Actor) -> None:
    """A merger concerns the whole tree: the right must hold at every root."""
    for unit in units.children(tx, None):
        roles.need(tx, who, Right.MERGE, unit.id)


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


# --- showing and deciding ---------------------------------------------------------------------------------------------

_PLAN = "SELECT id, state, title, created, created_by, done, version FROM plan"
_STEP = "SELECT line, kind, facts, undo, done FROM plan_step"


def plans(tx: Tx, who: Actor) -> list[Plan]:
    """All plans, newest first."""
    _need(tx, who)
    return [_plan(tx, row) for row in tx.all(f"{_PLAN} ORDER BY created DESC, id DESC")]


def plan(tx: Tx, who: Actor, number: int) -> Plan:
    """Raises `Refused`: not-allowed, no-such-plan."""
    _need(tx, who)
    row = tx.one(f"{_PLAN} WHERE id = ?", number)
    if row is None:
        raise Refused("no-such-plan")
    return _plan(tx, row)


def _plan(tx: Tx, row: Sequence[Any]) -> Plan:
    number, state, title, created, created_by, done, version = row
    steps, finished, questions = tx.one(
        "SELECT count(*), coalesce(sum(CASE WHEN done > 0 THEN 1 ELSE 0 END), 0),"
        ' coalesce(sum(CASE WHEN done = 0 AND facts NOT LIKE \'%"question":""%\' THEN 1 ELSE 0 END), 0)'
        " FROM plan_step WHERE plan_id = ?",
        number,
    ) or (0, 0, 0)
    back = state in (Stage.TAKING_BACK, Stage.TAKEN_BACK)
    left = finished if back else steps - finished
    return Plan(number, Stage(state), title, created, created_by, done, version, steps, left, questions)


def steps(tx: Tx, who: Actor, number: int, after: int = 0, limit: int = 1000) -> list[Kept]:
    """Steps in order, those after a line."""
    plan(tx, who, number)
    return [
        _kept(row)
        for row in tx.all(f"{_STEP} WHERE plan_id = ? AND line > ? ORDER BY line LIMIT ?", number, after, limit)
    ]


def _kept(row: Sequence[Any]) -> Kept:
    line, act, facts, undo, done = row
    return Kept(line, Act(act), json.loads(facts), json.loads(undo) if undo else {}, done)


def decide(tx: Tx, who: Actor, number: int, version: int, line: int, address: str, now: float) -> int:
    """Answers a question, or chooses another address than the one proposed; "" agrees with the proposal. Returns the
    plan's new version. Raises `Refused`: not-allowed, no-such-plan, plan-changed, plan-begun, no-such-step-of-plan,
    bad-address, foreign-domain, address-taken."""
    _claim(tx, who, number, version, (Stage.DRAWN,), Stage.DRAWN)
    row = tx.one(f"{_STEP} WHERE plan_id = ? AND line = ? /*hold*/", number, line)
    if row is None:
        raise Refused("no-such-step-of-plan", line=line)
    step = _kept(row)
    facts = {**step.facts, "question": ""}
    if address:
        facts["address"] = _free_address(tx, number, step, address)
    if step.act in (Act.ADDRESS, Act.BOX) and not facts["address"]:
        raise Refused("bad-address", address="")
    tx.run("UPDATE plan_step SET facts = ? WHERE plan_id = ? AND line = ?", _json(facts), number, line)
    note(tx, who, "merge.decide", now, on=number, facts={"line": line, "address": facts.get("address", "")})
    return version + 1


def _free_address(tx: Tx, number: int, step: Kept, address: str) -> str:
    if step.act not in (Act.ADDRESS, Act.BOX):
        raise Refused("no-such-step-of-plan", line=step.line)
    wanted = addresses.checked(address)
    row = tx.one("SELECT facts FROM plan WHERE id = ?", number)
    domain = json.loads(row[0])["domain"] if row else ""
    if addresses.domain_of(wanted) != domain:
        raise Refused("foreign-domain", domain=addresses.domain_of(wanted), known=domain)
    others = tx.all(f"{_STEP} WHERE plan_id = ? AND line <> ? AND facts LIKE ?", number, step.line, f'%"{wanted}"%')
    given = any(_kept(row).facts.get("address") == wanted for row in others)
    if given or (addresses.taken(tx, [wanted]) and wanted != step.facts.get("was")):
        raise Refused("address-taken", address=wanted)
    return wanted


def _claim(tx: Tx, who: Actor, number: int, version: int, stages: Sequence[Stage], to: Stage) -> Plan:
    """Holds the plan, if it is still the one that was seen and in one of these stages."""
    _need(tx, who)
    done = tx.run(
        "UPDATE plan SET version = version + 1, state = ? WHERE id = ? AND version = ?", to.value, number, version
    )
    row = tx.one(f"{_PLAN} WHERE id = ?", number)
    if row is None:
        raise Refused("no-such-plan")
    if not done:
        raise Refused("plan-changed")
    return _plan(tx, row)


# --- running and taking back ------------------------------------------------------------------------------------------


class Runner:
    """Carries plans out. One for a process."""

    def __init__(self, db: Database, blobs: BlobKeeper, clock: Clock, ids: Identifiers, profile: Profile) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._profile = profile

    async def run(
        self, who: Actor, number: int, version: int, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Plan:
        """All steps that are left. Raises `Refused`: not-allowed, no-such-plan, plan-changed, plan-stage,
        questions-open; what a step raises ends the run, which goes on from there when it is called again."""
        found = await self._db.write(_start, who, number, version, Stage.RUNNING, self._clock.now())
        return await self._portions(who, found, progress, back=False)

    async def take_back(
        self, who: Actor, number: int, version: int, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Plan:
        """Everything as it was, from the last step to the first. Raises as `run`, and `Refused("too-late")`."""
        found = await self._db.write(_start, who, number, version, Stage.TAKING_BACK, self._clock.now())
        return await self._portions(who, found, progress, back=True)

    async def _portions(self, who: Actor, found: Plan, progress: Callable[[int, int], None], back: bool) -> Plan:
        while True:
            some = await self._db.read(_next, found.id, back)
            if not some:
                break
            contents: list[bytes] = []
            letters: dict[int, tuple[int, mime.Scan]] = {}  # line → whose, what it is
            for step in some:
                if step.act is Act.LETTER:
                    letter = await self._db.read(_letter, step, back, self._clock.now())
                    if letter is not None:
                        letters[step.line] = letter[0], mime.scan(letter[1])
                        contents.append(letter[1])
            work = _Work(self._profile, self._ids, self._clock.now(), back, letters)
            if contents:
                await self._db.write_with(self._blobs, contents, work.portion_with, who, found.id, some)
            else:
                await self._db.write(work.portion, [], who, found.id, some)
            left = await self._db.read(_count, found.id, back)
            progress(found.steps - left, found.steps)
        return await self._db.write(_finish, who, found.id, back, self._clock.now())


def _start(tx: Tx, who: Actor, number: int, version: int, to: Stage, now: float) -> Plan:
    was = plan(tx, who, number)
    back = to is Stage.TAKING_BACK
    if was.stage not in ((Stage.RUNNING, Stage.DONE, to) if back else (Stage.DRAWN, to)):
        raise Refused("plan-stage", stage=was.stage.value)
    if back and was.done and now > was.done + TAKE_BACK_DAYS * 86400:
        raise Refused("too-late", days=TAKE_BACK_DAYS)
    if not back and was.open:
        raise Refused("questions-open", count=was.open)
    found = _claim(tx, who, number, version, (), to)
    note(tx, who, "merge.take-back" if back else "merge.run", now, on=number, facts={"title": found.title})
    return found


def _next(tx: Tx, number: int, back: bool) -> list[Kept]:
    order, done = ("DESC", "done > 0") if back else ("ASC", "done = 0")
    rows = tx.all(f"{_STEP} WHERE plan_id = ? AND {done} ORDER BY line {order} LIMIT ?", number, _PORTION)
    return [_kept(row) for row in rows]


def _count(tx: Tx, number: int, back: bool) -> int:
    done = "done > 0" if back else "done = 0"
    row = tx.one(f"SELECT count(*) FROM plan_step WHERE plan_id = ? AND {done}", number)  # noqa: S608  one of two
    return row[0] if row else 0


def _finish(tx: Tx, who: Actor, number: int, back: bool, now: float) -> Plan:
    stage = Stage.TAKEN_BACK if back else Stage.DONE
    tx.run("UPDATE plan SET state = ?, done = ?, version = version + 1 WHERE id = ?", stage.value, int(now), number)
    found = plan(tx, who, number)
    note(tx, who, f"merge.{stage.value}", now, on=number, facts={"steps": found.steps})
    return found


@dataclass(frozen=True, slots=True)
class _Work:
    """One portion's means. `letters`: what was composed for the steps that are letters."""

    profile: Profile
    ids: Identifiers
    now: float
    back: bool
    letters: Mapping[int, tuple[int, mime.Scan]]

    def portion_with(self, tx: Tx, placed: list[Blob], who: Actor, number: int, some: Sequence[Kept]) -> None:
        self.portion(tx, placed, who, number, some)

    def portion(self, tx: Tx, placed: list[Blob], who: Actor, number: int, some: Sequence[Kept]) -> None:
        """Does (or undoes) these steps unless another process has done so meanwhile."""
        wanted = Stage.TAKING_BACK if self.back else Stage.RUNNING
        row = tx.one("SELECT state FROM plan WHERE id = ? /*hold*/", number)
        if row is None or row[0] != wanted:
            raise Refused("plan-changed")
        left = {step.line for step in _next(tx, number, self.back)}
        blobs = iter(placed)
        touched: list[int] = []
        for step in some:
            blob = next(blobs) if step.line in self.letters else None
            if step.line not in left:
                continue
            if step.act is Act.LETTER:
                undo: Mapping[str, Any] = {"sent": self._send(tx, step, blob)}
            elif self.back:
                _UNDO[step.act](tx, self, step)
                undo = {}
            else:
                undo = _DO[step.act](tx, self, who, step)
            if step.act not in (Act.FOUND, Act.END, Act.LETTER):
                known = {**step.facts, **step.undo, **undo}
                touched += [known[key] for key in ("account", "heir") if key in known]
            tx.run(
                "UPDATE plan_step SET done = ?, undo = ? WHERE plan_id = ? AND line = ?",
                *(0 if self.back else int(self.now), "" if self.back else _json(undo), number, step.line),
            )
        entries.renew(tx, list(dict.fromkeys(touched)))
        note(
            *(tx, who, "merge.undo" if self.back else "merge.step", self.now),
            on=number,
            facts={"lines": [some[0].line, some[-1].line]},
        )

    def _send(self, tx: Tx, step: Kept, blob: Blob | None) -> bool:
        if blob is None:
            return False
        account_id, scan = self.letters[step.line]
        arrival = Arrival(NewLetter(self.ids.draw(), blob, b"", scan), 0, (), int(self.now))
        (answer,) = append.append(tx, account_id, [Adding("INBOX", (arrival,))], self.now)
        return not isinstance(answer, Refused)  # a full mailbox stops no merger


# --- what each step does, and how it is undone ------------------------------------------------------------------------


def _found(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    f = step.facts
    units.add(tx, Unit(f["id"], f["parent"], f["name"], f["category"], since=f["since"]))
    return {"id": f["id"]}


def _unfound(tx: Tx, work: _Work, step: Kept) -> None:
    unit = units.must_get(tx, step.facts["id"])
    units.change(tx, replace(unit, until=unit.since))  # a unit is never removed: this one stood for no day


def _change(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    f = step.facts
    unit = units.must_get(tx, f["id"])
    units.change(tx, replace(unit, name=f["name"], category=f["category"], parent_id=f["parent"]))
    box = people.box_of(tx, unit.id)
    named = {"account": box.id} if box is not None and box.name == unit.name != f["name"] else {}
    if named:  # a box that bore the unit's name goes on bearing it
        people.rename(tx, named["account"], f["name"])
    return {"name": unit.name, "category": unit.category, "parent": unit.parent_id, **named}


def _unchange(tx: Tx, work: _Work, step: Kept) -> None:
    unit, was = units.must_get(tx, step.facts["id"]), step.undo
    units.change(tx, replace(unit, name=was["name"], category=was["category"], parent_id=was["parent"]))
    if "account" in was:
        people.rename(tx, was["account"], was["name"])


def _box(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    """A mailbox nobody can sign in to until somebody is given its password by a request."""
    f = step.facts
    kind = Kind.ORGANISATION if len(units.path(tx, f["unit"])) <= 2 else Kind.UNIT
    new = NewAccount(f["address"], f["name"], None, kind, f["unit"])
    return {"account": accounts.add_account(tx, who.name, new, work.profile, work.ids, work.now)}


def _unbox(tx: Tx, work: _Work, step: Kept) -> None:
    """What came into it stays; its address receives nothing any more."""
    lifecycle.take_step(tx, step.undo["account"], State.REVOKED, work.now, Reason.DISSOLVED)
    addresses.lay_to_rest(tx, [step.facts["address"]], work.now + TAKE_BACK_DAYS * 86400)


def _address(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    f = step.facts
    was = addresses.rename(tx, f["account"], f["address"], f["until"])
    return {"was": was}


def _unaddress(tx: Tx, work: _Work, step: Kept) -> None:
    """The address that was told to others meanwhile receives as long as the old one would have."""
    addresses.rename(tx, step.facts["account"], step.undo["was"], step.facts["until"])


def _belong(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    f = step.facts
    undo: dict[str, Any] = {"unit": _belong_to(tx, f["account"], f["unit"])}
    if "named" in f and (box := people.get(tx, f["account"])) is not None:
        people.rename(tx, f["account"], f["named"])
        undo["named"] = box.name
    return undo


def _unbelong(tx: Tx, work: _Work, step: Kept) -> None:
    _belong_to(tx, step.facts["account"], step.undo["unit"])
    if "named" in step.undo:
        people.rename(tx, step.facts["account"], step.undo["named"])


def _belong_to(tx: Tx, account_id: int, unit_id: int) -> int | None:
    """Puts an account into a unit, its main post with it; returns where it was."""
    row = tx.one("SELECT unit_id FROM account WHERE id = ?", account_id)
    if row is None:
        raise Refused("no-such-account")
    posts = people.posts(tx, account_id)
    if posts:
        main = replace(posts[0], unit_id=unit_id)
        others = [p for p in posts[1:] if (p.unit_id, p.title) != (unit_id, main.title)]
        people.set_posts(tx, account_id, [main, *others])
    else:
        tx.run("UPDATE account SET unit_id = ? WHERE id = ?", unit_id, account_id)
    return None if row[0] is None else int(row[0])


def _close(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    """Nobody signs in to the box any more; the successor's box reads it and receives under its address (row 13.8)."""
    f = step.facts
    account_id, heir = f["account"], people.box_of(tx, f["unit"])
    row = tx.one("SELECT must_change FROM credential WHERE account_id = ?", account_id)
    tx.run("UPDATE credential SET must_change = ? WHERE account_id = ?", CLOSED, account_id)
    people.end_sessions(tx, account_id, work.now)
    undo: dict[str, Any] = {"must_change": row[0] if row else 0}
    if heir is None or heir.id == account_id:
        return undo
    local, _, domain = f["address"].partition("@")
    kept = f"luutru.{local}"[: addresses.MAX_LOCAL - 20] + f".{account_id % 10**9}@{domain}"
    addresses.rename(tx, account_id, kept, "")
    addresses.hand_over(tx, f["address"], heir.id, f["until"])
    changes.hold(tx, [account_id])
    for box in mailbox.all_mailboxes(tx, account_id):
        rights.put(tx, account_id, box.id, heir.id, "lr")
    return {**undo, "kept": kept, "heir": heir.id}


def _unclose(tx: Tx, work: _Work, step: Kept) -> None:
    account_id, was = step.facts["account"], step.undo
    tx.run("UPDATE credential SET must_change = ? WHERE account_id = ?", was["must_change"], account_id)
    if "kept" not in was:
        return
    addresses.hand_over(tx, step.facts["address"], account_id, "")
    addresses.rename(tx, account_id, step.facts["address"], "")
    addresses.lay_to_rest(tx, [was["kept"]], work.now)
    changes.hold(tx, [account_id])
    for box in mailbox.all_mailboxes(tx, account_id):
        rights.put(tx, account_id, box.id, was["heir"], "")


def _end(tx: Tx, work: _Work, who: Actor, step: Kept) -> Mapping[str, Any]:
    f = step.facts
    units.end(tx, f["id"], f["day"], f["to"], How(f["how"]))
    return {"id": f["id"]}


def _unend(tx: Tx, work: _Work, step: Kept) -> None:
    units.revive(tx, step.facts["id"])


_DO: dict[Act, Callable[[Tx, _Work, Actor, Kept], Mapping[str, Any]]] = {
    Act.FOUND: _found,
    Act.CHANGE: _change,
    Act.BOX: _box,
    Act.ADDRESS: _address,
    Act.BELONG: _belong,
    Act.CLOSE: _close,
    Act.END: _end,
}
_UNDO: dict[Act, Callable[[Tx, _Work, Kept], None]] = {
    Act.FOUND: _unfound,
    Act.CHANGE: _unchange,
    Act.BOX: _unbox,
    Act.ADDRESS: _unaddress,
    Act.BELONG: _unbelong,
    Act.CLOSE: _unclose,
    Act.END: _unend,
}


def _letter(tx: Tx, step: Kept, back: bool, now: float) -> tuple[int, bytes] | None:
    """To whom, and what it says, in Vietnamese with English below; None when there is nobody to write to."""
    f = step.facts
    box = None if f.get("account") else people.box_of(tx, f["unit"])
    account_id = f.get("account") or (box.id if box else 0)
    held = people.get(tx, account_id)
    if held is None or not held.address:
        return None
    code = f"merge-{f['about']}" + ("-back" if back else "")
    facts = {"name": f["name"], "was": f["was"], "address": held.address, "until": f["until"]}
    subject = say_in("vi", f"{code}-subject", **facts)
    said = [say_in(lang, each, **facts) for lang in ("vi", "en") for each in ("letter-greeting", code)]
    text = "\n\n".join(said) + "\n"
    message = EmailMessage(policy=SMTP)
    domain = addresses.domain_of(held.address)
    message["From"] = formataddr(("Quản trị thư điện tử", f"postmaster@{domain}"))
    message["To"] = formataddr((held.name, held.address))
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # rfc3834 5
    message.set_content(text)
    return account_id, message.as_bytes()
