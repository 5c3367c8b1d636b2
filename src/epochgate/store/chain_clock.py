"""What each judgement depends on, read once: the block by the cached head and local time, the key
tables, and what this node stores.
"""

from __future__ import annotations

from collections.abc import Mapping

from epochgate.core.epoch import compute_deciding_block
from epochgate.core.evaluation import EvaluationContext, StoredEntry
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, PeerId, RecordKey
from epochgate.ports import Chain, Clock


class ChainClock:
    """Where the store reads the chain's time. Nothing here waits.

    Args:
        chain: its cached head says which block it is.
        clock: wall time, which moves the head on while the chain says nothing.
        schedule: the key tables of the epochs that matter now.
        held: what this node stores, by key and author.
    """

    def __init__(
        self,
        chain: Chain,
        clock: Clock,
        schedule: EpochSchedule,
        held: Mapping[tuple[RecordKey, PeerId], StoredEntry],
    ) -> None:
        self.chain = chain
        self.clock = clock
        self.schedule = schedule
        self._held = held

    def get_block(self) -> tuple[BlockNumber, bool]:
        """The deciding block, and whether the head is too old to trust it."""
        return compute_deciding_block(
            self.chain.get_head(), self.clock.get_unix_seconds(), self.chain.timing.block_seconds
        )

    def compute_unix_seconds(self, block: float) -> float:
        """When `block` begins, or began, by the head and the block time."""
        head = self.chain.get_head()
        return head.seen_seconds + (block - head.block) * self.chain.timing.block_seconds

    def get_evaluation_context(self) -> EvaluationContext:
        """Raises LookupError while the schedule knows no epoch."""
        block, is_stale = self.get_block()
        return self.schedule.compute_evaluation_context(
            block, self.clock.get_unix_seconds(), self._held, is_stale=is_stale
        )
