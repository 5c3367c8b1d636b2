"""Background tasks: what ends in an error is told, what is kept begins again, and all end
together.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from epochgate.engine.virtual_time import run_virtually
from epochgate.supervision.task_keeper import TaskKeeper, TooManyTasksError

Told = list[tuple[str, str, bool]]


def make_keeper(told: Told, max_tasks: int = 8) -> TaskKeeper:
    def tell(name: str, error: Exception, is_begun_again: bool) -> None:
        told.append((name, str(error), is_begun_again))

    return TaskKeeper(tell, max_tasks=max_tasks)


async def wait_for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def test_an_error_that_ends_a_task_is_told() -> None:
    told: Told = []

    async def fail() -> None:
        raise ValueError("the disk is gone")

    async def main(_: random.Random) -> None:
        keeper = make_keeper(told)
        task = keeper.spawn("writing", fail())
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert keeper.count == 0

    run_virtually(main)
    assert told == [("writing", "the disk is gone", False)]


def test_a_task_that_ends_well_or_is_cancelled_is_not_told() -> None:
    told: Told = []

    async def main(_: random.Random) -> None:
        keeper = make_keeper(told)
        await keeper.spawn("short", asyncio.sleep(1))
        keeper.spawn("long", wait_for_ever())
        await keeper.close()
        assert keeper.count == 0

    run_virtually(main)
    assert told == []


def test_kept_work_begins_again_after_an_error_and_after_it_has_ended() -> None:
    told: Told = []
    begun: list[float] = []

    async def main(_: random.Random) -> None:
        loop = asyncio.get_running_loop()

        async def work() -> None:
            begun.append(loop.time())
            if len(begun) == 1:
                raise ConnectionError("no answer")

        keeper = make_keeper(told)
        keeper.keep("election", work, pause_seconds=6.0)
        await asyncio.sleep(15)
        await keeper.close()

    run_virtually(main)
    assert [second - begun[0] for second in begun] == [0.0, 6.0, 12.0]
    assert told == [("election", "no answer", True)]


def test_there_is_a_bound() -> None:
    async def main(_: random.Random) -> None:
        keeper = make_keeper([], max_tasks=2)
        keeper.spawn("one", wait_for_ever())
        keeper.spawn("two", wait_for_ever())
        with pytest.raises(TooManyTasksError, match="three: 2 tasks"):
            keeper.spawn("three", wait_for_ever())
        await keeper.close()
        await keeper.close()

    run_virtually(main)
