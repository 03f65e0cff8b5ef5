"""Requests (phiếu yêu cầu): made by an agency's administrator, decided by the operator, carried out at once.

Promises that only who has the right in that part of the tree does either, that nobody decides the request he made nor
an item about himself, that two who decide at once are told who was first, and that a decision is one transaction; a
list longer than `_AT_ONCE` goes on in portions, each of them whole, and after a crash `carry_on` takes up what is left.
Passwords live in memory only, from their drawing to the sheet that is handed over.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date

from congvu.actions import accounts, granting, naming
from congvu.actions.granting import SECRETS, Drawn, World
from congvu.base.clock import Clock, Identifiers, day_of
from congvu.base.config import Config
from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.base.texts import say_in
from congvu.db.blobs import Blob, BlobKeeper, register
from congvu.db.engine import Database, Duplicate, Tx
from congvu.directory import credentials, deciding, people, requests, roles, units
from congvu.directory import profile as profiles
from congvu.directory.credentials import Stored
from congvu.directory.deciding import Choice, Ruling, Verdict
from congvu.directory.profile import Profile
from congvu.directory.requests import Issue, Item, Kind, Outcome, Paper, Progress, Request, Revoke, State
from congvu.directory.roles import Actor, Right

MAX_FILE = 20 << 20  # octets of a signed letter: a scan of some thirty pages
_AT_ONCE = 300  # items decided in one transaction; a longer list holds the writer too long
_SAMPLE = 100  # addresses in one line of audit

Working = Callable[[float, int], date]  # moment, n: the n-th working day after the one on which it counts as come
Hash = Callable[[Secret], Stored]
Told = Callable[[int, int], None]  # items done, items in all


@dataclass(frozen=True, slots=True)
class Office:
    """What the acts need to know of the province: configuration, calendar, identifiers, how a secret is kept."""

    config: Config
    ids: Identifiers
    working: Working
    keep_secret: Hash = credentials.make

    def profile(self, tx: Tx, unit_id: int) -> Profile:
        """The rules that hold for a unit."""
        return profiles.load(units.inherited(tx, unit_id)[1] or self.config.profile)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the operator decides about a whole request. `choices`: for single lines; `partly`: what can be granted is,
    the rest is refused with its reasons, otherwise one bad line stops the decision."""

    grant: bool
    choices: Mapping[int, Choice] = field(default_factory=dict)
    partly: bool = False
    answer: str = ""
    reply_number: str = ""


@dataclass(frozen=True, slots=True)
class Handed:
    """An initial password, to be put on its sheet and forgotten."""

    line: int
    account_id: int
    password: Secret


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a decision."""

    state: State
    progress: Progress
    handed: tuple[Handed, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A request with its items, as a console shows it."""

    request: Request
    items: tuple[Item, ...]
    progress: Progress
    papers: tuple[Paper, ...]


# ---- the agency asks


def create(tx: Tx, who: Actor, office: Office, draft: Request, wanted: Sequence[Item], now: float) -> tuple[int, int]:
    """A new draft; returns its number and version. Raises `Refused`: not-allowed, no-such-unit, unit-ended,
    request-needs, and what `add_items` does."""
    roles.need(tx, who, Right.REQUEST, draft.unit_id)
    unit = units.must_get(tx, draft.unit_id)
    if not unit.stands(day_of(now)):
        raise Refused("unit-ended", name=unit.name, day=unit.until)
    new = replace(
        requests.checked(draft),
        id=office.ids.draw(),
        state=State.DRAFT,
        created=int(now),
        created_by=who.name,
        version=1,
    )
    requests.add(tx, new)
    requests.add_items(tx, new, _clean(office, new, wanted, 1))
    facts = {"kind": new.kind.value, "number": new.number, "unit": new.unit_id, "items": len(wanted)}
    roles.note(tx, who, "request.create", now, on=unit.name, request=new.id, facts=facts)
    return new.id, new.version


