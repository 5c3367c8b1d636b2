"""Receipts: which of them count, and when enough do."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from epochgate.core.epoch import Blocks
from epochgate.core.peer_id import PEER_ID_PREFIX
from epochgate.core.receipt import (
    Receipt,
    ReceiptRule,
    RecordId,
    Standing,
    compute_receipt_bytes,
    compute_record_id,
    is_receipt_signed,
)
from epochgate.core.record import compute_network_id, compute_value_digest
from epochgate.core.roster import ReplicaSet
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey, Signature
from epochgate.keys import SigningKey
from tests.support.identities import NETWORK, alice, bob, key_of, sign

VECTOR = json.loads((Path(__file__).parents[2] / "vectors" / "records.json").read_text())["receipt"]
REPLICAS = [key_of(f"replica {number}") for number in range(7)]
WINDOW = Blocks(BlockNumber(1716), BlockNumber(1750))
STAMP = compute_record_id(sign(alice, "hoster-commit_epoch_7", bytes(32), 1_700_005_000.0))
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def make_rule(
    k: int = 7, epoch: Epoch | None = Epoch(7), blocks: Blocks | None = WINDOW
) -> ReceiptRule:
    return ReceiptRule(
        NETWORK, ReplicaSet(tuple(key.author for key in REPLICAS[:k])), epoch, blocks
    )


def give(
    replica: SigningKey = REPLICAS[0],
    record_id: RecordId = STAMP,
    epoch: Epoch = Epoch(7),
    block: BlockNumber = BlockNumber(1720),
    network: NetworkId = NETWORK,
) -> Receipt:
    """A receipt as a replica gives it, or as a dishonest one would like to have given it."""
    return Receipt(
        replica.author,
        epoch,
        block,
        replica.sign(compute_receipt_bytes(network, record_id, epoch, block)),
    )


def test_a_stamp_names_a_record_by_the_digest_of_its_value() -> None:
    record = sign(alice, "hoster-commit_epoch_7", bytes(32), 1_700_005_000.0)

    assert compute_record_id(record) == RecordId(
        record.key, alice.author, compute_value_digest(record.value)
    )


def test_the_fixed_receipt_holds() -> None:
    network, key, author, value_digest, replica, signature = (
        bytes.fromhex(VECTOR[field])
        for field in ("network", "key", "author", "value_digest", "replica", "signature")
    )
    record_id = RecordId(RecordKey(key), PeerId(author), Hash32(value_digest))

    assert (
        compute_receipt_bytes(NetworkId(network), record_id, VECTOR["epoch"], VECTOR["block"]).hex()
        == VECTOR["bytes"]
    )
    assert is_receipt_signed(
        NetworkId(network),
        record_id,
        Receipt(PeerId(replica), VECTOR["epoch"], VECTOR["block"], Signature(signature)),
    )


def test_a_replica_vouches_with_its_signature() -> None:
    assert is_receipt_signed(NETWORK, STAMP, give())
    assert make_rule().compute_signers(STAMP, [give()]) == {REPLICAS[0].author}


@pytest.mark.parametrize("block", [WINDOW.first, WINDOW.last])
def test_the_first_and_last_block_of_the_window_are_in_time(block: BlockNumber) -> None:
    assert make_rule().compute_signers(STAMP, [give(block=block)])


def bend(signature: Signature) -> bytes:
    """Another signature of the same message that naive verifiers accept."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + GROUP_ORDER).to_bytes(
        32, "little"
    )


SMALL_ORDER = PEER_ID_PREFIX + (1).to_bytes(32, "little")
OTHER_STAMP = compute_record_id(
    sign(alice, "hoster-commit_epoch_7", bytes(31) + b"1", 1_700_005_000.0)
)


