"""The table of duties: what a node has to do in an epoch, and between which blocks."""

from __future__ import annotations

import msgspec
import pytest

from epochgate.core.epoch import Timing, percent
from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch
from epochgate.node.duties import compute_duties, select_left
from epochgate.node.runner import DUTY_HANDLERS
from epochgate.policies.inference import INFERENCE_POLICY
from tests.support.identities import TIMING

EPOCH = 3
FIRST = TIMING.compute_first_block(Epoch(EPOCH))

Row = tuple[str, float, float]
PUBLISH = ("publish-challenge", 1, 15)
PUBLISH_FIRST_STAND_IN = ("publish-challenge", 12, 15)
SEE = ("see-challenge", 17, 100)
SEE_OPENINGS = ("see-openings", 52, 100)
SEE_COMMITMENTS = ("see-commitments", 1, 50)
COMMIT = ("commit-output", 17, 50)
OPEN = ("open-output", 52, 60)
OPEN_SCORES = ("open-scores", 17, 50)
COMMIT_SCORES = ("commit-scores", 62, 99)
SUBMIT = ("submit", 1, 40)
ATTEST = ("attest", 1, 50)


def list_duties(
    roles: int,
    epoch: Epoch = Epoch(EPOCH),
    *,
    is_elected: bool = False,
    rank: int | None = None,
    timing: Timing = TIMING,
    policy: Policy = INFERENCE_POLICY,
) -> list[Row]:
    """Blocks from the epoch's first."""
    first = timing.compute_first_block(epoch)
    duties = compute_duties(policy, timing, epoch, roles, is_elected=is_elected, stand_in_rank=rank)
    assert {duty.epoch for duty in duties} <= {epoch}
    return [(duty.name, duty.opens - first, duty.closes - first) for duty in duties]


@pytest.mark.parametrize(
    ("roles", "is_elected", "rank", "expected"),
    [
        (HOSTER, False, None, [ATTEST, SEE_COMMITMENTS, COMMIT, SEE, OPEN]),
        (
            VALIDATOR,
            True,
            None,
            [PUBLISH, SUBMIT, SEE_COMMITMENTS, OPEN_SCORES, SEE, SEE_OPENINGS, COMMIT_SCORES],
        ),
        (
            VALIDATOR,
            False,
            0,
            [
                ATTEST,
                SEE_COMMITMENTS,
                PUBLISH_FIRST_STAND_IN,
                OPEN_SCORES,
                SEE,
                SEE_OPENINGS,
                COMMIT_SCORES,
            ],
        ),
        (
            HOSTER | VALIDATOR,
            True,
            None,
            [
                PUBLISH,
                SUBMIT,
                SEE_COMMITMENTS,
                COMMIT,
                OPEN_SCORES,
                SEE,
                OPEN,
                SEE_OPENINGS,
                COMMIT_SCORES,
            ],
        ),
        (0, False, None, [ATTEST, SEE_COMMITMENTS]),
    ],
)
def test_a_role_s_duties_in_the_order_in_which_they_open(
    roles: int, is_elected: bool, rank: int | None, expected: list[Row]
) -> None:
    assert list_duties(roles, is_elected=is_elected, rank=rank) == expected


def test_in_the_first_epoch_nothing_is_settled_and_no_list_opened() -> None:
    assert list_duties(VALIDATOR, Epoch(0), is_elected=True) == [PUBLISH, SEE, COMMIT_SCORES]
    assert list_duties(HOSTER, Epoch(0)) == [COMMIT, SEE, OPEN]


def test_stand_ins_come_one_after_another_as_long_as_the_window_lets_them() -> None:
    opens = [
        [
            start
            for name, start, _ in list_duties(VALIDATOR, rank=rank)
            if name == "publish-challenge"
        ]
        for rank in range(4)
    ]
    assert opens == [[12], [13], [14], []]


def test_where_windows_are_short_the_margin_is_a_quarter_of_one() -> None:
    short = Timing(slot=BlockNumber(0), blocks_per_epoch=20, block_seconds=6.0)
    assert ("open-output", 11.5, 12.5) in list_duties(HOSTER, timing=short)
    assert ("commit-scores", 13.5, 19.5) in list_duties(VALIDATOR, timing=short)


def test_every_author_keeps_the_margin_on_both_sides_and_every_reader_comes_after_it() -> None:
    rules = {
        "commit-output": "hoster-commit",
        "open-output": "hoster-reveal",
        "open-scores": "validator-reveal",
    }
    for name, opens, closes in list_duties(HOSTER | VALIDATOR, rank=0):
        if name in rules:
            window = INFERENCE_POLICY.get_rule(rules[name]).during
            assert window is not None
            key_rule = window.bind(Epoch(EPOCH), TIMING)
            assert key_rule.first - FIRST + 1 <= opens < closes <= key_rule.last - FIRST


def test_hosters_wait_for_a_challenge_that_may_come_later_than_their_own_window() -> None:
    early = Policy(
        *(
            msgspec.structs.replace(rule, during=percent("(5, 50]"))
            if rule.kind == "hoster-commit"
            else rule
            for rule in INFERENCE_POLICY.rules
        )
    )
    assert COMMIT in list_duties(HOSTER, policy=early)


def test_an_opening_rests_on_the_commitment_it_opens() -> None:
    duties = compute_duties(
        INFERENCE_POLICY, TIMING, Epoch(EPOCH), HOSTER | VALIDATOR, is_elected=False
    )
    rests_on = {duty.name: duty.rests_on for duty in duties if duty.rests_on}
    assert rests_on == {
        "open-output": ("commit-output", EPOCH),
        "open-scores": ("commit-scores", EPOCH - 1),
    }


@pytest.mark.parametrize(
    ("block", "first_left"),
    [
        (0, "attest"),
        (49, "attest"),
        (50, "open-output"),
        (59, "open-output"),
        (60, "see-challenge"),
        (99, "see-challenge"),
    ],
)
def test_a_node_that_starts_in_mid_epoch_joins_at_the_first_duty_still_open(
    block: BlockNumber, first_left: str
) -> None:
    duties = [
        duty
        for duty in compute_duties(INFERENCE_POLICY, TIMING, Epoch(EPOCH), HOSTER, is_elected=False)
        if duty.name != "commit-output"
    ]
    left = sorted(select_left(duties, FIRST + block), key=lambda duty: duty.closes)
    assert left[0].name == first_left


def test_nothing_is_left_at_the_end() -> None:
    duties = compute_duties(
        INFERENCE_POLICY, TIMING, Epoch(EPOCH), HOSTER | VALIDATOR, is_elected=True
    )
    assert select_left(duties, FIRST + 100) == ()


def test_a_policy_without_challenge_or_openings_has_no_such_duties() -> None:
    heartbeats = Policy(*(rule for rule in INFERENCE_POLICY.rules if not rule.is_of_an_epoch))
    assert list_duties(HOSTER | VALIDATOR, is_elected=True, policy=heartbeats) == []
    unasked = Policy(*(rule for rule in INFERENCE_POLICY.rules if rule.kind != "consensus"))
    assert list_duties(HOSTER, policy=unasked) == [ATTEST, SEE_COMMITMENTS, COMMIT, OPEN]


def test_every_duty_has_a_flow() -> None:
    names = {
        duty.name
        for is_elected in (True, False)
        for duty in compute_duties(
            INFERENCE_POLICY,
            TIMING,
            Epoch(EPOCH),
            HOSTER | VALIDATOR,
            is_elected=is_elected,
            stand_in_rank=0,
        )
    }
    assert names == set(DUTY_HANDLERS)