def _clean(office: Office, request: Request, wanted: Sequence[Item], line: int) -> list[Item]:
    """Items with the lines that follow. Raises what `requests.clean` does, and bad-address, foreign-domain."""
    found = []
    for number, item in enumerate(wanted, line):
        facts = item.facts
        asked = getattr(facts, "wish", "") or getattr(facts, "address", "")
        if asked:
            full = accounts.checked(office.config, asked, "x")[0]
            facts = _with_address(facts, full)
        fresh = replace(item, line=number, facts=facts, choice="", confirmed=False, outcome=Outcome.OPEN, remark="")
        found.append(requests.clean(request.kind, fresh))
    return found


def _with_address(facts: requests.Facts, full: str) -> requests.Facts:
    match facts:
        case Issue():
            return replace(facts, wish=full)
        case requests.Change() | requests.Transfer():
            return replace(facts, address=full)
        case _:
            return facts


def add_items(
    tx: Tx, who: Actor, office: Office, request_id: int, version: int, wanted: Sequence[Item], now: float
) -> int:
    """More lines for a draft; returns the new version. Raises `Refused`: not-allowed, request-…, bad-…"""
    request = _mine(tx, who, request_id, version, State.DRAFT)
    requests.add_items(tx, request, _clean(office, request, wanted, requests.last_line(tx, request_id) + 1))
    roles.note(tx, who, "request.add", now, on=request.number, request=request_id, facts={"items": len(wanted)})
    return request.version


def remove_items(tx: Tx, who: Actor, request_id: int, version: int, lines: Sequence[int], now: float) -> int:
    """Fewer lines for a draft; returns the new version."""
    request = _mine(tx, who, request_id, version, State.DRAFT)
    requests.remove_items(tx, request_id, lines)
    roles.note(tx, who, "request.remove", now, on=request.number, request=request_id, facts={"lines": list(lines)})
    return request.version


def _mine(tx: Tx, who: Actor, request_id: int, version: int, *states: State) -> Request:
    """A request of an agency for which this administrator speaks."""
    roles.need(tx, who, Right.REQUEST, requests.must_get(tx, request_id).unit_id)
    return requests.take(tx, request_id, version, *states)


_SIGNS = ((b"%PDF-", "pdf"), (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"PK\3\4", "docx"))


def sniffed(data: bytes) -> str:
    """What a signed letter is, by its bytes: pdf, docx, png, jpg. Raises `Refused`: paper-too-large, paper-kind."""
    if len(data) > MAX_FILE:
        raise Refused("paper-too-large", most=MAX_FILE >> 20)
    kind = next((kind for sign, kind in _SIGNS if data.startswith(sign)), "")
    if not kind or (kind == "docx" and b"word/" not in data):
        raise Refused("paper-kind")
    return kind


async def attach(
    db: Database,
    keeper: BlobKeeper,
    who: Actor,
    office: Office,
    request_id: int,
    version: int,
    name: str,
    data: bytes,
    now: float,
) -> int:
    """The signed letter of a draft (row 3.2); returns the new version."""
    kind = sniffed(data)
    # The right is asked before twenty megabytes are kept, and again in the transaction.
    await db.read(_may_attach, who, request_id)
    title = requests.text(name.rpartition("/")[2].rpartition("\\")[2], 100) or f"van-ban.{kind}"
    paper = office.ids.draw()
    return await db.write_with(keeper, [data], _attach, who, request_id, version, title, paper, now)


def _may_attach(tx: Tx, who: Actor, request_id: int) -> None:
    roles.need(tx, who, Right.REQUEST, requests.must_get(tx, request_id).unit_id)


def _attach(
    tx: Tx, kept: list[Blob], who: Actor, request_id: int, version: int, title: str, paper: int, now: float
) -> int:
    request = _mine(tx, who, request_id, version, State.DRAFT, State.SUBMITTED)
    register(tx, kept, now)
    requests.put(tx, replace(request, file=kept[0].hash, file_name=title))
    requests.add_paper(tx, Paper(paper, "signed", request_id, None, kept[0].hash, title, int(now)))
    facts = {"file": title, "hash": kept[0].hash.hex()}
    roles.note(tx, who, "request.attach", now, on=request.number, request=request_id, facts=facts)
    return request.version


