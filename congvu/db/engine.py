"""What every SQL engine offers: transactions on plain SQL with group commit, and the text index.

The rooms above write one SQL text for both engines. `?` is the only placeholder. `(?*)` stands for a list of integers
in an
`IN`: `account_id IN (?*)` takes one parameter, a sequence of ints of any length, and the statement's text stays the
same.
Domain functions are synchronous, `f(tx, …)`, touch nothing but their transaction, and may be run again from the start
(after a deadlock, or alone when a neighbour in the batch failed), so they must not change their arguments.

What keeps one text true on both engines: take a row before you change what you read from it (`UPDATE … SET n = n + 1 …
RETURNING n`, or `/*hold*/` at the end of a SELECT; on PostgreSQL others write at the same time); `(?*)` stands right
behind `IN` or `NOT IN`; LIKE minds case, and a backslash in it needs `ESCAPE`; text holds no NUL; an error inside a
transaction is never caught inside of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from congvu.db.blobs import Blob, BlobKeeper, Buffer

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Row = tuple[Any, ...]


class Duplicate(Exception):
    """What `Database.write` raises when its function broke a unique key: an identifier was drawn twice, a name is
    taken.

    It ends the function (on PostgreSQL the transaction is void from there on), so it cannot be caught inside of it; use
    `ON CONFLICT` where a duplicate is an ordinary case.
    """


@dataclass(frozen=True, slots=True)
class IndexedText:
    """One document for the text index, as words separated by single spaces.

    `head` and `body` hold folded words (order kept, for phrases), `exact` the distinct words that carry marks,
    unfolded. The caller has already put the account's prefix before each word. A to Z count as a to z. Words are cut
    after 2,000 bytes.
    """

    doc: int
    head: str
    body: str
    exact: str


@dataclass(frozen=True, slots=True)
class TextQuery:
    """Phrases that must all occur. Each is a tuple of words in order, as in `IndexedText`; the last word of a phrase
    also
    matches as the beginning of a longer word when `prefix` is set."""

    phrases: tuple[tuple[str, ...], ...]
    field: str = "any"  # "head", "body", "any" (each phrase in either), or "exact" (single words only)
    prefix: bool = True


class Tx(Protocol):
    """One transaction (or one savepoint inside a group commit). Not for use by two threads."""

    def run(self, sql: str, *params: object) -> int:
        """Executes; returns the number of rows changed."""
        ...

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """Executes once for each row of parameters, without a round trip each."""
        ...

    def all(self, sql: str, *params: object) -> list[Row]: ...

    def one(self, sql: str, *params: object) -> Row | None:
        """The first row, or None."""
        ...

    def each(self, sql: str, *params: object) -> Iterator[Row]:
        """Rows as they come, with bounded memory."""
        ...

    def touch(self, account_id: int) -> None:
        """Notes that this account's change log grows: after the commit those who listen are told to look."""
        ...

    def index_add(self, texts: Sequence[IndexedText]) -> None:
        """Adds documents to the text index, within `write_index`. A document already there is replaced."""
        ...

    def index_remove(self, docs: Sequence[int]) -> None: ...

    def index_find(self, query: TextQuery) -> list[int]:
        """The documents that hold all phrases, in ascending order."""
        ...


class Database(Protocol):
    """One engine, opened by one process."""

    async def write(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `f` in the next group commit and returns its result after that commit is on disk.

        Raises what `f` raised (its own changes are then undone, its neighbours' kept), `NotNow("disk-full")` or
        `NotNow("storage-trouble")` when nothing could be committed, `NotNow("too-busy")` at once when too many wait.
        """
        ...

    async def write_with(
        self,
        keeper: BlobKeeper,
        contents: Sequence[Buffer],
        f: Callable[Concatenate[Tx, list[Blob], P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """`write` of a function that gets the blobs of these contents, which are put into the keeper before; see
        `blobs.keep`."""
        ...

    async def write_together(
        self,
        keeper: BlobKeeper,
        contents: Sequence[Buffer],
        f: Callable[[Tx, list[tuple[list[Blob], T]]], list[R]],
        item: T,
    ) -> R:
        """`write_with` of a function that does for many at once what others do one by one: with those that wait it is
        called once, as `f(tx, [(blobs, item), …])`, and returns their results in this order. When that fails, each is
        done alone."""
        ...

    async def read(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `f` on a snapshot that cannot be written to. It sees every commit that was acknowledged before the
        call."""
        ...

    async def look(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`read` for a few rows found by key. Where a row is nearer than another thread it is read on the spot, so `f`
        must neither search, nor wait for blobs (`BlobKeeper.at_hand`), nor return more than some tens of kilobytes."""
        ...

    def write_now(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`write` for programs without an event loop (command line, tests): own transaction, same promises."""
        ...

    async def write_index(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """`write` for the text index: a transaction of its own that reads everything but changes nothing except the
        index's tables (`text_…`). No other write waits for it."""
        ...

    def write_index_now(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    def read_now(self, f: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R: ...

    def migrate(self) -> list[str]:
        """Brings the schema to the newest version, each numbered step in its own transaction. Before that, and with
        its result, what `mend_index` does; trouble with the index alone stops nobody."""
        ...

    @property
    def index_suspect(self) -> bool:
        """Has damage been met that `mend_index` should look for?"""
        ...

    def mend_index(self) -> list[str]:
        """Puts a text index aside that is damaged or another database's, so that a fresh one can be made; a sentence
        when it did. For the process that writes to the index, while nobody calls `write_index`."""
        ...

    def close(self) -> None: ...
