"""Receipts: a replica signs one when it admits a record, and enough of them prove the record.

A reader cannot see when a record arrived; a receipt says so. Among the receipts of f + 1 of a key's
replicas one is by an honest replica, which saw the record while its window was open. So it does
not matter who shows the receipts, or when (docs/spec.md#5-which-records-count).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable

import msgspec

from epochgate.core.epoch import Blocks
from epochgate.core.peer_id import is_author
from epochgate.core.record import Record, compute_value_digest, is_signed, pack_field
from epochgate.core.roster import ReplicaSet
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey, Signature

RECEIPT_DOMAIN = b"epochgate/receipt/1\0"
_NUMBERS = struct.Struct(">QQ")
_MAX_NUMBER = (1 << 64) - 1


class Receipt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A replica's signed statement that it admitted a record, which a `RecordId` names.

    Attributes:
        replica: The peer id of the replica, 38 bytes.
        epoch: The key's epoch; for a key without one, the epoch in which the record was admitted.
        block: The block at which it was admitted, as the replica saw the chain.
        signature: Ed25519 over `compute_receipt_bytes`, 64 bytes.

    >>> from epochgate.core.receipt import Receipt, RecordId, compute_receipt_bytes
    >>> from epochgate.core.receipt import is_receipt_signed
    >>> network = compute_network_id("my-chain", 1)
    >>> replica = SigningKey.from_seed(bytes(32))
    >>> record_id = RecordId(compute_key("hoster"), replica.author, Hash32(bytes(32)))
    >>> message = compute_receipt_bytes(network, record_id, Epoch(7), BlockNumber(1720))
    >>> receipt = Receipt(replica.author, Epoch(7), BlockNumber(1720), replica.sign(message))
    >>> is_receipt_signed(network, record_id, receipt)
    True
    """

    replica: PeerId
    epoch: Epoch
    block: BlockNumber
    signature: Signature


class RecordId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Names a record without its value.

    Attributes:
        key: The key's digest, 20 bytes.
        author: The author's peer id, 38 bytes.
        value_digest: SHA-256 of the value, 32 bytes.
    """

    key: RecordKey
    author: PeerId
    value_digest: Hash32


class Standing(enum.IntEnum):
    """The result of counting a record's receipts. A record below PROVEN counts as nonexistent."""

    UNPROVEN = 0
    """Fewer than f + 1 of the key's replicas have signed."""
    PROVEN = 1
    """f + 1 and more: an honest replica saw it in time."""
    COMPLETE = 2
    """K - f and more: every reader that hears enough replicas sees it."""


