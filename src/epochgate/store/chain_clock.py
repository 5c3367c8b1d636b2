"""The moment of a judgement: block, time, key tables and stored entries, read together.

All checks of a judgement then see the same moment, however long it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from epochgate.core.epoch import Head, Timing, compute_deciding_block
from epochgate.core.evaluation import EvaluationContext, StoredEntry
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, PeerId, RecordKey
from epochgate.ports import Clock


class HeadSource(Protocol):
    """As much of a `Chain` as it takes to tell its time."""

    @property
    def timing(self) -> Timing:
        """The subnet's first block, the length of an epoch, and the block time."""
        ...

    def get_head(self) -> Head:
        """The newest head that is known, at once."""
        ...


class ChainClock:
    """Tells the chain's time. Nothing here waits: the chain's newest head is at hand.

    Args:
        chain: The chain, whose newest head says which block it is.
        clock: Local time, which moves that head on while no newer one arrives.
        schedule: The key tables of the epochs that matter now.
        held: The entries that this node stores, by key and author. They are only read here.
    """

    def __init__(
        self,
        chain: HeadSource,
        clock: Clock,
        schedule: EpochSchedule,
        held: Mapping[tuple[RecordKey, PeerId], StoredEntry],
    ) -> None:
        self._chain = chain
        self.clock = clock
        self.schedule = schedule
        self._held = held

    def get_block(self) -> tuple[BlockNumber, bool]:
        """Get the block by which windows are judged now.

        Returns:
            The block, and whether the chain's head is too old to trust it.
        """
        return compute_deciding_block(
            self._chain.get_head(), self.clock.get_unix_seconds(), self._chain.timing.block_seconds
        )

    def compute_unix_seconds(self, block: float) -> float:
        """Compute when a block begins, or began, by the newest head and the block time.

        Args:
            block: A block number. A fraction is that part of the block's time.

        Returns:
            Unix time in seconds.
        """
        head = self._chain.get_head()
        return head.seen_seconds + (block - head.block) * self._chain.timing.block_seconds

    def get_evaluation_context(self) -> EvaluationContext:
        """Get all that a verdict depends on now, besides the record.

        Returns:
            The key tables, the block and the time of one moment, and the stored entries.

        Raises:
            LookupError: No epoch's roster is known yet.
        """
        block, is_stale = self.get_block()
        return self.schedule.compute_evaluation_context(
            block, self.clock.get_unix_seconds(), self._held, is_stale=is_stale
        )
