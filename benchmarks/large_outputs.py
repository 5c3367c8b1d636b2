"""What it takes one validator to read 64 hosters' outputs of 256 KiB, from real libp2p daemons, in
either layout of keys.

The validator is a process of its own, so that the memory counted is its alone: `python -m
benchmarks.large_outputs FOLDER`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from benchmarks.timing import Row
from epochgate.chain.local import LocalChain
from epochgate.core.commitment import Opening, OpeningOf
from epochgate.core.epoch import epochs
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import Epoch, Hash32, Salt
from epochgate.engine.libp2p import Libp2pNetwork
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey
from epochgate.schemas import Tensor
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.replica import Replica

MOST_HOSTERS = 64
NODE_MIB = 120
"""A daemon, and its node's share of this process."""
OUTPUT = Tensor("float32", (256, 256))
SCHEMA = OpeningOf(OUTPUT)
LAYOUTS = {
    "one key": Rule("output", by=HOSTER, ttl=epochs(2), schema=SCHEMA, max_bytes=300_000),
    "a key an author": Rule(
        "own-output_{author}", by=HOSTER, ttl=epochs(2), schema=SCHEMA, max_bytes=300_000
    ),
}
POLICY = Policy(*LAYOUTS.values())
READS = 3
LIFETIME_SECONDS = 1000.0
READER = "validator"
STATUS = "/proc/self/status"


class BenchNode:
    """One node's store over its own daemon, among everybody who waits on the chain in `folder`."""

    def __init__(
        self, folder: Path, name: str, network: Libp2pNetwork, stack: AsyncExitStack
    ) -> None:
        clock = SystemClock()
        self.key = SigningKey.load(folder / f"{name}.key")
        self.chain = LocalChain(folder / "chain.sqlite", None, clock)
        self.schedule = EpochSchedule(POLICY)
        self.schedule.add(
            EpochContext(self.chain.network_id, self.chain.timing, self.chain.get_waiting_roster())
        )
        database = NodeDatabase(folder / f"{name}.sqlite")
        chain_clock = ChainClock(self.chain, clock, self.schedule, database.held)
        self.network = network
        self.replica = Replica(self.key, POLICY, database, chain_clock, network.max_message_bytes)
        self.store = Store(network, self.replica.handle, POLICY, chain_clock)
        stack.callback(database.close)
        stack.push_async_callback(network.close)
        stack.push_async_callback(self.store.close)

    @staticmethod
    async def start(folder: Path, name: str, peers: list[str], stack: AsyncExitStack) -> BenchNode:
        (folder / name).mkdir()
        node = BenchNode(
            folder,
            name,
            await Libp2pNetwork.start(folder / f"{name}.key", folder / name, initial_peers=peers),
            stack,
        )
        await node.network.serve(node.replica.handle)
        return node

    async def post(self, rule: Rule, seed: int) -> None:
        output = np.random.default_rng(seed).standard_normal((256, 256)).astype(np.float32)
        key_rule = self.schedule.get_key_rule(
            rule, Epoch(0), self.key.author if "{author}" in rule.name else None
        )
        now_seconds = time.time()
        payload = SCHEMA.encode(Opening(Salt(bytes(32)), Hash32(bytes(32)), OUTPUT.encode(output)))
        record = self.key.sign_record(
            self.chain.network_id, key_rule.key, payload, now_seconds + LIFETIME_SECONDS
        )
        posting = await self.store.post(record, key_rule, now_seconds + 60)
        assert posting.is_complete, str(posting)
        await posting.wait_for_stragglers(60)


def measure() -> Iterator[Row]:
    """With fewer hosters where the machine has no room for a real daemon of each."""
    hosters = min(MOST_HOSTERS, int(_get_mib("/proc/meminfo", "MemAvailable")) // NODE_MIB - 1)
    for layout, reads in asyncio.run(_run(hosters)).items():
        seconds = min(read[0] for read in reads)
        peak_mib = max(read[1] for read in reads)
        size_mib = hosters * OUTPUT.longest_bytes / (1 << 20)
        yield Row(
            f"{hosters} hosters x {OUTPUT.longest_bytes >> 10} KiB ({size_mib:.0f} MiB) read by one"
            f" validator, {layout}",
            f"{seconds:.2f} s, its memory grows by {peak_mib:.0f} MiB at most",
            "",
        )


async def _run(hosters: int) -> dict[str, list[tuple[float, float]]]:
    """By layout, of each read the seconds and the MiB by which the reader grew at its peak."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        LocalChain.create(folder / "chain.sqlite", SystemClock(), block_seconds=6.0)
        owner = LocalChain(folder / "chain.sqlite", None, SystemClock())
        names = [f"hoster-{number}" for number in range(hosters)]
        for name in (*names, READER):
            owner.register(
                SigningKey.create(folder / f"{name}.key").author,
                int(VALIDATOR if name == READER else HOSTER),
            )
        reader = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __spec__.name,
            str(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        stack.push_async_callback(reader.wait)
        assert reader.stdin is not None
        assert reader.stdout is not None
        stack.callback(reader.stdin.close)
        peers = json.loads(await reader.stdout.readline())
        nodes = [await BenchNode.start(folder, names[0], peers, stack)]
        peers += nodes[0].network.get_listen_addresses()
        nodes += [await BenchNode.start(folder, name, peers, stack) for name in names[1:]]
        found: dict[str, list[tuple[float, float]]] = {}
        for layout, rule in LAYOUTS.items():
            for number, node in enumerate(nodes):
                await node.post(rule, number)
            for _ in range(READS):
                reader.stdin.write(f"{layout}\n".encode())
                seconds, peak_mib = json.loads(await reader.stdout.readline())
                found.setdefault(layout, []).append((seconds, peak_mib))
        return found


async def _read_on_demand(folder: Path) -> None:
    """The validator's process: each line of standard input is a layout to read."""
    async with AsyncExitStack() as stack:
        node = await BenchNode.start(folder, READER, [], stack)
        print(json.dumps(node.network.get_listen_addresses()), flush=True)
        while layout := (await asyncio.to_thread(sys.stdin.readline)).strip():
            before_mib = _forget_peak()
            start = time.perf_counter()
            rule_reading = await node.store.read_all(LAYOUTS[layout], Epoch(0), wait_for_all=True)
            seconds = time.perf_counter() - start
            assert set(rule_reading.get_proofs(Standing.COMPLETE)) == set(
                rule_reading.roster.hosters
            )
            print(json.dumps((seconds, _get_mib(STATUS, "VmHWM") - before_mib)), flush=True)
            del rule_reading


def _forget_peak() -> float:
    """The MiB that the process holds now; from here on its peak is counted anew (proc(5),
    clear_refs).
    """
    Path("/proc/self/clear_refs").write_text("5")
    return _get_mib(STATUS, "VmRSS")


def _get_mib(file: str, field: str) -> float:
    lines = Path(file).read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(_read_on_demand(Path(sys.argv[1])))
    else:
        for row in measure():
            print(row)
