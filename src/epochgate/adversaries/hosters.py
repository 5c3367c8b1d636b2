"""Hosters that want to be paid without running the model, or to make others lose."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.adversaries.adversary import (
    Adversary,
    get_replicas,
    post_once,
    sign,
    watch_for_others,
)
from epochgate.core.commitment import Opening, compute_commitment
from epochgate.core.roster import HOSTER
from epochgate.core.schema import Schema
from epochgate.core.types import Epoch, PeerId, Salt
from epochgate.node import duties
from epochgate.node.challenge import get_challenge
from epochgate.node.context import DutyFailed, DutyHandler, NodeContext
from epochgate.node.duties import Duty
from epochgate.node.hoster import commit, commit_output
from epochgate.node.runner import Node
from epochgate.ports import Model


async def _copy_commitment(node: NodeContext, duty: Duty) -> str:
    """Another hoster's digest, under this node's name."""
    rule = node.policy.protocol.require_outputs().commit
    victims = await watch_for_others(node, rule, duty.epoch, duty.closes)
    proof = next(iter(victims.values()))
    return await node.post(
        rule, duty, sign(node, node.get_key_rule(rule, duty.epoch), proof.record.payload)
    )


async def _copy_opening(node: NodeContext, duty: Duty) -> str:
    """What the hoster whose digest was copied shows: salt, challenge and output, byte by byte."""
    outputs = node.policy.protocol.require_outputs()
    rule = outputs.reveal
    commitment_rule = outputs.commit
    own = node.database.get_record(
        node.get_key_rule(commitment_rule, duty.epoch).key, PeerId(node.author)
    )
    commitments = await watch_for_others(node, commitment_rule, duty.epoch, duty.closes)
    while True:
        openings = await watch_for_others(node, rule, duty.epoch, duty.closes)
        for author, proof in openings.items():
            if own is None or (
                author in commitments and commitments[author].record.payload == own.payload
            ):
                record = sign(node, node.get_key_rule(rule, duty.epoch), proof.record.payload)
                return await node.post(rule, duty, record)


def _copy(node: Node) -> None:
    node.handlers |= {duties.COMMIT_OUTPUT: _copy_commitment, duties.OPEN_OUTPUT: _copy_opening}


async def _come_late(node: NodeContext, duty: Duty) -> str:
    """Commit to an output that somebody has shown already, and open it at once."""
    outputs = node.policy.protocol.require_outputs()
    rule = outputs.reveal
    commitment_rule = outputs.commit
    shown = await watch_for_others(node, rule, duty.epoch, duty.closes)
    output = Opening.from_bytes(next(iter(shown.values())).record.payload)
    commitment = commit(node, commitment_rule, duty.epoch, output.challenge_digest, output.payload)
    took = await post_once(node, get_replicas(node, commitment_rule, duty.epoch), commitment)
    opening = node.database.get_own_opening(commitment_rule.kind, duty.epoch)
    if opening is None:
        raise DutyFailed("it has nothing to open")
    await node.post(rule, duty, node.sign_once(rule, duty.epoch, rule.schema.encode(opening)))
    return f"late commitment: {took}"


async def _wait_and_see(_node: NodeContext, _duty: Duty) -> str:
    return "waits for what others will show"


def be_late(node: Node) -> None:
    node.handlers |= {duties.COMMIT_OUTPUT: _wait_and_see, duties.OPEN_OUTPUT: _come_late}


async def _come_early(node: NodeContext, duty: Duty) -> str:
    """Its commitment and opening, both before the window of the first one opens; never again."""
    outputs = node.policy.protocol.require_outputs()
    rule = outputs.reveal
    commitment_rule = outputs.commit
    if node.compute_seconds_until(node.get_key_rule(commitment_rule, duty.epoch).first) <= 0:
        return "it is too late to be early"
    challenge, digest = await get_challenge(node, duty.epoch)
    output = await _encode_answer(node, outputs.payload, node.model, challenge)
    record = commit(node, commitment_rule, duty.epoch, digest, output)
    took = await post_once(node, get_replicas(node, commitment_rule, duty.epoch), record)
    opening = node.database.get_own_opening(commitment_rule.kind, duty.epoch)
    if opening is not None:
        opened = node.sign_once(rule, duty.epoch, rule.schema.encode(opening))
        await post_once(node, get_replicas(node, rule, duty.epoch), opened)
    return f"early commitment: {took}"


async def _encode_answer(
    node: NodeContext, schema: Schema, model: Model | None, challenge: NDArray[Any]
) -> bytes:
    """The model's answer as an opening shows it."""
    if model is None:
        raise DutyFailed("it has no model to run")
    return schema.encode(await node.compute.run(model.infer, challenge))


def _be_early(node: Node) -> None:
    """Its alarm clock is the challenge: it looks at it in the block in which others do, and does
    not wait for the window.
    """
    node.handlers |= {
        duties.COMMIT_OUTPUT: _do_nothing,
        duties.OPEN_OUTPUT: _do_nothing,
        duties.ATTEST: _then_attest(node),
    }


def _then_attest(node: Node) -> DutyHandler:
    """In the epoch's second block, when others look at the submission, it posts first."""
    attest = node.handlers[duties.ATTEST]

    async def come_early(node: NodeContext, duty: Duty) -> str:
        said = await _come_early(node, duty)
        return f"{said}; {await attest(node, duty)}"

    return come_early


