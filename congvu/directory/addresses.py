"""Addresses: how they are written, who holds them.

Promises that two spellings of one address (capitals, marks composed or not, `xn--` or Vietnamese domain) meet in one
form, and that any number of recipients costs one statement in a few hundred. Must never decide who may write to whom.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from congvu.base.failure import Refused
from congvu.db.engine import Row, Tx
from congvu.directory.lifecycle import State

MAX_LOCAL = 64  # octets, rfc5321 4.5.3.1.1
MAX_DOMAIN = 253  # octets in ASCII form, rfc1035 2.3.4
MAX_ADDRESS = 320  # characters looked at, whatever a peer sends

# rfc5321 4.1.2 Dot-string with the characters of rfc6531 3.3; an address of our own is never a quoted string.
_LOCAL = re.compile(r"[\w!#$%&'*/=?^`{|}~-]+(?:\.[\w!#$%&'*/=?^`{|}~-]+)*")
_LABEL = re.compile(r"[^\W_](?:[\w-]{0,61}[^\W_])?")
_ASK = 256  # addresses in one statement; fewer are filled up to a power of two, so few texts are prepared


@dataclass(frozen=True, slots=True)
class Held:
    """Who holds an address. `address`: the registered one that was found; `name`: of the account."""

    account_id: int
    state: State
    address: str
    name: str


def normalise(address: str) -> str:
    """The one form in which addresses are compared: NFC, lower case, the domain in Unicode. Never fails; bounded."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", address[:MAX_ADDRESS].strip()).lower())
    local, at, domain = text.rpartition("@")
    if not at:
        return text
    if len(local) > 2 and local[0] == local[-1] == '"' and _LOCAL.fullmatch(local[1:-1]):
        local = local[1:-1]  # "an"@x is an@x (rfc5321 4.1.2)
    return f"{local}@{_unicode(domain.removesuffix('.'))}"


def _unicode(domain: str) -> str:
    """`xn--` labels as the letters they stand for, when they are well formed."""
    if "xn--" not in domain or not domain.isascii() or len(domain) > MAX_DOMAIN:
        return domain
    try:
        return unicodedata.normalize("NFC", domain.encode("ascii").decode("idna").lower())
    except UnicodeError:
        return domain


def checked(address: str) -> str:
    """The folded form of an address that may be given to somebody. Raises `Refused("bad-address")`."""
    text = normalise(address)
    local, at, domain = text.rpartition("@")
    whole = at and len(address) <= MAX_ADDRESS and len(local.encode()) <= MAX_LOCAL and "+" not in local
    if not (whole and _LOCAL.fullmatch(local) and is_domain(domain)):
        raise Refused("bad-address", address=address)
    return text


def is_domain(domain: str) -> bool:
    """Is this a domain name, in ASCII or Unicode, within the bounds of its ASCII form?"""
    if not domain or len(domain) > MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in domain.split(".")):
        return False
    try:
        return len(domain.encode("idna")) <= MAX_DOMAIN
    except UnicodeError:
        return False


def domain_of(address: str) -> str:
    """The part after the last "@", folded."""
    return normalise(address).rpartition("@")[2]


def base(address: str) -> str:
    """A folded address without its tag: `an+hop@x` → `an@x` (rfc5233 sub-addressing)."""
    local, _, domain = address.rpartition("@")
    name, plus, _ = local.partition("+")
    return f"{name}@{domain}" if plus and name else address


def holder(tx: Tx, address: str, main_domain: str = "") -> Held | None:
    """Who holds this address, tags resolved."""
    return holders(tx, [address], main_domain).get(address)


def holders(tx: Tx, addresses: Sequence[str], main_domain: str = "") -> dict[str, Held]:
    """Who holds each of these addresses, by the address as it was given; those nobody holds are absent.

    `an+hop@x` belongs to who holds it literally, else to who holds `an@x`. A bare `postmaster` (rfc5321 4.5.1) is that
    of `main_domain`.
    """
    wanted: dict[str, tuple[str, str]] = {}
    for address in addresses:
        text = normalise(address)
        if text == "postmaster" and main_domain:
            text = f"postmaster@{main_domain}"
        wanted[address] = (text, base(text))
    found = _registered(tx, {text for pair in wanted.values() for text in pair})
    answer = {}
    for address, (exact, without_tag) in wanted.items():
        held = found.get(exact) or found.get(without_tag)
        if held is not None:
            answer[address] = held
    return answer


def exact(tx: Tx, address: str) -> Held | None:
    """Who holds this very address, without tags: for signing in."""
    text = normalise(address)
    return _registered(tx, {text}).get(text)


def taken(tx: Tx, addresses: Iterable[str]) -> dict[str, str]:
    """Which of these folded addresses nobody can be given (live, old or resting, in whatever state of the account),
    each with the kind of its holder: the category of the unit whose box it is, else the account's kind."""
    return {address: _holder_kind(kind, category) for address, kind, category in _asked(tx, _TAKEN, set(addresses))}


