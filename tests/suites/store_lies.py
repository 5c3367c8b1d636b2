"""How a replica may lie to those who read."""

from __future__ import annotations

import msgspec

from epochgate.core.receipt import Entry, Receipt, compute_receipt_bytes, compute_record_id
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.types import BlockNumber, Epoch, Signature
from epochgate.store.wire import Fetch, List, Listing, Posted, Refused, Reply, Request, Values
from tests.support.store_cluster import (
    NOTE,
    OTHER,
    ClusterNode,
    Lie,
)


def withhold_all(_liar: ClusterNode, request: Request, reply: Reply) -> Reply:
    return Listing((), is_last=True) if isinstance(request, List) else reply


def withhold_values(_liar: ClusterNode, request: Request, reply: Reply) -> Reply:
    return Values(()) if isinstance(request, Fetch) else reply


def falsify_values(_liar: ClusterNode, _request: Request, reply: Reply) -> Reply:
    if not isinstance(reply, Values):
        return reply
    return Values(
        tuple(
            msgspec.structs.replace(record, value=record.value[:-1] + b"!")
            for record in reply.records
        )
    )


def swap_values(liar: ClusterNode, _request: Request, reply: Reply) -> Reply:
    """Other values, which their author did sign."""
    if not isinstance(reply, Values):
        return reply
    writers = {them.author: them for them in liar.cluster.nodes}
    return Values(
        tuple(
            writers[record.author].write(NOTE, b"another" + bytes(25)) for record in reply.records
        )
    )


def falsify_expiry(_liar: ClusterNode, _request: Request, reply: Reply) -> Reply:
    if not isinstance(reply, Values):
        return reply
    later = (
        msgspec.structs.replace(record, expiration_time=record.expiration_time + 1)
        for record in reply.records
    )
    return Values(tuple(later))


def invent_records(liar: ClusterNode, request: Request, reply: Reply) -> Reply:
    """A record of everybody's, with a receipt in every replica's name."""
    if not isinstance(request, List):
        return reply
    digest = compute_value_digest(b"never written")
    block = liar.chain_clock.get_block()[0]
    receipts = tuple(
        Receipt(them.author, Epoch(0), block, liar.key.sign(b"trust me"))
        for them in liar.cluster.nodes
    )
    authors = sorted(them.author for them in liar.cluster.nodes)
    return Listing(
        tuple(Entry(author, digest, 1e12, 96, receipts) for author in authors), is_last=True
    )


def borrow_receipts(liar: ClusterNode, request: Request, reply: Reply) -> Reply:
    """Under every key, what is held under OTHER, with the receipts that are right there."""
    if not isinstance(request, List):
        return reply
    return Listing(tuple(liar.get_listing(OTHER)), is_last=True)


def back_date(liar: ClusterNode, request: Request, reply: Reply) -> Reply:
    """A receipt of its own, correctly signed, for a block outside the window."""
    if not isinstance(reply, Listing) or not isinstance(request, List):
        return reply
    network = liar.cluster.chain.network_id
    entries = []
    for entry in reply.entries:
        record_id = compute_record_id(Record(request.key, entry.author, b"", 0.0))
        record_id = msgspec.structs.replace(record_id, value_digest=entry.value_digest)
        receipt = Receipt(
            liar.author,
            Epoch(0),
            BlockNumber(2),
            liar.key.sign(compute_receipt_bytes(network, record_id, Epoch(0), BlockNumber(2))),
        )
        entries.append(msgspec.structs.replace(entry, receipts=(receipt,)))
    return Listing(tuple(entries), is_last=True)


def list_without_end(liar: ClusterNode, request: Request, reply: Reply) -> Reply:
    return (
        Listing(tuple(liar.get_listing(NOTE)), is_last=False)
        if isinstance(request, List)
        else reply
    )


def refuse_everything(_liar: ClusterNode, _request: Request, _reply: Reply) -> Reply:
    return Refused("not-in-the-mood", "x" * 100, "y" * 100)


def give_false_receipts(liar: ClusterNode, _request: Request, reply: Reply) -> Reply:
    return (
        Posted(Receipt(liar.author, Epoch(0), BlockNumber(20), Signature(bytes(64))))
        if isinstance(reply, Posted)
        else reply
    )


LIES: tuple[Lie, ...] = (
    withhold_all,
    withhold_values,
    falsify_values,
    swap_values,
    falsify_expiry,
    invent_records,
    borrow_receipts,
    back_date,
    list_without_end,
    refuse_everything,
    give_false_receipts,
)
