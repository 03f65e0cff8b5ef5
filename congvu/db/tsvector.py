"""PostgreSQL's text vectors, written by ourselves from words that are already folded.

A vector knows positions only up to 16,383 and 255 for each word, and is smaller than 1 MiB; a long document is
therefore cut into several rows that overlap by the longest phrase, so that every phrase lies whole in one of them.
Words of the head carry weight A, those of the body none.
"""

from collections.abc import Iterator

from congvu.db.engine import TextQuery

POSITIONS = 16_000
TIMES = 250
BYTES = 400_000
PHRASE = 32  # words; a longer phrase is asked as several that overlap by one word
WORD_BYTES = 2000  # of 2,046

# FTS5's "ascii" tokenizer takes A to Z as a to z; so do we, that both engines agree.
_FOLD = {**{c: c + 32 for c in range(ord("A"), ord("Z") + 1)}, 0: None}
_QUOTE = str.maketrans({"'": "''", "\\": "\\\\"})


def _words(text: str) -> list[str]:
    return [_short(word) for word in text.translate(_FOLD).split(" ") if word]


def _short(word: str) -> str:
    return word if len(word) <= WORD_BYTES // 4 else word.encode()[:WORD_BYTES].decode("utf-8", "ignore")


def _literal(places: dict[str, list[str]]) -> str:
    return " ".join(f"'{word.translate(_QUOTE)}':{','.join(at)}" for word, at in places.items())


def word_vectors(head: str, body: str) -> Iterator[str]:
    """The vectors of one document: one for nearly every letter, more for a long one."""
    places: dict[str, list[str]] = {}
    position = size = 0
    for weight, words in (("A", _words(head)), ("", _words(body))):
        index = 0
        while index < len(words):
            word = words[index]
            at = places.setdefault(word, [])
            if position >= POSITIONS or size >= BYTES or len(at) >= TIMES:
                yield _literal({each: where for each, where in places.items() if where})
                places, position, size = {}, 0, 0
                index = max(0, index - PHRASE + 1)
                continue
            position += 1
            at.append(f"{position}{weight}")
            size += len(word) * 4 + 8
            index += 1
        position += 2  # no phrase goes from the head over into the body
    if places:
        yield _literal(places)


def exact_vectors(exact: str) -> Iterator[str]:
    words: dict[str, None] = {}
    size = 0
    for word in _words(exact):
        words[word] = None
        size += len(word) * 4 + 8
        if size >= BYTES:
            yield " ".join(f"'{each.translate(_QUOTE)}'" for each in words)
            words, size = {}, 0
    if words:
        yield " ".join(f"'{each.translate(_QUOTE)}'" for each in words)


def queries(query: TextQuery) -> list[str]:
    """One text query for each phrase; a document must be found by every one of them."""
    weight = {"head": "A", "body": "D"}.get(query.field, "")
    found = []
    for phrase in query.phrases:
        words = [_short(word.translate(_FOLD)) for word in phrase]
        words = [word for word in words if word]
        if query.field == "exact":
            groups = [[word] for word in words]
        else:
            groups = [words[at : at + PHRASE] for at in range(0, max(1, len(words) - 1), PHRASE - 1)] if words else []
        for number, group in enumerate(groups, 1):
            last = number == len(groups) and query.prefix
            terms = []
            for index, word in enumerate(group, 1):
                marks = ("*" if last and index == len(group) else "") + weight
                quoted = f"'{word.translate(_QUOTE)}'"
                terms.append(f"{quoted}:{marks}" if marks else quoted)
            found.append(" <-> ".join(terms))
    return found
