"""The epoch's challenge: published by whom the chain elected, by the next in line when it is
absent, and looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from epochgate.core.challenge import Derived, compute_challenge_digest
from epochgate.core.receipt import Proof, Standing
from epochgate.core.rule import Rule
from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.types import Epoch, Hash32
from epochgate.keys import format_peer_id
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty
from epochgate.observe.events import ChallengeMissing, ChallengeSeen


async def publish_challenge(node: NodeContext, duty: Duty) -> str:
    """A stand-in looks first: a challenge that is proven needs no other. It waits for no silent
    replica, for it has little time, and what it publishes beside another's costs nobody anything.
    """
    rule = node.policy.protocol.require_challenge()
    context = node.schedule.get_context(duty.epoch)
    if (
        context.elected != node.author
        and (seen := await _read_proven(node, duty.epoch, wait_for_all=False)) is not None
    ):
        return f"not needed, {format_peer_id(seen.record.author)} has published"
    record = await node.find_own_record(rule, duty.epoch)
    if record is None:
        record = node.sign_once(rule, duty.epoch, await _make(node, rule, context))
    return await node.post(rule, duty, record)


async def see_challenge(node: NodeContext, duty: Duty) -> str:
    seen = await _read_proven(node, duty.epoch, wait_for_all=True)
    if seen is None:
        is_derived = node.policy.protocol.derived is not None
        if is_derived:
            consequence = "everybody computes it"
        else:
            consequence = "there is nothing to work on, and nobody is paid for this epoch"
        node.emit(ChallengeMissing(duty.epoch, consequence))
        return f"nobody has published a challenge: {consequence}"
    author = format_peer_id(seen.record.author)
    node.emit(ChallengeSeen(duty.epoch, author))
    return f"published by {author}"


async def get_challenge(node: NodeContext, epoch: Epoch) -> tuple[Any, Hash32]:
    """The epoch's challenge and its digest.

    Raises:
        DutyFailed: the publisher chooses the challenge, and none is proven.
    """
    context = node.schedule.get_context(epoch)
    protocol = node.policy.protocol
    if protocol.challenge is None:
        # a subnet without challenges: openings name nothing
        return np.empty(0, np.float32), Hash32(bytes(32))
    if protocol.derived is not None:
        return protocol.derived.compute(context), protocol.derived.compute_digest(context)
    seen = await _read_proven(node, epoch, wait_for_all=True)
    if seen is None:
        raise DutyFailed("nobody has published a challenge")
    array = _decode(node, context, seen)
    return array, compute_challenge_digest(array)


async def _make(node: NodeContext, rule: Rule, context: EpochContext) -> bytes:
    """The payload to publish.

    Raises:
        DutyFailed: this node has nothing to choose from; the next stand-in takes over.
    """
    if isinstance(rule.schema, Derived):
        return rule.schema.encode(rule.schema.compute(context))
    if node.challenger is None:
        raise DutyFailed(
            "the policy leaves the challenge to its publisher, and this node has no challenger:"
            " stand-ins take over"
        )
    array = await node.compute.run(node.challenger.choose, context.epoch, context.roster.seed)
    try:
        payload = rule.schema.encode(array)
        node.get_key_rule(rule, context.epoch).decode(payload)
    except Malformed as error:
        raise DutyFailed(f"the challenger's choice does not fit the policy: {error}") from None
    return payload


def _decode(node: NodeContext, context: EpochContext, proof: Proof) -> Any:
    rule = node.policy.protocol.require_challenge()
    return node.schedule.get_key_rule(rule, context.epoch).decode(proof.record.payload)


async def _read_proven(node: NodeContext, epoch: Epoch, *, wait_for_all: bool) -> Proof | None:
    """The proven challenge: the elected node's before any stand-in's, and of two values of one
    author that of the smaller digest, so that all who see the same take the same. Who works on it
    asks every replica, since what one misses costs it the epoch.
    """
    context = node.schedule.get_context(epoch)
    rule_reading = await node.store.read_all(
        node.policy.protocol.require_challenge(), epoch, wait_for_all=wait_for_all
    )
    proven = rule_reading.get_proofs(Standing.PROVEN)
    order = (context.elected, *context.roster.compute_stand_ins(context.elected))
    return next((proven[author][0] for author in order if author in proven), None)
