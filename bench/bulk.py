"""Makes a very large mailbox in seconds: the rows of the letters that lie in a small one are doubled by plain SQL.

Our own store only, and not while it is served. Every message gets a letter row of its own (so that reading them costs
what it costs), the letters share their blobs. The text index learns nothing of them: its cursor is set behind them.
Counters and change log stay true, as `congvu check` proves but for the index.
"""

from pathlib import Path

from congvu.base.config import load
from congvu.db import open_database
from congvu.db.engine import Tx
from congvu.mailstore import mailbox
from congvu.mailstore.changes import Kind, advance, record

DRAWN = 1 << 40  # identifiers that the server draws are larger


def fill(data: Path, login: str, source: str, count: int) -> None:
    """Grows the mailbox `source` of this account, which must hold a few letters, to `count`."""
    url = load(data).database.url
    database = open_database(url, data=data)
    columns = _SQLITE if url.startswith("sqlite") else _POSTGRES
    try:
        account, modseq = database.write_now(_fill, columns, login, source, count)
        database.write_index_now(_pass_over, account, modseq)
    finally:
        database.close()


# The columns of a table, which each engine tells in words of its own.
_SQLITE = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
_POSTGRES = "SELECT column_name FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position"


def _taken(names: list[str], **new: str) -> str:
    return ", ".join(new.get(name, f"t.{name}") for name in names)


def _pass_over(tx: Tx, account: int, modseq: int) -> None:
    tx.run("UPDATE text_cursor SET indexed = ? WHERE account_id = ?", modseq, account)


def _fill(tx: Tx, columns: str, login: str, source: str, count: int) -> tuple[int, int]:
    row = tx.one("SELECT account_id FROM address WHERE address = ?", login)
    box = mailbox.find(tx, row[0], source) if row else None
    if row is None or box is None or not box.messages or box.messages != box.uid_next - 1:
        raise LookupError("an existing mailbox that holds letters and has lost none is needed")
    account, here = row[0], box.messages
    letters, messages = ([row[0] for row in tx.all(columns, table)] for table in ("letter", "message"))
    first = (tx.one("SELECT max(id) FROM letter WHERE id < ?", DRAWN) or (None,))[0] or 0
    modseq = advance(tx, account)
    while here < count:
        more = min(here, count - here)
        tx.run(
            f"INSERT INTO letter ({', '.join(letters)}) SELECT {_taken(letters, id='? + m.uid')}"
            " FROM message m JOIN letter t ON t.id = m.letter_id"
            " WHERE m.account_id = ? AND m.mailbox_id = ? AND m.uid <= ?",
            *(first + here, account, box.id, more),
        )
        new = {"uid": ("uid + ?", here), "letter_id": ("uid + ?", first + here), "modseq": ("?", modseq)}
        tx.run(
            f"INSERT INTO message ({', '.join(messages)})"
            f" SELECT {_taken(messages, **{name: text for name, (text, _) in new.items()})} FROM message t"
            " WHERE account_id = ? AND mailbox_id = ? AND uid <= ?",
            *[new[name][1] for name in messages if name in new],
            *(account, box.id, more),
        )
        here += more
    record(tx, account, modseq, box.id, Kind.APPEARED, range(box.uid_next, here + 1))
    totals = tx.all(
        "SELECT count(*), sum(CASE WHEN (flags & 1) = 0 THEN 1 ELSE 0 END), sum((flags & 8) / 8), sum(size)"
        " FROM message WHERE account_id = ? AND mailbox_id = ?",
        account,
        box.id,
    )[0]
    tx.run(
        "UPDATE mailbox SET uid_next = ?, modseq = ?, messages = ?, unseen = ?, deleted = ?, size = ?"
        " WHERE account_id = ? AND id = ?",
        here + 1,
        modseq,
        *totals,
        account,
        box.id,
    )
    tx.run(
        "UPDATE store SET messages = (SELECT sum(messages) FROM mailbox WHERE account_id = ?),"
        " used = (SELECT sum(size) FROM mailbox WHERE account_id = ?) WHERE account_id = ?",
        account,
        account,
        account,
    )
    return account, modseq
