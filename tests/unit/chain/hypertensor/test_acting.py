"""Submitting and attesting: the calls' arguments, and going by what the chain shows afterwards."""

from __future__ import annotations

import pytest

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.acting import Action, act, make_attestation, make_proposal
from epochgate.chain.hypertensor.calls import decode_args, read_bytes
from epochgate.chain.hypertensor.nodes import parse_node
from epochgate.core.types import BlockNumber, Epoch, Hash32
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused, Submission
from tests.support.hypertensor_runtime import MemoryRuntime, lose_answer
from tests.support.hypertensor_values import ALITH, make_raw_node
from tests.support.identities import alice, bob

EPOCH = Epoch(6)
NODE = parse_node(make_raw_node(3, format_peer_id(alice.author)))
SUBMISSION = Submission(EPOCH, {alice.author: 1, bob.author: 2}, (b"\x03",), Hash32(b"r" * 32))
PROPOSAL = make_proposal(7, NODE, SUBMISSION, [NODE])


def test_the_chain_is_told_the_scores_of_nodes_that_it_lists_and_all_of_them_in_the_args() -> None:
    args = decode_args(read_bytes(PROPOSAL.arguments["args"]))

    assert PROPOSAL.call == "propose_attestation"
    assert PROPOSAL.arguments["subnet_node_id"] == 3
    assert PROPOSAL.arguments["data"] == [{"subnet_node_id": 3, "score": 1}]
    assert args is not None
    assert args.scores == SUBMISSION.scores


def test_a_node_attests_once_its_class_may() -> None:
    idle = parse_node(make_raw_node(3, format_peer_id(alice.author), "Idle"))

    assert make_attestation(7, NODE, EPOCH).arguments["subnet_node_id"] == 3
    with pytest.raises(ChainRefused, match="class Idle, which does not attest yet: keep it"):
        make_attestation(7, idle, EPOCH)


class Sending:
    """Sends the proposal on a runtime of its own; the epoch may end meanwhile."""

    def __init__(self) -> None:
        self.runtime = MemoryRuntime()
        self.runtime.head = BlockNumber(EPOCH * self.runtime.blocks_per_epoch)
        self.is_over = False

    async def send(self, action: Action = PROPOSAL) -> None:
        await act(
            self.runtime,
            Account(ALITH),
            action,
            block_seconds=0.001,
            is_done=self.is_done,
            require_current=self.require_current,
        )

    async def is_done(self) -> bool:
        return EPOCH in self.runtime.submissions

    def require_current(self) -> None:
        if self.is_over:
            raise ChainRefused("the epoch is over")


async def test_an_action_is_sent_again_when_nobody_knows_what_became_of_it() -> None:
    sending = Sending()
    sending.runtime.failures = [lose_answer()]

    await sending.send()

    assert sending.runtime.sent == ["propose_attestation"] * 2


async def test_an_answer_that_is_lost_costs_nothing_where_the_chain_shows_the_action() -> None:
    for error in (lose_answer(), ChainRefused("submitted already")):
        sending = Sending()
        sending.runtime.late_failures = [error]

        await sending.send()

        assert sending.runtime.sent == ["propose_attestation"]


async def test_a_refusal_is_final_and_so_is_the_epochs_end() -> None:
    sending = Sending()
    sending.runtime.failures = [ChainRefused("not elected")]
    with pytest.raises(ChainRefused, match="not elected"):
        await sending.send()

    sending = Sending()
    sending.runtime.failures = [lose_answer()]
    sending.is_over = True
    with pytest.raises(ChainRefused, match="the epoch is over"):
        await sending.send()
    assert sending.runtime.sent == ["propose_attestation"]
