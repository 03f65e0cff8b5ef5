"""Lines and counted bytes out of a stream that arrives in pieces: the buffer under every text protocol.

Promises: what is taken never depends on how the input was cut; memory stays within what was fed and not yet taken; an
overlong line is told once and the rest of it is dropped as it comes. Must never wait, nor guess a protocol's rules.

A line always ends at LF. Whether an LF without its CR is a line end is a matter of policy, because two servers that
disagree about it can be played off against each other (SMTP smuggling): `strict` tells it as `BareLineFeed` and drops
the line, otherwise it is taken for a line end. SMTP is strict. A CR inside a line is left for the protocol to refuse.
"""

# First words of the lines that a browser sends when it was made to speak to a server that is none of the web.
WEB = frozenset({"GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "PATCH", "TRACE", "PRI"}) | frozenset(
    {"HOST:", "USER-AGENT:", "CONTENT-TYPE:", "CONTENT-LENGTH:", "ACCEPT:", "ORIGIN:", "REFERER:", "COOKIE:"}
)


HEAD = 102  # bytes of a dropped line that are told: enough for any protocol's command word, or tag


class LineTooLong(Exception):
    """A line beyond its limit. It is told once; the next take begins after the line's end. `head`: how it began."""

    def __init__(self, head: bytes = b"") -> None:
        super().__init__()
        self.head = head


class BareLineFeed(Exception):
    """A line that ended in LF without CR where that is refused. The line has been dropped. `head`: how it began."""

    def __init__(self, head: bytes = b"") -> None:
        super().__init__()
        self.head = head


class LineBuffer:
    """What has been received and not yet taken."""

    __slots__ = ("_at", "_data", "_seen", "_skipping")

    def __init__(self) -> None:
        # bytes as they were fed while nothing is joined (then a take may hand out the very object), else a bytearray.
        self._data: bytes | bytearray = b""
        self._at = 0  # taken up to here
        self._seen = 0  # no LF before this offset
        self._skipping = False  # inside the rest of an overlong line

    def __len__(self) -> int:
        return len(self._data) - self._at

    @property
    def skipping(self) -> bool:
        """Is what comes now the rest of an overlong line, which is dropped?"""
        return self._skipping

    def feed(self, data: bytes) -> None:
        """Adds what was received."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return
            self._skipping = False
            data = data[end + 1 :]
        if self._at == len(self._data):
            self._data, self._at, self._seen = data, 0, 0
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        if self._at:
            del self._data[: self._at]
            self._seen -= self._at
            self._at = 0
        self._data += data

    def line(self, limit: int, strict: bool = True) -> bytes | None:
        """The next line without its end, or None while it has not come whole.

        `limit` counts the line end too (rfc5321 4.5.3.1). Raises `LineTooLong` or, when `strict`, `BareLineFeed`.
        """
        data, at = self._data, self._at
        end = data.find(b"\n", max(self._seen, at))
        if end < 0:
            waiting = len(data) - at
            if waiting >= limit:
                head = bytes(data[at : at + min(HEAD, limit)])
                self.clear()
                self._skipping = True
                raise LineTooLong(head)
            if at:  # an idle connection keeps no more than its unfinished line
                self._data, self._at = data[at:], 0
            self._seen = waiting
            return None
        self._at = self._seen = end + 1
        if end + 1 - at > limit:
            head = bytes(data[at : min(at + HEAD, at + limit, end)])
            self._shrink()
            raise LineTooLong(head)
        if end > at and data[end - 1] == 13:
            line = data[at : end - 1]
        elif strict:
            head = bytes(data[at : min(at + HEAD, end)])
            self._shrink()
            raise BareLineFeed(head)
        else:
            line = data[at:end]
        self._shrink()
        return line if isinstance(line, bytes) else bytes(line)

    def exactly(self, count: int) -> bytes | None:
        """The next `count` bytes, or None while they have not all come."""
        return self.chunk(count) if len(self) >= count else None

    def chunk(self, most: int) -> bytes:
        """What is there, up to `most` bytes; b"" when nothing is."""
        data, at = self._data, self._at
        piece = data[at : at + most]
        self._at = self._seen = at + len(piece)
        self._shrink()
        return piece if isinstance(piece, bytes) else bytes(piece)

    def give_back(self, data: bytes) -> None:
        """Puts back, in front, what was taken beyond need."""
        if data:
            self._data = data + self._data[self._at :] if len(self) else data
            self._at = self._seen = 0

    def clear(self) -> None:
        """Drops everything received so far."""
        self._data, self._at, self._seen, self._skipping = b"", 0, 0, False

    def _shrink(self) -> None:
        if self._at == len(self._data):
            self._data, self._at, self._seen = b"", 0, 0
