"""What is told of a request: its lines as the reply letter, the sheets and the lists show them.

Reads only; a few statements for a list, however long. Must never see a password longer than it takes to hand it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from congvu.actions.letters import Answered, HandedOver, Sealed
from congvu.actions.requests import Handed
from congvu.actions.sheets_out import Line
from congvu.db.engine import Tx
from congvu.directory import entries, requests, roles, units
from congvu.directory.entries import Entry
from congvu.directory.requests import Change, HandOver, Issue, Item, Outcome, Request, Transfer
from congvu.directory.roles import Actor, Right
from congvu.directory.units import Unit
from congvu.mailstore import mailbox

_RESULTS = {Outcome.OPEN: "", Outcome.GRANTED: "Đã thực hiện", Outcome.REFUSED: "Chưa thực hiện"}


@dataclass(frozen=True, slots=True)
class _About:
    """Everybody and every unit that the items of a request speak of."""

    entries: dict[int, Entry]
    units: dict[int, Unit]

    def account(self, number: int | None) -> Entry | None:
        return self.entries.get(number) if number is not None else None

    def unit(self, number: int | None) -> str:
        found = self.units.get(number) if number is not None else None
        return found.name if found else ""


def _about(tx: Tx, some: Sequence[Item]) -> _About:
    numbers = {i.account_id for i in some if i.account_id is not None}
    numbers |= {n for i in some if isinstance(i.facts, HandOver) for n in _clerks(i.facts) if n}
    known = {each.account_id: each for each in entries.get_many(tx, sorted(numbers))}
    wanted = {each.unit_id for each in known.values() if each.unit_id is not None}
    wanted |= {i.facts.unit_id for i in some if isinstance(i.facts, Issue | Transfer)}
    return _About(known, units.some(tx, sorted(wanted)))


def _clerks(facts: HandOver) -> tuple[int, int, int]:
    return facts.clerk_id, facts.head_id, facts.from_id


def answered(tx: Tx, who: Actor, request_id: int) -> tuple[Request, str, list[Answered]]:
    """The request, the agency's name, and each line with what came of it. Raises `Refused`: no-such-request,
    not-allowed."""
    request = requests.must_get(tx, request_id)
    roles.need(tx, who, Right.READ, request.unit_id)
    some = requests.items(tx, request)
    about = _about(tx, some)
    return request, units.must_get(tx, request.unit_id).name, [_answered(item, about) for item in some]


def _answered(item: Item, about: _About) -> Answered:
    account = about.account(item.account_id)
    name, title, unit, address = "", "", "", ""
    if account is not None:
        name, title, unit, address = account.name, account.title, about.unit(account.unit_id), account.address
    if isinstance(item.facts, Issue):
        name, title, unit = item.facts.name, item.facts.title, about.unit(item.facts.unit_id)
    elif isinstance(item.facts, HandOver):
        clerk = about.account(item.facts.clerk_id)
        title = f"người nhận: {clerk.name}" if clerk else ""
    return Answered(name, title, unit, address, item.outcome, item.remark)


def sealed(tx: Tx, request_id: int, handed: Sequence[Handed]) -> list[Sealed]:
    """What stands on the sheets. A mailbox that was handed over: its sheet is the new clerk's."""
    request = requests.must_get(tx, request_id)
    lines = {each.line for each in handed}
    some = [item for item in requests.items(tx, request) if item.line in lines]
    about = _about(tx, some)
    by_line = {item.line: item for item in some}
    found = []
    for each in handed:
        account = about.account(each.account_id)
        facts = by_line[each.line].facts
        reader = about.account(facts.clerk_id) if isinstance(facts, HandOver) else account
        if account is None or reader is None:
            continue
        unit = about.unit(account.unit_id)
        found.append(Sealed(reader.name, reader.title, unit, account.address, each.password))
    return found


def handed_over(tx: Tx, who: Actor, request_id: int) -> tuple[str, list[HandedOver]]:
    """The agency's name, and the mailboxes that went to other clerks, for their minutes (row 3.14). Raises `Refused`:
    no-such-request, not-allowed."""
    request = requests.must_get(tx, request_id)
    roles.need(tx, who, Right.READ, request.unit_id)
    some = [item for item in requests.items(tx, request) if item.outcome is Outcome.GRANTED]
    about = _about(tx, some)
    found = []
    for item in some:
        box = about.account(item.account_id)
        if isinstance(item.facts, HandOver) and box is not None:
            clerk, head, before = (about.account(number) for number in _clerks(item.facts))
            room = mailbox.quota(tx, box.account_id)
            found.append(
                HandedOver(
                    box.name,
                    box.address,
                    before.name if before else "",
                    clerk.name if clerk else "",
                    head.name if head else "",
                    room.messages,
                    room.used >> 20,
                )
            )
    return units.must_get(tx, request.unit_id).name, found


def lines(tx: Tx, who: Actor, request_id: int) -> tuple[Request, list[Line]]:
    """The request as a list. Raises `Refused`: no-such-request, not-allowed."""
    request = requests.must_get(tx, request_id)
    roles.need(tx, who, Right.READ, request.unit_id)
    some = requests.items(tx, request)
    about = _about(tx, some)
    return request, [_line(item, about) for item in some]


def _line(item: Item, about: _About) -> Line:
    account = about.account(item.account_id)
    cells = {"why": getattr(item.facts, "why", "")}
    if account is not None:
        cells |= {"address": account.address, "name": account.name, "title": account.title}
        cells["unit"] = about.unit(account.unit_id)
    match item.facts:
        case Issue() as f:
            cells |= {"name": f.name, "title": f.title, "unit": about.unit(f.unit_id), "mobile": f.mobile}
            cells |= {"birth": _day(f.birth), "number": f.number, "category": f.category, "wish": f.wish}
        case Change() as f:
            cells |= {"new_name": f.name, "new_title": f.title, "new_mobile": f.mobile, "new_address": f.address}
        case Transfer() as f:
            cells |= {"new_unit": about.unit(f.unit_id), "new_title": f.title, "new_address": f.address}
        case HandOver() as f:
            for key, number in (("clerk", f.clerk_id), ("head", f.head_id)):
                other = about.account(number)
                cells[key] = other.address if other else ""
        case _:
            pass
    given = account.address if account is not None and item.outcome is Outcome.GRANTED else ""
    return Line(cells, _RESULTS[item.outcome], given, item.remark)


def _day(iso: str) -> str:
    return "/".join(reversed(iso.split("-"))) if iso else ""
