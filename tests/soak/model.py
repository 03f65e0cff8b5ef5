"""What was acknowledged, and whether a mailbox as it is now agrees with it. Pure: no socket, no clock.

A `Tree` is what one IMAP client knows of the mailboxes that only it changes (letters come into INBOX from others). One
command may be open when the connection is lost: it has happened as a whole or not at all. `settle` finds out which, and
names everything that is neither.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import blake2b

INBOX = "INBOX"
MARK = re.compile(rb"^X-Mark: ([\w-]+)\r$", re.MULTILINE)


def digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


@dataclass(slots=True)
class Msg:
    """`modseq`: as last told, or with `grown` a number that it must be above (its flags were changed since)."""

    digest: bytes
    size: int
    flags: frozenset[str]
    modseq: int
    grown: bool = False


@dataclass(slots=True)
class Box:
    """`validity` 0: just made, not yet seen. `following` and `modseq`: the highest UIDNEXT and HIGHESTMODSEQ told.
    `rights`: of others, who then change modseqs when they have seen a message."""

    validity: int = 0
    following: int = 1
    modseq: int = 0
    messages: dict[int, Msg] = field(default_factory=dict)
    notes: dict[str, bytes] = field(default_factory=dict)
    rights: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """A mailbox as the server shows it: UID → flags, modseq, size. `digests` of the letters that were read."""

    validity: int
    following: int
    modseq: int
    messages: Mapping[int, tuple[frozenset[str], int, int]]
    digests: Mapping[int, bytes]
    delivered: Mapping[int, str]  # the marks of letters that came with headers added on arrival
    notes: Mapping[str, bytes] = field(default_factory=dict)
    rights: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Ledger:
    """The letters handed over by SMTP and LMTP: mark → digest, size; for each account which were acknowledged and
    which have been seen in its INBOX."""

    tried: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    acknowledged: dict[int, set[str]] = field(default_factory=dict)
    arrived: dict[int, set[str]] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)  # recipients in the queue

    def acknowledge(self, mark: str, accounts: Iterable[int]) -> None:
        for account in accounts:
            self.acknowledged.setdefault(account, set()).add(mark)

    def due(self, account: int) -> frozenset[str]:
        return frozenset(self.acknowledged.get(account, ())) - self.arrived.get(account, set())

    def is_whole(self, mark: str, content: bytes) -> bool:
        """A delivered letter ends with what was handed over; before it stand only headers."""
        want, size = self.tried[mark]
        added = content[: len(content) - size]
        return digest(content[len(added) :]) == want and added.startswith(b"Return-Path:") and added.endswith(b"\r\n")


# ---- commands that may be open

Letter = tuple[bytes, int, frozenset[str]]  # digest, size, flags


@dataclass(frozen=True, slots=True)
class Append:
    name: str
    letters: tuple[Letter, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    name: str
    uid: int
    target: str
    letter: Letter


@dataclass(frozen=True, slots=True)
class Store:
    name: str
    uids: tuple[int, ...]
    op: str  # "+", "-" or ""
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Copy:
    name: str
    uids: tuple[int, ...]
    target: str
    moving: bool


@dataclass(frozen=True, slots=True)
class Expunge:
    name: str
    uids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Create:
    name: str


@dataclass(frozen=True, slots=True)
class Delete:
    name: str


@dataclass(frozen=True, slots=True)
class Rename:
    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Annotate:
    name: str
    values: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Grant:
    name: str
    reader: str
    rights: str


Op = Append | Replace | Store | Copy | Expunge | Create | Delete | Rename | Annotate | Grant


@dataclass
class Tree:
    account: int
    boxes: dict[str, Box] = field(default_factory=dict)
    graves: dict[str, int] = field(default_factory=dict)  # the last UIDVALIDITY of names whose mailbox went away
    open: Op | None = None


Arriving = dict[str, list[Letter]]


def apply(tree: Tree, op: Op) -> Arriving:
    """Changes the tree as the command does; returns the messages that it brings, whose UIDs only the server knows."""
    boxes = tree.boxes
    match op:
        case Append(name, letters):
            return {name: list(letters)}
        case Replace(name, uid, target, letter):
            del boxes[name].messages[uid]
            return {target: [letter]}
        case Store(name, uids, kind, flags):
            for uid in uids:
                msg = boxes[name].messages[uid]
                now = {"+": msg.flags | flags, "-": msg.flags - flags, "": flags}[kind]
                if now != msg.flags:
                    msg.flags, msg.grown = now, True
        case Copy(name, uids, target, moving):
            rows = [boxes[name].messages[uid] for uid in uids]
            if moving:
                for uid in uids:
                    del boxes[name].messages[uid]
            return {target: [(row.digest, row.size, row.flags) for row in rows]}
        case Expunge(name, uids):
            for uid in uids:
                del boxes[name].messages[uid]
        case Create(name):
            boxes[name] = Box()
        case Delete(name):
            tree.graves[name] = max(tree.graves.get(name, 0), boxes.pop(name).validity)
        case Rename(name, target):
            boxes[target] = boxes.pop(name)
            tree.graves[name] = max(tree.graves.get(name, 0), boxes[target].validity)
        case Annotate(name, values):
            for entry, value in values:
                if value is None:
                    boxes[name].notes.pop(entry, None)
                else:
                    boxes[name].notes[entry] = value
        case Grant(name, reader, rights):
            boxes[name].rights[reader] = rights
    return {}


def settle(tree: Tree, seen: Mapping[str, Seen], ledger: Ledger, due: frozenset[str]) -> list[str]:
    """Brings the tree up to what is there and returns what is wrong with it. `due`: letters acknowledged for INBOX
    before anybody looked, not yet seen."""
    problems = differences(tree, {}, seen, ledger, due)
    if problems and tree.open is not None:
        after = Tree(tree.account, deepcopy(tree.boxes), dict(tree.graves))
        arriving = apply(after, tree.open)
        others = differences(after, arriving, seen, ledger, due)
        if not others:
            tree.boxes, tree.graves, problems = after.boxes, after.graves, []
        else:
            problems = [f"{tree.open} neither done nor undone"[:400], *problems, "or, had it been done:", *others]
    if not problems:
        tree.open = None
        learn(tree, seen, ledger)
    return problems


def differences(
    tree: Tree, arriving: Arriving, seen: Mapping[str, Seen], ledger: Ledger, due: frozenset[str]
) -> list[str]:
    wrong: list[str] = []
    if set(tree.boxes) != set(seen):
        return [f"mailboxes {sorted(set(tree.boxes) ^ set(seen))} are there and should not be, or the other way round"]
    for name, box in tree.boxes.items():
        now = seen[name]
        where = f"account {tree.account} {name}"
        if box.validity and box.validity != now.validity:
            wrong.append(f"{where}: UIDVALIDITY was {box.validity}, is {now.validity}")
        if not box.validity and now.validity <= tree.graves.get(name, 0):
            wrong.append(f"{where}: made anew with UIDVALIDITY {now.validity}, the old one had {tree.graves[name]}")
        if now.following < box.following:
            wrong.append(f"{where}: UIDNEXT was {box.following}, is {now.following}")
        if now.modseq < box.modseq:
            wrong.append(f"{where}: HIGHESTMODSEQ was {box.modseq}, is {now.modseq}")
        if now.notes != box.notes:
            wrong.append(f"{where}: notes were {box.notes}, are {now.notes}"[:600])
        if now.rights != box.rights:
            wrong.append(f"{where}: open to {box.rights}, is open to {now.rights}")
        for uid, msg in box.messages.items():
            row = now.messages.get(uid)
            if row is None:
                wrong.append(f"{where}: UID {uid} is lost")
                continue
            flags, modseq, size = row
            if flags != msg.flags:
                wrong.append(f"{where}: UID {uid} had flags {sorted(msg.flags)}, has {sorted(flags)}")
            if size != msg.size or now.digests.get(uid, msg.digest) != msg.digest:
                wrong.append(f"{where}: UID {uid} has other bytes")
            if modseq < msg.modseq + msg.grown or (modseq != msg.modseq and not msg.grown and not box.rights):
                wrong.append(f"{where}: UID {uid} had modseq {msg.modseq}{'+' * msg.grown}, has {modseq}")
        new = sorted(uid for uid in now.messages if uid not in box.messages)
        wrong += [f"{where}: UID {uid} came although UIDNEXT was {box.following}" for uid in new if uid < box.following]
        wrong += [f"{where}: UID {uid} is not below UIDNEXT" for uid in new if uid >= now.following]
        came = [(now.digests.get(uid, b""), now.messages[uid][2], now.messages[uid][0]) for uid in new]
        want = arriving.get(name, [])
        if name == INBOX:
            wrong += deliveries(tree.account, where, new, came, want, now, ledger, due)
        elif came != want:
            wrong.append(f"{where}: {len(want)} new messages due, {len(came)} came: UIDs {new[:20]}")
    return wrong


def deliveries(
    account: int,
    where: str,
    new: list[int],
    came: list[Letter],
    want: list[Letter],
    now: Seen,
    ledger: Ledger,
    due: frozenset[str],
) -> list[str]:
    """INBOX: besides what the open command brings, only letters that were handed over, each once."""
    wrong: list[str] = []
    arrived = ledger.arrived.get(account, set())
    left = Counter(want)
    here: set[str] = set()
    for uid, row in zip(new, came, strict=True):
        mark = now.delivered.get(uid)
        if mark is not None and mark not in arrived and mark not in here:
            here.add(mark)
            if row[2]:
                wrong.append(f"{where}: {mark} came with flags {sorted(row[2])}")
        elif left[row]:
            left[row] -= 1
        else:
            wrong.append(f"{where}: UID {uid} ({mark}) is there twice, or nobody sent it")
    if left.total():
        wrong.append(f"{where}: {left.total()} of {len(want)} messages of the open command are missing")
    wrong += [f"{where}: {mark} was acknowledged and is lost" for mark in sorted(due - here - arrived)]
    return wrong


def learn(tree: Tree, seen: Mapping[str, Seen], ledger: Ledger) -> None:
    for name, now in seen.items():
        box = tree.boxes[name]
        box.validity, box.following, box.modseq = now.validity, now.following, now.modseq
        known = {uid: msg.digest for uid, msg in box.messages.items()}
        box.messages = {
            uid: Msg(known.get(uid) or now.digests[uid], size, flags, modseq)
            for uid, (flags, modseq, size) in now.messages.items()
        }
        if name == INBOX:
            arrived = ledger.arrived.setdefault(tree.account, set())
            arrived.update(mark for uid, mark in now.delivered.items() if uid not in known)


# ---- coming back after a while (RFC 7162)


@dataclass(frozen=True, slots=True)
class Known:
    """What a client knew of a mailbox when its HIGHESTMODSEQ was `modseq`."""

    validity: int
    modseq: int
    following: int
    uids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Missed:
    """What it is told then: UIDs that vanished, and messages with flags and modseq. `following`: the UIDNEXT of the
    SELECT that told it; what came later is not in it."""

    following: int
    vanished: frozenset[int]
    changed: Mapping[int, tuple[frozenset[str], int]]


def missed(known: Known, told: Missed, now: Seen, others: bool) -> list[str]:
    """What is told must be exactly the difference between then and now. `others` change modseqs between two commands:
    then nothing may be missing but what they have just changed."""
    if known.validity != now.validity:
        return [f"another mailbox, and yet {told}"[:400]] if told.vanished or told.changed else []
    here = set(now.messages)
    lost = known.uids - here - told.vanished
    wrong = [f"UIDs {sorted(lost)[:20]} vanished and were not told"] if lost else []
    extra = {uid for uid in told.vanished if uid in here or (uid < known.following and uid not in known.uids)}
    extra |= {uid for uid in told.vanished if uid >= told.following}
    wrong += [f"UIDs {sorted(extra)[:20]} told as vanished, and are there or were not there before"] if extra else []
    newer = {uid for uid, row in now.messages.items() if row[1] > known.modseq and uid < told.following}
    silent = newer - set(told.changed)
    if silent and not others:
        wrong.append(f"UIDs {sorted(silent)[:20]} changed after modseq {known.modseq} and were not told")
    if without := set(told.changed) - newer:
        wrong.append(f"UIDs {sorted(without)[:20]} told as changed after modseq {known.modseq}, and were not")
    for uid, (flags, modseq) in told.changed.items():
        row = now.messages.get(uid)
        if row is not None and (row[0] != flags or row[1] < modseq or (row[1] != modseq and not others)):
            wrong.append(f"UID {uid} told with {sorted(flags)} and modseq {modseq}, has {sorted(row[0])} and {row[1]}")
    return wrong
