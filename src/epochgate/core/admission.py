"""What a replica answers to a POST: the judge's verdict, and what only this replica can say. Pure,
so it can be replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from epochgate.core.evaluation import NOTHING_HELD, EvaluationContext, StoredEntry
from epochgate.core.limits import Limits
from epochgate.core.policy import Judge
from epochgate.core.receipt import Receipt, RecordId, compute_record_id
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.rule import KeyRule
from epochgate.core.storage_usage import StorageUsage, Usage
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.core.verdict import Denied, Reason, Verdict


class Capacity(msgspec.Struct, frozen=True):
    """What a replica has room for: the longest value it can hand out again, and what its policy
    lets it store.
    """

    value_bytes: int
    limits: Limits
    held_epochs: int


class StoredEntries(Protocol):
    """What a replica holds: its ledger, or a replay of it."""

    @property
    def held(self) -> Mapping[tuple[RecordKey, PeerId], StoredEntry]: ...

    @property
    def usage(self) -> StorageUsage: ...

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]: ...


def judge_post(
    judge: Judge,
    key_rule: KeyRule | None,
    sender: PeerId,
    record: Record,
    now: EvaluationContext,
    replica: PeerId,
    stored: StoredEntries,
    capacity: Capacity,
) -> Receipt | Verdict:
    """The receipt that `replica` gave for this very record before, or whether it is to store it
    now.

    `key_rule` is what the judge finds for the record's key.
    """
    if sender != record.author:
        return Denied(Reason.NOT_AUTHOR, key_rule.name if key_rule else None, record.author, sender)
    if key_rule is not None and replica not in key_rule.replica_set.replicas:
        return Denied(
            Reason.NOT_REPLICA,
            key_rule.name,
            f"one of the key's {key_rule.replica_set.k} replicas",
            replica,
        )
    if key_rule is None and now.is_stale:
        return Denied(
            Reason.CHAIN_STALE, None, "a fresh chain head and its epoch's roster", now.block
        )
    held = stored.held.get((record.key, record.author))
    if held is not None and _is_same(held, record):
        if own := find_own_receipt(replica, stored.get_receipts(compute_record_id(record))):
            return own
        now = msgspec.structs.replace(
            now, held=NOTHING_HELD
        )  # a repaired copy: it is judged as if it came first
    verdict = judge.admit(record, now)
    if isinstance(verdict, Denied):
        return verdict
    if key_rule is None:
        raise AssertionError("a judge admitted a key for which it finds no rule")
    if len(record.value) > capacity.value_bytes:
        return Denied(Reason.TOO_LARGE, key_rule.name, capacity.value_bytes, len(record.value))
    denied = find_excess(record, held, key_rule, now.data.epoch, stored.usage, capacity)
    return verdict if denied is None else denied


def compute_receipt_epoch(key_rule: KeyRule | None, now: EvaluationContext) -> Epoch:
    """What a receipt given now says: the key's epoch, or for a key without one the current
    epoch.
    """
    return now.data.epoch if key_rule is None or key_rule.epoch is None else key_rule.epoch


def find_own_receipt(replica: PeerId, receipts: tuple[Receipt, ...]) -> Receipt | None:
    return next((receipt for receipt in receipts if receipt.replica == replica), None)


def find_excess(
    record: Record,
    held: StoredEntry | None,
    key_rule: KeyRule,
    epoch: Epoch,
    usage: StorageUsage,
    capacity: Capacity,
) -> Denied | None:
    """Which limit `record`, stored in `epoch` in the place of what is `held`, goes beyond; None
    where it fits.

    While all keep to their shares, neither a key's bound nor that of all is ever reached.
    """
    limits = capacity.limits
    authors = len(key_rule.roles)
    size = len(record.value)
    share = limits.compute_author_share(authors, capacity.held_epochs)
    part = "" if share == limits.author else ", its part of the total"
    replaced = Usage(1, held.value_bytes) if held is not None else Usage()
    replaced_in_epoch = replaced if held is not None and held.epoch == epoch else Usage()
    for used, gone, quota, whose in (
        (
            usage.get_authors(record.author, epoch),
            replaced_in_epoch,
            share,
            f"an author in an epoch{part}",
        ),
        (usage.get_keys(record.key), replaced, limits.key, "under a key"),
        (usage.get_all(), replaced, limits.total, "in all"),
    ):
        after = Usage(used.entries + 1 - gone.entries, used.value_bytes + size - gone.value_bytes)
        if after.entries > quota.entries or after.value_bytes > quota.value_bytes:
            return Denied(Reason.QUOTA, key_rule.name, f"at most {quota} {whose}", str(after))
    longest = limits.compute_key_share_bytes(
        key_rule.rule.compute_writers(authors, capacity.held_epochs)
    )
    if size > longest:
        return Denied(
            Reason.QUOTA,
            key_rule.name,
            f"at most {longest} bytes an author under a key",
            f"{size} bytes",
        )
    return None


def _is_same(held: StoredEntry, record: Record) -> bool:
    """Lengths come first, so that a flood of other values is seldom hashed."""
    return held.value_bytes == len(record.value) and held.value_digest == compute_value_digest(
        record.value
    )
