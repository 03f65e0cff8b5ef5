"""SQL engines, the blob keeper and the schema: the only room that knows which database it talks to."""

from collections.abc import Callable
from pathlib import Path

from congvu.db.blobs import Blob, BlobKeeper, Known
from congvu.db.engine import Database, Tx
from congvu.db.files import FileKeeper
from congvu.db.sqlite import SqliteDatabase

_HASHES = 16  # looked up with one statement
_KNOWN = f"SELECT hash, size, place FROM blob WHERE hash IN ({', '.join('?' * _HASHES)})"  # noqa: S608  only "?"


def open_database(url: str, *, data: Path, committed: Callable[[frozenset[int]], None] | None = None) -> Database:
    """Opens `sqlite:///PATH` (a relative path counts from `data`) or `postgresql://…`.

    `committed` is told, after each commit and on the event loop's thread when a `write` waits there, which accounts'
    change logs grew. The schema is not touched: call `migrate`.
    """
    if url.startswith("sqlite:///"):
        return SqliteDatabase(data / url.removeprefix("sqlite:///"), committed)
    if url.startswith(("postgresql://", "postgres://")):
        from congvu.db.postgres import PostgresDatabase  # noqa: PLC0415 (its driver is loaded only where it is used)

        return PostgresDatabase(url, committed)
    raise ValueError(f"database url begins with neither sqlite:/// nor postgresql://: {url}")


def open_blobs(url: str, *, data: Path, worker: str, known: Known | None = None) -> BlobKeeper:
    """Opens `file:DIR` (a relative one counts from `data`) or `s3://BUCKET/PREFIX`.

    `worker` is this process's own name among those that share the keeper; `known` (see `known_in`) lets a content
    that is already kept be found, so that it is not written again.
    """
    if url.startswith("file:"):
        return FileKeeper(data / url.removeprefix("file:"), worker, known)
    if url.startswith("s3://"):
        from congvu.db.objects import open_objects  # noqa: PLC0415 (loaded only where it is used)

        return open_objects(url, data / "tmp", known)
    raise ValueError(f"blobs url begins with neither file: nor s3://: {url}")


def known_in(db: Database) -> Known:
    """Looks contents up in the table of blobs."""

    def find(tx: Tx, hashes: list[bytes]) -> dict[bytes, Blob]:
        found = {}
        for at in range(0, len(hashes), _HASHES):
            some = hashes[at : at + _HASHES]
            some += [some[0]] * (_HASHES - len(some))  # one statement, whatever their number
            for hash_, size, place in tx.all(_KNOWN, *some):
                found[bytes(hash_)] = Blob(bytes(hash_), size, place)
        return found

    return lambda hashes: db.read_now(find, hashes)
