"""What may come of each item of a request: gather the facts of many at once, then decide, purely and with reasons.

Promises that the same facts always give the same verdicts, that every refusal and every doubt has its name, and that a
doubt (a second person of that name, an address beside the rule) is never settled by the program: the operator confirms
it or refuses (row 7.7: never guess). Gathering costs a few statements for a list, however long.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

from congvu.base.failure import Refused
from congvu.base.vietnamese import fold
from congvu.db.engine import Row, Tx
from congvu.directory import addresses, lifecycle, naming, people, units
from congvu.directory.forms import PERSON
from congvu.directory.lifecycle import State
from congvu.directory.naming import Candidate, Objection, Subject
from congvu.directory.people import Account
from congvu.directory.profile import Profile
from congvu.directory.requests import Change, HandOver, Issue, Item, Kind, Request, Transfer
from congvu.directory.units import Unit

_ASK = 256  # texts in one statement
_BOXES = (people.Kind.ORGANISATION, people.Kind.UNIT, people.Kind.FUNCTIONAL)
_ONE_EACH = (people.Kind.ORGANISATION.value, people.Kind.UNIT.value)  # a unit has one of these at most
_PERSON = people.Kind.PERSON.value

Ask = Callable[[Sequence[str]], Mapping[str, str]]  # which of these addresses are taken, with the kind of the holder


class How(StrEnum):
    """Why somebody may be the person who is asked about."""

    NUMBER = "number"  # the same number of the personnel file: the same person
    BIRTH = "birth"  # the same name and day of birth
    UNIT = "unit"  # the same name in the same unit, and a day of birth is missing


@dataclass(frozen=True, slots=True)
class Twin:
    """An account that may be that of the person for whom one is asked."""

    how: How
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator says to one line: the address to be given, "I have looked at the doubts", or a refusal's
    reason."""

    address: str = ""
    confirm: bool = False
    refuse: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the world says about one item. `ours`: the account belongs to the agency that asks; `unit`: the one that is
    named; `unit_ours`: it lies below the agency; `proposals`: free addresses by the rules, `unnamed`: why there are
    none; `wanted`: the address asked for or chosen, with what is said against it; `names_agency`: the rules put the
    agency into a person's address (row 3.7); `box`: the mailbox that the unit has already."""

    item: Item
    account: Account | None = None
    ours: bool = True
    unit: Unit | None = None
    unit_ours: bool = True
    twins: tuple[Twin, ...] = ()
    proposals: tuple[Candidate, ...] = ()
    unnamed: Refused | None = None
    wanted: str = ""
    wanted_taken: bool = False
    objections: tuple[Objection, ...] = ()
    names_agency: bool = False
    box: str = ""
    clerk: Account | None = None
    head: Account | None = None


class Ruling(StrEnum):
    GRANT = "grant"
    DOUBT = "doubt"  # grant when somebody confirms it
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comes of one item, with the reasons by name. `address`: what is given, "" when none is; `clause`, `why`: of
    the naming rule."""

    item: Item
    ruling: Ruling
    reasons: tuple[Refused, ...] = ()
    address: str = ""
    clause: str = ""
    why: str = ""


# ---- gather


class Taken:
    """Answers which addresses are taken, for a whole list: asks the database once for all that was foreseen, and knows
    what was given out meanwhile."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, str | None] = {}
        self._foreseen: list[str] = []

    def foresee(self, asked: Sequence[str]) -> Mapping[str, str]:
        """Notes what will be asked, and says that all is free."""
        self._foreseen += asked
        return {}

    def __call__(self, asked: Sequence[str]) -> dict[str, str]:
        unknown = [each for each in (*self._foreseen, *asked) if each not in self._known]
        self._foreseen.clear()
        if unknown:
            found = self._ask(list(dict.fromkeys(unknown)))
            self._known.update({each: found.get(each) for each in unknown})
        return {each: kind for each in asked if (kind := self._known[each]) is not None}

    def give(self, address: str) -> None:
        self._known[address] = _PERSON


