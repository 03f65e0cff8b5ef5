"""What the letters of a house have in common, for their compression: a pack's dictionary.

A letter of 4 KB is too short to learn from; given the words and lines that its neighbours have too it shrinks by
another fifth. Promises (decision 16): a dictionary holds nothing but single words, and whole lines, each of which stood
in at least one of `SHARE` letters of some hundreds, so what one person wrote is not in it; it is never shown to
anybody; whatever letters it was made from, it makes others larger or smaller and nothing else. Bounded memory: a few
hundred words of each letter count.
"""

from collections import Counter
from collections.abc import Sequence

import zstandard

SIZE = 32 << 10
SAMPLE = 600  # letters looked at
FEWEST = 100  # letters without which there is none
PART = 8 << 10  # bytes of each
WORDS, LINES = 600, 200  # of each
SHARE = 50  # one letter in so many has what is common
LEAST = 8  # and no fewer letters
WORD, LINE = range(3, 101), range(8, 201)  # bytes that are worth it
WORTH = 0.97  # of what letters are without it


def common(letters: Sequence[bytes]) -> bytes:
    """The words and lines that the letters share, the most useful last; nothing when there are too few letters."""
    if len(letters) < FEWEST:
        return b""
    words: Counter[bytes] = Counter()
    lines: Counter[bytes] = Counter()
    for letter in letters:
        words.update(set(letter.split(None, WORDS)[:WORDS]))
        lines.update(set(letter.split(b"\r\n", LINES)[:LINES]))
    needed = max(LEAST, len(letters) // SHARE)
    shared = {line: count for line, count in lines.items() if count >= needed and len(line) in LINE}
    said: Counter[bytes] = Counter()  # how often a word stands in such lines
    for line, count in shared.items():
        for word in line.split():
            said[word] = max(said[word], count)
    useful = [(count * len(line), line + b"\r\n") for line, count in shared.items()]
    useful += [
        (count * len(word), word + b" ")
        for word, count in words.items()
        if count >= needed and len(word) in WORD and said[word] < 0.9 * count
    ]
    useful.sort(reverse=True)
    chosen, left = [], SIZE
    for _, piece in useful:
        if len(piece) <= left:
            left -= len(piece)
            chosen.append(piece)
    return b"".join(reversed(chosen))


def prepared(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def compressor(content: bytes, level: int) -> zstandard.ZstdCompressor:
    """For one thread at a time; without a dictionary when it is empty."""
    if not content:
        return zstandard.ZstdCompressor(level=level)
    made = prepared(content)
    made.precompute_compress(level=level)
    return zstandard.ZstdCompressor(level=level, dict_data=made)


def worthwhile(letters: Sequence[bytes], level: int) -> bytes:
    """A dictionary that is worth a new pack, as letters show from which it was not made; else nothing."""
    found = common([letter for n, letter in enumerate(letters) if n % 5])
    if not found:
        return b""
    sizes = []
    for content in (b"", found):
        made = compressor(content, level)
        sizes.append(sum(len(made.compress(letter)) for letter in letters[::5]))
    return found if sizes[1] < WORTH * sizes[0] else b""
