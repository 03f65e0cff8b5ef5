"""SORT and THREAD (RFC 5256, SORT=DISPLAY RFC 5957, ESORT rfc5267 3): what a search finds, in another order.

found by `search` → read in portions, each a sorted run of compact keys → put together in a thread → one answer. Memory
is some dozen bytes a message whatever is asked; each read is short, and no step holds other sessions up. Large answers
are made one after the other in a worker. Must never tell EXPUNGE.
"""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from itertools import islice

from congvu.base.failure import Refused
from congvu.codec.imap import Sort, Thread
from congvu.codec.imap_thread import Letters, ordered_subject, references, render
from congvu.mailstore import sorting
from congvu.mailstore.sorting import Key, Run
from congvu.servers import turns
from congvu.servers.imap import search
from congvu.servers.imap.progress import Progress
from congvu.servers.imap.session import Done, Session
from congvu.servers.imap.view import Selected

PORTION = 5_000  # messages read at once
LARGE = 50_000  # messages beyond which only one sort or thread is made at a time
KEY_BYTES = 128 << 20  # of all keys of one SORT
ANCESTORS = 4_000_000  # of all letters of one THREAD; the nearest ones count
MAX_THREAD = 2_000_000  # messages of one THREAD: some hundred bytes each while it is made
PIECES = 10_000  # of a THREAD's answer, written at once

_ALGORITHMS = {"ORDEREDSUBJECT": ordered_subject, "REFERENCES": references}


def _turn(session: Session, total: int) -> AbstractAsyncContextManager[None]:
    """Large answers wait for each other."""
    return turns.large(session) if total > LARGE else nullcontext()


# SORT


async def sort(session: Session, command: Sort) -> Done:
    return await _sort(session, command, by_uid=False)


async def uid_sort(session: Session, command: Sort) -> Done:
    return await _sort(session, command, by_uid=True)


async def _sort(session: Session, command: Sort, by_uid: bool) -> Done:
    view = session.view()
    found = await search.matching(session, command.key)
    with Progress(session, len(found)) as progress:
        async with _turn(session, len(found)):
            ordered = await _sorted(session, found, [(Key[key.name], key.reverse) for key in command.keys], progress)
    chosen = found if command.returns is None else search.spoken_of(ordered, command.returns, command.partial)
    highest = await search.highest_modseq(session, command.key, chosen)
    numbers = ordered if by_uid else await asyncio.to_thread(_numbered, view, ordered)
    if command.returns is None:
        await search.tell_plainly(session, b"SORT", numbers, highest)
    else:
        await search.tell(session, numbers, command.returns, by_uid, highest, command.partial)
    return Done(held=search.names_numbers(command.key))


async def _sorted(
    session: Session, found: "array[int]", keys: list[tuple[Key, bool]], progress: Progress
) -> "array[int]":
    """The UIDs in the wanted order; messages that are gone meanwhile are left out."""
    view = session.view()
    room = max(24, min(1024, KEY_BYTES // max(len(found), 1)))
    runs: list[Run] = []
    for at in range(0, len(found), PORTION):
        progress.done = at
        portion = found[at : at + PORTION]
        runs.append(await turns.read(session, sorting.run, view.account_id, view.mailbox_id, portion, keys, room))
    return await asyncio.to_thread(lambda: array("I", sorting.merged(runs)))


def _numbered(view: Selected, uids: "array[int]") -> "array[int]":
    """Sequence numbers of UIDs in any order. The view does not change while a command runs."""
    return array("I", (bisect_left(view.uids, uid) + 1 for uid in uids))


# THREAD


async def thread(session: Session, command: Thread) -> Done:
    return await _thread(session, command, by_uid=False)


async def uid_thread(session: Session, command: Thread) -> Done:
    return await _thread(session, command, by_uid=True)


async def _thread(session: Session, command: Thread, by_uid: bool) -> Done:
    view = session.view()
    found = await search.matching(session, command.key)
    if len(found) > MAX_THREAD:
        raise Refused("thread-too-many", limit=MAX_THREAD)
    with Progress(session, len(found)) as progress:
        async with _turn(session, len(found)):
            uids, letters = await _letters(session, found, progress)
            forest = await asyncio.to_thread(_ALGORITHMS[command.algorithm], letters)
            del letters
    # The turn is over: who reads slowly must not make others wait.
    numbers = uids if by_uid else await turns.walk(session, len(uids), view.numbers, uids)
    number: Callable[[int], int] = numbers.__getitem__
    pieces = render(forest, number)
    session.send(b"* THREAD", b" " * bool(uids))
    while piece := await asyncio.to_thread(_some, pieces):
        session.send(piece)
        await session.stream.drain()
    session.send(b"\r\n")
    return Done(held=search.names_numbers(command.key))


async def _letters(session: Session, found: "array[int]", progress: Progress) -> tuple["array[int]", Letters]:
    view = session.view()
    ancestors = max(1, min(100, ANCESTORS // max(len(found), 1)))
    uids, letters = array("I"), Letters()
    for at in range(0, len(found), PORTION):
        progress.done = at
        portion = found[at : at + PORTION]
        there, more = await turns.read(session, sorting.letters, view.account_id, view.mailbox_id, portion, ancestors)
        uids.extend(there)
        letters.extend(more)
    return uids, letters


def _some(pieces: Iterator[str]) -> bytes:
    return "".join(islice(pieces, PIECES)).encode()
