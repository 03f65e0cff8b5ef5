"""Mailboxes of one account: names, roles, counters, quota.

Names are NFC with "/" between levels. Every account starts with six mailboxes whose names are those its owner reads
(web.md 5.4) and whose roles are IMAP's special uses (RFC 6154). Counters are kept in the row and stay equal to what the
messages say; `check` proves it.
"""

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from congvu.base.failure import Refused
from congvu.db.engine import Row, Tx
from congvu.mailstore import changes, message, metadata, rights, seen, sheets
from congvu.mailstore.changes import Kind

INBOX = 1
FIRST_MAILBOXES = (
    ("INBOX", "inbox"),
    ("Thư đã gửi", "sent"),
    ("Thư nháp", "drafts"),
    ("Thư rác", "junk"),
    ("Thùng rác", "trash"),
    ("Lưu trữ", "archive"),
)
MAX_MAILBOXES = 2_000  # a LIST of an account stays below a megabyte
MAX_MOVED = 50_000  # messages that go with a RENAME of INBOX, in one transaction; MOVE has no such bound
MAX_NAME = 500  # characters of the whole path; twice what the longest province uses
MAX_DEPTH = 30
_UNSEEN = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and signs by their category, yet nothing shows
_TURNS = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))  # make a name read as another


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox as its row tells. `role`: "" or inbox, sent, drafts, junk, trash, archive. `size` in bytes."""

    id: int
    name: str
    role: str
    subscribed: bool
    uid_validity: int
    uid_next: int
    recent_from: int
    modseq: int
    messages: int
    unseen: int
    deleted: int
    size: int
    keywords: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quota:
    """Bytes and messages. `limit` 0 means none."""

    limit: int
    used: int
    messages: int


_COLUMNS = (
    "id, name, role, subscribed, uid_validity, uid_next, recent_from, modseq, messages, unseen, deleted, size, keywords"
)


def _mailbox(row: Row) -> Mailbox:
    number, name, role, subscribed, validity, following, recent, modseq, messages, unseen, deleted, size, words = row
    return Mailbox(
        number,
        name,
        role,
        bool(subscribed),
        validity,
        following,
        recent,
        modseq,
        messages,
        unseen,
        deleted,
        size,
        tuple(words.split()),
    )


def create_store(tx: Tx, account_id: int, quota: int, now: float) -> None:
    """The store of a new account with its six mailboxes."""
    create_stores(tx, [account_id], quota, now)


def create_stores(tx: Tx, account_ids: list[int], quota: int, now: float) -> None:
    """The stores of many new accounts, without a round trip each (row 7.7: rosters come as lists)."""
    validity = int(now)
    count = len(FIRST_MAILBOXES)
    tx.many(
        "INSERT INTO store (account_id, modseq, quota, used, messages, next_mailbox, last_uid_validity)"
        " VALUES (?, 1, ?, 0, 0, ?, ?)",
        [(account, quota, count + 1, validity + count) for account in account_ids],
    )
    tx.many(
        "INSERT INTO mailbox (account_id, id, name, role, subscribed, uid_validity, uid_next, recent_from, modseq,"
        " messages, unseen, deleted, size, keywords) VALUES (?, ?, ?, ?, 1, ?, 1, 1, 1, 0, 0, 0, 0, '')",
        [
            # One of its own each: a mailbox that is given another's old name must not be taken for that one.
            (account, number, name, role, validity + number)
            for account in account_ids
            for number, (name, role) in enumerate(FIRST_MAILBOXES, 1)
        ],
    )


def all_mailboxes(tx: Tx, account_id: int) -> list[Mailbox]:
    """Every mailbox, INBOX first, then by name."""
    rows = tx.all(f"SELECT {_COLUMNS} FROM mailbox WHERE account_id = ?", account_id)  # noqa: S608  constant columns
    return sorted(map(_mailbox, rows), key=lambda m: (m.id != INBOX, m.name))


def some(tx: Tx, account_id: int, numbers: list[int]) -> list[Mailbox]:
    """The mailboxes with these numbers, as far as they exist."""
    rows = tx.all(
        f"SELECT {_COLUMNS} FROM mailbox WHERE account_id = ? AND id IN (?*)",  # noqa: S608  constant columns
        account_id,
        numbers,
    )
    return list(map(_mailbox, rows))


def of_accounts(tx: Tx, wanted: Mapping[int, Collection[int]]) -> list[tuple[int, Mailbox]]:
    """(account, mailbox) for these numbers of mailboxes of each account."""
    rows = tx.all(
        f"SELECT account_id, {_COLUMNS} FROM mailbox WHERE account_id IN (?*) AND id IN (?*)",  # noqa: S608  constants
        list(wanted),
        sorted({number for numbers in wanted.values() for number in numbers}),
    )
    return [(row[0], _mailbox(row[1:])) for row in rows if row[1] in wanted[row[0]]]


def find(tx: Tx, account_id: int, name: str) -> Mailbox | None:
    """The mailbox of that name; INBOX in any case (rfc9051 5.1)."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM mailbox WHERE account_id = ? AND name = ?",  # noqa: S608  constant columns
        account_id,
        canonical(name),
    )
    return _mailbox(row) if row else None


