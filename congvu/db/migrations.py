"""The numbered steps of the schema: `schema/NNNN_….sql`, and apart from it the text index's, `schema/index/NNNN_….sql`
with each engine's own tables of words. Steps are never changed once released; a change is a new file."""

from collections.abc import Iterator
from pathlib import Path

from congvu.db.engine import Tx

FOLDER = Path(__file__).parent / "schema"
Step = tuple[str, int, str]  # part, version, text


def steps() -> Iterator[Step]:
    """The steps of everything but the text index, in the order in which they must be done."""
    for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        yield "spine", int(path.name[:4]), path.read_text("utf-8")


def behind(tx: Tx) -> bool:
    """Does the database still have the form of an older version?"""
    row = tx.one("SELECT version FROM schema_version WHERE part = 'spine'")
    return row is None or row[0] < max(number for _, number, _ in steps())


def index_steps(words: str) -> Iterator[Step]:
    """Those of the text index, which come after them; `words`: the engine's own part of the first."""
    for number, path in enumerate(sorted((FOLDER / "index").glob("[0-9][0-9][0-9][0-9]_*.sql"))):
        yield "index", int(path.name[:4]), path.read_text("utf-8") + ("" if number else words)
