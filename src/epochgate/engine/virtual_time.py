"""Plain asyncio on a virtual clock: time jumps to the next timer instead of passing, and one seed
gives one run.

It uses private names of asyncio's `BaseEventLoop` (`_run_once`, `_ready`, `_stopping`,
`_write_to_self`), which are the same in Python 3.11 to 3.13.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from epochgate.errors import EpochgateError
from epochgate.ports import OutOfTime

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_UNIX_SECONDS = 1_700_000_000.0
NAMED_IN_DEADLOCK = 5


class Deadlock(EpochgateError, RuntimeError):
    """Every task waits, and no timer is left that could wake one."""


class StableTask(asyncio.Task[Any]):
    """A task whose hash is its number.

    asyncio keeps tasks in sets, which are ordered by hash. The usual hash is a memory address, and
    differs from run to run.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        number: int,
        name: str | None = None,
        **options: Any,
    ) -> None:
        self.number = number
        # asyncio numbers names through the whole process, so a second run would print others
        super().__init__(coroutine, name=name or f"Task-{number}", **options)

    def __hash__(self) -> int:
        return self.number


class StableFuture(asyncio.Future[Any]):
    """A future whose hash is its number, as that of a StableTask."""

    def __init__(self, *, number: int, **options: Any) -> None:
        self.number = number
        super().__init__(**options)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose `time()` starts at 0 and moves only when all tasks wait.

    Timers of one moment run in the order in which they were set. It starts at 0 and not at the Unix
    time, because a float of 1.7e9 can only step by 0.24 microseconds. It has a turn of its own:
    asyncio's is made for selectors and clocks, and a simulation makes a hundred thousand turns per
    second.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count(1)
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        return StableFuture(loop=self, number=next(self._numbers))

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _run_once(self) -> None:
        """Make one turn: run all that is ready, after jumping to the next timer if nothing is.

        Raises:
            Deadlock: There is no timer to jump to.
        """
        ready = self._ready
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise Deadlock(
                    f"no timer is left and nothing can wake {_describe(get_tasks(self))}"
                )
            self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()

    def run_in_executor(  # type: ignore[override]  # it returns nothing
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        raise RuntimeError("no threads in a simulation: heavy work goes through the Compute port")

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncio's signature
    ) -> None:
        """There is none."""

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return StableTask(coroutine, loop=self, number=next(self._numbers), **options)

    def _write_to_self(self) -> None:
        raise RuntimeError(
            "a thread touched the virtual loop: everything in a simulation runs in one"
        )


def run_virtually(main: Callable[[random.Random], Awaitable[T]], seed: int = 0) -> T:
    """Run `main(rng)` to its end on a virtual loop; tasks that outlive it are cancelled.

    Args:
        main: Called with the run's source of randomness.
        seed: The same one gives the same run, also in another process as long as nothing iterates
            over a set that is ordered by hash.

    Returns:
        What `main` returns.

    Raises:
        Deadlock: Every task waits, and no timer is left.
        Exception: Whatever `main` raises.

    Example:
        >>> async def main(rng):
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run_virtually(main)
        3600.0
    """
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        generator = random.Random(seed)  # noqa: S311 - a simulation is to be repeatable
        return loop.run_until_complete(_start(main, generator))
    finally:
        _cancel_remaining(loop)
        asyncio.set_event_loop(None)
        loop.close()


async def _start(main: Callable[[random.Random], Awaitable[T]], rng: random.Random) -> T:
    return await main(rng)


def get_tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """The loop's unfinished tasks in the order in which they were made."""
    return sorted(asyncio.all_tasks(loop), key=hash)


def _cancel_remaining(loop: asyncio.AbstractEventLoop) -> None:
    tasks = get_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _describe(tasks: list[asyncio.Task[Any]]) -> str:
    names = [getattr(task.get_coro(), "__qualname__", task.get_name()) for task in tasks]
    text = ", ".join(names[:NAMED_IN_DEADLOCK])
    rest = len(names) - NAMED_IN_DEADLOCK
    if rest > 0:
        text += f" and {rest} more"
    return text


class VirtualClock:
    """Wall time that follows the running loop's; `skew_seconds` makes a node's clock wrong."""

    def __init__(self, skew_seconds: float = 0.0) -> None:
        self.skew_seconds = skew_seconds

    def get_unix_seconds(self) -> float:
        return START_UNIX_SECONDS + asyncio.get_running_loop().time() + self.skew_seconds


class SeededEntropy:
    """Random bytes that follow from a seed.

    Each node has an `rng` of its own, so that its bytes do not depend on what other nodes draw.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def get_bytes(self, count: int, /) -> bytes:
        return self._rng.randbytes(count)


class InlineCompute:
    """Heavy work at once, on the event loop: in a simulation it takes no time.

    An object whose method is run may have `virtual_seconds`, which pass first; `math.inf` is a
    model that hangs.
    """

    def __init__(self) -> None:
        self._ends: list[float] = []

    async def run(
        self, work: Callable[[*Ts], T], /, *arguments: *Ts, longest_seconds: float | None = None
    ) -> T:
        seconds = float(getattr(getattr(work, "__self__", None), "virtual_seconds", 0.0))
        if longest_seconds is not None and seconds > longest_seconds:
            began_at = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, longest_seconds))
            now = asyncio.get_running_loop().time()
            self._ends = [end for end in (*self._ends, began_at + seconds) if end > now]
            raise OutOfTime(longest_seconds, len(self._ends))
        if seconds > 0:
            await asyncio.sleep(seconds)
        return work(*arguments)
