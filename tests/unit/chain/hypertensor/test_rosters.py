"""Rosters and elections, kept by the hash of the block they were read at."""

from __future__ import annotations

from epochgate.chain.hypertensor.nodes import compute_seed
from epochgate.chain.hypertensor.rosters import RosterReader
from epochgate.chain.hypertensor.subnet import SubnetReader
from epochgate.core.types import BlockNumber, Epoch
from epochgate.keys import format_peer_id
from tests.support.hypertensor_runtime import MemoryRuntime
from tests.support.hypertensor_values import make_raw_node
from tests.support.identities import alice, bob, carol

EPOCH = Epoch(1)
SNAPSHOT = BlockNumber(15)
FIRST = BlockNumber(20)


def make_runtime() -> MemoryRuntime:
    runtime = MemoryRuntime()
    runtime.head = FIRST
    runtime.nodes = [
        make_raw_node(1, format_peer_id(alice.author), "Validator"),
        make_raw_node(2, format_peer_id(bob.author), "Included"),
        make_raw_node(3, format_peer_id(carol.author), "Idle"),
    ]
    runtime.elected = {EPOCH: 1}
    return runtime


def make_reader(runtime: MemoryRuntime) -> RosterReader:
    return RosterReader(runtime, SubnetReader(runtime, 7), "non_unique")


async def test_a_roster_has_the_nodes_that_the_chain_scores_and_the_blocks_seed() -> None:
    runtime = make_runtime()
    block_hash = await runtime.get_block_hash(SNAPSHOT)
    assert block_hash is not None

    roster = await make_reader(runtime).read_roster(EPOCH, SNAPSHOT)

    assert roster is not None
    assert set(roster.authors) == {alice.author, bob.author}
    assert roster.seed == compute_seed(block_hash)


async def test_a_roster_is_read_once_and_again_after_a_reorganisation() -> None:
    runtime = make_runtime()
    reader = make_reader(runtime)
    roster = await reader.read_roster(EPOCH, SNAPSHOT)
    assert await reader.read_roster(EPOCH, SNAPSHOT) is roster

    runtime.branch = "b"
    successor = await reader.read_roster(EPOCH, SNAPSHOT)

    assert roster is not None
    assert successor is not None
    assert successor.seed != roster.seed


async def test_a_block_that_a_reorganisation_took_has_no_roster_and_no_election() -> None:
    runtime = make_runtime()
    runtime.head = BlockNumber(SNAPSHOT - 1)
    reader = make_reader(runtime)

    assert await reader.read_roster(EPOCH, SNAPSHOT) is None
    assert await reader.read_elected(EPOCH, FIRST) is None


async def test_another_first_block_may_elect_another_node() -> None:
    runtime = make_runtime()
    reader = make_reader(runtime)
    assert await reader.read_elected(EPOCH, FIRST) == alice.author
    runtime.elected = {EPOCH: 2}
    assert await reader.read_elected(EPOCH, FIRST) == alice.author, "the block is the same"

    runtime.branch = "b"
    assert await reader.read_elected(EPOCH, FIRST) == bob.author

    runtime.elected = {}
    reader.forget_elected()
    assert await reader.read_elected(EPOCH, FIRST) is None
