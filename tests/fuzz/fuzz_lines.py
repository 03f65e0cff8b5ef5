"""Lines out of a stream: how it was cut, and which takes follow each other, must not matter."""

from congvu.codec.lines import BareLineFeed, LineBuffer, LineTooLong
from congvu.codec.smtp import LineWatch

SEEDS: list[bytes] = [b"\x05EHLO a\r\nMAIL\nx\r\r\n", b"\x01" + b"a" * 300 + b"\r\nb\r\n", b"\x20\r\n\n\r\n\r"]
WORDS: list[bytes] = [b"\r\n", b"\n", b"\r", b"\r\n.\r\n"]


def lines(data: bytes, step: int, limit: int, strict: bool) -> list[bytes | str]:
    buffer, seen = LineBuffer(), []
    for at in range(0, len(data), step):
        buffer.feed(data[at : at + step])
        while True:
            try:
                line = buffer.line(limit, strict)
            except LineTooLong as long:
                seen.append(f"long {long.head!r}")
                continue
            except BareLineFeed as bare:
                seen.append(f"bare {bare.head!r}")
                continue
            if line is None:
                break
            seen.append(line)
        assert len(buffer) < limit
    return seen


def watched(data: bytes, step: int) -> tuple[bool, bool]:
    watch = LineWatch(20)
    for at in range(0, len(data), step):
        watch.feed(data[at : at + step])
    return watch.bare, watch.too_long


def one(data: bytes) -> None:
    """Accepts `LineTooLong` and `BareLineFeed` only."""
    step = data[0] % 60 + 1 if data else 1
    whole = max(len(data), 1)
    for strict in (False, True):
        assert lines(data, step, 40, strict) == lines(data, whole, 40, strict)
    assert watched(data, step) == watched(data, whole)
    bare = data.replace(b"\r\n", b"")
    assert watched(data, whole)[0] is (b"\r" in bare or b"\n" in bare or _half(data))
    buffer = LineBuffer()
    buffer.feed(data)
    taken = buffer.chunk(step)
    buffer.give_back(taken)
    assert buffer.exactly(len(data)) == data


def _half(data: bytes) -> bool:
    """Do CRLFs, once removed, leave a CR and an LF that then look like one? They stood alone."""
    return data.count(b"\r") != data.count(b"\r\n") or data.count(b"\n") != data.count(b"\r\n")
