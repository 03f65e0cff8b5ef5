"""Accounts: the one door at which every protocol proves who somebody is, and the acts that make and change accounts.

Promises that a lock or a new password bites at the next sign-in whatever was remembered, and that a stranger learns
neither from words nor from time whether a login exists. Must never log a password, nor keep one beyond the renewal of
its keys.
"""

import asyncio
import hmac
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import ParamSpec, Protocol, TypeVar

from congvu.actions import lifecycle as acts
from congvu.actions import own_secrets
from congvu.actions.presence import Presence
from congvu.actions.proofs import Proofs
from congvu.base.clock import Clock, Identifiers
from congvu.base.config import Config
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import Secret, log, printable
from congvu.base.turns import Turns
from congvu.codec.sasl import ScramKeys, parse_keys
from congvu.db import audit
from congvu.db.engine import Database, Tx
from congvu.directory import (
    addresses,
    attestation,
    credentials,
    entries,
    lifecycle,
    passwords,
    people,
    requests,
    roles,
    units,
)
from congvu.directory.addresses import Held
from congvu.directory.credentials import Stored
from congvu.directory.entries import Contact
from congvu.directory.lifecycle import Act, Reason, State
from congvu.directory.people import Account, Kind, Person, Post, split_name
from congvu.directory.profile import Profile
from congvu.directory.regulation import Regulation
from congvu.directory.roles import Actor
from congvu.mailstore import mailbox

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who has proved to be whom. `address`: the one given at sign-in, in full; `epoch`: the session is good while the
    account has this one."""

    account_id: int
    address: str
    name: str
    epoch: int = 0


class Present(Protocol):
    """Who has signed in, as much of it as keeps a session."""

    @property
    def account_id(self) -> int: ...
    @property
    def epoch(self) -> int: ...


_MOST_COUNTED = 100_000  # counters of failures; beyond it the oldest is forgotten
_MOST_TO_RENEW = 20_000  # passwords brought along that wait for their keys; more wait for the next sign-in
_REST = 50  # renewing rests so many times as long as it worked: it takes a fiftieth of a core
_MOST_WAITING = 1_000  # sign-ins that wait for a core: half a minute's work of one …
_MOST_OF_ONE = 400  # … and those of one network: the rest is for others
_LOOKS = 2  # sign-ins that ask the database at a time: of hundreds that come at once others' reads notice nothing
_SAME_WRONG = 86_400.0  # seconds for which one wrong password, tried again and again by a telephone, counts once


TokenJudge = Callable[[str, Secret], Awaitable[bool]]  # address in full, token → does it speak for the address?


class Doors:
    """Sign-in for every protocol of one process. How long an answer is put off is counted in its memory, by network;
    wrong passwords in a row in the database, by account (row 4.2). What was proved is remembered by all that share
    `proofs`, and what was wrong by all that share `tried`. `rules` None: nobody is locked."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        config: Config,
        proofs: Proofs,
        tokens: TokenJudge | None = None,
        rules: Regulation | None = None,
        tried: Proofs | None = None,
    ) -> None:
        self._db = db
        self._tokens = tokens  # whoever gives out tokens; a province's sign-on comes with its own issue
        self._clock = clock
        self._config = config
        self._proofs = proofs
        self._fake = _lasting_key(config)
        self._pool = ThreadPoolExecutor(config.limits.password_checks, "password")
        self._proving: dict[bytes, asyncio.Task[bool]] = {}
        self._turns = Turns(config.limits.password_checks)  # networks take turns: a guesser's many wait for his own
        self._looks = Turns(_LOOKS)  # also at the database
        self._waiting: Counter[str] = Counter()  # by network
        self._to_renew: dict[int, tuple[Held, Stored, Secret]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._failures = _Failures(clock, config)
        self._rules = rules
        self._tried = tried or Proofs()
        self._counting: set[asyncio.Task[None]] = set()
        self.presence = Presence(db, clock)

    def close(self) -> None:
        """Ends the threads; call when the servers have stopped. Keys not yet renewed wait for the next sign-in."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def sign_in(self, login: str, password: Secret, ip: str) -> SignedIn:
        """Who this is. Raises `Refused`: bad-credentials, account-locked, password-must-change, password-too-old;
        `NotNow`: too-many-attempts, too-busy."""
        address = self._full(login)
        found = await self._proved_by(address, password, ip)
        return await self._admit(found, ip, address)

    async def _proved_by(self, address: str, password: Secret, ip: str) -> "_Found | None":
        """What is known of the login, whose password this is. Raises `Refused("bad-credentials")` and `NotNow`."""
        found = await self._look(address, ip)
        held, stored = (found.held, found.stored) if found else (None, None)
        # The key is bound to the stored hash, so a changed password forgets what was remembered of the old one.
        proof = self._proof(held, stored, password)
        if not self._proofs.known(proof, self._clock.now()):
            self._failures.check(ip, address)
            if not await self._prove(ip, proof, held, stored, password):
                self._failures.note(ip, address)
                # What was typed as an unknown login may well be a password: it is not written down.
                log.info("sign-in failed: %s from %s", address if held else "unknown login", printable(ip, 60))
                if found is not None and found.stored is not None and self._counts(found):
                    wrong = self._proofs.proof(f"wrong {found.held.account_id} {found.stored.hash}", password.reveal())
                    if not self._tried.known(wrong, self._clock.now()):
                        self._tried.remember(wrong, self._clock.now(), self._clock.now() + _SAME_WRONG)
                        await self._count(found.held, ip)
                raise Refused("bad-credentials")
        return found

    def _counts(self, found: "_Found") -> bool:
        return self._rules is not None and lifecycle.may(found.held.state, Act.SIGN_IN)

    async def _count(self, held: Held, ip: str) -> None:
        """One more wrong password in a row; the one too many locks the account."""
        if self._rules is None:
            return
        try:
            if await self._db.write(_wrong, self._rules, held.account_id, ip, self._clock.now()):
                log.warning("account %d locked: too many wrong passwords in a row", held.account_id)
        except NotNow as trouble:
            log.warning("account %d: a wrong password not counted: %s", held.account_id, trouble.code)

    async def _admit(self, found: "_Found | None", ip: str, address: str) -> SignedIn:
        """Whoever has the right password hears what stands in the way; nobody else does."""
        self._failures.forget(ip, address)
        known = _admitted(found)
        if found is not None and found.stored is not None and found.stored.wrong:
            try:
                await self._db.write(credentials.forget_wrong, known.account_id)
            except NotNow as trouble:  # who has the right password is not kept out for that
                log.warning("account %d: wrong passwords not forgotten: %s", known.account_id, trouble.code)
        if found is not None:
            self.presence.saw(known.account_id, found.seen_day)
        return known

    def present(self, known: "Present", end: Callable[[str], None]) -> Callable[[], None]:
        """A session begins; `end` is called with a word of the catalogue when it has to end. To be called at its end:
        what is returned."""
        return self.presence.enter(known.account_id, known.epoch, end)

    async def change_own_password(self, login: str, old: Secret, new: Secret, ip: str) -> None:
        """The way out of `password-must-change`, and open to everybody; all sessions end.

        Raises as `sign_in`, besides what stands in its way there, and `Refused`: password-same, password-reused,
        password-changed-meanwhile, bad-password, and what `passwords.check` does.
        """
        address = self._full(login)
        found = await self._proved_by(address, old, ip)
        if found is None or found.stored is None or not lifecycle.may(found.held.state, Act.SIGN_IN):
            raise Refused("account-locked")
        if found.stored.must_change == lifecycle.CLOSED:
            raise Refused("account-locked")
        self._failures.forget(ip, address)
        if new.reveal() == old.reveal():
            raise Refused("password-same")
        credentials.checked_password(new)
        number = found.held.account_id
        demands, holder, hashes = await self._db.read(own_secrets.asked, self._rules, number)
        passwords.check(new, demands, holder)
        if await self._thread(passwords.is_reused, new, hashes, demands.history, credentials.verify):
            raise Refused("password-reused", count=demands.history)
        made = await self._thread(credentials.make, new)
        await self._db.write(
            own_secrets.replace_own, number, found.stored.hash, made, demands.history, ip, self._clock.now()
        )

    async def scram_keys(self, login: str, ip: str = "") -> ScramKeys:
        """The keys of a login; invented but lasting ones when there are none, so that asking tells nothing.

        Raises `NotNow("too-many-attempts")`. An account brought along has keys only after its first plain sign-in.
        """
        address = self._full(login)
        self._failures.check(ip, address)
        found = await self._look(address, ip)
        if found is not None and found.stored is not None and found.stored.scram is not None:
            try:
                return parse_keys(found.stored.scram)
            except ValueError:
                log.error("account %d: unreadable SCRAM keys", found.held.account_id)
        salt, key, server = (
            hmac.digest(self._fake, f"{use} {address}".encode("utf-8", "replace"), "sha256") for use in ("s", "k", "v")
        )
        return ScramKeys(salt[:16], credentials.SCRAM_ITERATIONS, key, server)

    @property
    def takes_tokens(self) -> bool:
        """Is there somebody who judges the tokens of OAUTHBEARER?"""
        return self._tokens is not None

    async def token_good(self, login: str, token: Secret, ip: str) -> bool:
        """Does the token speak for this login? `signed_in` is to follow. Raises `NotNow`: too-many-attempts, and what
        the judge raises."""
        if self._tokens is None:
            return False
        address = self._full(login)
        self._failures.check(ip, address)
        return await self._tokens(address, token)

    async def signed_in(self, login: str, ip: str = "") -> SignedIn:
        """Who this is, after a SCRAM proof. Raises as `sign_in`."""
        address = self._full(login)
        return await self._admit(await self._look(address, ip), ip, address)

    def failed(self, login: str, ip: str) -> None:
        """Counts a SCRAM exchange that proved nothing."""
        address = self._full(login)
        self._failures.note(ip, address)
        log.info("sign-in by SCRAM failed from %s", printable(ip, 60))
        if self._rules is not None:
            task = asyncio.ensure_future(self._failed(address, ip))
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)

    async def _failed(self, address: str, ip: str) -> None:
        found = await self._look(address, ip)
        if found is not None and found.stored is not None and self._counts(found):
            await self._count(found.held, ip)

    async def counted(self) -> None:
        """Waits until what is counted behind the answers has been; for tests."""
        while self._counting:
            await asyncio.wait(self._counting)
        await self.presence.flush()

    async def _look(self, address: str, ip: str) -> "_Found | None":
        async with self._looks.turn(_network(ip)):
            return await self._db.look(_look, address)

    def _full(self, login: str) -> str:
        """A login as an address: the local part suffices while there is a single domain (row 2.20)."""
        text = addresses.normalise(login)
        if "@" not in text and len(self._config.domains) == 1:
            return f"{text}@{self._config.domains[0]}"
        return text

    def _proof(self, held: Held | None, stored: Stored | None, password: Secret) -> bytes:
        known = f"{held.account_id if held else 0} {stored.hash if stored else ''}"
        return self._proofs.proof(known, password.reveal())

    async def _prove(self, ip: str, proof: bytes, held: Held | None, stored: Stored | None, password: Secret) -> bool:
        """One check however many ask it at the same time."""
        task = self._proving.get(proof)
        if task is None:
            network = _network(ip)
            if len(self._proving) >= _MOST_WAITING or self._waiting[network] >= _MOST_OF_ONE:
                raise NotNow("too-busy")
            task = asyncio.ensure_future(self._in_turn(network, proof, held, stored, password))
            self._proving[proof] = task
            self._waiting[network] += 1
            task.add_done_callback(lambda _: self._proved(proof, network))
        return await asyncio.shield(task)

    def _proved(self, proof: bytes, network: str) -> None:
        self._proving.pop(proof, None)
        self._waiting[network] -= 1
        if not self._waiting[network]:
            del self._waiting[network]

    async def _in_turn(
        self, network: str, proof: bytes, held: Held | None, stored: Stored | None, password: Secret
    ) -> bool:
        async with self._turns.turn(network):
            return await self._check(proof, held, stored, password)

    async def _check(self, proof: bytes, held: Held | None, stored: Stored | None, password: Secret) -> bool:
        if held is None or stored is None:
            await self._thread(_fits, Stored(credentials.nobody(), None), password)
            return False
        fits = partial(_fits, stored, password)
        if not await self._thread(self._proofs.prove, proof, *self._while(), fits):
            return False
        if (stored.scram is None or credentials.is_weak(stored.hash)) and len(self._to_renew) < _MOST_TO_RENEW:
            self._to_renew[held.account_id] = held, stored, password
            if self._renewing is None or self._renewing.done():
                self._renewing = asyncio.ensure_future(self._renew())
        return True

    async def _renew(self) -> None:
        """Keys for passwords that were brought along, one after the other with long rests: on the morning a province
        moves in, ten thousand people sign in for the first time, and nobody shall wait for that."""
        while self._to_renew:
            account_id, (held, stored, password) = next(iter(self._to_renew.items()))
            began = time.monotonic()
            try:
                renewed = await self._thread(_renewed, stored, password)
                if await self._db.write(credentials.renew, account_id, stored.hash, renewed):
                    self._proofs.remember(self._proof(held, renewed, password), *self._while())
            except NotNow as trouble:  # it can wait for the next sign-in
                log.warning("account %d: keys not renewed: %s", account_id, trouble.code)
            self._to_renew.pop(account_id, None)
            await asyncio.sleep(_REST * (time.monotonic() - began))

    async def renewed(self) -> None:
        """Waits until no keys are left to be renewed; for tests."""
        if self._renewing is not None:
            await self._renewing

    def _while(self) -> tuple[float, float]:
        """From when until when something proved now is remembered."""
        now = self._clock.now()
        return now, now + self._config.limits.remember_password_seconds

    async def _thread(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(f, *args, **kwargs))


def _fits(stored: Stored, password: Secret) -> bool:
    """A wrong password costs an argon2 whatever the hash: an old, fast one must not tell that the login exists."""
    if credentials.verify(stored.hash, password):
        return True
    if not credentials.is_ours(stored.hash):
        credentials.verify(credentials.nobody(), password)
    return False


def _renewed(stored: Stored, password: Secret) -> Stored:
    hash_ = credentials.hash_password(password) if credentials.is_weak(stored.hash) else stored.hash
    return Stored(hash_, credentials.scram_keys(password))


@dataclass(frozen=True, slots=True)
class _Found:
    """What a door looks at."""

    held: Held
    stored: Stored | None
    epoch: int
    seen_day: int


def _look(tx: Tx, address: str) -> _Found | None:
    text = addresses.normalise(address)
    row = tx.one(
        "SELECT account.id, account.state, account.name, account.epoch, account.seen_day, credential.hash,"
        " credential.scram, credential.must_change, credential.wrong FROM address"
        " JOIN account ON account.id = address.account_id"
        " LEFT JOIN credential ON credential.account_id = account.id WHERE address.address = ? AND address.rests = 0",
        text,
    )
    if row is None:
        return None
    number, state, name, epoch, seen_day, *secret = row
    stored = Stored(*secret) if secret[0] is not None else None
    return _Found(Held(number, State(state), text, name), stored, epoch, seen_day)


def _wrong(tx: Tx, rules: Regulation, account_id: int, ip: str, now: float) -> bool:
    """Counts; is the account locked by it? (row 4.2)"""
    limit = rules.rules(rules.of_account(tx, account_id)).wrong_passwords
    wrong = credentials.count_wrong(tx, account_id)
    if limit is None or wrong <= limit:
        return False
    row = tx.one("SELECT state FROM account WHERE id = ?", account_id)
    if row is None or row[0] != State.ACTIVE:
        return False
    acts.take_step(tx, account_id, State.LOCKED, now, Reason.WRONG_PASSWORDS)
    facts = {"wrong": wrong, "limit": limit}
    system = Actor("congvu", peer=ip)
    roles.note(tx, system, "account.lock", now, on=account_id, why=Reason.WRONG_PASSWORDS, facts=facts)
    return True


def _admitted(found: _Found | None) -> SignedIn:
    """Only whoever has the right password hears that an account is locked, or that its password must be changed."""
    if found is None:
        raise Refused("bad-credentials")
    held = found.held
    if not lifecycle.may(held.state, Act.SIGN_IN):
        raise Refused("account-locked")
    match found.stored.must_change if found.stored is not None else 0:  # row 3.9: by no protocol
        case lifecycle.MUST_CHANGE:
            raise Refused("password-must-change")
        case lifecycle.TOO_OLD:
            raise Refused("password-too-old")
        case lifecycle.CLOSED:
            raise Refused("account-locked")
    return SignedIn(held.account_id, held.address, held.name, found.epoch)


def _lasting_key(config: Config) -> bytes:
    """A secret that workers share and a restart keeps, for the invented SCRAM keys: drawn from the TLS key."""
    try:
        secret = config.tls.key.read_bytes()
    except OSError:
        secret = secrets.token_bytes(32)
    return hmac.digest(secret, b"congvu invented scram keys", "sha256")


class _Failures:
    """Wrong passwords by IP and account, and by IP; both make the next try wait twice as long as the last."""

    def __init__(self, clock: Clock, config: Config) -> None:
        self._clock = clock
        self._limits = config.limits
        self._counts: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # failures, time of the last

    def check(self, ip: str, address: str) -> None:
        """Raises `NotNow("too-many-attempts")` while the wait lasts."""
        now = self._clock.now()
        for key, allowed in self._keys(ip, address):
            count, last = self._counts.get(key, (0, 0.0))
            if count >= allowed:
                wait = min(2 ** min(count - allowed, 30), self._limits.sign_in_window_seconds)
                if now < last + wait:
                    raise NotNow("too-many-attempts", seconds=int(last + wait - now) + 1)

    def note(self, ip: str, address: str) -> None:
        now = self._clock.now()
        for key, _ in self._keys(ip, address):
            count, last = self._counts.pop(key, (0, 0.0))
            if now - last > self._limits.sign_in_window_seconds:
                count = 0
            self._counts[key] = (count + 1, now)
        while len(self._counts) > _MOST_COUNTED:
            self._counts.popitem(last=False)

    def forget(self, ip: str, address: str) -> None:
        """After a success. The IP's own count stays: one good password must not free a guesser of others."""
        self._counts.pop((_network(ip), address), None)

    def _keys(self, ip: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
        network = _network(ip)
        return (
            ((network, address), self._limits.sign_in_failures),
            ((network, ""), self._limits.sign_in_failures_per_ip),
        )


def _network(ip: str) -> str:
    """An IPv6 peer owns its /64 and has all of it to try from."""
    try:
        number = ip_address(ip.partition("%")[0])
    except ValueError:
        return ip
    if isinstance(number, IPv6Address):
        if number.ipv4_mapped:
            return str(number.ipv4_mapped)
        return f"{IPv6Address(int(number) >> 64 << 64)}/64"
    return ip


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made, all of it checked. `credential` None: nobody can sign in yet. `title`, `birth`, `category`
    and `number` as in `people.Person`; `contact`: what the directory shows besides."""

    address: str
    name: str
    credential: Stored | None
    kind: Kind = Kind.PERSON
    unit_id: int | None = None
    birth: str = ""
    category: str = ""
    number: str = ""
    contact: Contact = entries.NOTHING_SAID


def checked(config: Config, address: str, name: str) -> tuple[str, str]:
    """Address and name as they will be kept. Raises `Refused`: bad-address, foreign-domain, bad-name."""
    text = addresses.checked(address)
    domain = addresses.domain_of(text)
    if not config.serves(domain):
        raise Refused("foreign-domain", domain=domain, known=", ".join(config.domains))
    return text, people.checked_name(name)


def add_account(tx: Tx, who: str, new: NewAccount, profile: Profile, ids: Identifiers, now: float) -> int:
    """An active account with its address, secret and mailboxes; returns its id. Raises `Refused("address-taken")`."""
    if addresses.taken(tx, [new.address]):
        raise Refused("address-taken", address=new.address)
    (account_id,) = add_accounts(tx, who, [new], profile, ids, now)
    return account_id


def add_accounts(
    tx: Tx, who: str, many: Sequence[NewAccount], profile: Profile, ids: Identifiers, now: float
) -> list[int]:
    """The same for a list, none of whose addresses is taken: a few statements, one line of audit."""
    numbers = [ids.draw() for _ in many]
    pairs = list(zip(numbers, many, strict=True))
    people.add_many(tx, [Account(n, a.kind, State.ACTIVE, a.name, a.unit_id, int(now), a.address) for n, a in pairs])
    addresses.give_many(tx, [(a.address, n) for n, a in pairs])
    persons = [(n, a) for n, a in pairs if a.kind is Kind.PERSON]
    people.add_persons(tx, [Person(n, *split_name(a.name), a.birth, a.category, a.number) for n, a in persons])
    people.add_posts(tx, [Post(n, a.unit_id, a.contact.title, main=True) for n, a in persons if a.unit_id is not None])
    entries.put_many(tx, [replace(a.contact, account_id=n) for n, a in pairs])
    entries.renew(tx, numbers)
    credentials.put_new(tx, [(n, a.credential) for n, a in pairs if a.credential is not None], now)
    for kind in Kind:
        mailbox.create_stores(tx, [n for n, a in pairs if a.kind is kind], profile.quota[kind], now)
    audit.record(tx, who, "account.add", {"addresses": [a.address for a in many]}, now)
    return numbers


def must_hold(tx: Tx, address: str) -> Held:
    held = addresses.exact(tx, address)
    if held is None:
        raise Refused("no-such-account", address=address)
    return held


def furnish(tx: Tx, config: Config, profile: Profile, ids: Identifiers, now: float) -> None:
    """What every mail domain must have (rfc5321 4.5.1, rfc2142 4): postmaster@, and abuse@ beside it; and what accounts
    and units from older versions lack. May run again."""
    units.fold_missing(tx)
    people.begun_since(tx, now)
    people.name_missing(tx)
    entries.fill_missing(tx)
    for domain in config.domains:
        wanted = f"postmaster@{domain}"
        held = addresses.exact(tx, wanted)
        if held is not None:
            continue
        new = NewAccount(wanted, f"Quản trị thư điện tử {domain}", None, Kind.FUNCTIONAL)
        account_id = add_account(tx, "congvu", new, profile, ids, now)
        if not addresses.taken(tx, [f"abuse@{domain}"]):
            addresses.give(tx, account_id, f"abuse@{domain}", primary=False)
            entries.renew(tx, [account_id])


# Each statement returns rows that must not exist, with the sentence they fill.
_NEVER = (
    (
        "account {0}: {1} primary addresses",
        "SELECT account.id, count(address.address) FROM account LEFT JOIN address ON address.account_id = account.id"
        " AND address.is_primary = 1 WHERE account.state <> 'purged' GROUP BY account.id"
        " HAVING count(address.address) <> 1",
    ),
    (
        "address {0}: its account {1} does not exist",
        "SELECT address.address, address.account_id FROM address LEFT JOIN account ON account.id = address.account_id"
        " WHERE account.id IS NULL",
    ),
    (
        "credential of account {0}: the account does not exist",
        "SELECT credential.account_id FROM credential LEFT JOIN account ON account.id = credential.account_id"
        " WHERE account.id IS NULL",
    ),
    (
        "account {0}: it has no store",
        "SELECT account.id FROM account LEFT JOIN store ON store.account_id = account.id"
        " WHERE store.account_id IS NULL AND account.state <> 'purged'",
    ),
    (
        "store of account {0}: the account does not exist",
        "SELECT store.account_id FROM store LEFT JOIN account ON account.id = store.account_id"
        " WHERE account.id IS NULL",
    ),
)


def check(tx: Tx) -> Iterator[str]:
    """Findings about who exists, none when all is whole; `mailstore.check` looks at the mailboxes."""
    for sentence, sql in (*_NEVER, *units.NEVER, *people.NEVER, *requests.NEVER, *attestation.NEVER):
        for row in tx.each(sql):
            yield sentence.format(*row)
    yield from entries.check(tx)
