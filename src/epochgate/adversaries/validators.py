"""Validators that want to be paid without scoring, or to stop the epoch."""

from __future__ import annotations

from epochgate.adversaries.adversary import Adversary
from epochgate.core.roster import VALIDATOR
from epochgate.node import duties
from epochgate.node.challenge import get_challenge
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import Duty
from epochgate.node.hoster import commit
from epochgate.node.runner import Node


async def _commit_to_nothing(node: NodeContext, duty: Duty) -> str:
    """An empty list, properly committed to, so that it can be opened."""
    scores = node.policy.protocol.require_scores()
    rule = scores.commit
    _, digest = await get_challenge(node, duty.epoch)
    record = commit(node, rule, duty.epoch, digest, scores.payload.encode(()))
    return await node.post(rule, duty, record)


def _score_nothing(node: Node) -> None:
    node.handlers[duties.COMMIT_SCORES] = _commit_to_nothing


async def _stay_away(_node: NodeContext, _duty: Duty) -> str:
    raise DutyFailed("it was elected, and does nothing")


def _be_absent(node: Node) -> None:
    node.handlers |= {duties.PUBLISH_CHALLENGE: _stay_away, duties.SUBMIT: _stay_away}


VALIDATORS = (
    Adversary(
        "empty-scorer",
        VALIDATOR,
        "commits to an empty list",
        "no entry of it is right: 0",
        _score_nothing,
    ),
    Adversary(
        "absent-elected",
        VALIDATOR,
        "publishes and submits nothing when it is elected",
        "others stand in; the epoch's submission is lost, its scores are not",
        _be_absent,
    ),
)
