"""The soak in short, on both engines; and proof that it can fail: every kind of loss is noticed."""

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from tests.soak.disk import Disk
from tests.soak.ground import traces
from tests.soak.letters import Trace, letter, trace, word
from tests.soak.model import (
    INBOX,
    Annotate,
    Append,
    Box,
    Copy,
    Delete,
    Expunge,
    Grant,
    Known,
    Ledger,
    Missed,
    Msg,
    Op,
    Rename,
    Replace,
    Seen,
    Store,
    Tree,
    apply,
    digest,
    missed,
    settle,
)
from tests.soak.questions import threads
from tests.soak.run import soak


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own, which nobody else may enter: PostgreSQL runs as somebody else."""
    made = Path(tempfile.mkdtemp(prefix="congvu-soak-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def told(name: str, wrong: list[str], folder: Path) -> str:
    """A finding in full, and the end of the server's log; kept in dist/ too, as test output may be cut."""
    logs = [path.read_text("utf-8", "replace")[-20_000:] for path in sorted(folder.glob("g*/*.log"))]
    words = "\n".join([*wrong, *logs])
    kept = Path(__file__).parents[2] / "dist" / "soak" / f"{name}-{time.strftime('%H%M%S')}-{os.getpid()}.txt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(words, "utf-8")
    return f"{words}\n(kept in {kept})"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_nothing_acknowledged_is_lost(engine: str, folder: Path) -> None:
    tally, wrong = soak(engine, 7, 60, f"short-{engine}", folder)
    assert not wrong, told(engine, wrong, folder)
    assert tally.total() and tally.checks
    assert tally.done["letters"] and tally.done["commands"] and tally.done["looks"]


def test_nothing_is_lost_on_a_disk_that_fails_fills_up_and_loses_power(tmp_path: Path) -> None:
    reason = Disk.possible()
    if reason:
        pytest.skip(f"needs root and loop devices: {reason}")
    tally, wrong = soak("sqlite", 9, 30, "short-disk-12", tmp_path, failing=True)
    assert not wrong, told("failing-disk", wrong, tmp_path)
    assert tally.kills["power cut"] and tally.checks


# ---- the model: what it must take and what it must not

A, B, C = (bytes([n]) * 16 for n in range(3))
SEEN = frozenset({"\\Seen"})
NONE = frozenset[str]()


def world() -> tuple[Tree, dict[str, Seen], Ledger]:
    """INBOX with one letter that arrived, k/a with two messages; the server shows the same."""
    boxes = {
        INBOX: Box(7, 2, 5, {1: Msg(A, 100, NONE, 5)}),
        "k/a": Box(8, 3, 9, {1: Msg(B, 10, SEEN, 8), 2: Msg(C, 20, NONE, 9)}, {"/private/comment": b"x"}),
    }
    ledger = Ledger({"m-1": (A, 90)}, {0: {"m-1"}}, {0: {"m-1"}})
    seen = {
        INBOX: Seen(7, 2, 5, {1: (NONE, 5, 100)}, {}, {}),
        "k/a": Seen(8, 3, 9, {1: (SEEN, 8, 10), 2: (NONE, 9, 20)}, {}, {}, {"/private/comment": b"x"}),
    }
    return Tree(0, boxes, {"k/old": 6}), seen, ledger


def looked(tree: Tree, seen: dict[str, Seen], ledger: Ledger) -> list[str]:
    return settle(tree, seen, ledger, ledger.due(tree.account))


def row(seen: dict[str, Seen], name: str, **changed: object) -> dict[str, Seen]:
    old = seen[name]
    fields = {word: getattr(old, word) for word in Seen.__slots__} | changed
    return {**seen, name: Seen(**fields)}


def test_what_is_as_it_was_is_taken() -> None:
    tree, seen, ledger = world()
    assert looked(tree, seen, ledger) == []


