"""How a node asks replicas, its own among them: who was silent is remembered, and what was begun
can be ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from epochgate.core.types import PeerId
from epochgate.ports import Handler, Network, Unreachable
from epochgate.store.wire import Reply, Request, decode_reply, encode


class Peers:
    """`suspects` did not answer when they were last asked: readers wait less for them, until they
    answer again.
    """

    def __init__(
        self,
        network: Network,
        answer: Handler,
        timeout_seconds: float,
        suspect_timeout_seconds: float,
    ) -> None:
        self.own = network.peer_id
        self.max_message_bytes = network.max_message_bytes
        self.timeout_seconds = timeout_seconds
        self.suspects: set[PeerId] = set()
        self._network = network
        self._answer = answer
        self._suspect_timeout_seconds = suspect_timeout_seconds
        self._tasks: dict[asyncio.Task[None], None] = {}

    async def ask(
        self, peer: PeerId, request: Request, timeout_seconds: float | None = None
    ) -> Reply | None:
        """One request; None when `peer` is unreachable, or answers what is no reply."""
        message = encode(request)
        try:
            if peer == self.own:
                data = await self._answer(peer, message)
            else:
                data = await self._network.request(
                    peer, message, timeout_seconds or self.timeout_seconds
                )
            self.suspects.discard(peer)
            return decode_reply(data)
        except Unreachable:
            self.suspects.add(peer)
        except msgspec.MsgspecError:
            pass
        return None

    def get_patience_seconds(self, peer: PeerId) -> float:
        """How long a reader waits for `peer`."""
        if peer in self.suspects:
            return self._suspect_timeout_seconds
        return self.timeout_seconds

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin work that may outlive its caller; `close` ends it."""
        task = asyncio.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logging.getLogger(__name__).error("asking a replica failed", exc_info=error)
