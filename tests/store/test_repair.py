"""`congvu check --repair`: each kind of damage is made by hand and mended; a second run finds nothing; nothing is lost
that can still be read; numbers only grow. On every engine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from congvu.base.clock import Identifiers, ManualClock, SystemClock
from congvu.base.failure import NotNow
from congvu.codec import mime
from congvu.db import audit, known_in, open_blobs
from congvu.db.blobs import Blob, BlobKeeper
from congvu.db.engine import Database, Row, Tx
from congvu.delivery.inbound import complete
from congvu.mailstore import changes, check, mailbox, message, search
from congvu.mailstore.message import NewLetter, Target
from congvu.mailstore.repair import SALVAGED, mend
from congvu.mailstore.salvage import Repair, as_kept
from tests.store.test_check import DAMAGE, NOW, whole

assert whole  # the fixture: an account with two letters, one of them flagged, and one that went

MORE = [
    "DELETE FROM store",
    "DELETE FROM change",
    "DELETE FROM mailbox",
    "DELETE FROM mailbox WHERE id <> 1",
    "UPDATE mailbox SET uid_next = 1, messages = 0, unseen = 7, deleted = 3, size = 1, keywords = ''",
    "UPDATE store SET next_mailbox = 1",
    "UPDATE change SET uids = 'nonsense'",
    "UPDATE change SET uids = ''",
    "UPDATE change SET kind = 2 WHERE kind = 1",
    "UPDATE message SET size = 7",
    "UPDATE letter SET size = 7",
    "UPDATE letter SET envelope = prefix, outline = prefix",
    "UPDATE letter SET outline = hash",
    "UPDATE letter SET sort_subject = 'x', thread_keys = NULL",
    "UPDATE letter SET subject = 'x', sender = 'x', recipients = 'x', preview = 'x', sent = 1",
    "UPDATE blob SET size = 1, place = 'pack/none:0+90'",
    "UPDATE blob SET place = 'nonsense'",
    "DELETE FROM text_cursor",
]


@pytest.fixture
def keeper(whole: Database, tmp_path: Path) -> Iterator[BlobKeeper]:
    keeper = open_blobs("file:blobs", data=tmp_path, worker="repair", known=known_in(whole))
    yield keeper
    keeper.close()


def mended(db: Database, keeper: BlobKeeper) -> list[str]:
    """What the first run did; the second does nothing, every invariant holds, every act stands in the audit."""
    before = numbers(db)
    clock = SystemClock()

    def work() -> Repair:
        return Repair(db, keeper, clock, Identifiers(clock), "congvu cli")

    said = list(work().run())
    assert list(work().run()) == []
    assert db.read_now(lambda tx: list(check.check(tx, keeper.verify))) == []
    assert db.read_now(audit.verify_chain) == []
    if [line for line in said if "text index" not in line]:
        told = [row for row in acts(db) if row["act"].startswith("repair")]
        assert sum(row["count"] for row in told) >= len([line for line in said if "text index" not in line])
    after = numbers(db)
    for key, was in before.items():
        assert all(now >= old for now, old in zip(after.get(key, was), was, strict=True)), (key, was, after[key])
    return said


def numbers(db: Database) -> dict[tuple[int, int], Row]:
    """UIDNEXT, modseq and UIDVALIDITY of each mailbox, and each message's modseq."""

    def read(tx: Tx) -> dict[tuple[int, int], Row]:
        found = {(-1, r[0]): r[1:] for r in tx.all("SELECT id, uid_next, modseq, uid_validity FROM mailbox")}
        found |= {(-2, r[0]): r[1:] for r in tx.all("SELECT account_id, modseq, last_uid_validity FROM store")}
        return found | {(r[0], r[1]): r[2:] for r in tx.all("SELECT mailbox_id, uid, modseq FROM message")}

    return db.read_now(read)


def acts(db: Database) -> list[dict[str, object]]:
    rows = db.read_now(lambda tx: tx.all("SELECT act, facts FROM audit ORDER BY id"))
    return [{"act": act, **json.loads(facts)} for act, facts in rows]


