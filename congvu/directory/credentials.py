"""Secrets of accounts: hashes of passwords, our own and those people bring along, and the keys of SCRAM.

Promises that a comparison takes the same time whether it fails early or late, and that no stored hash, whoever wrote
it, can make one check cost more than about a second. Must never log, return or keep a password.

Hashes that are understood (the scheme in braces in any case, `{CRYPT}` or nothing before those that begin with `$`):

| form | what |
|---|---|
| `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, also `{ARGON2ID}$argon2id$…` | Argon2 i, d and id (RFC 9106); what we make |
| `{SSHA}base64`, `{SSHA256}…`, `{SSHA512}…` | digest of password and salt, then the salt: OpenLDAP, Zimbra, Dovecot |
| `{CRYPT}$6$…`, `{SHA512-CRYPT}…`, `$5$`, `$2a$ $2b$ $2y$`, `$1$` | sha512-crypt, sha256-crypt, bcrypt, md5-crypt |
| `{PBKDF2}$1$salt$rounds$hex` | Dovecot: HMAC-SHA1, the salt as text |
| `{PBKDF2}rounds$salt$hash`, `{PBKDF2-SHA256}…`, `{PBKDF2-SHA512}…` | OpenLDAP: base64 with "." for "+" |
| `$pbkdf2-sha256$rounds$salt$hash` (sha512, or `$pbkdf2$` for SHA1) | passlib: the same base64 |
| `{PBKDF2}pbkdf2_sha256$rounds$salt$base64`, also bare | Django: the salt as text |
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import argon2
import bcrypt
from argon2.exceptions import HashingError, InvalidHashError, VerificationError, VerifyMismatchError
from passlib.hash import md5_crypt, sha256_crypt, sha512_crypt

from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret
from congvu.codec import sasl
from congvu.db.engine import Tx
from congvu.directory import lifecycle

MAX_HASH = 1000  # characters of a stored hash
MAX_PASSWORD = 1000  # octets; longer ones only cost time

# OWASP's choice for a server with many sign-ins: 19 MiB, two passes, one lane.
_TIME, _MEMORY, _LANES = 2, 19 * 1024, 1
SCRAM_ITERATIONS = 4096  # rfc7677 4; more would slow the clients' phones, not those who steal argon2 hashes
_hasher = argon2.PasswordHasher(time_cost=_TIME, memory_cost=_MEMORY, parallelism=_LANES)

# The most that a hash brought along may ask of one check.
_MOST_MEMORY = 256 * 1024  # KiB
_MOST_WORK = 1024 * 1024  # KiB times passes
_MOST_ROUNDS_CRYPT = 500_000
_MOST_ROUNDS_PBKDF2 = 2_000_000
_MOST_BCRYPT = 14


@dataclass(frozen=True, slots=True)
class Stored:
    """The credential row. `scram`: RFC 5803 text, None until the first sign-in with the plain password. `must_change`
    as in `lifecycle`, 0 not; `wrong`: wrong passwords since the last right one."""

    hash: str
    scram: str | None
    must_change: int = 0
    wrong: int = 0


def hash_password(password: Secret) -> str:
    """Argon2id with a fresh salt; about 25 ms of one core. Raises `NotNow("too-busy")`: no memory for it."""
    try:
        return _hasher.hash(_prepared(password))
    except HashingError as error:
        raise NotNow("too-busy") from error


def make(password: Secret) -> Stored:
    """Everything that is kept of a password."""
    return Stored(hash_password(password), scram_keys(password))


def scram_keys(password: Secret) -> str:
    """Keys for SCRAM-SHA-256, as text (RFC 5803); a few milliseconds."""
    return sasl.format_keys(sasl.derive_keys(password.reveal(), secrets.token_bytes(16), SCRAM_ITERATIONS))


def _prepared(password: Secret) -> bytes:
    return sasl.prepare(password.reveal()).encode("utf-8", "replace")


def checked_password(password: Secret) -> Secret:
    """A password that may be set at all. Raises `Refused("bad-password")`. (What a profile asks for comes on top.)"""
    try:
        fits = len(_prepared(password)) <= MAX_PASSWORD
    except ValueError:
        fits = False
    if not fits:
        raise Refused("bad-password")
    return password


_EASY = ("ABCDEFGHJKLMNPQRSTUVWXYZ", "abcdefghijkmnopqrstuvwxyz", "23456789", "!@#%*+-=?")


def invent_password() -> Secret:
    """Sixteen characters of all four classes (row 5.2), none that looks like another; over 80 bits."""
    while True:
        text = [secrets.choice("".join(_EASY[:3])) for _ in range(15)]
        text.insert(1 + secrets.randbelow(15), secrets.choice(_EASY[3]))  # not first: no formula in a spreadsheet
        if all(any(c in kind for c in text) for kind in _EASY):
            return Secret("".join(text))


def verify(stored: str, password: Secret) -> bool:
    """Is this the password? A hash that is not understood fits none. Raises `NotNow("too-busy")`."""
    try:
        check = _reader(stored)
    except Refused:
        return False
    raw = password.reveal().encode("utf-8", "replace")
    if not raw or len(raw) > MAX_PASSWORD or b"\0" in raw:
        return False
    try:
        prepared = _prepared(password)
    except ValueError:
        return False
    # A hash made elsewhere may have been made of decomposed marks; ours never is.
    return check(prepared) or (prepared != raw and check(raw))


def checked_hash(stored: str) -> str:
    """A hash brought along, if it is understood and bounded. Raises `Refused("bad-hash")` with the reason's word."""
    _reader(stored)
    return stored


