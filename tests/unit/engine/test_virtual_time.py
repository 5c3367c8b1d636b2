"""asyncio on a virtual clock: no waiting, one seed one run, no threads, and a deadlock is told."""

from __future__ import annotations

import asyncio
import math
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from epochgate.core.types import PeerId
from epochgate.engine.memory import Hub
from epochgate.engine.virtual_time import (
    START_UNIX_SECONDS,
    Deadlock,
    InlineCompute,
    SeededEntropy,
    VirtualClock,
    run_virtually,
)
from epochgate.ports import OutOfTime, Unreachable
from tests.support.identities import key_of


async def tell(rng: random.Random) -> str:
    """A busy little world with everything in it whose order could depend on memory addresses or on
    the process.
    """
    story: list[object] = []

    async def wait_to_be_cancelled(number: int) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            story.append(("cancelled", number))
            raise

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(wait_to_be_cancelled(number))
            group.create_task(fail())
    except* LookupError:
        story.append("failed")
    timers = [asyncio.create_task(asyncio.sleep(rng.randrange(3), number)) for number in range(30)]
    done, _ = await asyncio.wait(timers)
    story.extend((task.get_name(), task.result()) for task in done)
    futures = [asyncio.get_running_loop().create_future() for _ in range(20)]
    for number, future in enumerate(futures):
        asyncio.get_running_loop().call_later(1, future.set_result, number)
    resolved, _ = await asyncio.wait(futures)
    story.extend(future.result() for future in resolved)
    story.append(await talk_on_a_bad_network(rng))
    story.append((SeededEntropy(rng).get_bytes(8).hex(), asyncio.get_running_loop().time()))
    return repr(story)


async def talk_on_a_bad_network(rng: random.Random) -> list[str]:
    hub = Hub(rng, latency_seconds=0.3, loss=0.2)
    networks = [hub.join(key_of(f"peer {number}").author) for number in range(6)]
    heard: list[str] = []

    async def hear(sender: PeerId, message: bytes) -> bytes:
        heard.append(f"{asyncio.get_running_loop().time()} {sender[-2:].hex()} {message.decode()}")
        return b"yes"

    async def ask(asker: int, asked: int) -> None:
        try:
            await networks[asker].request(
                networks[asked].peer_id, f"{asker} to {asked}".encode(), 1.0
            )
        except Unreachable:
            heard.append(f"{asyncio.get_running_loop().time()} {asker} did not reach {asked}")

    for network in networks:
        await network.serve(hear)
    await asyncio.gather(*(ask(asker, asked) for asker in range(6) for asked in range(6)))
    return heard


def test_one_seed_gives_one_run() -> None:
    first = run_virtually(tell, seed=1)
    clutter = [bytearray(number) for number in range(2000)]  # moves what the second run allocates
    assert run_virtually(tell, seed=1) == first
    assert run_virtually(tell, seed=2) != first
    del clutter


def test_one_seed_gives_one_run_in_another_process() -> None:
    program = (
        "from epochgate.engine.virtual_time import run_virtually;"
        "from tests.unit.engine.test_virtual_time import tell;"
        "print(run_virtually(tell, seed=1), end='')"
    )
    path = os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": path}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout == run_virtually(tell, seed=1)


def test_years_pass_at_once_and_wall_time_follows() -> None:
    async def main(_rng: random.Random) -> tuple[float, float, float]:
        await asyncio.sleep(10 * 365 * 86400)
        return (
            asyncio.get_running_loop().time(),
            VirtualClock().get_unix_seconds(),
            VirtualClock(-2.5).get_unix_seconds(),
        )

    assert run_virtually(main) == (
        315_360_000,
        START_UNIX_SECONDS + 315_360_000,
        START_UNIX_SECONDS + 315_360_000 - 2.5,
    )


