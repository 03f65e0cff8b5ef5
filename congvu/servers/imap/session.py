"""One IMAP connection: its state, how commands are found and run, and how answers are worded.

The plan of every server: lines → words → table → run. The table is given (`commands.TABLE`); each row says in which
states the command is allowed, how its arguments are parsed and what runs it. One command runs at a time; what a client
sends ahead waits in the stream and is answered in order; `reading` takes it off the wire. Promises: each command gets
exactly one tagged answer; what the client does not know yet is told before it.
"""

import asyncio
import re
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any, TypeVar

from congvu.actions.sharing import Who
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.base.texts import say
from congvu.codec.imap import astring
from congvu.codec.imap_names import encode_utf7
from congvu.codec.imap_words import Bad, BadCharset, TooBig, TooLong, Words, tag_of
from congvu.codec.lines import WEB, LineTooLong
from congvu.mailstore import mailbox
from congvu.servers import turns
from congvu.servers.doors import no_place, take_place
from congvu.servers.imap.codes import RESPONSE_CODES, SYNTAX
from congvu.servers.imap.guest import lacking
from congvu.servers.imap.reading import CHUNK, Farewell, Reading
from congvu.servers.imap.services import Services, SignedIn, Underway, Watch
from congvu.servers.imap.view import News, Selected, TooMuch, flags_lines, read_news
from congvu.servers.stream import Gone, Nudged, Stopping, Stream, Tls, TooSlow

A = TypeVar("A")

LOOK_SECONDS = 1.0  # the change log is read after a command when it was hinted at, or not read for so long
POLL_SECONDS = (
    120.0  # IDLE looks so often although nobody hinted: hints may be lost, a missed letter is not found so late
)
FEW_CHANGES = 20  # changes that are read on the spot, unless one speaks of more messages than FEW
FEW = 200  # messages whose rows are read on the spot: less work than to hand it to another thread


class State(Enum):
    """RFC 9051 section 3."""

    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()
    LOGOUT = auto()


ANY = frozenset({State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED})
STRANGER = frozenset({State.NOT_AUTHENTICATED})
KNOWN = frozenset({State.AUTHENTICATED, State.SELECTED})
UNSELECTED = frozenset({State.AUTHENTICATED})
SELECTED = frozenset({State.SELECTED})


class Tell(Enum):
    """Which news is told before the tagged answer."""

    NOTHING = auto()
    HELD = auto()  # all but EXPUNGE: sequence numbers must not move (rfc9051 7.5.1)
    ALL = auto()
    NOW = auto()  # all, and the change log is read whether or not it was hinted at


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended well: `OK [code] text`. `text` is a word of the catalogue."""

    code: str = ""
    text: str = "imap-done"
    gone: bool = False  # messages of the selected mailbox went
    held: bool = False  # as with `Tell.HELD`


@dataclass(frozen=True, slots=True)
class Row:
    """One command. `capabilities` are announced before or after sign-in, as the command is allowed."""

    name: str
    states: frozenset[State]
    parse: Callable[[Words], Any]
    run: Callable[["Session", Any], Awaitable[Done | None]]  # None: it has answered itself
    tell: Tell
    capabilities: tuple[str, ...]
    takes: Callable[["Session", bytes, int], Awaitable[None]] | None  # reads its arguments off the wire itself
    rights: str | None  # needed in a mailbox of another's that is selected; None: the command is not offered there


def row(
    name: str,
    states: frozenset[State],
    parse: Callable[[Words], A],
    run: Callable[["Session", A], Awaitable[Done | None]],
    tell: Tell = Tell.ALL,
    *,
    capabilities: tuple[str, ...] = (),
    rights: str | None = None,
) -> Row:
    """A row whose parser and run function fit each other."""
    return Row(name, states, parse, run, tell, capabilities, None, rights)


def taking(
    name: str,
    states: frozenset[State],
    takes: Callable[["Session", bytes, int], Awaitable[None]],
    *,
    capabilities: tuple[str, ...] = (),
    rights: str | None = None,
) -> Row:
    """A command that carries letters: it is given its first line and where its arguments begin, and answers itself."""
    return Row(name, states, _takes, _takes_itself, Tell.ALL, capabilities, takes, rights)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows by name, and the capabilities that they announce before and after sign-in, in their order."""

    rows: Mapping[str, Row]
    before: tuple[str, ...]
    after: tuple[str, ...]


