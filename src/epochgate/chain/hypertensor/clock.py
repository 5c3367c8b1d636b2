"""The chain's best head as this node last heard of it."""

from __future__ import annotations

from epochgate.core.epoch import Head
from epochgate.core.types import BlockNumber
from epochgate.ports import Clock


class HeadClock:
    """The best head, and when this node heard of it. Nothing here waits.

    A judgement moves the head on by local time, and decides whether it is stale
    (`core.epoch.compute_deciding_block`). A later head replaces an earlier one whatever its number,
    because a reorganisation may lead back.
    """

    def __init__(self, clock: Clock, block: BlockNumber) -> None:
        self._clock = clock
        self._head = Head(block, clock.get_unix_seconds())

    def take(self, block: BlockNumber) -> None:
        """Take `block` as the best head.

        The block that is the head already changes nothing: a server that hangs tells it to each new
        subscriber, and must not look alive by that.
        """
        if block != self._head.block:
            self._head = Head(block, self._clock.get_unix_seconds())

    def get_head(self) -> Head:
        return self._head

    def compute_age_seconds(self) -> float:
        """Seconds since the head was new."""
        return self._clock.get_unix_seconds() - self._head.seen_seconds
