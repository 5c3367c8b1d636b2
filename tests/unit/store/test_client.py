"""The store on the memory engine, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from epochgate.core.receipt import Standing
from epochgate.core.roster import Roster
from epochgate.core.schema import EpochContext
from epochgate.core.types import Epoch
from tests.suites.store_suite import Behaviour, every_behaviour
from tests.support.memory_cluster import live
from tests.support.store_cluster import (
    LARGE,
    MAX_MESSAGE_BYTES,
    NOTE,
    OTHER,
    StoreCluster,
    eventually,
)


@every_behaviour
@pytest.mark.parametrize("size", [4, 7])
def test_store_on_the_memory_engine(behaviour: Behaviour, size: int, tmp_path: Path) -> None:
    live(tmp_path, behaviour, size)


def get_loop_seconds() -> float:
    return asyncio.get_running_loop().time()


def test_a_posting_ends_at_its_deadline_whoever_is_silent(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        for them in cluster.nodes[1:]:
            them.fall_silent()
        began = get_loop_seconds()
        posting = await alice.post(NOTE, alice.write(NOTE), within_seconds=0.7)
        assert get_loop_seconds() - began == pytest.approx(0.7)
        assert posting.receipts.keys() == {alice.author}
        posting = await alice.post(OTHER, alice.write(OTHER), within_seconds=-1.0)
        assert get_loop_seconds() - began == pytest.approx(0.7)
        assert not posting.is_proven

    live(tmp_path, story, latency_seconds=0.0)


def test_stragglers_get_the_record_after_the_posting_is_complete(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        late = cluster.nodes[-1]
        late.fall_silent()
        began = get_loop_seconds()
        posting = await alice.post(NOTE, alice.write(NOTE))
        assert len(posting.receipts) == 3
        assert get_loop_seconds() == began
        late.speak()
        await eventually(lambda: late.author in posting.receipts)

    live(tmp_path, story, latency_seconds=0.0)


def test_a_straggler_is_tried_each_second_until_the_record_is_complete_and_then_each_block(
    tmp_path: Path,
) -> None:
    async def story(cluster: StoreCluster) -> None:
        asked: list[float] = []

        async def say_nothing(_sender: bytes, _message: bytes) -> bytes:
            asked.append(get_loop_seconds())
            return b""

        alice, *others, straggler = cluster.nodes
        straggler._handler.handler = others[0]._handler.handler = say_nothing
        posting = asyncio.create_task(alice.post(NOTE, alice.write(NOTE), within_seconds=100.0))
        await asyncio.sleep(30)
        assert asked[-1] - asked[-3] == pytest.approx(1.0), (
            "two of four say nothing, and three make it complete"
        )
        others[0].speak()
        assert (await posting).is_complete
        await asyncio.sleep(30)
        assert asked[-1] - asked[-2] == pytest.approx(cluster.chain.timing.block_seconds)

    live(tmp_path, story, latency_seconds=0.0)


def test_lost_messages_are_made_up_for(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        postings = await asyncio.gather(
            *(them.post(NOTE, them.write(NOTE)) for them in cluster.nodes)
        )
        assert all(posting.is_complete for posting in postings)
        readings = [await them.read(NOTE) for them in cluster.nodes]
        found = [
            frozenset(reading.get_record_ids(Standing.COMPLETE))
            for reading in readings
            if reading.is_enough
        ]
        assert len(found) >= 5
        assert set(found) == {frozenset(posting.record_id for posting in postings)}

    live(tmp_path, story, 7, loss=0.05)


def test_a_value_longer_than_a_message_is_the_callers_error(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        with pytest.raises(ValueError, match="does not fit into a message"):
            await alice.post(LARGE, alice.write(LARGE, bytes(MAX_MESSAGE_BYTES)))

    live(tmp_path, story)


def test_closing_ends_what_goes_on_in_the_background(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        cluster.nodes[-1].fall_silent()
        await alice.post(NOTE, alice.write(NOTE))
        assert len(asyncio.all_tasks()) > 1
        began = get_loop_seconds()
        await alice.store.close()
        assert get_loop_seconds() == began
        assert asyncio.all_tasks() == {asyncio.current_task()}

    live(tmp_path, story)


def test_an_epoch_whose_roster_was_empty_reads_as_nothing(tmp_path: Path) -> None:
    """The epoch before the subnet's first: its submission is about nobody."""

    async def story(cluster: StoreCluster) -> None:
        cluster.schedule.add(
            EpochContext(
                cluster.chain.network_id, cluster.chain.timing, Roster(Epoch(1), bytes(32), ())
            )
        )
        rule_reading = await cluster.outsider.store.read_all(NOTE, Epoch(1), wait_for_all=True)
        assert rule_reading.is_enough
        assert rule_reading.get_proofs(Standing.PROVEN) == {}

    live(tmp_path, story)


def test_one_seed_gives_one_run(tmp_path: Path) -> None:
    def run(number: int) -> list[tuple[float, str]]:
        seen: list[tuple[float, str]] = []

        async def story(cluster: StoreCluster) -> None:
            for them in cluster.nodes:
                posting = await them.post(NOTE, them.write(NOTE))
                reading = await cluster.nodes[0].read(NOTE)
                seen.append((get_loop_seconds(), f"{posting} {list(reading.proofs)}"))

        (tmp_path / str(number)).mkdir()
        live(tmp_path / str(number), story, 7, loss=0.05)
        return seen

    assert run(1) == run(2)
