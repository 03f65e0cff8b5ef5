"""A letter's way in: gather what is known of it, decide, keep it. One path for every door (MX, submission, LMTP).

Promises: `take` returns only after the letter's bytes and all its rows are on disk; what was received is stored as it
came.
Must never accept for an address that nobody holds, relay for a stranger, or let a person write under another's name
(row 8.3: no seizing of others' addresses). Who sends more letters outside than the profile allows is locked, and the
letter that was too many is refused (row 4.3).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol

from congvu.base.clock import Clock, Identifiers
from congvu.base.config import Config
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log, printable
from congvu.codec import mime
from congvu.db.blobs import Blob, BlobKeeper, Spool, keep
from congvu.db.engine import Database, Duplicate, Tx
from congvu.delivery import queue
from congvu.directory import addresses, lifecycle, sent
from congvu.directory.regulation import Regulation
from congvu.mailstore import arrivals, mailbox, message, rights

# From so many local recipients on, a letter's text is indexed once for all of them: the index then grows with the
# letters and not with the readers of every circular, while a search still reads few postings of others.
SHARED_FROM = 8
MAX_AUTHORS = 200  # addresses in the From of somebody who signed in: more than anybody has
MAX_HEADER = 262_144  # bytes of the header of a letter by somebody who signed in: what a scan reads of it
MAX_HOPS = 100  # rfc5321 6.3: a letter with more Received lines than this goes in circles


class SignedIn(Protocol):
    """Who sends, as `actions.accounts` found."""

    @property
    def account_id(self) -> int: ...

    @property
    def address(self) -> str: ...

    @property
    def epoch(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end. `protocol` as RFC 3848 names it; `tls`: version and cipher, "" without."""

    ip: str
    helo: str
    protocol: str
    tls: str
    signed_in: SignedIn | None
    door: str  # "mx", "submission", "lmtp"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient that was accepted. `account_id` None: elsewhere, goes to the queue. DSN wishes as RFC 3461 words
    them."""

    address: str
    account_id: int | None
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class Arriving:
    """A letter whose last byte has come."""

    peer: Peer
    sender: str
    recipients: tuple[Recipient, ...]
    spool: Spool
    utf8: bool
    body: str
    ret: str
    envid: str


@dataclass(frozen=True, slots=True)
class _Ready:
    """A letter that needs only to be kept: with its number, what is added on top, its scan, and whom it is for here."""

    letter: Arriving
    letter_id: int
    prefix: bytes
    scan: mime.Scan
    accounts: tuple[int, ...]
    ids: Identifiers
    now: float
    rules: Regulation | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What `decide` looks at."""

    hops: int
    own: tuple[str, ...] | None  # the sender's own addresses; None for a stranger
    from_addresses: tuple[str, ...]
    authors: tuple[str, ...] = ()  # all in From and Sender that may be taken for an address
    clear: bool = True  # there is one From, and nobody can read another into the header


def decide(facts: Facts) -> None:
    """Same facts, same decision. Raises `Refused`: mail-loop, from-missing, from-unclear, not-your-address."""
    if facts.hops > MAX_HOPS:
        raise Refused("mail-loop", hops=facts.hops)
    if facts.own is not None:
        if not facts.from_addresses:
            raise Refused("from-missing")
        if not facts.clear:
            raise Refused("from-unclear", limit=MAX_HEADER)
        for address in (*facts.from_addresses, *facts.authors):
            if not addresses.is_own(facts.own, address):
                raise Refused("not-your-address", address=printable(address))


