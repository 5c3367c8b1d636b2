"""How long a heartbeat lives: later than the one before, and within what a slow clock admits."""

from __future__ import annotations

import pytest

from epochgate.node.heartbeat import compute_lifetime_seconds, is_heartbeat
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import ServerState


@pytest.mark.parametrize(
    ("longest", "online", "offline"), [(660.0, 654.0, 657.0), (33.0, 27.0, 30.0), (5.0, 4.0, 4.5)]
)
def test_offline_expires_later_than_what_was_said_before(
    longest: float, online: float, offline: float
) -> None:
    assert compute_lifetime_seconds(longest, ServerState.ONLINE) == pytest.approx(online)
    assert compute_lifetime_seconds(longest, ServerState.JOINING) == pytest.approx(online)
    assert compute_lifetime_seconds(longest, ServerState.OFFLINE) == pytest.approx(offline)


def test_only_keys_without_an_epoch_that_ask_for_heartbeats_are_beaten_under() -> None:
    assert [rule.kind for rule in INFERENCE_POLICY.rules if is_heartbeat(rule)] == [
        "hoster",
        "validator",
    ]