def uids(db: Database) -> list[Row]:
    return db.read_now(lambda tx: tx.all("SELECT mailbox_id, uid, flags, keywords FROM message ORDER BY 1, 2"))


LOSSES = {"DELETE FROM letter"}  # the one damage of the list after which there is nothing to be read


@pytest.mark.parametrize("sql", [sql for sql, _ in DAMAGE] + MORE)
def test_damage_is_mended(whole: Database, keeper: BlobKeeper, sql: str) -> None:
    write = whole.write_index_now if "text_" in sql else whole.write_now
    assert write(lambda tx: tx.run(sql)) > 0
    before = uids(whole)
    told = whole.read_now(lambda tx: list(check.check(tx, keeper.verify)))
    said = mended(whole, keeper)
    assert said or not told, told
    assert uids(whole) == ([] if sql in LOSSES else before)


def test_a_whole_store_is_left_alone(whole: Database, keeper: BlobKeeper) -> None:
    before = uids(whole), numbers(whole)
    assert mended(whole, keeper) == []
    assert (uids(whole), numbers(whole)) == before
    assert [row for row in acts(whole) if row["act"].startswith("repair")] == []


def test_all_at_once(whole: Database, keeper: BlobKeeper) -> None:
    for sql, _ in DAMAGE:
        if sql in LOSSES or sql == "UPDATE message SET modseq = 99":
            continue
        write = whole.write_index_now if "text_" in sql else whole.write_now
        write(lambda tx, sql=sql: tx.run(sql))
    before = uids(whole)
    mended(whole, keeper)
    assert uids(whole) == before


def test_a_lost_content_is_told_and_its_message_goes(whole: Database, keeper: BlobKeeper, tmp_path: Path) -> None:
    (hash_, place), *_ = whole.read_now(
        lambda tx: tx.all(
            "SELECT b.hash, b.place FROM message m JOIN letter l ON l.id = m.letter_id JOIN blob b ON b.hash = l.hash"
            " WHERE m.uid = 2"
        )
    )
    path, _, span = place.rpartition(":")
    offset, _, length = span.partition("+")
    pack = tmp_path / "blobs" / path
    content = bytearray(pack.read_bytes())
    content[int(offset) + 60 : int(offset) + int(length)] = bytes(int(length) - 60)
    pack.write_bytes(content)
    letter = whole.read_now(lambda tx: tx.all("SELECT letter_id FROM message WHERE uid = 2"))[0][0]
    whole.write_now(
        lambda tx: tx.run(
            "INSERT INTO queue (id, letter_id, account_id, sender, recipient, notify, orcpt, ret, envid, created, due,"
            " lease, attempts, last_reply) VALUES (1, ?, 1, 'a@x', 'b@y', '', '', '', '', 0, 0, 0, 0, '')",
            letter,
        )
    )
    said = mended(whole, keeper)
    assert [row[1] for row in uids(whole)] == [1]
    assert any("UID 2: removed" in line and "'hai'" in line for line in said), said
    assert any(bytes(hash_).hex() in line for line in said)
    assert any("from a@x to b@y" in line for line in said)
    gone = whole.read_now(changes.since, 1, 0)[-1]
    assert (gone.kind, gone.uids, gone.letters) == (changes.Kind.VANISHED, "2", (letter,))


