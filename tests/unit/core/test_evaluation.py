"""What a judgement depends on: one value, which can be made again."""

from __future__ import annotations

import msgspec
import pytest

from epochgate.core.evaluation import NO_SUCH_KEY, NOTHING_HELD, READABLE_EPOCHS
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, Epoch
from epochgate.core.verdict import Reason
from epochgate.policies.inference import INFERENCE_POLICY
from tests.support.identities import NETWORK, TIMING, make_context


def test_get_knows_three_epochs() -> None:
    assert READABLE_EPOCHS == 3


def test_at_first_nothing_is_stored_and_the_head_is_fresh() -> None:
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context(Epoch(0)))
    now = schedule.compute_evaluation_context(TIMING.compute_first_block(Epoch(0)), 12.0)
    assert (now.held, now.is_stale, now.network, now.time_seconds) == (
        NOTHING_HELD,
        False,
        NETWORK,
        12.0,
    )
    assert not NOTHING_HELD


def test_it_is_a_value() -> None:
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context(Epoch(0)))
    first = schedule.compute_evaluation_context(BlockNumber(1000), 12.0)
    assert schedule.compute_evaluation_context(BlockNumber(1000), 12.0) == first
    assert schedule.compute_evaluation_context(BlockNumber(1001), 12.0) != first
    with pytest.raises(AttributeError):
        first.block = BlockNumber(1001)  # type: ignore[misc]
    assert msgspec.structs.replace(first, is_stale=True).is_stale


def test_the_refusal_of_an_unknown_key_is_made_once() -> None:
    assert NO_SUCH_KEY.reason is Reason.UNKNOWN_KEY
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context(Epoch(0)))
    contexts = [schedule.compute_evaluation_context(BlockNumber(1000 + n), 0.0) for n in (0, 50)]
    assert contexts[0].no_such_key is contexts[1].no_such_key
