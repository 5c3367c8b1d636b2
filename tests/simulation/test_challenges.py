"""The epoch's challenge in whole subnets: chosen by its publisher, absent, late, malformed, or
published twice.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from epochgate.core.challenge import Chosen, compute_challenge_digest
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.record import compute_value_digest
from epochgate.core.scoring import TOTAL_PAY
from epochgate.core.types import Epoch
from epochgate.core.verdict import Reason
from epochgate.engine.memory import Hub
from epochgate.observe.events import (
    AttestationRefused,
    ChallengeMissing,
    ChallengeSeen,
    DutyDone,
    DutyMissed,
    Scored,
    Stored,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import Challenger
from epochgate.schemas import Tensor
from epochgate.store.wire import Post, Posted, Refused
from tests.simulation.subnet import VALIDATORS, SimNode, SimSubnet, assert_complete, live

SCHEMA = Chosen(Tensor("float32", (16, 64)))
CHOSEN = Policy(
    *(
        msgspec.structs.replace(rule, schema=SCHEMA) if rule.kind == "consensus" else rule
        for rule in INFERENCE_POLICY.rules
    )
)
RULE = CHOSEN.protocol.require_challenge()


class Prompter:
    """Chooses by epoch and by itself, so that one can tell whose choice it was."""

    def __init__(self, number: int) -> None:
        self.number = number

    def choose(self, epoch: Epoch, seed: bytes) -> Any:
        assert len(seed) == 32
        return np.full((16, 64), (epoch + 1) / (self.number + 7), np.float32)


class WrongPrompter:
    """Chooses what the policy does not take."""

    def choose(self, epoch: Epoch, seed: bytes) -> Any:
        return np.full((2, 2), np.nan, np.float32)


PROMPTERS: dict[str, Challenger] = {
    name: Prompter(number) for number, name in enumerate(VALIDATORS)
}


def encode(number: int) -> bytes:
    return SCHEMA.encode(np.full((16, 64), number / 16, np.float32))


async def publish(publisher: SimNode, epoch: Epoch, payload: bytes, to: list[SimNode]) -> list[Any]:
    """Past the store, as a dishonest publisher would, to some replicas only."""
    node_context = publisher.get_live_node().context
    key_rule = node_context.get_key_rule(RULE, epoch)
    expires = node_context.get_unix_seconds() + 1.05 * node_context.chain.timing.seconds_per_epoch
    record = node_context.key.sign_record(
        node_context.chain.network_id, key_rule.key, payload, expires
    )
    return [await node_context.store.ask(replica.key.author, Post(record)) for replica in to]


def test_the_elected_validator_chooses_and_everybody_works_on_its_choice(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        for epoch in range(3):
            await subnet.run_until(Epoch(epoch), 99)
            elected = await subnet.get_elected(Epoch(epoch))
            for sim_node in subnet.nodes.values():
                assert [fact.author for fact in sim_node.get(ChallengeSeen, Epoch(epoch))] == [
                    elected.peer_id
                ]
        await subnet.run_until(Epoch(3), 50)
        for epoch in range(3):
            await assert_complete(subnet, Epoch(epoch))
        assert sum((await subnet.get_submission(Epoch(3))).submission.scores.values()) == TOTAL_PAY

    live(tmp_path, story, policy=CHOSEN, challengers=PROMPTERS)


@pytest.mark.parametrize("how", ["absent", "without a challenger", "a choice that does not fit"])
def test_stand_ins_take_over_in_order_where_the_elected_one_has_nothing_to_publish(
    tmp_path: Path, how: str
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        elected = await subnet.get_elected(Epoch(1))
        node_context = elected.get_live_node().context
        first = node_context.schedule.get_context(Epoch(1)).roster.compute_stand_ins(
            elected.key.author
        )[0]
        if how == "absent":
            await elected.kill()
        else:
            node_context.challenger = None if how == "without a challenger" else WrongPrompter()
        await subnet.run_until(Epoch(1), 99)
        others = [sim_node for sim_node in subnet.nodes.values() if sim_node is not elected]
        (author,) = {
            fact.author for sim_node in others for fact in sim_node.get(ChallengeSeen, Epoch(1))
        }
        assert author == next(
            sim_node.peer_id for sim_node in others if sim_node.key.author == first
        )
        assert (
            len(
                [
                    fact
                    for sim_node in others
                    for fact in sim_node.get(Stored, Epoch(1))
                    if fact.rule == RULE.kind
                ]
            )
            == 1
        )
        if how != "absent":
            (failed,) = [
                fact.why
                for fact in elected.get(DutyMissed, Epoch(1))
                if fact.duty == "publish-challenge"
            ]
            assert "stand-ins take over" in failed or "does not fit the policy" in failed
            await subnet.run_until(Epoch(2), 50)
            await assert_complete(subnet, Epoch(1))

    live(tmp_path, story, policy=CHOSEN, challengers=dict(PROMPTERS))


def test_a_stand_in_waits_for_no_silent_replica(tmp_path: Path) -> None:
    """It has three blocks, half a second here, and gives up on who does not answer after ten."""

    async def keep_silent(_sender: bytes, _message: bytes) -> bytes:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody ends the future")

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        elected = await subnet.get_elected(Epoch(1))
        await elected.kill()
        network = subnet["dave"]._network
        assert network is not None
        network.handler = keep_silent
        await subnet.run_until(Epoch(1), 99)
        for sim_node in subnet.get_running():
            assert len(sim_node.get(ChallengeSeen, Epoch(1))) == 1

    hub = Hub(random.Random(0), latency_seconds=0.005)
    live(tmp_path, story, policy=CHOSEN, challengers=PROMPTERS, block_seconds=0.16, hub=hub)


def test_an_epoch_without_any_challenge_ends_cleanly_and_says_so(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        for name in VALIDATORS:
            subnet[name].get_live_node().context.challenger = None
        await subnet.run_until(Epoch(1), 99)
        for name in VALIDATORS:
            subnet[name].get_live_node().context.challenger = PROMPTERS[name]
        for sim_node in subnet.nodes.values():
            assert len(sim_node.get(ChallengeMissing, Epoch(1))) == 1
        for name in VALIDATORS:
            (done,) = [
                fact.detail
                for fact in subnet[name].get(DutyDone, Epoch(1))
                if fact.duty == "commit-scores"
            ]
            assert "nothing to score" in done
        (failed,) = [
            fact.why
            for fact in subnet["alice"].get(DutyMissed, Epoch(1))
            if fact.duty == "commit-output"
        ]
        assert failed == "nobody has published a challenge"
        await subnet.run_until(Epoch(5), 0)
        on_chain = await subnet.get_submission(Epoch(2))
        assert set(on_chain.submission.scores.values()) == {0}
        for epoch in range(1, 5):
            assert (await subnet.get_submission(Epoch(epoch))).is_attested
        await assert_complete(subnet, Epoch(2))
        await assert_complete(subnet, Epoch(3))
        assert sum((await subnet.get_submission(Epoch(4))).submission.scores.values()) == TOTAL_PAY
        assert not [
            fact for sim_node in subnet.nodes.values() for fact in sim_node.get(AttestationRefused)
        ]

    live(tmp_path, story, policy=CHOSEN, challengers=PROMPTERS)


def test_a_derived_challenge_that_nobody_publishes_costs_nobody_a_score(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(0), 99)
        for name in VALIDATORS:
            await subnet[name].kill()
        await subnet.run_until(Epoch(1), 15.5)
        for name in VALIDATORS:
            await subnet[name].start()
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        (missing,) = subnet["alice"].get(ChallengeMissing, Epoch(1))
        assert missing.consequence == "everybody computes it"

    live(tmp_path, story, is_on_disk=True)


def test_two_challenges_shown_to_different_hosters_cost_only_those_with_the_rarer_one(
    tmp_path: Path,
) -> None:
    """The elected node shows one to most replicas and another to the rest: only one of them can be
    proven everywhere.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(0), 99)
        await subnet.run_until(Epoch(1), 0.01)
        elected = await subnet.get_elected(Epoch(1))
        elected.get_live_node().context.challenger = None
        await subnet.run_until(Epoch(1), 2)
        everybody = list(subnet.nodes.values())
        to_most = everybody[:5]
        to_few = everybody[5:]
        assert all(
            isinstance(reply, Posted)
            for reply in await publish(elected, Epoch(1), encode(3), to_most)
        )
        assert all(
            isinstance(reply, Posted)
            for reply in await publish(elected, Epoch(1), encode(4), to_few)
        )
        assert all(
            isinstance(reply, Refused)
            for reply in await publish(elected, Epoch(1), encode(4), to_most[:1])
        )
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        for sim_node in everybody:
            assert [fact.author for fact in sim_node.get(ChallengeSeen, Epoch(1))] == [
                elected.peer_id
            ]

    live(tmp_path, story, policy=CHOSEN, challengers=dict(PROMPTERS))


