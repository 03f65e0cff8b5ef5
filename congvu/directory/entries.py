"""Entries: what the directory (danh bạ, rows 7.1, 7.2) shows of an account, and finding them by any word, marks or not.

Promises that a search costs one statement and bounded memory, that it finds a name by the beginnings of its words in
any order ("hue nguy" finds Nguyễn Thị Huệ), and that `folded` always says the same as name, addresses and title (an
invariant; `renew` after any of them changed). Who may see which field is decided in `actions/directory.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntFlag

from congvu.base.vietnamese import findable
from congvu.db.engine import Row, Tx
from congvu.db.sqltext import has_words
from congvu.directory import lifecycle, units
from congvu.directory.lifecycle import Act, State
from congvu.directory.people import Kind
from congvu.directory.roles import Scope

_TOGETHER = 500  # accounts in one read of `renew`


class Shown(IntFlag):
    """What is shown to whom (row 7.4: a mobile number only when its holder or the operator says so)."""

    LISTED = 1  # stands in the directory for those who sign in
    PHONE = 2
    MOBILE = 4
    PUBLIC = 8  # on the public list of official addresses


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry with everything that is known; `aliases`: other addresses under which it receives."""

    account_id: int
    kind: Kind
    state: State
    name: str
    title: str
    unit_id: int | None
    address: str
    aliases: tuple[str, ...]
    phone: str
    mobile: str
    place: str
    shown: Shown

    @property
    def receives(self) -> bool:
        """Is it somebody to write to?"""
        return lifecycle.may(self.state, Act.RECEIVE)


@dataclass(frozen=True, slots=True)
class Contact:
    """What is said about an account besides name and addresses."""

    account_id: int
    title: str = ""
    phone: str = ""
    mobile: str = ""
    place: str = ""
    shown: Shown = Shown.LISTED | Shown.PHONE


NOTHING_SAID = Contact(0)


def put_many(tx: Tx, contacts: Sequence[Contact]) -> None:
    """Adds or replaces; `renew` is still to be called."""
    tx.many(
        "INSERT INTO entry (account_id, title, phone, mobile, place, shown, folded) VALUES (?, ?, ?, ?, ?, ?, '')"
        " ON CONFLICT (account_id) DO UPDATE SET title = excluded.title, phone = excluded.phone,"
        " mobile = excluded.mobile, place = excluded.place, shown = excluded.shown",
        [(c.account_id, c.title, c.phone, c.mobile, c.place, int(c.shown)) for c in contacts],
    )


def contact(tx: Tx, account_id: int) -> Contact | None:
    row = tx.one("SELECT account_id, title, phone, mobile, place, shown FROM entry WHERE account_id = ?", account_id)
    if row is None:
        return None
    number, title, phone, mobile, place, shown = row
    return Contact(number, title, phone, mobile, place, Shown(shown))


def renew(tx: Tx, account_ids: Sequence[int]) -> None:
    """Works `folded` out anew for these accounts."""
    for start in range(0, len(account_ids), _TOGETHER):
        some = account_ids[start : start + _TOGETHER]
        tx.many("UPDATE entry SET folded = ? WHERE account_id = ?", [(b, a) for a, b in _folded(tx, some)])


def fill_missing(tx: Tx) -> None:
    """Accounts from before schema 7 have no entry yet. May run again."""
    rows = tx.all(
        "SELECT account.id FROM account LEFT JOIN entry ON entry.account_id = account.id WHERE entry.account_id IS NULL"
        " AND account.state <> 'purged'"
    )
    missing = [row[0] for row in rows]
    put_many(tx, [Contact(number) for number in missing])
    renew(tx, missing)


def _folded(tx: Tx, account_ids: Sequence[int]) -> Iterator[tuple[int, str]]:
    addresses = _addresses(tx, account_ids)
    for number, name, title in tx.all(
        "SELECT account.id, account.name, entry.title FROM account JOIN entry ON entry.account_id = account.id"
        " WHERE account.id IN (?*)",
        account_ids,
    ):
        own = addresses.get(number, [])
        yield number, findable(name, title, *own, *(a.partition("@")[0].replace(".", "") for a in own))


