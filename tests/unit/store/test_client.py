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
from epochgate.core.verdict import Denied, Reason, Verdict
from epochgate.store.client import Store
from epochgate.store.wire import List, Listing, Reply, Request, Values
from memory_town import live
from suites.store_suite import Behaviour, every_behaviour
from town import (
    LARGE,
    LARGE_BYTES,
    LONG_SECONDS,
    MAX_MESSAGE_BYTES,
    NOTE,
    OTHER,
    POLICY,
    TIMEOUT_SECONDS,
    Neighbour,
    Town,
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
    async def story(town: Town) -> None:
        for them in town.neighbours:
            await them.post(NOTE, them.write(NOTE))
        waits = []

        async def read() -> None:
            began = get_loop_seconds()
            assert (await town.visitor.read(NOTE)).is_enough
            waits.append(get_loop_seconds() - began)

        await read()
        for them in town.neighbours[:2]:
            them.fall_silent()
        await read()
        await asyncio.sleep(LONG_SECONDS)
        await read()
        assert waits == [0.0, pytest.approx(0.03), 0.0]

    live(tmp_path, story, 7, latency_seconds=0.0)


def test_who_answers_again_is_not_suspected_any_more(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        silent = town.neighbours[-2:]
        for is_silent in (True, False):
            for them in silent:
                them.fall_silent() if is_silent else them.speak()
            reading = await town.visitor.read(NOTE, wait_for_all=True)
            assert len(reading.answered) == (2 if is_silent else 4)
        for them in silent:
            them.answer_after(1.5)
        assert len((await town.visitor.read(NOTE, wait_for_all=True)).answered) == 4

    live(tmp_path, story, latency_seconds=0.0)


def test_beyond_f_silent_replicas_are_waited_for_twice_and_less_when_they_are_known(
    tmp_path: Path,
) -> None:
    async def story(town: Town) -> None:
        reader = town.neighbours[0]
        for them in town.neighbours[-2:]:
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

    async def story(town: Town) -> None:
        alice = town.neighbours[0]
        reader = town.neighbours[-1]
        record = alice.write(NOTE)
        await alice.post_to(town.neighbours[:3], record)
        town.neighbours[2].answer_after(1.5)
        reading = await reader.read(NOTE)
        assert reading.signers[compute_record_id(record)] == frozenset(
            them.author for them in town.neighbours[:3]
        )
        assert list(reading.proofs) == [compute_record_id(record)]

    live(tmp_path, story, 7, latency_seconds=0.0)


def test_a_holder_that_keeps_values_back_is_stood_in_for(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        for them in town.neighbours:
            await them.post_to(town.neighbours, them.write(NOTE))
        town.neighbours[1].keep_values_back()
        began = get_loop_seconds()
        assert len((await town.visitor.read(NOTE)).proofs) == 4
        assert get_loop_seconds() - began == pytest.approx(0.5)

    live(tmp_path, story, latency_seconds=0.0)


def test_a_posting_ends_at_its_deadline_whoever_is_silent(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        alice = town.neighbours[0]
        for them in town.neighbours[1:]:
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
    async def story(town: Town) -> None:
        alice = town.neighbours[0]
        late = town.neighbours[-1]
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
    async def story(town: Town) -> None:
        asked: list[float] = []

        async def say_nothing(_sender: bytes, _message: bytes) -> bytes:
            asked.append(get_loop_seconds())
            return b""

        alice, *others, straggler = town.neighbours
        straggler._line.handler = others[0]._line.handler = say_nothing
        posting = asyncio.create_task(alice.post(NOTE, alice.write(NOTE), within_seconds=100.0))
        await asyncio.sleep(30)
        assert asked[-1] - asked[-3] == pytest.approx(1.0), (
            "two of four say nothing, and three make it complete"
        )
        others[0].speak()
        assert (await posting).is_complete
        await asyncio.sleep(30)
        assert asked[-1] - asked[-2] == pytest.approx(town.chain.timing.block_seconds)

    live(tmp_path, story, latency_seconds=0.0)


def test_lost_messages_are_made_up_for(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        postings = await asyncio.gather(
            *(them.post(NOTE, them.write(NOTE)) for them in town.neighbours)
        )
        assert all(posting.is_complete for posting in postings)
        readings = [await them.read(NOTE) for them in town.neighbours]
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

    async def story(town: Town) -> None:
        records = [
            them.write(LARGE, bytes([number]) * LARGE_BYTES)
            for number, them in enumerate(town.neighbours)
        ]
        pairs = zip(town.neighbours, records, strict=True)
        postings = await asyncio.gather(*(them.post(LARGE, record) for them, record in pairs))
        assert all(posting.is_complete for posting in postings)
        assert town.get_key_rule(LARGE, 0, town.neighbours[0]).replica_set.k == 13
        reading = await town.visitor.read(LARGE)
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

    async def story(town: Town) -> None:
        alice, bob, visitor = *town.neighbours[:2], town.visitor
        await alice.post_to(town.neighbours, alice.write(NOTE, bytes(32)))
        await bob.post_to(town.neighbours, bob.write(NOTE, b"b" * 32))
        store = Store(visitor.network, visitor.replica, Picky(*POLICY.rules), visitor.chain_clock)
        reading = await store.read(town.get_key_rule(NOTE, 0, alice))
        assert reading.is_enough
        assert [record_id.author for record_id in reading.proofs] == [bob.author]
        assert reading.signers.keys() == reading.proofs.keys()

    live(tmp_path, story)


def test_the_records_of_another_epoch_are_none_of_this_one(tmp_path: Path) -> None:
    """All replicas show last epoch's records under this epoch's key, with the receipts that they
    have for them. A receipt is for one key, one epoch and one of its blocks, and each of the three
    tells them apart.
    """

    async def story(town: Town) -> None:
        alice = town.neighbours[0]
        reader = town.neighbours[-1]
        old = alice.write(NOTE)
        await alice.post_to(town.neighbours, old)
        await town.move_to(5, epoch=1)

        def show_last_epochs(liar: Neighbour, request: Request, _reply: Reply) -> Reply:
            if isinstance(request, List):
                return Listing(tuple(liar.get_listing(NOTE)), is_last=True)
            return Values((old, msgspec.structs.replace(old, key=new_key)))

        new_key = town.get_key_rule(NOTE, 1, alice).key
        for liar in town.neighbours[:-1]:
            liar.lie(show_last_epochs)
        reading = await reader.store.read(town.get_key_rule(NOTE, 1, reader), wait_for_all=True)
        assert not reading.proofs
        assert not any(reading.signers.values())
        assert list((await town.visitor.store.read(town.get_key_rule(NOTE, 0, reader))).proofs) == [
            compute_record_id(old)
        ]

    live(tmp_path, story)


def test_a_value_longer_than_a_message_is_the_callers_error(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        alice = town.neighbours[0]
        with pytest.raises(ValueError, match="a value has at most"):
            await alice.post(LARGE, alice.write(LARGE, bytes(MAX_MESSAGE_BYTES)))

    live(tmp_path, story)


def test_closing_ends_what_goes_on_in_the_background(tmp_path: Path) -> None:
    async def story(town: Town) -> None:
        alice = town.neighbours[0]
        town.neighbours[-1].fall_silent()
        await alice.post(NOTE, alice.write(NOTE))
        assert len(asyncio.all_tasks()) > 1
        began = get_loop_seconds()
        await alice.store.close()
        assert get_loop_seconds() == began
        assert asyncio.all_tasks() == {asyncio.current_task()}

    live(tmp_path, story)


def test_an_epoch_whose_roster_was_empty_reads_as_nothing(tmp_path: Path) -> None:
    """The epoch before the subnet's first: its submission is about nobody."""

    async def story(town: Town) -> None:
        town.schedule.add(
            EpochContext(town.chain.network_id, town.chain.timing, Roster(1, bytes(32), ()))
        )
        rule_reading = await town.visitor.store.read_all(NOTE, 1, wait_for_all=True)
        assert rule_reading.is_enough
        assert rule_reading.get_proofs(Standing.PROVEN) == {}

    live(tmp_path, story)


def test_one_seed_gives_one_run(tmp_path: Path) -> None:
    def run(number: int) -> list[tuple[float, str]]:
        seen: list[tuple[float, str]] = []

        async def story(town: Town) -> None:
            for them in town.neighbours:
                posting = await them.post(NOTE, them.write(NOTE))
                reading = await town.neighbours[0].read(NOTE)
                seen.append((get_loop_seconds(), f"{posting} {list(reading.proofs)}"))

        (tmp_path / str(number)).mkdir()
        live(tmp_path / str(number), story, 7, loss=0.05)
        return seen

    assert run(1) == run(2)
