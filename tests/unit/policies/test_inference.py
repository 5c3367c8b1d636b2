"""The default policy: the table of docs/spec.md, and a digest that a change of it would change."""

from __future__ import annotations

import hashlib

from epochgate.core.epoch import Timing, epochs
from epochgate.core.policy_lint import find_problems
from epochgate.policies.inference import CHALLENGE, INFERENCE_POLICY, OUTPUT
from epochgate.schemas import Heartbeat, Map


def test_its_rules_are_those_of_the_specification() -> None:
    table = [
        (rule.kind, str(rule.during or "any time"), rule.ttl, rule.once)
        for rule in INFERENCE_POLICY.rules
    ]
    assert table == [
        ("hoster", "any time", epochs("1.1"), False),
        ("validator", "any time", epochs("1.1"), False),
        ("consensus", "[0, 15] %", epochs("1.1"), True),
        ("hoster-commit", "(15, 50] %", epochs(2), True),
        ("validator-reveal", "(15, 50] %", epochs(2), True),
        ("hoster-reveal", "(50, 60] %", epochs(2), True),
        ("validator-commit", "[60, 100) %", epochs(2), True),
    ]


def test_its_protocol_has_a_challenge_outputs_and_scores() -> None:
    protocol = INFERENCE_POLICY.protocol
    assert protocol.require_challenge().kind == "consensus"
    assert protocol.derived is not None
    assert protocol.derived.spec == CHALLENGE
    assert protocol.require_outputs().payload == OUTPUT
    assert protocol.require_scores().commit.kind == "validator-commit"


def test_it_works_on_the_default_chain_with_as_many_nodes_as_a_subnet_may_have() -> None:
    assert list(find_problems(INFERENCE_POLICY, Timing(None, 100, 6.0), 256)) == []


def test_its_description_stays_the_same() -> None:
    """Nodes compare digests, so a policy of another description is another policy. The heartbeat's
    part follows from pydantic's JSON schema, and is left out here.
    """
    lines = [
        rule.describe().replace(Map(Heartbeat).describe(), "map[Heartbeat]")
        for rule in INFERENCE_POLICY.rules
    ]
    lines += [INFERENCE_POLICY.scoring.describe(), INFERENCE_POLICY.limits.describe()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == (
        "6145666be16e9a8a0f9fcc443e80d99029851e062f434e8983d646c11b2f47d0"
    )
