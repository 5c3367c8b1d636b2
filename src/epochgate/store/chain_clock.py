"""The moment of each judgement, read once: the cached head moved on by local time, the calendar,
and what is held.
"""

from __future__ import annotations

from epochgate.core.epoch import compute_deciding_block
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber
from epochgate.ports import Chain, Clock
from epochgate.store.database import NodeDatabase


class ChainClock:
    """Where replica and store read the time. Nothing here waits."""

    def __init__(
        self, chain: Chain, clock: Clock, schedule: EpochSchedule, database: NodeDatabase
    ) -> None:
        self.chain = chain
        self.clock = clock
        self.schedule = schedule
        self._database = database

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
        """Raises LookupError while the calendar knows no epoch."""
        block, is_stale = self.get_block()
        return self.schedule.compute_evaluation_context(
            block, self.clock.get_unix_seconds(), self._database.held, is_stale=is_stale
        )
