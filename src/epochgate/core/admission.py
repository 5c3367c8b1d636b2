"""A replica's answer to a POST: the judge's verdict, and the checks that only it can make.

All of it is pure, so that every answer in a transcript can be replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from epochgate.core.epoch import Blocks
from epochgate.core.evaluation import NOTHING_HELD, EvaluationContext, StoredEntry
from epochgate.core.limits import Limits
from epochgate.core.policy import Judge
from epochgate.core.receipt import Receipt, RecordId, compute_record_id
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.rule import KeyRule
from epochgate.core.storage_usage import StorageUsage, Usage
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.core.verdict import AtMost, Denied, Reason, Size, Verdict


class Capacity(msgspec.Struct, frozen=True):
    """The limits of a replica's storage.

    Attributes:
        value_bytes: The longest value that it can send again in one message.
        limits: The policy's limits.
        held_epochs: In how many epochs the records were stored that it holds at once.
    """

    value_bytes: int
    limits: Limits
    held_epochs: int


class StoredEntries(Protocol):
    """The entries that a replica stores: its node database, or a replay of it."""

    @property
    def held(self) -> Mapping[tuple[RecordKey, PeerId], StoredEntry]:
        """The entries by key and author."""
        ...

    @property
    def usage(self) -> StorageUsage:
        """Their number and bytes, counted."""
        ...

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]:
        """The receipts that are stored for a record, its own among them."""
        ...


def judge_post(
    judge: Judge,
    key_rule: KeyRule | None,
    record: Record,
    now: EvaluationContext,
    *,
    sender: PeerId,
    replica: PeerId,
    stored: StoredEntries,
    capacity: Capacity,
) -> Receipt | Verdict:
    """Decide what a replica answers to a POST.

    Args:
        judge: The policy, or the judge that the subnet composed of it and predicates.
        key_rule: The rule that the judge finds for the record's key; None where it finds none.
        record: The record that was sent.
        now: The moment's key tables, block and time.
        sender: The authenticated peer that sent it.
        replica: The replica that answers.
        stored: The entries that it stores.
        capacity: Its limits.

    Returns:
        The receipt that the replica gave for this very record before; or the verdict, Admitted if
        it is to store the record now.
    """
    denied = _check_place(key_rule, record, now, sender=sender, replica=replica)
    if denied is not None:
        return denied
    held = stored.held.get((record.key, record.author))
    if held is not None and _is_same(held, record):
        receipt = find_own_receipt(replica, stored.get_receipts(compute_record_id(record)))
        if receipt is not None:
            return receipt
        # A copy that repair brought: it is judged as if it came first.
        now = msgspec.structs.replace(now, held=NOTHING_HELD)
    verdict = judge.admit(record, now)
    if isinstance(verdict, Denied):
        return verdict
    if key_rule is None:
        raise AssertionError("a judge admitted a key for which it finds no rule")
    # Stops "a reply too large to send".
    size = len(record.value)
    if size > capacity.value_bytes:
        expected = AtMost(Size(capacity.value_bytes))
        return Denied(Reason.TOO_LARGE, key_rule.name, expected, Size(size))
    denied = find_excess(record, held, key_rule, now.data.epoch, stored.usage, capacity)
    if denied is not None:
        return denied
    return verdict


def _check_place(
    key_rule: KeyRule | None,
    record: Record,
    now: EvaluationContext,
    *,
    sender: PeerId,
    replica: PeerId,
) -> Denied | None:
    """Whether the record came from its author, to a replica of its key."""
    name = None if key_rule is None else key_rule.name
    # Stops "records under another's subkey".
    if sender != record.author:
        return Denied(Reason.NOT_AUTHOR, name, record.author, sender)
    if key_rule is None:
        # Stops "a stale chain head": the key may belong to an epoch that is not known yet.
        if now.is_stale:
            return Denied(
                Reason.CHAIN_STALE,
                None,
                "a fresh chain head and its epoch's roster",
                Blocks(now.block, now.block),
            )
        return None
    # Stops "a receipt of a node that is not the key's replica".
    replica_set = key_rule.replica_set
    if replica not in replica_set.replicas:
        expected = f"one of the key's {replica_set.k} replicas"
        return Denied(Reason.NOT_REPLICA, name, expected, replica)
    return None


def compute_receipt_epoch(key_rule: KeyRule | None, now: EvaluationContext) -> Epoch:
    """The epoch to put into a receipt issued now: the key's, or for a key without one the current
    epoch.
    """
    if key_rule is None or key_rule.epoch is None:
        return now.data.epoch
    return key_rule.epoch


def find_own_receipt(replica: PeerId, receipts: tuple[Receipt, ...]) -> Receipt | None:
    """The receipt by `replica`; None where there is none."""
    return next((receipt for receipt in receipts if receipt.replica == replica), None)


def find_excess(
    record: Record,
    held: StoredEntry | None,
    key_rule: KeyRule,
    epoch: Epoch,
    usage: StorageUsage,
    capacity: Capacity,
) -> Denied | None:
    """Find the limit that a record would exceed.

    While every author keeps to its share, neither a key's limit nor the total is ever reached.

    Args:
        record: The record that is about to be stored.
        held: The entry whose place it takes; None where there is none.
        key_rule: The rule for its key.
        epoch: The epoch in which it is stored.
        usage: The records and bytes that are stored.
        capacity: The limits.

    Returns:
        The refusal by the first limit that is exceeded; None where the record fits.
    """
    limits = capacity.limits
    authors = len(key_rule.roles)
    share = limits.compute_author_share(authors, held_epochs=capacity.held_epochs)
    scope = "per author and epoch"
    if share != limits.author:
        scope += ", its part of the total"
    replaced = Usage()
    replaced_in_epoch = Usage()
    if held is not None:
        replaced = Usage(1, held.value_bytes)
        if held.epoch == epoch:
            replaced_in_epoch = replaced
    size = len(record.value)
    # Stops "a flood from a peer or an author": each author fills its own share only.
    used_by_author = usage.get_authors(record.author, epoch)
    # Stops "a flood with many keys": a key, and all keys together, have their limit too.
    for used, gone, quota, counted in (
        (used_by_author, replaced_in_epoch, share, scope),
        (usage.get_keys(record.key), replaced, limits.key, "per key"),
        (usage.get_all(), replaced, limits.total, "in total"),
    ):
        after = Usage(used.entries + 1 - gone.entries, used.value_bytes + size - gone.value_bytes)
        if after.entries > quota.entries or after.value_bytes > quota.value_bytes:
            return Denied(Reason.QUOTA, key_rule.name, AtMost(quota, counted), after)
    # Stops "a flood from a peer or an author": no author takes the others' room under a key.
    writers = key_rule.rule.compute_writers(authors, held_epochs=capacity.held_epochs)
    longest = limits.compute_key_share_bytes(writers)
    if size > longest:
        expected = AtMost(Size(longest), "per author and key")
        return Denied(Reason.QUOTA, key_rule.name, expected, Size(size))
    return None


def _is_same(held: StoredEntry, record: Record) -> bool:
    """Whether the record is the stored one. Lengths come first: a flood of other values is seldom
    hashed.
    """
    if held.value_bytes != len(record.value):
        return False
    return held.value_digest == compute_value_digest(record.value)
