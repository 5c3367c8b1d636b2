"""Repair: a replica that lost its data, or joins, takes what is proven; receipts prove it, whoever
shows them.

It is for a node that starts. A node that runs becomes a replica of new keys only, and those are
empty: the keys of an epoch stay with its roster, and keys without an epoch, which follow the newest
roster, hold heartbeats, which all authors soon renew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from epochgate.core.admission import Capacity, StoredEntries, find_excess
from epochgate.core.evaluation import READABLE_EPOCHS
from epochgate.core.policy import Policy
from epochgate.core.receipt import Proof, Receipt, RecordId, Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.rule import KeyRule
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.observe.recorder import Recorder, Unrecorded
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store


class ReplicaStorage(StoredEntries, Protocol):
    """What a replica stores, and how it is added to: the port that repair writes through."""

    def get_record(self, key: RecordKey, author: PeerId) -> Record | None:
        """None where nothing is stored."""
        ...

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: Epoch) -> None:
        """Store `record` in the place of its author's older one."""
        ...

    def add_receipts(self, record_id: RecordId, receipts: Iterable[Receipt]) -> None:
        """Add what other replicas signed for a record that is stored."""
        ...

    def has_evidence(self, key: RecordKey, author: PeerId) -> bool:
        """Whether two values of this author under a once-key are kept already."""
        ...

    def keep_evidence(self, first: Record, second: Record, epoch: Epoch) -> None:
        """Keep two different signed records of one author under a once-key."""
        ...


class OwnReplica(Protocol):
    """This node's replica, as far as repair knows it."""

    @property
    def author(self) -> PeerId: ...

    @property
    def capacity(self) -> Capacity: ...

    @property
    def database(self) -> ReplicaStorage: ...


class Repair:
    """Of the keys of `replica`, in `epoch` and the two before. `left` are those whose replicas have
    not answered in number yet: a whole subnet may start at once.
    """

    def __init__(
        self,
        policy: Policy,
        store: Store,
        replica: OwnReplica,
        chain_clock: ChainClock,
        epoch: Epoch,
        recorder: Recorder | None = None,
    ) -> None:
        block, _ = chain_clock.get_block()
        self.left = [
            key_rule
            for key_rule in _find_own_keys(policy, chain_clock, PeerId(replica.author), epoch)
            if key_rule.first <= block
        ]
        self._store = store
        self._replica = replica
        self._chain_clock = chain_clock
        self._epoch = epoch
        self._recorder = recorder or Unrecorded()

    async def take(self) -> int:
        """Copy what is proven under the keys that are left, as far as it may be stored; returns how
        many records were missing.

        The copies keep the receipts of others: this replica did not see them arrive, so it signs
        none.
        """
        copied = 0
        left = []
        for key_rule in self.left:
            reading = await self._store.read(key_rule, wait_for_all=True)
            for record_id in reading.get_record_ids(Standing.PROVEN):
                copied += _take(
                    reading.proofs[record_id],
                    key_rule,
                    self._replica,
                    self._chain_clock,
                    self._epoch,
                    self._recorder,
                )
            if not reading.is_enough:
                left.append(key_rule)
        self.left = left
        return copied


def _take(
    proof: Proof,
    key_rule: KeyRule,
    replica: OwnReplica,
    chain_clock: ChainClock,
    epoch: Epoch,
    recorder: Recorder,
) -> bool:
    """Whether the record was missing. Under a once-key the first one stays, and a second one is
    evidence.
    """
    database = replica.database
    record = proof.record
    record_id = compute_record_id(proof.record)
    now_seconds = chain_clock.clock.get_unix_seconds()
    if key_rule.epoch is None:
        kept_epoch = epoch
    else:
        kept_epoch = key_rule.epoch
    held = database.held.get((record.key, record.author))
    if held is not None and held.value_digest == record_id.value_digest:
        database.add_receipts(record_id, proof.receipts)
        recorder.note_copy(proof, chain_clock.get_evaluation_context(), kept_epoch)
        return False
    if held is not None and key_rule.once:
        first = database.get_record(record.key, record.author)
        if first is not None and not database.has_evidence(record.key, record.author):
            database.keep_evidence(first, record, key_rule.epoch or Epoch(0))
        return False
    if record.expiration_time <= max(now_seconds, held.expiration_time if held else 0.0):
        return False
    if (
        find_excess(record, held, key_rule, kept_epoch, database.usage, replica.capacity)
        is not None
    ):
        return False
    database.keep(record, proof.receipts, kept_epoch)
    recorder.note_copy(proof, chain_clock.get_evaluation_context(), kept_epoch)
    return True


def _find_own_keys(
    policy: Policy, chain_clock: ChainClock, author: PeerId, epoch: Epoch
) -> Iterator[KeyRule]:
    """Keys without an epoch belong to the newest roster alone."""
    for of in range(epoch - READABLE_EPOCHS + 1, epoch + 1):
        for rule in policy.rules if chain_clock.schedule.has(Epoch(of)) else ():
            if rule.is_of_an_epoch or of == epoch:
                yield from (
                    key_rule
                    for key_rule in chain_clock.schedule.get_key_rules(rule, Epoch(of))
                    if author in key_rule.replica_set.replicas
                )
