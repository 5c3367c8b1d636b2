"""The protocol of a policy: its challenge, outputs and scores, resolved once."""

from __future__ import annotations

import pytest

from epochgate import HOSTER, INFERENCE_POLICY, VALIDATOR, Digest, OpeningOf, Policy, Rule, epochs
from epochgate.core.types import Epoch


def make_pair(role: int, prefix: str, epochs_ago: int = 0) -> tuple[Rule, Rule]:
    commit = Rule(f"{prefix}-commit_epoch_{{epoch}}", by=role, ttl=epochs(2), schema=Digest())
    reveal = Rule(
        f"{prefix}-reveal_epoch_{{epoch}}",
        by=role,
        ttl=epochs(2),
        schema=OpeningOf(Digest(8)),
        opens=commit.kind,
        epochs_ago=epochs_ago,
    )
    return commit, reveal


def test_the_default_policy_has_a_challenge_outputs_and_scores() -> None:
    protocol = INFERENCE_POLICY.protocol
    outputs = protocol.require_outputs()
    scores = protocol.require_scores()
    assert protocol.require_challenge().kind == "consensus"
    assert (outputs.commit.kind, outputs.reveal.kind) == ("hoster-commit", "hoster-reveal")
    assert (scores.commit.kind, scores.reveal.kind) == ("validator-commit", "validator-reveal")
    assert protocol.derived is protocol.require_challenge().schema
    assert INFERENCE_POLICY.protocol is protocol, "resolved once"


def test_a_reveal_says_which_epoch_it_opens() -> None:
    scores = INFERENCE_POLICY.protocol.require_scores()
    outputs = INFERENCE_POLICY.protocol.require_outputs()
    assert outputs.compute_commit_epoch(Epoch(7)) == 7
    assert scores.compute_commit_epoch(Epoch(7)) == 6


def test_the_payload_is_what_an_opening_wraps() -> None:
    policy = Policy(*make_pair(HOSTER, "price"))
    assert policy.protocol.require_outputs().payload == Digest(8)


def test_the_first_pair_of_a_role_counts() -> None:
    policy = Policy(*make_pair(HOSTER, "first"), *make_pair(HOSTER, "second"))
    assert policy.protocol.require_outputs().commit.kind == "first-commit"


def test_an_opening_without_its_commitment_makes_no_pair() -> None:
    _, reveal = make_pair(VALIDATOR, "list")
    assert Policy(reveal).protocol.scores is None


@pytest.mark.parametrize(
    ("require", "words"),
    [
        (lambda protocol: protocol.require_challenge(), "no challenge"),
        (lambda protocol: protocol.require_outputs(), "hosters commit"),
        (lambda protocol: protocol.require_scores(), "validators commit"),
    ],
)
def test_what_a_policy_lacks_is_none_and_said_by_whom_needs_it(require, words: str) -> None:  # type: ignore[no-untyped-def]
    protocol = Policy().protocol
    assert (protocol.challenge, protocol.outputs, protocol.scores) == (None, None, None)
    assert protocol.derived is None
    with pytest.raises(LookupError, match=words):
        require(protocol)
