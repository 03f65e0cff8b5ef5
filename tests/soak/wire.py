"""Small clients for the soak: SMTP, LMTP, submission, POP3 and IMAP over asyncio, made to notice every answer.

Three ways to end badly: `Lost` (the connection is gone, or the server said good-bye), `NotNow` (a temporary refusal),
`Wrong` (an answer that no crash and no full disk excuses; `Denied` is one that who reads in another's mailbox may get).
Only the last is a finding.
"""

import asyncio
import base64
import re
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

PATIENCE = 60.0  # seconds for one answer, on a machine that others use as well; who needs longer hangs
LINE = 1 << 20


class Lost(Exception):
    """The connection is gone: what was under way may have happened or not."""


class NotNow(Exception):
    """Refused for now: what was under way may have happened or not."""


class Wrong(Exception):
    """An answer that must not be."""


class Denied(Wrong):
    """A refusal for good, for a reason that a mailbox's owner has made meanwhile."""


class Line:
    """A connection that is read line by line.

    While it is `dark` nothing that still comes is believed: the power is being cut, and what a machine says in the
    moment after its disk went is said by no real one.
    """

    dark = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._said = b""
        self._opened = time.monotonic()
        self._deflate = zlib.compressobj(wbits=-15)
        self._pump: asyncio.Task[None] | None = None  # set: both directions are compressed

    @classmethod
    async def open(cls, port: int) -> "Line":
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, limit=LINE), PATIENCE)
        except (OSError, TimeoutError) as error:
            raise Lost(str(error)) from error
        return cls(reader, writer)

    async def line(self) -> bytes:
        try:
            line = await asyncio.wait_for(self._reader.readline(), PATIENCE)
        except TimeoutError as error:
            raise Wrong(self._silence()) from error
        except OSError as error:
            raise Lost(str(error)) from error
        if not line.endswith(b"\n") or Line.dark:
            raise Lost("end of connection")
        return line

    async def exactly(self, size: int) -> bytes:
        try:
            return await asyncio.wait_for(self._reader.readexactly(size), PATIENCE)
        except TimeoutError as error:
            raise Wrong(self._silence()) from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Lost(str(error)) from error

    def _silence(self) -> str:
        """Enough to tell a server that hangs from a connection that nobody holds."""
        age = time.monotonic() - self._opened
        ends = [self._writer.get_extra_info(name) for name in ("sockname", "peername")]
        return f"no answer within {PATIENCE:.0f} s to {self._said!r}; {ends}, opened {age:.0f} s ago"

    async def send(self, data: bytes) -> None:
        self._said = data[:80]
        if self._pump is not None:
            data = self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        try:
            self._writer.write(data)
            await asyncio.wait_for(self._writer.drain(), PATIENCE)
        except TimeoutError as error:
            raise Wrong(f"nothing read within {PATIENCE:.0f} s") from error
        except OSError as error:
            raise Lost(str(error)) from error

    def compress(self) -> None:
        """From here on both directions are (RFC 4978)."""
        plain = asyncio.StreamReader(LINE)
        self._pump = asyncio.create_task(_inflate(self._reader, plain))
        self._reader = plain

    def close(self) -> None:
        self._writer.close()
        if self._pump is not None:
            self._pump.cancel()


async def _inflate(packed: asyncio.StreamReader, plain: asyncio.StreamReader) -> None:
    inflate = zlib.decompressobj(wbits=-15)
    with suppress(OSError, zlib.error):  # cut off in the middle
        while data := await packed.read(65536):
            plain.feed_data(inflate.decompress(data))
    plain.feed_eof()


# ---- SMTP


