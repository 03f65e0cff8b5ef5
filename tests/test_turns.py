"""Long work takes turns: by key, and by coming within a key; a place is never lost."""

import asyncio

import pytest

from congvu.base.turns import Turns


def test_keys_take_turns() -> None:
    """Ten who ask for one key do not keep the other key waiting for ten."""

    async def main() -> list[str]:
        turns, order = Turns(1), list[str]()

        async def work(key: str, number: int) -> None:
            async with turns.turn(key):
                order.append(f"{key}{number}")
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for key, count in (("a", 5), ("b", 2), ("c", 1)):
                for number in range(count):
                    group.create_task(work(key, number))
        return order

    assert asyncio.run(main()) == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"]


@pytest.mark.parametrize("places", [1, 3])
def test_places(places: int) -> None:
    async def main() -> int:
        turns, inside, most = Turns(places), 0, 0

        async def work(key: int) -> None:
            nonlocal inside, most
            async with turns.turn(key % 4):
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(0.001)
                    if key % 5 == 0:
                        raise ValueError
                finally:
                    inside -= 1

        tasks = [asyncio.create_task(work(key)) for key in range(40)]
        await asyncio.sleep(0.002)
        for task in tasks[::3]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert inside == 0
        assert most == places
        inside = most = 0
        await asyncio.wait_for(asyncio.gather(*(work(1) for _ in range(places))), 5)  # all places are free again
        return most

    assert asyncio.run(main()) == places


def test_who_gives_up_when_just_given_a_place_passes_it_on() -> None:
    async def main() -> bool:
        turns = Turns(1)
        first, second = turns.turn("a"), turns.turn("b")
        await first.__aenter__()
        waiting = asyncio.create_task(second.__aenter__())
        await asyncio.sleep(0)
        await first.__aexit__(None, None, None)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with asyncio.timeout(1), turns.turn("c"):
            return True

    assert asyncio.run(main())
