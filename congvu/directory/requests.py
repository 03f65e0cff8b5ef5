"""Requests (phiếu yêu cầu, rows 3.1–3.8): what an agency asks for in writing, item by item, and what came of it.

Promises that what is kept of an item is typed and versioned (an unknown fact is refused, never skipped), that a request
is decided once, by whoever named the version that stands, and that the loser of a race is told who was first and when.
Must never change an account: what a decision means is carried out by `actions/requests.py`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Any, get_type_hints

from congvu.base.clock import VIETNAM, day_of
from congvu.base.failure import Refused
from congvu.base.vietnamese import nfc
from congvu.db.engine import Row, Tx
from congvu.directory import people, units
from congvu.directory.people import checked_name
from congvu.directory.profile import Profile
from congvu.directory.roles import Scope

MAX_ITEMS = 20_000
MAX_TEXT = 500  # characters of a summary, a reason, an answer
_VERSION = 1  # of the facts of an item


class Kind(StrEnum):
    """What is asked for (rows 3.1, 3.7, 3.8, 3.14)."""

    ISSUE = "issue"  # cấp mới
    CHANGE = "change"  # thay đổi
    REVOKE = "revoke"  # thu hồi
    LOCK = "lock"  # khóa tạm thời
    RESTORE = "restore"  # khôi phục
    RESET = "reset"  # cấp lại mật khẩu
    TRANSFER = "transfer"  # điều chuyển
    HAND_OVER = "hand_over"  # bàn giao


class State(StrEnum):
    """Where a request stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    WITHDRAWN = "withdrawn"
    RUNNING = "running"  # decided; a long list is being carried out portion by portion
    GRANTED = "granted"
    PARTLY = "partly"
    REFUSED = "refused"


OPEN = (State.SUBMITTED, State.RUNNING)


class Outcome(StrEnum):
    """What came of an item."""

    OPEN = ""
    GRANTED = "granted"
    REFUSED = "refused"


class Ground(StrEnum):
    """Why (rows 3.3, 4.4, 4.5, 4.8)."""

    UNSAID = ""
    FOUNDED = "founded"
    DISSOLVED = "dissolved"
    MERGED = "merged"
    RECRUITED = "recruited"
    RECEIVED = "received"
    CONTRACTED = "contracted"
    MOVED = "moved"
    RETIRED = "retired"
    LEFT = "left"
    COMPROMISED = "compromised"
    PROHIBITED = "prohibited"
    OTHER = "other"


# ---- what is asked, by kind


@dataclass(frozen=True, slots=True)
class Issue:
    """A new mailbox. `holder`: kind of account; `wish`: an address that the agency would like, "" the rule's own;
    `number`: of the personnel file; `identity`: last four digits of the CCCD, where the rules make addresses of
    them."""

    name: str
    unit_id: int
    title: str = ""
    birth: str = ""
    mobile: str = ""
    number: str = ""
    category: str = ""
    holder: str = people.Kind.PERSON.value
    wish: str = ""
    identity: str = ""
    ground: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """New data; "" stays as it is. A new `address` keeps the old one for the profile's time."""

    name: str = ""
    title: str = ""
    mobile: str = ""
    address: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Revoke:
    """`day`: of the decision by which somebody left, for the agency's clock (row 3.11)."""

    ground: str = ""
    day: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    ground: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    why: str = ""


@dataclass(frozen=True, slots=True)
class Transfer:
    """To another unit of the province; the mailbox stays (row 3.7). `address`: a new one, where the profile names the
    agency in it."""

    unit_id: int
    title: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class HandOver:
    """The mailbox of an organisation or unit gets a new clerk (row 3.14); `head_id` 0: the head stays. `from_id`: the
    clerk before, 0 none, as it was found when it was granted."""

    clerk_id: int
    head_id: int = 0
    why: str = ""
    from_id: int = 0


