"""The numbered steps of the schema: `schema/NNNN_….sql` and each engine's own text index. Steps are never changed once
released; a change is a new file."""

from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent / "schema"


def steps(index_schema: str) -> Iterator[tuple[str, int, str]]:
    """(part, version, text) in the order in which they must be done."""
    for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        yield "spine", int(path.name[:4]), path.read_text("utf-8")
    yield "index", 1, index_schema
