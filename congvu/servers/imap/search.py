"""SEARCH (rfc3501 6.4.4, rfc9051 6.4.4, ESEARCH RFC 4731, SEARCHRES RFC 5182, MODSEQ RFC 7162 3.1.5, PARTIAL RFC 9394).

keys → plan → candidates narrowed portion by portion → one answer. What message rows can tell is asked of the engine as
one condition; BODY and TEXT are asked of the text index before the mailbox is looked at; the bytes of letters are read
last and only of messages that are still candidates. Each read is short, so that no other session waits. Must never tell
EXPUNGE.
"""

import asyncio
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any as Anything

from congvu.base.failure import Refused
from congvu.base.observe import log
from congvu.base.vietnamese import fold
from congvu.codec import mime, uidset
from congvu.codec.headers import wanted_fields
from congvu.codec.imap import FLAG_BITS, MONTHS, Search, SearchKey
from congvu.codec.imap_words import Bad
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Tx
from congvu.mailstore import message, scan, seen, words
from congvu.mailstore import search as index
from congvu.mailstore.scan import Column, Condition
from congvu.servers import turns
from congvu.servers.imap.codes import SYNTAX
from congvu.servers.imap.progress import Progress
from congvu.servers.imap.sections import FIELDS_WITHIN
from congvu.servers.imap.session import FEW, Done, Session
from congvu.servers.imap.view import Selected, join, meet, page

PORTION = 5_000  # messages looked at by one read
PORTION_BYTES = 200  # the same where their letters' headers must be read
QUESTIONS = 16  # of a program, for which portions are so large; larger programs have smaller ones …
FEWEST = 50  # … but not smaller than this
MAX_QUESTIONS = 50  # to the text index in one program
WAITING = 32  # letters not yet indexed that are read at once
NUMBERS = 20_000  # of an answer, written at once
DAY = 86_400


# ---- the plan: one kind of node for each way to find out


@dataclass(frozen=True, slots=True)
class Rows:
    """What message rows can tell."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Mine:
    r"""Messages that a reader of another's mailbox has seen: \Seen of one's own."""

    reader: int


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages that are known by their UIDs beforehand, ascending: four bytes each."""

    uids: "array[int]"


@dataclass(frozen=True, slots=True)
class Spans:
    """Messages with UIDs in inclusive ranges, ascending. A program may name a million messages a thousand times."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A question to the text index; becomes `Uids` before the mailbox is looked at."""

    question: words.Question


@dataclass(frozen=True, slots=True)
class Values:
    """What stands with a letter: `holds` picks the UIDs from pairs of UID and value."""

    column: Column
    holds: Callable[[list[tuple[int, Anything]]], list[int]] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Header:
    """A header field of which nothing is kept: the letter's bytes are read. `hint` must occur in the ENVELOPE."""

    name: bytes
    needle: str
    hint: bytes = b""


@dataclass(frozen=True, slots=True)
class All:
    """Every one of `nodes`; none of them means every message."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """At least one of `nodes`."""

    nodes: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Not `node`."""

    node: "Node"


Node = Rows | Mine | Uids | Spans | Words | Values | Header | All | Any | Not
_EVERYTHING = All(())
_NOTHING = Any(())
_COSTS = {Uids: 0, Spans: 0, Rows: 1, Mine: 1, Words: 2, Values: 3, Header: 4}


def _cost(node: Node) -> int:
    match node:
        case All(nodes) | Any(nodes):
            return max(map(_cost, nodes), default=0)
        case Not(inner):
            return _cost(inner)
    return _COSTS[type(node)]