class Inbound:
    """The way in of one process."""

    def __init__(
        self,
        db: Database,
        blobs: BlobKeeper,
        clock: Clock,
        ids: Identifiers,
        config: Config,
        rules: Regulation | None = None,
    ) -> None:
        self._rules = rules  # None: nobody sends too many
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._ids = ids
        self._config = config

    async def may_send(self, peer: Peer, sender: str) -> None:
        """MAIL FROM: a person uses an own address or none (rfc8098 3: a read receipt has the null sender; its From is
        looked at in any case), a stranger any. Raises `Refused`: not-your-address, sender-locked."""
        if peer.signed_in is None:
            return
        own = await self._db.look(_own_addresses, peer.signed_in)
        if sender and not addresses.is_own(own, sender):
            raise Refused("not-your-address", address=printable(sender))

    async def may_receive(self, peer: Peer, sender: str, wanted: Sequence[str]) -> list[Recipient | Refused | NotNow]:
        """RCPT TO: an answer for each of a run of addresses, found with one read.

        `Refused`: no-such-address, address-revoked, relay-denied. `NotNow`: mailbox-full (row 6.1; the sender's server
        tries again while the owner makes room).
        """
        return await self._db.look(_may_receive, self._config, peer.signed_in is not None, list(wanted))

    async def take(self, letter: Arriving) -> list[Refused | NotNow | None]:
        """Keeps a letter for its recipients; an answer for each, in order, None meaning kept.

        Raises `Refused` (mail-loop, from-missing, from-unclear, not-your-address, sender-locked) or `NotNow`
        (disk-full, storage-trouble) for the letter as a whole: then nothing of it is kept. Likewise when each answer
        is `Refused("sent-too-many")`.
        """
        content = letter.spool.buffer()
        if isinstance(content, bytes):
            scan = mime.scan(content)
        else:
            scan = await asyncio.to_thread(mime.scan, content)  # a large letter must not hold up the others
        person = letter.peer.signed_in
        own = None
        if person is not None:
            own = await self._db.look(_own_addresses, person)
        clear, authors = (True, ()) if person is None else _authors(content, scan)
        decide(Facts(_hops(content, scan), own, scan.from_addresses, authors, clear))
        now = self._clock.now()
        # Two addresses of one account get one copy.
        accounts = tuple(sorted({r.account_id for r in letter.recipients if r.account_id is not None}))
        for left in (2, 1, 0):
            letter_id = self._ids.draw()
            prefix, seen = trace(letter, letter_id, self._config.hostname, now), scan
            if person is not None:
                added, seen = complete(scan, letter_id, self._config.hostname, now)
                prefix += added
            try:
                answers = await keep(
                    self._db,
                    self._blobs,
                    [letter.spool],
                    _keep,
                    _Ready(letter, letter_id, prefix, seen, accounts, self._ids, now, self._rules),
                    alone=len(accounts) >= SHARED_FROM,
                )
                break
            except Duplicate:  # another process drew the same number in this millisecond
                if not left:
                    raise
        log.info(
            "letter %x kept: from <%s> by %s [%s], %d recipients, %d bytes",
            letter_id,
            printable(letter.sender),
            letter.peer.door,
            letter.peer.ip,
            answers.count(None),
            letter.spool.size,
        )
        return answers


def trace(letter: Arriving, letter_id: int, hostname: str, now: float) -> bytes:
    """The headers added on arrival (rfc5321 4.4): Return-Path and Received."""
    peer = letter.peer
    tls = f"\r\n\t({printable(peer.tls)})" if peer.tls else ""
    single = f"\r\n\tfor <{letter.recipients[0].address}>" if len(letter.recipients) == 1 else ""
    # Who signed in is named by the From that was checked; the network inside the province stays unsaid (row 12.4).
    source = f"[{peer.ip}]" if ":" not in peer.ip else f"[IPv6:{peer.ip}]"
    text = (
        f"Return-Path: <{letter.sender}>\r\n"
        f"Received: from {printable(peer.helo, 255) or source} ({source})\r\n"
        f"\tby {hostname} with {peer.protocol} id {letter_id:x}{tls}{single};\r\n"
        f"\t{_date(int(now))}\r\n"
    )
    return text.encode("utf-8", "surrogateescape")


def complete(scan: mime.Scan, letter_id: int, hostname: str, now: float) -> tuple[bytes, mime.Scan]:
    """The Date and Message-ID that a person's letter lacks (rfc6409 8.1, 8.2: scanners and scripts send such), as
    headers to add, and the scan as if they had been there."""
    envelope, added = scan.envelope, b""
    sent, message_id = scan.sent, scan.message_id
    if sent is None and envelope.startswith(b"(NIL "):
        date = _date(int(now)).encode()
        sent, added = int(now), b"Date: %b\r\n" % date
        envelope = b'("%b" %b' % (date, envelope[len(b"(NIL ") :])
    if not message_id and envelope.endswith(b" NIL)"):
        message_id = f"{letter_id:x}@{hostname}"
        added += b"Message-ID: <%b>\r\n" % message_id.encode()
        envelope = b'%b "<%b>")' % (envelope[: -len(b" NIL)")], message_id.encode())
    return added, replace(scan, envelope=envelope, sent=sent, message_id=message_id)


@lru_cache(maxsize=8)
def _date(second: int) -> str:
    """rfc5322 3.3; many letters come within one second."""
    return formatdate(second, localtime=True)


def _authors(content: mime.Buffer, scan: mime.Scan) -> tuple[bool, tuple[str, ...]]:
    """`Facts.clear` and `Facts.authors` of a letter whose From must be the sender's own.

    One From (rfc5322 3.6); and only CRLF ends a line of the header, also in a letter of BINARYMIME: some programs begin
    a field behind any CR or LF.
    """
    if scan.root.body - scan.root.header > MAX_HEADER or len(scan.from_addresses) > MAX_AUTHORS:
        return False, ()
    header = content[scan.root.header : scan.root.body]
    pairs = header.count(b"\r\n")
    fields, authors = mime.authors(header)
    return fields == 1 and pairs == header.count(b"\r") == header.count(b"\n"), tuple(authors)


def _hops(content: mime.Buffer, scan: mime.Scan) -> int:
    header = b"\n" + content[scan.root.header : scan.root.body].lower()
    return header.count(b"\nreceived:")


