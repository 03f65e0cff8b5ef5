r"""Messages of mailboxes that several people open: seen, flagged, copied, moved by somebody who may not be the owner.

A `Place` is a mailbox as one person sees it: whose it is, and whose \Seen counts. A letter that goes from one account
to another is the same letter row, placed anew: the other account's quota, threads and log take it like any letter.
Every function is one step of a caller's transaction, who has decided what is allowed and says so in `may`: letters of
RFC 4314, of which "s", "t" and "w" say which flags may be changed.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from congvu.codec.headers import message_ids
from congvu.codec.wire import envelope_ids
from congvu.db.engine import Tx
from congvu.mailstore import changes, message, seen
from congvu.mailstore.changes import Kind
from congvu.mailstore.message import DELETED, MAX_MESSAGES, SEEN, Copied, Op, Placed, Row, Stored

_OTHERS = message.ANSWERED | message.FLAGGED | message.DRAFT


@dataclass(frozen=True, slots=True)
class Place:
    r"""One mailbox. `reader`: the account whose own \Seen counts there; 0 for the bit in the messages' rows."""

    account_id: int
    mailbox_id: int
    reader: int = 0

    def is_of(self, other: "Place | Placed") -> bool:
        """Is it the same mailbox, whoever looks?"""
        return (self.account_id, self.mailbox_id) == (other.account_id, other.mailbox_id)


def through(tx: Tx, place: Place, rows: list[Row]) -> list[Row]:
    r"""Rows as this person sees them: \Seen is the reader's own."""
    if not place.reader or not rows:
        return rows
    mine = seen.among(tx, place.account_id, place.mailbox_id, place.reader, [row.uid for row in rows])
    return [
        row if (row.uid in mine) == bool(row.flags & SEEN) else row._replace(flags=row.flags ^ SEEN) for row in rows
    ]


def allowed(flags: int, may: str) -> int:
    """Those of the flags that somebody with these rights may change."""
    mask = (SEEN if "s" in may else 0) | (DELETED if "t" in may else 0) | (_OTHERS if "w" in may else 0)
    return flags & mask


def store(
    tx: Tx,
    place: Place,
    uids: Sequence[int],
    op: Op,
    flags: int,
    keywords: tuple[str, ...],
    may: str,
    unchanged_since: int | None = None,
) -> Stored:
    """`message.store` by somebody with the rights `may`: what they do not cover stays as it is (rfc4314 4, STORE)."""
    changes.hold(tx, [place.account_id])
    where = place.account_id, place.mailbox_id
    words = keywords if "w" in may else ()
    if words and op is not Op.REMOVE:
        message.learn_keywords(tx, *where, words)
    before = message.chosen_rows(tx, *where, uids)
    rows = through(tx, place, before)
    failed = [r.uid for r in rows if unchanged_since is not None and r.modseq > unchanged_since]
    skip = set(failed)
    changed: list[Row] = []
    groups: dict[tuple[int, str], list[int]] = {}  # what the message's row becomes → UIDs
    on: list[int] = []
    off: list[int] = []
    unseen = deleted = 0
    told: list[int] = []  # news for everybody
    for was, row in zip(before, rows, strict=True):
        if row.uid in skip:
            continue
        new, text = message.after(row, op, flags, keywords)
        new = row.flags ^ allowed(row.flags ^ new, may)
        text = text if "w" in may else row.keywords
        if (new, text) == (row.flags, row.keywords):
            continue
        changed.append(row._replace(flags=new, keywords=text))
        if place.reader and (new ^ row.flags) & SEEN:
            (on if new & SEEN else off).append(row.uid)
        kept = (new & ~SEEN) | (was.flags & SEEN) if place.reader else new
        groups.setdefault((kept, text), []).append(row.uid)
        if (kept, text) != (was.flags, was.keywords):
            told.append(row.uid)
        unseen += (not kept & SEEN) - (not was.flags & SEEN)
        deleted += bool(kept & DELETED) - bool(was.flags & DELETED)
    if not changed:
        return Stored([], failed, 0)
    modseq = changes.advance(tx, place.account_id)
    for (value, text), group in groups.items():
        tx.run(
            "UPDATE message SET flags = ?, keywords = ?, modseq = ?"
            " WHERE account_id = ? AND mailbox_id = ? AND uid IN (?*)",
            value,
            text,
            modseq,
            *where,
            group,
        )
    message.count(tx, *where, modseq, unseen=unseen, deleted=deleted)
    if place.reader:
        seen.mark(tx, *where, place.reader, on, True)
        seen.mark(tx, *where, place.reader, off, False)
    if told:
        changes.record(tx, place.account_id, modseq, place.mailbox_id, Kind.FLAGS, told)
    if on or off:
        changes.record(tx, place.account_id, modseq, place.mailbox_id, Kind.SEEN, sorted([*on, *off]), [place.reader])
    return Stored([r._replace(modseq=modseq) for r in changed], failed, modseq)