def test_timers_fire_in_order_and_at_their_time() -> None:
    async def main(_rng: random.Random) -> list[tuple[float, str]]:
        told: list[tuple[float, str]] = []

        async def tell_after(seconds: float, word: str) -> None:
            await asyncio.sleep(seconds)
            told.append((asyncio.get_running_loop().time(), word))

        await asyncio.gather(
            tell_after(3, "three"),
            tell_after(0.25, "quarter"),
            tell_after(3, "also three"),
            tell_after(1, "one"),
        )
        return told

    assert run_virtually(main) == [(0.25, "quarter"), (1, "one"), (3, "three"), (3, "also three")]


def test_a_deadlock_is_told_and_names_who_waits() -> None:
    cleaned: list[str] = []

    async def wait_for_nobody() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append("waiter")

    async def main(_rng: random.Random) -> None:
        helpers = [asyncio.create_task(wait_for_nobody()) for _ in range(9)]
        await asyncio.gather(*helpers)

    with pytest.raises(Deadlock, match=r"wait_for_nobody.* and 5 more"):
        run_virtually(main)
    assert cleaned == ["waiter"] * 9, "a simulation that ends badly still cleans up"


def test_tasks_that_outlive_main_are_cancelled_in_the_order_they_were_made() -> None:
    ended: list[int] = []

    async def linger(number: int) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(number)

    async def main(_rng: random.Random) -> str:
        tasks = [asyncio.create_task(linger(number)) for number in range(20)]
        await asyncio.sleep(1)
        return f"{len(tasks)} linger"

    assert run_virtually(main) == "20 linger"
    assert ended == list(range(20))


def test_generators_that_outlive_main_are_closed() -> None:
    closed: list[bool] = []

    async def count() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    left_open = count()

    async def main(_rng: random.Random) -> None:
        assert await anext(left_open) == 1

    run_virtually(main)
    assert closed == [True]


def test_what_main_raises_comes_out() -> None:
    async def main(_rng: random.Random) -> None:
        await asyncio.sleep(1)
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        run_virtually(main)


def test_threads_are_refused() -> None:
    async def use_a_pool(_rng: random.Random) -> None:
        await asyncio.to_thread(print)

    async def call_from_outside(_rng: random.Random) -> None:
        asyncio.get_running_loop().call_soon_threadsafe(print)

    with pytest.raises(RuntimeError, match="Compute port"):
        run_virtually(use_a_pool)
    with pytest.raises(RuntimeError, match="a thread touched"):
        run_virtually(call_from_outside)


def test_each_stream_of_entropy_follows_from_its_seed() -> None:
    one, same, other = (SeededEntropy(random.Random(seed)) for seed in (1, 1, 2))
    drawn = one.get_bytes(32)
    assert len(drawn) == 32
    assert same.get_bytes(32) == drawn != other.get_bytes(32)
    assert one.get_bytes(32) != drawn


def test_heavy_work_is_done_at_once() -> None:
    async def main(_rng: random.Random) -> tuple[int, float]:
        return await InlineCompute().run(pow, 2, 10), asyncio.get_running_loop().time()

    assert run_virtually(main) == (1024, 0.0)


class SlowModel:
    """Takes 30 seconds."""

    virtual_seconds = 30.0

    def infer(self, number: int) -> int:
        return number


class HangingModel(SlowModel):
    virtual_seconds = math.inf


def test_a_model_may_say_how_long_it_takes() -> None:
    async def main(_rng: random.Random) -> None:
        compute = InlineCompute()
        loop = asyncio.get_running_loop()
        assert await compute.run(SlowModel().infer, 7, longest_seconds=31.0) == 7
        assert await compute.run(SlowModel().infer, 8) == 8
        assert loop.time() == 60.0
        for model, unfinished in ((HangingModel(), 1), (SlowModel(), 2), (HangingModel(), 2)):
            with pytest.raises(OutOfTime) as late:
                await compute.run(model.infer, 9, longest_seconds=29.0)
            assert late.value.unfinished == unfinished, (
                "the slow one ended a second after it was given up"
            )
        assert loop.time() == 60.0 + 3 * 29.0

    run_virtually(main)