def _may_receive(tx: Tx, config: Config, signed_in: bool, wanted: list[str]) -> list[Recipient | Refused | NotNow]:
    held = addresses.holders(tx, wanted, config.domains[0])
    full = mailbox.full(tx, [h.account_id for h in held.values()])
    answers: list[Recipient | Refused | NotNow] = []
    for address in wanted:
        holder = held.get(address)
        if holder is not None:
            if not lifecycle.may(holder.state, lifecycle.Act.RECEIVE):
                answers.append(Refused("address-revoked", address=printable(address)))
            elif holder.account_id in full:
                answers.append(NotNow("mailbox-full", address=printable(address)))
            else:
                answers.append(Recipient(address, holder.account_id))
        elif config.serves(addresses.domain_of(address)):
            answers.append(Refused("no-such-address", address=printable(address)))
        elif signed_in:
            answers.append(Recipient(address, None))
        else:
            answers.append(Refused("relay-denied", address=printable(address)))
    return answers


def _keep(tx: Tx, waiting: list[tuple[list[Blob], _Ready]]) -> list[list[Refused | NotNow | None]]:
    """All rows of the letters that wait."""
    too_many = _too_many(tx, [of for _, of in waiting])
    answers: dict[int, list[Refused | NotNow | None]] = {
        of.letter_id: [too_many[of.letter_id]] * len(of.letter.recipients)
        for _, of in waiting
        if of.letter_id in too_many
    }
    kept = [pair for pair in waiting if pair[1].letter_id not in too_many]
    if kept:
        for (_, of), each in zip(kept, _keep_all(tx, kept), strict=True):
            answers[of.letter_id] = each
    return [answers[of.letter_id] for _, of in waiting]


def _keep_all(tx: Tx, waiting: list[tuple[list[Blob], _Ready]]) -> list[list[Refused | NotNow | None]]:
    deliveries = [
        arrivals.Delivery(
            message.NewLetter(of.letter_id, blobs[0], of.prefix, of.scan, shared=len(of.accounts) >= SHARED_FROM),
            of.accounts,
            int(of.now),
        )
        for blobs, of in waiting
    ]
    # Room was asked for at RCPT; a letter accepted there may be the one that overfills a mailbox.
    refused = arrivals.receive(tx, deliveries, max(of.now for _, of in waiting))
    for _, of in waiting:
        _enqueue(tx, of)
    return [
        [None if r.account_id is None else why.get(r.account_id) for r in of.letter.recipients]
        for (_, of), why in zip(waiting, refused, strict=True)
    ]


def _own_addresses(tx: Tx, person: SignedIn) -> tuple[str, ...]:
    """The addresses under which somebody who signed in may write, as of now. Raises `Refused("sender-locked")`: the
    session has not heard yet that it is over."""
    rows = tx.all(
        "SELECT address.address, account.state, account.epoch FROM account JOIN address"
        " ON address.account_id = account.id AND address.rests = 0 WHERE account.id = ?"
        " ORDER BY address.is_primary DESC, address.address",
        person.account_id,
    )
    if not rows or not lifecycle.may(lifecycle.State(rows[0][1]), lifecycle.Act.SEND) or rows[0][2] != person.epoch:
        raise Refused("sender-locked")
    return tuple(address for address, _, _ in rows)


def _too_many(tx: Tx, waiting: list[_Ready]) -> dict[int, Refused]:
    """Counts what people send outside; the letters that are too many, each with its refusal. The first of them locks
    its sender (row 4.3), in this transaction."""
    refused: dict[int, Refused] = {}
    for of in waiting:
        person = of.letter.peer.signed_in
        outside = sum(r.account_id is None for r in of.letter.recipients)
        if person is None or of.rules is None or not outside:
            continue
        rules = of.rules.rules(of.rules.of_account(tx, person.account_id))
        if rules.burst_letters is None:
            continue
        sums = sent.count(tx, person.account_id, outside, of.now, rules.burst_minutes)
        if lifecycle.is_burst(rules, *sums):
            if sent.lock(tx, person.account_id, *sums, of.letter.peer.ip, of.now):
                rights.hint(tx, person.account_id)
            refused[of.letter_id] = Refused("sent-too-many", limit=rules.burst_letters, minutes=rules.burst_minutes)
    return refused


def _enqueue(tx: Tx, of: _Ready) -> None:
    """Rows for those outside, whom only somebody who signed in may write to."""
    letter = of.letter
    outside = [queue.Outgoing(r.address, r.notify, r.orcpt) for r in letter.recipients if r.account_id is None]
    if outside and letter.peer.signed_in is not None:
        queue.enqueue(
            tx,
            of.ids,
            of.letter_id,
            letter.peer.signed_in.account_id,
            letter.sender,
            outside,
            letter.ret,
            letter.envid,
            of.now,
        )