def table(rows: Mapping[str, Row]) -> Table:
    def announced(here: frozenset[State]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in rows.values() if here & each.states for name in each.capabilities))

    return Table(rows, announced(STRANGER), announced(KNOWN))


def _takes(w: Words) -> Any:
    w.bad("literal")


async def _takes_itself(_session: "Session", _: Any) -> Done | None:
    raise Bad("literal expected")


_APPEND = re.compile(rb"[^ ]{1,100} APPEND ", re.IGNORECASE)  # may follow another before that is answered
# Commands whose messages are sequence numbers: none of them after ENABLE UIDONLY (rfc9586 3).
NUMBERED = frozenset({"FETCH", "STORE", "SEARCH", "SORT", "THREAD", "COPY", "MOVE", "REPLACE"})


class Session:
    """One connection."""

    __slots__ = (
        "_errors",
        "_give_back",
        "_hinted",
        "_idling",
        "_leave",
        "_limits",
        "_looked",
        "_loop",
        "_over",
        "_stop_listening",
        "_table",
        "account_id",
        "address",
        "enabled",
        "given",
        "reading",
        "selected",
        "services",
        "starttls",
        "state",
        "stream",
        "tag",
        "underway",
        "watch",
    )

    def __init__(self, stream: Stream, services: Services, table: Table, starttls: Tls | None) -> None:
        self.stream = stream
        self.reading = Reading(stream, services.config.limits)
        self.services = services
        self.starttls = starttls  # the certificate to turn to TLS with, None where that is not offered
        self.state = State.NOT_AUTHENTICATED
        self.account_id = 0
        self._give_back = no_place  # among the account's connections
        self._leave = no_place  # takes this session out of those that are present
        self._over = ""  # why it has to end, a word of the catalogue
        self.address = ""
        self.enabled: frozenset[str] = frozenset()  # IMAP4REV2, CONDSTORE, QRESYNC, UTF8=ACCEPT, UIDONLY
        self.selected: Selected | None = None
        self.tag = "*"  # of the command that runs
        self.given: Mapping[str, str] = {}  # its mailbox names that are read in another form than they were written
        self.underway: Underway | None = None  # APPENDs whose letters are on their way to the disk
        self.watch: Watch | None = None  # NOTIFY
        self._table = table
        self._limits = services.config.limits
        self._loop = asyncio.get_running_loop()
        self._looked = 0.0
        self._hinted = False
        self._idling = False
        self._errors = 0
        self._stop_listening: tuple[Callable[[], None], ...] = ()

    # what is enabled

    @property
    def rev2(self) -> bool:
        return "IMAP4REV2" in self.enabled

    @property
    def utf8(self) -> bool:
        """May text and names be more than ASCII?"""
        return "IMAP4REV2" in self.enabled or "UTF8=ACCEPT" in self.enabled

    @property
    def without_charsets(self) -> bool:
        """Is a SEARCH that names its charset BAD, as everything is UTF-8? (rfc6855 3; IMAP4rev2 allows it again)"""
        return "UTF8=ACCEPT" in self.enabled and not self.rev2

    @property
    def condstore(self) -> bool:
        return "CONDSTORE" in self.enabled

    @property
    def uid_only(self) -> bool:
        """Are there no sequence numbers? (RFC 9586)"""
        return "UIDONLY" in self.enabled

    @property
    def vanished(self) -> bool:
        """Is VANISHED said instead of EXPUNGE?"""
        return self.uid_only or "QRESYNC" in self.enabled

    def enable(self, *words: str) -> None:
        before = self.condstore
        self.enabled = self.enabled.union(words)
        if "QRESYNC" in words:
            self.enabled |= {"CONDSTORE"}  # rfc7162 3.2.3
        if self.condstore and not before and self.selected is not None:
            self.send(b"* OK [HIGHESTMODSEQ %d] Highest\r\n" % max(self.selected.highest, 1))  # rfc7162 3.1

    def may_show_password(self) -> bool:
        """May a password cross this connection? (rfc9051 6.2.3)"""
        return self.stream.secure or self.services.config.insecure_loopback

    def capabilities(self) -> str:
        """CAPABILITY of the present state, from the table's rows."""
        if self.state is State.NOT_AUTHENTICATED:
            return " ".join(("IMAP4rev1 IMAP4rev2 LITERAL-", *filter(self._offers, self._table.before)))
        offered = filter(self._offers, self._table.after)
        return " ".join(("IMAP4rev1 IMAP4rev2 LITERAL+", *map(self._worded, offered)))

    def _worded(self, name: str) -> str:
        return f"APPENDLIMIT={self._limits.message_bytes}" if name == "APPENDLIMIT" else name  # rfc7889 3.1

    def _offers(self, name: str) -> bool:
        match name:
            case "STARTTLS":
                return self.starttls is not None and not self.stream.secure
            case "LOGINDISABLED" | "AUTH=PLAIN" | "AUTH=LOGIN":
                return self.may_show_password() is not (name == "LOGINDISABLED")
            case "AUTH=SCRAM-SHA-256-PLUS":
                return bool(self.stream.channel_bindings())
            case "AUTH=OAUTHBEARER":
                return self.services.doors.takes_tokens and self.may_show_password()
            case "COMPRESS=DEFLATE":
                return not self.stream.compressed
            case "UNAUTHENTICATE":
                return self.services.config.unauthenticate
        return True

    # answering

    def send(self, *lines: bytes) -> None:
        """Whole lines, or pieces of them, with their CRLF."""
        if lines:
            self.stream.write(lines[0] if len(lines) == 1 else b"".join(lines))

    def name(self, name: str) -> bytes:
        """A mailbox's name as this session writes it."""
        return astring(name, utf8=True) if self.utf8 else astring(encode_utf7(name))

    def text(self, code: str, /, **facts: object) -> str:
        return say(code, utf8=self.utf8, **facts) if facts else _plain(code, self.utf8)

    def untagged(self, kind: str, code: str, word: str, /, **facts: object) -> None:
        """`* OK [code] text`, `* BYE text` …"""
        self._answer("*", kind, code, self.text(word, **facts))

    def announce(self, keywords: Iterable[str]) -> None:
        """FLAGS ahead of the first answer with a keyword that the client has not been told of (rfc9051 7.3.1)."""
        view = self.selected
        if view is not None:
            new = {word for words in keywords for word in words.split()}.difference(view.keywords)
            if new:
                view.keywords += tuple(sorted(new))
                self.send(*flags_lines(view.keywords, view.read_only))

    def answer(self, done: Done, tag: str = "") -> None:
        """The tagged OK, of the command that runs unless another is named."""
        self._answer(tag or self.tag, "OK", done.code, self.text(done.text))

    def _answer(self, tag: str, kind: str, code: str, text: str) -> None:
        self.stream.write(f"{tag} {kind} [{code}] {text}\r\n".encode() if code else f"{tag} {kind} {text}\r\n".encode())

    def fail(self, error: Exception, tag: str = "") -> None:
        """The tagged answer to a command that failed."""
        tag = tag or self.tag
        match error:
            case BadCharset() if not self.without_charsets:
                self._answer(tag, "NO", "BADCHARSET (US-ASCII UTF-8)", self.text("imap-charset"))
            case TooLong() | LineTooLong():
                self._wrong(tag, "TOOBIG", self.text("imap-too-big"))
            case TooBig():
                self._wrong(tag, "TOOBIG", self.text("imap-too-much", what=str(error)))
            case Bad():
                self._wrong(tag, "", self.text("imap-syntax", what=str(error)))
            case Refused() if error.code in SYNTAX:
                self._wrong(tag, RESPONSE_CODES.get(error.code, ""), self.text(error.code, **error.facts))
            case Refused():
                code = "TRYCREATE" if error.facts.get("target") else RESPONSE_CODES.get(error.code, "")
                if error.code == "imap-bad-url":
                    code = f'BADURL "{error.facts["url"]}"'
                self._answer(tag, "NO", code, self.text(error.code, **error.facts))
            case NotNow():
                code = RESPONSE_CODES.get(error.code, "UNAVAILABLE")
                self._answer(tag, "NO", code, self.text(error.code, **error.facts))

    def _wrong(self, tag: str, code: str, text: str) -> None:
        """BAD; too many of them end the connection (scanners, other protocols)."""
        self._answer(tag, "BAD", code, text)
        self._errors += 1

    def failed_sign_in(self) -> None:
        """Wrong passwords, and sign-ins that were put off, count as errors too."""
        self._errors += 1

    # lines → words → table → run

    async def serve(self) -> None:
        """The whole conversation."""
        try:
            self.untagged("OK", f"CAPABILITY {self.capabilities()}", "imap-greeting")
            while self.state is not State.LOGOUT:
                try:
                    await self._handle(await self._next())
                except LineTooLong as long:
                    await self.settled()
                    tag = tag_of(long.head)
                    self.fail(long, "*" if not self.account_id and tag.upper() in WEB else tag)
                if self._errors >= self._limits.errors_per_session:
                    raise Farewell("imap-too-many-errors")
                await self.stream.drain()
        except (Gone, Stopping) as error:
            if not self.stream.closed:
                await self.settled()  # whoever has said all may still listen to the answers
            if not self._over or isinstance(error, Gone):
                raise
            self._farewell(Farewell(self._over, "UNAVAILABLE"))
        except Farewell as farewell:
            await self.settled()
            self._farewell(farewell)
        finally:
            if self.underway is not None:
                self.underway.cancel()
            self.forget()
            self.unwatch()
            self._give_back()
            self._leave()

    def _farewell(self, farewell: Farewell) -> None:
        self.untagged("BYE", farewell.response, farewell.code)
        self.stream.close(linger=True)  # what is still on its way must not reset our last words away

    def end(self, code: str) -> None:
        """The account was locked, handed over or given another secret: the command that runs is the last one."""
        self._over = code
        self.stream.stop()

    async def _next(self) -> bytes:
        """The next command's first line. After NOTIFY, what happens is told while it is awaited."""
        if self._over:  # also for whoever has sent a hundred commands ahead
            raise Farewell(self._over, "UNAVAILABLE")
        longest = self.reading.longest() + 2
        if self.watch is None:
            return await self.stream.line(longest, self.reading.patience())
        await self.settled()  # of two who tell what happened, both would tell it
        end = self._loop.time() + self.reading.patience()
        self._idling = True
        tell = Tell.HELD if self.watch.delayed else Tell.ALL
        try:
            while True:
                await self.look(tell)
                await self.stream.drain()
                try:
                    return await self.stream.line(longest, min(POLL_SECONDS, end - self._loop.time()), nudges=True)
                except Nudged:
                    continue
                except TooSlow:
                    if self._loop.time() + 1 >= end:
                        raise
                    self._hinted = True  # hints may be lost
                    await self.watch.look(now=True)
        finally:
            self._idling = False

    async def settled(self) -> None:
        """What came before has been answered."""
        if self.underway is not None:
            await self.underway.settled()

    async def _handle(self, line: bytes) -> None:
        if not self.account_id and line.partition(b" ")[0].upper().decode("latin-1") in WEB:
            raise Farewell("imap-not-imap")  # the rest of a browser's request could hold commands
        if self.underway is not None and not _APPEND.match(line):
            await self.underway.settled()
        words = Words(line, self.utf8)
        self.tag = "*"
        try:
            self.tag = words.tag()
            words.space()
            name = words.word()
            if name == "UID" and words.skip(b" "):
                name = f"UID {words.word()}"
            found = self._table.rows.get(name)
            if found is None:
                raise Bad("known command")
            if self.state not in found.states:
                raise Refused("imap-wrong-state" if self.account_id else "imap-sign-in-first")
            if self.uid_only and found.name in NUMBERED:
                raise Refused("uid-required")
        except (Bad, Refused) as error:
            await self.settled()
            await self.reading.pass_over(line)
            if isinstance(error, Bad):
                self._wrong(self.tag, "", self.text("imap-unknown-command"))
            else:
                self._wrong(self.tag, RESPONSE_CODES.get(error.code, ""), self._why(error))
            return
        guest = self.selected is not None and self.selected.guest is not None
        if found.takes is not None and not (guest and found.states == SELECTED):
            await found.takes(self, line, words.at)
            return
        try:
            if guest:
                await self._may(found, line)
            if found.takes is not None:
                await found.takes(self, line, words.at)
                return
            line = await self.reading.whole(line)
            words = Words(line, self.utf8, words.at)
            command = found.parse(words)
            self.given = words.given
            done = await found.run(self, command)
            tell = Tell.HELD if done is not None and done.held else found.tell
            await self.look(tell, own=done is not None and done.gone)
        except (Bad, LineTooLong, Refused, NotNow) as error:
            try:
                await self.look(found.tell)
            except NotNow as trouble:  # news can wait, what went wrong is told
                log.warning("news put off: %s", trouble.code)
            self.fail(error)
            return
        self.went_well()
        if done is not None:
            self.answer(self.with_modseq(done) if done.gone else done)

    def with_modseq(self, done: Done) -> Done:
        """Who knows QRESYNC is told how far it is up to date now (rfc7162 3.2.7)."""
        if "QRESYNC" not in self.enabled or self.selected is None:
            return done
        return replace(done, code=f"HIGHESTMODSEQ {self.selected.highest}")

    def went_well(self) -> None:
        """A command of somebody who has signed in ended well: mistakes before it are forgiven."""
        if self.account_id:
            self._errors = 0

    def _why(self, error: Refused) -> str:
        return self.text(error.code, **error.facts)

    async def _may(self, found: Row, line: bytes) -> None:
        """Refuses a command for which a mailbox of another's does not give the right, or not any more."""
        await self.refresh()
        lacks = lacking(self.view().rights, found.rights) if found.states == SELECTED else None
        if lacks is not None:
            await self.reading.pass_over(line)
            raise lacks

    async def refresh(self) -> None:
        """Takes in what this person may do now in a mailbox of another's; tells what changed of it."""
        view = self.view()
        rights = (await view.guest.standing()).rights if view.guest is not None else view.rights
        if rights == view.rights:
            return
        ended = "r" in view.rights and "r" not in rights
        view.rights = rights
        self.send(*flags_lines(view.keywords, view.read_only, rights))
        if ended:
            self.untagged("NO", "NOPERM", "access-ended")

    # the account and the selected mailbox

    def signed_in(self, known: SignedIn) -> None:
        """Raises `NotNow("too-many-connections")`."""
        self._give_back = take_place(known.account_id, self._limits.connections_per_account)
        self._leave = self.services.doors.present(known, self.end)
        self.account_id = known.account_id
        self.address = known.address
        self.reading.known = True
        self.state = State.AUTHENTICATED
        self._errors = 0

    def signed_out(self) -> None:
        """As a stranger again, on the same connection (rfc8437 3): nothing of the person stays."""
        self.unwatch()
        self._give_back()
        self._leave()
        self.account_id = 0
        self.address = ""
        self.enabled = frozenset()
        self.state = State.NOT_AUTHENTICATED
        self._errors = 0
        self.reading.restart()

    @property
    def who(self) -> Who:
        """Who acts, where another person's mailbox is concerned."""
        return Who(self.account_id, self.address)

    def view(self) -> Selected:
        """The selected mailbox; the table lets a command through only where there is one."""
        if self.selected is None:
            raise Refused("imap-wrong-state")
        return self.selected

    def writable(self) -> Selected:
        """The same, refused where EXAMINE opened it."""
        view = self.view()
        if view.read_only:
            raise Refused("mailbox-read-only")
        return view

    def open(self, view: Selected) -> None:
        """`view` is selected from now on."""
        self.selected = view
        self.state = State.SELECTED
        self._hinted = False
        self._looked = self._loop.time()
        stops = [self.services.wake.listen(view.account_id, self.hint)]
        if view.guest is not None:  # what becomes of the own account may end it
            stops.append(self.services.wake.listen(self.account_id, self.hint))
        self._stop_listening = tuple(stops)

    async def deselect(self) -> None:
        """Ends the selected state without expunging."""
        view = self.selected
        self.forget()
        if view is None:
            return
        self.state = State.AUTHENTICATED
        if view.recent_claimed and view.uids and view.uids[-1] >= view.recent_claimed:
            # What arrived meanwhile was shown as \Recent here and is no other session's any more (rfc3501 2.3.2).
            try:
                await self.services.db.write(mailbox.claim_recent, view.account_id, view.mailbox_id)
            except (Refused, NotNow):
                return  # \Recent once more is no harm

    def forget(self) -> None:
        """The end, in any way: nobody calls here any more."""
        self.selected = None
        for stop in self._stop_listening:
            stop()
        self._stop_listening = ()

    def unwatch(self) -> None:
        """What NOTIFY asked for is over."""
        if self.watch is not None:
            self.watch.close()
            self.watch = None

    # news

    def hint(self) -> None:
        """Somebody says that the change log grew."""
        self._hinted = True
        self.nudge()

    def nudge(self) -> None:
        """There is something to tell; while a command runs it waits for its end."""
        if self._idling:
            self.stream.nudge()

    def no_hint(self) -> None:
        """The hint was of this session's own making. One that was meant otherwise is made good at the next look."""
        self._hinted = False

    async def idle_until_done(self) -> None:
        """Tells news as it comes until the client says DONE (RFC 2177)."""
        end = self._loop.time() + self.reading.patience()
        self._idling = True
        try:
            while True:
                await self.look(Tell.NOW)
                await self.stream.drain()
                try:
                    line = await self.stream.line(100, min(POLL_SECONDS, end - self._loop.time()), nudges=True)
                except Nudged:
                    continue
                except TooSlow:
                    if self._loop.time() + 1 >= end:
                        raise
                    continue
                except LineTooLong:
                    line = b""
                if line.upper() != b"DONE":
                    raise Bad("DONE expected")
                return
        finally:
            self._idling = False

    async def _news(self, view: Selected) -> News | None:
        since = view.account_id, view.mailbox_id, view.modseq, tuple(view.own), view.reader
        try:
            return await self.services.db.look(read_news, *since, FEW_CHANGES, FEW)
        except TooMuch:
            return await turns.read(self, read_news, *since)

    async def look(self, tell: Tell, own: bool = False) -> None:
        """Tells the client what happened in the selected mailbox, and what else NOTIFY asked for. `own`: messages went
        by the client's own command, which is told in any case."""
        view, watch = self.selected, self.watch
        if tell is Tell.NOTHING:
            return
        if watch is not None:
            await watch.look(tell is Tell.NOW)
        if view is None or not (watch is None or watch.messages or own):
            return
        now = self._loop.time()
        asked = tell is Tell.NOW or self._hinted or now - self._looked > LOOK_SECONDS
        if asked:
            self._hinted = False
            self._looked = now
            if view.guest is not None:
                await self.refresh()
        if "r" not in view.rights:
            return
        more = True
        while more:
            news = None
            if asked:
                try:
                    news = await self._news(view)
                except NotNow:
                    self._hinted = True  # the command itself has been done: its answer does not hang on this
            last = view.uids[-1] if view.uids else 0
            lines = view.tell(
                news,
                can_expunge=tell is not Tell.HELD,
                rev2=self.rev2,
                condstore=self.condstore,
                vanished=self.vanished,
                uid_only=self.uid_only,
                with_flags=watch is None or watch.flags,
            )
            more = news is not None and news.more
            if len(lines) < 100:
                self.send(*lines)
            else:
                for piece in pieces(lines):
                    self.send(piece)
                    await self.stream.drain()
            if watch is not None:
                await watch.show(view.uids[bisect_right(view.uids, last) :])


@lru_cache(256)
def _plain(code: str, utf8: bool) -> str:
    return say(code, utf8=utf8)


def pieces(lines: Iterable[bytes], size: int = CHUNK) -> Iterable[bytes]:
    """Joins lines to pieces of about `size` bytes, so that a long answer is neither one write nor a thousand."""
    held: list[bytes] = []
    length = 0
    for line in lines:
        held.append(line)
        length += len(line)
        if length >= size:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)
