"""The chain's best head as this node last heard of it. Reading it never waits."""

from __future__ import annotations

from epochgate.core.epoch import Head
from epochgate.core.types import BlockNumber
from epochgate.ports import Clock


class HeadClock:
    """A head is moved on by local time, and counts as stale, where a judgement is made
    (`core.epoch.compute_deciding_block`).

    A later head replaces an earlier one whatever its number: a reorganisation may well lead back.
    """

    def __init__(self, clock: Clock, block: BlockNumber) -> None:
        self._clock = clock
        self._head = Head(block, clock.get_unix_seconds())

    def take(self, block: BlockNumber) -> None:
        """The best head is `block` now. The same one again is no news: a server that hangs tells it
        to each subscriber.
        """
        if block != self._head.block:
            self._head = Head(block, self._clock.get_unix_seconds())

    def get_head(self) -> Head:
        return self._head

    def compute_age_seconds(self) -> float:
        return self._clock.get_unix_seconds() - self._head.seen_seconds