def submit(tx: Tx, who: Actor, office: Office, request_id: int, version: int, now: float) -> Request:
    """Hands a draft in: the operator's clock begins (row 3.4). Raises `Refused`: request-empty, request-needs-file
    (an operator who enters a paper letter has it on the desk; a password may be asked for by telephone, row 3.8)."""
    request = _mine(tx, who, request_id, version, State.DRAFT)
    if not requests.progress(tx, [request_id])[request_id].open:
        raise Refused("request-empty")
    by_operator = roles.may(tx, who, Right.DECIDE, request.unit_id)
    if request.file is None and request.kind is not Kind.RESET and not by_operator:
        raise Refused("request-needs-file")
    profile = office.profile(tx, request.unit_id)
    due = requests.due(profile, request.kind, now, office.working)
    handed_in = replace(request, state=State.SUBMITTED, due=due)
    requests.put(tx, handed_in)
    if request.kind is Kind.REVOKE:
        requests.settle(tx, request_id, _late(requests.items(tx, request), profile, day_of(now)))
    roles.note(tx, who, "request.submit", now, on=request.number, request=request_id, facts={"due": due})
    return handed_in


def _late(some: Sequence[Item], profile: Profile, on: date) -> list[Item]:
    """Lines about somebody who left longer ago than the agency may wait with its request: told, not held against
    them (row 3.11)."""
    period = profile.deadline.leave_request.or_none
    found = []
    for item in some:
        day = item.facts.day if isinstance(item.facts, Revoke) else ""
        if period is not None and day and period.after(date.fromisoformat(day)) < on:
            told = date.fromisoformat(day).strftime("%d/%m/%Y")
            found.append(replace(item, remark=say_in("vi", "request-late", True, within=str(period), day=told)))
    return found


def withdraw(tx: Tx, who: Actor, request_id: int, version: int, why: str, now: float) -> None:
    """The agency takes back what is not decided yet."""
    request = _mine(tx, who, request_id, version, State.DRAFT, State.SUBMITTED)
    requests.put(tx, replace(request, state=State.WITHDRAWN, answer=requests.text(why)))
    roles.note(tx, who, "request.withdraw", now, on=request.number, request=request_id, why=why)


# ---- reading


def show(tx: Tx, who: Actor, request_id: int) -> Shown:
    """Raises `Refused`: no-such-request, not-allowed."""
    request = requests.must_get(tx, request_id)
    roles.need(tx, who, Right.READ, request.unit_id)
    return Shown(
        request,
        tuple(requests.items(tx, request)),
        requests.progress(tx, [request_id])[request_id],
        tuple(requests.papers(tx, request_id)),
    )


def listed(
    tx: Tx, who: Actor, *, states: Sequence[State] = (), before: int = 0, limit: int = 100
) -> list[tuple[Request, Progress]]:
    """Requests of the part of the tree that this actor may read, newest first."""
    found = requests.listed(tx, roles.scope(who, Right.READ), states=states, before=before, limit=limit)
    counts = requests.progress(tx, [each.id for each in found])
    return [(each, counts[each.id]) for each in found]


def overdue(tx: Tx, who: Actor, on: date, limit: int = 1000) -> list[Request]:
    """What should have been answered before that day, the longest overdue first (row 3.4)."""
    within = roles.scope(who, Right.READ)
    return requests.listed(tx, within, states=requests.OPEN, overdue_on=on.isoformat(), limit=limit)


def preview(
    tx: Tx, who: Actor, office: Office, request_id: int, choices: Mapping[int, Choice], now: float
) -> list[Verdict]:
    """What would come of each open item, with the addresses that would be given; nothing is written."""
    request = requests.must_get(tx, request_id)
    roles.need(tx, who, Right.READ, request.unit_id)
    some = requests.items(tx, request, only_open=True)
    return judged(tx, who, office, request, some, choices, now)


def judged(
    tx: Tx,
    who: Actor,
    office: Office,
    request: Request,
    some: Sequence[Item],
    choices: Mapping[int, Choice],
    now: float,
) -> list[Verdict]:
    """Gathers and decides; who asks is the one who would decide."""
    profile = office.profile(tx, request.unit_id)
    seen = deciding.gather(
        tx,
        request,
        some,
        choices,
        profile,
        lambda asked: naming.taken(tx, profile, asked),
        office.config.domains[0],
        day_of(now),
    )
    verdicts = deciding.decide(request, seen, choices, who.account_id)
    if request.kind is Kind.TRANSFER:  # the unit that is left has its own operator to agree
        verdicts = [
            verdict
            if each.account is None or roles.may(tx, who, Right.DECIDE, each.account.unit_id)
            else replace(verdict, ruling=Ruling.REFUSE, reasons=(*verdict.reasons, Refused("request-other-operator")))
            for verdict, each in zip(verdicts, seen, strict=True)
        ]
    return verdicts