LOSSES: list[tuple[str, Callable[[dict[str, Seen]], dict[str, Seen]]]] = [
    ("is lost", lambda s: row(s, "k/a", messages={1: (SEEN, 8, 10)})),
    ("had flags", lambda s: row(s, "k/a", messages={1: (NONE, 8, 10), 2: (NONE, 9, 20)})),
    ("had modseq", lambda s: row(s, "k/a", messages={1: (SEEN, 7, 10), 2: (NONE, 9, 20)})),
    ("had modseq", lambda s: row(s, "k/a", messages={1: (SEEN, 10, 10), 2: (NONE, 9, 20)}, modseq=10)),
    ("other bytes", lambda s: row(s, "k/a", digests={1: A})),
    ("other bytes", lambda s: row(s, "k/a", messages={1: (SEEN, 8, 11), 2: (NONE, 9, 20)})),
    ("UIDVALIDITY", lambda s: row(s, "k/a", validity=9)),
    ("UIDNEXT was", lambda s: row(s, "k/a", following=2)),
    ("HIGHESTMODSEQ", lambda s: row(s, "k/a", modseq=8)),
    ("are there", lambda s: {INBOX: s[INBOX]}),
    ("notes were", lambda s: row(s, "k/a", notes={"/private/comment": b"y"})),
    ("notes were", lambda s: row(s, INBOX, notes={"/private/comment": b"x"})),
    ("open to", lambda s: row(s, "k/a", rights={"b": "lrs"})),
    (
        "new messages due",
        lambda s: row(s, "k/a", messages={**s["k/a"].messages, 3: (NONE, 10, 5)}, digests={3: A}, following=4),
    ),
    (
        "twice",
        lambda s: row(
            s,
            INBOX,
            messages={**s[INBOX].messages, 2: (NONE, 6, 100)},
            digests={2: A},
            delivered={2: "m-1"},
            following=3,
        ),
    ),
]


@pytest.mark.parametrize(("told", "spoil"), LOSSES)
def test_every_loss_is_noticed(told: str, spoil: Callable[[dict[str, Seen]], dict[str, Seen]]) -> None:
    tree, seen, ledger = world()
    assert any(told in problem for problem in looked(tree, spoil(seen), ledger))


def test_an_acknowledged_letter_must_arrive_and_another_may() -> None:
    tree, seen, ledger = world()
    ledger.tried |= {"m-2": (B, 40), "m-3": (C, 40)}
    ledger.acknowledge("m-2", [0])
    assert any("m-2 was acknowledged and is lost" in problem for problem in looked(tree, seen, ledger))
    both = row(
        seen,
        INBOX,
        messages={**seen[INBOX].messages, 2: (NONE, 6, 100), 3: (NONE, 7, 100)},
        digests={2: B, 3: C},
        delivered={2: "m-2", 3: "m-3"},
        following=4,
        modseq=7,
    )
    assert looked(tree, both, ledger) == []
    assert ledger.arrived[0] == {"m-1", "m-2", "m-3"}


def test_a_uid_is_given_once() -> None:
    tree, seen, ledger = world()
    tree.boxes["k/a"].following = 5  # 3 and 4 were there and were expunged
    tree.open = Append("k/a", ((A, 5, NONE),))
    back = row(seen, "k/a", messages={**seen["k/a"].messages, 4: (NONE, 10, 5)}, digests={4: A}, following=5, modseq=10)
    assert any("UID 4 came although" in problem for problem in looked(tree, back, ledger))


OPEN: list[Op] = [
    Append("k/a", ((A, 5, SEEN), (B, 6, NONE))),
    Replace("k/a", 1, "k/a", (A, 5, SEEN)),
    Replace("k/a", 2, INBOX, (A, 5, NONE)),
    Annotate("k/a", (("/private/comment", None), ("/shared/comment", b"y"))),
    Grant("k/a", "b", "lr"),
    Store("k/a", (1, 2), "+", frozenset({"\\Flagged"})),
    Copy("k/a", (1, 2), INBOX, moving=False),
    Copy("k/a", (1, 2), INBOX, moving=True),
    Copy("k/a", (1, 2), "k/a", moving=False),
    Expunge("k/a", (1, 2)),
    Delete("k/a"),
    Rename("k/a", "k/b"),
]


def done(tree: Tree, seen: dict[str, Seen], op: Op) -> dict[str, Seen]:
    """What the server shows once the command has happened."""
    after = deepcopy(tree)
    arriving = apply(after, op)
    shown = {}
    for name, box in after.boxes.items():
        old = seen.get(name) or seen["k/a"]
        rows = {uid: (m.flags, m.modseq + (5 if m.grown else 0), m.size) for uid, m in box.messages.items()}
        digests = {}
        following = box.following
        for content, size, flags in arriving.get(name, []):
            rows[following], digests[following] = (flags, 14, size), content
            following += 1
        shown[name] = Seen(old.validity, following, 14, rows, digests, {}, box.notes, box.rights)
    return shown


@pytest.mark.parametrize("op", OPEN, ids=repr)
def test_an_open_command_happened_or_not(op: Op) -> None:
    tree, seen, ledger = world()
    tree.open = op
    assert looked(tree, seen, ledger) == []
    assert tree.open is None
    tree, seen, ledger = world()
    shown = done(tree, seen, op)
    assert looked(tree, shown, ledger), "without the command this is strange"
    tree.open = op
    assert looked(tree, shown, ledger) == []
    assert looked(tree, shown, ledger) == []