class Smtp:
    """`greeting` EHLO or LHLO."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.close = line.close

    @classmethod
    async def open(cls, port: int, greeting: str = "EHLO") -> "Smtp":
        client = cls(await Line.open(port))
        try:
            client._good(await client.reply(), 220)
            client._good(await client.command(f"{greeting} may.xa.test"), 250)
        except BaseException:
            client.close()
            raise
        return client

    async def reply(self) -> tuple[int, str]:
        text = b""
        while True:
            line = await self._line.line()
            text += line
            if line[3:4] != b"-":
                break
        code = int(line[:3])
        if code == 421:
            raise Lost(text.decode("utf-8", "replace"))
        return code, text.decode("utf-8", "replace").strip()

    async def command(self, words: str) -> tuple[int, str]:
        await self._line.send(words.encode() + b"\r\n")
        return await self.reply()

    @staticmethod
    def _good(reply: tuple[int, str], code: int) -> None:
        if reply[0] == code:
            return
        raise NotNow(reply[1]) if 400 <= reply[0] < 500 else Wrong(reply[1])

    async def sign_in(self, address: str, password: str) -> None:
        proof = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
        self._good(await self.command(f"AUTH PLAIN {proof}"), 235)

    async def send(
        self,
        sender: str,
        recipients: list[str],
        content: bytes,
        *,
        each: bool = False,
        chunks: Sequence[int] = (),
        body: str = "8BITMIME",
    ) -> list[bool]:
        """Which recipients were acknowledged. `each`: an answer for each of them (LMTP); `chunks`: BDAT, cut there."""
        words = [f"MAIL FROM:<{sender}> BODY={body}", *(f"RCPT TO:<{address}>" for address in recipients)]
        await self._line.send("".join(f"{word}\r\n" for word in words).encode())
        replies = [await self.reply() for _ in words]
        for reply in replies:
            if reply[0] != 250:
                await self.command("RSET")
                self._good(reply, 250)
        if chunks:
            for start, end in zip((0, *chunks), chunks, strict=False):
                await self._line.send(b"BDAT %d\r\n%b" % (end - start, content[start:end]))
                self._good(await self.reply(), 250)
            rest = content[chunks[-1] :]
            await self._line.send(b"BDAT %d LAST\r\n%b" % (len(rest), rest))
        else:
            self._good(await self.command("DATA"), 354)
            stuffed = content.replace(b"\r\n.", b"\r\n..")
            await self._line.send((b"." if content.startswith(b".") else b"") + stuffed + b".\r\n")
        answers = [await self.reply() for _ in (recipients if each else [0])]
        for answer in answers:
            if answer[0] >= 500:
                raise Wrong(answer[1])
        if not any(answer[0] == 250 for answer in answers):
            raise NotNow(answers[0][1])
        return [answer[0] == 250 for answer in answers] if each else [True] * len(recipients)


# ---- POP3


class Pop3:
    """One session: the maildrop as it was at sign-in."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.close = line.close

    @classmethod
    async def open(cls, port: int, address: str, password: str) -> "Pop3":
        client = cls(await Line.open(port))
        try:
            await client._status()
            await client.command("UTF8")  # letters as they are stored
            proof = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
            await client.command(f"AUTH PLAIN {proof}")
        except BaseException:
            client.close()
            raise
        return client

    async def _status(self) -> bytes:
        line = await self._line.line()
        if line.startswith(b"+OK"):
            return line
        told = line.decode("utf-8", "replace").strip()
        if b"[SYS/TEMP]" in line or b"[IN-USE]" in line:
            raise NotNow(told)
        raise Wrong(told)

    async def command(self, words: str) -> bytes:
        await self._line.send(words.encode() + b"\r\n")
        return await self._status()

    async def long(self, words: str) -> bytes:
        """What follows the first line, without the dots."""
        await self.command(words)
        found = bytearray()
        while (line := await self._line.line()) != b".\r\n":
            found += line[1:] if line.startswith(b".") else line
        return bytes(found)

    async def uids(self) -> tuple[int, dict[int, int]]:
        """UIDVALIDITY of INBOX (0: it is empty), and UID → the letter's number."""
        validity, found = 0, {}
        for line in (await self.long("UIDL")).decode().splitlines():
            number, _, name = line.partition(" ")
            validity = int(name[:8], 16)
            found[int(name[8:], 16)] = int(number)
        return validity, found


# ---- IMAP

FETCH = re.compile(rb"\* \d+ FETCH \((.*)\)$", re.DOTALL)
TEMPORARY = (b"[UNAVAILABLE]", b"[OVERQUOTA]", b"[INUSE]")
DENIED = (b"[NOPERM]", b"[NONEXISTENT]", b"[EXPUNGEISSUED]")


