"""Clock, entropy and compute of the machine at hand."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

from epochgate.ports import OutOfTime

T = TypeVar("T")

MAX_UNFINISHED = 2
"""Works that were given up and still go on; with so many of them none is begun, since each holds a
thread and its memory.
"""


class SystemClock:
    """The machine's wall clock."""

    def get_unix_seconds(self) -> float:
        return time.time()


class SystemEntropy:
    """The operating system's random bytes."""

    def get_bytes(self, count: int) -> bytes:
        return os.urandom(count)


class ThreadCompute:
    """Heavy work in threads beside the event loop: the node's own in one, a user's, which has a
    limit, in another.

    Threads do, since torch and numpy let go of Python's lock while they compute, so the loop goes
    on answering; the model is loaded once, and no array travels between processes. What a thread
    cannot be is ended: one whose work was given up is left to itself, and the next work gets
    another.
    """

    def __init__(self) -> None:
        self._own = _Lane("epochgate-own-work")
        self._limited = _Lane("epochgate-model")

    async def run(
        self, work: Callable[..., T], *arguments: Any, longest_seconds: float | None = None
    ) -> T:
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
        """Threads that wait end; those that work end after it."""
        self._own.close()
        self._limited.close()

    def is_working(self) -> bool:
        """Whether a thread still works, for whomever."""
        return self._own.count_unfinished() + self._limited.count_unfinished() > 0


def exit_immediately(code: int) -> NoReturn:
    """End the process without Python's own ending, which a thread that is inside torch turns into
    an abort (SIGABRT).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Lane:
    """One work at a time, in turn. A work that is given up keeps its thread, and no other waits for
    it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = asyncio.Lock()
        self._idle: _Worker | None = None
        self._unfinished: list[Future[Any]] = []

    async def do(self, work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
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
                        ending.exception()  # seen, or asyncio would complain that nobody cared


class _Worker:
    """A daemon thread, for Python would wait for any other before it ends, and for one that hangs
    for ever.
    """

    def __init__(self, name: str) -> None:
        self._works: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = (
            SimpleQueue()
        )
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def begin(self, work: Callable[..., T], arguments: tuple[Any, ...]) -> Future[T]:
        outcome: Future[T] = Future()
        # from here on it cannot be cancelled: what is done is told
        outcome.set_running_or_notify_cancel()
        self._works.put((outcome, work, arguments))
        return outcome

    def end(self) -> None:
        """When all that was begun is done."""
        self._works.put(None)

    def _live(self) -> None:
        while (task := self._works.get()) is not None:
            outcome, work, arguments = task
            try:
                outcome.set_result(work(*arguments))
            except BaseException as error:  # noqa: BLE001 - whatever a user's work raises is told to who asked for it
                outcome.set_exception(error)
            del (
                task,
                outcome,
                work,
                arguments,
            )  # or the last result would be kept until the next work
