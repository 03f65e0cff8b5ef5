"""IMAP commands that change messages: STORE, COPY, MOVE, EXPUNGE.

Each is one transaction, or one for every few thousand messages where the RFC allows it, so that nobody else waits long
for the writer. The answer comes after the commit.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from congvu.actions.sharing import Sharing, Who
from congvu.base.failure import Refused
from congvu.codec import uidset
from congvu.codec.imap import Copy, Nothing, Store, StoreOp, Uids
from congvu.db.engine import Tx
from congvu.mailstore import across, mailbox, message, scan
from congvu.mailstore.across import Place
from congvu.mailstore.message import Op
from congvu.servers import turns
from congvu.servers.imap.progress import Progress
from congvu.servers.imap.session import FEW, Done, Session, pieces
from congvu.servers.imap.view import Selected, flags_text, meet, rows_of

P = ParamSpec("P")
R = TypeVar("R")

A_FEW = 20  # messages of one transaction that needs no turn
AT_ONCE = 2_000  # messages in one transaction: some tens of milliseconds of the one writer
MAX_COPY = 50_000  # messages of one COPY, which must be one transaction: a quarter of a second of the one writer
_OPS = {StoreOp.SET: Op.SET, StoreOp.ADD: Op.ADD, StoreOp.REMOVE: Op.REMOVE}


def _chunks(uids: "array[int]") -> Iterator["array[int]"]:
    for start in range(0, len(uids), AT_ONCE):
        yield uids[start : start + AT_ONCE]


async def _write(
    session: Session, count: int, f: Callable[Concatenate[Any, P], R], *args: P.args, **kwargs: P.kwargs
) -> R:
    """A transaction that touches so many messages: more than a few of them in its turn."""
    if count > A_FEW:
        return await turns.write(session, f, *args, **kwargs)
    return await session.services.db.write(f, *args, **kwargs)


# STORE


async def store(session: Session, command: Store) -> Done:
    return await _store(session, command, by_uid=False)


async def uid_store(session: Session, command: Store) -> Done:
    return await _store(session, command, by_uid=True)


@dataclass(frozen=True, slots=True)
class _Stored:
    rows: list[message.Row]  # what is told
    failed: list[int]
    modseq: int


# Who acts in a mailbox that may be another's, and by which rules; None: in one's own, where everything is allowed.
Acting = tuple[Sharing, Who] | None


def _acting(session: Session, other: str = "") -> Acting:
    """`other`: the name of another mailbox that takes part."""
    guest = session.view().guest
    if guest is not None:
        return guest.sharing, guest.who
    if other and session.services.sharing.elsewhere(other):
        return session.services.sharing, session.who
    return None


def _store_some(
    tx: Tx, acting: Acting, place: Place, uids: "array[int]", command: Store, now: float, tell_all: bool
) -> _Stored:
    stored = _set(tx, acting, place, uids, command, now)
    rows = stored.changed
    if tell_all and len(rows) + len(stored.failed) < len(uids):
        failed = set(stored.failed)
        rows = list(rows_of(tx, place.account_id, place.mailbox_id, [uid for uid in uids if uid not in failed]))
        rows = across.through(tx, place, rows)
    return _Stored(rows, stored.failed, stored.modseq)


def _set(tx: Tx, acting: Acting, place: Place, uids: "array[int]", command: Store, now: float) -> message.Stored:
    what = uids, _OPS[command.op], command.flags, command.keywords
    if acting is None:
        return message.store(tx, place.account_id, place.mailbox_id, *what, now, command.unchanged_since)
    sharing, who = acting
    return sharing.store(tx, who, place, *what, command.unchanged_since)


async def mark_seen(session: Session, uids: Sequence[int]) -> message.Stored:
    r"""Sets \Seen, as a FETCH does. Who may not set it reads on without (rfc4314 4, FETCH)."""
    try:
        return await session.services.db.write(
            _mark_seen, _acting(session), session.view().place, uids, session.services.clock.now()
        )
    except Refused as refused:
        if refused.code != "no-permission":
            raise
        return message.Stored([], [], 0)


def _mark_seen(tx: Tx, acting: Acting, place: Place, uids: Sequence[int], now: float) -> message.Stored:
    what = uids, Op.ADD, message.SEEN, ()
    if acting is None:
        return message.store(tx, place.account_id, place.mailbox_id, *what, now)
    sharing, who = acting
    return sharing.store(tx, who, place, *what, None)


async def _store(session: Session, command: Store, by_uid: bool) -> Done:
    """rfc9051 6.4.6, rfc7162 3.1.3."""
    view = session.writable()
    if command.unchanged_since is not None:
        session.enable("CONDSTORE")
    uids = view.resolve(command.set, by_uid)
    failed: list[int] = []
    with Progress(session, len(uids)) as progress:
        for chunk in _chunks(uids):
            stored = await _write(
                session,
                len(chunk),
                _store_some,
                _acting(session),
                view.place,
                chunk,
                command,
                session.services.clock.now(),
                not command.silent or command.unchanged_since is not None,  # rfc7162 3.1.3
            )
            session.no_hint()
            if stored.modseq:
                view.own.add(stored.modseq)
            failed += stored.failed
            if not command.silent or session.condstore:
                session.announce({row.keywords for row in stored.rows})
                for piece in pieces(_stored_lines(session, view, stored.rows, command.silent)):
                    session.send(piece)
                await session.stream.drain()
            progress.done += len(chunk)
    if not by_uid and view.gone and meet(view.gone, uids):
        raise Refused("expunge-issued")
    if failed:
        session.hint()  # why is told before the answer
        return Done(
            f"MODIFIED {await turns.walk(session, len(failed), _set_of, view, failed, by_uid)}", "imap-some-modified"
        )
    return Done()


def _set_of(view: Selected, uids: Sequence[int], by_uid: bool) -> str:
    numbers = uids if by_uid else [number for uid in uids if (number := view.number(uid)) is not None]
    return uidset.encode(numbers)


def _stored_lines(session: Session, view: Selected, rows: list[message.Row], silent: bool) -> Iterator[bytes]:
    for row in rows:
        number = view.number(row.uid)
        if number is None:
            continue
        recent = not session.rev2 and view.is_recent(row.uid)
        said = [] if session.uid_only else [f"UID {row.uid}"]
        if not silent:
            said.append(f"FLAGS ({flags_text(row.flags, row.keywords, recent)})")
        if session.condstore:
            said.append(f"MODSEQ ({row.modseq})")
        start = f"{row.uid} UIDFETCH" if session.uid_only else f"{number} FETCH"
        yield f"* {start} ({' '.join(said)})\r\n".encode()


# COPY, MOVE


async def copy(session: Session, command: Copy) -> Done:
    return await _copy(session, command, by_uid=False, moving=False)


async def uid_copy(session: Session, command: Copy) -> Done:
    return await _copy(session, command, by_uid=True, moving=False)


async def move(session: Session, command: Copy) -> Done:
    return await _copy(session, command, by_uid=False, moving=True)


async def uid_move(session: Session, command: Copy) -> Done:
    return await _copy(session, command, by_uid=True, moving=True)


def _copy_some(
    tx: Tx, acting: Acting, source: Place, uids: "array[int]", target: str, moving: bool, now: float
) -> tuple[Place, message.Copied]:
    if acting is not None:
        sharing, who = acting
        return sharing.copy(tx, who, source, uids, target, moving, now)
    box = mailbox.find(tx, source.account_id, target)
    if box is None:
        raise Refused("no-such-mailbox", name=target[:100], target=True)
    do = message.move if moving else message.copy
    return Place(source.account_id, box.id), do(tx, source.account_id, source.mailbox_id, uids, box.id, now)


def _sets(copied: message.Copied) -> str:
    return f"{uidset.encode(copied.source)} {uidset.encode(copied.target)}"


async def _copy(session: Session, command: Copy, by_uid: bool, moving: bool) -> Done:
    """rfc9051 6.4.7, RFC 6851. A COPY is all or nothing, so it is one transaction. A MOVE moves each message or leaves
    it (rfc6851 3.3): portions, each with a COPYUID of its own; what went before a failure stays moved and was told."""
    view = session.writable() if moving else session.view()
    uids = view.resolve(command.set, by_uid)
    if not by_uid and view.gone and meet(view.gone, uids):
        raise Refused("expunge-issued")
    if not moving and len(uids) > MAX_COPY:
        raise Refused("copy-too-many", limit=MAX_COPY)
    code, found = "", False
    with Progress(session, len(uids) * moving) as progress:
        for portion in _chunks(uids) if moving and uids else (uids,):
            target, copied = await _write(
                session,
                len(portion),
                _copy_some,
                _acting(session, command.mailbox),
                view.place,
                portion,
                command.mailbox,
                moving,
                session.services.clock.now(),
            )
            progress.done += len(portion)
            if moving or target.is_of(view.place):
                session.hint()
            found |= bool(copied.source)
            if copied.source and copied.uid_validity:
                sets = await turns.walk(session, len(copied.source), _sets, copied)
                code = f"COPYUID {copied.uid_validity} {sets}"
                if moving:
                    session.untagged("OK", code, "imap-moved")  # before the EXPUNGEs (rfc6851 4.3)
    if not found:
        return Done("", "imap-nothing-there")
    return Done(gone=True) if moving else Done(code)


# EXPUNGE


async def expunge(session: Session, _: Nothing) -> Done:
    view = session.writable()
    return await remove(session, view, view.uids)


async def uid_expunge(session: Session, command: Uids) -> Done:
    view = session.writable()
    return await remove(session, view, view.resolve(command.set, by_uid=True))


async def close(session: Session, _: Nothing) -> Done:
    """rfc9051 6.4.1: what is flagged \\Deleted goes, silently."""
    view = session.view()
    if not view.read_only and "e" in view.rights:
        await remove(session, view, view.uids)
    await session.deselect()
    return Done()  # without HIGHESTMODSEQ: what others did meanwhile has not been told (rfc7162 3.2.8)


async def remove(session: Session, view: Selected, uids: "array[int]") -> Done:
    """Those of `uids` that are flagged \\Deleted go. A read finds them: the writer then does no more than it must."""
    if not uids:
        return Done()
    db = session.services.db
    read = db.look if len(uids) <= FEW else db.read
    flagged = await read(
        scan.select, view.account_id, view.mailbox_id, uids[0], uids[-1], scan.has_flag(message.DELETED)
    )
    doomed = await turns.walk(session, len(flagged), meet, uids, flagged)
    with Progress(session, len(doomed)) as progress:
        for chunk in _chunks(doomed):
            now = session.services.clock.now()
            await _write(session, len(chunk), _expunge, _acting(session), view.place, chunk, now)
            session.hint()
            progress.done += len(chunk)
    return Done(gone=bool(doomed))


def _expunge(tx: Tx, acting: Acting, place: Place, uids: "array[int]", now: float) -> list[int]:
    if acting is None:
        return message.expunge(tx, place.account_id, place.mailbox_id, uids, now)
    sharing, who = acting
    return sharing.expunge(tx, who, place, uids, now)
