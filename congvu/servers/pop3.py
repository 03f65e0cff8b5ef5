r"""POP3 (RFC 1939 and the extensions that CAPA names): INBOX as a list that is fetched and emptied.

The plan is that of every server here: lines, words, table, run. `TABLE` says in which state a command is allowed and
what runs it. At sign-in the maildrop is taken down as a list of UIDs and sizes, eight bytes a letter; from then on
everything goes by UID, so nobody has to be locked out meanwhile: what arrives later is for the next session, what
somebody else removes is answered as gone, and a UID never comes to mean another letter (rfc1939 3 asks for a lock
because a file of letters would move under the reader; ours does not).

Promises: DELE takes effect at QUIT and only there, and `+OK` to QUIT comes when it is on disk; it removes those letters
and no other, whatever IMAP's \Deleted says. A letter leaves piece by piece; to a program that has not said UTF8 one
with UTF-8 in its headers goes as a surrogate (`codec.surrogate`). What was fetched with RETR is \Seen afterwards, as
people who use both kinds of program expect. What reads letters or changes many takes turns (`turns`). Must never hold a
transaction while the peer is slow.
"""

import asyncio
import secrets
from array import array
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from itertools import compress
from typing import Any, Protocol

from congvu import __version__
from congvu.base.clock import Clock
from congvu.base.config import Config
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.base.texts import say, say_in
from congvu.base.vietnamese import unmarked
from congvu.codec import mime, pop3, sasl, surrogate
from congvu.codec.lines import LineTooLong
from congvu.codec.pop3 import BadCommand, DotWriter, TopCutter
from congvu.db.blobs import BlobKeeper
from congvu.db.engine import Database, Tx
from congvu.mailstore import mailbox, message
from congvu.servers import turns
from congvu.servers.doors import SIGN_INS, Doors, delay, no_place, prove, take_place
from congvu.servers.listen import Manners
from congvu.servers.stream import TURN, Gone, Stopping, Stream, Tls, TooSlow

SMALL = 256 * 1024  # a letter up to this size is read at once, a larger one is streamed
PIECE = 65_536  # bytes of answers gathered before they are written
PORTION = 2_000  # letters removed or marked in one transaction: the writer is free between them
SEEN_AT = 100  # letters fetched before they are marked \Seen all at once
LANGUAGES = {"vi": "Tiếng Việt", "en": "English"}

# What is said where no session sees the situation. After silence nothing is said (rfc1939 3).
MANNERS = Manners(
    too_many=b"-ERR [SYS/TEMP] too many connections, try later\r\n",
    stopping=b"-ERR [SYS/TEMP] the server is shutting down, nothing was deleted\r\n",
    too_slow=b"",
    trouble=b"-ERR [SYS/TEMP] internal error, nothing was deleted\r\n",
)

# Response codes (rfc2449 8, rfc3206) of failures; any other of them is permanent or temporary by its kind.
CODES = {
    "bad-credentials": "AUTH",
    "bad-channel-binding": "AUTH",
    "no-such-authorization": "AUTH",
    "too-many-connections": "IN-USE",
    "password-must-change": "AUTH",
    "password-too-old": "AUTH",
    "too-many-attempts": "SYS/TEMP",
    "pop3-gone": "",
    "bad-auth-message": "",
}


class SignedIn(Protocol):
    """Who has proved to be whom."""

    @property
    def account_id(self) -> int: ...

    @property
    def epoch(self) -> int: ...


class Services(Protocol):
    """What a session needs of the program."""

    @property
    def db(self) -> Database: ...

    @property
    def doors(self) -> Doors[SignedIn]: ...

    @property
    def blobs(self) -> BlobKeeper: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def config(self) -> Config: ...


class _Leave(Exception):
    """The session ends; what there is to say has been said."""


class State(Flag):
    """rfc1939 3. UPDATE is the run of QUIT."""

    AUTHORIZATION = auto()
    TRANSACTION = auto()


_EITHER = State.AUTHORIZATION | State.TRANSACTION


@dataclass(frozen=True, slots=True)
class _Letter:
    """What RETR and TOP send. `size`: as it is stored; `data`: all that is sent, when it is small; `headers`: where
    they lie, when they must be made ASCII on the way."""

    body: message.Body
    size: int
    data: bytes | None
    headers: Sequence[tuple[int, int]] = ()


