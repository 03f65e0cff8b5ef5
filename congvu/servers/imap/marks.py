r"""FLAGS of many messages: what clients ask of a whole mailbox each time they come.

The engine gives the flags of a chunk as one text, so no row becomes a tuple; where all of them are alike, which is so
in most of a mailbox, the chunk is one join over the numbers. Promises the very bytes that `fetch` makes row by row.
"""

from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from congvu.servers.imap.view import flags_text

_PLAIN = tuple(b"%d" % n for n in range(1000))
_PADDED = tuple(b"%03d" % n for n in range(1000))


def joined(numbers: range, between: bytes) -> bytes:
    """Consecutive numbers in decimal with `between` between them. A thousand of them begin alike, so nothing is
    formatted but that beginning."""
    blocks = []
    at, end = numbers.start, numbers.stop
    while at < end:
        thousands, low = divmod(at, 1000)
        high = min(1000, end - 1000 * thousands)
        if thousands:
            start = b"%d" % thousands
            blocks.append(start + (between + start).join(_PADDED[low:high]))
        else:
            blocks.append(between.join(_PLAIN[low:high]))
        at = 1000 * thousands + high
    return between.join(blocks)


def decimals(numbers: Sequence[int]) -> list[bytes]:
    if isinstance(numbers, range) and numbers.step == 1:
        return joined(numbers, b" ").split()
    return " ".join(map(str, numbers)).encode().split()


@lru_cache(maxsize=4096)  # in nearly every mailbox there are a handful
def flags_bytes(flags: int, keywords: str, recent: bool = False) -> bytes:
    return flags_text(flags, keywords, recent).encode("utf-8", "replace")


@lru_cache(maxsize=4096)
def _shown(mark: str, recent: bool) -> bytes:
    flags, _, keywords = mark.partition(" ")
    return flags_bytes(int(flags), keywords, recent)


def keywords_of(marks: Sequence[str]) -> frozenset[str]:
    """The keywords of some marks, as rows hold them."""
    return frozenset(mark.partition(" ")[2] for mark in frozenset(marks))


def lines(
    marks: Sequence[str], numbers: range, uids: Sequence[int], constants: Sequence[bytes], recent_from: int
) -> bytes:
    """The answer for all `uids` (ascending), whose marks (`scan.marks`: one alone when all are alike) and numbers come
    in the same order; `constants` as in `fetch.Wanted`, of FLAGS alone or of UID and FLAGS."""
    border = bisect_left(uids, recent_from)
    if len(marks) == 1 and len(constants) == 2:
        out: list[bytes] = []
        for part, recent in ((numbers[:border], False), (numbers[border:], True)):
            if part:
                end = constants[0] + _shown(marks[0], recent) + constants[1]
                out += (b"* ", joined(part, end + b"* "), end)
        return b"".join(out)
    total = len(uids)
    marks = marks if len(marks) == total else list(marks) * total
    texts = [_shown(mark, False) for mark in marks[:border]] + [_shown(mark, True) for mark in marks[border:]]
    width = 2 * len(constants)
    parts = [constants[-1] + b"* "] * (width * total)
    parts[0::width] = decimals(numbers)
    parts[1::width] = [constants[0]] * total
    if len(constants) == 3:
        consecutive = uids[-1] - uids[0] + 1 == total
        parts[2::width] = decimals(range(uids[0], uids[-1] + 1) if consecutive else uids)
        parts[3::width] = [constants[1]] * total
    parts[width - 2 :: width] = texts
    parts[-1] = constants[-1]
    return b"* " + b"".join(parts)
