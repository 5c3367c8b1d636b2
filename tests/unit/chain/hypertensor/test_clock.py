"""The cached head."""

from __future__ import annotations

from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.core.epoch import compute_deciding_block
from epochgate.core.types import BlockNumber


class StoppedClock:
    def __init__(self) -> None:
        self.unix_seconds = 1_700_000_000.0

    def get_unix_seconds(self) -> float:
        return self.unix_seconds


def test_a_head_is_moved_on_by_local_time_with_a_cap_and_may_go_back() -> None:
    clock = StoppedClock()
    heads = HeadClock(clock, BlockNumber(100))
    decided = []
    for age_seconds in (0, 6, 12, 24, 30, 300):
        clock.unix_seconds = 1_700_000_000.0 + age_seconds
        decided.append(compute_deciding_block(heads.get_head(), clock.unix_seconds, 6.0))
    assert decided == [
        (100, False),
        (100, False),
        (101, False),
        (103, False),
        (103, True),
        (103, True),
    ]
    assert heads.compute_age_seconds() == 300

    heads.take(BlockNumber(100))
    assert heads.compute_age_seconds() == 300, "a server that hangs has no other head to tell"

    heads.take(BlockNumber(98))
    assert compute_deciding_block(heads.get_head(), clock.unix_seconds, 6.0) == (98, False)
