"""Mergers and splits of units and whole provinces: an order and the directory as it is give a plan, step by step.

Pure: reads nothing, writes nothing; the same order on the same directory gives the same plan. Promises that everything
that will happen is a step one can read before it happens, that no address changes hands silently (rows 13.5, 13.6: an
old address goes on receiving for its own people until its end), that what the rule cannot decide is a question, and
that nobody is renamed who need not be (row 3.15). Carrying out and taking back is `actions/merging.py`.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from enum import StrEnum
from typing import Any

from congvu.base.failure import Refused
from congvu.base.vietnamese import findable
from congvu.directory import addresses, naming, units
from congvu.directory.forms import KINDS, PLACES
from congvu.directory.naming import Candidate, Subject
from congvu.directory.people import Kind
from congvu.directory.profile import Profile
from congvu.directory.units import How, Unit

MAX_ORDER = 4 * 2**20  # octets of an order's file
_SEPARATOR = "›"


# --- the order --------------------------------------------------------------------------------------------------------


class Who(StrEnum):
    """Which people get a new address."""

    FOREIGN = "foreign"  # those whose address is not of the order's domain
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit that the order founds; `name` is how the rest of the order speaks of it."""

    name: str
    category: str
    under: str


@dataclass(frozen=True, slots=True)
class Province:
    """All units of one root go to another: same-named bodies merge, communes and the rest move."""

    unit: str
    into: str


@dataclass(frozen=True, slots=True)
class Merge:
    """Units that become one."""

    units: tuple[str, ...]
    into: str


@dataclass(frozen=True, slots=True)
class Split:
    """A unit that becomes several; `people`: address → unit, who is not named goes to the first."""

    unit: str
    into: tuple[str, ...]
    people: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """Units that stand under another one from now on."""

    units: tuple[str, ...]
    under: str


@dataclass(frozen=True, slots=True)
class Rename:
    """A unit that goes on under another name, or as something else."""

    unit: str
    name: str
    category: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """Units that end with nobody to follow them, as the districts did (row 13.8); letters to their old addresses, and
    what they left, go to `custodian`."""

    units: tuple[str, ...]
    custodian: str


@dataclass(frozen=True, slots=True)
class Order:
    """What has been decided. Units are named by number, by name, or by the names on the way to them with "›" between.
    `aliases_until`: until then old addresses receive."""

    title: str
    basis: str
    day: str
    domain: str
    aliases_until: str
    profile: str
    people: Who = Who.FOREIGN
    founds: tuple[NewUnit, ...] = ()
    provinces: tuple[Province, ...] = ()
    merges: tuple[Merge, ...] = ()
    splits: tuple[Split, ...] = ()
    moves: tuple[Move, ...] = ()
    renames: tuple[Rename, ...] = ()
    ends: tuple[End, ...] = ()


_TABLES: dict[str, tuple[str, type]] = {
    "unit": ("founds", NewUnit),
    "province": ("provinces", Province),
    "merge": ("merges", Merge),
    "split": ("splits", Split),
    "move": ("moves", Move),
    "rename": ("renames", Rename),
    "end": ("ends", End),
}
_HEAD = ("title", "basis", "day", "domain", "aliases_until", "profile", "people")


def read_order(data: bytes) -> Order:
    """An order as TOML. Raises `Refused("bad-order")` that names the place."""
    if len(data) > MAX_ORDER:
        raise Refused("bad-order", where="", reason=f"> {MAX_ORDER}")
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Refused("bad-order", where="", reason=error) from None
    head: dict[str, Any] = {}
    for key, value in table.items():
        if key in _TABLES:
            name, kind = _TABLES[key]
            rows = value if isinstance(value, list) else [value]
            head[name] = tuple(_row(key, number, row, kind) for number, row in enumerate(rows, 1))
        elif key in _HEAD:
            head[key] = _text(key, value.isoformat() if isinstance(value, date) else value)
        else:
            raise Refused("bad-order", where=key, reason=", ".join((*_HEAD, *_TABLES)))
    for key in _HEAD[:-1]:
        if not head.get(key):
            raise Refused("bad-order", where=key, reason="?")
    if head.get("people", Who.FOREIGN) not in set(Who):
        raise Refused("bad-order", where="people", reason=", ".join(Who))
    for key in ("day", "aliases_until"):
        head[key] = units.day(head[key])
    if head["aliases_until"] < head["day"]:
        raise Refused("days-reversed", since=head["day"], until=head["aliases_until"])
    if not addresses.is_domain(head["domain"].lower()):
        raise Refused("bad-order", where="domain", reason=head["domain"])
    return Order(**{**head, "domain": head["domain"].lower(), "people": Who(head.get("people", Who.FOREIGN))})


