"""Store and read over real libp2p daemons, against hivemind's own DHT with as many replicas, side
by side in one process.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

from hivemind.dht.node import DHTNode
from hivemind.utils import get_dht_time

from benchmarks.timing import Row
from epochgate.chain.local import LocalChain
from epochgate.core.epoch import epochs
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.roster import HOSTER, MAX_REPLICAS
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest, EpochContext
from epochgate.core.types import Epoch
from epochgate.engine.libp2p import Libp2pNetwork
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.replica import Replica

RULE = Rule("benchmark", by=HOSTER, ttl=epochs(2), schema=Digest())
OPERATIONS = 40
LIFETIME_SECONDS = 100.0

Operation = Callable[[int], Awaitable[None]]


def measure() -> Iterator[Row]:
    for nodes in (8, 16):
        yield from asyncio.run(_compare(nodes))


async def _compare(nodes: int) -> list[Row]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = await _start_ours(nodes, folder, stack)
        theirs = await _start_hivemind(nodes, stack)
        rows = []
        for what, our_operation, their_operation in zip(
            ("store", "read"), ours, theirs, strict=True
        ):
            our_seconds, their_seconds = await _time_alternately(our_operation, their_operation)
            ratio = their_seconds / our_seconds
            name = (
                f"{what} on {nodes} nodes, {min(nodes, MAX_REPLICAS)} replicas, against bare"
                " hivemind (p50)"
            )
            seen = (
                f"{ratio:.1f} x as fast ({our_seconds * 1e3:.1f} ms against"
                f" {their_seconds * 1e3:.1f})"
            )
            rows.append(Row(name, seen, "2 x", ratio >= 2))
        return rows


async def _time_alternately(*operations: Operation) -> list[float]:
    """The median seconds of each, one call after the other in turn."""
    seconds: list[list[float]] = [[] for _ in operations]
    for number in range(-5, OPERATIONS):
        for index, operation in enumerate(operations):
            start = time.perf_counter()
            await operation(number)
            if number >= 0:
                seconds[index].append(time.perf_counter() - start)
    return [statistics.median(some) for some in seconds]


async def _start_ours(
    nodes: int, folder: Path, stack: AsyncExitStack
) -> tuple[Operation, Operation]:
    clock = SystemClock()
    policy = Policy(RULE)
    path = folder / "chain.sqlite"
    LocalChain.create(path, clock, block_seconds=6.0)
    keys = [SigningKey.create(folder / f"key-{number}") for number in range(nodes)]
    owner = LocalChain(path, None, clock)
    for key in keys:
        owner.register(key.author, int(HOSTER))
    roster = owner.get_waiting_roster()  # the key has no epoch, so the subnet need not have started
    stores: list[Store] = []
    peers: list[str] = []
    for number, key in enumerate(keys):
        home = folder / f"node-{number}"
        home.mkdir()
        chain = LocalChain(path, key.author, clock)
        database = NodeDatabase(home / "ledger.sqlite")
        schedule = EpochSchedule(policy)
        schedule.add(EpochContext(chain.network_id, chain.timing, roster))
        network = await Libp2pNetwork.start(folder / f"key-{number}", home, initial_peers=peers[:2])
        peers += network.get_listen_addresses()
        chain_clock = ChainClock(chain, clock, schedule, database.held)
        replica = Replica(key, policy, database, chain_clock, network.max_message_bytes)
        await network.serve(replica.handle)
        stores.append(Store(network, replica.handle, policy, chain_clock))
        stack.callback(database.close)
        stack.push_async_callback(network.close)
        stack.push_async_callback(stores[-1].close)
    key_rule = schedule.get_key_rule(RULE, Epoch(0))

    async def store(number: int) -> None:
        key = keys[number % nodes]
        now = time.time()
        record = key.sign_record(chain.network_id, key_rule.key, bytes(32), now + LIFETIME_SECONDS)
        posting = await stores[number % nodes].post(record, key_rule, now + 10)
        assert posting.is_complete, str(posting)

    async def read(number: int) -> None:
        reading = await stores[(number + nodes // 2) % nodes].read(key_rule)
        assert len(list(reading.get_record_ids(Standing.PROVEN))) == nodes

    return store, read


async def _start_hivemind(nodes: int, stack: AsyncExitStack) -> tuple[Operation, Operation]:
    swarm: list[DHTNode] = []
    options = {
        "nat_port_map": False,
        "auto_nat": False,
        "use_relay": False,
        "cache_locally": False,
        "cache_nearest": 0,
    }
    for _ in range(nodes):
        peers = [str(address) for node in swarm[:2] for address in await node.get_visible_maddrs()]
        node = await DHTNode.create(
            initial_peers=peers or None, num_replicas=min(nodes, MAX_REPLICAS), **options
        )
        stack.push_async_callback(node.shutdown)
        swarm.append(node)

    async def store(number: int) -> None:
        expiration_time = get_dht_time() + LIFETIME_SECONDS
        assert await swarm[number % nodes].store(
            "benchmark", bytes(96), expiration_time, subkey=f"{number % nodes}"
        )

    async def read(number: int) -> None:
        found = await swarm[(number + nodes // 2) % nodes].get("benchmark", latest=True)
        assert found is not None
        assert len(found.value) == nodes

    return store, read


if __name__ == "__main__":
    for row in measure():
        print(row)
