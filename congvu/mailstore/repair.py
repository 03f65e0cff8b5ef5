"""What can be derived of a damaged account is derived anew: numbers, counters, keywords, mailboxes, the change log.

Promises that nothing is invented and nothing is taken away that can still be read; that UIDs and modseqs only grow, so
that every client finds its way; that an account is mended in one transaction with its line of audit; and that a second
run finds nothing. For a server that stands still. Contents and letters are `salvage`'s part.
"""

from collections.abc import Iterator, Sequence

from congvu.base.failure import Refused
from congvu.codec import uidset
from congvu.db import audit
from congvu.db.engine import Tx
from congvu.mailstore import changes, check, mailbox, seen, sheets
from congvu.mailstore.changes import Kind
from congvu.mailstore.mailbox import INBOX

SALVAGED = "Thư cứu được"  # where messages and letters go whose mailbox is not known
_GAPS = 100_000  # UIDs in one row of the change log
_AUDITED = 100  # sentences in one line of audit; the report has them all
_COUNTED = "messages, unseen, deleted, size"


def accounts(tx: Tx) -> list[int]:
    """Everybody who has a mailbox, or should."""
    found = tx.all(
        "SELECT id FROM account WHERE state <> 'purged' UNION SELECT account_id FROM store"
        " UNION SELECT account_id FROM mailbox UNION SELECT account_id FROM message"
    )
    return sorted(row[0] for row in found)


def mend(tx: Tx, account_id: int, gone: Sequence[int], who: str, now: float) -> list[str]:
    """Makes one account's rows true; a sentence for each thing that was done. `gone`: letters whose bytes are lost."""
    said = [
        *_store(tx, account_id, now),
        *_roles(tx, account_id),
        *_mailboxes(tx, account_id, now),
        *_numbers(tx, account_id),
        *_gone(tx, account_id, gone),
        *_log(tx, account_id),
        *_counters(tx, account_id),
        *_sheets(tx, account_id),
    ]
    if said:
        facts = {"account": account_id, "count": len(said), "done": said[:_AUDITED]}
        audit.record(tx, who, "repair-account", facts, now)
        tx.touch(account_id)
    return said


def share(tx: Tx, who: str, now: float) -> list[str]:
    """Makes what was opened to others agree with itself: an entry (`acl`) is what counts, and who it is for is told of
    it anew (`share`). Entries of mailboxes or accounts that are gone go, and what is known of them. Nobody gets a right
    that no entry gives. A sentence for each thing that was done."""
    said: list[str] = []
    gone = tx.all(
        "SELECT a.account_id, a.mailbox_id, a.grantee_id FROM acl a"
        " LEFT JOIN mailbox b ON b.account_id = a.account_id AND b.id = a.mailbox_id"
        " LEFT JOIN account g ON g.id = a.grantee_id AND g.state <> 'purged'"
        " WHERE b.id IS NULL OR a.grantee_id = a.account_id OR a.rights = '' OR (a.grantee_id <> 0 AND g.id IS NULL)"
        " ORDER BY a.account_id, a.mailbox_id, a.grantee_id"
    )
    tx.many("DELETE FROM acl WHERE account_id = ? AND mailbox_id = ? AND grantee_id = ?", gone)
    said += [
        f"account {a} mailbox {m}: was opened to {g}, one of which is gone; it is not any more" for a, m, g in gone
    ]
    unknown = tx.all(
        "SELECT s.account_id, s.owner_id, s.mailbox_id FROM share s LEFT JOIN acl a ON a.account_id = s.owner_id"
        " AND a.mailbox_id = s.mailbox_id AND a.grantee_id = s.account_id WHERE a.account_id IS NULL"
        " ORDER BY s.account_id, s.owner_id, s.mailbox_id"
    )
    tx.many("DELETE FROM share WHERE account_id = ? AND owner_id = ? AND mailbox_id = ?", unknown)
    said += [f"account {g}: knew mailbox {m} of account {o} as opened to it, which it is not" for g, o, m in unknown]
    untold = tx.all(
        "SELECT a.grantee_id, a.account_id, a.mailbox_id FROM acl a LEFT JOIN share s ON s.account_id = a.grantee_id"
        " AND s.owner_id = a.account_id AND s.mailbox_id = a.mailbox_id WHERE s.account_id IS NULL"
        " ORDER BY a.grantee_id, a.account_id, a.mailbox_id"
    )
    tx.many("INSERT INTO share (account_id, owner_id, mailbox_id) VALUES (?, ?, ?)", untold)
    said += [f"account {g}: knows again that mailbox {m} of account {o} is opened to it" for g, o, m in untold]
    said += _seen(tx)
    if said:
        audit.record(tx, who, "repair-shares", {"count": len(said), "done": said[:_AUDITED]}, now)
    return said