# ---- the operator decides


async def decide(
    db: Database,
    who: Actor,
    office: Office,
    clock: Clock,
    request_id: int,
    version: int,
    decision: Decision,
    told: Told = lambda done, total: None,
) -> Decided:
    """Decides a submitted request, seen in this version, and carries the decision out. Raises `Refused`: not-allowed,
    request-own, request-decided, request-changed, request-items-bad (nothing was done then), bad-…"""
    for choice in decision.choices.values():
        if choice.address:
            accounts.checked(office.config, choice.address, "x")
    request, open_items = await db.read(_to_decide, who, request_id)
    if not decision.grant:
        return await db.write(_refuse, who, request_id, version, decision, clock.now())
    if len(open_items) > _AT_ONCE:
        verdicts = await db.read(judged, who, office, request, open_items, decision.choices, clock.now())
        if not decision.partly:
            _all_good(verdicts, decision.choices)
        await db.write(_begin, who, request_id, version, decision, verdicts, clock.now())
        return await _in_portions(db, who, office, clock, request, len(open_items), told)
    drawn = await _draw(office, request.kind, [item.line for item in open_items])
    decided = await _again(db, clock, _whole, who, office, request_id, version, decision, drawn)
    told(len(open_items), len(open_items))
    return decided


async def carry_on(
    db: Database,
    who: Actor,
    office: Office,
    clock: Clock,
    request_id: int,
    told: Told = lambda done, total: None,
) -> Decided:
    """Goes on with a decided list that a crash cut short. Passwords of the portions before are lost with the memory
    they were in: `sheets_anew` draws others for those who have not signed in yet."""
    request, open_items = await db.read(_to_decide, who, request_id)
    if request.state is not State.RUNNING:
        raise Refused("request-state", state=request.state.value)
    return await _in_portions(db, who, office, clock, request, len(open_items), told)


def _to_decide(tx: Tx, who: Actor, request_id: int) -> tuple[Request, list[Item]]:
    request = requests.must_get(tx, request_id)
    _may_decide(tx, who, request)
    return request, requests.items(tx, request, only_open=True)


def _may_decide(tx: Tx, who: Actor, request: Request) -> None:
    roles.need(tx, who, Right.DECIDE, request.unit_id)
    if who.account_id is not None and request.created_by == who.name:  # four eyes
        raise Refused("request-own")


def _taken(tx: Tx, who: Actor, request_id: int, version: int, decision: Decision, now: float) -> Request:
    """The request, decided by this actor from now on."""
    request = requests.take(tx, request_id, version, State.SUBMITTED)
    _may_decide(tx, who, request)
    return replace(
        request,
        decided=int(now),
        decided_by=who.name,
        answer=requests.text(decision.answer),
        reply_number=requests.text(decision.reply_number, 100),
    )


def _refuse(tx: Tx, who: Actor, request_id: int, version: int, decision: Decision, now: float) -> Decided:
    request = _taken(tx, who, request_id, version, decision, now)
    if not request.answer:
        raise Refused("request-refused-unsaid")
    refused = [
        replace(item, outcome=Outcome.REFUSED, remark=request.answer)
        for item in requests.items(tx, request, only_open=True)
    ]
    requests.settle(tx, request_id, refused)
    return _closed(tx, who, request, [], now)


def _closed(tx: Tx, who: Actor, request: Request, granted: Sequence[Item], now: float) -> Decided:
    """Puts the request where its items are, and records the act."""
    counts = requests.progress(tx, [request.id])[request.id]
    requests.put(tx, replace(request, state=counts.state()))
    on = [
        each.address for each in people.some(tx, [i.account_id for i in granted if i.account_id is not None][:_SAMPLE])
    ]
    facts = {
        "kind": request.kind.value,
        "granted": len(granted),
        "state": counts.state().value,
        "lines": [item.line for item in granted[:_SAMPLE]],
    }
    roles.note(tx, who, "request.decide", now, on=on, why=request.answer, request=request.id, facts=facts)
    return Decided(counts.state(), counts)