def compiled(key: SearchKey, view: Selected, recent_from: int, now: int, uid_only: bool = False) -> Node:
    """The plan of a search program. Raises `Refused`: bad-sequence, uid-required."""
    match key.name:
        case "ALL" | "SAVEDATESUPPORTED":
            return _EVERYTHING
        case "AND":
            return _all([compiled(k, view, recent_from, now, uid_only) for k in key.keys])
        case "OR":
            return _any([compiled(k, view, recent_from, now, uid_only) for k in key.keys])
        case "NOT":
            return _not(compiled(key.keys[0], view, recent_from, now, uid_only))
        case "SEQ" if uid_only and not (key.set and key.set.saved):
            raise Refused("uid-required")
        case "UID" | "SEQ" if key.set is not None:
            if key.set.saved:
                return Uids(view.saved)
            named = view.stretches(key.set, key.name == "UID")
            if named == [(0, len(view.uids))] or not view.uids:
                return _EVERYTHING
            return Spans(tuple((view.uids[start], view.uids[end - 1]) for start, end in named))
        case "RECENT":
            return Rows(scan.uid_from(recent_from))
        case "OLD":
            return _not(Rows(scan.uid_from(recent_from)))
        case "NEW":
            return _all([Rows(scan.uid_from(recent_from)), _not(_flag(message.SEEN, view))])
        case "KEYWORD" | "UNKEYWORD":
            bit = FLAG_BITS.get(key.field.upper(), 0)
            found = _flag(bit, view) if bit else Rows(scan.has_keyword(key.field))
            return found if key.name == "KEYWORD" else _not(found)
        case "HEADER":
            return _header(key.field, key.text)
        case name if name in _ROWS:
            return _ROWS[name](key, now)
    bit = FLAG_BITS.get(f"\\{key.name.removeprefix('UN')}", 0)
    found = _flag(bit, view)
    return _not(found) if key.name.startswith("UN") else found


def _days(key: SearchKey, since: Callable[[int], Condition]) -> Node:
    """SINCE, BEFORE, ON and the like: days are days of UTC, in which times are shown."""
    first, next_day = Rows(since(key.day * DAY)), Rows(since((key.day + 1) * DAY))
    if key.name.endswith("SINCE"):
        return first
    return _not(first) if key.name.endswith("BEFORE") else _all([first, _not(next_day)])


def _identified(key: SearchKey, letter: str, condition: Callable[[int], Condition]) -> Node:
    """Identifiers that were never given are nobody's."""
    number = key.field[1:]
    known = key.field[:1] == letter and number.isdecimal() and int(number) < 1 << 63 and str(int(number)) == number
    return Rows(condition(int(number))) if known else _NOTHING


def _flag(bit: int, view: Selected) -> Node:
    return Mine(view.reader) if bit == message.SEEN and view.reader else Rows(scan.has_flag(bit))


def _all(nodes: Sequence[Node]) -> Node:
    """One condition for all that rows can tell, the rest by cost."""
    flat = [part for node in nodes for part in (node.nodes if isinstance(node, All) else (node,))]
    if _NOTHING in flat:
        return _NOTHING
    rows = [node.condition for node in flat if isinstance(node, Rows)]
    rest: list[Node] = [node for node in flat if not isinstance(node, Rows)]
    if rows:
        rest.append(Rows(scan.all_of(rows)))
    return rest[0] if len(rest) == 1 else All(tuple(sorted(rest, key=_cost)))


def _any(nodes: Sequence[Node]) -> Node:
    if _EVERYTHING in nodes:
        return _EVERYTHING
    flat = [part for node in nodes for part in (node.nodes if isinstance(node, Any) else (node,))]
    rows = [node.condition for node in flat if isinstance(node, Rows)]
    rest: list[Node] = [node for node in flat if not isinstance(node, Rows)]
    if rows:
        rest.append(Rows(scan.any_of(rows)))
    return rest[0] if len(rest) == 1 else Any(tuple(sorted(rest, key=_cost)))


def _not(node: Node) -> Node:
    match node:
        case Rows(condition):
            return Rows(scan.none_of(condition))
        case Not(inner):
            return inner
        case All(()):
            return _NOTHING
        case Any(()):
            return _EVERYTHING
    return Not(node)


# ---- keys, one row each


def _containing(column: Column, needle: str, line: Callable[[str], str] | None = None) -> Node:
    """A letter's column that holds a text, whatever its case and marks. The empty text occurs in every value."""
    folded = fold(needle)

    def holds(pairs: list[tuple[int, str]]) -> list[int]:
        return scan.containing(pairs if line is None else [(uid, line(value)) for uid, value in pairs], folded)

    return Values(column, holds)


def _line(name: str) -> Callable[[str], str]:
    """`recipients` keeps To and Cc as a line each: the one that begins with `name`."""

    def pick(value: str) -> str:
        return next((text[len(name) :] for text in value.split("\n") if text.startswith(name)), "")

    return pick


