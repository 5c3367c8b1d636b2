"""Clock, entropy and compute of the machine at hand."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from epochgate.engine.system import SystemClock, SystemEntropy, ThreadCompute


def test_the_clock_tells_unix_time() -> None:
    before = time.time()
    assert before <= SystemClock().get_unix_seconds() <= time.time()


def test_entropy_never_repeats() -> None:
    draws = [SystemEntropy().get_bytes(32) for _ in range(3)]
    assert [len(draw) for draw in draws] == [32, 32, 32]
    assert len(set(draws)) == 3


async def test_heavy_work_leaves_the_loop_free_and_runs_one_at_a_time() -> None:
    compute, may_go_on = ThreadCompute(), threading.Event()
    names: list[str] = []

    def work(number: int) -> int:
        names.append(threading.current_thread().name)
        assert may_go_on.wait(10)
        return number

    running = [asyncio.create_task(compute.run(work, number)) for number in range(3)]
    while not names:  # noqa: ASYNC110 - a thread cannot set the loop's Event, and that the loop turns is the point
        await asyncio.sleep(0.001)
    assert len(names) == 1
    may_go_on.set()
    assert await asyncio.gather(*running) == [0, 1, 2]
    assert set(names) == {"epochgate-compute_0"}
    compute.close()


async def test_what_the_work_raises_comes_back() -> None:
    compute = ThreadCompute()
    with pytest.raises(ZeroDivisionError):
        await compute.run(divmod, 1, 0)
    compute.close()
