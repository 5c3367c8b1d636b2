"""The rules of an epoch that every chain keeps."""

from __future__ import annotations

import pytest

from epochgate.chain.rounds import (
    MAX_SNAPSHOTS,
    check_epoch_number,
    compute_snapshot_block,
    has_begun,
    keep_newest,
    require_attestable,
    require_current,
    require_submission,
    require_submittable,
)
from epochgate.core.epoch import Timing
from epochgate.core.types import BlockNumber, Epoch
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused
from tests.support.identities import alice, bob, victor

TIMING = Timing(BlockNumber(10), 20, 6.0)
WAITING = Timing(None, 20, 6.0)
EPOCH = Epoch(1)


def test_epochs_count_from_0() -> None:
    check_epoch_number(Epoch(0))
    with pytest.raises(ValueError, match="count from 0, saw -1"):
        check_epoch_number(Epoch(-1))


@pytest.mark.parametrize(("epoch", "block"), [(0, 10), (1, 25), (2, 45)])
def test_a_roster_is_read_five_blocks_ahead_and_the_first_at_the_first_block(
    epoch: int, block: int
) -> None:
    assert compute_snapshot_block(TIMING, Epoch(epoch)) == block
    assert compute_snapshot_block(WAITING, Epoch(epoch)) is None


@pytest.mark.parametrize(
    ("epoch", "block", "begun"), [(0, 9, False), (0, 10, True), (1, 29, False), (1, 30, True)]
)
def test_an_epoch_begins_with_its_first_block(epoch: int, block: int, *, begun: bool) -> None:
    assert has_begun(TIMING, Epoch(epoch), BlockNumber(block)) is begun
    assert not has_begun(WAITING, Epoch(epoch), BlockNumber(block))
    assert not has_begun(TIMING, Epoch(-1), BlockNumber(block))


def test_only_the_current_epoch_is_acted_in() -> None:
    for block in (30, 49):
        require_current(TIMING, EPOCH, BlockNumber(block))
    for timing, block, words in (
        (WAITING, 30, "not reached its first block, now is block 30: wait until its epoch 0"),
        (TIMING, 9, "not reached its first block, now is block 9: wait until its epoch 0"),
        (TIMING, 29, "epoch 1 has not begun: wait until block 30, now is 29"),
        (TIMING, 50, "epoch 1 is over, now is epoch 2: go on with that one"),
    ):
        with pytest.raises(ChainRefused, match=words):
            require_current(timing, EPOCH, BlockNumber(block))


def test_the_elected_node_submits_once() -> None:
    elected = victor.author
    assert require_submittable(EPOCH, elected, elected=elected, is_submitted=False) == elected
    with pytest.raises(ChainRefused, match="epoch 1 has a submission already and takes one only"):
        require_submittable(EPOCH, elected, elected=elected, is_submitted=True)


def test_a_node_that_is_not_elected_is_told_who_is() -> None:
    name = format_peer_id(victor.author)
    for author in (alice.author, None):
        with pytest.raises(ChainRefused, match=f"not elected in epoch 1, {name} is: leave"):
            require_submittable(EPOCH, author, elected=victor.author, is_submitted=False)
        with pytest.raises(ChainRefused, match="not elected in epoch 1, nobody is: leave"):
            require_submittable(EPOCH, author, elected=None, is_submitted=False)


def test_others_attest_once_what_is_there() -> None:
    require_attestable(EPOCH, alice.author, submitter=victor.author, attested_by={bob.author})
    assert require_submission(EPOCH, "a submission") == "a submission"
    with pytest.raises(ChainRefused, match="epoch 1 has no submission yet: wait"):
        require_submission(EPOCH, None)
    with pytest.raises(ChainRefused, match="submitted in epoch 1, which counts as its attestation"):
        require_attestable(EPOCH, victor.author, submitter=victor.author, attested_by=())
    with pytest.raises(ChainRefused, match="has attested in epoch 1 already: once is enough"):
        require_attestable(EPOCH, bob.author, submitter=victor.author, attested_by={bob.author})


def test_the_oldest_snapshot_makes_room() -> None:
    kept: dict[Epoch, str] = {}
    for epoch in range(MAX_SNAPSHOTS + 2):
        keep_newest(kept, Epoch(epoch), f"snapshot {epoch}")

    assert list(kept) == [Epoch(epoch) for epoch in range(2, MAX_SNAPSHOTS + 2)]
    assert kept[Epoch(2)] == "snapshot 2"
