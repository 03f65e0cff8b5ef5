"""SMTP, submission and LMTP: a letter's way in from the network (RFC 5321, 6409, 2033 and the extensions EHLO names).

The plan is that of every server here: lines, words, table, run. `TABLE` has one row a command: a check that says why
not, and a proceed. A run of RCPT commands that has already come is asked with one question, and replies leave in one
write.

Promises: `250` after a letter is written only when `inbound.take` has returned; memory stays bounded whatever is sent;
a letter refused while it comes is still read to its true end, so that nothing in it is taken for commands. Must never
look into a letter, nor decide who may send to whom: that is delivery's.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from congvu.base.config import Config
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import step
from congvu.codec import sasl, smtp
from congvu.codec.lines import BareLineFeed, LineTooLong
from congvu.codec.smtp import BadCommand, DotReader, LineWatch
from congvu.db.blobs import BlobKeeper, Spool
from congvu.delivery.inbound import Arriving, Peer, Recipient, SignedIn
from congvu.servers import smtp_replies as replies
from congvu.servers.doors import SIGN_INS, Doors, delay, no_place, prove, take_place
from congvu.servers.stream import TURN, Stopping, Stream, Tls

CHUNK = 65_536
CRUMB = 8192
LINE_BYTES = 65_536  # of a letter's line; rfc5321 4.5.3.1.6 allows 998, real senders of HTML in one line exist
RUN = 1000  # RCPT commands asked with one question
MAILS = 10_000  # letters over one connection (rfc9422 MAILMAX): a relay then connects anew, and reaches another worker
UNKNOWN = 100  # refused recipients of one stranger: somebody is trying out names


class Inbound(Protocol):
    """What is asked of `delivery.inbound.Inbound`."""

    async def may_send(self, peer: Peer, sender: str) -> None: ...

    async def may_receive(
        self, peer: Peer, sender: str, wanted: Sequence[str]
    ) -> list[Recipient | Refused | NotNow]: ...

    async def take(self, letter: Arriving) -> Sequence[Refused | NotNow | None]: ...


class Services(Protocol):
    """What a session needs of the program."""

    @property
    def inbound(self) -> Inbound: ...

    @property
    def doors(self) -> Doors[SignedIn]: ...

    @property
    def blobs(self) -> BlobKeeper: ...

    @property
    def config(self) -> Config: ...


@dataclass(frozen=True, slots=True)
class Door:
    """One kind of listener.

    `name`: mx, submission, lmtp. `tls`: for STARTTLS, None where it is not offered. `auth`: may people sign in
    (submission: they must)."""

    name: str
    tls: Tls | None = None
    auth: bool = False


class _Leave(Exception):
    """The session ends; what there is to say has been said."""


@dataclass(slots=True)
class _Letter:
    """A transaction: from MAIL to the last byte."""

    sender: str
    utf8: bool
    body: str
    ret: str
    envid: str
    peer: Peer
    recipients: list[Recipient] = field(default_factory=list)
    spool: Spool | None = None
    small: bytearray = field(default_factory=bytearray)  # pieces on their way to the spool
    size: int = 0
    watch: LineWatch | None = None  # set by the first BDAT
    failure: Refused | NotNow | None = None  # why nothing more of it is kept

    def fail(self, failure: Refused | NotNow) -> None:
        if self.failure is None:
            self.failure = failure
        self.drop()

    def drop(self) -> None:
        if self.spool is not None:
            self.spool.close()
            self.spool = None


class _Session:
    """One connection."""

    # fmt: off
    __slots__ = ("_ahead", "_config", "_door", "_end", "_errors", "_failed_sign_ins", "_give_back", "_hello", "_leave",
                 "_letter", "_mails", "_out", "_over", "_services", "_signed_in", "_stream", "_unknown", "_verb")
    # fmt: on

    def __init__(self, stream: Stream, services: Services, door: Door) -> None:
        self._stream = stream
        self._services = services
        self._config = services.config
        self._door = door
        self._hello = self._verb = ""
        self._signed_in: SignedIn | None = None
        self._give_back = no_place  # among the account's connections
        self._leave = no_place  # takes this session out of those that are present
        self._over = ""  # why it has to end, a word of the catalogue
        self._letter: _Letter | None = None
        self._out: list[bytes] = []
        self._ahead: bytes | Exception | None = None  # a line read while looking for more RCPT commands
        self._errors = self._failed_sign_ins = self._mails = self._unknown = 0
        self._end = asyncio.get_running_loop().time() + self._config.limits.smtp_session_seconds

    # lines

    async def talk(self) -> None:
        kind = "LMTP" if self._door.name == "lmtp" else "ESMTP"
        self._out.append(smtp.reply(220, "", f"{self._config.hostname} {kind} Cong Vu"))
        busy = 0
        try:
            while True:
                try:
                    line = self._line_now()
                    busy += 1
                    if line is None or busy >= TURN:  # replies do not pile up, the others have their turn
                        busy = 0
                        self.flush()
                        await self._stream.drain()
                        if line is not None:
                            await self._stream.others_first()
                    if line is None:
                        line = await self._stream.line(
                            smtp.COMMAND_LIMIT, self._config.limits.smtp_command_seconds, strict=True
                        )
                except (LineTooLong, BareLineFeed) as bad:
                    self.refuse("smtp-line-too-long" if isinstance(bad, LineTooLong) else "smtp-bare-line-feed")
                    if bad.head[:4].upper() == b"BDAT":  # its chunk follows, which is not to be taken for commands
                        raise _Leave from None
                    continue
                await self._obey(line)
        except _Leave:
            self.flush()
            self._stream.close(linger=True)
        except Stopping:
            if not self._over:
                raise
            self.reset()
            self.say(self._over)
            self.flush()
            self._stream.close(linger=True)
        finally:
            self.flush()
            self.reset()
            self._give_back()
            self._leave()

    def end(self, code: str) -> None:
        """The account was locked, handed over or given another secret. (A letter that is on its way is judged by the
        account's state when its last byte has come.)"""
        self._over = code
        self._stream.stop()

    def _line_now(self) -> bytes | None:
        if self._ahead is None:
            return self._stream.line_now(smtp.COMMAND_LIMIT, strict=True)
        ahead, self._ahead = self._ahead, None
        if isinstance(ahead, Exception):
            raise ahead
        return ahead

    async def _obey(self, line: bytes) -> None:
        if self._over:  # also for whoever has sent a hundred commands ahead
            raise Stopping
        self._in_time()
        letter = self._letter
        try:
            command = smtp.parse(line, letter is not None and letter.utf8)
        except BadCommand as bad:
            self._bad(bad)
            return
        row = TABLE[type(command)]
        why_not = row.check(self, command)
        if why_not:
            word = "LHLO" if self._door.name == "lmtp" else "EHLO"
            self.refuse(why_not, word=word, limit=self._config.limits.message_bytes)
        else:
            await row.proceed(self, command)

    def _in_time(self) -> None:
        """Asked for every command and every piece of a letter: one that trickles would hold its place for ever."""
        if asyncio.get_running_loop().time() > self._end:
            self.say("smtp-session-too-long")
            raise _Leave

    # replies

    @property
    def _utf8(self) -> bool:
        """May replies be in Vietnamese? Only within a transaction of SMTPUTF8 (rfc6531 3.7.4.2)."""
        return self._letter is not None and self._letter.utf8

    def say(self, code: str, **facts: object) -> None:
        self._out.append(replies.reply(code, self._utf8, **facts))

    def fail(self, failure: Refused | NotNow) -> None:
        """Says a failure of another room; it counts as no wrong command."""
        self._out.append(replies.failed(failure, self._utf8))

    def refuse(self, code: str, **facts: object) -> None:
        """Says that a command was wrong, and counts it."""
        self.say(code, **facts)
        self._errors += 1
        if self._errors > self._config.limits.errors_per_session:
            self.say("smtp-too-many-errors")
            raise _Leave

    def _bad(self, bad: BadCommand) -> None:
        code = f"smtp-{bad.code}"
        if bad.code in {"unknown-parameter", "bad-parameter"}:
            self.refuse(code, word=bad.word)
        else:
            self.refuse(code)
        # A browser was made to speak to us, or a chunk of unknown length comes: what follows is not ours to obey.
        if bad.code in {"not-smtp", "bad-chunk"}:
            raise _Leave

    def flush(self) -> None:
        if self._out:
            self._stream.write(b"".join(self._out))
            self._out.clear()

    # greeting, and what needs no transaction

    def reset(self) -> None:
        if self._letter is not None:
            self._letter.drop()
            self._letter = None

    def check_hello(self, command: smtp.Hello) -> str:
        return "" if (command.verb == "LHLO") == (self._door.name == "lmtp") else "smtp-not-offered"

    async def hello(self, command: smtp.Hello) -> None:
        self.reset()
        self._hello, self._verb = command.name, command.verb
        name = self._config.hostname
        if command.verb == "HELO":
            self._out.append(smtp.reply(250, "", name))
            return
        limits = self._config.limits
        words = ["PIPELINING", f"SIZE {limits.message_bytes}", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME", "DSN"]
        words += ["ENHANCEDSTATUSCODES", f"LIMITS MAILMAX={MAILS} RCPTMAX={limits.recipients}"]
        if self._door.tls is not None and not self._stream.secure:
            words.append("STARTTLS")
        if self._door.auth and self._protected:
            words.append("AUTH " + " ".join(sasl.mechanisms(self._stream.channel_bindings(), plain=True)))
        self._out.append(smtp.reply(250, "", name, *words, "HELP"))

    @property
    def _protected(self) -> bool:
        return self._stream.secure or self._config.insecure_loopback

    def check_starttls(self, command: smtp.StartTls) -> str:
        if self._stream.secure:
            return "smtp-already-tls"
        return "" if self._door.tls is not None else "smtp-not-offered"

    async def starttls(self, command: smtp.StartTls) -> None:
        if self._stream.buffered:
            # rfc3207 5: whoever sits between could have put it there, to be taken for the peer's own under TLS
            self.refuse("smtp-pipelined-after-starttls")
            raise _Leave
        self.say("smtp-tls-go-ahead")
        self.flush()
        self.reset()
        self._hello, self._verb, self._signed_in = "", "", None  # rfc3207 4.2
        self._give_back()
        self._leave()
        assert self._door.tls is not None  # noqa: S101  # checked above
        await self._stream.start_tls(self._door.tls)

    async def rset(self, command: smtp.Rset) -> None:
        self.reset()
        self.say("smtp-ok")

    async def noop(self, command: smtp.Noop) -> None:
        self.say("smtp-ok")

    async def help(self, command: smtp.Help) -> None:
        self.say("smtp-help")

    async def vrfy(self, command: smtp.Vrfy) -> None:
        self.say("smtp-cannot-verify")

    async def quit(self, command: smtp.Quit) -> None:
        self.say("smtp-bye")
        self.flush()
        self._stream.close()
        raise _Leave

    # signing in (rfc4954)

    def check_auth(self, command: smtp.Auth) -> str:
        if not self._door.auth:
            return "smtp-not-offered"
        if self._verb != "EHLO":
            return "smtp-hello-first"
        if not self._protected:
            return "smtp-auth-needs-tls"
        if self._signed_in is not None:
            return "smtp-already-signed-in"
        return "" if self._letter is None else "smtp-mail-open"

    async def auth(self, command: smtp.Auth) -> None:
        bindings = self._stream.channel_bindings()
        exchange = sasl.begin(command.mechanism, bindings, lambda: secrets.token_urlsafe(18))
        if exchange is None:
            self.refuse("smtp-unknown-mechanism")
            return
        try:
            known = await prove(exchange, command.initial, self._services.doors, self._stream.peer, self._ask)
            if known is None:
                return
            self._give_back = take_place(known.account_id, self._config.limits.connections_per_account)
        except (Refused, NotNow) as failure:
            self._failed_sign_ins += 1
            if not self._config.insecure_loopback:
                await delay(self._failed_sign_ins)
            self.fail(failure)
            if self._failed_sign_ins >= SIGN_INS:
                self.say("smtp-too-many-sign-ins")
                raise _Leave from failure
            return
        self._signed_in = known
        self._leave = self._services.doors.present(known, self.end)
        self.say("smtp-signed-in")

    async def _ask(self, challenge: bytes) -> bytes | None:
        """The client's answer; None when it gave up or spoke no base64, which has then been told."""
        self._out.append(b"334 " + b64encode(challenge) + b"\r\n")
        self.flush()
        try:
            line = await self._stream.line(smtp.AUTH_LIMIT, self._config.limits.smtp_command_seconds, strict=True)
            if line != b"*":
                return smtp.decode_base64(line)
        except BadCommand as bad:
            self._bad(bad)
        except (LineTooLong, BareLineFeed):
            self.refuse("smtp-line-too-long")
        else:
            self.refuse("smtp-auth-cancelled")
        return None

    # a transaction

    def check_mail(self, command: smtp.Mail) -> str:
        if not self._verb:
            return "smtp-hello-first"
        if self._letter is not None:
            return "smtp-mail-open"
        if self._door.name == "submission" and self._signed_in is None:
            return "smtp-auth-needed" if self._protected else "smtp-starttls-first"
        return "smtp-message-too-big" if command.size > self._config.limits.message_bytes else ""

    async def mail(self, command: smtp.Mail) -> None:
        if self._mails >= MAILS:
            self.say("smtp-too-many-messages")
            raise _Leave
        self._mails += 1
        stream, signed_in = self._stream, self._signed_in
        base = "LMTP" if self._verb == "LHLO" else "SMTP"
        if self._verb != "HELO":  # rfc3848, rfc6531 4.3
            base = f"UTF8{base}" if command.utf8 else base if base == "LMTP" else "ESMTP"
            base += ("S" if stream.secure else "") + ("A" if signed_in is not None else "")
        peer = Peer(stream.peer, self._hello, base, stream.tls, signed_in, self._door.name)
        try:
            await self._services.inbound.may_send(peer, command.sender)
        except (Refused, NotNow) as failure:
            self.fail(failure)
            return
        self._letter = _Letter(command.sender, command.utf8, command.body, command.ret, command.envid, peer)
        self.say("smtp-sender-ok")

    def check_rcpt(self, command: smtp.Rcpt) -> str:
        if self._letter is None:
            return "smtp-mail-first"
        return "smtp-bdat-begun" if self._letter.watch is not None else ""

    async def rcpt(self, command: smtp.Rcpt) -> None:
        """Answers this RCPT and those already received behind it with one question."""
        letter = self._letter
        assert letter is not None  # noqa: S101  # checked above
        run: list[smtp.Rcpt | BadCommand] = [command]
        while len(run) < RUN:
            try:
                line = self._stream.line_now(smtp.COMMAND_LIMIT, strict=True)
            except (LineTooLong, BareLineFeed) as bad:
                self._ahead = bad
                break
            if line is None:
                break
            if line[:5].upper() != b"RCPT ":
                self._ahead = line
                break
            try:
                more = smtp.parse(line, letter.utf8)
            except BadCommand as bad:
                run.append(bad)
            else:
                if isinstance(more, smtp.Rcpt):
                    run.append(more)
        if len(run) > TURN:  # as much work as a slice; who tries out names sends thousands ahead
            await self._stream.others_first()
        room = self._config.limits.recipients - len(letter.recipients)
        asked = [r for r in run if isinstance(r, smtp.Rcpt)][: max(room, 0)]
        answers: list[Recipient | Refused | NotNow] = []
        if asked:
            try:
                answers = await self._services.inbound.may_receive(
                    letter.peer, letter.sender, [r.address for r in asked]
                )
            except (Refused, NotNow) as failure:
                answers = [failure] * len(asked)
        answered = iter(answers)
        for each in run:
            if isinstance(each, BadCommand):
                self._bad(each)
                continue
            match next(answered, None):
                case None:
                    self.say("smtp-too-many-recipients", limit=self._config.limits.recipients)
                case Recipient() as found:
                    if each.notify or each.orcpt:
                        found = Recipient(found.address, found.account_id, each.notify, each.orcpt)
                    letter.recipients.append(found)
                    self.say("smtp-recipient-ok")
                case refusal:
                    self.fail(refusal)
                    self._count_unknown(refusal)

    def _count_unknown(self, failure: Refused | NotNow) -> None:
        if isinstance(failure, Refused) and self._signed_in is None and self._door.name == "mx":
            self._unknown += 1
            if self._unknown >= UNKNOWN and not self._config.insecure_loopback:
                self.say("smtp-too-many-unknown")
                raise _Leave

    def check_data(self, command: smtp.Data) -> str:
        letter = self._letter
        if letter is None:
            return "smtp-mail-first"
        if letter.watch is not None:
            return "smtp-bdat-begun"
        if not letter.recipients:
            return "smtp-no-recipients"
        return "smtp-bdat-needed" if letter.body == "BINARYMIME" else ""

    async def data(self, command: smtp.Data) -> None:
        letter = self._letter
        assert letter is not None  # noqa: S101  # checked above
        self.say("smtp-go-ahead")
        self.flush()
        stream, seconds = self._stream, self._config.limits.smtp_data_seconds
        reader = DotReader(LINE_BYTES)
        while not reader.done:
            piece = reader.feed(await stream.chunk(CHUNK, seconds))
            self._in_time()
            if letter.failure is None:
                self._keep(letter, piece, reader.done)
            elif reader.received > 2 * self._config.limits.message_bytes:
                self.fail(letter.failure)  # no end in sight
                raise _Leave
        stream.give_back(reader.rest)
        await self._deliver(letter, reader.watch)

    def _keep(self, letter: _Letter, piece: bytes, last: bool = False) -> None:
        """Spools a piece. Crumbs are gathered first: as objects of their own they would weigh many times their size."""
        letter.size += len(piece)
        try:
            if letter.size > self._config.limits.message_bytes:
                raise Refused("smtp-message-too-big", limit=self._config.limits.message_bytes)
            if letter.spool is None:
                letter.spool = self._services.blobs.spool()
            if letter.small or len(piece) < CRUMB:
                letter.small += piece
                if len(letter.small) < CRUMB and not last:
                    return
                piece = bytes(letter.small)
                letter.small.clear()
            if piece:
                letter.spool.write(piece)
        except (Refused, NotNow) as failure:
            letter.fail(failure)

    async def bdat(self, command: smtp.Bdat) -> None:
        """rfc3030 2: the chunk is read whatever we think of the command, or its bytes would be taken for commands."""
        letter, stream = self._letter, self._stream
        why_not = ""
        if letter is None:
            why_not = "smtp-mail-first"
        elif not letter.recipients:
            why_not = "smtp-no-recipients"
        elif letter.failure is not None:
            why_not = "smtp-bdat-broken"
        else:
            letter.watch = letter.watch or LineWatch(LINE_BYTES)
        limit = self._config.limits.message_bytes
        if command.size > 2 * limit:  # not worth reading
            self.refuse("smtp-message-too-big", limit=limit)
            raise _Leave
        left = command.size
        while left:
            if not stream.buffered:
                self.flush()
            piece = await stream.chunk(min(left, CHUNK), self._config.limits.smtp_data_seconds)
            left -= len(piece)
            self._in_time()
            if letter is not None and letter.watch is not None and letter.failure is None:
                letter.watch.feed(piece)
                self._keep(letter, piece)
        if letter is None or not letter.recipients:
            self.refuse(why_not)
        elif command.last:
            if why_not:
                letter.failure = Refused(why_not)
            else:
                self._keep(letter, b"", last=True)
            await self._deliver(letter, None if letter.body == "BINARYMIME" else letter.watch)
        elif why_not:
            self.refuse(why_not)
        elif letter.failure is not None:
            self.fail(letter.failure)
        else:
            self.say("smtp-chunk-kept", count=command.size)

    async def _deliver(self, letter: _Letter, watch: LineWatch | None) -> None:
        """The letter's last byte has come: keeps it and answers, over LMTP for each recipient (rfc2033 4.2)."""
        if watch is not None and watch.bare:
            letter.fail(Refused("smtp-bare-line-end"))
        if watch is not None and watch.too_long:
            letter.fail(Refused("smtp-text-line-too-long", limit=LINE_BYTES))
        results: Sequence[Refused | NotNow | None] = []
        if letter.failure is None and letter.spool is not None:
            try:
                results = await self._services.inbound.take(
                    Arriving(
                        letter.peer,
                        letter.sender,
                        tuple(letter.recipients),
                        letter.spool,
                        letter.utf8,
                        letter.body,
                        letter.ret,
                        letter.envid,
                    )
                )
            except (Refused, NotNow) as failure:
                letter.failure = failure
        if letter.failure is not None:
            results = [letter.failure] * len(letter.recipients)
        if self._door.name != "lmtp":
            # One answer for all: what was kept for one must not come again. The others are delivery's to report.
            results = [None] if None in results else results[:1]
        for result in results:
            if result is None:
                self.say("smtp-kept")
            else:
                self.fail(result)
        self.reset()
        self.flush()
        step("replied")


@dataclass(frozen=True, slots=True)
class Row:
    """One command: why it cannot be obeyed now ("" when it can), and its carrying out."""

    check: Callable[[_Session, Any], str]
    proceed: Callable[[_Session, Any], Awaitable[None]]


def _always(session: _Session, command: smtp.Command) -> str:
    return ""


def _never(session: _Session, command: smtp.Command) -> str:
    return "smtp-not-offered"


TABLE: dict[type[smtp.Command], Row] = {
    smtp.Hello: Row(_Session.check_hello, _Session.hello),
    smtp.StartTls: Row(_Session.check_starttls, _Session.starttls),
    smtp.Auth: Row(_Session.check_auth, _Session.auth),
    smtp.Mail: Row(_Session.check_mail, _Session.mail),
    smtp.Rcpt: Row(_Session.check_rcpt, _Session.rcpt),
    smtp.Data: Row(_Session.check_data, _Session.data),
    smtp.Bdat: Row(_always, _Session.bdat),
    smtp.Rset: Row(_always, _Session.rset),
    smtp.Noop: Row(_always, _Session.noop),
    smtp.Help: Row(_always, _Session.help),
    smtp.Vrfy: Row(_always, _Session.vrfy),
    smtp.Expn: Row(_never, _Session.vrfy),
    smtp.Quit: Row(_always, _Session.quit),
}


async def run(stream: Stream, services: Services, door: Door) -> None:
    """One connection from its greeting to its end."""
    await _Session(stream, services, door).talk()
