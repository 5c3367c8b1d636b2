"""Clock, entropy and compute of the machine at hand."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class SystemClock:
    """The machine's wall clock."""

    def get_unix_seconds(self) -> float:
        return time.time()


class SystemEntropy:
    """The operating system's random bytes."""

    def get_bytes(self, count: int) -> bytes:
        return os.urandom(count)


class ThreadCompute:
    """Heavy work in one thread beside the event loop: two models at once would only slow each other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="epochgate-compute")

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