def _addresses(tx: Tx, account_ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, address in tx.all(
        "SELECT account_id, address FROM address WHERE account_id IN (?*) AND rests = 0"
        " ORDER BY account_id, is_primary DESC, address",
        account_ids,
    ):
        found.setdefault(number, []).append(address)
    return found


_SELECT = (
    "SELECT account.id, account.kind, account.state, account.name, entry.title, account.unit_id, entry.phone,"
    " entry.mobile, entry.place, entry.shown FROM entry JOIN account ON account.id = entry.account_id"
)
_LISTED = "entry.shown % 2 = 1"  # Shown.LISTED
# What can receive: others are nobody to write to. NOT IN keeps the entries in front of the plan, in their order.
_ALIVE = "account.state NOT IN ('requested', 'revoked', 'purged')"


def _entries(tx: Tx, rows: Sequence[Row]) -> list[Entry]:
    addresses = _addresses(tx, [row[0] for row in rows])
    found = []
    for number, kind, state, name, title, unit_id, phone, mobile, place, shown in rows:
        first, *more = addresses.get(number) or [""]
        found.append(
            Entry(
                *(number, Kind(kind), State(state), name, title, unit_id, first, tuple(more)),
                *(phone, mobile, place, Shown(shown)),
            )
        )
    return found


def get_many(tx: Tx, account_ids: Sequence[int]) -> list[Entry]:
    """Those of these accounts that have an entry, in whatever state, by number."""
    return _entries(tx, tx.all(f"{_SELECT} WHERE entry.account_id IN (?*) ORDER BY entry.account_id", account_ids))


def search(
    tx: Tx,
    text: str,
    within: Scope,
    *,
    units_below: int | None = None,
    everybody: bool = False,
    public: bool = False,
    after: int = 0,
    limit: int = 50,
) -> list[Entry]:
    """Entries with all these words (the beginnings of words of name, addresses or title), by number, those after
    `after`. `units_below`: in this unit and its subtree only. Hidden ones, and those that cannot receive, only for
    `everybody`; `public`: what stands on the public list."""
    words, params = has_words("entry.folded", findable(text))
    part, part_params = within.where("account.unit_id")
    conditions, values = [words, part, "entry.account_id > ?"], [*params, *part_params, after]
    if units_below is not None:
        conditions.append(f"account.unit_id IN ({units.SUBTREE})")
        values.append([units_below])
    if not everybody:
        conditions += [_LISTED, _ALIVE]
    if public:
        conditions.append("entry.shown / 8 % 2 = 1")
    return _entries(
        tx, tx.all(f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY entry.account_id LIMIT ?", *values, limit)
    )


def suggest(tx: Tx, text: str, within: Scope, limit: int = 20) -> list[Entry]:
    """For completing an address: who is meant by these beginnings of words. Whose tên begins with the first of them
    comes first, as people in Vietnam are called by their tên, then whose name begins so."""
    asked = findable(text)
    if not asked:
        return []
    words, params = has_words("entry.folded", asked)
    part, part_params = within.where("account.unit_id")
    rows = tx.all(
        f"{_NAMES} WHERE {words} AND {part} AND {_LISTED} AND {_ALIVE} ORDER BY entry.account_id LIMIT ?",
        *params,
        *part_params,
        10 * limit,
    )
    first = asked.split()[0]

    def rank(row: Row) -> tuple[bool, bool, str]:
        own = findable(row[1]).split() or [""]
        return not own[-1].startswith(first), not own[0].startswith(first), row[1]

    best = [row[0] for row in sorted(rows, key=rank)[:limit]]
    found = {entry.account_id: entry for entry in get_many(tx, best)}
    return [found[number] for number in best]


_NAMES = "SELECT entry.account_id, account.name FROM entry JOIN account ON account.id = entry.account_id"


def check(tx: Tx) -> Iterator[str]:
    """Findings, none when all is whole."""
    for (number,) in tx.each(
        "SELECT account.id FROM account LEFT JOIN entry ON entry.account_id = account.id WHERE entry.account_id IS NULL"
        " AND account.state <> 'purged'"
    ):
        yield f"account {number}: it has no entry in the directory"
    for (number,) in tx.each(
        "SELECT entry.account_id FROM entry LEFT JOIN account ON account.id = entry.account_id WHERE account.id IS NULL"
    ):
        yield f"entry {number}: the account does not exist"
    after = 0
    while rows := tx.all(
        "SELECT account_id, folded FROM entry WHERE account_id > ? ORDER BY account_id LIMIT ?", after, _TOGETHER
    ):
        after = rows[-1][0]
        right = dict(_folded(tx, [row[0] for row in rows]))
        for number, folded in rows:
            if right.get(number, folded) != folded:
                yield f"entry {number}: what is searched is not what it says"