def gather(
    tx: Tx,
    request: Request,
    some: Sequence[Item],
    choices: Mapping[int, Choice],
    profile: Profile,
    ask: Ask,
    domain: str,
    today: date,
) -> list[Seen]:
    """The facts about these items, in their order. `domain`: the usual mail domain."""
    named = {number for item in some for number in _accounts_of(item)}
    accounts = {each.id: each for each in people.some(tx, sorted(named))}
    own = set(units.within(tx, [request.unit_id]))
    where = units.some(tx, sorted({n for item in some if (n := _unit_of(item))}))
    twins = _twins(tx, [item for item in some if isinstance(item.facts, Issue) and item.facts.holder == _PERSON])
    by_agency = any("co_quan" in form.needs for form in profile.naming.forms.get(PERSON, ())[:1])
    namer = _Namer(tx, profile, Taken(ask), domain, today)
    subjects = {
        item.line: subject for item in some if (subject := namer.subject(item, accounts, where, by_agency)) is not None
    }
    wanted = {item.line: _wanted(item, choices.get(item.line, Choice())) for item in some}
    namer.foresee([*subjects.values()], [each for each in wanted.values() if each])
    found = []
    for item in some:
        account = accounts.get(item.account_id) if item.account_id is not None else None
        unit = where.get(_unit_of(item))
        seen = Seen(
            item,
            account,
            account is not None and account.unit_id in own,
            unit,
            unit is not None and unit.id in own,
            twins.get(item.line, ()),
            names_agency=by_agency,
        )
        if isinstance(item.facts, Issue) and item.facts.holder in _ONE_EACH and unit is not None:
            box = people.box_of(tx, unit.id)
            seen = replace(seen, box=box.address if box else "")
        if isinstance(item.facts, HandOver):
            seen = replace(seen, clerk=accounts.get(item.facts.clerk_id), head=accounts.get(item.facts.head_id))
        found.append(namer.named(seen, subjects.get(item.line), wanted[item.line]))
    return found


def _accounts_of(item: Item) -> list[int]:
    found = [] if item.account_id is None else [item.account_id]
    if isinstance(item.facts, HandOver):
        found += [n for n in (item.facts.clerk_id, item.facts.head_id) if n]
    return found


def _unit_of(item: Item) -> int:
    return item.facts.unit_id if isinstance(item.facts, Issue | Transfer) else 0


def _wanted(item: Item, choice: Choice) -> str:
    if choice.address or item.choice:
        return addresses.normalise(choice.address or item.choice)
    match item.facts:
        case Issue(wish=address) | Change(address=address) | Transfer(address=address):
            return addresses.normalise(address) if address else ""
        case _:
            return ""