def is_weak(stored: str) -> bool:
    """Should this hash be made anew at the next plain sign-in?"""
    if not stored.startswith("$argon2id$"):
        return True
    try:
        found = argon2.extract_parameters(stored)
    except InvalidHashError:
        return True
    return found.time_cost < _TIME or found.memory_cost < _MEMORY


def is_ours(stored: str) -> bool:
    return stored.startswith("$argon2id$")


# A check knows its hash; it is called with the password's bytes.
Check = Callable[[bytes], bool]

_BRACES = re.compile(r"\{([A-Za-z0-9._-]{1,20})\}(.*)", re.DOTALL)
_SALTED = {"SSHA": ("sha1", 20), "SSHA256": ("sha256", 32), "SSHA512": ("sha512", 64)}
_CRYPT = {"CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "BLF-CRYPT", "BCRYPT"}
_ARGON = {"ARGON2", "ARGON2I", "ARGON2D", "ARGON2ID"}
_PBKDF2 = {"PBKDF2": "sha1", "PBKDF2-SHA1": "sha1", "PBKDF2-SHA256": "sha256", "PBKDF2-SHA512": "sha512"}


def _bad(reason: str) -> Refused:
    return Refused("bad-hash", reason=reason)


def _reader(stored: str) -> Check:
    """How to check against this hash. Raises `Refused("bad-hash")`."""
    if len(stored) > MAX_HASH or not stored.isascii():
        raise _bad("length")
    scheme, rest = "", stored
    if found := _BRACES.fullmatch(stored):
        scheme, rest = found[1].upper(), found[2]
    if scheme in _SALTED:
        return _salted(*_SALTED[scheme], rest)
    if scheme in _PBKDF2 or (not scheme and rest.startswith(("$pbkdf2", "pbkdf2_"))):
        return _pbkdf2(_PBKDF2.get(scheme, ""), rest)
    if scheme and scheme not in _CRYPT and scheme not in _ARGON:
        raise _bad("scheme")
    if rest.startswith("$argon2"):
        return _argon2(rest)
    if rest.startswith(("$2a$", "$2b$", "$2y$")):
        return _bcrypt(rest)
    return _crypt(rest)


def _salted(name: str, size: int, text: str) -> Check:
    value = _base64(text)
    digest, salt = value[:size], value[size:]
    if len(digest) < size or not salt or len(salt) > 64:
        raise _bad("length")
    return lambda password: hmac.compare_digest(
        hashlib.new(name, password + salt, usedforsecurity=False).digest(), digest
    )


def _argon2(text: str) -> Check:
    try:
        asked = argon2.extract_parameters(text)
    except (InvalidHashError, ValueError):
        raise _bad("form") from None
    if (
        not 1 <= asked.parallelism <= 16
        or not 8 <= asked.memory_cost <= _MOST_MEMORY
        or not 1 <= asked.time_cost * asked.memory_cost <= _MOST_WORK
        or not 4 <= asked.hash_len <= 128
    ):
        raise _bad("cost")

    def check(password: bytes) -> bool:
        try:
            return argon2.PasswordHasher().verify(text, password)
        except (VerifyMismatchError, InvalidHashError):
            return False
        except VerificationError as error:  # no memory for it: nothing is known of the password
            raise NotNow("too-busy") from error

    return check


def _bcrypt(text: str) -> Check:
    if not re.fullmatch(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}", text):
        raise _bad("form")
    if not 4 <= int(text[4:6]) <= _MOST_BCRYPT:
        raise _bad("cost")
    # bcrypt looks at 72 octets; systems that made such hashes cut silently, so must we.
    return lambda password: bcrypt.checkpw(password[:72], text.encode())


# first characters: check, length of the digest, whether rounds may be named
_CRYPTS: dict[str, tuple[Callable[[bytes, str], bool], int, bool]] = {
    "$6$": (sha512_crypt.verify, 86, True),
    "$5$": (sha256_crypt.verify, 43, True),
    "$1$": (md5_crypt.verify, 22, False),
}


def _crypt(text: str) -> Check:
    if text[:3] not in _CRYPTS:
        raise _bad("scheme")
    fits, size, may_name_rounds = _CRYPTS[text[:3]]
    rounds = r"(?:rounds=(\d{1,9})\$)?" if may_name_rounds else "()"
    found = re.fullmatch(rf"\$\d\${rounds}[./A-Za-z0-9]{{0,16}}\$[./A-Za-z0-9]{{{size}}}", text)
    if found is None:
        raise _bad("form")
    if found[1] and not 1000 <= int(found[1]) <= _MOST_ROUNDS_CRYPT:
        raise _bad("cost")
    return lambda password: fits(password, text)


def _pbkdf2(name: str, text: str) -> Check:
    match text.split("$"):
        case ["", "1", salt_text, rounds, digest_hex]:  # Dovecot
            name, salt = name or "sha1", salt_text.encode()
            try:
                digest = bytes.fromhex(digest_hex)
            except ValueError:
                raise _bad("form") from None
        case [("pbkdf2_sha1" | "pbkdf2_sha256" | "pbkdf2_sha512") as word, rounds, salt_text, digest_text]:  # Django
            name, salt, digest = word.removeprefix("pbkdf2_"), salt_text.encode(), _base64(digest_text)
        case ["", ("pbkdf2" | "pbkdf2-sha256" | "pbkdf2-sha512") as word, rounds, salt_text, digest_text]:  # passlib
            name, salt, digest = word.partition("-")[2] or "sha1", _base64(salt_text), _base64(digest_text)
        case [rounds, salt_text, digest_text] if name:  # OpenLDAP
            salt, digest = _base64(salt_text), _base64(digest_text)
        case _:
            raise _bad("form")
    if not re.fullmatch(r"[1-9]\d{0,8}", rounds):
        raise _bad("form")
    if int(rounds) > _MOST_ROUNDS_PBKDF2:
        raise _bad("cost")
    if not 16 <= len(digest) <= 64 or not 1 <= len(salt) <= 128:
        raise _bad("length")
    return lambda password: hmac.compare_digest(
        hashlib.pbkdf2_hmac(name, password, salt, int(rounds), len(digest)), digest
    )


def _base64(text: str) -> bytes:
    """Base64 with or without padding, "." for "+" allowed (passlib, OpenLDAP)."""
    text = text.rstrip("=").replace(".", "+")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _bad("form") from None


# A hash that nobody's password fits: checked for logins that do not exist, so that they take as long as the others.
@cache
def nobody() -> str:
    return _hasher.hash(secrets.token_bytes(32))


def get(tx: Tx, account_id: int) -> Stored | None:
    row = tx.one("SELECT hash, scram, must_change, wrong FROM credential WHERE account_id = ?", account_id)
    return Stored(*row) if row else None


def put(tx: Tx, account_id: int, credential: Stored, now: float, history: int = 0) -> None:
    """Sets the secret, whatever was there before; of those before it as many hashes are kept as `history` says (row
    5.5)."""
    before = tx.one("SELECT hash, changed FROM credential WHERE account_id = ?", account_id)
    if before is not None and history:
        tx.run(
            "INSERT INTO credential_past (account_id, changed, hash) VALUES (?, ?, ?)"
            " ON CONFLICT (account_id, changed) DO UPDATE SET hash = excluded.hash",
            *(account_id, before[1], before[0]),
        )
    tx.run(
        "DELETE FROM credential_past WHERE account_id = ? AND changed NOT IN (SELECT changed FROM credential_past"
        " WHERE account_id = ? ORDER BY changed DESC LIMIT ?)",
        *(account_id, account_id, history),
    )
    tx.run(
        "INSERT INTO credential (account_id, hash, scram, changed, must_change, wrong) VALUES (?, ?, ?, ?, ?, 0)"
        " ON CONFLICT (account_id) DO UPDATE SET hash = excluded.hash, scram = excluded.scram,"
        " changed = excluded.changed, must_change = excluded.must_change, wrong = 0",
        *(account_id, credential.hash, credential.scram, int(now), credential.must_change),
    )


def past(tx: Tx, account_id: int) -> list[str]:
    """Hashes of the secret and of those before it that are kept, the newest first."""
    own = tx.all("SELECT hash FROM credential WHERE account_id = ?", account_id)
    before = tx.all("SELECT hash FROM credential_past WHERE account_id = ? ORDER BY changed DESC", account_id)
    return [row[0] for row in own + before]


def put_new(tx: Tx, credentials: Sequence[tuple[int, Stored]], now: float) -> None:
    """The secrets of accounts that have none yet."""
    tx.many(
        "INSERT INTO credential (account_id, hash, scram, changed, must_change) VALUES (?, ?, ?, ?, ?)",
        [(account_id, each.hash, each.scram, int(now), each.must_change) for account_id, each in credentials],
    )


def count_wrong(tx: Tx, account_id: int) -> int:
    """One more wrong password in a row; how many now (row 4.2: over all protocols, workers and nodes)."""
    rows = tx.all("UPDATE credential SET wrong = wrong + 1 WHERE account_id = ? RETURNING wrong", account_id)
    return int(rows[0][0]) if rows else 0


def forget_wrong(tx: Tx, account_id: int) -> None:
    """After a right one."""
    tx.run("UPDATE credential SET wrong = 0 WHERE account_id = ? AND wrong > 0", account_id)


def expire(tx: Tx, account_id: int) -> None:
    """It is too old (row 5.4): it opens no door before it is changed."""
    tx.run(
        "UPDATE credential SET must_change = ? WHERE account_id = ? AND must_change = 0", lifecycle.TOO_OLD, account_id
    )


def renew(tx: Tx, account_id: int, was: str, credential: Stored) -> bool:
    """Better keys for the same password. False when the password was changed meanwhile: then nothing happens."""
    return (
        tx.run(
            "UPDATE credential SET hash = ?, scram = ? WHERE account_id = ? AND hash = ?",
            credential.hash,
            credential.scram,
            account_id,
            was,
        )
        == 1
    )
