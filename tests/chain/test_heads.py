"""Whole nodes on Hypertensor's own runtime, in one process: its blocks are reorganised, and stop
coming.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.core.scoring import MAX_SCORE
from epochgate.core.types import BlockNumber, Epoch
from epochgate.core.verdict import Reason
from epochgate.engine.memory import Hub
from epochgate.engine.system import SystemClock, SystemEntropy
from epochgate.engine.virtual_time import InlineCompute
from epochgate.keys import SigningKey, format_peer_id
from epochgate.node.runner import Node
from epochgate.observe.events import (
    AnyEvent,
    ElectionChanged,
    EpochBegan,
    Event,
    Scored,
    Submitted,
    Verdicts,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import OnChain
from epochgate.store.database import NodeDatabase
from tests.chain.devchain import DevChain
from tests.chain.subnet import ROLES, ChainSubnet, until
from tests.simulation.subnet import HonestModel

pytestmark = pytest.mark.chain

BLOCK_SECONDS = 1.0
LEAD_BLOCKS = 3
"""So long before the epoch the nodes start."""
REORGANISED_BLOCKS = 9
"""The chain draws from the majority of its blocks' hashes, so reorganising fewer seldom changes the
elected node. The nodes keep the roster that they have learnt, for good.
"""
MAX_FORKS = 32
ATTESTED_SECONDS = 60.0
"""Half an epoch, on a machine that makes its blocks slowly."""
STANDS_STILL_BLOCKS = 10
"""From the attestations on, so that lists fall due meanwhile, by the nodes' own clocks."""


Fact = TypeVar("Fact", bound=Event)


class Inhabitant:
    """One node and what it has said."""

    def __init__(self, key: SigningKey, chain: HypertensorChain, hub: Hub) -> None:
        self.key = key
        self.chain = chain
        self.facts: list[AnyEvent] = []
        self.node = Node(
            chain=chain,
            network=hub.join(key.author),
            database=NodeDatabase(None),
            key=key,
            policy=INFERENCE_POLICY,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            compute=InlineCompute(),
            emit=self.facts.append,
            model=HonestModel(),
        )

    def get(self, kind: type[Fact], epoch: Epoch) -> list[Fact]:
        return [
            fact
            for fact in self.facts
            if isinstance(fact, kind) and getattr(fact, "epoch", None) == epoch
        ]

    def count_stale(self, epoch: Epoch) -> int:
        return sum(
            fact.denied.get(Reason.CHAIN_STALE.value, 0) for fact in self.get(Verdicts, epoch)
        )


class Blocks:
    """Made at a steady period, but where a test holds them."""

    def __init__(self, devchain: DevChain) -> None:
        self._devchain = devchain
        self._may_come = asyncio.Event()
        self._may_come.set()

    async def make(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + BLOCK_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())
            await self._may_come.wait()
            await self._devchain.make_blocks()

    async def hold_at(self, block: BlockNumber) -> None:
        while await self._devchain.get_block() < block:  # noqa: ASYNC110 - blocks come by time
            await asyncio.sleep(BLOCK_SECONDS / 10)
        self.hold()

    def hold(self) -> None:
        self._may_come.clear()

    def go_on(self) -> None:
        self._may_come.set()


@asynccontextmanager
async def live(subnet: ChainSubnet, blocks: Blocks) -> AsyncIterator[list[Inhabitant]]:
    """The subnet's nodes, and the blocks in which they live; both end with it."""
    hub = Hub(random.Random(0), latency_seconds=0.01)
    people = [
        Inhabitant(key, await subnet.see(key, block_seconds=BLOCK_SECONDS), hub) for key in ROLES
    ]
    tasks: list[asyncio.Task[None]] = []
    try:
        await asyncio.gather(*(them.node.start() for them in people))
        tasks += [asyncio.create_task(them.node.run()) for them in people]
        tasks.append(asyncio.create_task(blocks.make()))
        yield people
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await subnet.close()


async def reorganise_first_block(
    subnet: ChainSubnet, chain: HypertensorChain, epoch: Epoch
) -> bytes:
    """Until the chain elects another; returns whom."""
    first = chain.timing.compute_first_block(epoch)
    before = await chain.get_elected(epoch)
    await subnet.devchain.ask("dev_setBlockBuildMode", "Instant")
    for amount in range(1, MAX_FORKS):
        await subnet.devchain.go_back(BlockNumber(first - REORGANISED_BLOCKS))
        await until(lambda: chain.get_head().block < first)
        await subnet.pay_somebody(amount)  # so that the blocks from there on differ
        await subnet.devchain.reach(first)
        await until(lambda: chain.get_head().block >= first)
        after = await chain.get_elected(epoch)
        if after not in (before, None):
            await subnet.devchain.ask("dev_setBlockBuildMode", "Manual")
            assert after is not None
            return after
    raise AssertionError(f"{MAX_FORKS} forks, and the chain elects the same node")


async def wait_for_attested(chain: HypertensorChain, epoch: Epoch) -> OnChain:
    """By everybody but the submitter."""
    async with asyncio.timeout(ATTESTED_SECONDS):
        while True:
            found = await chain.get_submission(epoch)
            if found is not None and len(found.attested_by) == len(ROLES) - 1:
                return found
            await asyncio.sleep(BLOCK_SECONDS)


async def test_nodes_follow_the_election_and_outlast_a_chain_that_stands_still(
    devchain: DevChain,
) -> None:
    subnet = await ChainSubnet.register(devchain)
    blocks = Blocks(devchain)
    await subnet.add_nodes()
    await subnet.activate()
    await subnet.begin()
    watcher = await subnet.see(None, block_seconds=BLOCK_SECONDS)
    timing = watcher.timing
    epoch = timing.compute_epoch(watcher.get_head().block) + 1
    first, second, third = (
        timing.compute_first_block(Epoch(each)) for each in range(epoch, epoch + 3)
    )
    await devchain.reach(BlockNumber(first - LEAD_BLOCKS))
    await until(lambda: watcher.get_head().block == first - LEAD_BLOCKS)
    await devchain.ask("dev_setBlockBuildMode", "Manual")
    async with live(subnet, blocks) as people:
        await blocks.hold_at(first)
        await until(lambda: all(them.get(EpochBegan, Epoch(epoch)) for them in people))
        former = await watcher.get_elected(Epoch(epoch))
        new = await reorganise_first_block(subnet, watcher, Epoch(epoch))
        blocks.go_on()
        found = await wait_for_attested(watcher, Epoch(epoch))
        blocks.hold()
        assert found.submitter == new
        assert former in found.attested_by
        for them in people:
            assert them.get(ElectionChanged, Epoch(epoch))[-1].elected == format_peer_id(new)
            assert len(them.get(EpochBegan, Epoch(epoch))) == 1
            assert them.get(Submitted, Epoch(epoch)) or them.key.author != new

        await asyncio.sleep(STANDS_STILL_BLOCKS * BLOCK_SECONDS)
        await devchain.reach(BlockNumber(second - LEAD_BLOCKS))
        blocks.go_on()
        await blocks.hold_at(third)
        blocks.go_on()
        await wait_for_attested(watcher, Epoch(epoch + 2))
        assert all(them.count_stale(Epoch(epoch)) > 0 for them in people)
        (submitted,) = [fact for them in people for fact in them.get(Submitted, Epoch(epoch + 2))]
        scored = [fact for them in people for fact in them.get(Scored, Epoch(epoch + 1))]
        assert [set(fact.scores.values()) for fact in scored] == [{MAX_SCORE}] * 2
        assert submitted.scored_epoch == epoch + 1
