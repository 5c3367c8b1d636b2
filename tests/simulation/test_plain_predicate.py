"""The seed's listing as the only judge of a store on our engine: replicas, receipts and reads are those of any policy."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import torch

from epochgate.chain.local import LocalChain
from epochgate.core.calendar import Calendar
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.record import compute_key
from epochgate.core.roster import VALIDATOR
from epochgate.core.schema import EpochContext
from epochgate.core.verdict import Reason
from epochgate.engine.memory import Hub
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from epochgate.ledger import Ledger
from epochgate.predicate import HypertensorPredicateValidator, MSGPackSerializer, PlainJudge
from epochgate.replica import Replica
from epochgate.store import Posting, Store
from epochgate.watch import Watch
from fixtures.seed_listing import hypertensor_consensus_predicate
from people import meet

NAMES = ("victor", "vera", "vito", "walda")
SLOT = 10


class Subnet:
    """Four nodes that bring the listing and no policy."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        path = folder / "chain.sqlite"
        LocalChain.create(path, self.clock, block_seconds=6.0)
        self.chain = LocalChain(path, None, self.clock)
        for name in NAMES:
            self.chain.register(meet(name).author, VALIDATOR)
        self.chain.start(SLOT)
        self.calendar = Calendar(Policy())
        self.judge = PlainJudge(self.calendar.get_context, HypertensorPredicateValidator(hypertensor_consensus_predicate()))
        self.stores: dict[str, Store] = {}

    async def start(self) -> None:
        await self.wait_for_block(SLOT)
        self.context = EpochContext(self.chain.network_id, self.chain.timing, await self.chain.get_roster(0))
        self.calendar.add(self.context)
        hub = Hub(random.Random(0))
        for name in NAMES:
            network, ledger, key = hub.join(meet(name).author), Ledger(None), meet(name)
            watch = Watch(self.chain, self.clock, self.calendar, ledger)
            replica = Replica(key, self.judge, ledger, watch, network.max_message_bytes)
            await network.serve(replica.handle)
            self.stores[name] = Store(network, replica, self.judge, watch)

    async def wait_for_block(self, block: int) -> None:
        await asyncio.sleep(self.chain.compute_unix_seconds(block) - self.clock.get_unix_seconds() + 0.1)

    async def post(self, name: str, key_name: str, value: bytes, lifetime_seconds: float = 500.0) -> Posting:
        now_seconds = self.clock.get_unix_seconds()
        bound = self.judge.bind(compute_key(key_name), self.context)
        record = meet(name).sign_record(self.chain.network_id, bound.key, value, now_seconds + lifetime_seconds)
        return await self.stores[name].post(record, bound, now_seconds + 3)

    async def read(self, name: str, key_name: str) -> list[bytes]:
        reading = await self.stores[name].read(self.judge.bind(compute_key(key_name), self.context))
        return [reading.proofs[stamp].record.payload for stamp in reading.get_stamps(Standing.PROVEN)]


@asynccontextmanager
async def live_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Subnet]:
    subnet = Subnet(folder)
    monkeypatch.setattr("fixtures.seed_listing.get_dht_time", subnet.clock.get_unix_seconds)
    await subnet.start()
    yield subnet
    for store in subnet.stores.values():
        await store.close()


def save(tensor: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(tensor, file)
    value: bytes = MSGPackSerializer.dumps(file.getvalue())
    return value


def test_the_listing_alone_gates_a_store_by_epoch_window_lifetime_and_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(_rng: random.Random) -> None:
        async with live_in(tmp_path, monkeypatch) as subnet:
            tensor = save(torch.rand(2, 2))
            assert len((await subnet.post("victor", "consensus-epoch_0", tensor)).receipts) == len(NAMES)
            assert (await subnet.post("vera", "validator", MSGPackSerializer.dumps("here"))).is_complete
            for key, value, lifetime_seconds in (
                ("consensus-epoch_1", tensor, 500.0),
                ("somewhere", tensor, 500.0),
                ("consensus-epoch_0", MSGPackSerializer.dumps(b"no tensor"), 500.0),
                ("validator", MSGPackSerializer.dumps("for long"), 700.0),
            ):
                refused = await subnet.post("vito", key, value, lifetime_seconds)
                assert not refused.receipts, key
                assert {denied.reason for denied in refused.refusals.values()} == {Reason.PREDICATE}, key
            await subnet.wait_for_block(SLOT + 16)
            assert not (await subnet.post("vera", "consensus-epoch_0", tensor)).receipts, "its window has closed"
            assert await subnet.read("walda", "consensus-epoch_0") == [tensor], "reading is not bound by windows"

    run_virtually(story)
