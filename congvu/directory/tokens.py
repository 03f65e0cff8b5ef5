"""Sessions of the consoles and tokens of programs: what stands for a sign-in that has been.

Promises that only the hash of a secret is kept, that one which ended, or whose account may no longer sign in, opens
nothing, and that a token never allows more than its scopes.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

from congvu.base.failure import Refused
from congvu.base.observe import Secret
from congvu.db.engine import Row, Tx
from congvu.directory import lifecycle, people
from congvu.directory.lifecycle import Act, State

MAX_TOKENS = 50  # of one account, sessions among them; the oldest session gives way
_USED_EVERY = 60  # seconds: the time of the last use is noted no more often


@dataclass(frozen=True, slots=True)
class Token:
    """One session or token. `scopes` empty: a session, which may all that its person may."""

    account_id: int
    address: str
    name: str
    scopes: frozenset[str]
    label: str
    created: int
    ends: int
    used: int
    peer: str
    handle: str  # by which its owner speaks of it; opens nothing

    def allows(self, scope: str) -> bool:
        return not self.scopes or scope in self.scopes


def invent() -> Secret:
    """256 bits, as text for a header or cookie."""
    return Secret(secrets.token_urlsafe(32))


def _hash(secret: Secret) -> bytes:
    return blake3(secret.reveal().encode("utf-8", "replace")).digest()


def give(
    tx: Tx, account_id: int, secret: Secret, scopes: Sequence[str], label: str, peer: str, now: float, ends: float
) -> None:
    """Raises `Refused("too-many-tokens")`."""
    tx.run("DELETE FROM token WHERE account_id = ? AND ends <= ?", account_id, int(now))
    held = tx.all("SELECT hash, scopes FROM token WHERE account_id = ? ORDER BY created", account_id)
    if len(held) >= MAX_TOKENS:
        oldest = next((digest for digest, of in held if not of), None)
        if scopes or oldest is None:
            raise Refused("too-many-tokens", most=MAX_TOKENS)
        tx.run("DELETE FROM token WHERE hash = ?", oldest)
    tx.run(
        "INSERT INTO token (hash, account_id, scopes, label, created, ends, used, peer)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *(_hash(secret), account_id, " ".join(scopes), people.checked_name(label), int(now), int(ends), int(now), peer),
    )


_SELECT = (
    "SELECT token.hash, token.account_id, coalesce(address.address, ''), account.name, account.state, token.scopes,"
    " token.label, token.created, token.ends, token.used, token.peer FROM token"
    " JOIN account ON account.id = token.account_id"
    " LEFT JOIN address ON address.account_id = account.id AND address.is_primary = 1"
)


def _token(row: Row) -> Token:
    digest, account_id, address, name, _, scopes, label, created, ends, used, peer = row
    handle = bytes(digest)[:8].hex()
    return Token(account_id, address, name, frozenset(scopes.split()), label, created, ends, used, peer, handle)


def find(tx: Tx, secret: Secret, now: float, idle: float = 0) -> Token | None:
    """Whose secret this is; None when nobody's, ended, unused for `idle` seconds (sessions only), or its account may
    not sign in."""
    row = tx.one(f"{_SELECT} WHERE token.hash = ? AND token.ends > ?", _hash(secret), int(now))
    if row is None or not lifecycle.may(State(row[4]), Act.SIGN_IN):
        return None
    token = _token(row)
    return None if idle and not token.scopes and now > token.used + idle else token


def note_use(tx: Tx, secret: Secret, peer: str, now: float) -> None:
    tx.run(
        "UPDATE token SET used = ?, peer = ? WHERE hash = ? AND used < ?",
        *(int(now), peer, _hash(secret), int(now) - _USED_EVERY),
    )


def needs_note(token: Token, now: float) -> bool:
    """Is it time to write the last use down?"""
    return now > token.used + _USED_EVERY


def of_account(tx: Tx, account_id: int, now: float) -> list[Token]:
    """All that have not ended, newest first."""
    rows = tx.all(
        f"{_SELECT} WHERE token.account_id = ? AND token.ends > ? ORDER BY token.created DESC", account_id, int(now)
    )
    return [_token(row) for row in rows]


def end(tx: Tx, secret: Secret) -> None:
    tx.run("DELETE FROM token WHERE hash = ?", _hash(secret))


def end_by_handle(tx: Tx, account_id: int, handle: str) -> None:
    """Raises `Refused("no-such-token")`."""
    for (digest,) in tx.all("SELECT hash FROM token WHERE account_id = ?", account_id):
        if bytes(digest)[:8].hex() == handle:
            tx.run("DELETE FROM token WHERE hash = ?", digest)
            return
    raise Refused("no-such-token")


def end_all(tx: Tx, account_id: int) -> None:
    """Every session and token of an account: it was locked, or its secret is new."""
    tx.run("DELETE FROM token WHERE account_id = ?", account_id)
