"""Sets of message numbers as text ("1:4,7"): the form of the wire (rfc9051 sequence-set) and of the change log."""

from collections.abc import Iterable, Iterator


def encode(numbers: Iterable[int]) -> str:
    """Ascending numbers as the shortest set; "" for none."""
    out: list[str] = []
    first = last = -1
    for n in numbers:
        if n == last + 1 and first >= 0:
            last = n
            continue
        if first >= 0:
            out.append(f"{first}:{last}" if last > first else str(first))
        first = last = n
    if first >= 0:
        out.append(f"{first}:{last}" if last > first else str(first))
    return ",".join(out)


def ranges(text: str) -> Iterator[tuple[int, int]]:
    """The inclusive ranges of a set that `encode` wrote."""
    for item in text.split(",") if text else ():
        low, _, high = item.partition(":")
        yield int(low), int(high or low)


def decode(text: str) -> Iterator[int]:
    """The numbers of a set that `encode` wrote, one by one."""
    for low, high in ranges(text):
        yield from range(low, high + 1)
