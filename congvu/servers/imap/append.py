"""APPEND and REPLACE: letters stream from the wire, are kept many at a time, and are answered in order.

While the letters of one APPEND are on their way to the disk, the next APPENDs of the connection are already read; those
that have come meanwhile go there together. Promises: an OK goes out only after letters and rows are on
disk; answers and UIDs come in the order of the commands; a command is done as a whole or not at all; what one
connection has under way is bounded in number and bytes; whatever is refused, the wire is read to the command's end.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from congvu.actions.mail import Draft, Letter, Wanted
from congvu.actions.sharing import Sharing, Who
from congvu.base.failure import NotNow, Refused
from congvu.base.observe import log
from congvu.codec import imap_append
from congvu.codec.imap import SequenceSet
from congvu.codec.imap_append import Complete, Held, Message, Target, Text, Url
from congvu.codec.imap_words import Bad, Literal, TooLong
from congvu.db.blobs import Spool
from congvu.db.engine import Tx
from congvu.mailstore import mailbox, message
from congvu.mailstore.across import Place
from congvu.mailstore.append import Added
from congvu.servers.imap import catenate
from congvu.servers.imap.reading import CHUNK
from congvu.servers.imap.session import Done, Session, Tell
from congvu.servers.stream import Gone

COMMANDS = 64  # of one connection whose answers are still to come
BYTES = 2 << 20  # of letters under way in memory
LETTERS = 256  # in one transaction, when they come by commands of their own
WEIGHT = 16 << 20  # bytes that the scans of one command's letters may take in memory
_NO_LIMIT = 1 << 62


async def append(session: Session, line: bytes, at: int) -> None:
    """rfc9051 6.3.12, RFC 3502, RFC 4469."""
    await _take(session, line, at, None)


async def replace(session: Session, line: bytes, at: int) -> None:
    """RFC 8508."""
    await _take(session, line, at, False)


async def uid_replace(session: Session, line: bytes, at: int) -> None:
    await _take(session, line, at, True)


@dataclass(slots=True)
class _Command:
    """One command. `error` is what ended it before its time."""

    tag: str
    mailbox: str = ""
    replaces: tuple[int, int] | None = None
    source: Place | None = None  # where that lies, when it is another's mailbox or goes to one
    heads: list[Message] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    size: int = 0
    error: Exception | None = None


async def _take(session: Session, line: bytes, at: int, by_uid: bool | None) -> None:
    underway = session.underway
    if not isinstance(underway, Underway):
        session.underway = underway = Underway(session)
    if by_uid is not None:
        await underway.settled()  # what it replaces is told by the mailbox as its client knows it
    await underway.place()
    command = _Command(session.tag)
    try:
        await _Reader(session, underway, command, by_uid).read(line, at)
    except (Bad, Refused, NotNow) as error:
        command.error = error
        command.letters.clear()
    underway.add(command)
    if by_uid is not None:
        await underway.settled()


class _Reader:
    """Takes one command off the wire."""

    __slots__ = ("_by_uid", "_command", "_held", "_line", "_room", "_session", "_spool", "_underway", "_weight")

    def __init__(self, session: Session, underway: "Underway", command: _Command, by_uid: bool | None) -> None:
        self._session = session
        self._underway = underway
        self._command = command
        self._by_uid = by_uid
        self._room = session.reading.longest()  # for all but the letters
        self._line = b""  # read last; what its end announces has not been read
        self._spool: Spool | None = None
        self._held = self._weight = 0  # bytes that the letters so far take in memory

    async def read(self, line: bytes, at: int) -> None:
        self._line = line
        self._room -= len(line)
        reading = imap_append.read(line, at, self._session.utf8, self._by_uid is not None)
        try:
            event = next(reading, None)
            while event is not None:
                answer = await self._do(event)
                try:
                    event = reading.send(answer)
                except StopIteration:
                    event = None
        except (Bad, Refused, NotNow):
            await self._session.reading.pass_over(self._line)
            raise
        finally:
            reading.close()
            if self._spool is not None:
                self._spool.close()

    async def _do(self, event: imap_append.Event) -> bytes:
        session, command = self._session, self._command
        match event:
            case Held(literal):
                if literal.size > self._room:
                    raise TooLong("command too long")
                await self._before(literal)
                self._line = b""
                data, self._line = await session.reading.literal(literal, self._room)
                self._room -= len(data) + len(self._line)
                return data + self._line
            case Target(name, replaced):
                command.mailbox = name
                if replaced is not None:
                    command.replaces = self._replaced(replaced)
            case Message():
                command.heads.append(event)
                self._spool = session.services.blobs.spool()
            case Text(literal):
                await self._text(literal)
                return self._line
            case Url(text):
                await self._underway.may_add(command, 0)
                await catenate.copy(session, text, self._letter(), self._limit())
                await self._underway.may_add(command, self._letter().size)
            case Complete():
                await self._complete()
        return b""

    def _limit(self) -> int:
        return self._session.services.config.limits.message_bytes

    def _letter(self) -> Spool:
        if self._spool is None:
            raise LookupError("no letter has begun")
        return self._spool

    def _replaced(self, number: int) -> tuple[int, int]:
        view = self._session.writable()
        end = number or None
        uids = view.resolve(SequenceSet(((end, end),)), bool(self._by_uid))
        if not uids:
            raise Refused("imap-nothing-there")
        if view.guest is not None or self._session.services.sharing.elsewhere(self._command.mailbox):
            self._command.source = view.place
        return view.mailbox_id, uids[0]

    async def _before(self, literal: Literal) -> None:
        """Whoever waits to be asked for a literal has the answers to what it said before."""
        if literal.waits:
            await self._underway.settled()

    async def _text(self, literal: Literal) -> None:
        session, spool = self._session, self._letter()
        if not literal.size and not self._command.heads[-1].parts:
            raise Refused("append-cancelled")  # RFC 3502: how a client gives up
        if spool.size + literal.size > self._limit():
            raise Refused("letter-too-big", limit=self._limit())
        await self._before(literal)
        await self._underway.may_add(self._command, spool.size + literal.size)
        if literal.waits:
            session.send(b"+ OK\r\n")
        self._line = b""
        left, failure = literal.size, None
        while left:
            chunk = await session.stream.chunk(min(left, CHUNK), session.reading.patience())
            left -= len(chunk)
            if failure is None:
                try:
                    spool.write(chunk)
                except NotNow as error:  # the disk is full: what is on its way is taken all the same
                    failure = error
        self._line = await session.reading.rest_of_line(max(self._room, 0))
        self._room -= len(self._line)
        if failure is not None:
            raise failure

    async def _complete(self) -> None:
        spool, command = self._letter(), self._command
        if not spool.size:
            raise Refused("append-cancelled")
        self._spool = None
        try:
            letter = await self._session.services.mail.read(spool)
        finally:
            spool.close()
        command.size += spool.size
        command.letters.append(letter)
        self._underway.taken(spool.size)
        self._held += letter.held
        self._weight += letter.weight
        if self._weight > WEIGHT:
            raise Refused("append-too-many", limit=imap_append.MAX_MESSAGES)
        if self._held > BYTES:
            command.letters = await self._session.services.mail.secure(command.letters)
            self._held = 0


class Underway:
    """What one connection has under way: commands that have been read and whose answers are to come."""

    __slots__ = ("_failure", "_left", "_mailbox", "_queue", "_session", "_task", "_waiter")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue: deque[_Command] = deque()
        self._task: asyncio.Task[None] | None = None  # answers the queue
        self._waiter: asyncio.Future[None] | None = None  # the reader, while there is no place
        self._failure: BaseException | None = None
        self._mailbox = ""  # was looked at last …
        self._left = 0  # … and has room for so many bytes

    # for the reader

    async def settled(self) -> None:
        """Waits until everything that was read is answered."""
        if self._task is not None:
            await asyncio.shield(self._task)
        self._raise()
        self._mailbox = ""

    async def place(self) -> None:
        """Waits until another command may begin."""
        while len(self._queue) >= COMMANDS or sum(each.size for each in self._queue) > BYTES:
            await self._wait()
        self._raise()

    async def may_add(self, command: _Command, size: int) -> None:
        """Refuses before a letter is stored what would be refused after it. What is under way counts."""
        if self._mailbox != command.mailbox or self._left < size:
            try:
                await self._look(command, size)
            except Refused:
                if self._task is None:
                    raise
                await self.settled()  # some of what was counted as under way may have been counted as stored too
                await self._look(command, size)

    async def _look(self, command: _Command, size: int) -> None:
        ahead = command.size + sum(each.size for each in self._queue)
        session = self._session
        sharing = session.services.sharing
        self._left = await session.services.db.look(
            _may_append, sharing, session.who, command.mailbox, ahead, size, command.replaces is not None
        )
        self._mailbox = command.mailbox

    def taken(self, size: int) -> None:
        """A letter of that size has come."""
        self._left -= size

    def add(self, command: _Command) -> None:
        """The command has been read: it is answered in its turn."""
        self._raise()
        self._queue.append(command)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._answer_all())
            self._task.add_done_callback(self._over)

    def cancel(self) -> None:
        """The connection is over. What has its rows stays; nobody was told of anything else."""
        if self._task is not None:
            self._task.cancel()

    async def _wait(self) -> None:
        self._raise()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    # answers

    def _over(self, task: asyncio.Task[None]) -> None:
        if self._task is task:
            self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, NotNow | Refused | Bad):
                # As itself it would be taken for the refusal of the command that is being read.
                log.error("APPENDs under way cannot be answered: %s", error)
                error = Gone()
            self._failure = error
            self._queue.clear()
            self._session.stream.interrupt(error)
        self._wake()

    async def _answer_all(self) -> None:
        session = self._session
        while self._queue:
            ready = self._ready()
            answers = await self._store(ready)
            for _ in ready:  # now: whatever becomes of the answers, nothing is stored twice
                self._queue.popleft()
            try:
                await session.look(Tell.ALL, own=any(each.replaces for each in ready))
            except NotNow as trouble:  # news can wait, what is stored is answered
                log.warning("news put off: %s", trouble.code)
            for command, answer in zip(ready, answers, strict=True):
                if isinstance(answer, Done):
                    session.went_well()
                    session.answer(session.with_modseq(answer) if answer.gone else answer, command.tag)
                else:
                    session.fail(answer, command.tag)
            self._wake()
            await session.stream.drain()

    def _ready(self) -> list[_Command]:
        """The commands that are answered together: those that wait, within bounds."""
        found: list[_Command] = []
        count = 0
        for command in self._queue:
            count += len(command.letters)
            if found and count > LETTERS:
                break
            found.append(command)
        return found

    async def _store(self, commands: list[_Command]) -> list[Done | Exception]:
        answers: dict[int, Done | Exception] = {}
        wanted: list[Wanted] = []
        numbers: list[int] = []
        for number, command in enumerate(commands):
            if command.error is not None:
                answers[number] = command.error
                continue
            drafts = tuple(
                Draft(each, head.flags, head.keywords, head.received)
                for head, each in zip(command.heads, command.letters, strict=True)
            )
            asked = Wanted(command.mailbox, drafts, command.replaces)
            if command.source is not None or self._session.services.sharing.elsewhere(command.mailbox):
                answers[number] = await self._store_elsewhere(asked, command)
                continue
            wanted.append(asked)
            numbers.append(number)
        if wanted:
            try:
                stored = await self._session.services.mail.append(self._session.account_id, wanted)
            except NotNow as error:
                answers |= dict.fromkeys(numbers, error)
            else:
                for number, each in zip(numbers, stored, strict=True):
                    answers[number] = each if isinstance(each, Refused) else self._added(each, commands[number])
        return [answers[number] for number in range(len(commands))]

    async def _store_elsewhere(self, wanted: Wanted, command: _Command) -> Done | Exception:
        """Into a mailbox of another's: a transaction of its own, as it has another account's to hold."""
        services = self._session.services
        try:
            answer = await services.mail.append_elsewhere(services.sharing, self._session.who, wanted, command.source)
        except NotNow as error:
            return error
        return answer if isinstance(answer, Refused) else self._added(answer, command)

    def _added(self, added: Added, command: _Command) -> Done:
        session = self._session
        selected = session.selected
        if selected is not None and selected.mailbox_id in {added.mailbox_id, *(command.replaces or ())[:1]}:
            session.hint()
        if not added.uid_validity:
            return Done(gone=command.replaces is not None)
        first, last = added.uids[0], added.uids[-1]
        code = f"APPENDUID {added.uid_validity} {first if first == last else f'{first}:{last}'}"
        if command.replaces is None:
            return Done(code)
        session.untagged("OK", code, "imap-replaced")  # before the EXPUNGE (rfc8508 3.4)
        return Done(gone=True)


def _may_append(tx: Tx, sharing: Sharing, who: Who, name: str, ahead: int, size: int, replacing: bool) -> int:
    """How many bytes the account has room for beyond those under way. Raises `Refused` when `size` is more."""
    account_id = sharing.target(tx, who, name).account_id
    if replacing:  # which makes room; counted where it is done
        return _NO_LIMIT
    quota = mailbox.quota(tx, account_id)
    if quota.messages >= message.MAX_MESSAGES:
        raise Refused("too-many-letters", limit=message.MAX_MESSAGES)
    left = quota.limit - quota.used - ahead if quota.limit else _NO_LIMIT
    if size > left:
        raise Refused("over-quota")
    return left