def test_a_disk_that_does_not_answer_is_no_loss(
    whole: Database, keeper: BlobKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(_: Blob) -> None:
        raise NotNow("storage-trouble")

    before = uids(whole)
    monkeypatch.setattr(keeper, "verify", trouble)
    with pytest.raises(NotNow):
        list(Repair(whole, keeper, SystemClock(), Identifiers(SystemClock()), "x").run())
    assert uids(whole) == before


def test_letters_that_the_database_forgot_are_put_back(whole: Database, keeper: BlobKeeper) -> None:
    clock = SystemClock()
    work = Repair(whole, keeper, clock, Identifiers(clock), "congvu cli")
    assert work.orphans().count == 0
    for sql in ("DELETE FROM letter", "DELETE FROM blob", "DELETE FROM message", "DELETE FROM change"):
        whole.write_now(lambda tx, sql=sql: tx.run(sql))
    mended(whole, keeper)
    assert work.orphans().count == 3
    paper = next(iter(keeper.places())).hash  # what another room says it uses is no orphan
    other = Repair(whole, keeper, clock, Identifiers(clock), "congvu cli", lambda tx: iter([paper]))
    assert other.orphans().count == 2
    said = list(work.salvage(1))
    assert len(said) == 3 and all("put back as UID" in line for line in said)
    assert work.orphans().count == 0 and list(work.salvage(1)) == []
    box = whole.read_now(mailbox.find, 1, SALVAGED)
    assert box is not None and box.messages == 3 and box.subscribed
    subjects = whole.read_now(lambda tx: tx.all("SELECT subject FROM letter ORDER BY subject"))
    assert subjects == [("ba",), ("hai",), ("mot",)]
    assert sum(row["act"] == "salvage" for row in acts(whole)) == 3
    mended(whole, keeper)


def test_a_long_history_of_removals_is_told_in_portions(
    whole: Database, keeper: BlobKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("congvu.mailstore.repair._GAPS", 10)
    whole.write_now(lambda tx: tx.run("UPDATE mailbox SET uid_next = 58 WHERE id = 1"))
    whole.write_now(lambda tx: tx.run("UPDATE message SET uid = 30 WHERE uid = 2"))
    told = whole.read_now(lambda tx: list(check.check(tx)))
    assert any("other UIDs than are there" in line for line in told), told
    mended(whole, keeper)
    rows = whole.read_now(changes.since, 1, 0, 1)
    assert [row.uids for row in rows if row.kind is changes.Kind.APPEARED] == ["1:57"]
    gone = [row.uids for row in rows if row.kind is changes.Kind.VANISHED]
    assert gone == ["2:11", "12:21", "22:29,31:32", "33:42", "43:52", "53:57"]
    assert uids(whole)[0][1] == 1 and uids(whole)[1][1] == 30


def test_what_was_added_on_arrival_counts_as_the_letters_own(whole: Database, keeper: BlobKeeper) -> None:
    """A person's letter without Date and Message-ID got both; a repair must not take them away again."""
    content = b"From: a@x\r\n\r\nchao\r\n"
    added, seen = complete(mime.scan(content), 77, "mail.x", NOW)
    assert as_kept(b"Return-Path: <a@x>\r\n" + added, mime.scan(content)) == seen
    with keeper.spool() as spool:
        spool.write(content)
        blob = keeper.put_many([spool.buffer()])[0]
    letter = NewLetter(Identifiers(ManualClock()).draw(), blob, added, seen)
    whole.write_now(message.keep_letter, letter, NOW)
    whole.write_now(message.place, letter, [Target(1, 1)], NOW, NOW)
    assert mended(whole, keeper) == []


def test_accounts_are_mended_one_by_one(whole: Database, keeper: BlobKeeper) -> None:
    whole.write_now(mailbox.create_store, 2, 0, NOW)
    whole.write_now(lambda tx: tx.run("UPDATE store SET used = used + 1"))
    assert len(whole.write_now(mend, 2, [], "x", NOW)) == 1
    assert whole.read_now(lambda tx: tx.all("SELECT used FROM store WHERE account_id = 1"))[0][0] > 0
    assert any("account 1" in line for line in mended(whole, keeper))


def test_the_index_comes_back(whole: Database, keeper: BlobKeeper) -> None:
    import asyncio

    whole.write_index_now(lambda tx: tx.run("DELETE FROM text_doc"))
    assert any("text index will be made anew" in line for line in mended(whole, keeper))
    asyncio.run(search.Indexer(whole, keeper).sweep())
    question = search.spoken("hai")
    found = whole.read_now(search.find, 1, question)
    assert len(found.letters) == 1 and not found.pending
    assert whole.read_now(lambda tx: list(check.check(tx))) == []