@pytest.mark.parametrize("values", [(3, 4), (4, 3)])
def test_of_two_proven_values_of_one_publisher_all_take_that_of_the_smaller_digest(
    tmp_path: Path, values: tuple[int, int]
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        elected = await subnet.get_elected(Epoch(1))
        elected.get_live_node().context.challenger = None
        await subnet.run_until(Epoch(1), 2)
        everybody = list(subnet.nodes.values())
        await publish(elected, Epoch(1), encode(values[0]), everybody[:4])  # f + 1 of 7 are 3
        await publish(elected, Epoch(1), encode(values[1]), everybody[4:])
        rule_reading = await elected.get_live_node().context.store.read_all(
            RULE, Epoch(1), wait_for_all=True
        )
        proofs = rule_reading.get_proofs(Standing.PROVEN)[elected.key.author]
        assert len(proofs) == 2
        smaller = min(
            (proof.record for proof in proofs),
            key=lambda record: compute_value_digest(record.value),
        )
        challenge = rule_reading.readings[0].key_rule.decode(smaller.payload)
        expected = compute_challenge_digest(np.asarray(challenge))
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        opening = (
            subnet["alice"]
            .get_live_node()
            .context.database.get_own_opening("hoster-commit", Epoch(1))
        )
        assert opening is not None
        assert opening.challenge_digest == expected
        assert sum((await subnet.get_submission(Epoch(2))).submission.scores.values()) == TOTAL_PAY

    live(tmp_path, story, policy=CHOSEN, challengers=dict(PROMPTERS))


def test_the_elected_nodes_challenge_counts_before_a_proven_one_of_a_stand_in(
    tmp_path: Path,
) -> None:
    """The stand-in publishes although it is not needed; nobody is led astray."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 12)
        elected = await subnet.get_elected(Epoch(1))
        eager = next(subnet[name] for name in VALIDATORS if subnet[name] is not elected)
        replies = await publish(eager, Epoch(1), encode(5), list(subnet.nodes.values()))
        assert all(isinstance(reply, Posted) for reply in replies)
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        for sim_node in subnet.nodes.values():
            assert [fact.author for fact in sim_node.get(ChallengeSeen, Epoch(1))] == [
                elected.peer_id
            ]

    live(tmp_path, story, policy=CHOSEN, challengers=PROMPTERS)


@pytest.mark.parametrize(
    ("percent", "who", "payload", "reason"),
    [
        (16.5, "elected", encode(3), Reason.LATE),
        (5, "stand-in", encode(3), Reason.NOT_ELECTED),
        (12, "hoster", encode(3), Reason.WRONG_ROLE),
        (5, "elected", b"no tensor at all", Reason.MALFORMED),
        (
            5,
            "elected",
            Tensor("float32", (2, 2)).encode(np.zeros((2, 2), np.float32)),
            Reason.MALFORMED,
        ),
    ],
)
def test_replicas_refuse_a_late_early_or_malformed_challenge_and_nobody_suffers(
    tmp_path: Path, percent: float, who: str, payload: bytes, reason: Reason
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        elected = await subnet.get_elected(Epoch(1))
        elected.get_live_node().context.challenger = None
        stand_in = next(subnet[name] for name in VALIDATORS if subnet[name] is not elected)
        await subnet.run_until(Epoch(1), percent)
        publisher = {"elected": elected, "stand-in": stand_in, "hoster": subnet["alice"]}[who]
        for reply in await publish(publisher, Epoch(1), payload, list(subnet.nodes.values())):
            assert isinstance(reply, Refused)
            assert reply.to_denied().reason is reason
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))

    live(tmp_path, story, policy=CHOSEN, challengers=dict(PROMPTERS))


def test_a_validator_that_could_not_read_the_challenge_scores_those_who_could(
    tmp_path: Path,
) -> None:
    """Vera hears nobody while the challenge is read; her list names what the openings name."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        elected = await subnet.get_elected(Epoch(1))
        lonely = next(subnet[name] for name in VALIDATORS if subnet[name] is not elected)
        await subnet.run_until(Epoch(1), 12)
        subnet.hub.is_cut = lambda sender, receiver: lonely.key.author in (sender, receiver)
        await subnet.run_until(Epoch(1), 49)
        subnet.hub.is_cut = lambda _sender, _receiver: False
        await subnet.run_until(Epoch(1), 99)
        assert lonely.get(ChallengeMissing, Epoch(1))
        opening = lonely.get_live_node().context.database.get_own_opening(
            "validator-commit", Epoch(1)
        )
        assert opening is not None
        assert opening.challenge_digest == compute_challenge_digest(
            PROMPTERS[elected.name].choose(Epoch(1), bytes(32))
        )
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        assert lonely.get(Scored, Epoch(1))[0].scores == elected.get(Scored, Epoch(1))[0].scores

    live(tmp_path, story, policy=CHOSEN, challengers=PROMPTERS)
