"""Submissions as the chain holds them."""

from __future__ import annotations

import pytest

from epochgate.chain.hypertensor.calls import Args, encode_args, encode_submission
from epochgate.chain.hypertensor.subnet import parse_submission
from epochgate.chain.hypertensor.units import UNIT
from epochgate.core.types import Epoch, Hash32
from epochgate.keys import format_peer_id
from epochgate.ports import Submission
from tests.support.hypertensor_values import make_consensus, make_raw_node
from tests.support.identities import alice, bob, carol, victor


def test_a_submission_is_read_with_authors_for_numbers() -> None:
    found = parse_submission(make_consensus(), Epoch(6), min_share=66 * UNIT // 100)

    assert found.submission.epoch == 6
    assert found.submission.scores == {alice.author: 1, bob.author: 2, carol.author: 3}
    assert (found.submission.bitmaps, found.submission.root) == ((b"\x07",), b"r" * 32)
    assert (found.submitter, found.attested_by) == (alice.author, (bob.author,))
    assert found.is_attested
    assert not parse_submission(
        make_consensus(attests={1: {}}), Epoch(6), min_share=66 * UNIT // 100
    ).is_attested


def test_the_newest_runtime_names_who_may_attest() -> None:
    found = parse_submission(
        make_consensus(validator_ids=[1, 2, 3, 4]), Epoch(6), min_share=66 * UNIT // 100
    )

    assert not found.is_attested


def test_a_submission_that_is_none_of_ours_has_no_set() -> None:
    found = parse_submission(make_consensus(args="rubbish"), Epoch(6), min_share=UNIT)

    assert (found.submission.epoch, found.submission.bitmaps, found.submission.root) == (6, (), b"")


def test_who_left_keeps_its_score_and_who_is_there_cannot_be_moved_aside() -> None:
    others = {victor.author: 9, bob.author: 1000}
    args = "0x" + encode_args(Args(1, Epoch(6), (), Hash32(b""), others)).hex()
    found = parse_submission(make_consensus(args=args), Epoch(6), min_share=UNIT)

    assert found.submission.scores == {
        alice.author: 1,
        bob.author: 2,
        carol.author: 3,
        victor.author: 9,
    }


@pytest.mark.parametrize(
    "node_class", [None, "Idle"], ids=["it has left", "it is in the consensus no longer"]
)
def test_a_node_for_which_the_chain_takes_no_score_any_more_costs_nobody_the_attestation(
    node_class: str | None,
) -> None:
    """Bob was there when the submission was made, and not when a block took it."""
    submission = Submission(
        Epoch(6), {alice.author: 1, bob.author: 2, carol.author: 3}, (b"\x07",), Hash32(b"r" * 32)
    )
    args = encode_submission(submission, submission.scores)
    raw = make_consensus(args="0x" + args.hex())
    nodes = [node for node in raw["subnet_nodes"] if node["id"] != 2]
    if node_class is not None:
        nodes.append(make_raw_node(2, format_peer_id(bob.author), node_class))
    data = [entry for entry in raw["data"] if entry["subnet_node_id"] != 2]

    assert (
        parse_submission(
            raw | {"subnet_nodes": nodes, "data": data}, Epoch(6), min_share=UNIT
        ).submission
        == submission
    )
