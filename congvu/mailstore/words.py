"""The words of letters and of questions: what the text index keeps, and what is asked of it.

Both go through the same fold, so `duong` meets *đường*; words that carry marks are kept beside as they are written,
so that a question with marks can tell exact forms. A letter's words carry the prefix of its account: its postings lie
together and no search reads another's. Bounded: of a huge letter only so much text counts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast

from congvu.base.observe import log
from congvu.base.vietnamese import fold_words, marked, words
from congvu.codec import mime
from congvu.db.blobs import Blob
from congvu.db.engine import IndexedText, Tx
from congvu.mailstore.outline import parts_of

SHARED = 0  # the account under which letters for many are indexed

Reader = Callable[[Blob, int, int | None], bytes]  # `BlobKeeper.read`

WHOLE = 1 << 20  # a letter up to this size is read at once, of a larger one only the text parts
TEXT = 300_000  # characters of one letter that count: with prefixes below the 1 MB that PostgreSQL allows a document
WORDS = 60_000  # words of one letter that count
QUERY_WORDS = 50  # words of one question that count


@dataclass(frozen=True, slots=True)
class Source:
    """What the text of a letter is made from."""

    letter_id: int
    blob: Blob
    parts: bytes
    subject: str
    sender: str
    recipients: str
    shared: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A letter's words: folded and in order, and those with marks as they are written (lower case)."""

    letter_id: int
    shared: bool
    head: list[str]
    body: list[str]
    exact: list[str]


class Field(Enum):
    """Where a phrase is looked for."""

    ANY = "any"
    HEAD = "head"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Question:
    """Phrases that must all occur, folded; the last word of each may be the beginning of a longer one.

    `exact`: the words that the question writes with marks. A question without phrases has no words to look for.
    """

    phrases: tuple[tuple[str, ...], ...]
    exact: tuple[str, ...] = ()
    field: Field = Field.ANY


def phrase(text: str, field: Field = Field.ANY) -> Question:
    """A question for consecutive words, as IMAP's BODY and TEXT ask it."""
    found = words(text)[:QUERY_WORDS]
    return Question((tuple(fold_words(found)),) if found else (), tuple(marked(found)), field)


def spoken(query: str, field: Field = Field.ANY) -> Question:
    """A question as typed into a search box: consecutive words; quotation marks set phrases apart."""
    runs = [words(run) for run in query.replace("“", '"').replace("”", '"').split('"')]
    found: list[str] = []
    phrases: list[tuple[str, ...]] = []
    for run in runs:
        cut = run[: QUERY_WORDS - len(found)]
        if cut:
            found += cut
            phrases.append(tuple(fold_words(cut)))
    return Question(tuple(phrases), tuple(marked(found)), field)


class _Window:
    """The bytes of a large letter, read where they are looked at: `letter_text` takes slices of text parts only."""

    def __init__(self, read: Reader, blob: Blob) -> None:
        self._read = read
        self._blob = blob

    def __getitem__(self, span: slice) -> bytes:
        start, end, _ = span.indices(self._blob.size)
        return self._read(self._blob, start, end) if start < end else b""


def prepare(read: Reader, source: Source) -> Text:
    """The words of a letter. Reads its bytes: for worker threads. A letter whose bytes are gone has only its head."""
    body: list[str] = []
    try:
        root = mime.unpack_parts(source.parts)
        if source.blob.size <= WHOLE:
            data: mime.Buffer = read(source.blob, 0, None)
        else:
            data = cast(mime.Buffer, _Window(read, source.blob))
        body = words(mime.letter_text(data, root, TEXT))[:WORDS]
    except (LookupError, ValueError) as error:
        log.warning("letter %d is indexed without its text: %s", source.letter_id, error)
    head = words(f"{source.subject}\n{source.sender}\n{source.recipients}")
    return Text(source.letter_id, source.shared, fold_words(head), fold_words(body), marked(head + body))


def holds(text: Text, question: Question) -> bool:
    """The answer that the index would give, from the words themselves."""
    places = []
    if question.field is not Field.BODY:
        places.append(f" {' '.join(text.head)} ")
    if question.field is not Field.HEAD:
        places.append(f" {' '.join(text.body)} ")
    return all(any(f" {' '.join(run)}" in place for place in places) for run in question.phrases)


def holds_exactly(text: Text, question: Question) -> bool:
    """Whether the words that the question writes with marks stand so in the letter."""
    have = f" {' '.join(text.exact)}"
    return bool(question.exact) and all(f" {word}" in have for word in question.exact)


def prefix_of(account_id: int) -> str:
    """What stands before each word of an account. The second letter tells how many digits follow, so that no account's
    prefix with a word can read as another's."""
    if account_id == SHARED:
        return "s"
    digits = ""
    while account_id:
        account_id, digit = divmod(account_id, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"a{chr(ord('a') + len(digits))}{digits}"


def _join(prefix: str, found: Sequence[str]) -> str:
    return prefix + f" {prefix}".join(found) if found else ""


def indexed_text(owner: int, text: Text, doc: int) -> IndexedText:
    """The document as the engines keep it. `owner`: the account, or SHARED."""
    prefix = prefix_of(owner)
    return IndexedText(doc, _join(prefix, text.head), _join(prefix, text.body), _join(prefix, text.exact))


def sources(tx: Tx, letters: Iterable[int]) -> list[Source]:
    """What `prepare` needs of these letters, in ascending order."""
    return [
        Source(r[0], Blob(bytes(r[1]), r[2], r[3]), parts_of(r[4], r[5]), r[6], r[7], r[8], bool(r[9]))
        for r in tx.all(
            "SELECT l.id, b.hash, b.size, b.place, l.outline, l.parts, l.subject, l.sender, l.recipients, l.shared"
            " FROM letter l JOIN blob b ON b.hash = l.hash WHERE l.id IN (?*) ORDER BY l.id",
            list(letters),
        )
    ]