_DATE = re.compile(rb"\b(\d{1,2})[ -]([A-Za-z]{3})[a-z]*[ -](\d{4})\b")
_MONTH = {name.encode().lower(): number for number, name in enumerate(MONTHS, 1)}
_EPOCH = date(1970, 1, 1).toordinal()


def sent_day(envelope: bytes) -> int | None:
    """The day of the Date: header as it is written there, whatever its time and zone (rfc9051 6.4.4 SENTON)."""
    found = _DATE.search(envelope, 0, 60)  # the Date: header stands first
    month = _MONTH.get(found[2].lower()) if found else None
    if found is None or month is None:
        return None
    try:
        return date(int(found[3]), month, int(found[1])).toordinal() - _EPOCH
    except ValueError:
        return None


def _sent(holds: Callable[[int], bool]) -> Node:
    def pick(pairs: list[tuple[int, bytes]]) -> list[int]:
        days = ((uid, sent_day(value)) for uid, value in pairs)
        return [uid for uid, day in days if day is not None and holds(day)]

    return Values(Column.ENVELOPE, pick)


def _words(text: str, where: words.Field) -> Node:
    question = words.phrase(text, where)
    if question.phrases:
        return Words(question)
    # Every letter holds the empty text. Signs alone are in no index and are not searched for (rfc9051 6.4.4 allows
    # matching by words).
    return _NOTHING if text.strip() else _EVERYTHING


_ROWS: dict[str, Callable[[SearchKey, int], Node]] = {
    "LARGER": lambda key, _: Rows(scan.larger(key.number)),
    "SMALLER": lambda key, _: Rows(scan.smaller(key.number)),
    "MODSEQ": lambda key, _: Rows(scan.modseq_from(key.number)),
    **dict.fromkeys(("SINCE", "BEFORE", "ON"), lambda key, _: _days(key, scan.received_since)),
    **dict.fromkeys(("SAVEDSINCE", "SAVEDBEFORE", "SAVEDON"), lambda key, _: _days(key, scan.saved_since)),  # RFC 8514
    "EMAILID": lambda key, _: _identified(key, "M", scan.letter_is),  # RFC 8474
    "THREADID": lambda key, _: _identified(key, "T", scan.thread_is),
    # Both hold for the very second (rfc5032 2).
    "YOUNGER": lambda key, now: Rows(scan.received_since(now - key.number)),
    "OLDER": lambda key, now: _not(Rows(scan.received_since(now - key.number + 1))),
    "SENTSINCE": lambda key, _: _sent(lambda day: day >= key.day),
    "SENTBEFORE": lambda key, _: _sent(lambda day: day < key.day),
    "SENTON": lambda key, _: _sent(lambda day: day == key.day),
    "SUBJECT": lambda key, _: _containing(Column.SUBJECT, key.text),
    "FROM": lambda key, _: _containing(Column.SENDER, key.text),
    "TO": lambda key, _: _containing(Column.RECIPIENTS, key.text, _line("To: ")),
    "CC": lambda key, _: _containing(Column.RECIPIENTS, key.text, _line("Cc: ")),
    "BCC": lambda key, _: Header(b"bcc", fold(key.text)),
    "BODY": lambda key, _: _words(key.text, words.Field.BODY),
    "TEXT": lambda key, _: _words(key.text, words.Field.ANY),
}

_IN_ENVELOPE = frozenset({b"message-id", b"in-reply-to"})


def _header(name: str, text: str) -> Node:
    if text and name.upper() in {"SUBJECT", "FROM", "TO", "CC"}:
        return _ROWS[name.upper()](SearchKey(name.upper(), text=text), 0)
    low = name.strip().lower().encode("ascii", "replace")
    # Where the ENVELOPE shows the field as it stands, only those letters are read in whose ENVELOPE the text occurs.
    plain = low in _IN_ENVELOPE and text.isascii() and '"' not in text and "\\" not in text
    return Header(low, fold(text), text.lower().encode() if plain else b"")


# ---- finding out


