"""What was verified is remembered by every process that shares it, for as long as was said, and proved once."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier, Event

import pytest

from congvu.actions.proofs import Proofs

FORK = multiprocessing.get_context("fork")
PATIENCE = 30


@pytest.fixture
def proofs() -> Iterator[Proofs]:
    made = Proofs()
    yield made
    made.close()


def never() -> bool:
    raise AssertionError("it was remembered")


def test_remembered_for_its_time(proofs: Proofs) -> None:
    one, other = proofs.proof("1 hash", "mật khẩu"), proofs.proof("2 hash", "mật khẩu")
    assert not proofs.prove(one, 10, 20, lambda: False)
    assert not proofs.known(one, 10)
    assert proofs.prove(one, 10, 20, lambda: True)
    assert proofs.prove(one, 10, 20, never)
    assert proofs.known(one, 19.9)
    assert not proofs.known(one, 20)
    assert not proofs.known(other, 10)
    proofs.remember(one, 20, 30)
    assert proofs.known(one, 29)
    assert proofs.proof("1 hash", "mật khẩu") != Proofs().proof("1 hash", "mật khẩu")


def test_a_full_row_forgets_what_ends_first(proofs: Proofs) -> None:
    row = [bytes([7, 0, 0, 0, n]) + bytes(27) for n in range(5)]
    for n, proof in enumerate(row):
        proofs.remember(proof, 0, 100 - n if n < 4 else 200)
    assert [proofs.known(proof, 50) for proof in row] == [True, True, True, False, True]


def check_slowly(path: str, begun: Event, go: Event) -> Callable[[], bool]:
    def check() -> bool:
        with open(path, "ab", buffering=0) as file:  # noqa: PTH123  appended as one piece
            file.write(b"x")
        begun.set()
        return go.wait(PATIENCE)

    return check


def test_two_processes_check_once(proofs: Proofs, tmp_path: os.PathLike[str]) -> None:
    path, proof = os.path.join(tmp_path, "checks"), proofs.proof("1", "x")  # noqa: PTH118
    begun, go = FORK.Event(), FORK.Event()
    check = check_slowly(path, begun, go)
    first, second = (FORK.Process(target=proofs.prove, args=(proof, 10, 20, check)) for _ in range(2))
    first.start()
    assert begun.wait(PATIENCE)
    second.start()
    go.set()
    for each in (first, second):
        each.join(PATIENCE)
        assert each.exitcode == 0
    assert os.stat(path).st_size == 1  # noqa: PTH116
    assert proofs.known(proof, 15)


def test_who_dies_while_checking_holds_nobody_up(proofs: Proofs, tmp_path: os.PathLike[str]) -> None:
    path, proof = os.path.join(tmp_path, "checks"), proofs.proof("1", "x")  # noqa: PTH118
    begun, go = FORK.Event(), FORK.Event()
    dying = FORK.Process(target=proofs.prove, args=(proof, 10, 20, check_slowly(path, begun, go)))
    dying.start()
    assert begun.wait(PATIENCE)
    assert dying.pid is not None
    os.kill(dying.pid, signal.SIGKILL)
    dying.join(PATIENCE)
    assert proofs.prove(proof, 10, 20, lambda: True)


def cross(proofs: Proofs, mine: bytes, barrier: Barrier) -> None:
    for _ in range(200):
        barrier.wait(PATIENCE)
        assert proofs.prove(mine, 10, 20, lambda: True)
        assert proofs.known(mine, 10)


def test_many_at_once(proofs: Proofs) -> None:
    """Processes that write to one row at the same time forget nothing they need and never block each other."""
    barrier = FORK.Barrier(3)
    children = [
        FORK.Process(target=cross, args=(proofs, bytes([1, 0, 0, 0, n]) + bytes(27), barrier)) for n in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(PATIENCE)
        assert child.exitcode == 0
