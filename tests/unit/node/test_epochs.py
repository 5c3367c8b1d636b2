"""A node follows its chain from before the subnet's first block into the epochs."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from epochgate.chain.local import LocalChain
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber
from epochgate.engine.memory import Hub
from epochgate.engine.virtual_time import (
    InlineCompute,
    SeededEntropy,
    VirtualClock,
    run_virtually,
)
from epochgate.models import create_default_model
from epochgate.node.runner import Node
from epochgate.observe.events import AnyEvent, EpochBegan, NodeReady, NodeWarning
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.store.database import NodeDatabase
from tests.support.identities import alice

BLOCK_SECONDS = 6.0


def run_node(folder: Path, seconds_before_start: float, seconds: float) -> list[AnyEvent]:
    """A node whose subnet somebody else starts, through a connection of their own to the file."""
    facts: list[AnyEvent] = []

    async def main(rng: random.Random) -> None:
        clock = VirtualClock()
        file = folder / "chain.sqlite"
        LocalChain.create(file, clock, block_seconds=BLOCK_SECONDS, genesis=bytes(32))
        owner = LocalChain(file, None, clock)
        owner.register(alice.author, HOSTER | VALIDATOR)
        await asyncio.sleep(2 * BLOCK_SECONDS)
        node = Node(
            chain=LocalChain(file, alice.author, clock),
            network=Hub(rng).join(alice.author),
            database=NodeDatabase(),
            key=alice,
            policy=INFERENCE_POLICY,
            clock=clock,
            entropy=SeededEntropy(rng),
            compute=InlineCompute(),
            emit=facts.append,
            model=create_default_model(),
        )
        await node.start()
        running = asyncio.create_task(node.run())
        await asyncio.sleep(seconds_before_start)
        owner.start(BlockNumber(owner.get_head().block + 2))
        await asyncio.sleep(seconds)
        node.stop()
        await running

    run_virtually(main)
    return facts


def test_a_node_waits_for_the_subnet_to_start_and_follows_its_epochs(tmp_path: Path) -> None:
    facts = run_node(tmp_path, 10 * BLOCK_SECONDS, 250 * BLOCK_SECONDS)
    assert isinstance(facts[0], NodeReady)
    assert [fact.epoch for fact in facts if isinstance(fact, EpochBegan)] == [0, 1, 2]
    assert [fact for fact in facts if isinstance(fact, NodeWarning)] == []