def arrived(tx: Tx, place: Place, uids: Sequence[int]) -> None:
    """Messages that the reader just placed have been seen by the reader."""
    seen.mark(tx, place.account_id, place.mailbox_id, place.reader, uids, True)


def copy(
    tx: Tx, source: Place, uids: Sequence[int], target: Place, may: str, now: float, *, moving: bool = False
) -> Copied:
    """Copies or moves messages; `may`: the rights at the target, without which flags are left behind (rfc4314 4, COPY).

    Raises `Refused`: over-quota, too-many-letters, no-such-mailbox, too-many-keywords. Then nothing is done.
    """
    within = source.account_id == target.account_id
    changes.hold(tx, sorted({source.account_id, target.account_id}))
    found = message.chosen_rows(tx, source.account_id, source.mailbox_id, uids)
    size = sum(r.size for r in found)
    if not (within and moving) and not tx.run(
        "UPDATE store SET used = used + ?, messages = messages + ?"
        " WHERE account_id = ? AND (quota = 0 OR used + ? <= quota) AND messages + ? <= ?",
        size,
        len(found),
        target.account_id,
        size,
        len(found),
        MAX_MESSAGES,
    ):
        raise message.no_room(tx, [target.account_id], len(found))[target.account_id]
    threads = {} if within else _threads(tx, target.account_id, list(dict.fromkeys(r.letter_id for r in found)))
    new: list[Row] = []
    mine: list[bool] = []
    for was, row in zip(found, through(tx, source, found), strict=True):
        mine.append(bool(allowed(row.flags, may) & SEEN))
        flags = allowed(row.flags, may) & ~SEEN
        if target.reader:
            # Its owner finds it as it was for the owner, or unseen where it comes from elsewhere.
            flags |= was.flags & SEEN if within else 0
        elif mine[-1]:
            flags |= SEEN
        new.append(
            row._replace(
                flags=flags,
                keywords=row.keywords if "w" in may else "",
                thread_id=threads.get(row.letter_id, row.thread_id),
            )
        )
    copied = message.put_rows(
        tx, target.account_id, new, target.mailbox_id, changes.advance(tx, target.account_id), now
    )
    if target.reader:
        read = [uid for uid, was_seen in zip(copied.target, mine, strict=True) if was_seen]
        seen.mark(tx, target.account_id, target.mailbox_id, target.reader, read, True)
    if moving and found:
        # A number of its own: one row tells of one kind of change to one mailbox under one modseq.
        message.take_rows(tx, source.account_id, source.mailbox_id, found, changes.advance(tx, source.account_id))
        if not within:
            tx.run(
                "UPDATE store SET used = used - ?, messages = messages - ? WHERE account_id = ?",
                size,
                len(found),
                source.account_id,
            )
    return copied


def _threads(tx: Tx, account_id: int, letters: list[int]) -> dict[int, int]:
    """The thread of each of these letters in an account to which they come: that of the same letter if it lies there,
    else of the nearest one it refers to, else one of its own (rfc8474 5.2)."""
    threads: dict[int, int] = dict(
        tx.all(
            "SELECT DISTINCT letter_id, thread_id FROM message WHERE account_id = ? AND letter_id IN (?*)",
            account_id,
            letters,
        )
    )
    keys: dict[int, list[int]] = {}
    for letter, packed, envelope in tx.all(
        "SELECT id, thread_keys, CASE WHEN thread_keys IS NULL THEN envelope END FROM letter WHERE id IN (?*)"
        " ORDER BY id",
        [n for n in letters if n not in threads],
    ):
        if packed is not None:
            _, own, *ancestors = struct.unpack(f">{len(packed) // 8}Q", packed)
        else:  # from before: without References
            replies, names = map(message_ids, envelope_ids(bytes(envelope)))
            own, *ancestors = [_key(name) for name in (b"".join(names[:1]), *replies[-100:])]
        keys[letter] = [key for key in (own, *reversed(ancestors)) if key]
    known: dict[int, int] = dict(
        tx.all(
            "SELECT key, thread_id FROM thread_key WHERE account_id = ? AND key IN (?*)",
            account_id,
            list({key for each in keys.values() for key in each}),
        )
    )
    new: dict[int, int] = {}
    for letter, wanted in keys.items():
        thread = next((known[key] for key in wanted if key in known), letter)
        threads[letter] = thread
        for key in wanted:
            if key not in known:
                known[key] = new[key] = thread
    tx.many(
        "INSERT INTO thread_key (account_id, key, thread_id) VALUES (?, ?, ?) ON CONFLICT (account_id, key) DO NOTHING",
        [(account_id, key, thread) for key, thread in new.items()],
    )
    return threads


def _key(name: bytes) -> int:
    return message.thread_key(name.decode("utf-8", "replace")) if name else 0