_HELD = (
    "SELECT address.address, account.id, account.state, account.name FROM address"
    " JOIN account ON account.id = address.account_id WHERE address.rests = 0 AND address.address IN "
)
_TAKEN = (
    "SELECT address.address, account.kind, unit.category FROM address JOIN account ON account.id = address.account_id"
    " LEFT JOIN unit ON unit.id = account.unit_id WHERE address.address IN "
)


def _registered(tx: Tx, texts: set[str]) -> dict[str, Held]:
    return {
        address: Held(account_id, State(state), address, name)
        for address, account_id, state, name in _asked(tx, _HELD, texts)
    }


def _asked(tx: Tx, sql: str, texts: Iterable[str]) -> Iterator[Row]:
    """The rows of a statement that ends with `IN `, for any number of texts in a few statements."""
    ordered = sorted(texts)
    for start in range(0, len(ordered), _ASK):
        some = ordered[start : start + _ASK]
        size = 1 << (len(some) - 1).bit_length()
        some += some[-1:] * (size - len(some))
        yield from tx.all(f"{sql}({','.join('?' * size)})", *some)  # placeholders only


def of_account(tx: Tx, account_id: int) -> tuple[str, ...]:
    """Every address under which an account receives, the primary one first."""
    rows = tx.all(
        "SELECT address FROM address WHERE account_id = ? AND rests = 0 ORDER BY is_primary DESC, address", account_id
    )
    return tuple(address for (address,) in rows)


def is_own(addresses: Sequence[str], address: str) -> bool:
    """Does this address, tag or not, stand among an account's own (as given by `of_account`)?"""
    if len(address) > MAX_ADDRESS:  # `normalise` would look at its beginning only
        return False
    text = normalise(address)
    return text in addresses or base(text) in addresses


def give_many(tx: Tx, addresses: Sequence[tuple[str, int]]) -> None:
    """Registers the primary addresses of accounts; the caller has asked `taken` in the same transaction."""
    tx.many("INSERT INTO address (address, account_id, is_primary) VALUES (?, ?, 1)", addresses)


def give(tx: Tx, account_id: int, address: str, primary: bool, ends: str = "") -> None:
    """Registers a folded address, until a day of law ("" for ever). Raises `Refused("address-taken")`, also while it
    rests after somebody else's use."""
    if (
        tx.run(
            "INSERT INTO address (address, account_id, is_primary, ends) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (address) DO NOTHING",
            *(address, account_id, int(primary), ends),
        )
        != 1
    ):
        raise Refused("address-taken", address=address)


def rename(tx: Tx, account_id: int, address: str, ends: str) -> str:
    """A new primary address; the one before stays and receives until `ends` (row 13.5). An old address of the same
    account may come back. Returns the one before. Raises `Refused`: address-taken, no-such-account."""
    row = tx.one("SELECT address FROM address WHERE account_id = ? AND is_primary = 1", account_id)
    if row is None:
        raise Refused("no-such-account")
    if row[0] == address:
        return address
    tx.run("UPDATE address SET is_primary = 0, ends = ? WHERE address = ?", ends, row[0])
    if not tx.run(
        "UPDATE address SET is_primary = 1, ends = '', rests = 0 WHERE address = ? AND account_id = ?",
        *(address, account_id),
    ):
        give(tx, account_id, address, primary=True)
    return str(row[0])


def all_taken(tx: Tx) -> dict[str, str]:
    """`taken` for every address there is: for plans of whole provinces."""
    rows = tx.each(
        "SELECT address.address, account.kind, unit.category FROM address"
        " JOIN account ON account.id = address.account_id LEFT JOIN unit ON unit.id = account.unit_id"
    )
    return {address: _holder_kind(kind, category) for address, kind, category in rows}


def _holder_kind(kind: str, category: str | None) -> str:
    return category if category and kind in ("organisation", "unit") else kind


def hand_over(tx: Tx, address: str, account_id: int, ends: str) -> None:
    """An address that is not somebody's primary one receives for another account from now on, until a day. The caller
    has an act on record that says why (row 13.6). Raises `Refused("nothing-to-hand-over")`."""
    if not tx.run(
        "UPDATE address SET account_id = ?, ends = ? WHERE address = ? AND is_primary = 0 AND rests = 0",
        *(account_id, ends, address),
    ):
        raise Refused("nothing-to-hand-over", address=address)


def lay_to_rest(tx: Tx, addresses: Sequence[str], until: float) -> None:
    """From now on these receive nothing, and nobody else is given them before that instant (row 2.2)."""
    tx.many("UPDATE address SET rests = ? WHERE address = ? AND rests = 0", [(int(until), a) for a in addresses])


def ended(tx: Tx, today: date, limit: int = 1000) -> list[tuple[str, int]]:
    """Old addresses whose end has come, with their account."""
    return [
        (address, account_id)
        for address, account_id in tx.all(
            "SELECT address, account_id FROM address WHERE ends <> '' AND ends <= ? AND rests = 0 AND is_primary = 0"
            " ORDER BY address LIMIT ?",
            *(today.isoformat(), limit),
        )
    ]


def free_rested(tx: Tx, now: float) -> int:
    """Forgets addresses that have rested long enough, so that they can be given anew; how many."""
    return tx.run("DELETE FROM address WHERE rests > 0 AND rests <= ?", int(now))