class Maildrop:
    """INBOX as it was at sign-in: letter n has `uids[n - 1]` and `sizes[n - 1]` octets."""

    __slots__ = ("_total", "account_id", "count", "deleted", "octets", "sizes", "uids", "validity")

    def __init__(self, account_id: int, validity: int, uids: "array[int]", sizes: "array[int]") -> None:
        self.account_id = account_id
        self.validity = validity
        self.uids = uids
        self.sizes = sizes
        self.deleted = bytearray(len(uids))  # 1 where DELE has marked
        self.count = len(uids)  # of what is not deleted, and its octets
        self.octets = self._total = sum(sizes)

    def index(self, number: int) -> int:
        """Where letter `number` stands. Raises `Refused("pop3-no-such-letter")`."""
        if not 0 < number <= len(self.uids) or self.deleted[number - 1]:
            raise Refused("pop3-no-such-letter", number=number)
        return number - 1

    def delete(self, at: int) -> None:
        self.deleted[at] = 1
        self.count -= 1
        self.octets -= self.sizes[at]

    def reset(self) -> None:
        self.deleted = bytearray(len(self.uids))
        self.count, self.octets = len(self.uids), self._total

    def left(self) -> Iterator[int]:
        """Where the letters stand that are not deleted."""
        return (at for at, gone in enumerate(self.deleted) if not gone)

    def gone(self) -> "array[int]":
        """The UIDs that DELE has marked."""
        return array("I", compress(self.uids, self.deleted))

    def size_line(self, at: int) -> bytes:
        return b"%d %d" % (at + 1, self.sizes[at])

    def id_line(self, at: int) -> bytes:
        """UIDVALIDITY and UID: never given twice, the same in every session (rfc1939 7)."""
        return b"%d %08x%08x" % (at + 1, self.validity, self.uids[at])


def _open(tx: Tx, account_id: int) -> Maildrop:
    box = mailbox.get(tx, account_id, mailbox.INBOX)
    if box is None:
        raise Refused("no-such-mailbox", name="INBOX")
    return Maildrop(account_id, box.uid_validity, *message.sizes(tx, account_id, mailbox.INBOX))


def _read(tx: Tx, blobs: BlobKeeper, account_id: int, uid: int, utf8: bool) -> _Letter:
    """One letter. `utf8`: its headers may go as they are. Raises `Refused`: pop3-gone (somebody else removed it),
    letter-damaged."""
    found = message.rows(tx, account_id, mailbox.INBOX, uid, uid)
    if not found:
        raise Refused("pop3-gone")
    body = message.bodies(tx, [found[0].letter_id]).get(found[0].letter_id)
    if body is None:
        raise Refused("letter-damaged")
    size = len(body.prefix) + body.blob.size
    data = body.prefix + blobs.read(body.blob) if size <= SMALL else None
    if utf8 or (data is not None and data.isascii()):
        return _Letter(body, size, data)
    headers = surrogate.headers(mime.unpack_parts(body.parts), len(body.prefix))
    if data is not None:
        data = b"".join(surrogate.made((data,), headers))
    return _Letter(body, size, data, headers)


def _pieces(blobs: BlobKeeper, letter: _Letter) -> Iterator[bytes]:
    """What is sent of it. Raises `ValueError` when its bytes end too soon."""
    if letter.data is not None:
        return iter((letter.data,))
    whole = _whole(blobs, letter)
    return surrogate.made(whole, letter.headers) if letter.headers else whole


def _whole(blobs: BlobKeeper, letter: _Letter) -> Iterator[bytes]:
    """A large letter as it is stored; the first piece has some of the blob, so that whoever holds it knows that they
    are there."""
    head, left = letter.body.prefix, letter.size
    for piece in blobs.stream(letter.body.blob):
        left -= len(head) + len(piece)
        yield head + piece
        head = b""
    if left:
        raise ValueError(f"{left} bytes are missing")


def _remove(tx: Tx, account_id: int, uids: list[int]) -> int:
    return len(message.remove(tx, account_id, mailbox.INBOX, uids))