def _narrow(tx: Tx, blobs: BlobKeeper, view: tuple[int, int], node: Node, left: set[int]) -> set[int]:
    """Those of `left` that satisfy a node."""
    if not left:
        return left
    match node:
        case Uids() | Spans():
            return _known(node, left)
        case All(nodes):
            for each in nodes:
                left = _narrow(tx, blobs, view, each, left)
            return left
        case Any(nodes):
            found: set[int] = set()
            for each in nodes:
                found |= _narrow(tx, blobs, view, each, left - found)
            return found
        case Not(inner):
            return left - _narrow(tx, blobs, view, inner, left)
        case Rows(condition):
            return left.intersection(scan.select(tx, *view, min(left), max(left), condition))
        case Mine(reader):
            return seen.among(tx, *view, reader, left)
        case Values(column, holds):
            pairs = scan.column(tx, *view, left, column)
            return left.intersection(holds(pairs))  # the store may have answered for more than was asked
        case Header():
            return _read_headers(tx, blobs, view, node, left)
        case Words():
            raise TypeError("words are looked up beforehand")


def _known(node: Uids | Spans, left: set[int]) -> set[int]:
    """Those of `left` that are known to be meant; costs what `left` does, not what the node does."""
    if not left:
        return left
    low, high = min(left), max(left)
    if isinstance(node, Uids):
        return left.intersection(node.uids[bisect_left(node.uids, low) : bisect_right(node.uids, high)])
    ranges = node.ranges
    at = bisect_right(ranges, (low, 1 << 32)) - 1
    if at >= 0 and ranges[at][1] >= high:
        return left
    return {uid for uid in left if (at := bisect_right(ranges, (uid, 1 << 32)) - 1) >= 0 and uid <= ranges[at][1]}


def _picked(uids: "array[int]", nodes: Iterable[Uids | Spans]) -> "array[int]":
    """Those of the ascending `uids` that all of the nodes mean."""
    for node in nodes:
        if isinstance(node, Uids):
            uids = meet(uids, node.uids)
            continue
        found = array("I")
        for low, high in node.ranges:
            found.extend(uids[bisect_left(uids, low) : bisect_right(uids, high)])
        uids = found
    return uids


def _size(node: Node) -> int:
    """How many questions a plan asks of each message."""
    match node:
        case All(nodes) | Any(nodes):
            return sum(map(_size, nodes))
        case Not(inner):
            return _size(inner)
        case Rows(condition):
            return len(condition.values)
    return 1


def _read_headers(tx: Tx, blobs: BlobKeeper, view: tuple[int, int], node: Header, left: set[int]) -> set[int]:
    if node.hint:
        seen = scan.column(tx, *view, left, Column.ENVELOPE)
        left = left.intersection(uid for uid, envelope in seen if node.hint in bytes(envelope).lower())
        if not left:
            return left
    letters = {uid: letter for uid, letter in scan.column(tx, *view, left, Column.LETTER) if uid in left}
    bodies = message.bodies(tx, set(letters.values()))
    names = frozenset([node.name])
    known: dict[int, bool] = {}
    for letter, body in bodies.items():
        try:
            root = mime.unpack_parts(body.parts)
            block = body.prefix + blobs.read(body.blob, 0, min(root.body, FIELDS_WITHIN))
        except (LookupError, ValueError) as error:
            log.error("account %d: letter %d cannot be searched: %s", view[0], letter, error)
            continue
        values = wanted_fields(block, names).get(node.name, ())
        known[letter] = any(node.needle in fold(mime.decode_header(value)) for value in values)
    return {uid for uid, letter in letters.items() if known.get(letter)}


def _ask(tx: Tx, view: tuple[int, int], question: words.Question) -> tuple["array[int]", list[int]]:
    """The messages that the index knows to answer, and the letters it has not read yet, on one snapshot."""
    found = index.find(tx, view[0], question)
    return scan.uids_of(tx, *view, found.letters), found.pending


def _questions(node: Node) -> Iterable[words.Question]:
    match node:
        case Words(question):
            yield question
        case All(nodes) | Any(nodes):
            for each in nodes:
                yield from _questions(each)
        case Not(inner):
            yield from _questions(inner)


def _answered(node: Node, known: dict[words.Question, "array[int]"]) -> Node:
    match node:
        case Words(question):
            return Uids(known[question])
        case All(nodes):
            return _all([_answered(each, known) for each in nodes])
        case Any(nodes):
            return _any([_answered(each, known) for each in nodes])
        case Not(inner):
            return _not(_answered(inner, known))
    return node


