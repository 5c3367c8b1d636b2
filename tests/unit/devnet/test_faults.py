"""What is staged, and what is owed under it."""

from __future__ import annotations

import pytest

from epochgate import INFERENCE_POLICY, Policy
from epochgate.core.types import Epoch
from epochgate.devnet.faults import (
    Absence,
    Expectations,
    Faults,
    choose_absent_epoch,
    plan_absent_elected,
    plan_late_node,
    plan_restart,
    select_excused,
)


def test_a_restart_falls_into_the_last_epoch_and_excuses_nothing() -> None:
    outage = plan_restart("alice", 2, 0.45)
    assert (outage.gone, outage.back, outage.is_excuse) == (1.45, 1.45, False)
    assert "after 45% of epoch 1" in outage.why


def test_the_elected_node_is_gone_before_its_epoch_and_back_in_time_for_the_next() -> None:
    outage = plan_absent_elected("victor", choose_absent_epoch(3))
    assert outage.gone is not None
    assert outage.gone < 1 < outage.back < 2
    assert choose_absent_epoch(1) == 0


def test_a_late_node_is_not_started_with_the_others() -> None:
    outage = plan_late_node("alice")
    assert outage.gone is None
    assert 0 < outage.back < 1


@pytest.mark.parametrize(
    ("faults", "epochs", "away"),
    [
        (Faults(), 2, 0),
        (Faults(restart_at=0.45), 2, 1),
        (Faults(has_late_node=True), 1, 1),
        (Faults(restart_at=0.45, has_absent_elected=True), 2, 2),
        (Faults(restart_at=0.45, has_absent_elected=True), 3, 1),
        (Faults(has_late_node=True, has_absent_elected=True), 1, 2),
        (Faults(has_late_node=True, has_absent_elected=True), 2, 1),
        (Faults(restart_at=0.45, has_absent_elected=True, has_late_node=True), 1, 3),
        (Faults(restart_at=0.45, has_absent_elected=True, has_late_node=True), 2, 2),
    ],
)
def test_it_is_known_how_many_are_away_at_a_time(faults: Faults, epochs: int, away: int) -> None:
    assert faults.compute_most_away(epochs) == away


@pytest.mark.parametrize(
    ("gone", "back", "is_excused"),
    [
        (0.0, 1.4, True),  # back for less than half of the window
        (0.0, 1.3, False),  # back for more than half of it: it joins at the first duty that is open
        (1.45, 1.47, False),  # away for a moment
        (1.2, None, True),  # away for good
        (1.6, None, False),  # gone when it was over
    ],
)
def test_who_was_away_for_most_of_a_window_owes_nothing_in_it(
    gone: float, back: float | None, *, is_excused: bool
) -> None:
    absences = [Absence("alice", gone, back, "away")]
    assert select_excused(absences, Epoch(1), (0.15, 0.5)) == ({"alice"} if is_excused else set())


def test_what_is_expected_follows_from_the_policy() -> None:
    full = Expectations(INFERENCE_POLICY)
    assert full.has_challenge
    assert full.has_settlement
    assert (full.commitments, full.openings, full.list_openings, full.scores) == (
        (0.15, 0.5),
        (0.5, 0.6),
        (0.15, 0.5),
        (0.6, 1.0),
    )
    heartbeats = Expectations(Policy(*INFERENCE_POLICY.rules[:2]))
    assert not heartbeats.has_challenge
    assert not heartbeats.has_settlement
    assert heartbeats.commitments is None