class _Namer:
    """Proposals for the items of one list: each gets what the ones before it leave free."""

    def __init__(self, tx: Tx, profile: Profile, taken: Taken, domain: str, today: date) -> None:
        self._tx = tx
        self._profile = profile
        self._taken = taken
        self._domain = domain
        self._today = today
        self._above: dict[int, tuple[str, str]] = {}

    def subject(
        self, item: Item, accounts: Mapping[int, Account], where: Mapping[int, Unit], by_agency: bool
    ) -> Subject | None:
        """Whose address is to be found; None when the item asks for none."""
        match item.facts:
            case Issue(name=name, unit_id=unit_id, holder=holder) if unit_id in where:
                if holder == _PERSON:
                    return self._of(PERSON, name, unit_id, item.facts.birth, item.facts.identity)
                unit = where[unit_id]
                kind = unit.category if holder != people.Kind.FUNCTIONAL else "other"
                return self._of(kind, name, unit.parent_id or 0)
            case Transfer(unit_id=unit_id) if by_agency and unit_id in where:
                account = accounts.get(item.account_id or 0)
                if account is not None and account.kind is people.Kind.PERSON:
                    return self._of(PERSON, account.name, unit_id)
                return None
            case _:
                return None

    def _of(self, kind: str, name: str, above: int, birth: str = "", identity: str = "") -> Subject:
        parent, parent_kind = self._box(above)
        domain = units.inherited(self._tx, above)[0] if above else ""
        subject = Subject(
            kind,
            name,
            parent=parent,
            parent_kind=parent_kind,
            birth=date.fromisoformat(birth) if birth else None,
            identity=identity,
            on=self._today,
            domain=domain,
        )
        return replace(subject, domain=naming.domain_for(self._profile, subject, self._domain))

    def _box(self, unit_id: int) -> tuple[str, str]:
        """Address and category of the nearest unit, from this one upwards, that has a mailbox."""
        if unit_id not in self._above:
            found = "", ""
            for unit in units.path(self._tx, unit_id)[::-1] if unit_id else []:
                box = people.box_of(self._tx, unit.id)
                if box is not None and box.address:
                    found = box.address, unit.category
                    break
            self._above[unit_id] = found
        return self._above[unit_id]

    def foresee(self, subjects: Sequence[Subject], wanted: Sequence[str]) -> None:
        self._taken.foresee(wanted)
        for subject in subjects:
            try:
                naming.propose(self._profile, subject, self._taken.foresee)
            except Refused:
                continue  # told when it is named

    def named(self, seen: Seen, subject: Subject | None, wanted: str) -> Seen:
        if wanted:
            seen = replace(seen, wanted=wanted, wanted_taken=bool(self._taken([wanted])))
            if subject is not None:
                local = wanted.partition("@")[0]
                seen = replace(seen, objections=tuple(naming.accepts(self._profile, subject, local)))
        if subject is None:
            given = wanted
        else:
            try:
                found = tuple(naming.propose(self._profile, subject, self._taken))
            except Refused as refused:
                found, seen = (), replace(seen, unnamed=refused)
            seen = replace(seen, proposals=found)
            given = wanted or next((each.address for each in found), "")
        if given:
            self._taken.give(given)
        return seen


def _twins(tx: Tx, some: Sequence[Item]) -> dict[int, tuple[Twin, ...]]:
    """Accounts that may be those of the persons for whom one is asked, by line."""
    asked = [(item.line, item.facts) for item in some if isinstance(item.facts, Issue)]
    by_number: dict[str, list[Row]] = {}
    for row in _persons(tx, "person.number", {f.number for _, f in asked if f.number}):
        by_number.setdefault(row[4], []).append(row)
    by_birth: dict[tuple[str, str], list[Row]] = {}
    for row in _persons(tx, "person.birth", {f.birth for _, f in asked if f.birth}):
        by_birth.setdefault((fold(row[0]), row[3]), []).append(row)
    by_unit: dict[tuple[str, int], list[Row]] = {}
    for row in tx.all(f"{_PERSONS} AND account.unit_id IN (?*)", sorted({f.unit_id for _, f in asked})):
        by_unit.setdefault((fold(row[0]), row[2]), []).append(row)
    found: dict[int, tuple[Twin, ...]] = {}
    for line, facts in asked:
        name = fold(facts.name)
        twins = {row[1]: Twin(How.NUMBER, row[0], row[1]) for row in by_number.get(facts.number, ())}
        for row in by_birth.get((name, facts.birth), ()):
            if not _two_files(facts.number, row[4]):
                twins.setdefault(row[1], Twin(How.BIRTH, row[0], row[1]))
        for row in by_unit.get((name, facts.unit_id), ()):
            if not _told_apart(facts, row[3], row[4]):
                twins.setdefault(row[1], Twin(How.UNIT, row[0], row[1]))
        if twins:
            found[line] = tuple(twins.values())
    return found


_PERSONS = (
    "SELECT account.name, coalesce(address.address, ''), account.unit_id, person.birth, person.number FROM person"
    " JOIN account ON account.id = person.account_id"
    " LEFT JOIN address ON address.account_id = account.id AND address.is_primary = 1 WHERE account.state <> 'purged'"
)