async def _do_nothing(_node: NodeContext, _duty: Duty) -> str:
    return "nothing is done"


async def _replay_commitment(node: NodeContext, duty: Duty) -> str:
    """The digest of the epoch before, signed anew; in its first epoch it has to do the work."""
    rule = node.policy.protocol.require_outputs().commit
    if duty.epoch:
        first = node.database.get_own_record(rule.kind, Epoch(duty.epoch - 1))
    else:
        first = None
    if first is None:
        return await commit_output(node, duty)
    old = node.get_key_rule(rule, Epoch(duty.epoch - 1))
    await post_once(node, old.replica_set.replicas, first)  # as it was: its key is over
    key_rule = node.get_key_rule(rule, duty.epoch)
    fresh_seconds = node.get_unix_seconds() + key_rule.longest_seconds - 2 * key_rule.block_seconds
    moved = msgspec.structs.replace(first, key=key_rule.key, expiration_time=fresh_seconds)
    await post_once(
        node, key_rule.replica_set.replicas, moved
    )  # under the new key, with the old signature
    record = node.sign_once(
        rule,
        duty.epoch,
        first.payload,
        node.database.get_own_opening(rule.kind, Epoch(duty.epoch - 1)),
    )
    return await node.post(rule, duty, record)


def _replay(node: Node) -> None:
    node.handlers[duties.COMMIT_OUTPUT] = _replay_commitment


class Equivocator:
    """Commits to two answers, for one half of the replicas each, both of them in time and well
    signed; then opens whichever others' openings favour.
    """

    def __init__(self) -> None:
        self._openings: dict[int, tuple[Opening, ...]] = {}

    async def commit(self, node: NodeContext, duty: Duty) -> str:
        outputs = node.policy.protocol.require_outputs()
        rule = outputs.commit
        replicas = get_replicas(node, rule, duty.epoch)
        key_rule = node.get_key_rule(rule, duty.epoch)
        challenge, digest = await get_challenge(node, duty.epoch)
        answers = [
            await _encode_answer(node, outputs.payload, model, challenge)
            for model in (node.model, ConstantModel())
        ]
        self._openings[duty.epoch] = tuple(
            Opening(Salt(node.entropy.get_bytes(32)), digest, answer) for answer in answers
        )
        said = []
        for opening, part in zip(
            self._openings[duty.epoch], (replicas[::2], replicas[1::2]), strict=True
        ):
            commitment = compute_commitment(
                node.chain.network_id, rule.kind, duty.epoch, PeerId(node.author), opening
            )
            said.append(await post_once(node, part, sign(node, key_rule, commitment)))
        return "; ".join(said)

    async def open(self, node: NodeContext, duty: Duty) -> str:
        rule = node.policy.protocol.require_outputs().reveal
        shown = await watch_for_others(node, rule, duty.epoch, duty.closes)
        favoured = {Opening.from_bytes(proof.record.payload).payload for proof in shown.values()}
        openings = sorted(
            self._openings.pop(duty.epoch, ()), key=lambda opening: opening.payload not in favoured
        )
        if not openings:
            raise DutyFailed("it has nothing to open")
        opened = sign(node, node.get_key_rule(rule, duty.epoch), rule.schema.encode(openings[0]))
        return await node.post(rule, duty, opened)


def _equivocate(node: Node) -> None:
    equivocator = Equivocator()
    node.handlers |= {
        duties.COMMIT_OUTPUT: equivocator.commit,
        duties.OPEN_OUTPUT: equivocator.open,
    }


def _withhold(node: Node) -> None:
    node.handlers[duties.OPEN_OUTPUT] = _do_nothing


class ConstantModel:
    """Ones, whatever is asked."""

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        return np.ones_like(challenge)


class AgreedLie:
    """The same wrong answer from everybody who uses it."""

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        return -7 * challenge[::-1]


def _serve(model: Model) -> Any:
    def corrupt(node: Node) -> None:
        node.context.model = model

    return corrupt


HOSTERS = (
    Adversary(
        "copier",
        HOSTER,
        "copies a digest and later its opening",
        "the copy does not open: 0",
        _copy,
    ),
    Adversary(
        "latecomer",
        HOSTER,
        "commits to what others have shown",
        "late, so nothing to open: 0",
        be_late,
    ),
    Adversary(
        "early-bird",
        HOSTER,
        "commits and opens before the window",
        "early, so it does not exist: 0",
        _be_early,
    ),
    Adversary(
        "replayer",
        HOSTER,
        "shows last epoch's work again",
        "bound to its epoch and challenge: 0",
        _replay,
    ),
    Adversary(
        "equivocator",
        HOSTER,
        "two answers, opens what others favour",
        "left out with evidence: 0",
        _equivocate,
    ),
    Adversary(
        "withholder",
        HOSTER,
        "commits and never opens",
        "counts as a commitment, earns 0",
        _withhold,
    ),
    Adversary(
        "lazy",
        HOSTER,
        "answers ones instead of running the model",
        "far from the centre: 0",
        _serve(ConstantModel()),
    ),
    Adversary(
        "colluder",
        HOSTER,
        "all of them give one wrong answer",
        "a minority is no centre: 0",
        _serve(AgreedLie()),
    ),
)
