"""Repair: a replica that has lost its data, or joins, copies the proven records of its keys.

Receipts prove a record whoever shows them, so a copy is as good as the first one.

Only a node that starts needs it. A node that runs becomes a replica of new keys only, and those are
empty: the keys of an epoch stay with its roster, and keys without an epoch, which follow the newest
roster, hold heartbeats, which all authors soon renew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from epochgate.core.admission import Capacity, StoredEntries, find_excess
from epochgate.core.evaluation import READABLE_EPOCHS, StoredEntry
from epochgate.core.policy import Policy
from epochgate.core.receipt import Proof, Receipt, RecordId, Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.rule import KeyRule
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.observe.recorder import NullRecorder, Recorder
from epochgate.store.chain_clock import ChainClock
from epochgate.store.client import Store


class ReplicaStorage(StoredEntries, Protocol):
    """The port to what a replica stores: read it, and add copies to it."""

    def get_record(self, key: RecordKey, author: PeerId) -> Record | None:
        """Get a record with its value; None where nothing is stored."""
        ...

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: Epoch) -> None:
        """Store `record` as of `epoch`, in the place of its author's older one."""
        ...

    def add_receipts(self, record_id: RecordId, receipts: Iterable[Receipt]) -> None:
        """Add other replicas' receipts for a record that is stored."""
        ...

    def has_evidence(self, key: RecordKey, author: PeerId) -> bool:
        """Whether two different records of this author under a once-key are kept already."""
        ...

    def keep_evidence(self, first: Record, second: Record, epoch: Epoch) -> None:
        """Keep two different signed records of one author under a once-key."""
        ...


class OwnReplica(Protocol):
    """The port to this node's replica."""

    @property
    def author(self) -> PeerId:
        """Its peer id."""
        ...

    @property
    def capacity(self) -> Capacity:
        """The limits of its storage."""
        ...

    @property
    def database(self) -> ReplicaStorage:
        """What it stores."""
        ...


class Repair:
    """The repair of one replica, for the keys of an epoch and of the two before it.

    Args:
        policy: The policy, whose rules name the keys.
        store: Reads what the other replicas hold.
        replica: The replica that is repaired.
        chain_clock: The chain's time, and the key tables of the epochs.
        epoch: The current epoch.
        recorder: Notes each copy; None notes nothing.

    Attributes:
        left: The keys that are still to be read, since too few of their replicas have answered. A
            whole subnet may be starting at once.
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
            for key_rule in _find_keys_of(replica.author, policy, chain_clock, epoch)
            if key_rule.first <= block
        ]
        self._store = store
        self._replica = replica
        self._chain_clock = chain_clock
        self._epoch = epoch
        self._recorder = recorder or NullRecorder()

    async def take(self) -> int:
        """Read the keys that are left, and copy what is proven and may be stored.

        Copies keep the receipts of other replicas. This replica did not see them arrive in time, so
        it signs none.

        Returns:
            How many records were missing and are stored now.
        """
        copied = 0
        left = []
        for key_rule in self.left:
            reading = await self._store.read(key_rule, wait_for_all=True)
            # Stops "a forged repair": what is not proven is not copied.
            for record_id in reading.get_record_ids(Standing.PROVEN):
                copied += self._take_copy(reading.proofs[record_id], key_rule)
            if not reading.is_enough:
                left.append(key_rule)
        self.left = left
        return copied

    def _take_copy(self, proof: Proof, key_rule: KeyRule) -> bool:
        """Store a proven record if it may be, or add its receipts to those that are stored.

        Args:
            proof: The record, and the receipts that prove it.
            key_rule: Its key.

        Returns:
            Whether the record was missing and is stored now.
        """
        database = self._replica.database
        record = proof.record
        record_id = compute_record_id(record)
        epoch = self._epoch
        if key_rule.epoch is not None:
            epoch = key_rule.epoch
        held = database.held.get((record.key, record.author))
        if held is not None and held.value_digest == record_id.value_digest:
            database.add_receipts(record_id, proof.receipts)
            self._note_copy(proof, epoch)
            return False
        # Stops "a second, different commitment": the first record stays, the second is evidence.
        if held is not None and key_rule.once:
            self._keep_evidence(record, key_rule)
            return False
        if not self._is_newer(record, held):
            return False
        # Stops "a flood with many keys".
        excess = find_excess(record, held, key_rule, epoch, database.usage, self._replica.capacity)
        if excess is not None:
            return False
        database.keep(record, proof.receipts, epoch)
        self._note_copy(proof, epoch)
        return True

    def _is_newer(self, record: Record, held: StoredEntry | None) -> bool:
        """Whether the record lives longer than the one that is stored, and has not expired."""
        # Stops "an old record replayed to delete the new one".
        if held is not None and record.expiration_time <= held.expiration_time:
            return False
        return record.expiration_time > self._chain_clock.clock.get_unix_seconds()

    def _keep_evidence(self, second: Record, key_rule: KeyRule) -> None:
        database = self._replica.database
        if database.has_evidence(second.key, second.author):
            return
        first = database.get_record(second.key, second.author)
        if first is not None:
            database.keep_evidence(first, second, key_rule.epoch or Epoch(0))

    def _note_copy(self, proof: Proof, epoch: Epoch) -> None:
        self._recorder.note_copy(proof, self._chain_clock.get_evaluation_context(), epoch)


def _find_keys_of(
    replica: PeerId, policy: Policy, chain_clock: ChainClock, newest_epoch: Epoch
) -> Iterator[KeyRule]:
    """The keys whose replica it is. Keys without an epoch belong to the newest roster alone."""
    schedule = chain_clock.schedule
    for number in range(newest_epoch - READABLE_EPOCHS + 1, newest_epoch + 1):
        epoch = Epoch(number)
        if not schedule.has(epoch):
            continue
        for rule in policy.rules:
            if not rule.is_of_an_epoch and epoch != newest_epoch:
                continue
            for key_rule in schedule.get_key_rules(rule, epoch):
                if replica in key_rule.replica_set.replicas:
                    yield key_rule
