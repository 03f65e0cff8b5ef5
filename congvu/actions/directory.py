"""The directory as it is read and kept: units, people's posts and contacts, who answers for a unit's mailbox.

`who` is the first argument after the transaction; every act asks `roles` in the transaction that does it and writes an
audit row. Reading gives `Card`s, in which the fields that this viewer may not see are empty: whatever shows them (LDAP,
API, consoles) has nothing to hide any more (rows 7.2, 7.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from congvu.base.clock import Identifiers
from congvu.base.failure import Refused
from congvu.db.engine import Tx
from congvu.directory import entries, people, roles, units
from congvu.directory.entries import Contact, Entry, Shown
from congvu.directory.people import Duty, Kind, Person, Post
from congvu.directory.roles import Actor, Grant, Right, note
from congvu.directory.units import How, Unit

# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Card:
    """An entry as one viewer sees it. `path`: names of units from the province down to the own one."""

    account_id: int
    kind: Kind
    name: str
    family: str
    middle: str
    given: str
    title: str
    unit_id: int | None
    path: tuple[str, ...]
    address: str
    aliases: tuple[str, ...]
    phone: str
    mobile: str
    place: str
    public: bool


class View(StrEnum):
    """What a list is for."""

    LISTED = "listed"  # whom everybody who signed in may find
    MANAGED = "managed"  # all in the own part, hidden and locked ones and every field
    PUBLIC = "public"  # the list of official addresses for everybody (row 7.4)


def find(
    tx: Tx,
    who: Actor,
    text: str,
    view: View = View.LISTED,
    *,
    unit_id: int | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[Card]:
    """Cards with all these beginnings of words, in a unit and below it or anywhere, by number, those after `after`.
    Raises `Refused("not-allowed")`."""
    scope = roles.scope(who, Right.READ) if view is View.MANAGED else roles.listed(who)
    found = entries.search(
        tx,
        text,
        scope,
        units_below=unit_id,
        everybody=view is View.MANAGED,
        public=view is View.PUBLIC,
        after=after,
        limit=limit,
    )
    return _cards(tx, who, found, view)


def suggest(tx: Tx, who: Actor, text: str, limit: int = 20) -> list[Card]:
    """For completing an address while it is typed; see `entries.suggest`."""
    return _cards(tx, who, entries.suggest(tx, text, roles.listed(who), limit), View.LISTED)


def cards(tx: Tx, who: Actor, account_ids: Sequence[int]) -> list[Card]:
    """The cards of these accounts, as far as everybody may find them."""
    found = [e for e in entries.get_many(tx, account_ids) if e.shown & Shown.LISTED and e.receives]
    return _cards(tx, who, found, View.LISTED)


def _cards(tx: Tx, who: Actor, found: Sequence[Entry], view: View) -> list[Card]:
    names = people.persons(tx, [e.account_id for e in found])
    ways = _paths(tx, [e.unit_id for e in found if e.unit_id is not None])
    return [_card(who, entry, names.get(entry.account_id), ways.get(entry.unit_id or 0, ()), view) for entry in found]


def _card(who: Actor, entry: Entry, person: Person | None, way: tuple[Unit, ...], view: View) -> Card:
    roots = who.roots(Right.READ)
    own = view is not View.PUBLIC and (
        who.account_id is None or who.account_id == entry.account_id or any(unit.id in roots for unit in way)
    )
    return Card(
        account_id=entry.account_id,
        kind=entry.kind,
        name=entry.name,
        family=person.family if person else "",
        middle=person.middle if person else "",
        given=person.given if person else "",
        title=entry.title,
        unit_id=entry.unit_id,
        path=tuple(unit.name for unit in way),
        address=entry.address,
        aliases=entry.aliases if view is not View.PUBLIC else (),
        phone=entry.phone if own or entry.shown & Shown.PHONE else "",
        mobile=entry.mobile if own or entry.shown & Shown.MOBILE else "",
        place=entry.place,
        public=bool(entry.shown & Shown.PUBLIC),
    )


def _paths(tx: Tx, unit_ids: Sequence[int]) -> dict[int, tuple[Unit, ...]]:
    """The way from the root to each of these units; one read a level."""
    known: dict[int, Unit] = {}
    asked = set(unit_ids)
    while asked:
        level = units.some(tx, sorted(asked))
        known |= level
        asked = {unit.parent_id for unit in level.values() if unit.parent_id is not None} - known.keys()
    ways: dict[int, tuple[Unit, ...]] = {}
    for unit_id in set(unit_ids) & known.keys():
        way = [known[unit_id]]
        while (above := way[-1].parent_id) in known and len(way) < units.MAX_DEPTH:
            way.append(known[above])
        ways[unit_id] = tuple(reversed(way))
    return ways


# --- units ------------------------------------------------------------------------------------------------------------


def add_unit(tx: Tx, who: Actor, unit: Unit, why: str, now: float) -> None:
    """Raises what `units.add` does, and `Refused("not-allowed")`."""
    roles.need(tx, who, Right.MANAGE, unit.parent_id)
    units.add(tx, unit)
    facts = {"name": unit.name, "category": unit.category, "parent": unit.parent_id, "since": unit.since}
    note(tx, who, "unit.add", now, on=unit.id, why=why, facts=facts)


def add_communes(tx: Tx, who: Actor, parent_id: int, communes: Sequence[Unit], why: str, now: float) -> int:
    """The communes of a province that are not there yet (by their number); how many were added. Raises as
    `add_unit`."""
    roles.need(tx, who, Right.MANAGE, parent_id)
    known = {unit.code for unit in units.children(tx, parent_id) if unit.code}
    missing = [unit for unit in communes if unit.code not in known]
    units.add_children(tx, parent_id, missing)
    note(tx, who, "unit.communes", now, on=parent_id, why=why, facts={"codes": [unit.code for unit in missing]})
    return len(missing)


def change_unit(tx: Tx, who: Actor, unit: Unit, why: str, now: float) -> None:
    """A new name, place in the tree or rule. Addresses stay as they are (row 3.15). Raises what `units.change` does,
    and `Refused("not-allowed")`, also for where it is put."""
    roles.need(tx, who, Right.MANAGE, unit.id)
    was = units.change(tx, unit)
    if was.parent_id != unit.parent_id:
        roles.need(tx, who, Right.MANAGE, unit.parent_id)
    fields = ("parent_id", "name", "category", "since", "until", "domain", "profile", "code")
    new = units.must_get(tx, unit.id)
    changed = {f: [getattr(was, f), getattr(new, f)] for f in fields if getattr(was, f) != getattr(new, f)}
    note(tx, who, "unit.change", now, on=unit.id, why=why, facts=changed)


def end_unit(
    tx: Tx, who: Actor, unit_id: int, on: str, successors: Sequence[int], how: How, why: str, now: float
) -> None:
    """The unit is no more from that day. Its people and boxes stay where they are until they are moved. Raises what
    `units.end` does, and `Refused("not-allowed")`."""
    roles.need(tx, who, Right.MANAGE, unit_id)
    units.end(tx, unit_id, on, successors, how)
    note(tx, who, "unit.end", now, on=unit_id, why=why, facts={"day": on, "to": list(successors), "how": how.value})


# --- people -----------------------------------------------------------------------------------------------------------


def change_person(tx: Tx, who: Actor, person: Person, why: str, now: float) -> None:
    """Another name, birth or category; the address stays (row 3.15). Raises `Refused`: not-allowed, no-such-account,
    bad-name."""
    roles.need_account(tx, who, Right.MANAGE, person.account_id)
    was = people.persons(tx, [person.account_id]).get(person.account_id)
    people.change_person(tx, person)
    entries.renew(tx, [person.account_id])
    note(tx, who, "person.change", now, on=person.account_id, why=why, facts={"was": _named(was), "is": _named(person)})


def _named(person: Person | None) -> str:
    return " ".join(f"{person.family} {person.middle} {person.given}".split()) if person else ""


def set_posts(tx: Tx, who: Actor, account_id: int, posts: Sequence[Post], why: str, now: float) -> None:
    """All posts of a person; the main one says where the account belongs. Needs the right where the person is and
    where the person goes. Raises `Refused`: not-allowed, no-such-account, no-such-unit, one-main-post."""
    roles.need_account(tx, who, Right.MANAGE, account_id)
    for unit_id in dict.fromkeys(post.unit_id for post in posts):
        roles.need(tx, who, Right.MANAGE, unit_id)
    was = people.posts(tx, account_id)
    people.set_posts(tx, account_id, posts)
    contact = entries.contact(tx, account_id) or Contact(account_id)
    title = next(post.title for post in posts if post.main)
    entries.put_many(tx, [replace(contact, title=title)])
    entries.renew(tx, [account_id])
    told = {"was": [(p.unit_id, p.title) for p in was], "is": [(p.unit_id, p.title) for p in posts]}
    note(tx, who, "person.posts", now, on=account_id, why=why, facts=told)


def set_contact(tx: Tx, who: Actor, contact: Contact, now: float) -> None:
    """Telephones, place and who sees them. A person may do that for the own entry, but neither hide it nor choose the
    title nor go on the public list (rows 7.4, 7.5). Raises `Refused`: not-allowed, no-such-account, bad-name."""
    was = entries.contact(tx, contact.account_id)
    if was is None:
        raise Refused("no-such-account")
    if who.account_id == contact.account_id:
        fixed = Shown.LISTED | Shown.PUBLIC
        wanted = replace(contact, title=was.title, shown=(was.shown & fixed) | (contact.shown & ~fixed))
    else:
        roles.need_account(tx, who, Right.MANAGE, contact.account_id)
        wanted = contact
    for text in (wanted.title, wanted.phone, wanted.mobile, wanted.place):
        if text:
            people.checked_name(text)
    entries.put_many(tx, [wanted])
    entries.renew(tx, [wanted.account_id])
    note(tx, who, "person.contact", now, on=wanted.account_id, facts={"shown": int(wanted.shown)})


def set_duty(tx: Tx, who: Actor, duty: Duty, why: str, now: float) -> None:
    """Who heads the unit whose mailbox this is. (Another clerk is a hand-over: `lifecycle.hand_over`.) Raises
    `Refused`: not-allowed, no-such-account, no-box."""
    roles.need_account(tx, who, Right.MANAGE, duty.account_id)
    box = people.get(tx, duty.account_id)
    if box is None or box.kind is Kind.PERSON:
        raise Refused("no-box")
    for person in (duty.head_id, duty.clerk_id):
        held = people.get(tx, person) if person is not None else None
        if person is not None and (held is None or held.kind is not Kind.PERSON):
            raise Refused("no-such-account")
    people.set_duty(tx, duty)
    note(tx, who, "box.duty", now, on=duty.account_id, why=why, facts={"head": duty.head_id, "clerk": duty.clerk_id})


# --- roles ------------------------------------------------------------------------------------------------------------


def give_role(tx: Tx, who: Actor, account_id: int, grant: Grant, since: str, until: str, why: str, now: float) -> None:
    """Raises `Refused`: not-allowed, not-on-oneself, no-such-account, no-such-unit, bad-day."""
    roles.need(tx, who, Right.ASSIGN, grant.unit_id)
    units.must_get(tx, grant.unit_id)
    if who.account_id == account_id:
        raise Refused("not-on-oneself", right=Right.ASSIGN.value)
    held = people.get(tx, account_id)
    if held is None or held.kind is not Kind.PERSON:  # row 5.10: every act has a human name
        raise Refused("no-such-account")
    roles.assign(tx, account_id, grant, since, until)
    facts = {"role": grant.role.value, "unit": grant.unit_id, "since": since, "until": until}
    note(tx, who, "role.give", now, on=account_id, why=why, facts=facts)


def take_role(tx: Tx, who: Actor, account_id: int, grant: Grant, why: str, now: float) -> None:
    """Raises `Refused`: not-allowed, no-such-role."""
    roles.need(tx, who, Right.ASSIGN, grant.unit_id)
    if not roles.withdraw(tx, account_id, grant):
        raise Refused("no-such-role")
    note(tx, who, "role.take", now, on=account_id, why=why, facts={"role": grant.role.value, "unit": grant.unit_id})


# --- communes ---------------------------------------------------------------------------------------------------------


def communes_of(province: str, ids: Identifiers) -> list[Unit]:
    """Today's communes of a province, from the State's list (after 1 July 2025). `province`: its name, marks or not.
    Raises `Refused("no-such-province")`."""
    from vietnam_provinces import Province, Ward  # noqa: PLC0415  half a second, for a command used once

    from congvu.base.vietnamese import findable  # noqa: PLC0415

    wanted = findable(province.removeprefix("Tỉnh ").removeprefix("Thành phố "))
    provinces = Province.iter_all()
    found = next((p for p in provinces if findable(p.name) == wanted), None)
    if found is None:
        raise Refused("no-such-province", name=province, known=", ".join(p.name for p in Province.iter_all()))
    kinds = {"xã": "xa", "phường": "phuong", "đặc khu": "dackhu", "thị trấn": "thitran"}
    return [
        Unit(ids.draw(), None, ward.name, kinds.get(ward.division_type.value, "other"), code=f"{ward.code.value:05}")
        for ward in Ward.iter_by_province(found.code)
    ]
