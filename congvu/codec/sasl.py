"""SASL, the server's side: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677), and
OAUTHBEARER (RFC 7628).

Exchanges without a socket or a database: bytes as they are before base64 go in, a step comes out that says what to do
next. The caller checks passwords and fetches keys; for a login that does not exist it brings invented keys that are
always the same, so that nothing tells the difference. Promises: messages and nonces are bounded, comparisons take
constant time, a channel binding is checked whenever a client names one. Must never keep or print a password.
"""

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

LONGEST = 4096  # bytes of one message of the client; real ones have less than 600
LONGEST_NAME = 320  # bytes of a login: an address of RFC 5321 has at most 254 and may be longer in UTF-8
LONGEST_PASSWORD = 1024  # bytes: bounds the work a stranger can cause


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this. `final`: the client's reply must be empty; a protocol that can send data with its success does so."""

    data: bytes
    final: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """A password to be checked by the caller: right means that the exchange has succeeded. NFC (RFC 8265)."""

    login: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysWanted:
    """The caller brings the keys of this login: `exchange.keys(…)` gives the next step."""

    login: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The client has proved that it knows the password of `login`."""

    login: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The exchange has failed: bad-credentials, bad-auth-message, bad-channel-binding, no-such-authorization."""

    code: str


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token to be checked by the caller: `exchange.judged(…)` gives the next step."""

    login: str
    token: str = field(repr=False)


Step = Challenge | Credentials | KeysWanted | Token | Accepted | Rejected


class Exchange(Protocol):
    """One attempt to sign in."""

    def step(self, response: bytes | None) -> Step:
        """Takes what the client said; None in the first step when it sent no initial response."""
        ...


def from_base64(text: bytes) -> bytes:
    """Base64 of a client. Raises `ValueError` on anything else, spaces and missing padding included."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")


def prepare(text: str) -> str:
    """OpaqueString of RFC 8265 4.2: other spaces become U+0020, NFC; raises `ValueError` when empty or with controls.

    A client of RFC 5802 prepares with SASLprep (NFKC), which gives the same for all that Vietnamese keyboards produce.
    """
    if not text.isascii():
        text = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
        text = unicodedata.normalize("NFC", text)
    if not text or _CONTROLS.search(text):
        raise ValueError("empty or with control characters")
    return text


def _text(data: bytes, limit: int) -> str:
    if len(data) > limit:
        raise ValueError("too long")
    return prepare(data.decode())  # UnicodeDecodeError is a ValueError


_BAD = Rejected("bad-auth-message")


class Plain:
    """PLAIN: authzid NUL authcid NUL password."""

    __slots__ = ()

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(response) > LONGEST or len(parts) != 3:
            return _BAD
        try:
            login = _text(parts[1], LONGEST_NAME)
            if parts[0] and _text(parts[0], LONGEST_NAME).lower() != login.lower():
                return Rejected("no-such-authorization")  # nobody acts as somebody else
            return Credentials(login, _text(parts[2], LONGEST_PASSWORD))
        except ValueError:
            return _BAD