def _whole(
    tx: Tx,
    who: Actor,
    office: Office,
    request_id: int,
    version: int,
    decision: Decision,
    drawn: Mapping[int, Drawn],
    now: float,
) -> Decided:
    """The decision about a request of ordinary length: one transaction."""
    request = _taken(tx, who, request_id, version, decision, now)
    some = requests.items(tx, request, only_open=True)
    verdicts = judged(tx, who, office, request, some, decision.choices, now)
    if not decision.partly:
        _all_good(verdicts, decision.choices)
    done = _do(tx, who, office, request, verdicts, drawn, now)
    decided = _closed(tx, who, request, done, now)
    return replace(decided, handed=_handed(request.kind, done, drawn))


def _all_good(verdicts: Sequence[Verdict], choices: Mapping[int, Choice]) -> None:
    """Raises `Refused("request-items-bad")` unless whatever is not granted was refused by the operator's own word."""
    bad = [
        v.item.line for v in verdicts if v.ruling is not Ruling.GRANT and not choices.get(v.item.line, Choice()).refuse
    ]
    if bad:
        raise Refused("request-items-bad", count=len(bad), lines=", ".join(map(str, bad[:20])))


def _do(
    tx: Tx,
    who: Actor,
    office: Office,
    request: Request,
    verdicts: Sequence[Verdict],
    drawn: Mapping[int, Drawn],
    now: float,
) -> list[Item]:
    """Carries out what is granted, keeps why the rest is not; returns the granted items."""
    profile = office.profile(tx, request.unit_id)
    world = World(who.name, profile, office.ids, day_of(now), now)
    good = [verdict for verdict in verdicts if verdict.ruling is Ruling.GRANT]
    done = granting.carry_out(tx, world, request.kind, good, drawn) if good else []
    refused = [
        replace(v.item, outcome=Outcome.REFUSED, remark=_said(v)) for v in verdicts if v.ruling is not Ruling.GRANT
    ]
    requests.settle(tx, request.id, [*done, *refused])
    return done


def _said(verdict: Verdict) -> str:
    return "; ".join(say_in("vi", reason.code, True, **reason.facts) for reason in verdict.reasons)


def _handed(kind: Kind, done: Sequence[Item], drawn: Mapping[int, Drawn]) -> tuple[Handed, ...]:
    if kind not in SECRETS:
        return ()
    return tuple(Handed(i.line, i.account_id, drawn[i.line].password) for i in done if i.account_id is not None)


async def _draw(office: Office, kind: Kind, lines: Sequence[int]) -> dict[int, Drawn]:
    """Passwords and what is kept of them; argon2 lets other threads run, so all cores work."""
    if kind not in SECRETS:
        return {}
    return await asyncio.to_thread(_drawn, office.keep_secret, lines)


def _drawn(keep: Hash, lines: Sequence[int]) -> dict[int, Drawn]:
    passwords = [credentials.invent_password() for _ in lines]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        kept = pool.map(keep, passwords)
        return {line: Drawn(secret, stored) for line, secret, stored in zip(lines, passwords, kept, strict=True)}


# ---- long lists


def _begin(
    tx: Tx,
    who: Actor,
    request_id: int,
    version: int,
    decision: Decision,
    verdicts: Sequence[Verdict],
    now: float,
) -> None:
    """Notes the decision about a long list: from now on it is carried out, whoever crashes. `verdicts`: of this
    version's items, judged on a snapshot, as that takes seconds; should the world have changed when its portion comes,
    an item is refused with that reason."""
    request = _taken(tx, who, request_id, version, decision, now)
    settled = []
    for verdict in verdicts:
        choice = decision.choices.get(verdict.item.line, Choice())
        if verdict.ruling is not Ruling.GRANT:
            settled.append(replace(verdict.item, outcome=Outcome.REFUSED, remark=_said(verdict)))
        elif choice.address or choice.confirm:
            settled.append(replace(verdict.item, choice=choice.address, confirmed=choice.confirm))
    requests.settle(tx, request_id, settled)
    counts = requests.progress(tx, [request_id])[request_id]
    requests.put(tx, replace(request, state=counts.state()))
    facts = {"kind": request.kind.value, "open": counts.open, "refused": counts.refused}
    roles.note(tx, who, "request.begin", now, on=request.number, why=request.answer, request=request_id, facts=facts)


