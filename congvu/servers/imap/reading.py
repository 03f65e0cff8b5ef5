"""How an IMAP connection's commands are taken off the wire: lines, literals, and what is passed over unasked.

Promises: what is read is bounded before it is held, closer before sign-in, in bytes and in time; whatever is refused,
the wire can be read to the command's end, or the connection says goodbye.
"""

import asyncio

from congvu.base.config import Limits
from congvu.base.failure import Refused
from congvu.codec.imap_words import Assembly, Bad, Literal, TooBig, TooLong, literal_at_end
from congvu.codec.lines import LineTooLong
from congvu.servers.stream import Stream

PREAUTH_LITERAL = 4096  # bytes of one literal before sign-in: rfc7888 5 allows a client no more without asking
DISCARD_PREAUTH = 65_536  # bytes of a refused literal that are read and dropped rather than the connection
CHUNK = 65_536  # bytes taken off the wire at a time


class Farewell(Exception):
    """The connection ends with BYE; `code` is a word of the catalogue, `response` a response code."""

    def __init__(self, code: str, response: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.response = response


class Reading:
    """The incoming side of one connection. `known`: somebody has signed in."""

    __slots__ = ("_limits", "_loop", "_sign_in_by", "_stream", "known")

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._sign_in_by = 0.0
        self.known = False
        self.restart()

    def restart(self) -> None:
        """A stranger is there, who has so long to sign in."""
        self.known = False
        self._sign_in_by = self._loop.time() + self._limits.imap_preauth_seconds

    def longest(self) -> int:
        """Bytes of a command without its letters."""
        return self._limits.imap_command_bytes if self.known else self._limits.imap_preauth_bytes

    def patience(self) -> float:
        """Seconds to wait for the client: until it must have signed in, or rfc9051 5.4's half an hour."""
        if self.known:
            return float(self._limits.imap_idle_seconds)
        return max(self._sign_in_by - self._loop.time(), 0.01)

    async def whole(self, line: bytes) -> bytes:
        """The command that begins with `line`, with its literals."""
        if not (line.endswith(b"}") and literal_at_end(line)):
            return line
        assembly = Assembly(self.longest())
        try:
            while literal := assembly.line(line):
                if not self.known and literal.size > PREAUTH_LITERAL:
                    raise TooLong("literal too long")
                data, line = b"", b""
                data, line = await self.literal(literal, assembly.room())
                assembly.literal(data)
        except (Bad, Refused):
            await self.pass_over(line)
            raise
        return assembly.command()

    async def literal(self, literal: Literal, room: int) -> tuple[bytes, bytes]:
        """A literal that is held whole, and the line that goes on after it; `room` for both."""
        if literal.waits:
            self._stream.write(b"+ OK\r\n")
        data = await self._stream.exactly(literal.size, self.patience())
        return data, await self.rest_of_line(room - literal.size)

    async def rest_of_line(self, room: int) -> bytes:
        """The line that goes on after a literal."""
        try:
            return await self._stream.line(room + 2, self.patience())
        except LineTooLong:
            raise TooLong("command too long") from None

    async def pass_over(self, line: bytes) -> None:
        """Takes off the wire what a refused command still sends without being asked (rfc7888 4)."""
        while (literal := literal_at_end(line)) and not literal.waits:
            if literal.size > (self._limits.message_bytes if self.known else DISCARD_PREAUTH):
                raise Farewell("imap-too-big")
            left = literal.size
            while left:
                left -= len(await self._stream.chunk(min(left, CHUNK), self.patience()))
            try:
                line = await self.rest_of_line(self.longest())
            except TooBig:
                raise Farewell("imap-too-big") from None
