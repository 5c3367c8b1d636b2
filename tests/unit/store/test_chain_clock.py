"""The moment of a judgement."""

from __future__ import annotations

import pytest

from epochgate.core.epoch import Head
from epochgate.core.receipt import ReceiptedEntry
from epochgate.core.record import compute_key
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.store.chain_clock import ChainClock
from tests.support.identities import TIMING, alice, compute_unix_seconds, make_context
from tests.support.local_chain import StoppedClock

BLOCK = BlockNumber(1010)


class HeadOnly:
    """A chain that knows its newest head and timing."""

    timing = TIMING

    def __init__(self) -> None:
        self.head = Head(BLOCK, compute_unix_seconds(BLOCK))

    def get_head(self) -> Head:
        return self.head


@pytest.fixture
def clock() -> StoppedClock:
    stopped = StoppedClock()
    stopped.unix_seconds = compute_unix_seconds(BLOCK)
    return stopped


@pytest.fixture
def held() -> dict[tuple[RecordKey, PeerId], ReceiptedEntry]:
    return {}


@pytest.fixture
def chain_clock(
    clock: StoppedClock, held: dict[tuple[RecordKey, PeerId], ReceiptedEntry]
) -> ChainClock:
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context())
    return ChainClock(HeadOnly(), clock, schedule, held)


def test_local_time_moves_the_head_on_until_it_is_too_old(
    chain_clock: ChainClock, clock: StoppedClock
) -> None:
    assert chain_clock.get_block() == (BLOCK, False)
    clock.unix_seconds += 3 * TIMING.block_seconds
    assert chain_clock.get_block() == (BLOCK + 2, False)
    clock.unix_seconds += 1000 * TIMING.block_seconds
    assert chain_clock.get_block()[1]


def test_a_blocks_time_is_told_from_the_head_on_both_sides(chain_clock: ChainClock) -> None:
    seen_seconds = compute_unix_seconds(BLOCK)
    assert chain_clock.compute_unix_seconds(BLOCK + 10) == seen_seconds + 60
    assert chain_clock.compute_unix_seconds(BLOCK - 0.5) == seen_seconds - 3


def test_a_judgement_sees_one_moment_and_what_is_stored_then(
    chain_clock: ChainClock,
    clock: StoppedClock,
    held: dict[tuple[RecordKey, PeerId], ReceiptedEntry],
) -> None:
    place = (compute_key("hoster"), alice.author)
    held[place] = ReceiptedEntry(Hash32(bytes(32)), 1e9, Epoch(0), 100, ())
    now = chain_clock.get_evaluation_context()

    assert now.block == BLOCK
    assert now.time_seconds == clock.unix_seconds
    assert not now.is_stale
    assert now.held[place] is held[place]


def test_without_a_roster_there_is_no_moment_to_judge_by(clock: StoppedClock) -> None:
    chain_clock = ChainClock(HeadOnly(), clock, EpochSchedule(INFERENCE_POLICY), {})
    with pytest.raises(LookupError):
        chain_clock.get_evaluation_context()