async def _in_portions(
    db: Database, who: Actor, office: Office, clock: Clock, request: Request, total: int, told: Told
) -> Decided:
    handed: list[Handed] = []
    while True:
        lines = await db.read(_next_lines, request.id)
        drawn = await _draw(office, request.kind, lines)
        decided = await _again(db, clock, _portion, who, office, request.id, drawn)
        handed += decided.handed
        told(total - decided.progress.open, total)
        if not decided.progress.open:
            return replace(decided, handed=tuple(handed))


def _next_lines(tx: Tx, request_id: int) -> list[int]:
    request = requests.must_get(tx, request_id)
    return [item.line for item in requests.items(tx, request, only_open=True, limit=_AT_ONCE)]


def _portion(tx: Tx, who: Actor, office: Office, request_id: int, drawn: Mapping[int, Drawn], now: float) -> Decided:
    # Taking the row makes two that carry on at once wait for each other: each item is done by one of them.
    tx.run("UPDATE request SET version = version + 1 WHERE id = ?", request_id)
    request = requests.must_get(tx, request_id)
    _may_decide(tx, who, request)
    some = requests.items(tx, request, only_open=True, limit=_AT_ONCE) if request.state is State.RUNNING else []
    if request.kind in SECRETS:
        some = [item for item in some if item.line in drawn]
    verdicts = judged(tx, who, office, request, some, {}, now)
    done = _do(tx, who, office, request, verdicts, drawn, now)
    return replace(_closed(tx, who, request, done, now), handed=_handed(request.kind, done, drawn))


async def _again(db: Database, clock: Clock, f: Callable[..., Decided], *facts: object) -> Decided:
    """A decision that met somebody else taking the same address at the same moment is made once more: then it sees
    it."""
    try:
        return await db.write(f, *facts, clock.now())
    except Duplicate:
        return await db.write(f, *facts, clock.now())


async def sheets_anew(db: Database, who: Actor, office: Office, clock: Clock, request_id: int) -> tuple[Handed, ...]:
    """New initial passwords for those granted accounts of a request whose holders have never set their own: when the
    sheets were lost before they were handed over."""
    request, waiting = await db.read(_waiting, who, request_id)
    drawn = await _draw(office, request.kind, [item.line for item in waiting])
    return await db.write(_anew, who, request_id, drawn, clock.now())


def _waiting(tx: Tx, who: Actor, request_id: int) -> tuple[Request, list[Item]]:
    request = requests.must_get(tx, request_id)
    roles.need(tx, who, Right.DECIDE, request.unit_id)
    if request.kind not in SECRETS:
        raise Refused("request-no-secrets")
    granted = [item for item in requests.items(tx, request) if item.outcome is Outcome.GRANTED]
    numbers = [item.account_id for item in granted if item.account_id is not None]
    rows = tx.all("SELECT account_id FROM credential WHERE must_change = 1 AND account_id IN (?*)", numbers)
    still = {row[0] for row in rows}
    return request, [item for item in granted if item.account_id in still]


def _anew(tx: Tx, who: Actor, request_id: int, drawn: Mapping[int, Drawn], now: float) -> tuple[Handed, ...]:
    request, waiting = _waiting(tx, who, request_id)
    done = [item for item in waiting if item.line in drawn]
    tx.many(
        "UPDATE credential SET hash = ?, scram = ?, changed = ? WHERE account_id = ? AND must_change = 1",
        [(s.stored.hash, s.stored.scram, int(now), i.account_id) for i in done for s in [drawn[i.line]]],
    )
    facts = {"count": len(done)}
    roles.note(tx, who, "request.sheets", now, on=request.number, request=request_id, facts=facts)
    return _handed(request.kind, done, drawn)
