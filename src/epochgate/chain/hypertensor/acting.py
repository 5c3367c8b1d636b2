"""Submitting and attesting: the calls' arguments, and sending them until the chain shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.calls import encode_submission
from epochgate.chain.hypertensor.nodes import ATTESTING_CLASS, ChainNode
from epochgate.chain.hypertensor.rpc import ERA_BLOCKS, ChainUnreachable, Rpc
from epochgate.core.types import Epoch
from epochgate.ports import ChainRefused, Submission

ANSWER_SECONDS = 1.0
"""Time for the answer to arrive once an extrinsic's era is over."""


class Action(msgspec.Struct, frozen=True):
    """A call of the network pallet, and its arguments by name."""

    call: str
    arguments: dict[str, Any]


def make_proposal(
    subnet_id: int, node: ChainNode, submission: Submission, nodes: Iterable[ChainNode]
) -> Action:
    """The call that submits `submission`.

    Args:
        subnet_id: The subnet's number.
        node: The elected node.
        submission: The submission.
        nodes: The nodes that the chain takes scores for now; others' go into the call's args.

    Returns:
        A call of `propose_attestation`.

    Raises:
        ChainRefused: The submission takes more bytes than the chain does.
    """
    node_ids = {other.author: other.node_id for other in nodes if other.author is not None}
    scores = [
        {"subnet_node_id": node_ids[author], "score": score}
        for author, score in submission.scores.items()
        if author in node_ids
    ]
    arguments = {
        "subnet_id": subnet_id,
        "subnet_node_id": node.node_id,
        "data": scores,
        "args": "0x" + encode_submission(submission, node_ids).hex(),
        "attest_data": None,
    }
    return Action("propose_attestation", arguments)


def make_attestation(subnet_id: int, node: ChainNode, epoch: Epoch) -> Action:
    """The call by which a node attests.

    Args:
        subnet_id: The subnet's number.
        node: The node, as the chain has it.
        epoch: The epoch whose submission it attests.

    Returns:
        A call of `attest`.

    Raises:
        ChainRefused: The chain does not let nodes of this class attest.
    """
    if not node.is_of_class(ATTESTING_CLASS, epoch):
        raise ChainRefused(
            f"this node is of the chain's class {node.class_name}, which does not attest yet",
            "keep it running, each attested epoch that scores it brings it nearer",
        )
    arguments = {
        "subnet_id": subnet_id,
        "subnet_node_id": node.node_id,
        "attest_data": None,
        "data": None,
    }
    return Action("attest", arguments)


async def act(
    rpc: Rpc,
    account: Account,
    action: Action,
    *,
    block_seconds: float,
    is_done: Callable[[], Awaitable[bool]],
    require_current: Callable[[], None],
) -> None:
    """Send an action until the chain shows it.

    The answer may be lost, and a reorganisation may take the block with the extrinsic. After its
    era nothing that was sent can still be taken in, and the chain takes each action only once in an
    epoch, so sending it again never does it twice.

    Args:
        rpc: The server.
        account: The node's hotkey, which signs.
        action: The call to send.
        block_seconds: The chain's block time.
        is_done: Asks the chain whether it shows the action.
        require_current: Raises ChainRefused when the epoch is over.

    Raises:
        ChainRefused: The chain refuses the action, or the epoch ends before it shows it.
    """
    era_seconds = ERA_BLOCKS * block_seconds
    while True:
        try:
            await rpc.send(
                account,
                action.call,
                action.arguments,
                timeout_seconds=era_seconds + ANSWER_SECONDS,
            )
        except ChainRefused:
            if not await is_done():
                raise
        except ChainUnreachable:  # warned of by the follower of heads
            await asyncio.sleep(block_seconds)
        if await is_done():
            return
        require_current()
