"""Fetching values: from whom, and what counts of what they send."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Policy
from epochgate.core.receipt import Standing
from epochgate.core.record import Record
from epochgate.core.types import Epoch
from epochgate.core.verdict import Denied, Reason, Verdict
from epochgate.store.client import Store
from tests.support.memory_cluster import live
from tests.support.store_cluster import (
    LARGE,
    LARGE_BYTES,
    NOTE,
    POLICY,
    StoreCluster,
)


def get_loop_seconds() -> float:
    return asyncio.get_running_loop().time()


def test_a_holder_that_keeps_values_back_is_stood_in_for(tmp_path: Path) -> None:
    async def story(cluster: StoreCluster) -> None:
        for them in cluster.nodes:
            await them.post_to(cluster.nodes, them.write(NOTE))
        cluster.nodes[1].keep_values_back()
        began = get_loop_seconds()
        assert len((await cluster.outsider.read(NOTE)).proofs) == 4
        assert get_loop_seconds() - began == pytest.approx(0.5)

    live(tmp_path, story, latency_seconds=0.0)


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
