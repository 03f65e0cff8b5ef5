"""Every harness holds its seeds and a few hundred bent ones, always the same; `make fuzz` goes on from there."""

import random
from types import ModuleType

import pytest

from tests.fuzz.driver import COMMON, attempt, bend, harnesses, seeds_of


@pytest.mark.parametrize("module", harnesses(""), ids=lambda module: module.__name__.rpartition("_")[2])
def test_harness(module: ModuleType) -> None:
    chance = random.Random(7)
    words = [*COMMON, *getattr(module, "WORDS", [])]
    seeds = seeds_of(module)
    for data in [*seeds, *(bend(chance, seeds, words) for _ in range(300))]:
        assert not (wrong := attempt(module.one, data)), f"{wrong}\n{data[:500]!r}"