class _Session:
    """One connection."""

    # fmt: off
    __slots__ = ("_config", "_drop", "_errors", "_failed_sign_ins", "_give_back", "_language", "_leave", "_out",
                 "_over", "_seen", "_sign_in_by", "_size", "_stls", "_user", "_utf8", "account_id", "services",
                 "stream")
    # fmt: on

    def __init__(self, stream: Stream, services: Services, stls: Tls | None) -> None:
        self.stream = stream
        self.services = services
        self._config = services.config
        self._stls = stls
        self.account_id = 0
        self._give_back = no_place  # among the account's connections
        self._leave = no_place  # takes this session out of those that are present
        self._over = ""  # why it has to end, a word of the catalogue
        self._drop: Maildrop | None = None
        self._user = self._language = ""
        self._utf8 = False
        self._seen: list[int] = []  # UIDs fetched and not yet marked
        self._out: list[bytes] = []
        self._size = 0  # bytes in `_out`
        self._errors = self._failed_sign_ins = 0
        self._sign_in_by = asyncio.get_running_loop().time() + self._config.limits.pop3_preauth_seconds

    # lines

    async def talk(self) -> None:
        self._write(pop3.answer(True, f"{self._config.hostname} POP3 Cong Vu"))
        busy = 0
        try:
            while True:
                try:
                    line = self.stream.line_now(pop3.COMMAND_LIMIT)
                    busy += 1
                    if line is None or busy >= TURN:  # answers do not pile up, the others have their turn
                        busy = 0
                        await self._flush()
                        if line is not None:
                            await self.stream.others_first()
                    if line is None:
                        line = await self.stream.line(pop3.COMMAND_LIMIT, self._patience())
                except LineTooLong:
                    self.refuse("pop3-line-too-long")
                    continue
                await self._obey(line)
        except _Leave:
            self._send()
            self.stream.close(linger=True)
        except (Gone, TooSlow, Stopping) as error:
            await self._mark_seen()  # fetched is fetched; deleted is nothing (rfc1939 6)
            if not self._over or not isinstance(error, Stopping):
                raise
            self._write(pop3.answer(False, self._text(self._over), "AUTH"))  # the next command finds it as its answer
            self._send()
            self.stream.close(linger=True)
        finally:
            self._send()
            self._give_back()
            self._leave()

    def end(self, code: str) -> None:
        """The account was locked, handed over or given another secret."""
        self._over = code
        self.stream.stop()

    async def _obey(self, line: bytes) -> None:
        if self._over:  # also for whoever has sent a hundred commands ahead
            raise Stopping
        try:
            command = pop3.parse(line)
        except BadCommand as bad:
            self.refuse(f"pop3-{bad.code}")
            if bad.code == "not-pop3":  # a browser was made to speak to us: what follows is not ours to obey
                raise _Leave from None
            return
        row = TABLE[type(command)]
        if not self._state & row.states:
            self.refuse("pop3-wrong-state" if self._drop else "pop3-sign-in-first")
            return
        try:
            await row.run(self, command)
        except (Refused, NotNow) as failure:
            self.fail(failure)
        else:
            if self._drop is not None:
                self._errors = 0

    @property
    def _state(self) -> State:
        return State.AUTHORIZATION if self._drop is None else State.TRANSACTION

    def _patience(self) -> float:
        if self._drop is not None:
            return float(self._config.limits.pop3_idle_seconds)
        return max(self._sign_in_by - asyncio.get_running_loop().time(), 0.01)

    # answers

    def _text(self, code: str, **facts: object) -> str:
        """In the language of LANG, both without it. Before UTF8 all is ASCII (rfc6856 2.1): Vietnamese stands without
        its marks, and only for who asked for it."""
        if self._language:
            return say_in(self._language, code, self._utf8, **facts)
        return say(code, self._utf8, **facts)

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        self._size += len(data)

    def _send(self) -> None:
        if self._out:
            self.stream.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()
            self._size = 0

    async def _flush(self) -> None:
        self._send()
        await self.stream.drain()

    def ok(self, code: str, ahead: str = "", **facts: object) -> None:
        """`+OK`, what programs read of it, what people read."""
        self._write(pop3.answer(True, f"{ahead} {self._text(code, **facts)}".lstrip(" ")))

    def refuse(self, code: str, **facts: object) -> None:
        """Says that a command was wrong, and counts it."""
        self._write(pop3.answer(False, self._text(code, **facts)))
        self._errors += 1
        if self._errors > self._config.limits.errors_per_session:
            self._write(pop3.answer(False, self._text("pop3-too-many-errors")))
            raise _Leave

    def fail(self, failure: Refused | NotNow) -> None:
        """Says a failure of any room."""
        if failure.code == "pop3-no-such-letter":
            self.refuse(failure.code, **failure.facts)
            return
        kind = "SYS/PERM" if isinstance(failure, Refused) else "SYS/TEMP"
        self._write(pop3.answer(False, self._text(failure.code, **failure.facts), CODES.get(failure.code, kind)))

    async def _list(self, lines: Iterator[bytes]) -> None:
        """The lines of a long answer, and its end; a megabyte of them is not held."""
        held: list[bytes] = []
        for line in lines:
            held.append(line)
            if len(held) == 4096:
                self._write(b"\r\n".join(held) + b"\r\n")
                held.clear()
                await self._flush()
                await self.stream.others_first()
        if held:
            self._write(b"\r\n".join(held) + b"\r\n")
        self._write(pop3.END)

    # before sign-in, and in either state

    @property
    def _protected(self) -> bool:
        """May a password cross this connection?"""
        return self.stream.secure or self._config.insecure_loopback

    def _mechanisms(self) -> list[str]:
        return sasl.mechanisms(self.stream.channel_bindings(), plain=self._protected)

    async def capa(self, command: pop3.Capa) -> None:
        words = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LANG"]
        words.append("UTF8 USER" if self._protected else "UTF8")
        words.append(f"SASL {' '.join(self._mechanisms())}")
        if self._protected:
            words.append("USER")
        if self._stls is not None and not self.stream.secure:
            words.append("STLS")
        # A stranger does not learn the version.
        words.append("IMPLEMENTATION Cong-Vu" if self._drop is None else f"IMPLEMENTATION Cong-Vu-{__version__}")
        self.ok("pop3-list-follows")
        await self._list(word.encode() for word in words)

    async def stls(self, command: pop3.Stls) -> None:
        if self.stream.secure:
            self.refuse("pop3-already-tls")
        elif self._stls is None:
            self.refuse("pop3-not-offered")
        elif self.stream.buffered:
            # Whoever sits between could have put it there, to be taken for the peer's own under TLS.
            self.refuse("pop3-pipelined-after-stls")
            raise _Leave
        else:
            self.ok("pop3-begin-tls")
            self._send()
            self._user, self._language, self._utf8 = "", "", False  # rfc2595 4: what was said in clear is forgotten
            await self.stream.start_tls(self._stls)

    async def utf8(self, command: pop3.Utf8) -> None:
        self._utf8 = True
        self.ok("pop3-utf8")

    async def lang(self, command: pop3.Lang) -> None:
        """rfc6856 3.2."""
        if not command.tag:
            self.ok("pop3-list-follows")
            names = LANGUAGES.values() if self._utf8 else map(unmarked, LANGUAGES.values())
            await self._list(f"{tag} {name}".encode() for tag, name in zip(LANGUAGES, names, strict=True))
            return
        chosen = "" if command.tag == "*" else command.tag.partition("-")[0]
        if chosen and chosen not in LANGUAGES:
            raise Refused("pop3-no-such-language")
        self._language = chosen
        self.ok("pop3-language", chosen or "i-default")

    async def noop(self, command: pop3.Noop) -> None:
        self.ok("pop3-ok")

    # signing in

    async def user(self, command: pop3.User) -> None:
        """Says nothing of whether there is such a person."""
        if not self._protected:
            raise Refused("pop3-tls-first")
        self._user = command.name
        self.ok("pop3-password-please")

    async def password(self, command: pop3.Pass) -> None:
        if not self._user:
            self.refuse("pop3-user-first")
            return
        said, self._user = f"\0{self._user}\0{command.password}".encode(), ""
        await self._sign_in(sasl.Plain(), said)

    async def auth(self, command: pop3.Auth) -> None:
        """rfc5034. Without a mechanism: the list, as programs older than CAPA ask for it."""
        if not command.mechanism:
            self.ok("pop3-list-follows")
            await self._list(word.encode() for word in self._mechanisms())
            return
        if command.mechanism in {"PLAIN", "LOGIN"} and not self._protected:
            raise Refused("pop3-tls-first")
        bindings = self.stream.channel_bindings()
        exchange = sasl.begin(command.mechanism, bindings, lambda: secrets.token_urlsafe(18))
        if exchange is None or isinstance(exchange, sasl.Bearer):
            self.refuse("pop3-unknown-mechanism")
            return
        await self._sign_in(exchange, command.initial)

    async def _sign_in(self, exchange: sasl.Exchange, initial: bytes | None) -> None:
        try:
            known = await prove(exchange, initial, self.services.doors, self.stream.peer, self._ask)
            if known is None:
                return
            self._give_back = take_place(known.account_id, self._config.limits.connections_per_account)
        except (Refused, NotNow) as failure:
            self._failed_sign_ins += 1
            if not self._config.insecure_loopback:
                await delay(self._failed_sign_ins)
            self.fail(failure)
            if self._failed_sign_ins >= SIGN_INS:
                self._write(pop3.answer(False, self._text("pop3-too-many-sign-ins")))
                raise _Leave from failure
            return
        self.account_id = known.account_id
        try:
            self._drop = await turns.read(self, _open, known.account_id)
        except (Refused, NotNow):
            self._give_back()
            raise
        self._leave = self.services.doors.present(known, self.end)
        self._errors = 0
        self.ok("pop3-signed-in", count=self._drop.count, octets=self._drop.octets)

    async def _ask(self, challenge: bytes) -> bytes | None:
        """The client's answer; None when it gave up or spoke no base64, which has then been told."""
        self._write(b"+ " + b64encode(challenge) + b"\r\n")
        self._send()
        try:
            line = await self.stream.line(pop3.AUTH_LIMIT, self._patience())
            if line != b"*":
                return pop3.decode_base64(line)
        except BadCommand as bad:
            self.refuse(f"pop3-{bad.code}")
        except LineTooLong:
            self.refuse("pop3-line-too-long")
        else:
            self.refuse("pop3-auth-cancelled")
        return None

    # the maildrop

    @property
    def _maildrop(self) -> Maildrop:
        assert self._drop is not None  # noqa: S101  # the table lets nobody through without it
        return self._drop

    async def stat(self, command: pop3.Stat) -> None:
        self._write(b"+OK %d %d\r\n" % (self._maildrop.count, self._maildrop.octets))

    async def list_sizes(self, command: pop3.List) -> None:
        await self._lines(command.number, self._maildrop.size_line)

    async def list_ids(self, command: pop3.Uidl) -> None:
        await self._lines(command.number, self._maildrop.id_line)

    async def _lines(self, number: int | None, line: Callable[[int], bytes]) -> None:
        drop = self._maildrop
        if number is not None:
            self._write(b"+OK " + line(drop.index(number)) + b"\r\n")
            return
        self.ok("pop3-letters", str(drop.count), octets=drop.octets)
        await self._list(map(line, drop.left()))

    async def retr(self, command: pop3.Retr) -> None:
        uid = await self._show(command.number, None)
        self._seen.append(uid)
        if len(self._seen) >= SEEN_AT:
            await self._mark_seen()

    async def top(self, command: pop3.Top) -> None:
        r"""Leaves \Seen as it is: programs ask for it to show a list."""
        await self._show(command.number, TopCutter(command.lines))

    async def _show(self, number: int, cutter: TopCutter | None) -> int:
        r"""Sends a letter, or its top; returns its UID.

        Once `+OK` is out a failure of ours can only be told by the end of the connection.
        """
        drop, blobs = self._maildrop, self.services.blobs
        uid = drop.uids[drop.index(number)]
        try:
            letter = await turns.read(self, _read, blobs, drop.account_id, uid, self._utf8)
            source = _pieces(blobs, letter)
            piece = next(source, b"") if letter.data is not None else await asyncio.to_thread(next, source, b"")
        except (LookupError, ValueError) as error:
            log.error("account %d: message %d of INBOX cannot be read: %s", drop.account_id, uid, error)
            raise Refused("letter-damaged") from error
        self.ok("pop3-octets", str(letter.size))
        writer = DotWriter()
        try:
            while piece:
                data = writer.feed(piece)
                self._write(data if cutter is None else cutter.feed(data))
                if cutter is not None and cutter.done:
                    self._write(pop3.END)
                    return uid
                if self._size >= PIECE:
                    await self._flush()
                piece = b"" if letter.data is not None else await asyncio.to_thread(next, source, b"")
        except (LookupError, ValueError, NotNow) as error:
            log.error("account %d: message %d of INBOX cannot be read to its end: %s", drop.account_id, uid, error)
            self._send()
            self.stream.abort()
            raise Gone from error
        self._write(writer.end())
        return uid

    async def dele(self, command: pop3.Dele) -> None:
        drop = self._maildrop
        drop.delete(drop.index(command.number))
        self.ok("pop3-deleted", number=command.number)

    async def rset(self, command: pop3.Rset) -> None:
        drop = self._maildrop
        drop.reset()
        self.ok("pop3-reset", count=drop.count, octets=drop.octets)

    async def _mark_seen(self) -> None:
        """What was fetched; that it could not be marked is no harm worth a word."""
        seen, self._seen = sorted(set(self._seen)), []
        if self._drop is None or not seen:
            return
        try:
            await turns.finish(
                self,
                message.store,
                self._drop.account_id,
                mailbox.INBOX,
                seen,
                message.Op.ADD,
                message.SEEN,
                (),
                self.services.clock.now(),
            )
        except (Refused, NotNow) as failure:
            log.info("account %d: fetched letters not marked: %s", self._drop.account_id, failure.code)

    async def quit(self, command: pop3.Quit) -> None:
        """After sign-in this is the UPDATE state: the only place where letters are removed."""
        drop = self._drop
        if drop is not None:
            uids = drop.gone()
            self._seen = sorted(set(self._seen).difference(uids))
            await self._mark_seen()
            try:
                for at in range(0, len(uids), PORTION):
                    await turns.finish(self, _remove, drop.account_id, list(uids[at : at + PORTION]))
            except (Refused, NotNow) as failure:
                self.fail(failure)
                raise _Leave from failure
        self.ok("pop3-bye")
        self._send()
        self.stream.close()
        raise _Leave


