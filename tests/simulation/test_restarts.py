"""Nodes that come late, or are killed at any moment and started again: they go on with
their epoch.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from epochgate.core.receipt import Standing
from epochgate.core.roster import HOSTER
from epochgate.core.scoring import TOTAL_PAY
from epochgate.core.types import Epoch, PeerId
from epochgate.core.verdict import Reason
from epochgate.node.runner import Node
from epochgate.observe.events import (
    Abstained,
    AttestationRefused,
    DutyMissed,
    NodeReady,
    Scored,
    Submitted,
    Verdicts,
)
from epochgate.policies.inference import INFERENCE_POLICY
from tests.simulation.subnet import (
    BLOCK_SECONDS,
    HOSTERS,
    VALIDATORS,
    SimNode,
    SimSubnet,
    assert_complete,
    live,
)

COMMIT = INFERENCE_POLICY.get_rule("hoster-commit")


@pytest.mark.parametrize("percent", [5, 30, 55, 80])
def test_a_node_that_starts_in_mid_epoch_joins_at_the_first_open_duty(
    tmp_path: Path, percent: float
) -> None:
    """With nothing in its ledger: it takes the replicas' word for the past, and what was attested
    for agreed.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start("dave", "vito")
        await subnet.run_until(Epoch(1), percent)
        await subnet["dave"].start()
        await subnet["vito"].start()
        await subnet.run_until(Epoch(3), 60)
        hosted = percent < 50
        assert (
            subnet["dave"].peer_id in subnet["victor"].get(Scored, Epoch(1))[0].openings
        ) is hosted
        assert subnet["vito"].get(Scored, Epoch(1))
        await assert_complete(subnet, Epoch(2))
        attestors = set((await subnet.get_submission(Epoch(2))).attested_by) | {
            (await subnet.get_submission(Epoch(2))).submitter
        }
        assert {subnet["dave"].key.author, subnet["vito"].key.author} <= attestors
        for name in ("dave", "vito"):
            assert not subnet[name].get(AttestationRefused)
            assert not subnet[name].get(Abstained)
        for sim_node in subnet.nodes.values():
            refusals = {Reason.EARLY.value, Reason.LATE.value}
            assert all(not refusals & fact.denied.keys() for fact in sim_node.get(Verdicts)), (
                "nobody acts outside a window"
            )

    live(tmp_path, story)


MOMENTS = [
    0.5,
    5,
    14,
    17.005,
    17.01,
    17.02,
    30,
    50.5,
    52.005,
    52.01,
    52.02,
    58,
    62.005,
    62.01,
    62.02,
    80,
    99.5,
]
"""Percent of the epoch: between duties, and while records are on their way (a message takes up to
0.008 % of it).
"""


@pytest.mark.parametrize("percent", MOMENTS)
@pytest.mark.parametrize("who", ["hoster", "elected", "stand-in"])
def test_a_node_killed_at_any_moment_goes_on_with_its_epoch(
    tmp_path: Path, who: str, percent: float
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), percent)
        elected = await subnet.get_elected(Epoch(1))
        validators = [subnet[name] for name in VALIDATORS if subnet[name] is not elected]
        victim = {"hoster": subnet["alice"], "elected": elected, "stand-in": validators[0]}[who]
        await victim.kill()
        await subnet.run_until(Epoch(1), percent + 0.6)
        await victim.start()
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        pay = (await subnet.get_submission(Epoch(2))).submission.scores
        assert sum(pay.values()) == TOTAL_PAY
        assert 0 not in pay.values(), "whoever came back in time is paid like the others"
        assert not [
            fact for fact in victim.get(DutyMissed, Epoch(1)) if fact.duty in ("submit", "attest")
        ]
        assert all(not sim_node.get(AttestationRefused) for sim_node in subnet.nodes.values())

    live(tmp_path, story, is_on_disk=True)


