"""Sets of numbers: written and read back the same; sets of clients are read or refused, and bounded."""

from congvu.codec import uidset
from congvu.codec.imap_parse import fetch
from congvu.codec.imap_words import Bad, Words

SEEDS: list[bytes] = [b"1:4,7", b"4294967295:1,*,3:*", b"1,2,3,5,8,13", b"$", b"\x01\x02\x04\x05\x06"]
WORDS: list[bytes] = [b":*", b",", b"4294967296", b"0", b"1:", b"$"]


def one(data: bytes) -> None:
    """Accepts `Bad` of a client's set only."""
    numbers = sorted({1 + byte + 300 * at for at, byte in enumerate(data[:2000])} | {byte + 1 for byte in data})
    text = uidset.encode(numbers)
    assert list(uidset.decode(text)) == numbers
    try:
        found = fetch(Words(b" %b FLAGS" % data.partition(b"\r")[0], False))
    except Bad:
        return
    for low, high in found.set.ranges:
        assert all(isinstance(end, int | None) for end in (low, high))
