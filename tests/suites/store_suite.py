"""What store and replica must do on every engine, told once. Each of `BEHAVIOURS` happens in a town
of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from epochgate.core.receipt import Standing, compute_record_id
from epochgate.core.types import Epoch
from epochgate.core.verdict import Reason
from epochgate.store.client import get_latest
from epochgate.store.wire import Posted, Refused
from tests.suites.store_lies import LIES, give_false_receipts, invent_records
from tests.support.store_cluster import (
    HEARTBEAT,
    LARGE,
    LARGE_BYTES,
    NOTE,
    OTHER,
    OWN,
    OWN_LARGE,
    TIMEOUT_SECONDS,
    StoreCluster,
    eventually,
)


async def all_replicas_give_receipts(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    posting = await alice.post(NOTE, alice.write(NOTE))
    assert posting.is_complete
    await eventually(lambda: len(posting.receipts) == len(cluster.nodes))
    assert str(posting).startswith(f"{len(cluster.nodes)} of {len(cluster.nodes)} receipts")
    assert posting.standing is Standing.COMPLETE
    assert not posting.refusals
    assert not posting.unreachable


async def everybody_reads_what_all_have_posted(cluster: StoreCluster) -> None:
    records = [them.write(NOTE, bytes([number]) * 32) for number, them in enumerate(cluster.nodes)]
    pairs = zip(cluster.nodes, records, strict=True)
    await asyncio.gather(*(them.post(NOTE, record) for them, record in pairs))
    for reader in cluster.nodes:
        reading = await reader.read(NOTE)
        assert reading.is_enough
        found = [
            reading.proofs[record_id].record
            for record_id in reading.get_record_ids(Standing.COMPLETE)
        ]
        assert found == sorted(records, key=lambda record: record.author)


async def the_same_record_gets_the_same_receipts_even_after_the_window(
    cluster: StoreCluster,
) -> None:
    alice = cluster.nodes[0]
    record = alice.write(NOTE)
    replies = await alice.post_to(cluster.nodes, record)
    await cluster.advance_to(90)
    assert all(isinstance(reply, Posted) for reply in replies)
    assert await alice.post_to(cluster.nodes, record) == replies


async def a_second_value_is_refused_and_kept_as_evidence(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    first, second, third = (alice.write(NOTE, bytes([number]) * 32) for number in range(3))
    await alice.post_to(cluster.nodes, first)
    for other in (second, third):
        posting = await alice.post(NOTE, other)
        assert {denied.reason for denied in posting.refusals.values()} == {Reason.ALREADY_THERE}
        assert len(posting.refusals) == len(cluster.nodes)
    for them in cluster.nodes:
        assert them.database.get_evidence(first.key) == ((first, second),)
    reading = await alice.read(NOTE)
    assert list(reading.proofs) == [compute_record_id(first)]


async def a_two_faced_author_is_seen_with_both_faces(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    half = len(cluster.nodes) // 2
    records = [alice.write(NOTE, bytes([number]) * 32) for number in range(2)]
    await alice.post_to(cluster.nodes[:half], records[0])
    await alice.post_to(cluster.nodes[half:], records[1])
    rule_reading = await cluster.nodes[-1].store.read_all(NOTE, Epoch(0))
    proven = rule_reading.get_proofs(Standing.PROVEN)[alice.author]
    assert sorted(proof.record.payload for proof in proven) == [
        record.payload for record in records
    ]


async def somebody_elses_record_is_refused(cluster: StoreCluster) -> None:
    alice, bob = cluster.nodes[:2]
    posting = await bob.post(NOTE, alice.write(NOTE))
    assert {denied.reason for denied in posting.refusals.values()} == {Reason.NOT_AUTHOR}
    assert not posting.receipts
    assert all(not them.database.held for them in cluster.nodes)


async def what_is_early_is_repeated_until_the_window_opens(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    await cluster.advance_to(5)
    record = alice.write(NOTE)
    (refused,) = await alice.post_to([alice], record)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.wait_blocks, refused.wait_seconds) == ("early", 5, 30.0)
    posting = asyncio.create_task(alice.post(NOTE, record, within_seconds=600))
    await eventually(lambda: alice.replica.denied[Reason.EARLY] > 1)
    await cluster.advance_to(10)
    assert (await posting).is_complete


async def what_is_late_is_refused_for_good(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    await cluster.advance_to(61)
    posting = await alice.post(NOTE, alice.write(NOTE))
    assert not posting.is_proven
    assert "denied, late; by rule note_epoch_0; expected blocks 11 to 61; saw block 62" in str(
        posting
    )


async def f_silent_replicas_change_nothing(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    for them in cluster.nodes[-cluster.f :]:
        them.fall_silent()
    posting = await alice.post(NOTE, alice.write(NOTE))
    assert posting.is_complete
    reading = await alice.read(NOTE)
    assert reading.is_enough
    assert list(reading.get_record_ids(Standing.COMPLETE)) == [posting.record_id]


async def one_silent_replica_more_is_told(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    k = len(cluster.nodes)
    f = cluster.f
    for them in cluster.nodes[-f - 1 :]:
        them.fall_silent()
    posting = await alice.post(NOTE, alice.write(NOTE), within_seconds=TIMEOUT_SECONDS + 0.5)
    assert not posting.is_complete
    assert posting.is_proven
    assert (
        str(posting)
        == f"{k - f - 1} of {k} receipts, {k - f} make it complete; {f + 1} replicas did not answer"
    )
    reading = await alice.read(NOTE)
    assert not reading.is_enough
    assert reading.answered == frozenset(them.author for them in cluster.nodes[: k - f - 1])
    assert list(reading.get_record_ids(Standing.PROVEN)) == [posting.record_id]


async def f_liars_change_nothing(cluster: StoreCluster) -> None:
    alice, bob = cluster.nodes[:2]
    other = bob.write(OTHER, b"o" * 32)
    await bob.post_to(cluster.nodes, other)
    liars = cluster.nodes[1 : 1 + cluster.f]
    for liar in liars:
        liar.lie(give_false_receipts)
    record = alice.write(NOTE)
    posting = await alice.post(NOTE, record)
    assert posting.is_complete
    assert not posting.receipts.keys() & {liar.author for liar in liars}
    for lie in LIES:
        for liar in liars:
            liar.lie(lie)
        for reader in (alice, cluster.nodes[-1], cluster.outsider):
            reading = await reader.read(NOTE)
            assert reading.is_enough, lie.__name__
            assert [proof.record for proof in reading.proofs.values()] == [record], lie.__name__
            assert list(reading.get_record_ids(Standing.COMPLETE)) == [posting.record_id], (
                lie.__name__
            )


async def who_is_caught_forging_is_not_believed_at_all(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    liar = cluster.nodes[1]
    await alice.post_to(cluster.nodes, alice.write(NOTE))
    liar.lie(invent_records)
    reading = await cluster.outsider.read(NOTE, wait_for_all=True)
    assert reading.answered == frozenset(them.author for them in cluster.nodes if them is not liar)
    assert len(reading.signers) == 1


async def what_too_few_have_seen_does_not_exist(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    reader = cluster.nodes[-1]
    record = alice.write(NOTE)
    await alice.post_to(cluster.nodes[: cluster.f], record)
    assert (await reader.read(NOTE)).is_enough
    reading = await reader.read(NOTE, wait_for_all=True)
    assert not reading.proofs
    assert len(reading.signers[compute_record_id(record)]) == cluster.f
    await alice.post_to(cluster.nodes[cluster.f : cluster.f + 1], record)
    reading = await reader.read(NOTE)
    assert list(reading.get_record_ids(Standing.PROVEN)) == [compute_record_id(record)]
    assert not list(reading.get_record_ids(Standing.COMPLETE))


async def large_values_are_read_whole(cluster: StoreCluster) -> None:
    """More than one message holds, from replicas that all answer within theirs."""
    records = [
        them.write(LARGE, bytes([number]) * LARGE_BYTES)
        for number, them in enumerate(cluster.nodes)
    ]
    pairs = zip(cluster.nodes, records, strict=True)
    await asyncio.gather(*(them.post(LARGE, record) for them, record in pairs))
    reading = await cluster.outsider.read(LARGE)
    found = {proof.record.author: proof.record for proof in reading.proofs.values()}
    assert found == {record.author: record for record in records}


async def keys_of_their_own_are_read_as_one_section(cluster: StoreCluster) -> None:
    for them in cluster.nodes:
        assert (await them.post(OWN, them.write(OWN))).is_complete
    rule_reading = await cluster.nodes[0].store.read_all(OWN, Epoch(0))
    assert rule_reading.is_enough
    assert list(rule_reading.get_proofs(Standing.COMPLETE)) == sorted(
        them.author for them in cluster.nodes
    )
    alice, bob = cluster.nodes[:2]
    key_rule = cluster.get_key_rule(OWN, Epoch(0), alice)
    foreign = bob.key.sign_record(
        key_rule.context.network, key_rule.key, bytes(32), cluster.clock.get_unix_seconds() + 600
    )
    (refused,) = await bob.post_to([alice], foreign)
    assert isinstance(refused, Refused)
    assert refused.reason == "not-author"


async def large_values_under_keys_of_their_own_are_read_whole_whoever_is_silent(
    cluster: StoreCluster,
) -> None:
    """All of them together are more than one message holds, and so are those of one replica."""
    for number, them in enumerate(cluster.nodes):
        assert (
            await them.post(OWN_LARGE, them.write(OWN_LARGE, bytes([number]) * LARGE_BYTES))
        ).is_complete
    for them in cluster.nodes[-cluster.f :]:
        them.fall_silent()
    rule_reading = await cluster.outsider.store.read_all(OWN_LARGE, Epoch(0), wait_for_all=True)
    assert rule_reading.is_enough
    payloads = {
        author: proofs[0].record.payload
        for author, proofs in rule_reading.get_proofs(Standing.PROVEN).items()
    }
    assert payloads == {
        them.author: bytes([number]) * LARGE_BYTES for number, them in enumerate(cluster.nodes)
    }


async def the_latest_heartbeat_wins_and_old_ones_do_not_come_back(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    reader = cluster.nodes[-1]
    old = alice.write(HEARTBEAT, b"o" * 32, 100)
    new = alice.write(HEARTBEAT, b"n" * 32, 200)
    await alice.post_to(cluster.nodes, old)
    assert (await alice.post(HEARTBEAT, new)).is_complete
    await eventually(
        lambda: all(
            them.get_listing(HEARTBEAT)[0].expiration_time == new.expiration_time
            for them in cluster.nodes
        )
    )
    (refused,) = await alice.post_to([reader], old)
    assert isinstance(refused, Refused)
    assert refused.reason == "already-there"
    latest = get_latest([await reader.read(HEARTBEAT)], reader.chain_clock.get_evaluation_context())
    assert latest[alice.author].record == new
    cluster.clock.ahead_seconds += 200
    assert not (await reader.read(HEARTBEAT)).proofs


async def a_restart_keeps_records_and_receipts(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    record = alice.write(NOTE)
    before = await alice.post_to(cluster.nodes, record)
    for them in cluster.nodes:
        await them.restart()
    reading = await cluster.nodes[-1].read(NOTE, wait_for_all=True)
    assert reading.signers[compute_record_id(record)] == frozenset(
        them.author for them in cluster.nodes
    )
    assert await alice.post_to(cluster.nodes, record) == before


async def a_replica_that_lost_its_data_takes_what_is_proven(cluster: StoreCluster) -> None:
    alice = cluster.nodes[0]
    carol = cluster.nodes[2]
    proven = alice.write(NOTE)
    unproven = alice.write(OTHER)
    posting = await alice.post(NOTE, proven)
    await eventually(lambda: len(posting.receipts) == len(cluster.nodes))
    await alice.post_to([alice], unproven)
    await carol.lose_everything()
    assert await carol.repair() == 1
    assert not carol.get_listing(OTHER)
    (entry,) = carol.get_listing(NOTE)
    assert {receipt.replica for receipt in entry.receipts} == posting.receipts.keys() - {
        carol.author
    }
    assert await carol.repair() == 0
    (posted,) = await alice.post_to([carol], proven)
    assert isinstance(posted, Posted)
    assert posted.receipt.replica == carol.author
    (entry,) = carol.get_listing(NOTE)
    assert {receipt.replica for receipt in entry.receipts} == posting.receipts.keys()


async def a_forged_repair_is_refused(cluster: StoreCluster) -> None:
    carol = cluster.nodes[2]
    for liar in cluster.nodes:
        if liar is not carol:
            liar.lie(invent_records)
    assert await carol.repair() == 0
    assert not carol.database.held


Behaviour = Callable[[StoreCluster], Awaitable[None]]

BEHAVIOURS: list[Behaviour] = [
    all_replicas_give_receipts,
    everybody_reads_what_all_have_posted,
    the_same_record_gets_the_same_receipts_even_after_the_window,
    a_second_value_is_refused_and_kept_as_evidence,
    a_two_faced_author_is_seen_with_both_faces,
    somebody_elses_record_is_refused,
    what_is_early_is_repeated_until_the_window_opens,
    what_is_late_is_refused_for_good,
    f_silent_replicas_change_nothing,
    one_silent_replica_more_is_told,
    f_liars_change_nothing,
    who_is_caught_forging_is_not_believed_at_all,
    what_too_few_have_seen_does_not_exist,
    large_values_are_read_whole,
    keys_of_their_own_are_read_as_one_section,
    large_values_under_keys_of_their_own_are_read_whole_whoever_is_silent,
    the_latest_heartbeat_wins_and_old_ones_do_not_come_back,
    a_restart_keeps_records_and_receipts,
    a_replica_that_lost_its_data_takes_what_is_proven,
    a_forged_repair_is_refused,
]
every_behaviour = pytest.mark.parametrize(
    "behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__
)