async def _look_up(session: Session, node: Node) -> Node:
    """Asks the text index, reads the letters it has not read yet, and puts UIDs in the place of words."""
    questions = list(dict.fromkeys(_questions(node)))
    if not questions:
        return node
    services, view = session.services, session.view()
    where = view.account_id, view.mailbox_id
    if len(questions) > MAX_QUESTIONS:
        raise Refused("search-too-many-texts", limit=MAX_QUESTIONS)
    # One by one: what a word finds may be half of a very large mailbox.
    uids: list[array[int]] = []
    pending: dict[int, None] = {}
    for question in questions:
        known, more = await turns.read(session, _ask, where, question)
        uids.append(known)
        pending.update(dict.fromkeys(more))
    waiting = list(pending)
    letters: list[set[int]] = [set() for _ in questions]
    with Progress(session):
        for at in range(0, len(waiting), WAITING):
            portion = waiting[at : at + WAITING]
            found = await turns.read(session, _match, services.blobs, portion, questions)
            letters = [known | more for known, more in zip(letters, found, strict=True)]
    for at, found_late in enumerate(letters):
        if found_late:
            uids[at] = join(uids[at], await turns.read(session, scan.uids_of, *where, found_late))
    return _answered(node, dict(zip(questions, uids, strict=True)))


def _match(tx: Tx, blobs: BlobKeeper, letters: list[int], questions: Sequence[words.Question]) -> list[set[int]]:
    return index.matching(blobs.read, words.sources(tx, letters), questions)


