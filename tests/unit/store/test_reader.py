"""Reading on the memory engine: whom a reader waits for, and what it believes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from epochgate.core.receipt import compute_record_id
from epochgate.core.types import Epoch
from epochgate.store.wire import List, Listing, Reply, Request, Values
from tests.support.memory_cluster import live
from tests.support.store_cluster import (
    LONG_SECONDS,
    NOTE,
    TIMEOUT_SECONDS,
    ClusterNode,
    StoreCluster,
)


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
