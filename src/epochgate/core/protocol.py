"""Which rules of a policy make its subnet's protocol: the challenge, the outputs, and the scores.

A policy is a list of rules. What nodes do in an epoch follows from a few of them, which are
resolved once, here, and read from `policy.protocol` everywhere else.
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
    """Two rules that belong together: authors commit by `commit`, and open by `reveal`.

    `payload` is the schema of what is committed to: the opening without its salt and challenge.
    """

    commit: Rule
    reveal: Rule
    payload: Schema

    def compute_commit_epoch(self, reveal_epoch: Epoch) -> Epoch:
        """The epoch whose commitments are opened in `reveal_epoch`; below 0 there are none."""
        return Epoch(reveal_epoch - self.reveal.epochs_ago)


class SubnetProtocol(msgspec.Struct, frozen=True):
    """The rules that an epoch is made of. Each is None where the policy has none.

    `challenge` is written first, by the elected validator. Hosters commit to `outputs` and open
    them; validators do so with their lists of `scores`.
    """

    challenge: Rule | None
    outputs: CommitReveal | None
    scores: CommitReveal | None

    @property
    def derived(self) -> Derived | None:
        """The schema of a challenge that everybody can compute; None for any other policy."""
        if self.challenge is None or not isinstance(self.challenge.schema, Derived):
            return None
        return self.challenge.schema

    def require_challenge(self) -> Rule:
        """Raises LookupError where the policy has no challenge."""
        if self.challenge is None:
            raise LookupError("the policy has no rule with elected_until, so no challenge")
        return self.challenge

    def require_outputs(self) -> CommitReveal:
        """Raises LookupError where hosters commit to nothing."""
        if self.outputs is None:
            raise LookupError("the policy has no rules by which hosters commit and open outputs")
        return self.outputs

    def require_scores(self) -> CommitReveal:
        """Raises LookupError where validators commit to nothing."""
        if self.scores is None:
            raise LookupError("the policy has no rules by which validators commit and open scores")
        return self.scores


def resolve_protocol(rules: Iterable[Rule]) -> SubnetProtocol:
    """The first rule that only the elected node may write at first, and each role's first pair of
    a rule that opens and the rule that it opens.
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
