"""The seed's listing on plain, unforked hivemind, beside hivemind's own signature and schema
validators.

Three nodes serve all tests of this file. What is wrong with such a node whatever validates is in
`test_bare_hivemind.py`.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import hivemind
import pydantic.v1
import pytest
import pytest_asyncio
import torch
from hivemind.dht import DHTNode
from hivemind.dht.crypto import RSASignatureValidator
from hivemind.dht.schema import SchemaValidator
from hivemind.utils import MSGPackSerializer, get_dht_time
from hivemind.utils.crypto import RSAPrivateKey

from epochgate.core.epoch import EpochData, compute_epoch_data
from epochgate.core.types import BlockNumber, Epoch
from epochgate.core.verdict import Reason
from epochgate.predicate import (
    MAX_CONSENSUS_TIME,
    MAX_HEART_BEAT_TIME,
    HypertensorPredicateValidator,
    PredicateValidator,
    mark_reads,
)
from tests.support.bare_hivemind import start_node
from tests.support.identities import TIMING
from tests.support.upstream import make_upstream_predicate

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module")]

EPOCH = 7


class HeartbeatSchema(pydantic.v1.BaseModel):
    hoster: dict[pydantic.v1.StrictBytes, dict[str, pydantic.v1.StrictInt]]


class Chain:
    """Where the subnet stands, as far as the test says."""

    def __init__(self) -> None:
        self.blocks_elapsed = 10

    def get_epoch_data(self) -> EpochData:
        return compute_epoch_data(
            BlockNumber(TIMING.compute_first_block(Epoch(EPOCH)) + self.blocks_elapsed), TIMING
        )


class Peer:
    """A node of plain hivemind with the listing and hivemind's own validators on it."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.signature = RSASignatureValidator(RSAPrivateKey())
        self.listing = HypertensorPredicateValidator(
            make_upstream_predicate(), chain.get_epoch_data
        )
        self.small = PredicateValidator(lambda record: len(record.value) < 10_000)
        self.schema = SchemaValidator(HeartbeatSchema, allow_extra_keys=True)
        self.node: DHTNode

    @property
    def owner(self) -> bytes:
        return b"alice" + bytes(self.signature.local_public_key)

    async def start(self, known: list[DHTNode]) -> None:
        self.node = await start_node(known, self.small, self.listing, self.schema, self.signature)
        mark_reads(self.node)

    async def store(
        self, key: str, value: object, lifetime: float = 60.0, subkey: bytes | None = None
    ) -> bool:
        stored: bool = await self.node.store(
            key, value, get_dht_time() + lifetime, subkey=subkey or self.owner
        )
        return stored

    async def read(self, key: str) -> dict[bytes, object]:
        found = await self.node.get(key, latest=True)
        return (
            {} if found is None else {subkey: entry.value for subkey, entry in found.value.items()}
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes() -> AsyncIterator[list[Peer]]:
    chain = Chain()
    started = list[Peer]()
    try:
        for _ in range(3):
            peer = Peer(chain)
            await peer.start([other.node for other in started])
            started.append(peer)
        yield started
    finally:
        for peer in started:
            await peer.node.shutdown()


@pytest.fixture
def peers(nodes: list[Peer]) -> list[Peer]:
    """Alice, bob and carol, with nothing stored or refused yet, in the tenth block of the epoch."""
    for peer in nodes:
        peer.node.protocol.storage.clear()
        peer.listing.predicate = make_upstream_predicate()
        peer.listing.refusals.clear()
        peer.listing.counts.clear()
        peer.chain.blocks_elapsed = 10
    return nodes


@pytest.fixture
def chain(peers: list[Peer]) -> Chain:
    return peers[0].chain


def save(tensor: torch.Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(tensor, file)
    return file.getvalue()


async def test_none_of_the_composed_validators_is_dropped(peers: list[Peer]) -> None:
    alice = peers[0]
    assert await alice.store("hoster", {"state": 2})
    assert not await alice.store("hoster", {"state": "online"}), (
        "hivemind's schema must still be asked"
    )
    assert not await alice.store("hoster", {"state": 2, "padding" * 2000: 1}), (
        "the second predicate must still be asked"
    )
    assert not await alice.store("nonsense", 1), "the listing must still be asked"
    forged = b"mallory" + peers[1].signature.local_public_key
    assert not await alice.store("hoster", {"state": 2}, subkey=forged), (
        "hivemind's signatures must still be asked"
    )


async def test_a_heartbeat_is_stored_and_read_by_others(peers: list[Peer], chain: Chain) -> None:
    alice, bob, _ = peers
    chain.blocks_elapsed = 99
    assert await alice.store("hoster", {"state": 2}, MAX_HEART_BEAT_TIME - 1)
    bob.node.protocol.storage.clear()
    assert await bob.read("hoster") == {alice.owner: {"state": 2}}


async def test_a_heartbeat_that_would_live_too_long_is_refused(peers: list[Peer]) -> None:
    alice = peers[0]
    assert not await alice.store("hoster", {"state": 2}, MAX_HEART_BEAT_TIME + 5)
    assert {refusal.reason for peer in peers for refusal in peer.listing.refusals} == {
        Reason.PREDICATE
    }
    assert not await alice.store("hoster", {"state": 2}, float("nan"))
    assert {peer.listing.refusals[-1].reason for peer in peers} == {Reason.EXPIRY}, (
        "NaN passes every comparison in the listing"
    )


async def test_the_challenge_is_stored_inside_its_window_only(
    peers: list[Peer], chain: Chain
) -> None:
    alice, bob, _ = peers
    key = f"consensus-epoch_{EPOCH}"
    value = save(torch.rand(2, 2))
    chain.blocks_elapsed = 16
    assert not await alice.store(key, value, MAX_CONSENSUS_TIME - 1)
    assert await alice.read(key) == {}
    chain.blocks_elapsed = 15
    assert await alice.store(key, value, MAX_CONSENSUS_TIME - 1)
    chain.blocks_elapsed = 90
    bob.node.protocol.storage.clear()
    assert await bob.read(key) == {alice.owner: value}, "windows bind stores, not reads"


async def test_keys_of_other_epochs_are_refused(peers: list[Peer]) -> None:
    for epoch in (EPOCH - 1, EPOCH + 1):
        assert not await peers[0].store(f"hoster-commit_epoch_{epoch}", bytes(32))
    assert await peers[0].store(f"hoster-commit_epoch_{EPOCH}", bytes(32))


async def test_validator_commits_wait_for_their_window(peers: list[Peer], chain: Chain) -> None:
    for block, is_open in ((59, False), (60, True)):
        chain.blocks_elapsed = block
        assert await peers[0].store(f"validator-commit_epoch_{EPOCH}", bytes(32)) is is_open


class Bomb:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize(
    "make",
    [
        pickle.dumps,
        save,
        lambda bomb: save(torch.tensor([1.0, float("nan")])),
        lambda bomb: save(torch.zeros(2, dtype=torch.int64)),
        lambda bomb: save(torch.zeros(0)),
        lambda bomb: [1, 2],
    ],
    ids=["pickle", "torch.save", "nan", "integers", "empty", "list"],
)
async def test_what_is_no_challenge_is_refused_and_never_runs(
    peers: list[Peer], tmp_path: Path, make: Any
) -> None:
    blast = tmp_path / "blast"
    assert not await peers[0].store(f"consensus-epoch_{EPOCH}", make(Bomb(blast)), 60)
    assert not blast.exists()
    assert all(peer.listing.counts.keys() <= {Reason.PREDICATE} for peer in peers)


def raise_an_error(*_: object) -> bool:
    raise ZeroDivisionError("a predicate's own fault")


async def test_a_predicate_that_raises_refuses_and_the_sender_stays_known(
    peers: list[Peer],
) -> None:
    alice, bob, _ = peers
    bob.listing.predicate = raise_an_error
    stored = await alice.node.protocol.call_store(
        bob.node.peer_id,
        [hivemind.dht.DHTID.generate(source="validator")],
        [MSGPackSerializer.dumps(1)],
        get_dht_time() + 60,
    )
    assert stored == [False]
    assert bob.listing.refusals[-1].reason is Reason.PREDICATE_ERROR
    assert "ZeroDivisionError" in str(bob.listing.refusals[-1])
    assert bob.node.node_id in alice.node.protocol.routing_table