@pytest.mark.parametrize(
    ("why", "receipt"),
    [
        ("given before the window", give(block=BlockNumber(WINDOW.first - 1))),
        ("given after it", give(block=BlockNumber(WINDOW.last + 1))),
        (
            "back-dated without the replica's key",
            msgspec.structs.replace(give(block=BlockNumber(1760)), block=1720),
        ),
        ("of another epoch", give(epoch=Epoch(8))),
        (
            "of another epoch, with its number changed",
            msgspec.structs.replace(give(epoch=Epoch(8)), epoch=7),
        ),
        ("by no replica of the key", give(bob)),
        ("by the author itself", give(alice)),
        ("in another's name", msgspec.structs.replace(give(bob), replica=REPLICAS[0].author)),
        ("for another network", give(network=compute_network_id("test-chain", 2))),
        ("for another value", give(record_id=OTHER_STAMP)),
        ("for another author", give(record_id=msgspec.structs.replace(STAMP, author=bob.author))),
        ("for another key", give(record_id=msgspec.structs.replace(STAMP, key=bytes(20)))),
        (
            "with a signature bent to another",
            msgspec.structs.replace(give(), signature=bend(give().signature)),
        ),
        (
            "with a signature cut short",
            msgspec.structs.replace(give(), signature=give().signature[:-1]),
        ),
        ("with no signature", msgspec.structs.replace(give(), signature=b"")),
        ("by a name that is no author", msgspec.structs.replace(give(), replica=b"replica 0")),
        (
            "with a key of small order",
            Receipt(
                PeerId(SMALL_ORDER),
                Epoch(7),
                BlockNumber(1720),
                Signature((1).to_bytes(32, "little") + bytes(32)),
            ),
        ),
    ],
)
def test_a_receipt_that_does_not_fit_counts_for_nothing(why: str, receipt: Receipt) -> None:
    rule = make_rule()
    widest = ReceiptRule(
        NETWORK, ReplicaSet((*rule.replica_set.replicas, PeerId(SMALL_ORDER))), Epoch(7), WINDOW
    )

    assert widest.compute_signers(STAMP, [receipt]) == frozenset(), why
    assert widest.compute_signers(STAMP, [receipt, give()]) == {REPLICAS[0].author}


def test_a_replica_is_named_by_its_peer_id_and_by_nothing_else() -> None:
    key = REPLICAS[0]
    name = b"\x01" + REPLICAS[0].author[1:]
    receipt = Receipt(
        PeerId(name),
        Epoch(7),
        BlockNumber(1720),
        key.sign(compute_receipt_bytes(NETWORK, STAMP, Epoch(7), BlockNumber(1720))),
    )

    assert not is_receipt_signed(NETWORK, STAMP, receipt)


def test_a_replica_counts_once_however_many_receipts_it_gave() -> None:
    receipts = [give(), give(), give(block=BlockNumber(1730))]

    assert make_rule().compute_signers(STAMP, receipts) == {REPLICAS[0].author}
    assert make_rule().compute_standing(STAMP, receipts * 3) == Standing.UNPROVEN


def test_a_bad_receipt_does_not_spoil_a_good_one_of_the_same_replica() -> None:
    bad = [give(block=BlockNumber(1760)), msgspec.structs.replace(give(), signature=bytes(64))]

    for receipts in itertools.permutations([*bad, give()]):
        assert make_rule().compute_signers(STAMP, receipts) == {REPLICAS[0].author}


@pytest.mark.parametrize(("epoch", "block"), [(-1, 1720), (7, -1), (-(1 << 63), -(1 << 63))])
def test_no_receipt_is_of_a_time_before_the_chain(epoch: Epoch, block: BlockNumber) -> None:
    assert not is_receipt_signed(
        NETWORK, STAMP, Receipt(REPLICAS[0].author, epoch, block, Signature(bytes(64)))
    )


