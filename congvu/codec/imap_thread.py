"""THREAD (rfc5256 3): conversations out of what is kept of each letter, and their form on the wire.

Pure. Works on compact arrays and without recursion: chains of a million letters, loops and lies in References cost no
more than honest mail, in time that grows (nearly) with the number of letters only. Long work is done in steps that let
other threads go on.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge

RUN = 20_000  # dates sorted in one go: some milliseconds
NONE = -1


class Letters:
    """What is known of the letters, in the order of their sequence numbers. Keys are 64 bits, 0 for none."""

    __slots__ = ("ancestors", "dates", "ends", "ids", "subjects")

    def __init__(self) -> None:
        self.dates = array("q")
        self.subjects = array("Q")  # of the base subject; the lowest bit is set in replies
        self.ids = array("Q")  # of the own Message-ID
        self.ancestors = array("Q")  # of all letters, one after the other, each letter's oldest first
        self.ends = array("I")  # where each letter's ancestors end

    def extend(self, more: "Letters") -> None:
        """`more` follows."""
        before = len(self.ancestors)
        self.dates.extend(more.dates)
        self.subjects.extend(more.subjects)
        self.ids.extend(more.ids)
        self.ancestors.extend(more.ancestors)
        self.ends.extend(end + before for end in more.ends)

    def add(self, date: int, keys: Sequence[int]) -> None:
        """One letter; `keys`: subject, own identifier, ancestors."""
        self.dates.append(date)
        self.subjects.append(keys[0])
        self.ids.append(keys[1])
        self.ancestors.extend(keys[2:])
        self.ends.append(len(self.ancestors))


@dataclass(frozen=True, slots=True)
class Forest:
    """Conversations. A node below `letters` is a letter, one above stands for a letter that is not there.

    `child`: each node's first child, `sibling`: the next one beside it; -1 for none.
    """

    letters: int
    roots: "array[int]"
    child: "array[int]"
    sibling: "array[int]"


def ordered_subject(letters: Letters) -> Forest:
    """ORDEREDSUBJECT: letters of one base subject, the others below the first."""
    order = _by_date(letters.dates)
    parents = array("i", [NONE]) * len(order)
    first: dict[int, int] = {}
    for node in order:
        root = first.setdefault(letters.subjects[node] >> 1, node)
        if root != node:
            parents[node] = root
    return _forest(len(order), order, parents)


def references(letters: Letters) -> Forest:
    """REFERENCES. The steps are those of rfc5256; of step 1 each letter's own parent comes before all that others say
    of their ancestors, so that no link has to be broken again."""
    total = len(letters.dates)
    parents = _linked(letters)
    _pruned(total, parents)
    order = _by_date(letters.dates)
    _gathered(letters, order, parents)
    return _forest(total, order, parents)


def _linked(letters: Letters) -> "array[int]":
    """Step 1: each node's parent. Identifiers without a letter get nodes behind the letters'."""
    total = len(letters.dates)
    node_of: dict[int, int] = {}
    for node, own in enumerate(letters.ids):
        if own:
            node_of.setdefault(own, node)  # of two letters with one identifier the second counts as having none
    parents = array("i", [NONE]) * total
    tops = array("i", range(total))  # towards the root of each node's tree; made shorter by every look

    def named(key: int) -> int:
        node = node_of.get(key)
        if node is None:
            node = node_of[key] = len(parents)
            parents.append(NONE)
            tops.append(node)
        return node

    def link(child: int, parent: int) -> None:
        """Unless `child` has a parent or is above `parent`."""
        if parents[child] != NONE or child == parent:
            return
        top = parent
        while tops[top] != top:
            tops[top] = top = tops[tops[top]]
        if top != child:
            parents[child] = parent
            tops[child] = top

    start = 0
    for node, end in enumerate(letters.ends):
        if end > start:
            link(node, named(letters.ancestors[end - 1]))
        start = end
    start = 0
    for end in letters.ends:
        if end - start > 1:
            before = named(letters.ancestors[start])
            for key in letters.ancestors[start + 1 : end]:
                after = named(key)
                link(after, before)
                before = after
        start = end
    return parents


def _pruned(total: int, parents: "array[int]") -> None:
    """Steps 2 and 3: of the nodes without a letter only roots with several children stay."""
    children: dict[int, int] = {}
    passed: list[int] = []
    for node in range(total):
        parent = parents[node]
        while parent >= total and parents[parent] != NONE:
            passed.append(parent)
            parent = parents[parent]
        for each in passed:
            parents[each] = parent
        passed.clear()
        parents[node] = parent
        if parent >= total:
            children[parent] = children.get(parent, 0) + 1
    for node in range(total):
        if parents[node] >= total and children[parents[node]] == 1:
            parents[node] = NONE


def _gathered(letters: Letters, order: "array[int]", parents: "array[int]") -> None:
    """Steps 4 and 5: roots with one base subject come together."""
    total = len(order)
    subjects = letters.subjects
    roots = array("i")
    speaks: dict[int, int] = {}  # for an empty node its first child
    for node in order:
        parent = parents[node]
        if parent == NONE:
            roots.append(node)
        elif parent >= total and parent not in speaks:
            speaks[parent] = node
            roots.append(parent)

    def subject(root: int) -> int:
        return subjects[speaks.get(root, root)]

    table: dict[int, int] = {}
    for root in roots:
        known = table.setdefault(subject(root) >> 1, root)
        if known < total and (root >= total or (subject(known) & 1 and not subject(root) & 1)):
            table[subject(root) >> 1] = root
    into: dict[int, int] = {}  # empty nodes whose children went to another
    for root in roots:
        key = subject(root) >> 1
        known = table[key]
        if not key or known == root:
            continue
        if known >= total and root >= total:
            into[root] = known
        elif known >= total or (subject(root) & 1 and not subject(known) & 1):
            parents[root] = known
        else:
            table[key] = parents[root] = parents[known] = len(parents)
            parents.append(NONE)
    if into:
        for node in range(total):
            parents[node] = into.get(parents[node], parents[node])


def _forest(total: int, order: "array[int]", parents: "array[int]") -> Forest:
    """Step 6: brothers and sisters, and roots, by date. An empty node has the date of its first child."""
    child = array("i", [NONE]) * len(parents)
    sibling = array("i", [NONE]) * len(parents)
    roots = array("i")
    seen = bytearray(len(parents) - total)
    for node in order:
        parent = parents[node]
        if parent == NONE:
            roots.append(node)
        elif parent >= total and not seen[parent - total]:
            seen[parent - total] = 1
            roots.append(parent)
    for node in reversed(order):
        parent = parents[node]
        if parent != NONE:
            sibling[node] = child[parent]
            child[parent] = node
    return Forest(total, roots, child, sibling)


def _by_date(dates: "array[int]") -> "array[int]":
    """The letters by date; of one date by number. In runs, so that no step is long."""
    runs = [
        array("i", sorted(range(start, min(start + RUN, len(dates))), key=dates.__getitem__))
        for start in range(0, len(dates), RUN)
    ]
    if len(runs) > 1:
        return array("i", merge(*runs, key=lambda node: (dates[node], node)))
    return runs[0] if runs else array("i")


def render(forest: Forest, number: Callable[[int], int]) -> Iterator[str]:
    """`(2)(3 6 (4 23)(44 7 96))`, in small pieces (rfc5256 4)."""
    child, sibling = forest.child, forest.sibling
    waiting: list[int] = []  # for each open parenthesis within a thread that forks: who comes after its node
    for root in forest.roots:
        node = root
        yield "("
        while True:
            if node < forest.letters:
                yield str(number(node))
            below = child[node]
            if below != NONE:
                if node < forest.letters:
                    yield " "
                if sibling[below] != NONE:
                    waiting.append(sibling[below])
                    yield "("
                node = below
                continue
            yield ")"
            while waiting and waiting[-1] == NONE:
                waiting.pop()
                yield ")"
            if not waiting:
                break
            node = waiting[-1]
            waiting[-1] = sibling[node]
            yield "("
