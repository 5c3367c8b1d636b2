"""One owner for the background tasks of a part: none dies in silence, and none outlives its
owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from epochgate.errors import EpochgateError

MAX_TASKS = 1 << 14
"""Tasks of one keeper at a time. A node of a large subnet has some hundreds; more is a leak."""

TellFailure = Callable[[str, Exception, bool], None]
"""(the task's name, the error that ended it, whether it is begun again). Never raises."""


class TooManyTasksError(EpochgateError, RuntimeError):
    """A keeper holds as many tasks as it may: somebody starts them and never waits for them."""


class TaskKeeper:
    """Starts tasks and owns them until they end or it is closed.

    Args:
        tell_failure: called with the name of a task, the error that ended it, and whether it is
            begun again.
        max_tasks: how many tasks may be alive at a time.
    """

    def __init__(self, tell_failure: TellFailure, *, max_tasks: int = MAX_TASKS) -> None:
        self._tell_failure = tell_failure
        self._max_tasks = max_tasks
        self._names: dict[asyncio.Task[None], str] = {}

    @property
    def count(self) -> int:
        """How many tasks are alive."""
        return len(self._names)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin `work`, which runs once. An error that ends it is told.

        Returns:
            The task, which whoever wants to may await or cancel.

        Raises:
            TooManyTasksError: `max_tasks` are alive; `work` is closed and never begins.
        """
        if len(self._names) >= self._max_tasks:
            work.close()
            raise TooManyTasksError(f"{name}: {self._max_tasks} tasks are alive already")
        task = asyncio.create_task(work, name=name)
        self._names[task] = name
        task.add_done_callback(self._note_end)
        return task

    def keep(
        self, name: str, work: Callable[[], Awaitable[None]], pause_seconds: float
    ) -> asyncio.Task[None]:
        """Run `work` again and again, `pause_seconds` apart, until the keeper is closed.

        An error is told, and `work` is started again after the same pause: what failed for a
        moment, such as a chain that could not be reached, must not end the part of a node that
        asked it.
        """
        return self.spawn(name, self._repeat(name, work, pause_seconds))

    async def close(self) -> None:
        """Cancel every task and wait until all have ended. May be called more than once."""
        tasks = list(self._names)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _repeat(
        self, name: str, work: Callable[[], Awaitable[None]], pause_seconds: float
    ) -> None:
        while True:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - it is told, and the work is begun again
                self._tell_failure(name, error, True)
            await asyncio.sleep(pause_seconds)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        name = self._names.pop(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._tell_failure(name, error, False)