class Proof(msgspec.Struct, frozen=True, array_like=True):
    """A record and the receipts that travel with it."""

    record: Record
    receipts: tuple[Receipt, ...]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A stored record as a listing shows it."""

    author: PeerId
    value_digest: Hash32
    expiration_time: float
    value_bytes: int
    receipts: tuple[Receipt, ...]


class ReceiptedEntry(msgspec.Struct, frozen=True, gc=False):
    """A stored entry with its receipts, without the value.

    Attributes:
        value_digest: SHA-256 of the value.
        expiration_time: Unix seconds.
        epoch: The epoch in which it was stored.
        value_bytes: The length of the value.
        receipts: In order of replica, one of each.
    """

    value_digest: Hash32
    expiration_time: float
    epoch: Epoch
    value_bytes: int
    receipts: tuple[Receipt, ...]


def merge_receipts(before: Iterable[Receipt], receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """One receipt of each replica, in order of replica.

    Args:
        before: The receipts that are there already. They stay, since the same record always gets
            the same receipt.
        receipts: The receipts that come in addition.

    Returns:
        All of `before`, and of `receipts` those by other replicas.
    """
    merged: dict[PeerId, Receipt] = {}
    for receipt in (*before, *receipts):
        merged.setdefault(receipt.replica, receipt)
    return tuple(merged[replica] for replica in sorted(merged))


def compute_record_id(record: Record) -> RecordId:
    """The name of `record` in receipts."""
    return RecordId(record.key, record.author, compute_value_digest(record.value))


def compute_receipt_bytes(
    network: NetworkId, record_id: RecordId, epoch: Epoch, block: BlockNumber
) -> bytes:
    """The bytes that a replica signs (docs/spec.md#5-which-records-count).

    Args:
        network: Chain and subnet.
        record_id: The record.
        epoch: The receipt's epoch.
        block: The receipt's block.

    Returns:
        Domain; network id, key, author and SHA-256 of the value, each behind its length; epoch and
        block as eight bytes each, big-endian.
    """
    fields = (network, record_id.key, record_id.author, record_id.value_digest)
    return RECEIPT_DOMAIN + b"".join(map(pack_field, fields)) + _NUMBERS.pack(epoch, block)


def is_receipt_signed(network: NetworkId, record_id: RecordId, receipt: Receipt) -> bool:
    """Whether the receipt's replica signed it, for this record and network."""
    # Stops "one key in many encodings": a replica has one name, and counts once.
    if not is_author(receipt.replica):
        return False
    if not (0 <= receipt.epoch <= _MAX_NUMBER and 0 <= receipt.block <= _MAX_NUMBER):
        return False
    message = compute_receipt_bytes(network, record_id, receipt.epoch, receipt.block)
    return is_signed(receipt.replica, message, receipt.signature)


SignatureCheck = Callable[[NetworkId, RecordId, Receipt], bool]


class ReceiptRule(msgspec.Struct, frozen=True):
    """The conditions that a receipt for a key must meet.

    Attributes:
        network: Chain and subnet.
        replica_set: The replicas that may sign it.
        epoch: The key's epoch; None for a key without one, whose receipts may name any.
        blocks: The blocks at which the window was open; None for a key without an epoch.
    """

    network: NetworkId
    replica_set: ReplicaSet
    epoch: Epoch | None
    blocks: Blocks | None

    def compute_signers(
        self,
        record_id: RecordId,
        receipts: Iterable[Receipt],
        is_signed: SignatureCheck = is_receipt_signed,
    ) -> frozenset[PeerId]:
        """The replicas whose receipts for a record hold.

        Args:
            record_id: The record.
            receipts: Receipts that were shown, by anybody and in any order.
            is_signed: Checks a signature; it may remember what it has checked before.

        Returns:
            Those of the key's replicas of which at least one receipt is in time and correctly
            signed.
        """
        signers: set[PeerId] = set()
        for receipt in receipts:
            if receipt.replica in signers or not self.is_fitting(receipt):
                continue
            # Stops "a forged or back-dated receipt".
            if is_signed(self.network, record_id, receipt):
                signers.add(receipt.replica)
        return frozenset(signers)

    def compute_standing(self, record_id: RecordId, receipts: Iterable[Receipt]) -> Standing:
        """The standing that `receipts` give the record."""
        return self.judge_count(len(self.compute_signers(record_id, receipts)))

    def judge_count(self, count: int) -> Standing:
        """The standing that the receipts of `count` different replicas give."""
        # Stops "a store that reached too few".
        if count >= self.replica_set.quorum:
            return Standing.COMPLETE
        if count >= self.replica_set.weak_quorum:
            return Standing.PROVEN
        return Standing.UNPROVEN

    def is_fitting(self, receipt: Receipt) -> bool:
        """Whether the receipt is by one of the key's replicas and in time; its signature is not
        looked at.
        """
        # Stops "a receipt of a node that is not the key's replica".
        if receipt.replica not in self.replica_set.replicas:
            return False
        # Stops "another epoch's records in a reply".
        if self.epoch is not None and receipt.epoch != self.epoch:
            return False
        # Stops "a late commitment, shown to some readers".
        return self.blocks is None or self.blocks.first <= receipt.block <= self.blocks.last