class Login:
    """LOGIN (draft-murchison-sasl-login): old mail programs know nothing else."""

    __slots__ = ("_login",)

    def __init__(self) -> None:
        self._login: str | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        try:
            if self._login is None:
                self._login = _text(response, LONGEST_NAME)
                return Challenge(b"Password:")
            return Credentials(self._login, _text(response, LONGEST_PASSWORD))
        except ValueError:
            return _BAD


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps for SCRAM-SHA-256 (rfc5802 3): nobody can sign in with it alone."""

    salt: bytes
    iterations: int
    stored: bytes = field(repr=False)
    server: bytes = field(repr=False)


def derive_keys(password: str, salt: bytes, iterations: int) -> ScramKeys:
    """Keys of a password. Takes a few milliseconds: for a worker thread. Raises `ValueError` as `prepare`."""
    salted = hashlib.pbkdf2_hmac("sha256", prepare(password).encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return ScramKeys(salt, iterations, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))


def format_keys(keys: ScramKeys) -> str:
    """The text form of rfc5803 (as PostgreSQL writes it too)."""
    salt, stored, server = (base64.b64encode(b).decode() for b in (keys.salt, keys.stored, keys.server))
    return f"SCRAM-SHA-256${keys.iterations}:{salt}${stored}:{server}"


_KEYS = re.compile(
    r"SCRAM-SHA-256 ?\$ ?(\d{1,8}):([A-Za-z0-9+/=]{1,200}) ?\$ ?([A-Za-z0-9+/=]{44}):([A-Za-z0-9+/=]{44})"
)


def parse_keys(text: str) -> ScramKeys:
    """Reads what `format_keys` wrote. Raises `ValueError`."""
    found = _KEYS.fullmatch(text)
    if found is None or int(found[1]) < 1:
        raise ValueError("not SCRAM-SHA-256 keys")
    salt, stored, server = (from_base64(g.encode()) for g in found.group(2, 3, 4))
    if len(stored) != 32 or len(server) != 32:
        raise ValueError("not SCRAM-SHA-256 keys")
    return ScramKeys(salt, int(found[1]), stored, server)


# rfc5802 7. The nonce is printable ASCII without a comma; a client's is bounded here, as it comes back in messages.
_FIRST = re.compile(
    rb"(?P<gs2>(?P<flag>[ny]|p=(?P<binding>[A-Za-z0-9.-]{1,64})),(?:a=(?P<zid>[^,]{1,960}))?,)"
    rb"(?P<bare>n=(?P<name>[^,]{1,960}),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]{1,256})(?:,(?:[A-Za-z]=[^,]*))*)"
)
_FINAL = re.compile(
    rb"(?P<bare>c=(?P<cbind>[A-Za-z0-9+/=]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]{1,512})(?:,(?:[A-Za-z]=[^,]*))*)"
    rb",p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_BAD_NAME = re.compile(rb"=(?!2C|3D)")


def _sasl_name(data: bytes) -> str:
    if _BAD_NAME.search(data):
        raise ValueError("bad escape")
    return _text(data.replace(b"=2C", b",").replace(b"=3D", b"="), LONGEST_NAME)


class Scram:
    """SCRAM-SHA-256, or its -PLUS when `plus`.

    `bindings`: the channel bindings this connection has, by name; with any of them the server also offers -PLUS, and a
    client that believes it does not has been lied to (rfc5802 6). `nonce`: 18 random bytes or more, as text.
    """

    __slots__ = (
        "_bindings",
        "_first",
        "_gs2",
        "_keys",
        "_login",
        "_nonce",
        "_plus",
        "_state",
        "_transcript",
        "_wanted",
    )

    def __init__(self, plus: bool, bindings: Mapping[str, bytes], nonce: str) -> None:
        self._plus = plus
        self._bindings = bindings
        self._nonce = nonce.encode()
        self._state = "first"
        self._login = ""
        self._keys: ScramKeys | None = None
        self._first = self._gs2 = self._transcript = b""
        self._wanted = b""  # what the client's c= must hold

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"") if self._state == "first" else _BAD
        if len(response) > LONGEST:
            return _BAD
        state, self._state = self._state, "over"
        match state:
            case "first":
                return self._client_first(response)
            case "final":
                return self._client_final(response)
            case "done" if not response:
                return Accepted(self._login)
            case _:
                return _BAD

    def _client_first(self, message: bytes) -> Step:
        found = _FIRST.fullmatch(message)
        if found is None:  # also for m=, an extension that must be understood
            return _BAD
        binding = found["binding"]
        if self._plus != (binding is not None) or (found["flag"] == b"y" and self._bindings):
            return Rejected("bad-channel-binding")
        self._wanted = found["gs2"]
        if binding is not None:
            data = self._bindings.get(binding.decode())
            if data is None:
                return Rejected("bad-channel-binding")
            self._wanted += data
        try:
            self._login = _sasl_name(found["name"])
            if found["zid"] is not None and _sasl_name(found["zid"]).lower() != self._login.lower():
                return Rejected("no-such-authorization")
        except ValueError:
            return _BAD
        self._first = found["bare"]
        self._nonce = found["nonce"] + self._nonce
        self._state = "keys"
        return KeysWanted(self._login)

    def keys(self, keys: ScramKeys) -> Challenge:
        """Goes on after `KeysWanted`, with the login's keys or with invented ones."""
        if self._state != "keys":
            raise RuntimeError("keys were not asked for")
        self._keys = keys
        server_first = b"r=%b,s=%b,i=%d" % (self._nonce, base64.b64encode(keys.salt), keys.iterations)
        self._transcript = self._first + b"," + server_first + b","
        self._state = "final"
        return Challenge(server_first)

    def _client_final(self, message: bytes) -> Step:
        found = _FINAL.fullmatch(message)
        if found is None or self._keys is None:
            return _BAD
        try:
            channel, proof = from_base64(found["cbind"]), from_base64(found["proof"])
        except ValueError:
            return _BAD
        if not hmac.compare_digest(channel, self._wanted):
            return Rejected("bad-channel-binding")
        if not hmac.compare_digest(found["nonce"], self._nonce) or len(proof) != 32:
            return _BAD
        said = self._transcript + found["bare"]
        signature = hmac.digest(self._keys.stored, said, "sha256")
        client = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client).digest(), self._keys.stored):
            return Rejected("bad-credentials")
        self._state = "done"
        return Challenge(b"v=" + base64.b64encode(hmac.digest(self._keys.server, said, "sha256")), final=True)


