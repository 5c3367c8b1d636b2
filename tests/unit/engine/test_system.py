"""Clock, entropy and compute of the machine at hand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from epochgate.engine.system import MAX_UNFINISHED, SystemClock, SystemEntropy, ThreadCompute
from epochgate.ports import OutOfTime

SHORT_SECONDS = 0.01
LONG_SECONDS = 60.0


def test_the_clock_tells_unix_time() -> None:
    before = time.time()
    assert before <= SystemClock().get_unix_seconds() <= time.time()


def test_entropy_never_repeats() -> None:
    draws = [SystemEntropy().get_bytes(32) for _ in range(3)]
    assert [len(draw) for draw in draws] == [32, 32, 32]
    assert len(set(draws)) == 3


async def test_heavy_work_leaves_the_loop_free_and_runs_one_at_a_time() -> None:
    compute = ThreadCompute()
    may_go_on = threading.Event()
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
    assert set(names) == {"epochgate-own-work"}
    compute.close()


class Hanging:
    """Models that do not answer before they are let go."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.begun = 0

    async def wait_until_begun(self) -> None:
        while not self.begun:  # noqa: ASYNC110 - a thread cannot set the loop's Event
            await asyncio.sleep(0.001)

    def infer(self, number: int) -> int:
        self.begun += 1
        assert self.may_end.wait(LONG_SECONDS)
        return number


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    model = Hanging()
    yield model
    model.may_end.set()


async def test_what_the_work_raises_comes_back() -> None:
    compute = ThreadCompute()
    for longest_seconds in (None, LONG_SECONDS):
        with pytest.raises(ZeroDivisionError):
            await compute.run(divmod, 1, 0, longest_seconds=longest_seconds)
    with pytest.raises(TimeoutError):
        await compute.run(raise_timeout, longest_seconds=LONG_SECONDS)
    compute.close()
    assert not compute.is_working()


def raise_timeout() -> None:
    raise TimeoutError("the model's own")


async def test_work_that_is_out_of_time_holds_up_neither_its_like_nor_the_nodes_own(
    hanging: Hanging,
) -> None:
    compute = ThreadCompute()
    with pytest.raises(OutOfTime) as late:
        await compute.run(hanging.infer, 1, longest_seconds=SHORT_SECONDS)
    assert (late.value.longest_seconds, late.value.unfinished) == (SHORT_SECONDS, 1)
    assert compute.is_working()
    assert await compute.run(abs, -2, longest_seconds=LONG_SECONDS) == 2
    assert await compute.run(abs, -3) == 3


async def test_the_nodes_own_work_waits_for_no_model(hanging: Hanging) -> None:
    compute = ThreadCompute()
    answer = asyncio.create_task(compute.run(hanging.infer, 1, longest_seconds=LONG_SECONDS))
    await hanging.wait_until_begun()
    async with asyncio.timeout(LONG_SECONDS / 2):
        assert await compute.run(abs, -3) == 3
    hanging.may_end.set()
    assert await answer == 1


async def test_threads_that_hang_are_few_and_work_goes_on_when_one_ends(hanging: Hanging) -> None:
    compute = ThreadCompute()
    for number in range(MAX_UNFINISHED + 2):
        with pytest.raises(OutOfTime) as late:
            await compute.run(hanging.infer, number, longest_seconds=SHORT_SECONDS)
        assert late.value.unfinished == min(number + 1, MAX_UNFINISHED)
    assert hanging.begun == MAX_UNFINISHED, "each of them holds a thread"
    waiting = asyncio.create_task(compute.run(abs, -4, longest_seconds=LONG_SECONDS))
    await asyncio.sleep(0)
    hanging.may_end.set()
    assert await waiting == 4, "and what the late ones said is nobody's answer"


async def test_who_goes_away_leaves_the_thread_to_itself(hanging: Hanging) -> None:
    compute = ThreadCompute()
    running = asyncio.create_task(compute.run(hanging.infer, 1, longest_seconds=LONG_SECONDS))
    await hanging.wait_until_begun()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert compute.is_working()
    assert await compute.run(abs, -5, longest_seconds=LONG_SECONDS) == 5


NODE = """
import asyncio, threading, torch
from epochgate.engine.system import ThreadCompute, exit_immediately
from epochgate.ports import OutOfTime

def hang():
    threading.Event().wait()

def compute_for_ever():
    while True:
        torch.nn.functional.linear(torch.ones(200, 200), torch.ones(200, 200))

async def live(compute):
    try:
        await compute.run({work}, longest_seconds=0.2)
    except OutOfTime as late:
        print(late)

compute = ThreadCompute()
asyncio.run(live(compute))
compute.close()
if compute.is_working():
    exit_immediately(0)
"""


@pytest.mark.parametrize("work", ["hang", "compute_for_ever"])
def test_the_process_ends_well_whatever_a_model_does(work: str) -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", NODE.format(work=work)],
        capture_output=True,
        timeout=LONG_SECONDS,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "not done in the 0.2 s that it had\n",
        "",
    )
