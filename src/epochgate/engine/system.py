"""Clock, entropy and compute of the machine."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar, TypeVarTuple

from epochgate.ports import OutOfTime

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MAX_UNFINISHED = 2
"""Runs that were given up and still go on. With this many of them no other begins, since each holds
a thread and its memory.
"""


class SystemClock:
    """The machine's wall clock."""

    def get_unix_seconds(self) -> float:
        return time.time()


class SystemEntropy:
    """The operating system's random bytes."""

    def get_bytes(self, count: int, /) -> bytes:
        return os.urandom(count)


class ThreadCompute:
    """Heavy work in two threads beside the event loop: the node's own in one, a user's in another.

    Threads are enough: torch and numpy release Python's lock while they compute, so the loop goes
    on answering. The model is loaded once, and no array travels between processes. But a thread
    cannot be ended, so work that was given up keeps its thread, and the next work gets another.
    """

    def __init__(self) -> None:
        self._own = _Lane("epochgate-own-work")
        self._limited = _Lane("epochgate-model")

    async def run(
        self, work: Callable[[*Ts], T], /, *arguments: *Ts, longest_seconds: float | None = None
    ) -> T:
        """Run work: without a limit in the node's own thread, with one in the user's."""
        if longest_seconds is None:
            return await self._own.do(work, arguments)
        limit = asyncio.timeout(longest_seconds)
        try:
            async with limit:
                return await self._limited.do(work, arguments)
        except TimeoutError:
            if not limit.expired():
                raise  # the work's own
            raise OutOfTime(longest_seconds, self._limited.count_unfinished()) from None

    def close(self) -> None:
        """End the threads that wait at once, and those that work after their work."""
        self._own.close()
        self._limited.close()

    def is_working(self) -> bool:
        """Whether a thread still works, also on work that was given up."""
        return self._own.count_unfinished() + self._limited.count_unfinished() > 0


def exit_immediately(code: int) -> NoReturn:
    """End the process without Python's own shutdown.

    A thread that is inside torch turns that into an abort (SIGABRT).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Lane:
    """One work at a time, in order of arrival.

    Work that is given up keeps its thread, and later work does not wait for it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = asyncio.Lock()
        self._idle: _Worker | None = None
        self._unfinished: list[Future[Any]] = []

    async def do(self, work: Callable[[*Ts], T], arguments: tuple[*Ts]) -> T:
        async with self._turn:
            await self._wait_for_room()
            worker = self._idle or _Worker(self._name)
            self._idle = None
            outcome = worker.begin(work, arguments)
            try:
                return await asyncio.wrap_future(outcome)
            finally:
                if outcome.done():
                    self._idle = worker
                else:
                    worker.end()
                    self._unfinished.append(outcome)

    def count_unfinished(self) -> int:
        self._unfinished = [outcome for outcome in self._unfinished if not outcome.done()]
        return len(self._unfinished)

    def close(self) -> None:
        if self._idle is not None:
            self._idle.end()
            self._idle = None

    async def _wait_for_room(self) -> None:
        while self.count_unfinished() >= MAX_UNFINISHED:
            endings = [asyncio.wrap_future(outcome) for outcome in self._unfinished]
            try:
                await asyncio.wait(endings, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for ending in endings:
                    if not ending.cancel():
                        ending.exception()  # read, or asyncio would report that nobody did


class _Worker:
    """A thread that does one work after another.

    It is a daemon: Python waits for any other thread before it ends, and for ever for one that
    hangs.
    """

    def __init__(self, name: str) -> None:
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def begin(self, work: Callable[[*Ts], T], arguments: tuple[*Ts]) -> Future[T]:
        outcome: Future[T] = Future()
        # from here on it cannot be cancelled, so the outcome is set whatever happens
        outcome.set_running_or_notify_cancel()

        def task() -> None:
            try:
                outcome.set_result(work(*arguments))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                outcome.set_exception(error)

        self._tasks.put(task)
        return outcome

    def end(self) -> None:
        """End the thread once all that was begun is done."""
        self._tasks.put(None)

    def _live(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            del task  # or its result would be kept until the next one