_BEARER = re.compile(
    rb"(?:n|y),a=(?P<name>[^,\x01]{1,960}),\x01(?P<pairs>(?:[A-Za-z]+=[\t\n\r\x20-\x7e]*\x01)*)\x01", re.DOTALL
)
_AUTH = re.compile(rb"(?:^|\x01)auth=bearer +([A-Za-z0-9\-._~+/]+=*)\x01", re.IGNORECASE)


class Bearer:
    """OAUTHBEARER (rfc7628 3.1): a login and a token that somebody else has given out. The caller judges the token."""

    __slots__ = ("_login", "_state")

    def __init__(self) -> None:
        self._login = ""
        self._state = "first"

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"") if self._state == "first" else _BAD
        state, self._state = self._state, "over"
        if state == "told" or len(response) > LONGEST:  # whatever the client says to its failure
            return Rejected("bad-credentials") if state == "told" else _BAD
        found = _BEARER.fullmatch(response) if state == "first" else None
        token = _AUTH.search(found["pairs"]) if found else None
        if found is None or token is None:
            return _BAD
        try:
            self._login = _sasl_name(found["name"])
        except ValueError:
            return _BAD
        self._state = "token"
        return Token(self._login, token[1].decode())

    def judged(self, good: bool) -> Step:
        """Goes on after `Token`. A client whose token was not good is told why before the exchange fails."""
        if self._state != "token":
            raise RuntimeError("no token was asked about")
        if good:
            self._state = "over"
            return Accepted(self._login)
        self._state = "told"
        return Challenge(b'{"status":"invalid_token"}')


def mechanisms(bindings: Mapping[str, bytes], plain: bool) -> list[str]:
    """What to offer: the -PLUS only where it can work; those that show the password only when `plain` (with TLS)."""
    names = ["SCRAM-SHA-256-PLUS"] if bindings else []
    names.append("SCRAM-SHA-256")
    return [*names, "PLAIN", "LOGIN"] if plain else names


def begin(
    mechanism: str, bindings: Mapping[str, bytes], nonce: Callable[[], str], tokens: bool = False
) -> Plain | Login | Scram | Bearer | None:
    """A new exchange, or None for a mechanism that is not known (or not possible on this connection). `tokens`: there
    is somebody to judge them."""
    match mechanism.upper():
        case "PLAIN":
            return Plain()
        case "LOGIN":
            return Login()
        case "SCRAM-SHA-256":
            return Scram(False, bindings, nonce())
        case "SCRAM-SHA-256-PLUS" if bindings:
            return Scram(True, bindings, nonce())
        case "OAUTHBEARER" if tokens:
            return Bearer()
        case _:
            return None
