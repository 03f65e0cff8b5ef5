"""Vietnamese letters: one form for storing (NFC), one fold for finding, naming, rules and sorting.

Promises: every way of writing the same word, precomposed or decomposed, capital or small, folds to the same letters;
folding twice changes nothing; the time grows with the length of the text only. Must never guess at meaning.
"""

import re
import unicodedata
from collections.abc import Iterable

WORD_LIMIT = 64  # characters of a word that count: a Vietnamese syllable has at most 7, so what is longer is a code

# U+0300–U+036F hold every mark of the Latin script. Those of others (Thai vowels, Arabic points) carry meaning: kept.
_OTHER = re.compile("[^\x00-\x7f\u0300-\u036f]")
_KEPT = re.compile("[^\u0300-\u036f]+")
_WORD = re.compile(r"[^\W_]+")


def nfc(text: str) -> str:
    """The stored form of any text."""
    return unicodedata.normalize("NFC", text)


def fold(text: str) -> str:
    """Marks off, đ to d, lower case: "Đường Nguyễn Huệ" to "duong nguyen hue". For words and whole letters."""
    if text.isascii():
        return text.lower()
    # Eth (Ð, ð) looks like đ, and many a converter writes one for the other.
    bare = unicodedata.normalize("NFD", text).lower().replace("đ", "d").replace("ð", "d")
    if _OTHER.search(bare) is None:
        return bare.encode("ascii", "ignore").decode("ascii")  # only ASCII and marks: twice as fast as the general way
    return unicodedata.normalize("NFC", "".join(_KEPT.findall(bare)))


def unmarked(text: str) -> str:
    """Marks off, đ to d, capitals as they are: what people write where there is ASCII only."""
    bare = unicodedata.normalize("NFD", text).replace("đ", "d").replace("Đ", "D")
    return unicodedata.normalize("NFC", "".join(_KEPT.findall(bare)))


def words(text: str) -> list[str]:
    """Runs of letters and digits in order, folded or as they are; of a longer run the first WORD_LIMIT characters."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)  # a decomposed mark is no letter and would cut the word
    found: list[str] = []
    for chunk in text.split():
        if chunk.isalnum():  # most are; three times faster than the pattern
            found.append(chunk)
        else:
            found += _WORD.findall(chunk)
    if max(map(len, found), default=0) > WORD_LIMIT:
        return [word[:WORD_LIMIT] for word in found]
    return found


def findable(*texts: str) -> str:
    """The words of these texts, folded, a space before each: a word begins with "du" where " du" occurs."""
    return "".join(f" {word}" for text in texts for word in words(fold(text)))


class _Folds(dict[str, str]):
    """Folds already worked out. Vietnamese has about 7,000 syllables, so nearly every word of a letter is here."""

    LIMIT = 50_000  # words; about 8 MB, then it starts afresh

    def __missing__(self, word: str) -> str:
        if len(self) >= self.LIMIT:
            self.clear()
        folded = self[word] = fold(word)
        return folded


_folds = _Folds()


def fold_words(found: Iterable[str]) -> list[str]:
    """`fold` of each word; four times faster than folding them one by one."""
    return list(map(_folds.__getitem__, found))


def marked(found: Iterable[str]) -> list[str]:
    """The distinct words with marks (those that differ from their fold), NFC, lower case, in order of first sight."""
    distinct = dict.fromkeys(found)
    plain = _folds.__getitem__
    kept = (low for word in distinct if not word.isascii() and (low := nfc(word).lower()) != plain(word))
    return list(dict.fromkeys(kept))
