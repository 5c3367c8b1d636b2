"""Receipts: what a replica signs when it admits a record, and what enough of them prove.

A reader cannot see when a record arrived. A receipt says so, and with f + 1 of a key's replicas one
of them is honest: it saw the record while its window was open, whoever shows it and whenever
(docs/spec.md#5-which-records-count).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterable

import msgspec

from epochgate.core.epoch import Blocks
from epochgate.core.record import Record, compute_value_digest, is_author, is_signed, pack_field
from epochgate.core.roster import ReplicaSet
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey, Signature

RECEIPT_DOMAIN = b"epochgate/receipt/1\0"


class Receipt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`replica` admitted a record in `epoch` at `block`."""

    replica: PeerId
    epoch: Epoch
    block: BlockNumber
    signature: Signature


class RecordId(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a receipt is about: the record by key, author and SHA-256 of its value, without the
    value itself.
    """

    key: RecordKey
    author: PeerId
    value_digest: Hash32


class Standing(enum.IntEnum):
    """How far a record's receipts carry. Below PROVEN it does not exist."""

    UNPROVEN = 0
    PROVEN = 1
    COMPLETE = 2


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
    """What is stored under a key and author, without the value."""

    value_digest: Hash32
    expiration_time: float
    epoch: Epoch
    value_bytes: int
    receipts: tuple[Receipt, ...]
    """In order of replica, one a replica."""


def merge_receipts(before: Iterable[Receipt], receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """One receipt a replica, and the first one stays: the same record always gets the same receipt.
    In order of replica.
    """
    merged: dict[PeerId, Receipt] = {}
    for receipt in (*before, *receipts):
        merged.setdefault(receipt.replica, receipt)
    return tuple(merged[replica] for replica in sorted(merged))


def compute_record_id(record: Record) -> RecordId:
    return RecordId(record.key, record.author, compute_value_digest(record.value))


def compute_receipt_bytes(
    network: NetworkId, record_id: RecordId, epoch: Epoch, block: BlockNumber
) -> bytes:
    """Domain, network id, key, author, SHA-256 of the value, epoch and block: what a
    replica signs.
    """
    fields = (network, record_id.key, record_id.author, record_id.value_digest)
    return RECEIPT_DOMAIN + b"".join(map(pack_field, fields)) + struct.pack(">QQ", epoch, block)


def is_receipt_signed(network: NetworkId, record_id: RecordId, receipt: Receipt) -> bool:
    if not is_author(receipt.replica) or not (
        0 <= receipt.epoch < 1 << 64 and 0 <= receipt.block < 1 << 64
    ):
        return False
    message = compute_receipt_bytes(network, record_id, receipt.epoch, receipt.block)
    return is_signed(receipt.replica, message, receipt.signature)


SignatureCheck = Callable[[NetworkId, RecordId, Receipt], bool]


class ReceiptRule(msgspec.Struct, frozen=True):
    """What a receipt for a key must say: which replicas may sign it, and the blocks at which the
    window was open.

    `epoch` is None for keys without an epoch, whose receipts name whichever epoch they were given
    in.
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
        """The replicas whose receipt for `record_id` holds: its key's replica, in time, correctly
        signed, each counted once.

        `is_signed` may remember what it has checked before.
        """
        signers: set[PeerId] = set()
        for receipt in receipts:
            if (
                receipt.replica not in signers
                and self.is_fitting(receipt)
                and is_signed(self.network, record_id, receipt)
            ):
                signers.add(receipt.replica)
        return frozenset(signers)

    def compute_standing(self, record_id: RecordId, receipts: Iterable[Receipt]) -> Standing:
        return self.judge_count(len(self.compute_signers(record_id, receipts)))

    def judge_count(self, count: int) -> Standing:
        if count >= self.replica_set.quorum:
            return Standing.COMPLETE
        return Standing.PROVEN if count >= self.replica_set.weak_quorum else Standing.UNPROVEN

    def is_fitting(self, receipt: Receipt) -> bool:
        """Whether it is by one of the key's replicas, and in time; who signed it is another
        question.
        """
        return (
            receipt.replica in self.replica_set.replicas
            and (self.epoch is None or receipt.epoch == self.epoch)
            and (self.blocks is None or self.blocks.first <= receipt.block <= self.blocks.last)
        )
