"""A key an author: whole epochs whose openings lie on as many sets of replicas, read within
everybody's limits.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.roster import MAX_REPLICAS
from epochgate.core.types import Epoch
from epochgate.core.verdict import Reason
from epochgate.observe.events import AttestationRefused, DutyMissed, NodeWarning, Scored, Verdicts
from epochgate.policies.inference import INFERENCE_POLICY
from tests.simulation.subnet import SimSubnet, assert_complete, live

OPENING = msgspec.structs.replace(
    INFERENCE_POLICY.get_rule("hoster-reveal"), name="hoster-reveal_epoch_{epoch}_{author}"
)
POLICY = Policy(
    *(OPENING if rule.kind == OPENING.kind else rule for rule in INFERENCE_POLICY.rules)
)
MANY = tuple(f"hoster {number}" for number in range(64))


def test_epochs_are_complete_when_every_hoster_opens_under_its_own_key(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(3), 60)
        for epoch in range(3):
            await assert_complete(subnet, Epoch(epoch))
        for sim_node in subnet.nodes.values():
            bad = (DutyMissed, NodeWarning, AttestationRefused)
            assert [fact for fact in sim_node.facts if isinstance(fact, bad)] == []
            assert all(not fact.denied for fact in sim_node.get(Verdicts))

    live(tmp_path, story, policy=POLICY)


def test_several_readers_of_many_keys_stay_within_their_limits(tmp_path: Path) -> None:
    """64 keys of 13 replicas each: validators score them, and all read them again and again, some
    replicas silent.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(0), 90)
        validators = [subnet[name] for name in ("victor", "vera", "vito")]
        for validator in validators:
            assert len(validator.get(Scored, Epoch(0))[0].openings) == len(MANY)
        for name in MANY[:4]:
            subnet.hub.silent.add(subnet[name].key.author)
        loop = asyncio.get_running_loop()
        for _ in range(3):
            began_seconds = loop.time()
            readers = [validator.get_live_node().context.store for validator in validators]
            for rule_reading in await asyncio.gather(
                *(store.read_all(OPENING, Epoch(0), wait_for_all=True) for store in readers)
            ):
                assert rule_reading.is_enough
                assert len(rule_reading.get_proofs(Standing.PROVEN)) == len(MANY)
                assert all(
                    len(reading.key_rule.replica_set.replicas) == MAX_REPLICAS
                    for reading in rule_reading.readings
                )
            assert loop.time() - began_seconds < 5, (
                "virtual seconds: a silent replica is waited for once, not key after key"
            )
        for sim_node in subnet.nodes.values():
            assert not sim_node.get_live_node().replica.denied[Reason.RATE]
            assert not sim_node.get(NodeWarning)

    live(tmp_path, story, policy=POLICY, hosters=MANY)