Facts = Issue | Change | Revoke | Lock | Restore | Reset | Transfer | HandOver
FACTS: dict[Kind, type[Facts]] = {
    Kind.ISSUE: Issue,
    Kind.CHANGE: Change,
    Kind.REVOKE: Revoke,
    Kind.LOCK: Lock,
    Kind.RESTORE: Restore,
    Kind.RESET: Reset,
    Kind.TRANSFER: Transfer,
    Kind.HAND_OVER: HandOver,
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that a person has to look at before the item is granted: a code of the catalogue and its facts."""

    code: str
    facts: Mapping[str, str]

    def said(self) -> Refused:
        return Refused(self.code, **self.facts)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a request. `doubts`: found when the line came in (row 7.7); `choice`: the address the operator chose;
    `confirmed`: the operator has looked at the doubts; `remark`: why it was refused, or the clause of the address."""

    line: int
    facts: Facts
    account_id: int | None = None
    doubts: tuple[Doubt, ...] = ()
    choice: str = ""
    confirmed: bool = False
    outcome: Outcome = Outcome.OPEN
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `number`, `dated`, `summary`: số/ký hiệu, ngày, trích yếu of the agency's letter; `basis`: number of
    the decision behind it; `file`: hash of the signed letter; `due`: last day for the answer, "" before it is submitted
    and where no text says one; `version` grows with each change."""

    id: int
    kind: Kind
    unit_id: int
    number: str
    dated: str
    summary: str
    basis: str = ""
    state: State = State.DRAFT
    file: bytes | None = None
    file_name: str = ""
    created: int = 0
    created_by: str = ""
    due: str = ""
    decided: int = 0
    decided_by: str = ""
    answer: str = ""
    reply_number: str = ""
    version: int = 1


def checked(request: Request) -> Request:
    """The request as it is kept. Raises `Refused`: bad-name, bad-day, request-needs."""
    if not request.number.strip() or not request.dated or not request.summary.strip():  # row 3.2
        raise Refused("request-needs")
    return replace(
        request,
        number=text(request.number, 100),
        dated=units.day(request.dated),
        summary=text(request.summary),
        basis=text(request.basis, 200),
    )


def text(words: str, most: int = MAX_TEXT) -> str:
    """A text of one line, NFC, "" allowed. Raises `Refused("bad-text")`."""
    clean = " ".join(nfc(words[: 4 * most]).split())
    if len(clean) > most or (clean and not clean.isprintable()):
        raise Refused("bad-text", text=clean[:60])
    return clean


# ---- how long it may take


def due(profile: Profile, kind: Kind, now: float, working: Callable[[float, int], date]) -> str:
    """The last day for the answer to what comes now: so many working days later (row 3.4), "" when no text says any.
    `working(moment, n)`: the n-th working day after the one on which it counts as come. A password has hours (row 3.8):
    the day on which they end."""
    if kind is Kind.RESET:
        period = profile.deadline.password.or_none
        return "" if period is None else day_of(now + period.seconds).isoformat()
    key = "handover" if kind is Kind.HAND_OVER else kind.value
    days = getattr(profile.deadline, key).or_none
    return "" if days is None else working(now, days).isoformat()


# ---- facts as they are kept


def packed(item: Item) -> str:
    """JSON of what is asked, with its version."""
    said = {key: value for key, value in asdict(item.facts).items() if value not in ("", 0)}
    told: dict[str, object] = {"v": _VERSION, "facts": said}
    if item.doubts:
        told["doubts"] = [[doubt.code, dict(doubt.facts)] for doubt in item.doubts]
    if item.choice:
        told["choice"] = item.choice
    if item.confirmed:
        told["confirmed"] = True
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def facts_from(kind: Kind, table: object) -> Facts:
    """Typed facts of plain values, as they come from JSON. Raises `Refused("request-facts")`, naming the key."""
    wanted = FACTS[kind]
    hints = get_type_hints(wanted)
    if not isinstance(table, dict):
        raise Refused("request-facts", key="facts")
    for key, value in table.items():
        if key not in hints or type(value) is not hints[key]:
            raise Refused("request-facts", key=str(key)[:40])
    missing = [each.name for each in fields(wanted) if each.name not in table and _must(kind, each.name)]
    if missing:
        raise Refused("request-facts", key=missing[0])
    try:
        return wanted(**table)
    except TypeError:  # a field without which nothing can be asked
        raise Refused("request-facts", key=", ".join(set(hints) - set(table))) from None


def _must(kind: Kind, name: str) -> bool:
    return (kind, name) in {
        (Kind.ISSUE, "name"),
        (Kind.ISSUE, "unit_id"),
        (Kind.TRANSFER, "unit_id"),
        (Kind.HAND_OVER, "clerk_id"),
    }


def unpacked(kind: Kind, line: int, account_id: int | None, facts: str, outcome: str, remark: str) -> Item:
    table: dict[str, Any] = json.loads(facts)
    if table.get("v") != _VERSION:
        raise Refused("request-facts", key="v")
    doubts = tuple(Doubt(code, told) for code, told in table.get("doubts", []))
    read = facts_from(kind, table["facts"])
    chosen, confirmed = table.get("choice", ""), table.get("confirmed", False)
    return Item(line, read, account_id, doubts, chosen, confirmed, Outcome(outcome), remark)


def clean(kind: Kind, item: Item) -> Item:
    """An item as it may be kept. Raises `Refused`: request-facts, request-about-whom, bad-name, bad-day, bad-text."""
    if not isinstance(item.facts, FACTS[kind]):
        raise Refused("request-facts", key=type(item.facts).__name__)
    if (item.account_id is None) != (kind is Kind.ISSUE):
        raise Refused("request-about-whom")
    changed = {
        each.name: units.day(value) if each.name in ("birth", "day") else text(value, people.MAX_NAME)
        for each in fields(item.facts)
        if isinstance(value := getattr(item.facts, each.name), str)
    }
    match item.facts:
        case Issue():
            changed["name"] = checked_name(item.facts.name)
            if item.facts.holder not in set(people.Kind):
                raise Refused("no-such-kind", kind=item.facts.holder[:40], known=", ".join(people.Kind))
        case Change() if not any((item.facts.name, item.facts.title, item.facts.mobile, item.facts.address)):
            raise Refused("request-changes-nothing")
        case _:
            pass
    ground = changed.get("ground", "")
    if ground not in set(Ground):
        raise Refused("request-facts", key="ground")
    return replace(item, facts=_with(item.facts, changed))


def _with(facts: Any, changed: Mapping[str, str]) -> Any:
    return replace(facts, **changed)


# ---- rows

_COLUMNS = (
    "id, kind, unit_id, number, dated, summary, basis, state, file, file_name, created, created_by, due, decided,"
    " decided_by, answer, reply_number, version"
)
_SELECT = f"SELECT {_COLUMNS} FROM request"  # noqa: S608  constant columns


def _request(row: Row) -> Request:
    number, kind, unit_id, sign, dated, summary, basis, state, file, *rest = row
    hash_ = None if file is None else bytes(file)
    return Request(number, Kind(kind), unit_id, sign, dated, summary, basis, State(state), hash_, *rest)


def add(tx: Tx, request: Request) -> None:
    """A new draft."""
    r = request
    tx.run(
        f"INSERT INTO request ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  constant columns
        *(r.id, r.kind.value, r.unit_id, r.number, r.dated, r.summary, r.basis, r.state.value, r.file, r.file_name),
        *(r.created, r.created_by, r.due, r.decided, r.decided_by, r.answer, r.reply_number, r.version),
    )


def get(tx: Tx, request_id: int) -> Request | None:
    row = tx.one(f"{_SELECT} WHERE id = ?", request_id)
    return _request(row) if row else None


def must_get(tx: Tx, request_id: int) -> Request:
    """Raises `Refused("no-such-request")`."""
    request = get(tx, request_id)
    if request is None:
        raise Refused("no-such-request", request=request_id)
    return request


def take(tx: Tx, request_id: int, version: int, *states: State) -> Request:
    """The request, for a change by somebody who saw this version of it: from here on nobody else comes in between.
    Raises `Refused`: no-such-request, request-decided, request-changed, request-state."""
    tx.run("UPDATE request SET version = version + 1 WHERE id = ?", request_id)
    request = must_get(tx, request_id)
    if request.state not in states:
        if request.decided:
            raise Refused(
                "request-decided", by=request.decided_by, at=_moment(request.decided), state=request.state.value
            )
        raise Refused("request-state", state=request.state.value)
    if version != request.version - 1:
        raise Refused("request-changed", version=request.version - 1, seen=version)
    return request


def _moment(at: int) -> str:
    """As people in Vietnam read it."""
    return f"{datetime.fromtimestamp(at, VIETNAM):%H:%M %d/%m/%Y}"


def put(tx: Tx, request: Request) -> None:
    """Keeps what changed of a request that was taken."""
    r = request
    tx.run(
        "UPDATE request SET state = ?, number = ?, dated = ?, summary = ?, basis = ?, file = ?, file_name = ?, due = ?,"
        " decided = ?, decided_by = ?, answer = ?, reply_number = ? WHERE id = ?",
        *(r.state.value, r.number, r.dated, r.summary, r.basis, r.file, r.file_name, r.due),
        *(r.decided, r.decided_by, r.answer, r.reply_number, r.id),
    )


def add_items(tx: Tx, request: Request, items: Sequence[Item]) -> None:
    """Raises `Refused("request-too-long")`. The items are `clean`, their lines new."""
    row = tx.one("SELECT count(*) FROM request_item WHERE request_id = ?", request.id)
    if row is None or row[0] + len(items) > MAX_ITEMS:
        raise Refused("request-too-long", most=MAX_ITEMS)
    tx.many(
        "INSERT INTO request_item (request_id, line, account_id, facts, outcome, remark) VALUES (?, ?, ?, ?, ?, ?)",
        [(request.id, i.line, i.account_id, packed(i), i.outcome.value, i.remark) for i in items],
    )


def items(tx: Tx, request: Request, *, only_open: bool = False, limit: int = MAX_ITEMS) -> list[Item]:
    """In order of their lines."""
    rows = tx.all(_OPEN_ITEMS if only_open else _ITEMS, request.id, limit)
    return [unpacked(request.kind, *row) for row in rows]


_ITEMS = "SELECT line, account_id, facts, outcome, remark FROM request_item WHERE request_id = ? ORDER BY line LIMIT ?"
_OPEN_ITEMS = (
    "SELECT line, account_id, facts, outcome, remark FROM request_item WHERE request_id = ? AND outcome = ''"
    " ORDER BY line LIMIT ?"
)


def last_line(tx: Tx, request_id: int) -> int:
    row = tx.one("SELECT max(line) FROM request_item WHERE request_id = ?", request_id)
    return row[0] or 0 if row else 0


def remove_items(tx: Tx, request_id: int, lines: Sequence[int]) -> int:
    return tx.run("DELETE FROM request_item WHERE request_id = ? AND line IN (?*)", request_id, lines)


def settle(tx: Tx, request_id: int, done: Sequence[Item]) -> None:
    """Keeps the outcome of items, and what was chosen for them."""
    tx.many(
        "UPDATE request_item SET account_id = ?, facts = ?, outcome = ?, remark = ? WHERE request_id = ? AND line = ?",
        [(i.account_id, packed(i), i.outcome.value, i.remark, request_id, i.line) for i in done],
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How many items are open, granted, refused."""

    open: int
    granted: int
    refused: int

    def state(self) -> State:
        """Where a decided request stands."""
        if self.open:
            return State.RUNNING
        if not self.refused:
            return State.GRANTED
        return State.PARTLY if self.granted else State.REFUSED


def progress(tx: Tx, request_ids: Sequence[int]) -> dict[int, Progress]:
    counts: dict[int, dict[str, int]] = {number: {} for number in request_ids}
    for number, outcome, count in tx.all(
        "SELECT request_id, outcome, count(*) FROM request_item WHERE request_id IN (?*) GROUP BY request_id, outcome",
        request_ids,
    ):
        counts[number][outcome] = count
    return {number: Progress(*(found.get(outcome.value, 0) for outcome in Outcome)) for number, found in counts.items()}


def listed(
    tx: Tx, within: Scope, *, states: Sequence[State] = (), overdue_on: str = "", before: int = 0, limit: int = 100
) -> list[Request]:
    """Requests of a part of the tree, newest first, older than request `before`; with `overdue_on` those that should
    have been answered before that day, the longest overdue first."""
    where, params = within.where("unit_id")
    conditions, values = [where], [*params]
    if states:
        conditions.append(f"state IN ({', '.join('?' * len(states))})")
        values += [state.value for state in states]
    if overdue_on:
        conditions.append("due <> '' AND due < ?")
        values.append(overdue_on)
    if before:
        conditions.append("id < ?")
        values.append(before)
    order = "due, id" if overdue_on else "id DESC"
    rows = tx.all(f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?", *values, limit)
    return [_request(row) for row in rows]


def of_account(tx: Tx, account_id: int, limit: int = 100) -> list[tuple[Request, Item]]:
    """What was ever asked about an account, newest first: every step of its life has its request (row 3.1)."""
    rows = tx.all(
        "SELECT request_id, line, account_id, facts, outcome, remark FROM request_item WHERE account_id = ?"
        " ORDER BY request_id DESC, line LIMIT ?",
        *(account_id, limit),
    )
    known = {row[0]: _request(row) for row in tx.all(f"{_SELECT} WHERE id IN (?*)", sorted({row[0] for row in rows}))}
    return [(known[number], unpacked(known[number].kind, *rest)) for number, *rest in rows]


# ---- papers: signed letters, replies, minutes; their bytes lie in the blob keeper


@dataclass(frozen=True, slots=True)
class Paper:
    id: int
    kind: str  # signed, reply, minutes
    request_id: int | None
    account_id: int | None
    hash: bytes
    name: str
    created: int


def add_paper(tx: Tx, paper: Paper) -> None:
    tx.run(
        "INSERT INTO paper (id, kind, request_id, account_id, hash, name, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(paper.id, paper.kind, paper.request_id, paper.account_id, paper.hash, paper.name, paper.created),
    )


def papers(tx: Tx, request_id: int) -> list[Paper]:
    rows = tx.all(
        "SELECT id, kind, request_id, account_id, hash, name, created FROM paper WHERE request_id = ? ORDER BY id",
        request_id,
    )
    return [Paper(a, b, c, d, bytes(e), f, g) for a, b, c, d, e, f, g in rows]


def contents(tx: Tx) -> Iterator[bytes]:
    """The hash of every content that a request or a paper speaks of: in use, though no letter holds it."""
    for (found,) in tx.each("SELECT file FROM request WHERE file IS NOT NULL UNION SELECT hash FROM paper"):
        yield bytes(found)


# Each statement returns rows that must not exist, with the sentence they fill.
NEVER = (
    (
        "request {0}: its unit {1} does not exist",
        "SELECT request.id, request.unit_id FROM request LEFT JOIN unit ON unit.id = request.unit_id"
        " WHERE unit.id IS NULL",
    ),
    (
        "request {0}, line {1}: there is no such request",
        "SELECT i.request_id, i.line FROM request_item AS i LEFT JOIN request ON request.id = i.request_id"
        " WHERE request.id IS NULL",
    ),
    (
        "request {0}, line {1}: granted, but to nobody",
        "SELECT request_id, line FROM request_item WHERE outcome = 'granted' AND account_id IS NULL",
    ),
    (
        "request {0}, line {1}: its account {2} does not exist",
        "SELECT i.request_id, i.line, i.account_id FROM request_item AS i LEFT JOIN account AS a"
        " ON a.id = i.account_id WHERE i.account_id IS NOT NULL AND a.id IS NULL",
    ),
    (
        "request {0}: it is {1} while items are open",
        "SELECT id, state FROM request WHERE state IN ('granted', 'partly', 'refused') AND EXISTS"
        " (SELECT 1 FROM request_item AS i WHERE i.request_id = request.id AND i.outcome = '')",
    ),
    (
        "request {0}: items have an outcome though nobody decided",
        "SELECT id FROM request WHERE decided = 0 AND EXISTS"
        " (SELECT 1 FROM request_item AS i WHERE i.request_id = request.id AND i.outcome <> '')",
    ),
    (
        "paper {0}: its content is not kept",
        "SELECT paper.id FROM paper LEFT JOIN blob ON blob.hash = paper.hash WHERE blob.hash IS NULL",
    ),
    (
        "request {0}: its signed letter is not kept",
        "SELECT request.id FROM request LEFT JOIN blob ON blob.hash = request.file"
        " WHERE request.file IS NOT NULL AND blob.hash IS NULL",
    ),
)