def _persons(tx: Tx, column: str, values: set[str]) -> list[Row]:
    ordered, found = sorted(values), []
    for start in range(0, len(ordered), _ASK):
        some = ordered[start : start + _ASK]
        some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))  # few texts are prepared
        found += tx.all(f"{_PERSONS} AND {column} IN ({','.join('?' * len(some))})", *some)
    return found


# ---- decide


def decide(request: Request, seen: Sequence[Seen], choices: Mapping[int, Choice], decider: int | None) -> list[Verdict]:
    """A verdict for each, in order. `decider`: the account of who decides, None the system."""
    met = _Met()
    found = []
    for each in seen:
        again = met.again(each.item)
        choice = choices.get(each.item.line, Choice())
        found.append(_decide(request.kind, each, choice, decider, again))
    return found


@dataclass(frozen=True, slots=True)
class _Again:
    """An earlier line of the same list that asks for the same, for sure or perhaps; 0: none."""

    sure: int = 0
    perhaps: int = 0


class _Met:
    """By what the same person is known again within one list."""

    def __init__(self) -> None:
        self._sure: dict[object, int] = {}
        self._births: dict[tuple[str, str], list[tuple[int, Issue]]] = {}
        self._units: dict[tuple[str, int], list[tuple[int, Issue]]] = {}

    def again(self, item: Item) -> _Again:
        facts = item.facts
        if not isinstance(facts, Issue):
            return _Again(self._seen(item.account_id, item.line))
        name = fold(facts.name)
        if facts.holder != _PERSON:
            return _Again(self._seen((facts.unit_id, facts.holder, name), item.line))
        sure = self._seen(("number", facts.number), item.line) if facts.number else 0
        births = self._births.setdefault((name, facts.birth), []) if facts.birth else []
        mates = self._units.setdefault((name, facts.unit_id), [])
        perhaps = next(
            (line for line, other in births if not _two_files(facts.number, other.number)),
            next((line for line, other in mates if not _told_apart(facts, other.birth, other.number)), 0),
        )
        births.append((item.line, facts))
        mates.append((item.line, facts))
        return _Again(sure, perhaps)

    def _seen(self, key: object, line: int) -> int:
        first = self._sure.setdefault(key, line)
        return 0 if first == line else first


def _two_files(one: str, other: str) -> bool:
    """Two numbers of personnel files are two persons."""
    return bool(one and other and one != other)


def _told_apart(facts: Issue, birth: str, number: str) -> bool:
    """Are two of one name in one unit surely two persons?"""
    return bool(facts.birth and birth and facts.birth != birth) or _two_files(facts.number, number)


def _decide(kind: Kind, seen: Seen, choice: Choice, decider: int | None, again: _Again) -> Verdict:
    if choice.refuse:
        return Verdict(seen.item, Ruling.REFUSE, (Refused("request-refused-why", why=choice.refuse),))
    final: list[Refused] = []
    doubts = [doubt.said() for doubt in seen.item.doubts]
    if again.sure:
        final.append(Refused("request-twice", line=again.sure))
    elif again.perhaps:
        doubts.append(Refused("request-maybe-twice", line=again.perhaps))
    if seen.item.account_id is not None:
        final += _about(kind, seen, decider)
    match seen.item.facts:
        case Issue():
            final += _unit_good(seen)
            if seen.box:  # row 2.1
                final.append(Refused("request-has-box", address=seen.box))
            for twin in seen.twins:
                if twin.how is How.NUMBER:
                    final.append(Refused("request-has-address", name=twin.name, address=twin.address))
                else:
                    doubts.append(Refused(f"request-maybe-{twin.how.value}", name=twin.name, address=twin.address))
        case Transfer(unit_id=unit_id):
            final += _unit_good(seen)
            if seen.account is not None and seen.account.unit_id == unit_id:
                final.append(Refused("request-same-unit"))
        case HandOver():
            final += _hand_over_good(seen)
        case _:
            pass
    address, clause, why = _address(kind, seen, choice, final, doubts)
    if final:
        return Verdict(seen.item, Ruling.REFUSE, (*final, *doubts))
    sure = choice.confirm or seen.item.confirmed
    ruling = Ruling.DOUBT if doubts and not sure else Ruling.GRANT
    return Verdict(seen.item, ruling, tuple(doubts), address, clause, why)