@dataclass(frozen=True, slots=True)
class Row:
    """One command: where it is allowed, and its carrying out."""

    states: State
    run: Callable[[_Session, Any], Awaitable[None]]


TABLE: dict[type[pop3.Command], Row] = {
    pop3.Capa: Row(_EITHER, _Session.capa),
    pop3.Lang: Row(_EITHER, _Session.lang),
    pop3.Quit: Row(_EITHER, _Session.quit),
    pop3.Stls: Row(State.AUTHORIZATION, _Session.stls),
    pop3.Utf8: Row(State.AUTHORIZATION, _Session.utf8),
    pop3.User: Row(State.AUTHORIZATION, _Session.user),
    pop3.Pass: Row(State.AUTHORIZATION, _Session.password),
    pop3.Auth: Row(State.AUTHORIZATION, _Session.auth),
    pop3.Noop: Row(State.TRANSACTION, _Session.noop),
    pop3.Stat: Row(State.TRANSACTION, _Session.stat),
    pop3.List: Row(State.TRANSACTION, _Session.list_sizes),
    pop3.Uidl: Row(State.TRANSACTION, _Session.list_ids),
    pop3.Retr: Row(State.TRANSACTION, _Session.retr),
    pop3.Top: Row(State.TRANSACTION, _Session.top),
    pop3.Dele: Row(State.TRANSACTION, _Session.dele),
    pop3.Rset: Row(State.TRANSACTION, _Session.rset),
}


async def run(stream: Stream, services: Services, stls: Tls | None = None) -> None:
    """One connection from greeting to goodbye. `stls`: the certificate, where STLS is offered."""
    await _Session(stream, services, stls).talk()