def _text(where: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > 1000:
        raise Refused("bad-order", where=where, reason='"…"')
    return value


def _row(key: str, number: int, row: object, kind: type) -> Any:
    where = f"[[{key}]] {number}"
    known = {each.name: each for each in fields(kind)}
    if not isinstance(row, dict) or set(row) - set(known):
        raise Refused("bad-order", where=where, reason=", ".join(known))
    made: dict[str, Any] = {}
    for name, value in row.items():
        if known[name].type == tuple[str, ...]:
            made[name] = tuple(
                _text(f"{where} {name}", each) for each in (value if isinstance(value, list) else [value])
            )
        elif known[name].type == Mapping[str, str]:
            if not isinstance(value, dict):
                raise Refused("bad-order", where=f"{where} {name}", reason="{ address = unit }")
            made[name] = {a: _text(f"{where} {name}", b) for a, b in value.items()}
        else:
            made[name] = _text(f"{where} {name}", value)
    try:
        return kind(**made)
    except TypeError:
        raise Refused("bad-order", where=where, reason=", ".join(known)) from None


# --- the directory as it is -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Holder:
    """An account that can receive. `category` of the unit, `birth` "" when not said."""

    account_id: int
    kind: Kind
    name: str
    address: str
    unit_id: int | None
    birth: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What the plan is drawn on. `held`: every registered address with the kind of its holder."""

    units: Mapping[int, Unit]
    holders: Sequence[Holder]
    held: Mapping[str, str]


# --- the plan ---------------------------------------------------------------------------------------------------------


class Act(StrEnum):
    """What a step does, in the order in which they run."""

    FOUND = "found"
    CHANGE = "change"
    BOX = "box"  # a unit that has no mailbox gets one
    ADDRESS = "address"
    BELONG = "belong"  # an account goes to another unit
    CLOSE = "close"  # a box that nobody carries on: its address goes to the successor's box for a time
    END = "end"
    LETTER = "letter"  # to somebody concerned


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `facts` as `actions/merging.py` reads them; `question`: somebody should look before it runs."""

    act: Act
    facts: Mapping[str, Any]
    question: str = ""


@dataclass(slots=True)
class _Drawing:
    order: Order
    profile: Profile
    world: World
    draw_id: Callable[[], int]
    units: dict[int, Unit]
    below: dict[int | None, list[int]]
    names: dict[str, list[int]]
    boxes: dict[int, Holder]
    given: dict[str, str]  # addresses that the plan itself gives
    goes_to: dict[int, int] = field(default_factory=dict)  # ended unit → where its people go
    successors: dict[int, list[int]] = field(default_factory=dict)
    how: dict[int, How] = field(default_factory=dict)
    founded: list[int] = field(default_factory=list)
    named: set[int] = field(default_factory=set)  # units whose name or kind changed
    chosen: dict[str, int] = field(default_factory=dict)  # person's address → unit, by a split
    custodians: dict[int, int] = field(default_factory=dict)


def draw(order: Order, world: World, profile: Profile, draw_id: Callable[[], int]) -> list[Step]:
    """The steps of an order. Raises `Refused`: no-such-unit-named, many-units, circle and what `naming.propose` does
    for units whose address cannot be formed."""
    d = _begin(order, world, profile, draw_id)
    for new in order.founds:
        _found(d, new)
    for rename in order.renames:
        unit = d.units[_ref(d, rename.unit)]
        d.units[unit.id] = units.checked(replace(unit, name=rename.name, category=rename.category or unit.category))
        d.named.add(unit.id)
    for move in order.moves:
        for text in move.units:
            _put_under(d, _ref(d, text), _ref(d, move.under))
    for merge in order.merges:
        for text in merge.units:
            _merge(d, _ref(d, text), _ref(d, merge.into))
    for province in order.provinces:
        _merge(d, _ref(d, province.unit), _ref(d, province.into))
    for split in order.splits:
        _split(d, split)
    for end in order.ends:
        for text in end.units:
            unit_id = _ref(d, text)
            d.custodians[unit_id] = d.goes_to[unit_id] = _ref(d, end.custodian)
            d.successors[unit_id], d.how[unit_id] = [], How.MERGED
    steps = list(_steps(d))
    return steps + [letter for step in steps for letter in _letters(step)]


def _letters(step: Step) -> Iterator[Step]:
    """Who is to be told of a step."""
    match step.act:
        case Act.ADDRESS:
            about = {key: step.facts[key] for key in ("account", "name", "was")}
            yield Step(Act.LETTER, {**about, "about": Act.ADDRESS.value, "until": step.facts["until"]})
        case Act.CLOSE:
            about = {key: step.facts[key] for key in ("unit", "name", "until")}
            yield Step(Act.LETTER, {**about, "about": Act.CLOSE.value, "was": step.facts["address"]})
        case _:
            pass


def _begin(order: Order, world: World, profile: Profile, draw_id: Callable[[], int]) -> _Drawing:
    standing = {u.id: u for u in world.units.values() if not u.until or u.until > order.day}
    below: dict[int | None, list[int]] = {}
    names: dict[str, list[int]] = {}
    for unit in sorted(standing.values(), key=lambda u: u.id):
        below.setdefault(unit.parent_id, []).append(unit.id)
        names.setdefault(findable(unit.name), []).append(unit.id)
    boxes: dict[int, Holder] = {}
    for holder in world.holders:
        if holder.kind in (Kind.ORGANISATION, Kind.UNIT) and holder.unit_id is not None:
            boxes.setdefault(holder.unit_id, holder)
    return _Drawing(order, profile, world, draw_id, standing, below, names, boxes, {})


def _ref(d: _Drawing, text: str) -> int:
    """The unit that is meant. Raises `Refused`: no-such-unit-named, many-units."""
    if text.isdigit() and int(text) in d.units:
        return int(text)
    *above, own = [findable(part) for part in text.split(_SEPARATOR)]
    found = [n for n in d.names.get(own, []) if _under(d, n, above)]
    if not found:
        raise Refused("no-such-unit-named", name=text)
    if len(found) > 1:
        raise Refused("many-units", known=", ".join(f"{n} {_way(d, n)}" for n in found[:10]))
    return found[0]


def _under(d: _Drawing, unit_id: int, above: Sequence[str]) -> bool:
    """Do these names stand, in this order, on the way down to the unit?"""
    wanted = list(above)
    for unit in _up(d, unit_id):
        if wanted and findable(unit.name) == wanted[-1]:
            wanted.pop()
    return not wanted


def _up(d: _Drawing, unit_id: int) -> Iterator[Unit]:
    """The units above, as they were before the order."""
    unit = d.world.units.get(unit_id) or d.units[unit_id]
    for _ in range(units.MAX_DEPTH):
        if (
            unit.parent_id is None
            or (above := d.world.units.get(unit.parent_id) or d.units.get(unit.parent_id)) is None
        ):
            return
        unit = above
        yield unit


def _way(d: _Drawing, unit_id: int) -> str:
    return f" {_SEPARATOR} ".join([u.name for u in reversed(list(_up(d, unit_id)))] + [d.units[unit_id].name])


def _found(d: _Drawing, new: NewUnit) -> None:
    unit = units.checked(
        Unit(d.draw_id(), _ref(d, new.under) if new.under else None, new.name, new.category, since=d.order.day)
    )
    d.units[unit.id] = unit
    d.below.setdefault(unit.parent_id, []).append(unit.id)
    d.names.setdefault(findable(unit.name), []).append(unit.id)
    d.founded.append(unit.id)


def _put_under(d: _Drawing, unit_id: int, parent_id: int) -> None:
    """Raises `Refused("circle")`."""
    unit = d.units[unit_id]
    above: int | None = parent_id
    for _ in range(units.MAX_DEPTH):
        if above == unit_id:
            raise Refused("circle")
        above = d.units[above].parent_id if above is not None else None
    d.below[unit.parent_id].remove(unit_id)
    d.below.setdefault(parent_id, []).append(unit_id)
    d.units[unit_id] = replace(unit, parent_id=parent_id)


def _merge(d: _Drawing, source: int, into: int) -> None:
    """`source` becomes part of `into`, and so do its bodies of the same kind and name; the rest moves under it. Two
    communes of one name stay two. Raises `Refused("circle")`."""
    if source == into or source in d.goes_to:
        raise Refused("merged-twice", name=d.units[source].name)
    same = {
        (d.units[n].category, findable(d.units[n].name)): n
        for n in d.below.get(into, [])
        if d.units[n].category not in PLACES and n not in d.goes_to
    }
    for child in list(d.below.get(source, [])):
        if child == into or child in d.goes_to:
            continue
        unit = d.units[child]
        twin = same.get((unit.category, findable(unit.name)))
        if twin is not None and twin != child:
            _merge(d, child, twin)
        else:
            _put_under(d, child, into)
    d.goes_to[source], d.how[source] = into, How.MERGED
    d.successors[source] = [into]


def _split(d: _Drawing, split: Split) -> None:
    source, into = _ref(d, split.unit), [_ref(d, text) for text in split.into]
    if not into or source in into or source in d.goes_to:
        raise Refused("merged-twice", name=d.units[source].name)
    for child in list(d.below.get(source, [])):
        if child not in into:
            _put_under(d, child, into[0])
    d.goes_to[source], d.how[source], d.successors[source] = into[0], How.SPLIT, into
    for address, text in split.people.items():
        d.chosen[addresses.normalise(address)] = _ref(d, text)


# --- steps ------------------------------------------------------------------------------------------------------------


def _steps(d: _Drawing) -> Iterator[Step]:
    for unit_id in d.founded:
        unit = d.units[unit_id]
        facts = {"id": unit.id, "parent": unit.parent_id, "name": unit.name, "category": unit.category}
        yield Step(Act.FOUND, {**facts, "since": unit.since})
    for unit_id, unit in d.units.items():
        was = d.world.units.get(unit_id)
        if was is not None and unit_id not in d.goes_to and was != unit:
            facts = {"id": unit_id, "name": unit.name, "category": unit.category, "parent": unit.parent_id}
            yield Step(Act.CHANGE, {**facts, "was": {"name": was.name, "parent": was.parent_id}})
    carried = dict(_carried(d))
    yield from _boxes(d, carried)
    yield from _people(d)
    for unit_id, holder in d.boxes.items():
        if unit_id in d.goes_to and carried.get(d.goes_to[unit_id]) != holder:
            heir = _final(d, unit_id)
            facts = {"account": holder.account_id, "address": holder.address, "name": holder.name, "unit": heir}
            yield Step(Act.CLOSE, {**facts, "until": d.order.aliases_until})
    for unit_id, successors in d.successors.items():
        facts = {"id": unit_id, "name": d.units[unit_id].name, "how": d.how[unit_id].value}
        yield Step(Act.END, {**facts, "day": d.order.day, "to": successors})


def _final(d: _Drawing, unit_id: int) -> int:
    """Where what belonged to this unit belongs in the end."""
    for _ in range(len(d.goes_to) + 1):
        if unit_id not in d.goes_to:
            break
        unit_id = d.goes_to[unit_id]
    return unit_id


def _carried(d: _Drawing) -> Iterator[tuple[int, Holder]]:
    """Which box goes on as whose: a unit without one carries on that of the first that became part of it."""
    seen = set(d.boxes)
    for unit_id, holder in d.boxes.items():
        heir = d.goes_to.get(unit_id)
        if heir is not None and unit_id not in d.custodians and heir not in seen:
            seen.add(heir)
            yield heir, holder


def _boxes(d: _Drawing, carried: Mapping[int, Holder]) -> Iterator[Step]:
    """New addresses of mailboxes of units, from the root down, since a name may contain that of the unit above."""
    waiting = [n for n in d.below.get(None, []) if n not in d.goes_to][::-1]
    locals_: dict[int, str] = {}
    while waiting:
        unit_id = waiting.pop()
        waiting += [n for n in d.below.get(unit_id, [])[::-1] if n not in d.goes_to]
        unit = d.units[unit_id]
        box = d.boxes.get(unit_id) or carried.get(unit_id)
        parent = locals_.get(unit.parent_id or 0, "")
        if box is None:
            if unit_id not in d.founded:
                locals_[unit_id] = ""
                continue
            candidate, choices, question = _unit_address(d, unit, parent)
            facts = {"unit": unit_id, "name": unit.name, "address": candidate.address, "clause": candidate.clause}
            locals_[unit_id] = candidate.address.partition("@")[0]
            yield Step(Act.BOX, {**facts, "why": candidate.why, "choices": choices}, question)
            continue
        locals_[unit_id] = box.address.partition("@")[0]
        foreign = addresses.domain_of(box.address) != d.order.domain
        if unit_id in carried:
            facts = {"account": box.account_id, "name": box.name, "unit": unit_id, "was": box.unit_id}
            yield Step(Act.BELONG, {**facts, "named": unit.name})
        if foreign or unit_id in carried or unit_id in d.named:
            candidate, choices, question = _unit_address(d, unit, parent, box.address)
            if candidate.address != box.address:
                yield _address(d, box, candidate, choices, question)
                locals_[unit_id] = candidate.address.partition("@")[0]


def _unit_address(d: _Drawing, unit: Unit, parent: str, own: str = "") -> tuple[Candidate, list[str], str]:
    """The address of a unit's box, the others that were possible, and what is to be asked about it."""
    parent_unit = d.units.get(unit.parent_id or 0)
    subject = Subject(
        kind=unit.category if unit.category in KINDS else "other",
        name=unit.name,
        parent=parent if parent_unit and parent_unit.category != "tinh" else "",
        parent_kind=parent_unit.category if parent_unit else "",
        domain=d.order.domain,
        on=date.fromisoformat(d.order.day),
    )
    by_rule = naming.propose(d.profile, subject)
    found = [c for c in by_rule if c.address == own][:1] or naming.propose(d.profile, subject, _taken(d))
    first, *others = found
    question = ""
    if first.address != by_rule[0].address and first.address != own:
        held = d.world.held.get(by_rule[0].address) or d.given.get(by_rule[0].address, "")
        question = f"{by_rule[0].address}: {held}"
    d.given[first.address] = unit.category
    return first, [c.address for c in others[:4]], question


def _taken(d: _Drawing) -> naming.Taken:
    def taken(asked: Sequence[str]) -> dict[str, str]:
        return {a: kind for a in asked if (kind := d.world.held.get(a) or d.given.get(a))}

    return taken


def _address(d: _Drawing, holder: Holder, new: Candidate, choices: list[str], question: str) -> Step:
    facts = {"account": holder.account_id, "name": holder.name, "was": holder.address, "address": new.address}
    more = {"until": d.order.aliases_until, "clause": new.clause, "why": new.why, "choices": choices}
    return Step(Act.ADDRESS, {**facts, **more}, question)


def _people(d: _Drawing) -> Iterator[Step]:
    for holder in d.world.holders:
        if holder.kind in (Kind.ORGANISATION, Kind.UNIT):
            continue
        unit_id = d.chosen.get(holder.address, holder.unit_id if holder.unit_id is not None else -1)
        if unit_id in d.goes_to:
            unit_id = _final(d, unit_id)
        if unit_id != (holder.unit_id if holder.unit_id is not None else -1):
            facts = {"account": holder.account_id, "name": holder.name, "unit": unit_id, "was": holder.unit_id}
            yield Step(Act.BELONG, facts)
        if holder.kind is not Kind.PERSON or d.order.people is Who.NONE or unit_id not in d.units:
            continue
        if d.order.people is Who.ALL or addresses.domain_of(holder.address) != d.order.domain:
            yield from _person_address(d, holder, unit_id)


def _person_address(d: _Drawing, holder: Holder, unit_id: int) -> Iterator[Step]:
    """The local part that somebody has is kept when the rule gives it too and it is free: least is to be learnt."""
    box = d.boxes.get(unit_id)
    subject = Subject(
        kind="person",
        name=holder.name,
        parent=box.address if box else "",
        birth=date.fromisoformat(holder.birth) if holder.birth else None,
        domain=d.order.domain,
        on=date.fromisoformat(d.order.day),
    )
    taken = _taken(d)
    kept = f"{holder.address.partition('@')[0]}@{d.order.domain}"
    try:
        by_rule = naming.propose(d.profile, subject)
        if kept in {c.address for c in by_rule} and (kept == holder.address or not taken([kept])):
            found = [c for c in by_rule if c.address == kept]
        else:
            found = naming.propose(d.profile, subject, taken)
    except Refused as refused:
        facts = {"account": holder.account_id, "name": holder.name, "was": holder.address, "address": ""}
        yield Step(Act.ADDRESS, {**facts, "until": d.order.aliases_until, "choices": []}, refused.code)
        return
    if found[0].address != holder.address:
        d.given[found[0].address] = "person"
        yield _address(d, holder, found[0], [c.address for c in found[1:5]], "")