_LEADS = {Kind.LOCK: State.LOCKED, Kind.REVOKE: State.REVOKED, Kind.RESTORE: State.ACTIVE}
_ALIVE = frozenset({State.ACTIVE, State.LOCKED})


def _about(kind: Kind, seen: Seen, decider: int | None) -> list[Refused]:
    """May this be asked about this account, in its state?"""
    account = seen.account
    if account is None or account.state is State.PURGED:
        return [Refused("request-no-account")]
    found = []
    if account.id == decider:
        found.append(Refused("not-on-oneself", right="decide"))
    if kind is not Kind.TRANSFER and not seen.ours:  # row 3.7: there the receiving agency asks
        found.append(Refused("request-not-yours", address=account.address))
    if kind in _LEADS:
        fits = account.state is not State.REQUESTED and _LEADS[kind] in lifecycle.TABLE[account.state][1]
    else:
        fits = account.state in _ALIVE
    if not fits:
        found.append(Refused("request-state-forbids", address=account.address, state=account.state.value))
    if kind is Kind.TRANSFER and account.kind is not people.Kind.PERSON:
        found.append(Refused("request-not-a-person", address=account.address))
    return found


def _unit_good(seen: Seen) -> list[Refused]:
    if seen.unit is None:
        return [Refused("no-such-unit")]
    if seen.unit.until:
        return [Refused("unit-ended", name=seen.unit.name, day=seen.unit.until)]
    return [] if seen.unit_ours else [Refused("request-unit-not-yours", name=seen.unit.name)]


def _hand_over_good(seen: Seen) -> list[Refused]:
    found = []
    if seen.account is not None and seen.account.kind not in _BOXES:
        found.append(Refused("request-not-a-box", address=seen.account.address))
    clerks = [seen.clerk]
    if isinstance(seen.item.facts, HandOver) and seen.item.facts.head_id:
        clerks.append(seen.head)
    for each in clerks:
        if each is None or each.kind is not people.Kind.PERSON or each.state is not State.ACTIVE:
            found.append(Refused("request-not-a-clerk", address=each.address if each else ""))
    return found


def _address(
    kind: Kind, seen: Seen, choice: Choice, final: list[Refused], doubts: list[Refused]
) -> tuple[str, str, str]:
    """The address to be given, its clause and why; what speaks against it is added to the reasons."""
    rule = {each.address: each for each in seen.proposals}
    if seen.wanted:
        own = seen.account is not None and seen.account.address == seen.wanted
        if seen.wanted_taken and not own:
            final.append(Refused("address-taken", address=seen.wanted))
            return "", "", ""
        try:
            addresses.checked(seen.wanted)
        except Refused as refused:
            final.append(refused)
            return "", "", ""
        if seen.wanted in rule:
            return seen.wanted, rule[seen.wanted].clause, rule[seen.wanted].why
        final += [each.reason for each in seen.objections if each.final]
        if not (choice.address or seen.item.choice):  # the operator's own choice is a confirmation (row 2.13)
            doubts += [each.reason for each in seen.objections if not each.final]
        return seen.wanted, "2.13", "theo đề nghị"
    needed = kind is Kind.ISSUE or (kind is Kind.TRANSFER and seen.names_agency and seen.account is not None)
    if not needed:
        return "", "", ""
    if not seen.proposals:
        if seen.unit is not None:
            final.append(seen.unnamed or Refused("naming-needs", name="", needs=""))
        return "", "", ""
    best = seen.proposals[0]
    return best.address, best.clause, best.why
