"""`congvu check` finds what is wrong: each kind of damage, made by hand, on every engine."""

import asyncio
from pathlib import Path

import pytest

from congvu.base.clock import Identifiers, ManualClock
from congvu.base.failure import NotNow
from congvu.codec import mime
from congvu.db import known_in, open_blobs
from congvu.db.blobs import Blob
from congvu.db.engine import Database
from congvu.mailstore import check, mailbox, message, search
from congvu.mailstore.message import DELETED, SEEN, NewLetter, Op, Target

NOW = 1_790_000_000

DAMAGE = [
    ("UPDATE mailbox SET unseen = 9 WHERE id = 1", "counters say"),
    ("UPDATE store SET used = used + 1", "store says"),
    ("UPDATE mailbox SET uid_next = 2 WHERE id = 1", "not below UIDNEXT"),
    ("UPDATE message SET modseq = 99", "a message has modseq 99"),
    ("UPDATE mailbox SET modseq = 99 WHERE id = 1", "has modseq 99"),
    ("UPDATE store SET modseq = 2", "change log reaches"),
    ("DELETE FROM mailbox WHERE id = 1", "does not exist"),
    ("DELETE FROM letter", "its letter"),
    ("DELETE FROM blob", "no blob"),
    ("UPDATE blob SET size = size + 1", "its prefix and blob"),
    ("UPDATE letter SET outline = prefix", "parts cannot be read"),
    ("UPDATE text_cursor SET indexed = 99", "text index has read to 99"),
    ("DELETE FROM text_doc", "knows nothing of letter"),
    ("UPDATE text_doc SET letter_id = 7 WHERE account_id = 1 AND doc = 1", "which is in no mailbox"),
    ("DELETE FROM change WHERE kind = 2", "is not in the change log"),
    ("DELETE FROM change WHERE kind = 3", "after the change log it has 3 messages, not 2"),
    ("UPDATE change SET letters = NULL WHERE kind = 3", "has not the letters"),
    ("UPDATE change SET uids = '1:9' WHERE modseq = 2", "after the change log"),
    ("UPDATE change SET uids = 'x' WHERE kind = 1", "cannot be read: 'x'"),
    ("UPDATE message SET uid = 3 WHERE uid = 2", "other UIDs than are there"),
    ("UPDATE mailbox SET recent_from = 99 WHERE id = 1", "recent from 99"),
    ("UPDATE store SET last_uid_validity = 1", "last UIDVALIDITY is 1"),
    ("UPDATE mailbox SET role = 'junk' WHERE id = 1", "2 mailboxes have the role junk"),
    ("UPDATE mailbox SET keywords = '$B' WHERE id = 1", "['$a']"),
    ("UPDATE letter SET thread_keys = NULL", "sorting and threading"),
    ("UPDATE letter SET thread_keys = prefix", "sorting and threading"),
]


@pytest.fixture
def whole(db: Database, tmp_path: Path) -> Database:
    """An account with two letters, one flagged, and one that went; all indexed."""
    ids = Identifiers(ManualClock())
    keeper = open_blobs("file:blobs", data=tmp_path, worker="0", known=known_in(db))
    db.write_now(mailbox.create_store, 1, 0, NOW)
    for text in (b"mot", b"hai", b"ba"):
        content = b"Subject: " + text + b"\r\n\r\n" + text
        with keeper.spool() as spool:
            spool.write(content)
            of = NewLetter(ids.draw(), keeper.put_many([spool.buffer()])[0], b"X: y\r\n", mime.scan(content))
        db.write_now(message.keep_letter, of, NOW)
        db.write_now(message.place, of, [Target(1, 1)], NOW, NOW)
    asyncio.run(search.Indexer(db, keeper).sweep())
    db.write_now(message.store, 1, 1, [1], Op.ADD, SEEN, ("$A",), NOW)
    db.write_now(message.store, 1, 1, [3], Op.ADD, DELETED, (), NOW)
    db.write_now(message.expunge, 1, 1, None, NOW)
    asyncio.run(search.Indexer(db, keeper).sweep())
    assert db.read_now(lambda tx: list(check.check(tx, keeper.verify))) == []
    keeper.close()
    return db


@pytest.mark.parametrize(("sql", "finding"), DAMAGE)
def test_damage_is_found(whole: Database, sql: str, finding: str) -> None:
    write = whole.write_index_now if "text_" in sql else whole.write_now
    assert write(lambda tx: tx.run(sql)) > 0
    found = whole.read_now(lambda tx: list(check.check(tx)))
    assert any(finding in line for line in found), found


def test_a_disk_that_does_not_answer_is_a_finding(whole: Database) -> None:
    def verify(_: Blob) -> None:
        raise NotNow("storage-trouble")

    assert len(whole.read_now(lambda tx: list(check.check(tx, verify)))) == 3
