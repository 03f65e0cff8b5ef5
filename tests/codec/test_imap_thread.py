"""THREAD's two algorithms: the RFC's cases, against a plain reading of it, and letters that lie."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from congvu.codec import imap_thread
from congvu.codec.imap_thread import Letters, ordered_subject, references, render

Letter = tuple[int, int, int, tuple[int, ...]]  # date, subject (lowest bit: a reply), identifier, ancestors


def made(letters: Sequence[Letter]) -> Letters:
    found = Letters()
    for date, subject, own, ancestors in letters:
        found.add(date, (subject, own, *ancestors))
    return found


def threads(letters: Sequence[Letter]) -> str:
    return "".join(render(references(made(letters)), lambda node: node + 1))


S = [0, 2, 4, 6]  # subjects; + 1 is "Re:"


@pytest.mark.parametrize(
    ("letters", "wanted"),
    [
        ([], ""),
        ([(1, 2, 0, ())], "(1)"),
        ([(1, 2, 10, ()), (2, 3, 11, (10,)), (3, 3, 12, (10, 11))], "(1 2 3)"),
        ([(1, 2, 10, ()), (2, 3, 11, (10,)), (3, 3, 12, (10,))], "(1 (2)(3))"),
        # what the RFC shows: a thread that forks below its first letters
        (
            [(n, 0, 10 + n, a) for n, a in enumerate([(), (), (11,), (11, 12), (11, 12), (14,)])],
            "(1)(2 3 (4)(5 6))",
        ),
        # younger ones first in the mailbox: by date all the same
        ([(3, 3, 12, (10, 11)), (2, 3, 11, (10,)), (1, 2, 10, ())], "(3 2 1)"),
        # the parent is not there: one child takes its place, several stand together
        ([(2, 3, 11, (10,))], "(1)"),
        ([(2, 3, 11, (10,)), (1, 5, 12, (10,))], "((2)(1))"),
        ([(2, 0, 11, (8, 9, 10)), (1, 0, 12, (8,))], "((2)(1))"),
        # of two letters with one identifier the second has none
        ([(1, 0, 10, ()), (2, 0, 10, ()), (3, 0, 11, (10,))], "(1 3)(2)"),
        # one subject: an answer goes below, equals stand together, answers alone too
        ([(1, 2, 10, ()), (2, 3, 11, ())], "(1 2)"),
        ([(1, 3, 10, ()), (2, 2, 11, ())], "(2 1)"),
        ([(1, 2, 10, ()), (2, 2, 11, ())], "((1)(2))"),
        ([(1, 3, 10, ()), (2, 3, 11, ())], "((1)(2))"),
        ([(1, 2, 10, ()), (2, 2, 11, ()), (3, 3, 12, ())], "((1)(2)(3))"),
        ([(1, 0, 10, ()), (2, 1, 11, ())], "(1)(2)"),
        # with an empty node: it takes the others in
        ([(1, 3, 11, (5,)), (2, 3, 12, (5,)), (3, 2, 13, ())], "((1)(2)(3))"),
        ([(1, 3, 11, (5,)), (2, 3, 12, (5,)), (3, 3, 13, (6,)), (4, 3, 14, (6,))], "((1)(2)(3)(4))"),
        # loops
        ([(1, 0, 10, (10,))], "(1)"),
        ([(1, 0, 10, (11,)), (2, 0, 11, (10,))], "(2 1)"),
    ],
)
def test_references(letters: list[Letter], wanted: str) -> None:
    assert threads(letters) == wanted


def test_a_loop_of_three_is_cut_and_nobody_is_lost() -> None:
    assert threads([(1, 0, 10, (12,)), (2, 0, 11, (10,)), (3, 0, 12, (11,))]) == "(3 1 2)"


def test_ordered_subject() -> None:
    letters = [(5, 2, 1, ()), (1, 4, 2, ()), (3, 3, 3, ()), (2, 0, 4, ()), (4, 0, 5, ()), (6, 2, 6, ())]
    assert "".join(render(ordered_subject(made(letters)), lambda node: node + 1)) == "(2)(4 5)(3 (1)(6))"


# A plain reading of rfc5256, step by step, with the same first step (each letter's own parent first).


@dataclass(eq=False)
class Node:
    number: int | None
    date: int = 0
    subject: int = 0
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)

    def adopt(self, child: "Node") -> None:
        if child.parent is not None:
            child.parent.children.remove(child)
        child.parent = self
        self.children.append(child)

    def above(self, other: "Node") -> bool:
        while other is not self:
            if other.parent is None:
                return False
            other = other.parent
        return True

    def key(self) -> tuple[int, int]:
        return (self.date, self.number) if self.number is not None else min(child.key() for child in self.children)

    def said(self) -> int:
        return self.subject if self.number is not None else min(self.children, key=Node.key).subject


def plainly(letters: Sequence[Letter]) -> str:
    nodes = [Node(n, date, subject) for n, (date, subject, _, _) in enumerate(letters, 1)]
    table: dict[int, Node] = {}
    for node, letter in zip(nodes, letters, strict=True):
        if letter[2]:
            table.setdefault(letter[2], node)

    def get(key: int) -> Node:
        return table.setdefault(key, Node(None))

    def link(parent: Node, child: Node) -> None:
        if child.parent is None and not child.above(parent):
            parent.adopt(child)

    for node, letter in zip(nodes, letters, strict=True):
        if letter[3]:
            link(get(letter[3][-1]), node)
    for letter in letters:
        for before, after in zip(letter[3], letter[3][1:], strict=False):
            link(get(before), get(after))
    top = Node(None)
    for node in [*nodes, *table.values()]:
        if node.parent is None:
            top.adopt(node)

    def prune(node: Node) -> None:
        for child in list(node.children):
            prune(child)
        for child in list(node.children):
            if child.number is None and (not child.children or node is not top or len(child.children) == 1):
                for grandchild in list(child.children):
                    node.adopt(grandchild)
                node.children.remove(child)

    prune(top)
    subjects: dict[int, Node] = {}
    roots = sorted(top.children, key=Node.key)
    for node in roots:
        known = subjects.setdefault(node.said() >> 1, node)
        if known.number is not None and (node.number is None or (known.said() & 1 and not node.said() & 1)):
            subjects[node.said() >> 1] = node
    for node in roots:
        key = node.said() >> 1
        known = subjects[key]
        if not key or known is node:
            continue
        if known.number is None and node.number is None:
            for child in list(node.children):
                known.adopt(child)
            top.children.remove(node)
        elif known.number is None or (node.said() & 1 and not known.said() & 1):
            known.adopt(node)
        else:
            both = Node(None)
            top.adopt(both)
            both.adopt(known)
            both.adopt(node)
            subjects[key] = both

    def write(node: Node) -> str:
        children = sorted(node.children, key=Node.key)
        inner = [write(child) for child in children]
        own = [] if node.number is None else [str(node.number)]
        if len(inner) == 1:
            return " ".join([*own, inner[0]])
        return " ".join([*own, "".join(f"({text})" for text in inner)] if inner else own)

    return "".join(f"({write(node)})" for node in sorted(top.children, key=Node.key))


key = st.integers(0, 8)
letter = st.tuples(st.integers(-3, 6), st.integers(0, 7), key, st.lists(st.integers(1, 12), max_size=4).map(tuple))


@given(st.lists(letter, max_size=12))
def test_references_as_the_rfc_reads(letters: list[Letter]) -> None:
    assert threads(letters) == plainly(letters)


@given(st.lists(letter, max_size=12), st.integers(1, 3))
def test_runs_and_portions_do_not_matter(letters: list[Letter], size: int) -> None:
    wanted = threads(letters)
    found = Letters()
    for at in range(0, len(letters), size):
        found.extend(made(letters[at : at + size]))
    before, imap_thread.RUN = imap_thread.RUN, size
    try:
        assert "".join(render(references(found), lambda node: node + 1)) == wanted
    finally:
        imap_thread.RUN = before


def test_a_chain_of_a_hundred_thousand() -> None:
    total = 100_000
    found = Letters()
    for node in reversed(range(total)):  # the deepest first
        found.add(node, (0, node + 1, *((node,) if node else ())))
    said = "".join(render(references(found), lambda node: total - node))
    assert said == "(" + " ".join(map(str, range(1, total + 1))) + ")"


def test_everybody_names_everybody() -> None:
    total = 2_000
    found = Letters()
    for node in range(total):
        found.add(0, (2, node + 1, *((node * 7 + n) % total + 1 for n in range(100))))
    said = "".join(render(references(found), lambda node: node))
    numbers = said.replace("(", " ").replace(")", " ").split()
    assert sorted(map(int, numbers)) == list(range(total))


def test_forks_within_forks() -> None:
    """Every letter has two answers, of which one goes on."""
    found = Letters()
    for node in range(20_001):
        parent = (node - 1) // 2 * 2 if node else None
        found.add(node, (0, node + 1, *(() if parent is None else (parent + 1,))))
    said = "".join(render(references(found), lambda node: node))
    assert said.count("(") == said.count(")") == 20_001
    assert found.ends == array("I", [0, *range(1, 20_001)])