def get(tx: Tx, account_id: int, mailbox_id: int) -> Mailbox | None:
    """The mailbox with that number."""
    row = tx.one(
        f"SELECT {_COLUMNS} FROM mailbox WHERE account_id = ? AND id = ?",  # noqa: S608  constant columns
        account_id,
        mailbox_id,
    )
    return _mailbox(row) if row else None


def below(tx: Tx, account_id: int, name: str) -> list[int]:
    """The numbers of the mailboxes below a name."""
    rows = tx.all(
        "SELECT id FROM mailbox WHERE account_id = ? AND substr(name, 1, CAST(? AS INTEGER)) = ?",
        account_id,
        len(name) + 1,
        f"{name}/",
    )
    return [row[0] for row in rows]


def create(tx: Tx, account_id: int, name: str, now: float, role: str = "") -> Mailbox:
    """A new mailbox, its missing parents with it (rfc9051 6.3.4).

    Raises `Refused`: mailbox-exists, bad-mailbox-name, too-many-mailboxes.
    """
    name = valid_name(name)
    modseq = changes.advance(tx, account_id)
    if name in {"", "INBOX"} or find(tx, account_id, name):
        raise Refused("mailbox-exists", name=name)
    levels = name.split("/")
    above = 0
    for depth in range(1, len(levels) + 1):
        path = "/".join(levels[:depth])
        there = find(tx, account_id, path) if depth < len(levels) else None
        number = there.id if there else _insert(tx, account_id, path, role if path == name else "", modseq, now)
        if above and there is None:
            rights.inherit(tx, account_id, above, number)
        above = number
    created = find(tx, account_id, name)
    if created is None:
        raise LookupError("the mailbox just made is not there")
    return created


def doomed(tx: Tx, account_id: int, name: str) -> Mailbox:
    """The mailbox that is to be deleted. Raises as `delete`."""
    box = _need(tx, account_id, name)
    if box.role:
        raise Refused("special-mailbox", name=box.name)
    return box


def thin_out(tx: Tx, account_id: int, name: str, most: int) -> bool:
    """Removes the first so many messages of a mailbox that is to be deleted, so that `delete` finds few; False: there
    was none. Raises as `delete`."""
    changes.hold(tx, [account_id])
    box = doomed(tx, account_id, name)
    rows = tx.all(
        "SELECT uid FROM message WHERE account_id = ? AND mailbox_id = ? ORDER BY uid LIMIT ?", account_id, box.id, most
    )
    return bool(message.remove(tx, account_id, box.id, [row[0] for row in rows]))


def delete(tx: Tx, account_id: int, name: str, now: float) -> None:
    """Removes a mailbox and its messages; children stay (rfc9051 6.3.5).

    Raises `Refused`: no-such-mailbox, special-mailbox (INBOX and the five others with a role stay).
    """
    modseq = changes.advance(tx, account_id)
    box = doomed(tx, account_id, name)
    gone = tx.all(
        "SELECT uid, letter_id FROM message WHERE account_id = ? AND mailbox_id = ? ORDER BY uid", account_id, box.id
    )
    tx.run("DELETE FROM message WHERE account_id = ? AND mailbox_id = ?", account_id, box.id)
    tx.run("DELETE FROM metadata WHERE account_id = ? AND mailbox_id = ?", account_id, box.id)
    tx.run("DELETE FROM mailbox WHERE account_id = ? AND id = ?", account_id, box.id)
    rights.forget(tx, account_id, box.id)
    seen.forget(tx, account_id, box.id)
    sheets.forget(tx, account_id, box.id)
    tx.run(
        "UPDATE store SET used = used - ?, messages = messages - ? WHERE account_id = ?",
        box.size,
        box.messages,
        account_id,
    )
    if box.subscribed:
        _subscribe_gone(tx, account_id, box.name)
    if gone:
        changes.record(tx, account_id, modseq, box.id, Kind.VANISHED, (r[0] for r in gone), [r[1] for r in gone])
    changes.record(tx, account_id, modseq, box.id, Kind.MAILBOX)