def test_settlement_rests_on_records_that_have_expired_meanwhile(tmp_path: Path) -> None:
    """Nobody submits in epoch 2, and late in epoch 3: the lists about epoch 1 need its hosters'
    records, gone by then.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        for epoch, back_percent in ((2, 60), (3, 30)):
            await subnet.run_until(Epoch(epoch), 0.01)
            absent = await subnet.get_elected(Epoch(epoch))
            await absent.kill()
            await subnet.run_until(Epoch(epoch), back_percent)
            await absent.start()
        node_context = subnet["alice"].get_live_node().context
        assert not (await node_context.store.read_all(COMMIT, Epoch(1))).get_proofs(Standing.PROVEN)
        await subnet.run_until(Epoch(3), 60)
        await assert_complete(subnet, Epoch(2))
        assert sum((await subnet.get_submission(Epoch(3))).submission.scores.values()) == TOTAL_PAY

    live(tmp_path, story, is_on_disk=True)


def test_a_node_without_its_ledger_takes_what_is_proven_from_the_others(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 55)
        await subnet["dave"].kill()
        subnet["dave"].lose_ledger()
        await subnet["dave"].start()
        await subnet.run_until(Epoch(1), 57)
        held = subnet["dave"].get_live_node().context.database.held
        for kind in ("hoster-commit", "hoster-reveal", "validator-reveal", "consensus"):
            key_rule = (
                subnet["dave"]
                .get_live_node()
                .schedule.get_key_rule(INFERENCE_POLICY.get_rule(kind), Epoch(1))
            )
            assert any(key == key_rule.key for key, _ in held)

    live(tmp_path, story, is_on_disk=True)


def test_a_node_without_its_ledger_that_starts_before_all_others_asks_them_again(
    tmp_path: Path,
) -> None:
    """A power cut ends the whole subnet, and one disk with it."""

    async def story(subnet: SimSubnet) -> None:
        def count_commitments() -> int:
            node = subnet["dave"].get_live_node()
            key = node.schedule.get_key_rule(COMMIT, Epoch(1)).key
            return sum(place[0] == key for place in node.context.database.held)

        await subnet.start()
        await subnet.run_until(Epoch(1), 65)
        for sim_node in subnet.nodes.values():
            await sim_node.kill()
        subnet["dave"].lose_ledger()
        await subnet["dave"].start()
        await subnet.run_until(Epoch(1), 70)
        assert count_commitments() == 0, "there is nobody to ask"
        for sim_node in subnet.nodes.values():
            if not sim_node.is_running:
                await sim_node.start()
        await subnet.run_until(Epoch(1), 80)
        assert count_commitments() == len(HOSTERS)
        await subnet.run_until(Epoch(3), 60)
        await assert_complete(subnet, Epoch(2))

    live(tmp_path, story, is_on_disk=True)


def test_a_node_that_runs_becomes_a_replica_of_new_keys_only(tmp_path: Path) -> None:
    """So nothing is repaired while it runs: what it should hold reaches it when it is written."""

    async def story(subnet: SimSubnet) -> None:
        newcomer = subnet["dave"]
        subnet.chain.deregister(newcomer.key.author)
        await subnet.start()
        await subnet.run_until(Epoch(1), 70)
        subnet.chain.register(newcomer.key.author, HOSTER)
        await subnet.run_until(Epoch(2), 61)
        node = newcomer.get_live_node()
        alices = subnet["alice"].get_live_node()
        for epoch in (0, 1):
            for rule in INFERENCE_POLICY.rules:
                if rule.is_of_an_epoch:
                    places = [
                        key_rule.replica_set.replicas
                        for key_rule in node.schedule.get_key_rules(rule, Epoch(epoch))
                    ]
                    assert all(newcomer.key.author not in replicas for replicas in places)
        assert (
            newcomer.key.author in node.schedule.get_key_rule(COMMIT, Epoch(2)).replica_set.replicas
        )
        for rule in INFERENCE_POLICY.rules:
            keys = {key_rule.key for key_rule in node.schedule.get_key_rules(rule, Epoch(2))}
            held = {place for place in alices.context.database.held if place[0] in keys}
            assert {place for place in node.context.database.held if place[0] in keys} == held, (
                rule.kind
            )
        heartbeats = node.schedule.get_key_rule(INFERENCE_POLICY.get_rule("hoster"), Epoch(2)).key
        beating = {author for key, author in node.context.database.held if key == heartbeats}
        assert beating == {subnet[name].key.author for name in HOSTERS}, (
            "renewed since it became their replica"
        )

    live(tmp_path, story, is_on_disk=True)


def test_a_submitter_killed_as_it_submits_shows_its_set_again(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 0.01)
        submitter = await subnet.get_elected(Epoch(2))
        await subnet.run_until(Epoch(2), 1.06)
        await submitter.kill()
        await subnet.run_until(Epoch(2), 3)
        await submitter.start()
        await subnet.run_until(Epoch(3), 0)
        await assert_complete(subnet, Epoch(1))
        assert submitter.get(Submitted, Epoch(2))[-1].scored_epoch == 1

    live(tmp_path, story, is_on_disk=True)


def test_a_node_starts_while_one_epoch_ends_and_the_next_begins(tmp_path: Path) -> None:
    """The chain takes two blocks to answer, and the epoch has one left."""

    async def story(subnet: SimSubnet) -> None:
        def slow_down(sim_node: SimNode, node: Node) -> None:
            if sim_node.name != "vito":
                return
            chain = node.context.chain
            get_elected = chain.get_elected

            async def answer_late(epoch: Epoch) -> PeerId | None:
                await asyncio.sleep(2 * BLOCK_SECONDS)
                return await get_elected(epoch)

            chain.get_elected = answer_late  # type: ignore[method-assign] # a chain node that is slow

        subnet.prepare = slow_down  # type: ignore[method-assign]
        await subnet.start("vito")
        await subnet.run_until(Epoch(0), 99)
        await subnet["vito"].start()
        await subnet.run_until(Epoch(2), 50)
        assert subnet["vito"].get(NodeReady)
        await assert_complete(subnet, Epoch(1))

    live(tmp_path, story)
