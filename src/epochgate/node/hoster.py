"""A hoster's epoch: run the model on the challenge, commit to the output, open it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from epochgate.core.commitment import SALT_BYTES, Opening, compute_commitment
from epochgate.core.protocol import CommitReveal
from epochgate.core.record import Record
from epochgate.core.rule import Rule
from epochgate.core.schema import Malformed, Schema
from epochgate.core.types import Epoch, Hash32, PeerId, Salt
from epochgate.node.challenge import get_challenge
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty
from epochgate.observe.events import NodeWarning
from epochgate.ports import Model, OutOfTime

MAX_SENDING_SHARE = 0.25
"""Of a short window, kept for sending the commitment."""


async def commit_output(node: NodeContext, duty: Duty) -> str:
    outputs = node.policy.protocol.require_outputs()
    rule = outputs.commit
    record = await node.find_own_record(rule, duty.epoch)
    if record is None:
        challenge, digest = await get_challenge(node, duty.epoch)
        payload = await _infer(node, duty, outputs.payload, challenge)
        record = commit(node, rule, duty.epoch, digest, payload)
    return await node.post(rule, duty, record)


async def open_output(node: NodeContext, duty: Duty) -> str:
    return await open_commitment(node, duty, node.policy.protocol.require_outputs())


def commit(
    node: NodeContext, rule: Rule, epoch: Epoch, challenge_digest: Hash32, payload: bytes
) -> Record:
    """The signed commitment to `payload`, with its opening on disk."""
    opening = Opening(Salt(node.entropy.get_bytes(SALT_BYTES)), challenge_digest, payload)
    network = node.chain.network_id
    commitment = compute_commitment(network, rule.kind, epoch, PeerId(node.author), opening)
    return node.sign_once(rule, epoch, commitment, opening)


async def open_commitment(node: NodeContext, duty: Duty, pair: CommitReveal) -> str:
    """Open what this node committed to, in the epoch that the duty rests on.

    Raises DutyFailed when its database knows of nothing.
    """
    rule = pair.reveal
    record = node.database.get_own_record(rule.kind, duty.epoch)
    if record is None:
        assert duty.rests_on is not None  # noqa: S101 - so says the table of duties
        committing, committed_epoch = duty.rests_on
        opening = node.database.get_own_opening(pair.commit.kind, Epoch(committed_epoch))
        if opening is None:
            raise DutyFailed(
                f"it rests on {committing} of epoch {committed_epoch}, of which this node's"
                " database knows nothing"
            )
        record = node.sign_once(rule, duty.epoch, rule.schema.encode(opening))
    return await node.post(rule, duty, record)


async def _infer(
    node: NodeContext, duty: Duty, schema: Schema, challenge: NDArray[np.generic]
) -> bytes:
    """The model's output as the opening will show it."""
    if node.model is None:
        raise DutyFailed("this node is registered as a hoster, but runs no model")
    output = await _ask_model(node, node.model, challenge, compute_limit_seconds(node, duty))
    try:
        return schema.encode(output)
    except Malformed as error:
        raise DutyFailed(f"the model's output does not fit the policy: {error}") from None


def compute_limit_seconds(node: NodeContext, duty: Duty) -> float:
    """How long the model has: what is left of the duty's time, less a block for the commitment to
    reach its replicas.
    """
    left_seconds = max(0.0, node.compute_seconds_until(duty.closes))
    return left_seconds - min(node.block_seconds, left_seconds * MAX_SENDING_SHARE)


async def _ask_model(
    node: NodeContext, model: Model, challenge: NDArray[np.generic], longest_seconds: float
) -> NDArray[np.generic]:
    """What the model answers in time. The heartbeats' throughput follows: none while it answers too
    late.
    """
    began_seconds = node.get_unix_seconds()
    try:
        output = await node.compute.run(model.infer, challenge, longest_seconds=longest_seconds)
    except OutOfTime as error:
        node.latency.note_miss()
        if error.unfinished > 1:
            node.emit(_describe_stuck(error.unfinished))
        raise DutyFailed(_describe_slow(longest_seconds, node.latency.usual_seconds)) from None
    node.latency.note(max(0.0, node.get_unix_seconds() - began_seconds))  # a clock may be set back
    return output


def _describe_slow(had_seconds: float, usual_seconds: float | None) -> str:
    if usual_seconds is None:
        usual = "it never answered since this node started"
    else:
        usual = f"it usually needs {usual_seconds:.3g} s"
    advice = "serve a smaller model, or this one on a faster machine"
    return f"the model had not answered after the {had_seconds:.3g} s it had; {usual}: {advice}"


def _describe_stuck(runs: int) -> NodeWarning:
    what = f"{runs} runs of the model were given up and still go on, each in a thread of its own"
    return NodeWarning(
        "model", what, "if it hangs, see why, and start the node again: a thread cannot be ended"
    )
