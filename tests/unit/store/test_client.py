"""The store on the memory engine, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.roster import Roster
from epochgate.core.schema import EpochContext
from epochgate.core.types import Epoch
from epochgate.core.verdict import Denied, Reason, Verdict
from epochgate.store.client import Store
from epochgate.store.wire import List, Listing, Reply, Request, Values
from tests.suites.store_suite import Behaviour, every_behaviour
from tests.support.memory_cluster import live
from tests.support.store_cluster import (
    LARGE,
    LARGE_BYTES,
    LONG_SECONDS,
    MAX_MESSAGE_BYTES,
    NOTE,
    OTHER,
    POLICY,
    TIMEOUT_SECONDS,
    ClusterNode,
    StoreCluster,
    eventually,
)


@every_behaviour
@pytest.mark.parametrize("size", [4, 7])
def test_store_on_the_memory_engine(behaviour: Behaviour, size: int, tmp_path: Path) -> None:
    live(tmp_path, behaviour, size)


def get_loop_seconds() -> float:
    return asyncio.get_running_loop().time()


def test_a_silent_replica_costs_a_reader_a_hedge_until_it_is_known_and_then_nothing(
    tmp_path: Path,
) -> None:
    async def story(cluster: StoreCluster) -> None:
        for them in cluster.nodes:
            await them.post(NOTE, them.write(NOTE))
        waits = []

        async def read() -> None:
            began = get_loop_seconds()
            assert (await cluster.outsider.read(NOTE)).is_enough
            waits.append(get_loop_seconds() - began)

        await read()
        for them in cluster.nodes[:2]:
            them.fall_silent()
        await read()
        await asyncio.sleep(LONG_SECONDS)
        await read()
        assert waits == [0.0, pytest.approx(0.03), 0.0]

    live(tmp_path, story, 7, latency_seconds=0.0)


def test_who_answers_again_is_not_suspected_any_more(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        silent = cluster.nodes[-2:]
        for is_silent in (True, False):
            for them in silent:
                them.fall_silent() if is_silent else them.speak()
            reading = await cluster.outsider.read(NOTE, wait_for_all=True)
            assert len(reading.answered) == (2 if is_silent else 4)
        for them in silent:
            them.answer_after(1.5)
        assert len((await cluster.outsider.read(NOTE, wait_for_all=True)).answered) == 4

    live(tmp_path, story, latency_seconds=0.0)


def test_beyond_f_silent_replicas_are_waited_for_twice_and_less_when_they_are_known(
    tmp_path: Path,
) -> None:
    async def story(cluster: StoreCluster) -> None:
        reader = cluster.nodes[0]
        for them in cluster.nodes[-2:]:
            them.fall_silent()
        waits = []
        for _ in range(2):
            began = get_loop_seconds()
            assert not (await reader.read(NOTE)).is_enough
            waits.append(get_loop_seconds() - began)
        assert waits == [pytest.approx(TIMEOUT_SECONDS + 1.0 + 0.03), pytest.approx(2 * 1.0 + 0.03)]

    live(tmp_path, story, latency_seconds=0.0)


def test_a_replica_that_could_still_matter_is_waited_for(tmp_path: Path) -> None:
    """Alice's record has a receipt of each of two replicas that answer, too few to prove it; the
    third one is late.
    """

    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        reader = cluster.nodes[-1]
        record = alice.write(NOTE)
        await alice.post_to(cluster.nodes[:3], record)
        cluster.nodes[2].answer_after(1.5)
        reading = await reader.read(NOTE)
        assert reading.signers[compute_record_id(record)] == frozenset(
            them.author for them in cluster.nodes[:3]
        )
        assert list(reading.proofs) == [compute_record_id(record)]

    live(tmp_path, story, 7, latency_seconds=0.0)


def test_a_holder_that_keeps_values_back_is_stood_in_for(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        for them in cluster.nodes:
            await them.post_to(cluster.nodes, them.write(NOTE))
        cluster.nodes[1].keep_values_back()
        began = get_loop_seconds()
        assert len((await cluster.outsider.read(NOTE)).proofs) == 4
        assert get_loop_seconds() - began == pytest.approx(0.5)

    live(tmp_path, story, latency_seconds=0.0)


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


def test_many_large_values_under_one_key_are_read_whole(tmp_path: Path) -> None:
    """Thirteen replicas of sixty-four authors; a message holds two values."""
    names = [f"author {number}" for number in range(64)]

    async def story(cluster: StoreCluster) -> None:
        records = [
            them.write(LARGE, bytes([number]) * LARGE_BYTES)
            for number, them in enumerate(cluster.nodes)
        ]
        pairs = zip(cluster.nodes, records, strict=True)
        postings = await asyncio.gather(*(them.post(LARGE, record) for them, record in pairs))
        assert all(posting.is_complete for posting in postings)
        assert cluster.get_key_rule(LARGE, Epoch(0), cluster.nodes[0]).replica_set.k == 13
        reading = await cluster.outsider.read(LARGE)
        assert {proof.record for proof in reading.proofs.values()} == set(records)
        assert len(list(reading.get_record_ids(Standing.COMPLETE))) == 64

    live(tmp_path, story, names=names)


def test_what_nobody_may_write_does_not_exist_however_many_vouch_for_it(tmp_path: Path) -> None:
    class Picky(Policy):
        def recognise(self, record: Record, now: EvaluationContext) -> Verdict:
            return (
                Denied(Reason.PREDICATE)
                if record.payload == bytes(32)
                else super().recognise(record, now)
            )

    async def story(cluster: StoreCluster) -> None:
        alice, bob, outsider = *cluster.nodes[:2], cluster.outsider
        await alice.post_to(cluster.nodes, alice.write(NOTE, bytes(32)))
        await bob.post_to(cluster.nodes, bob.write(NOTE, b"b" * 32))
        store = Store(
            outsider.network, outsider.replica.handle, Picky(*POLICY.rules), outsider.chain_clock
        )
        reading = await store.read(cluster.get_key_rule(NOTE, Epoch(0), alice))
        assert reading.is_enough
        assert [record_id.author for record_id in reading.proofs] == [bob.author]
        assert reading.signers.keys() == reading.proofs.keys()

    live(tmp_path, story)


def test_the_records_of_another_epoch_are_none_of_this_one(tmp_path: Path) -> None:
    """All replicas show last epoch's records under this epoch's key, with the receipts that they
    have for them. A receipt is for one key, one epoch and one of its blocks, and each of the three
    tells them apart.
    """

    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        reader = cluster.nodes[-1]
        old = alice.write(NOTE)
        await alice.post_to(cluster.nodes, old)
        await cluster.advance_to(5, epoch=Epoch(1))

        def show_last_epochs(liar: ClusterNode, request: Request, _reply: Reply) -> Reply:
            if isinstance(request, List):
                return Listing(tuple(liar.get_listing(NOTE)), is_last=True)
            return Values((old, msgspec.structs.replace(old, key=new_key)))

        new_key = cluster.get_key_rule(NOTE, Epoch(1), alice).key
        for liar in cluster.nodes[:-1]:
            liar.lie(show_last_epochs)
        reading = await reader.store.read(
            cluster.get_key_rule(NOTE, Epoch(1), reader), wait_for_all=True
        )
        assert not reading.proofs
        assert not any(reading.signers.values())
        assert list(
            (await cluster.outsider.store.read(cluster.get_key_rule(NOTE, Epoch(0), reader))).proofs
        ) == [compute_record_id(old)]

    live(tmp_path, story)


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
