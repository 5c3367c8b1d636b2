"""The rules of a policy that make its subnet's protocol: the challenge, the outputs, the scores.

A policy is a list of rules. A few of them decide the duties of nodes in an epoch. They are resolved
once, here, and read from `policy.protocol` everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from epochgate.core.challenge import Derived
from epochgate.core.commitment import OpeningOf
from epochgate.core.roster import HOSTER, VALIDATOR, Role
from epochgate.core.rule import Rule
from epochgate.core.schema import Schema
from epochgate.core.types import Epoch


class CommitReveal(msgspec.Struct, frozen=True):
    """Two rules that belong together.

    Attributes:
        commit: The rule by which authors commit.
        reveal: The rule by which they open their commitments.
        payload: The schema of the output or list that is committed to: the opening without its salt
            and challenge.
    """

    commit: Rule
    reveal: Rule
    payload: Schema

    def compute_commit_epoch(self, reveal_epoch: Epoch) -> Epoch:
        """The epoch whose commitments are opened in `reveal_epoch`; below 0 there are none."""
        return Epoch(reveal_epoch - self.reveal.epochs_ago)


class SubnetProtocol(msgspec.Struct, frozen=True):
    """The rules that an epoch is made of. Each is None where the policy has none.

    Attributes:
        challenge: The rule under which the elected validator, or a stand-in, writes the challenge.
        outputs: The rules by which hosters commit to their outputs and open them.
        scores: The rules by which validators do so with their lists of scores.

    >>> INFERENCE_POLICY.protocol.require_scores().reveal.kind
    'validator-reveal'
    """

    challenge: Rule | None
    outputs: CommitReveal | None
    scores: CommitReveal | None

    @property
    def derived(self) -> Derived | None:
        """The schema of a challenge that every node can compute; None for any other policy."""
        if self.challenge is None or not isinstance(self.challenge.schema, Derived):
            return None
        return self.challenge.schema

    def require_challenge(self) -> Rule:
        """The challenge's rule. Raises LookupError where the policy has no challenge."""
        if self.challenge is None:
            raise LookupError("the policy has no rule with elected_until, so no challenge")
        return self.challenge

    def require_outputs(self) -> CommitReveal:
        """The outputs' rules. Raises LookupError where hosters commit to nothing."""
        if self.outputs is None:
            raise LookupError("the policy has no rules by which hosters commit and open outputs")
        return self.outputs

    def require_scores(self) -> CommitReveal:
        """The scores' rules. Raises LookupError where validators commit to nothing."""
        if self.scores is None:
            raise LookupError("the policy has no rules by which validators commit and open scores")
        return self.scores


def resolve_protocol(rules: Iterable[Rule]) -> SubnetProtocol:
    """Find the rules that make the protocol.

    Args:
        rules: A policy's rules, in their order.

    Returns:
        The first rule that has `elected_until`, and for each role the first pair of a rule that
        opens and the rule that it opens.
    """
    rules = tuple(rules)
    challenge = next((rule for rule in rules if rule.elected_until is not None), None)
    return SubnetProtocol(challenge, _find_pair(rules, HOSTER), _find_pair(rules, VALIDATOR))


def _find_pair(rules: tuple[Rule, ...], role: Role) -> CommitReveal | None:
    for reveal in rules:
        if reveal.opens is None or reveal.by != role or not isinstance(reveal.schema, OpeningOf):
            continue
        for commit in rules:
            if commit.kind == reveal.opens:
                return CommitReveal(commit, reveal, reveal.schema.payload)
    return None
