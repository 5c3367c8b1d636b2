"""What it costs to ask the Hypertensor chain for its head: every judgement does."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.timing import Row, time_alternately
from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.core.epoch import compute_deciding_block
from epochgate.core.types import BlockNumber
from epochgate.engine.system import SystemClock

BLOCK_SECONDS = 6.0


def measure() -> Iterator[Row]:
    clock = SystemClock()
    heads = HeadClock(clock, BlockNumber(5_000_000))
    (seconds,) = time_alternately(
        lambda: compute_deciding_block(heads.get_head(), clock.get_unix_seconds(), BLOCK_SECONDS),
        number=100_000,
    )
    yield Row(
        "the deciding block from the cached head",
        f"{seconds * 1e6:.2f} us",
        "5 us",
        seconds <= 5e-6,
    )