def test_the_largest_numbers_of_the_wire_are_no_crash() -> None:
    most = (1 << 64) - 1

    assert is_receipt_signed(NETWORK, STAMP, give(epoch=Epoch(most), block=BlockNumber(most)))
    assert (
        make_rule().compute_signers(STAMP, [give(epoch=Epoch(most), block=BlockNumber(most))])
        == frozenset()
    )


@pytest.mark.parametrize("number", [0, 7, 1000])
def test_a_key_without_an_epoch_takes_receipts_of_any(number: int) -> None:
    rule = make_rule(epoch=None, blocks=None)

    assert rule.compute_signers(STAMP, [give(epoch=Epoch(number), block=BlockNumber(number))]) == {
        REPLICAS[0].author
    }


@pytest.mark.parametrize(
    ("k", "standings"),
    [
        (1, "UC"),
        (2, "UPC"),
        (3, "UPPC"),
        (4, "UUPCC"),
        (6, "UUPPPCC"),
        (7, "UUUPPCCC"),
    ],
)
def test_f_and_one_prove_and_all_honest_ones_complete(k: int, standings: str) -> None:
    """At K = 4 one replica may be dishonest: one receipt proves nothing, two do, three are
    complete.
    """
    rule = make_rule(k)

    seen = [
        rule.compute_standing(STAMP, [give(replica) for replica in REPLICAS[:count]])
        for count in range(k + 1)
    ]

    assert "".join(standing.name[0] for standing in seen) == standings
    assert seen == [rule.judge_count(count) for count in range(k + 1)]


def test_replicas_of_another_key_add_nothing() -> None:
    receipts = [give(replica) for replica in REPLICAS]

    assert make_rule(4).compute_signers(STAMP, receipts) == {
        replica.author for replica in REPLICAS[:4]
    }


def test_the_order_of_receipts_does_not_matter() -> None:
    receipts = [give(replica) for replica in REPLICAS[:3]] + [
        give(REPLICAS[3], block=BlockNumber(1800)),
        give(REPLICAS[0]),
    ]
    answers = {
        make_rule().compute_signers(STAMP, order) for order in itertools.permutations(receipts)
    }

    assert len(answers) == 1


def test_receipts_of_one_value_do_not_prove_another() -> None:
    receipts: list[Any] = [give(replica) for replica in REPLICAS[:4]] + [
        give(replica, OTHER_STAMP) for replica in REPLICAS[4:]
    ]

    assert make_rule().compute_standing(STAMP, receipts) == Standing.PROVEN
    assert make_rule().compute_standing(OTHER_STAMP, receipts) == Standing.PROVEN
    assert len(make_rule().compute_signers(OTHER_STAMP, receipts)) == 3


@pytest.mark.parametrize("tail_bytes", [1, 1000])
def test_a_signature_with_a_tail_is_none(tail_bytes: int) -> None:
    """A dishonest replica signs a tail before the receipt, and shows the tail behind the signature:
    libsodium, which reads both end to end, finds what was signed.
    """
    replica = REPLICAS[0]
    tail = bytes(tail_bytes)
    message = compute_receipt_bytes(NETWORK, STAMP, Epoch(7), BlockNumber(1720))
    long_signature = Signature(replica.sign(tail + message) + tail)
    honest = Receipt(replica.author, Epoch(7), BlockNumber(1720), replica.sign(message))
    assert is_receipt_signed(NETWORK, STAMP, honest)
    assert not is_receipt_signed(
        NETWORK, STAMP, Receipt(replica.author, Epoch(7), BlockNumber(1720), long_signature)
    )


@pytest.mark.parametrize("length", [0, 63])
def test_a_signature_that_is_cut_short_is_none(length: int) -> None:
    replica = REPLICAS[0]
    message = compute_receipt_bytes(NETWORK, STAMP, Epoch(7), BlockNumber(1720))
    short = Signature(replica.sign(message)[:length])
    assert not is_receipt_signed(
        NETWORK, STAMP, Receipt(replica.author, Epoch(7), BlockNumber(1720), short)
    )
