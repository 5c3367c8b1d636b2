"""Receipts that anybody shows: which are valid, and that each is checked once."""

from __future__ import annotations

import msgspec
import pytest

from epochgate.core.epoch import Blocks
from epochgate.core.receipt import Receipt, ReceiptRule, compute_receipt_bytes, compute_record_id
from epochgate.core.record import is_signed
from epochgate.core.roster import ReplicaSet
from epochgate.core.types import BlockNumber, Epoch, PeerId, Signature
from epochgate.keys import SigningKey
from epochgate.store.receipt_verifier import ReceiptVerifier
from tests.support.identities import NETWORK, alice, bob, carol, dave, sign

RULE = ReceiptRule(
    NETWORK,
    ReplicaSet((alice.author, bob.author, carol.author)),
    Epoch(0),
    Blocks(BlockNumber(10), BlockNumber(60)),
)
RECORD_ID = compute_record_id(sign(alice, "note", b"text", 1e9))


def vouch(
    replica: SigningKey, block: BlockNumber = BlockNumber(20), epoch: Epoch = Epoch(0)
) -> Receipt:
    message = compute_receipt_bytes(NETWORK, RECORD_ID, epoch, block)
    return Receipt(replica.author, epoch, block, replica.sign(message))


FALSE = msgspec.structs.replace(vouch(bob), signature=Signature(bytes(64)))
UNFIT = (vouch(dave), vouch(bob, BlockNumber(9)), vouch(bob, epoch=Epoch(1)))
"""Of a stranger, outside the window, and of another epoch."""


def test_the_signers_are_those_whose_receipts_are_valid() -> None:
    verifier = ReceiptVerifier()
    receipts = [vouch(alice), FALSE, *UNFIT, vouch(carol)]
    assert verifier.compute_signers(RULE, RECORD_ID, receipts) == {alice.author, carol.author}


def test_a_listing_with_one_false_receipt_has_none() -> None:
    verifier = ReceiptVerifier()
    assert verifier.find_valid(RULE, RECORD_ID, [vouch(alice), FALSE]) is None


@pytest.mark.parametrize("receipt", UNFIT)
def test_a_receipt_that_says_nothing_about_the_key_is_left_out(receipt: Receipt) -> None:
    verifier = ReceiptVerifier()
    assert verifier.find_valid(RULE, RECORD_ID, [receipt, vouch(alice)]) == {
        alice.author: vouch(alice)
    }


def test_a_signature_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = vouch(carol, BlockNumber(33))
    checked: list[PeerId] = []

    def note(replica: PeerId, message: bytes, signature: Signature) -> bool:
        checked.append(replica)
        return is_signed(replica, message, signature)

    monkeypatch.setattr("epochgate.core.receipt.is_signed", note)
    for _ in range(3):
        assert ReceiptVerifier().find_valid(RULE, RECORD_ID, [receipt])
        assert ReceiptVerifier().compute_signers(RULE, RECORD_ID, [receipt])
    assert checked == [carol.author]
