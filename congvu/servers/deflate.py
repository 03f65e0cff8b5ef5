"""COMPRESS=DEFLATE (RFC 4978): what a connection says and hears, squeezed, with little memory and in bounded pieces.

What came is unpacked only as far as somebody wants it, so a few bytes that unpack to gigabytes cost no more memory than
any others. What goes out is packed with a small window; the packer is let go while the connection idles, which the
format allows at every flush, as blocks behind it then refer to nothing before them.
"""

import zlib

_LEVEL = 6
_WINDOW = 13  # 8 KB: with _MEMORY some 50 KB a connection while it is busy, at a few per cent more bytes
_MEMORY = 5
PIECE = 32_768  # bytes unpacked at a time


class Deflate:
    """Both directions of one connection. `zlib.error` is for whoever sends what is no deflate stream."""

    __slots__ = ("_packer", "_said", "_tail", "_unpacker", "pending")

    def __init__(self) -> None:
        self._packer: zlib._Compress | None = None
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        self._tail = b""
        self._said = False  # something was packed since the last flush
        self.pending = False  # there is more to unpack

    # in

    def feed(self, data: bytes) -> None:
        """Adds what was received."""
        self._tail = self._tail + data if self._tail else data
        self.pending = True

    def unpack(self) -> bytes:
        """The next piece, b"" when all that came has been unpacked. Raises `zlib.error`, also at the stream's end,
        behind which nothing can come."""
        data = self._unpacker.decompress(self._tail, PIECE)
        self._tail = self._unpacker.unconsumed_tail
        # All input may be taken while some output is still to come.
        self.pending = bool(self._tail) or len(data) == PIECE
        if self._unpacker.eof:
            raise zlib.error("the stream has ended")
        return data

    # out

    def pack(self, data: bytes) -> bytes:
        """What can be sent by now; the rest comes with later bytes or with `flush`."""
        if self._packer is None:
            self._packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -_WINDOW, _MEMORY)
        self._said = True
        return self._packer.compress(data)

    def flush(self) -> bytes:
        """All that was said and not yet sent."""
        if self._packer is None or not self._said:
            return b""
        self._said = False
        return self._packer.flush(zlib.Z_SYNC_FLUSH)

    def rest(self) -> None:
        """Nothing will be said for a while; everything was flushed."""
        if not self._said:
            self._packer = None