def rename(tx: Tx, account_id: int, name: str, new_name: str, now: float) -> None:
    """Renames a mailbox and all below it, making missing parents; the role goes with it (rfc9051 6.3.6).

    INBOX itself stays: its messages move to the new mailbox. Raises `Refused`: no-such-mailbox, mailbox-exists,
    bad-mailbox-name.
    """
    new_name = valid_name(new_name)
    changes.hold(tx, [account_id])
    box = _need(tx, account_id, name)
    if new_name in {"", "INBOX"} or find(tx, account_id, new_name):
        raise Refused("mailbox-exists", name=new_name)
    if box.id == INBOX:
        if box.messages > MAX_MOVED:
            raise Refused("rename-too-many", limit=MAX_MOVED)
        made = create(tx, account_id, new_name, now)
        message.move(tx, account_id, INBOX, message.uids(tx, account_id, INBOX), made.id, now)
        metadata.copy(tx, account_id, INBOX, made.id)  # rfc5464 4.1
        return
    if new_name.startswith(box.name + "/"):
        raise Refused("bad-mailbox-name", name=new_name)
    inside = [m for m in all_mailboxes(tx, account_id) if m.name == box.name or m.name.startswith(box.name + "/")]
    for m in inside:
        valid_name(new_name + m.name[len(box.name) :])
    parent = new_name.rpartition("/")[0]
    if parent and find(tx, account_id, parent) is None:
        create(tx, account_id, parent, now)
    modseq = changes.advance(tx, account_id)
    for m in inside:
        tx.run(
            "UPDATE mailbox SET name = ?, modseq = ? WHERE account_id = ? AND id = ?",
            new_name + m.name[len(box.name) :],
            modseq,
            account_id,
            m.id,
        )
        changes.record(tx, account_id, modseq, m.id, Kind.MAILBOX)


def subscriptions(tx: Tx, account_id: int) -> list[str]:
    """Every subscribed name, whether or not its mailbox exists (rfc9051 6.3.7)."""
    rows = tx.all("SELECT name FROM mailbox WHERE account_id = ? AND subscribed = 1", account_id)
    rows += tx.all("SELECT name FROM subscription WHERE account_id = ?", account_id)
    return sorted({r[0] for r in rows})


def subscribed_elsewhere(tx: Tx, account_id: int) -> set[str]:
    """The subscribed names that no mailbox of the account has: those of others, and of mailboxes that are gone."""
    return {row[0] for row in tx.all("SELECT name FROM subscription WHERE account_id = ?", account_id)}


def subscribe(tx: Tx, account_id: int, name: str, on: bool) -> None:
    """Subscribes to a name or ends it. A name without a mailbox may be subscribed to."""
    name = valid_name(name)
    changes.hold(tx, [account_id])
    box = find(tx, account_id, name)
    if box is None:
        if on:
            _subscribe_gone(tx, account_id, name)
        else:
            tx.run("DELETE FROM subscription WHERE account_id = ? AND name = ?", account_id, name)
        tx.touch(account_id)
        return
    if box.subscribed == on:
        return
    modseq = changes.advance(tx, account_id)
    tx.run(
        "UPDATE mailbox SET subscribed = ?, modseq = ? WHERE account_id = ? AND id = ?",
        int(on),
        modseq,
        account_id,
        box.id,
    )
    changes.record(tx, account_id, modseq, box.id, Kind.MAILBOX)


def claim_recent(tx: Tx, account_id: int, mailbox_id: int) -> int:
    r"""The first UID that no session has seen yet; from now on those are no longer \Recent (rfc3501 2.3.2)."""
    changes.hold(tx, [account_id])
    row = tx.one("SELECT recent_from, uid_next FROM mailbox WHERE account_id = ? AND id = ?", account_id, mailbox_id)
    if row is None:
        raise Refused("no-such-mailbox")
    if row[0] != row[1]:
        tx.run("UPDATE mailbox SET recent_from = uid_next WHERE account_id = ? AND id = ?", account_id, mailbox_id)
    return int(row[0])