async def _find(session: Session, node: Node) -> "array[int]":
    """The UIDs of the view that satisfy the plan, ascending."""
    services, view = session.services, session.view()
    where = view.account_id, view.mailbox_id
    candidates = view.uids[:]
    nodes = node.nodes if isinstance(node, All) else (node,)
    given = [each for each in nodes if isinstance(each, Uids | Spans)]
    candidates = await turns.walk(session, len(candidates) * len(given), _picked, candidates, given)
    if len(given) == len(nodes):
        return candidates
    cost = _cost(node)
    if cost == _COSTS[Rows] and len(candidates) <= FEW:
        return array("I", sorted(await services.db.look(_narrow, services.blobs, where, node, set(candidates))))
    size = PORTION_BYTES if cost == _COSTS[Header] else PORTION
    size = max(size // (1 + _size(node) // QUESTIONS), FEWEST)  # each read is short, however large the program
    found = array("I")
    with Progress(session, len(candidates)) as progress:
        for at in range(0, len(candidates), size):
            progress.done = at
            portion = set(candidates[at : at + size])
            if cost:
                portion = await turns.read(session, _narrow, services.blobs, where, node, portion)
            else:
                portion = _narrow_known(node, portion)
                await asyncio.sleep(0)  # the others have their turn
            found.extend(sorted(portion))
    return found


def _narrow_known(node: Node, left: set[int]) -> set[int]:
    """`_narrow` of a plan that needs no store."""
    match node:
        case Uids() | Spans():
            return _known(node, left)
        case All(nodes):
            for each in nodes:
                left = _narrow_known(each, left)
            return left
        case Any(nodes):
            return set[int]().union(*(_narrow_known(each, left) for each in nodes))
        case Not(inner):
            return left - _narrow_known(inner, left)
    raise TypeError("this needs the store")


# ---- the command


async def run(session: Session, command: Search, by_uid: bool) -> Done:
    """Answers a SEARCH or UID SEARCH of the selected mailbox."""
    if command.charset and session.without_charsets:
        raise Bad("no CHARSET expected after UTF8=ACCEPT")
    view = session.view()
    saves = command.returns is not None and "SAVE" in command.returns
    try:
        found = await matching(session, command.key)
    except BaseException as error:
        # rfc5182 2.1: a search that fails leaves nothing saved, one that is BAD leaves it as it was.
        if saves and not (isinstance(error, Bad) or (isinstance(error, Refused) and error.code in SYNTAX)):
            view.saved = array("I")
        raise
    returns = command.returns
    if returns is None and session.rev2:
        returns = ("ALL",)
    chosen = found if returns is None else _chosen(found, returns, command.partial)
    if saves:
        view.saved = chosen
    highest = await highest_modseq(session, command.key, chosen)
    numbers = found if by_uid else await turns.walk(session, len(found), view.numbers, found)
    if returns is None:
        await tell_plainly(session, b"SEARCH", numbers, highest)
    elif returns != ("SAVE",):
        await tell(session, numbers, returns, by_uid, highest, command.partial)
    return Done(held=names_numbers(command.key))


async def matching(session: Session, key: SearchKey) -> "array[int]":
    """The UIDs of the view that a search program finds, ascending."""
    if asks_modseq(key):
        session.enable("CONDSTORE")  # rfc7162 3.1
    view = session.view()
    recent_from = 1 << 32 if session.rev2 else view.recent_from
    plan = compiled(key, view, recent_from, int(session.services.clock.now()), session.uid_only)
    return await _find(session, await _look_up(session, plan))


async def highest_modseq(session: Session, key: SearchKey, uids: Collection[int]) -> int:
    """What is told as MODSEQ of an answer, 0 where nobody asked (rfc7162 3.1.5)."""
    if not uids or not asks_modseq(key):
        return 0
    view = session.view()
    return await session.services.db.read(scan.highest_modseq, view.account_id, view.mailbox_id, uids)


def names_numbers(key: SearchKey) -> bool:
    """Does a program speak of messages by their numbers? They must not move meanwhile (rfc7162 3.2.10.2)."""
    return (key.name == "SEQ" and not (key.set and key.set.saved)) or any(map(names_numbers, key.keys))


def asks_modseq(key: SearchKey) -> bool:
    return key.name == "MODSEQ" or any(map(asks_modseq, key.keys))


def _chosen(found: "array[int]", returns: Sequence[str], partial: tuple[int, int] | None) -> "array[int]":
    spoken = spoken_of(found, returns, partial)
    return found if spoken is found else array("I", sorted(spoken))


def spoken_of(found: "array[int]", returns: Sequence[str], partial: tuple[int, int] | None) -> Collection[int]:
    """The messages that the options speak of (rfc5182 2.1, rfc7162 3.1.10, rfc9394 3.2): without ALL and COUNT only
    those of MIN, MAX and PARTIAL."""
    if not found or not {"MIN", "MAX", "PARTIAL"}.intersection(returns) or {"ALL", "COUNT"}.intersection(returns):
        return found
    chosen = set() if partial is None else set(page(found, partial))
    if "MIN" in returns:
        chosen.add(found[0])
    if "MAX" in returns:
        chosen.add(found[-1])
    return chosen


async def tell_plainly(session: Session, name: bytes, numbers: Sequence[int], highest: int) -> None:
    """`* SEARCH 2 84 882`, rfc3501 7.2.5."""
    session.send(b"* ", name)
    for at in range(0, len(numbers), NUMBERS):
        session.send(b" ", " ".join(map(str, numbers[at : at + NUMBERS])).encode())
        await session.stream.drain()
    session.send(b" (MODSEQ %d)\r\n" % highest if highest else b"\r\n")


async def tell(
    session: Session,
    numbers: "array[int]",
    returns: Sequence[str],
    by_uid: bool,
    highest: int,
    partial: tuple[int, int] | None,
) -> None:
    """`* ESEARCH (TAG "a1") UID MIN 2 COUNT 3`, rfc9051 7.3.4. MIN, MAX and ALL are left out when nothing was found."""
    words = [f'* ESEARCH (TAG "{session.tag}")']
    if by_uid:
        words.append("UID")
    if numbers:
        if "MIN" in returns:
            words.append(f"MIN {numbers[0]}")
        if "MAX" in returns:
            words.append(f"MAX {numbers[-1]}")
        if "ALL" in returns:
            words.append(f"ALL {await _encoded(numbers)}")
    if partial is not None:
        words.append(f"PARTIAL ({partial[0]}:{partial[1]} {await _encoded(page(numbers, partial)) or 'NIL'})")
    if "COUNT" in returns:
        words.append(f"COUNT {len(numbers)}")
    if highest:
        words.append(f"MODSEQ {highest}")
    session.send(" ".join(words).encode() + b"\r\n")
    await session.stream.drain()


async def _encoded(numbers: "array[int]") -> str:
    """A set; a large one is made beside the other sessions."""
    if len(numbers) <= NUMBERS:
        return uidset.encode(numbers)
    return await asyncio.to_thread(uidset.encode, numbers)
