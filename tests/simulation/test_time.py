"""Time in whole subnets: clocks that differ, and a chain whose head goes back over the boundary of
an epoch.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.core.epoch import Head
from epochgate.core.record import Record
from epochgate.core.types import BlockNumber, Epoch
from epochgate.core.verdict import Reason
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from epochgate.observe.events import EpochBegan, Verdicts
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.store.wire import Post, Posted, Refused, Reply, decode_reply, encode
from tests.simulation.subnet import SimSubnet, assert_complete, live
from tests.support.identities import key_of

SCORES = INFERENCE_POLICY.get_rule("validator-commit")
OUTPUTS = INFERENCE_POLICY.get_rule("hoster-commit")


class WorldOfTwoClocks(SimSubnet):
    def make_clock(self, name: str) -> VirtualClock:
        return VirtualClock(2.5 if name in ("bob", "dave", "vera") else -2.5)


def test_clocks_five_seconds_apart_cost_nobody_anything(tmp_path: Path) -> None:
    """A block is 6 s long, and so is the margin that everybody keeps."""

    async def story(_rng: random.Random) -> None:
        subnet = WorldOfTwoClocks(tmp_path)
        await subnet.start()
        await subnet.run_until(Epoch(3), 60)
        for epoch in range(3):
            await assert_complete(subnet, Epoch(epoch))
        await subnet.stop()
        denied = {
            reason
            for sim_node in subnet.nodes.values()
            for fact in sim_node.get(Verdicts)
            for reason in fact.denied
        }
        assert not denied & {Reason.EARLY.value, Reason.LATE.value}

    run_virtually(story)


def test_a_boundary_that_is_reorganised_is_crossed_twice_and_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every node's head goes back from the third block of epoch 1 to the 98th of epoch 0: what is
    sent is judged by the block that is now, and what is known of epoch 1 stays. By this seed vito,
    who is away, is not elected.
    """
    get_head = LocalChain.get_head
    lost_blocks = 0

    def get_best_head(chain: LocalChain) -> Head:
        head = get_head(chain)
        return Head(BlockNumber(head.block - lost_blocks), head.seen_seconds)

    monkeypatch.setattr(LocalChain, "get_head", get_best_head)

    async def story(subnet: SimSubnet) -> None:
        nonlocal lost_blocks
        await subnet.start("vito")
        await subnet.run_until(Epoch(1), 3.5)
        node = subnet["alice"].get_live_node()
        line = subnet.hub.join(key_of("vito").author)

        def write(name: str, kind: str, epoch: Epoch) -> Record:
            key_rule = node.schedule.get_key_rule(INFERENCE_POLICY.get_rule(kind), epoch)
            expires = subnet.clock.get_unix_seconds() + key_rule.longest_seconds - 12
            return key_of(name).sign_record(
                key_rule.context.network, key_rule.key, bytes(32), expires
            )

        async def send(record: Record) -> Reply:
            return decode_reply(
                await line.request(subnet["alice"].key.author, encode(Post(record)), 1.0)
            )

        in_time = write("vito", "validator-commit", Epoch(0))
        refused = await send(in_time)
        assert isinstance(refused, Refused)
        assert refused.reason == Reason.LATE.value
        contexts = {
            name: it.get_live_node().schedule.get_context(Epoch(1))
            for name, it in subnet.nodes.items()
            if it.is_running
        }
        lost_blocks = 5
        posted = await send(in_time)
        assert isinstance(posted, Posted)
        assert (posted.receipt.epoch, node.chain_clock.get_evaluation_context().data.epoch) == (
            0,
            0,
        )
        refused = await send(write("vito", "validator-commit", Epoch(1)))
        assert isinstance(refused, Refused)
        assert (refused.reason, refused.wait_blocks) == (Reason.EARLY.value, 62)
        await subnet.run_until(Epoch(1), 6.5)
        lost_blocks = 0
        await subnet.run_until(Epoch(2), 60)
        for epoch in range(2):
            await assert_complete(subnet, Epoch(epoch), without=("vito",))
        for name, context in contexts.items():
            assert subnet[name].get_live_node().schedule.get_context(Epoch(1)) is context
            assert len(subnet[name].get(EpochBegan, Epoch(1))) == 1

    live(tmp_path, story, seed=1)