def _seen(tx: Tx) -> Iterator[str]:
    """Of what other readers have seen, what is not there goes; the mailbox knows that there is something."""
    if count := tx.run(
        "DELETE FROM seen WHERE reader_id = account_id OR NOT EXISTS (SELECT 1 FROM mailbox b"
        " WHERE b.account_id = seen.account_id AND b.id = seen.mailbox_id)"
    ):
        yield f"{count} marks of readers in mailboxes that are gone, or are their own, went"
    for account, box, chunk in tx.all("SELECT DISTINCT account_id, mailbox_id, chunk FROM seen ORDER BY 1, 2, 3"):
        there = seen.there(tx, account, box, chunk)
        for reader, packed in tx.all(
            "SELECT reader_id, bits FROM seen WHERE account_id = ? AND mailbox_id = ? AND chunk = ?",
            account,
            box,
            chunk,
        ):
            bits = int.from_bytes(packed, "little")
            if bits and not bits & ~there:
                continue
            key = account, box, reader, chunk
            where = "account_id = ? AND mailbox_id = ? AND reader_id = ? AND chunk = ?"
            if bits & there:
                kept = (bits & there).to_bytes(seen.UIDS // 8, "little")
                tx.run(f"UPDATE seen SET bits = ? WHERE {where}", kept, *key)  # noqa: S608 (our own words)
            else:
                tx.run(f"DELETE FROM seen WHERE {where}", *key)  # noqa: S608 (our own words)
            yield f"account {account} mailbox {box}: {reader} had seen messages in it that are not there"
    if count := tx.run(
        "UPDATE mailbox SET readers = 1 WHERE readers = 0 AND EXISTS (SELECT 1 FROM seen s"
        " WHERE s.account_id = mailbox.account_id AND s.mailbox_id = mailbox.id)"
    ):
        yield f"{count} mailboxes know again that others have seen messages in them"


def _one(tx: Tx, sql: str, *params: object) -> int:
    row = tx.one(sql, *params)
    return int(row[0] or 0) if row else 0


def _store(tx: Tx, account_id: int, now: float) -> Iterator[str]:
    if tx.one("SELECT account_id FROM store WHERE account_id = ?", account_id) is None:
        tx.run(
            "INSERT INTO store (account_id, modseq, quota, used, messages, next_mailbox, last_uid_validity)"
            " VALUES (?, 1, 0, 0, 0, 2, ?)",
            account_id,
            int(now),
        )
        yield f"account {account_id}: had no store; made one, without a quota"


def _roles(tx: Tx, account_id: int) -> Iterator[str]:
    """INBOX is number 1; of several mailboxes with one role the oldest keeps it."""
    if tx.run(
        "UPDATE mailbox SET role = 'inbox', name = 'INBOX' WHERE account_id = ? AND id = ? AND role <> 'inbox'",
        account_id,
        INBOX,
    ):
        yield f"account {account_id}: INBOX has its role again"
    seen: set[str] = set()
    for number, name, role in tx.all(
        "SELECT id, name, role FROM mailbox WHERE account_id = ? AND role <> '' ORDER BY id", account_id
    ):
        if role in seen:
            tx.run("UPDATE mailbox SET role = '' WHERE account_id = ? AND id = ?", account_id, number)
            yield f"account {account_id}: mailbox {number} ({name}) is no longer a second {role}"
        seen.add(role)


def _mailboxes(tx: Tx, account_id: int, now: float) -> Iterator[str]:
    """A mailbox for messages that have none, under its old number, so that no message needs another UID."""
    have = {m.id: m.name for m in mailbox.all_mailboxes(tx, account_id)}
    used = tx.all("SELECT DISTINCT mailbox_id FROM message WHERE account_id = ?", account_id)
    for number in sorted({row[0] for row in used} | {INBOX}):
        if number in have:
            continue
        if number == INBOX and "INBOX" not in have.values():
            name, role = "INBOX", "inbox"
        else:
            name, role, count = SALVAGED, "", 1
            while name in have.values():
                count += 1
                name = f"{SALVAGED} {count}"
        validity = 1 + max(
            int(now),
            _one(tx, "SELECT last_uid_validity FROM store WHERE account_id = ?", account_id),
            _one(tx, "SELECT max(uid_validity) FROM mailbox WHERE account_id = ?", account_id),
        )
        tx.run(
            "INSERT INTO mailbox (account_id, id, name, role, subscribed, uid_validity, uid_next, recent_from, modseq,"
            " messages, unseen, deleted, size, keywords) VALUES (?, ?, ?, ?, 1, ?, 1, 1, 1, 0, 0, 0, 0, '')",
            account_id,
            number,
            name,
            role,
            validity,
        )
        tx.run("UPDATE store SET last_uid_validity = ? WHERE account_id = ?", validity, account_id)
        have[number] = name
        yield f"account {account_id}: mailbox {number} was gone; made again as {name}"


def _numbers(tx: Tx, account_id: int) -> Iterator[str]:
    """UIDNEXT above every UID that was ever given, modseq not below any that was ever used; sizes, keywords."""
    if tx.run(
        "UPDATE message SET size = (SELECT l.size FROM letter l WHERE l.id = message.letter_id) WHERE account_id = ?"
        " AND EXISTS (SELECT 1 FROM letter l WHERE l.id = message.letter_id AND l.size <> message.size)",
        account_id,
    ):
        yield f"account {account_id}: messages have their letters' sizes again"
    given = _given(tx, account_id)
    rows = tx.all("SELECT id, uid_next, recent_from, modseq, keywords FROM mailbox WHERE account_id = ?", account_id)
    highest: dict[int, tuple[int, int]] = {
        row[0]: (row[1], row[2])
        for row in tx.all(
            "SELECT mailbox_id, max(uid), max(modseq) FROM message WHERE account_id = ? GROUP BY mailbox_id", account_id
        )
    }
    words = _words(tx, account_id)
    for number, following, recent, modseq, known in rows:
        uid, last = highest.get(number, (0, 0))
        due = max(following, uid + 1, given.get(number, 0) + 1)
        have = known.split()
        lower = {word.lower() for word in have}
        new = [word for word in words.get(number, ()) if word.lower() not in lower]
        wanted = (due, min(recent, due), max(modseq, last), " ".join(have + new))
        if wanted != (following, recent, modseq, known):
            tx.run(
                "UPDATE mailbox SET uid_next = ?, recent_from = ?, modseq = ?, keywords = ?"
                " WHERE account_id = ? AND id = ?",
                *wanted,
                account_id,
                number,
            )
            yield (
                f"account {account_id} mailbox {number}: UIDNEXT {wanted[0]} (was {following}), recent from {wanted[1]}"
                f" ({recent}), modseq {wanted[2]} ({modseq}), {len(new)} keywords learnt"
            )
    before = tx.one("SELECT modseq, next_mailbox, last_uid_validity FROM store WHERE account_id = ?", account_id) or (
        0,
        0,
        0,
    )
    after = (
        max(
            before[0],
            _one(tx, "SELECT max(modseq) FROM mailbox WHERE account_id = ?", account_id),
            _one(tx, "SELECT max(modseq) FROM message WHERE account_id = ?", account_id),
            _one(tx, "SELECT max(modseq) FROM change WHERE account_id = ?", account_id),
        ),
        max(
            before[1],
            1 + _one(tx, "SELECT max(id) FROM mailbox WHERE account_id = ?", account_id),
            1 + _one(tx, "SELECT max(mailbox_id) FROM change WHERE account_id = ?", account_id),
        ),
        max(before[2], _one(tx, "SELECT max(uid_validity) FROM mailbox WHERE account_id = ?", account_id)),
    )
    if after != before:
        tx.run(
            "UPDATE store SET modseq = ?, next_mailbox = ?, last_uid_validity = ? WHERE account_id = ?",
            *after,
            account_id,
        )
        yield (
            f"account {account_id}: modseq {after[0]} (was {before[0]}), next mailbox {after[1]} ({before[1]}),"
            f" last UIDVALIDITY {after[2]} ({before[2]})"
        )


def _given(tx: Tx, account_id: int) -> dict[int, int]:
    """The highest UID of each mailbox that the change log knows."""
    found: dict[int, int] = {}
    for box, uids in tx.each(
        "SELECT mailbox_id, uids FROM change WHERE account_id = ? AND kind IN (1, 2, 3)", account_id
    ):
        ranges = _ranges(uids)
        if ranges:
            found[box] = max(found.get(box, 0), *(high for _, high in ranges))
    return found


def _words(tx: Tx, account_id: int) -> dict[int, list[str]]:
    found: dict[int, dict[str, str]] = {}
    for box, words in tx.each(
        "SELECT DISTINCT mailbox_id, keywords FROM message WHERE account_id = ? AND keywords <> ''", account_id
    ):
        found.setdefault(box, {}).update((word.lower(), word) for word in words.split())
    return {box: list(words.values()) for box, words in found.items()}


def _ranges(uids: str) -> list[tuple[int, int]] | None:
    try:
        return list(uidset.ranges(uids))
    except ValueError:
        return None


def _gone(tx: Tx, account_id: int, gone: Sequence[int]) -> Iterator[str]:
    """Messages without a letter to read leave their mailboxes as if they had been removed, and are told one by one."""
    rows = tx.all(
        "SELECT m.mailbox_id, m.uid, m.letter_id, m.received, l.subject, l.sender FROM message m"
        " LEFT JOIN letter l ON l.id = m.letter_id"
        " WHERE m.account_id = ? AND (l.id IS NULL OR m.letter_id IN (?*)) ORDER BY m.mailbox_id, m.uid",
        account_id,
        list(gone),
    )
    by_box: dict[int, list[tuple[int, int]]] = {}
    for box, uid, letter, received, subject, sender in rows:
        by_box.setdefault(box, []).append((uid, letter))
        what = "its letter is gone" if subject is None else f"its bytes are gone: {sender[:100]!r}, {subject[:200]!r}"
        yield f"account {account_id} mailbox {box} UID {uid}: removed, {what}; letter {letter}, received {received}"
    for box, pairs in by_box.items():
        modseq = changes.advance(tx, account_id)
        uids = [uid for uid, _ in pairs]
        tx.run("DELETE FROM message WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*)", account_id, box, uids)
        seen.drop(tx, account_id, box, uids)
        changes.record(tx, account_id, modseq, box, Kind.VANISHED, uids, [letter for _, letter in pairs])
        tx.run("UPDATE mailbox SET modseq = ? WHERE account_id = ? AND id = ?", modseq, account_id, box)


def _log(tx: Tx, account_id: int) -> Iterator[str]:
    """Where the change log and the messages disagree the mailbox's part is written anew: all UIDs up to UIDNEXT came,
    those that are not there went. Clients then look at every message once more, and miss no removal."""
    there: dict[int, tuple[int, int]] = {}
    bad: set[int] = set()
    for box, kind, uids, letters in tx.each(
        "SELECT mailbox_id, kind, uids, length(letters) FROM change WHERE account_id = ? AND kind IN (1, 2, 3)",
        account_id,
    ):
        try:
            count, total = check.tally(uids)
        except ValueError:
            count = total = 0
        if not count or (kind == Kind.VANISHED and letters != 8 * count):
            bad.add(box)
        elif kind != Kind.FLAGS:
            sign = 1 if kind == Kind.APPEARED else -1
            messages, numbers = there.get(box, (0, 0))
            there[box] = messages + sign * count, numbers + sign * total
    have = check.tallies(tx, account_id)
    bad.update(box for box in {*there, *have} if there.get(box, (0, 0)) != have.get(box, (0, 0)))
    bad.update(
        row[0]
        for row in tx.all(
            "SELECT DISTINCT m.mailbox_id FROM message m WHERE m.account_id = ? AND NOT EXISTS (SELECT 1 FROM change c"
            " WHERE c.account_id = m.account_id AND c.modseq = m.modseq AND c.mailbox_id = m.mailbox_id"
            " AND c.kind IN (1, 2, 5))",
            account_id,
        )
    )
    for box in sorted(bad):
        _write_log(tx, account_id, box)
        yield f"account {account_id} mailbox {box}: its part of the change log was written anew"


def _write_log(tx: Tx, account_id: int, box: int) -> None:
    tx.run("DELETE FROM change WHERE account_id = ? AND mailbox_id = ? AND kind IN (1, 2, 3)", account_id, box)
    following = _one(tx, "SELECT uid_next FROM mailbox WHERE account_id = ? AND id = ?", account_id, box)
    if following <= 1:  # nothing ever came, or the mailbox itself is gone
        return
    modseq = changes.advance(tx, account_id)
    tx.run(
        "INSERT INTO change (account_id, modseq, mailbox_id, kind, uids, letters) VALUES (?, ?, ?, 1, ?, NULL)",
        account_id,
        modseq,
        box,
        f"1:{following - 1}" if following > 2 else "1",
    )
    tx.run("UPDATE message SET modseq = ? WHERE account_id = ? AND mailbox_id = ?", modseq, account_id, box)
    gap: list[int] = []
    expected = 1
    here = tx.all("SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? ORDER BY uid", account_id, box)
    for (uid,) in (*here, (following,)):
        while expected < uid:
            portion = range(expected, min(uid, expected + _GAPS - len(gap)))
            gap += portion
            expected += len(portion)
            if len(gap) == _GAPS:
                modseq = _vanished(tx, account_id, box, gap)
                gap = []
        expected = uid + 1
    if gap:
        modseq = _vanished(tx, account_id, box, gap)
    tx.run("UPDATE mailbox SET modseq = ? WHERE account_id = ? AND id = ?", modseq, account_id, box)


def _vanished(tx: Tx, account_id: int, box: int, uids: list[int]) -> int:
    modseq = changes.advance(tx, account_id)
    # Which letters they were nobody knows any more: 0 is none's number. The text index is made anew.
    changes.record(tx, account_id, modseq, box, Kind.VANISHED, uids, [0] * len(uids))
    return modseq


def _counters(tx: Tx, account_id: int) -> Iterator[str]:
    sums: dict[int, tuple[int, ...]] = {
        row[0]: tuple(map(int, row[1:]))
        for row in tx.all(
            "SELECT mailbox_id, count(*), sum(CASE WHEN (flags & 1) = 0 THEN 1 ELSE 0 END),"
            " sum(CASE WHEN (flags & 8) <> 0 THEN 1 ELSE 0 END), sum(size) FROM message WHERE account_id = ?"
            " GROUP BY mailbox_id",
            account_id,
        )
    }
    messages = used = 0
    for number, *counted in tx.all(
        f"SELECT id, {_COUNTED} FROM mailbox WHERE account_id = ?",  # noqa: S608  constant columns
        account_id,
    ):
        true = sums.get(number, (0, 0, 0, 0))
        messages += true[0]
        used += true[3]
        if tuple(counted) != true:
            tx.run(
                "UPDATE mailbox SET messages = ?, unseen = ?, deleted = ?, size = ? WHERE account_id = ? AND id = ?",
                *true,
                account_id,
                number,
            )
            yield f"account {account_id} mailbox {number}: {_COUNTED} are {true}, were {tuple(counted)}"
    if tx.run(
        "UPDATE store SET messages = ?, used = ? WHERE account_id = ? AND (messages <> ? OR used <> ?)",
        messages,
        used,
        account_id,
        messages,
        used,
    ):
        yield f"account {account_id}: holds {messages} messages, {used} bytes"


def _sheets(tx: Tx, account_id: int) -> Iterator[str]:
    """A sheet that does not say what the rows say goes; where its run is full it is drawn anew."""
    for run, finding in list(sheets.faults(tx, account_id)):
        tx.run("DELETE FROM sheet WHERE account_id = ? AND mailbox_id = ? AND run = ?", *run)
        if tx.one("SELECT 1 FROM mailbox WHERE account_id = ? AND id = ? AND uid_next > ?", *run[:2], run.uids[1]):
            sheets.keep(tx, sheets.draw(tx, [run]))
        yield f"{finding}: made anew, or gone"


def salvage_mailbox(tx: Tx, account_id: int, now: float) -> int:
    """The mailbox for what is put back, made when it is not there."""
    box = mailbox.find(tx, account_id, SALVAGED)
    if box is None:
        try:
            box = mailbox.create(tx, account_id, SALVAGED, now)
        except Refused:  # too many mailboxes
            return INBOX
        mailbox.subscribe(tx, account_id, SALVAGED, True)
    return box.id
