"""A local chain of fixed genesis and period, and a clock that stands where it is put."""

from __future__ import annotations

from pathlib import Path

from epochgate.chain.local import LocalChain
from epochgate.core.types import BlockNumber
from epochgate.engine.virtual_time import VirtualClock

GENESIS = b"g" * 32
GENESIS_SECONDS = 1_700_000_000.0
PERIOD_SECONDS = 0.25
LENGTH = 20
SLOT = 10


class StoppedClock:
    """A clock that stands where it is put."""

    def __init__(self, unix_seconds: float = GENESIS_SECONDS) -> None:
        self.unix_seconds = unix_seconds

    def get_unix_seconds(self) -> float:
        return self.unix_seconds

    def reach(self, block: BlockNumber) -> None:
        self.unix_seconds = GENESIS_SECONDS + block * PERIOD_SECONDS


def create(path: Path, clock: StoppedClock | VirtualClock, genesis: bytes = GENESIS) -> None:
    LocalChain.create(
        path, clock, block_seconds=PERIOD_SECONDS, blocks_per_epoch=LENGTH, genesis=genesis
    )