def test_half_a_command_is_noticed() -> None:
    tree, seen, ledger = world()
    tree.open = Store("k/a", (1, 2), "+", frozenset({"\\Flagged"}))
    half = row(seen, "k/a", messages={1: (SEEN | {"\\Flagged"}, 10, 10), 2: (NONE, 9, 20)}, modseq=10)
    assert looked(tree, half, ledger)
    tree, seen, ledger = world()
    tree.open = Copy("k/a", (1, 2), INBOX, moving=True)
    half = row(done(tree, seen, tree.open), "k/a", messages=seen["k/a"].messages)
    assert looked(tree, half, ledger)


def test_only_headers_stand_before_a_letter() -> None:
    content = letter(random.Random(1), "m-1", 5000, "thu@xa.test")
    ledger = Ledger({"m-1": (digest(content), len(content))})
    assert ledger.is_whole("m-1", b"Return-Path: <x>\r\n" + content)
    for spoilt in (content, b"Return-Path: <x>\r\n" + content[:-1], b"Return-Path: <x>" + content, content + b"\r\n"):
        assert not ledger.is_whole("m-1", spoilt)


def test_the_seed_says_what_is_sent() -> None:
    assert letter(random.Random("s"), "m", 200_000, "a@b") == letter(random.Random("s"), "m", 200_000, "a@b")


def test_others_who_read_change_modseqs_only() -> None:
    tree, seen, ledger = world()
    grown = row(seen, "k/a", messages={1: (SEEN, 10, 10), 2: (NONE, 9, 20)}, modseq=10, rights={"b": "lrs"})
    tree.boxes["k/a"].rights = {"b": "lrs"}
    assert looked(tree, grown, ledger) == []
    tree.boxes["k/a"].messages[1].modseq = 11
    assert any("had modseq" in problem for problem in looked(tree, grown, ledger))


# UIDs 1 to 5 were known at modseq 9; 2 and 4 vanished since, 3 was flagged, 6 and 7 came and 7 went
THEN = Known(8, 9, 6, frozenset({1, 2, 3, 4, 5}))
NOW = Seen(8, 8, 14, {1: (NONE, 4, 1), 3: (SEEN, 12, 1), 5: (NONE, 9, 1), 6: (NONE, 13, 1)}, {}, {})
TRUE = Missed(8, frozenset({2, 4, 7}), {3: (SEEN, 12), 6: (NONE, 13)})


@pytest.mark.parametrize("vanished", [{2, 4}, {2, 4, 7}])
def test_exactly_what_was_missed_is_told(vanished: set[int]) -> None:
    assert missed(THEN, Missed(8, frozenset(vanished), TRUE.changed), NOW, others=False) == []


@pytest.mark.parametrize(
    "told_so",
    [
        Missed(8, frozenset({2}), TRUE.changed),
        Missed(8, frozenset({1, 2, 4}), TRUE.changed),
        Missed(8, frozenset({2, 4, 8}), TRUE.changed),
        Missed(8, TRUE.vanished, {3: (SEEN, 12)}),
        Missed(8, TRUE.vanished, {**TRUE.changed, 1: (NONE, 4)}),
        Missed(8, TRUE.vanished, {**TRUE.changed, 3: (NONE, 12)}),
        Missed(8, TRUE.vanished, {**TRUE.changed, 3: (SEEN, 11)}),
    ],
)
def test_less_or_more_than_was_missed_is_noticed(told_so: Missed) -> None:
    assert missed(THEN, told_so, NOW, others=False)


def test_another_mailbox_has_nothing_to_tell() -> None:
    other = Known(7, 9, 6, THEN.uids)
    assert missed(other, Missed(8, frozenset(), {}), NOW, others=False) == []
    assert missed(other, TRUE, NOW, others=False)


def test_letters_say_by_what_they_are_found() -> None:
    content = letter(random.Random(1), "m-7", 150_000, "a@b", "m-5")
    assert trace(b"Return-Path: <a@b>\r\n" + content) == Trace(word("m-7"), "m-5")
    assert trace(b"Subject: x\r\n\r\n") is None


def test_threads_are_read() -> None:
    assert threads(b"(3 6 (4 23)(44 7 96))(2)") == [[3, 6, 4, 23, 44, 7, 96], [2]]
    assert threads(b"((3)(5))(1)") == [[3, 5], [1]]
    assert threads(b"") == []


def test_traces_are_found_in_a_log() -> None:
    entry = "2026-11-25 00:00:00,000 7 ERROR x failed\nTraceback (most recent call last):\n  File x\n\nValueError: y\nz"
    plain = "2026-11-25 00:00:00,000 7 INFO x\n\tmore of it\n"
    assert traces(plain + entry + "\n" + plain * 20_000 + entry) == [entry, entry]
    assert traces(plain) == traces("") == []
