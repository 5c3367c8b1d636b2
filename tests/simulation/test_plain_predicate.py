"""The upstream template's listing as the only judge of a store: replicas, receipts and reads are
those of any policy.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import torch

from epochgate.chain.local import LocalChain
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.record import compute_key
from epochgate.core.roster import VALIDATOR
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch
from epochgate.core.verdict import Reason
from epochgate.engine.memory import Hub
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from epochgate.observe.events import AnyEvent
from epochgate.observe.recorder import Situation
from epochgate.predicate import HypertensorPredicateValidator, MSGPackSerializer, PlainJudge
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store
from epochgate.store.database import NodeDatabase
from epochgate.store.posting import Posting
from epochgate.store.replica import Replica
from epochgate.transcript.epoch_replay import EpochReplay
from epochgate.transcript.reader import find_transcript
from epochgate.transcript.replay import Replay, replay_files
from epochgate.transcript.writer import TranscriptWriter
from tests.support.identities import key_of
from tests.support.upstream import make_upstream_predicate

NAMES = ("victor", "vera", "vito", "walda")
SLOT = 10


class Subnet:
    """Four nodes that bring the listing and no policy."""

    def __init__(self, folder: Path) -> None:
        self.clock = VirtualClock()
        self.folder = folder
        path = folder / "chain.sqlite"
        LocalChain.create(path, self.clock, block_seconds=6.0)
        self.chain = LocalChain(path, None, self.clock)
        for name in NAMES:
            self.chain.register(key_of(name).author, VALIDATOR)
        self.chain.start(BlockNumber(SLOT))
        self.schedule = EpochSchedule(Policy())
        self.judge = PlainJudge(
            self.schedule.get_context,
            HypertensorPredicateValidator(make_upstream_predicate()),
        )
        self.stores: dict[str, Store] = {}
        self.recorders: dict[str, TranscriptWriter] = {}

    async def start(self) -> None:
        await self.wait_for_block(BlockNumber(SLOT))
        self.context = EpochContext(
            self.chain.network_id, self.chain.timing, await self.chain.get_roster(Epoch(0))
        )
        self.schedule.add(self.context)
        hub = Hub(random.Random(0))
        for name in NAMES:
            network = hub.join(key_of(name).author)
            database = NodeDatabase(None)
            key = key_of(name)
            chain_clock = ChainClock(self.chain, self.clock, self.schedule, database.held)
            recorder = self.recorders[name] = TranscriptWriter(
                self.folder / name / "transcript", "none", _fail
            )
            replica = Replica(
                key, self.judge, database, chain_clock, network.max_message_bytes, recorder=recorder
            )
            recorder.note_epoch_started(
                Situation(
                    node=key.author,
                    policy_digest=Policy().digest,
                    judge="PlainJudge",
                    capacity=replica.capacity,
                    epoch=Epoch(0),
                    time_seconds=self.clock.get_unix_seconds(),
                    oldest_epoch=None,
                    contexts=self.schedule.get_contexts(),
                    held=database.held,
                )
            )
            await network.serve(replica.handle)
            self.stores[name] = Store(network, replica.handle, self.judge, chain_clock)

    async def wait_for_block(self, block: BlockNumber) -> None:
        await asyncio.sleep(
            self.chain.compute_unix_seconds(block) - self.clock.get_unix_seconds() + 0.1
        )

    async def post(
        self, name: str, key_name: str, value: bytes, lifetime_seconds: float = 500.0
    ) -> Posting:
        now_seconds = self.clock.get_unix_seconds()
        key_rule = self.judge.bind(compute_key(key_name), self.context)
        record = key_of(name).sign_record(
            self.chain.network_id, key_rule.key, value, now_seconds + lifetime_seconds
        )
        return await self.stores[name].post(record, key_rule, now_seconds + 3)

    async def read(self, name: str, key_name: str) -> list[bytes]:
        reading = await self.stores[name].read(self.judge.bind(compute_key(key_name), self.context))
        return [
            reading.proofs[record_id].record.payload
            for record_id in reading.get_record_ids(Standing.PROVEN)
        ]


@asynccontextmanager
async def live_in(folder: Path) -> AsyncIterator[Subnet]:
    subnet = Subnet(folder)
    await subnet.start()
    yield subnet
    for store in subnet.stores.values():
        await store.close()


def _fail(fact: AnyEvent) -> None:
    raise AssertionError(fact)


def save(tensor: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(tensor, file)
    value: bytes = MSGPackSerializer.dumps(file.getvalue())
    return value


def replay_with(subnet: Subnet, predicate: Callable[..., bool]) -> list[EpochReplay]:
    """Vera's transcript, with the judge that a user's `make_judge` gives."""

    def make_judge(schedule: EpochSchedule) -> PlainJudge:
        return PlainJudge(schedule.get_context, HypertensorPredicateValidator(predicate))

    return list(replay_files(Replay(Policy(), make_judge), find_transcript(subnet.folder / "vera")))


def test_the_listing_alone_gates_a_store_by_epoch_window_lifetime_and_schema(
    tmp_path: Path,
) -> None:
    async def story(_rng: random.Random) -> None:
        async with live_in(tmp_path) as subnet:
            tensor = save(torch.rand(2, 2))
            assert len((await subnet.post("victor", "consensus-epoch_0", tensor)).receipts) == len(
                NAMES
            )
            assert (
                await subnet.post("vera", "validator", MSGPackSerializer.dumps("here"))
            ).is_complete
            for key, value, lifetime_seconds in (
                ("consensus-epoch_1", tensor, 500.0),
                ("somewhere", tensor, 500.0),
                ("consensus-epoch_0", MSGPackSerializer.dumps(b"no tensor"), 500.0),
                ("validator", MSGPackSerializer.dumps("for long"), 700.0),
            ):
                refused = await subnet.post("vito", key, value, lifetime_seconds)
                assert not refused.receipts, key
                assert {denied.reason for denied in refused.refusals.values()} == {
                    Reason.PREDICATE
                }, key
            await subnet.wait_for_block(BlockNumber(SLOT + 16))
            assert not (await subnet.post("vera", "consensus-epoch_0", tensor)).receipts, (
                "its window has closed"
            )
            assert await subnet.read("walda", "consensus-epoch_0") == [tensor], (
                "reading is not bound by windows"
            )
            for refuses, predicate in (
                (False, make_upstream_predicate()),
                (True, lambda *_: False),
            ):
                (it,) = replay_with(subnet, predicate)
                assert it.counts["admitted"] == 2
                assert it.counts[Reason.PREDICATE.value] >= 5
                assert bool(it.differences) is refuses

    run_virtually(story)
