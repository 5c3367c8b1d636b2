"""Repair on the memory engine: what a replica takes from the others, and what it leaves; more in
`suites.store_suite`.
"""

from __future__ import annotations

from pathlib import Path

from epochgate.core.limits import Limits, Quota
from epochgate.core.policy import Policy
from epochgate.core.receipt import compute_record_id
from epochgate.core.types import Epoch
from tests.support.memory_cluster import live
from tests.support.store_cluster import HEARTBEAT, NOTE, OWN, POLICY, StoreCluster


def test_equivocation_comes_to_light_and_the_first_record_stays(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        grace = cluster.nodes[-1]
        proven = alice.write(NOTE, b"1" * 32)
        own = alice.write(NOTE, b"2" * 32)
        await alice.post_to(cluster.nodes[:-1], proven)
        await alice.post_to([grace], own)
        for _ in range(2):
            assert await grace.repair() == 0
            assert [entry.value_digest for entry in grace.get_listing(NOTE)] == [
                compute_record_id(own).value_digest
            ]
            assert grace.database.get_evidence(own.key) == ((own, proven),)

    live(tmp_path, story, 7)


def test_a_renewed_record_takes_the_place_of_the_old_one_and_never_the_other_way(
    tmp_path: Path,
) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        grace = cluster.nodes[-1]
        old, new, newest = (
            alice.write(HEARTBEAT, lifetime_seconds=seconds) for seconds in (100, 200, 300)
        )
        await alice.post_to([grace], old)
        await alice.post_to(cluster.nodes[:-1], new)
        assert await grace.repair() == 1
        assert grace.get_listing(HEARTBEAT)[0].expiration_time == new.expiration_time
        await alice.post_to([grace], newest)
        assert await grace.repair() == 0
        assert grace.get_listing(HEARTBEAT)[0].expiration_time == newest.expiration_time

    live(tmp_path, story, 7)


def test_receipts_of_others_are_added_to_what_is_held(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        await alice.post_to(cluster.nodes[:3], alice.write(NOTE))
        assert await alice.repair() == 0
        (entry,) = alice.get_listing(NOTE)
        assert {receipt.replica for receipt in entry.receipts} == {
            them.author for them in cluster.nodes[:3]
        }

    live(tmp_path, story)


def test_one_copy_with_its_receipts_is_enough_to_restore_the_others(tmp_path: Path) -> None:
    """Receipts prove a record whoever shows them, so what is proven outlives most of those who
    signed for it.
    """

    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        last = cluster.nodes[-1]
        record = alice.write(OWN)
        await alice.post_to(cluster.nodes[:-1], record)
        assert await last.repair() == 1
        for them in cluster.nodes[:-1]:
            await them.lose_everything()
        for them in cluster.nodes[:-1]:
            assert await them.repair() == 1
        reading = await alice.read(OWN)
        assert reading.signers[compute_record_id(record)] == {
            them.author for them in cluster.nodes[:-1]
        }

    live(tmp_path, story)


def test_records_of_the_two_epochs_before_are_taken_too_and_expired_ones_not(
    tmp_path: Path,
) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        grace = cluster.nodes[-1]
        await alice.post_to(cluster.nodes, alice.write(NOTE, lifetime_seconds=1190))
        await alice.post_to(cluster.nodes, alice.write(OWN, lifetime_seconds=500))
        await cluster.advance_to(5, epoch=Epoch(1))
        await grace.lose_everything()
        assert await grace.repair(epoch=Epoch(1)) == 1
        assert len(grace.get_listing(NOTE)) == 1

    live(tmp_path, story)


def test_no_more_is_taken_than_may_be_stored(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        alice = cluster.nodes[0]
        grace = cluster.nodes[-1]
        for rule in (NOTE, OWN):
            await alice.post_to(cluster.nodes[:-1], alice.write(rule))
        cluster.schedule.policy = Policy(*POLICY.rules, limits=Limits(author=Quota(1, 1 << 20)))
        await grace.restart()
        assert await grace.repair() == 1
        assert await grace.repair() == 0

    live(tmp_path, story, 7)