def deleted_bytes(tx: Tx, account_id: int) -> dict[int, int]:
    r"""Bytes of the messages flagged \Deleted by mailbox (RFC 9208), those without any left out."""
    return dict(
        tx.all(
            "SELECT mailbox_id, CAST(sum(size) AS BIGINT) FROM message WHERE account_id = ? AND (flags & 8) <> 0"
            " GROUP BY mailbox_id",
            account_id,
        )
    )


def quota(tx: Tx, account_id: int) -> Quota:
    """What the account may hold and holds."""
    row = tx.one("SELECT quota, used, messages FROM store WHERE account_id = ?", account_id)
    if row is None:
        raise LookupError(f"account {account_id} has no store")
    return Quota(*row)


def full(tx: Tx, account_ids: list[int]) -> set[int]:
    """Which of these accounts have no room left."""
    return {
        r[0]
        for r in tx.all(
            "SELECT account_id FROM store WHERE account_id IN (?*) AND (quota > 0 AND used >= quota OR messages >= ?)",
            account_ids,
            message.MAX_MESSAGES,
        )
    }


def valid_name(name: str) -> str:
    """The name in NFC without a trailing separator. Raises `Refused("bad-mailbox-name")` for one that cannot be kept:
    empty levels, control characters, "." or "..", a level of which nothing shows, what turns the direction of writing,
    code points that are no characters, longer or deeper than the bounds."""
    name = canonical(name.removesuffix("/"))
    levels = name.split("/")
    if (
        len(name) > MAX_NAME
        or len(levels) > MAX_DEPTH
        or any(level in {"", ".", ".."} or level != level.strip() or not any(map(_shows, level)) for level in levels)
        or any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in "%*\\" for c in name)
        or any(c in _TURNS or ord(c) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(c) <= 0xFDEF for c in name)
    ):
        raise Refused("bad-mailbox-name", name=name[:100])
    return name


def _shows(c: str) -> bool:
    return unicodedata.category(c)[0] in "LNPS" and c not in _UNSEEN


def canonical(name: str) -> str:
    """A name as it is kept: INBOX is written in any case (rfc9051 5.1)."""
    name = unicodedata.normalize("NFC", name)
    head, slash, rest = name.partition("/")
    # By ASCII only: the capital of a dotless "ı" is an I, and yet it is another letter.
    return "INBOX" + slash + rest if head.isascii() and head.upper() == "INBOX" else name


def _need(tx: Tx, account_id: int, name: str) -> Mailbox:
    box = find(tx, account_id, name)
    if box is None:
        raise Refused("no-such-mailbox", name=name[:100])
    return box


def _insert(tx: Tx, account_id: int, name: str, role: str, modseq: int, now: float) -> int:
    row = tx.one(
        "UPDATE store SET next_mailbox = next_mailbox + 1,"
        " last_uid_validity = CASE WHEN last_uid_validity >= ? THEN last_uid_validity + 1 ELSE ? END"
        " WHERE account_id = ? RETURNING next_mailbox - 1, last_uid_validity",
        int(now),
        int(now),
        account_id,
    )
    if row is None:
        raise LookupError(f"account {account_id} has no store")
    count = tx.one("SELECT count(*) FROM mailbox WHERE account_id = ?", account_id)
    if count and count[0] >= MAX_MAILBOXES:
        raise Refused("too-many-mailboxes")
    subscribed = tx.run("DELETE FROM subscription WHERE account_id = ? AND name = ?", account_id, name)
    tx.run(
        "INSERT INTO mailbox (account_id, id, name, role, subscribed, uid_validity, uid_next, recent_from, modseq,"
        " messages, unseen, deleted, size, keywords) VALUES (?, ?, ?, ?, ?, ?, 1, 1, ?, 0, 0, 0, 0, '')",
        account_id,
        row[0],
        name,
        role,
        int(subscribed > 0),
        row[1],
        modseq,
    )
    changes.record(tx, account_id, modseq, row[0], Kind.MAILBOX)
    return int(row[0])


def _subscribe_gone(tx: Tx, account_id: int, name: str) -> None:
    count = tx.one("SELECT count(*) FROM subscription WHERE account_id = ?", account_id)
    if count and count[0] >= MAX_MAILBOXES:
        raise Refused("too-many-mailboxes")
    tx.run(
        "INSERT INTO subscription (account_id, name) VALUES (?, ?) ON CONFLICT (account_id, name) DO NOTHING",
        account_id,
        name,
    )
