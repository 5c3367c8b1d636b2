"""The report of `epochgate chain status`, on a chain in memory."""

from __future__ import annotations

from typing import Any

import pytest

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.cli.chain_status import describe_status
from epochgate.core.epoch import Timing
from epochgate.core.types import BlockNumber, Epoch, NetworkId
from epochgate.engine.system import SystemClock
from epochgate.keys import format_peer_id
from tests.support.hypertensor_runtime import MemoryRuntime
from tests.support.hypertensor_values import make_raw_node
from tests.support.identities import alice, victor

SUBNET_ID = 7


@pytest.fixture
def runtime() -> MemoryRuntime:
    runtime = MemoryRuntime()
    runtime.head = BlockNumber(25)
    runtime.nodes = [
        make_raw_node(1, format_peer_id(alice.author), text="hoster"),
        make_raw_node(2, format_peer_id(victor.author), text="validator"),
    ]
    runtime.elected = {Epoch(1): 2}
    return runtime


async def report(runtime: MemoryRuntime, slot: BlockNumber | None = BlockNumber(0)) -> list[str]:
    chain = HypertensorChain(
        runtime,
        SUBNET_ID,
        network_id=NetworkId(bytes(32)),
        timing=Timing(slot, runtime.blocks_per_epoch, 6.0),
        heads=HeadClock(SystemClock(), runtime.head),
        author=None,
        account=None,
        role_field="non_unique",
        emit=None,
    )
    assert [line async for line in describe_status(chain, SUBNET_ID)] == [], "nothing was read yet"
    await chain._read_subnet()
    return [line async for line in describe_status(chain, SUBNET_ID)]


async def test_chain_subnet_epoch_and_nodes_are_told(runtime: MemoryRuntime) -> None:
    lines = await report(runtime)
    assert lines[:4] == [
        "chain      block 25, 20 blocks of 6 s per epoch",
        "subnet     7 'a subnet', active, epochs begin at block 0 of each",
        f"epoch      1, elected {format_peer_id(victor.author)}",
        "submission none yet",
    ]
    assert lines[4] == "nodes      2"
    assert format_peer_id(alice.author) in lines[5]
    assert lines[6].endswith("validator")


async def test_a_subnet_that_is_not_active_says_how_it_becomes_so(
    runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = runtime.query

    async def query_registered(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "SubnetsData":
            return {"name": "a subnet", "state": "Registered", "start_epoch": 0}
        return await query(name, *arguments, **options)

    monkeypatch.setattr(runtime, "query", query_registered)
    lines = await report(runtime, slot=None)
    assert lines[1] == "subnet     7 'a subnet', registered, epochs begin at block 0 of each"
    assert lines[2] == (
        "epoch      none yet: the first node is elected after `epochgate chain activate`"
    )
    assert lines[3] == "nodes      2"
