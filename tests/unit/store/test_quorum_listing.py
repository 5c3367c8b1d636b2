"""Listings of a key: what counts of them, and when enough have come."""

from __future__ import annotations

from pathlib import Path

import msgspec

from epochgate.core.receipt import (
    Entry,
    Receipt,
    ReceiptRule,
    RecordId,
    compute_receipt_bytes,
    compute_record_id,
)
from epochgate.core.roster import ReplicaSet
from epochgate.core.types import BlockNumber, Epoch, Signature
from epochgate.keys import SigningKey
from epochgate.store.quorum_listing import QuorumListing
from epochgate.store.receipt_verifier import ReceiptVerifier
from epochgate.store.wire import List, Listing, Reply, Request
from tests.support.identities import NETWORK, alice, bob, carol, dave, sign
from tests.support.memory_cluster import live
from tests.support.store_cluster import NOTE, ClusterNode, StoreCluster

REPLICAS = (alice, bob, carol, dave)
RULE = ReceiptRule(
    NETWORK, ReplicaSet(tuple(replica.author for replica in REPLICAS)), Epoch(0), None
)
RECORD = compute_record_id(sign(alice, "note", b"text", 1e9))
OTHER = compute_record_id(sign(bob, "note", b"other", 1e9))


def make_listing(*replicas: SigningKey, record_id: RecordId = RECORD) -> dict[RecordId, Entry]:
    """A listing of one record, with receipts of these replicas."""
    message = compute_receipt_bytes(NETWORK, record_id, Epoch(0), BlockNumber(1))
    receipts = tuple(
        Receipt(replica.author, Epoch(0), BlockNumber(1), replica.sign(message))
        for replica in replicas
    )
    return {record_id: Entry(record_id.author, record_id.value_digest, 1e9, 100, receipts)}


def make_quorum_listing() -> QuorumListing:
    return QuorumListing(RULE, ReceiptVerifier())


def test_receipts_of_all_listings_add_up_whoever_shows_them() -> None:
    listing = make_quorum_listing()
    listing.add(carol.author, make_listing(alice))
    assert listing.get_proven() == []
    listing.add(dave.author, make_listing(alice, bob))

    assert listing.get_proven() == [RECORD]
    assert listing.receipts[RECORD].keys() == {alice.author, bob.author}
    assert listing.holders[RECORD] == [carol.author, dave.author]


def test_one_false_receipt_gives_a_whole_listing_away() -> None:
    listing = make_quorum_listing()
    entry = make_listing(alice, bob)[RECORD]
    false = msgspec.structs.replace(entry.receipts[1], signature=Signature(bytes(64)))
    lie = msgspec.structs.replace(entry, receipts=(entry.receipts[0], false))
    listing.add(dave.author, make_listing(carol, record_id=OTHER) | {RECORD: lie})

    assert not listing.answered
    assert not listing.receipts


def test_it_is_settled_when_no_missing_listing_could_change_a_standing() -> None:
    listing = make_quorum_listing()
    for replica in (alice, bob):
        listing.add(replica.author, make_listing(*REPLICAS))
    assert not listing.is_settled(2), "a quorum of four is three"

    listing.add(carol.author, make_listing())
    assert listing.is_settled(1)
    listing.add(carol.author, make_listing(dave, record_id=OTHER))
    assert not listing.is_settled(1), "one receipt more would prove the other record"
    assert listing.is_settled(0)


def test_a_listing_out_of_order_is_none(tmp_path: Path) -> None:
    """Or a dishonest one could be as long as it liked."""

    def turn_round(_liar: ClusterNode, request: Request, reply: Reply) -> Reply:
        if isinstance(request, List) and isinstance(reply, Listing):
            return Listing(tuple(reversed(reply.entries)), is_last=True)
        return reply

    async def story(cluster: StoreCluster) -> None:
        for author in cluster.nodes:
            await author.post_to(cluster.nodes, author.write(NOTE))
        liar = cluster.nodes[0]
        liar.lie(turn_round)
        reading = await cluster.outsider.read(NOTE, wait_for_all=True)
        assert reading.answered == {node.author for node in cluster.nodes} - {liar.author}
        assert len(reading.proofs) == 4

    live(tmp_path, story)


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
