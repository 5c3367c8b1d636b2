"""How a client asks replicas, its node's own among them.

It remembers who was silent, so that nobody waits for the same silent replica again and again, and
owns the requests that go on in the background.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec

from epochgate.core.types import PeerId
from epochgate.ports import Handler, Network, Unreachable
from epochgate.store.wire import Reply, Request, decode_reply, encode
from epochgate.supervision.task_keeper import TaskKeeper, TellFailure

MAX_TASKS = 1 << 16
"""Requests in the background at a time: 64 keys may be read at once, each from 256 replicas, which
are asked for a listing and for values.
"""


class Peers:
    """Asks replicas, and remembers in `suspects` those that did not answer the last request.

    Args:
        network: Carries requests to other nodes.
        answer: Answers requests to this node itself: its own replica.
        timeout_seconds: How long a reply may take.
        suspect_timeout_seconds: How long a reader waits for a peer among `suspects`.
        tell_failure: Called when an error ends a request in the background; None writes it to the
            log.
    """

    def __init__(
        self,
        network: Network,
        answer: Handler,
        timeout_seconds: float,
        suspect_timeout_seconds: float,
        tell_failure: TellFailure | None = None,
    ) -> None:
        self.own = network.peer_id
        self.max_message_bytes = network.max_message_bytes
        self.timeout_seconds = timeout_seconds
        self.suspects: set[PeerId] = set()
        self._network = network
        self._answer = answer
        self._suspect_timeout_seconds = suspect_timeout_seconds
        self._tasks = TaskKeeper(tell_failure or _log_failure, max_tasks=MAX_TASKS)

    async def ask(
        self, peer: PeerId, request: Request, timeout_seconds: float | None = None
    ) -> Reply | None:
        """Send one request.

        Args:
            peer: A replica, or this node itself.
            request: The request.
            timeout_seconds: How long the reply may take; None for the usual time.

        Returns:
            The reply. None where the peer is unreachable, or sends something that is not a reply.
        """
        message = encode(request)
        if timeout_seconds is None:
            timeout_seconds = self.timeout_seconds
        try:
            if peer == self.own:
                data = await self._answer(peer, message)
            else:
                data = await self._network.request(peer, message, timeout_seconds)
        except Unreachable:
            self.suspects.add(peer)
            return None
        self.suspects.discard(peer)
        # Stops "malformed MessagePack": a hostile reply is no answer, and no error of the caller's.
        try:
            return decode_reply(data)
        except msgspec.MsgspecError:
            return None

    def get_timeout_seconds(self, peer: PeerId) -> float:
        """How long a reader waits for all that it asks of `peer` about one key."""
        if peer in self.suspects:
            return self._suspect_timeout_seconds
        return self.timeout_seconds

    def order(self, peers: Sequence[PeerId], start: int) -> list[PeerId]:
        """Put peers into the order in which they are to be asked.

        Args:
            peers: The peers.
            start: The place in `peers` to begin at, modulo their number. Callers choose different
                ones, so that the load is spread.

        Returns:
            This node first, since it answers at once, and last those that were silent.
        """
        # an epoch before the subnet's first block may have an empty roster, and so no peers
        first = start % max(1, len(peers))
        turned = [*peers[first:], *peers[:first]]
        return sorted(turned, key=lambda peer: (peer != self.own, peer in self.suspects))

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin work that may outlive its caller. `close` ends it, and an error in it is told."""
        return self._tasks.spawn(name, work)

    async def close(self) -> None:
        """End all work in the background, and wait until it has ended."""
        await self._tasks.close()


def _log_failure(name: str, error: Exception, _is_begun_again: bool) -> None:
    logging.getLogger(__name__).error("%s failed", name, exc_info=error)