@dataclass(frozen=True, slots=True)
class Answer:
    """One line of the server, its literals taken out."""

    text: bytes
    literals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a FETCH said of one message; what it did not say is None."""

    uid: int
    flags: frozenset[str] | None
    modseq: int | None
    size: int | None
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Opened:
    """What SELECT said."""

    validity: int
    following: int
    modseq: int
    exists: int


def number(text: bytes, name: bytes) -> int:
    match = re.search(rb"\b" + name + rb" (\d+)", text)
    if match is None:
        raise Wrong(f"no {name.decode()} in {text[:200]!r}")
    return int(match[1])


def uids_of(words: bytes) -> list[int]:
    found = []
    for part in words.split(b","):
        low, _, high = part.partition(b":")
        first, last = sorted((int(low), int(high or low)))
        found += range(first, last + 1)
    return found


class Imap:
    """One session. `selected`: the mailbox that is open; `ahead`: literals go without waiting (LITERAL+)."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._tag = 0
        self.selected = ""
        self.ahead = False
        self.close = line.close

    @classmethod
    async def open(cls, port: int, address: str, password: str) -> "Imap":
        client = cls(await Line.open(port))
        try:
            greeting = await client._answer()
            if not greeting.text.startswith(b"* OK"):
                raise Lost(greeting.text.decode("utf-8", "replace"))
            proof = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
            await client.command(f"AUTHENTICATE PLAIN {proof}")
            await client.command("ENABLE QRESYNC")
        except BaseException:
            client.close()
            raise
        return client

    async def _answer(self) -> Answer:
        text, literals = b"", []
        while True:
            line = await self._line.line()
            match = re.search(rb"\{(\d+)\}\r\n$", line)
            if match is None:
                text += line.rstrip(b"\r\n")
                break
            text += line[: match.start()] + b"~"
            literals.append(await self._line.exactly(int(match[1])))
        if b"[SERVERBUG]" in text:
            raise Wrong(text.decode("utf-8", "replace"))
        if text.startswith(b"* BYE"):
            raise Lost(text.decode("utf-8", "replace"))
        return Answer(text, tuple(literals))

    async def compress(self) -> None:
        await self.command("COMPRESS DEFLATE")
        self._line.compress()

    async def command(self, words: str, *more: bytes | str) -> list[Answer]:
        """All answers, the tagged one last. Raises unless it is OK. Bytes go as literals, with `~` before them where
        the words before end so."""
        self._tag += 1
        tag = f"t{self._tag}"
        answers: list[Answer] = []
        ready = f"{tag} {words}".encode()
        for part in more:
            if isinstance(part, str):
                ready += part.encode()
                continue
            ready += b"{%d%b}\r\n" % (len(part), b"+" * self.ahead)
            if not self.ahead:
                await self._line.send(ready)
                ready = b""
                while not (answers and answers[-1].text.startswith((b"+", tag.encode() + b" "))):
                    answers.append(await self._answer())
                last = answers.pop().text
                if not last.startswith(b"+"):
                    self._verdict(words, last)
                    raise Wrong(f"{words[:60]}: answered before its literal: {last!r}")
            ready += part
        await self._line.send(ready + b"\r\n")
        while not (answers and answers[-1].text.startswith(tag.encode() + b" ")):
            answers.append(await self._answer())
        self._verdict(words, answers[-1].text)
        return answers

    @staticmethod
    def _verdict(words: str, last: bytes) -> None:
        verdict = last.split(b" ", 2)[1]
        if verdict == b"OK":
            return
        told = f"{words[:60]}: {last.decode('utf-8', 'replace')}"
        if verdict == b"NO" and any(code in last for code in TEMPORARY):
            raise NotNow(told)
        raise Denied(told) if verdict == b"NO" and any(code in last for code in DENIED) else Wrong(told)

    async def names(self, pattern: str) -> list[str]:
        found = []
        for answer in await self.command(f'LIST "" "{pattern}"'):
            match = re.match(rb'\* LIST \((.*?)\) "/" "?([^"]*)"?$', answer.text)
            if match and b"\\Noselect" not in match[1]:
                found.append(match[2].decode())
        return found

    async def select(self, name: str, more: str = "") -> tuple[Opened, list[Answer]]:
        """`more`: parameters, as of QRESYNC, whose answers are given as they are."""
        self.selected = ""
        answers = await self.command(f'SELECT "{name}"{more and f" ({more})"}')
        text = b"\r\n".join(answer.text for answer in answers)
        exists = re.search(rb"^\* (\d+) EXISTS", text, re.MULTILINE)
        if exists is None:
            raise Wrong(f"SELECT without EXISTS: {text[:200]!r}")
        self.selected = name
        numbers = (number(text, word) for word in (b"UIDVALIDITY", b"UIDNEXT", b"HIGHESTMODSEQ"))
        return Opened(*numbers, exists=int(exists[1])), answers

    async def choose(self, name: str) -> None:
        if self.selected != name:
            await self.select(name)

    async def notes(self, name: str) -> dict[str, bytes]:
        """All notes about a mailbox."""
        found: dict[str, bytes] = {}
        entries = "/private/comment /shared/comment /private/vendor /shared/vendor"
        for answer in await self.command(f'GETMETADATA (DEPTH infinity) "{name}" ({entries})'):
            if not answer.text.startswith(b"* METADATA "):
                continue
            literals = iter(answer.literals)
            for entry, value in re.findall(rb'"(/[^"]*)" (NIL|~+|"(?:[^"\\]|\\.)*")', answer.text):
                if value.startswith(b"~"):
                    found[entry.decode()] = next(literals)
                elif value != b"NIL":
                    found[entry.decode()] = re.sub(rb"\\(.)", rb"\1", value[1:-1])
        return found

    async def rights(self, name: str, owner: str) -> dict[str, str]:
        """Those of others."""
        for answer in await self.command(f'GETACL "{name}"'):
            if answer.text.startswith(b"* ACL "):
                words = answer.text.decode().replace('"', "").split()[3:]
                return {who: may for who, may in zip(words[::2], words[1::2], strict=True) if who != owner}
        raise Wrong(f"GETACL {name}: nothing told")

    async def fetch(self, uids: str, items: str) -> list[Fetched]:
        return list(fetched(await self.command(f"UID FETCH {uids} ({items})")))


def fetched(answers: Iterable[Answer]) -> Iterable[Fetched]:
    for answer in answers:
        match = FETCH.match(answer.text)
        if match is None or b"UID " not in match[1]:
            continue
        flags = re.search(rb"FLAGS \(([^)]*)\)", match[1])
        modseq = re.search(rb"MODSEQ \((\d+)\)", match[1])
        size = re.search(rb"RFC822\.SIZE (\d+)", match[1])
        words = None if flags is None else frozenset(flags[1].decode().split()) - {"\\Recent"}
        yield Fetched(
            number(match[1], b"UID"),
            words,
            None if modseq is None else int(modseq[1]),
            None if size is None else int(size[1]),
            answer.literals[0] if answer.literals else None,
        )
