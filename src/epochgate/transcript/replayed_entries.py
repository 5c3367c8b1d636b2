"""What a replica stores, rebuilt from its transcript."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from epochgate.core.receipt import Receipt, RecordId
from epochgate.core.storage_usage import StorageUsage
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.transcript.parts import HeldRecord


class ReplayedEntries:
    """The `core.admission.StoredEntries` of a replay, which needs no values.

    Args:
        held: What the replica stored at the begin of the epoch.

    Attributes:
        held: What it stores, by key and author.
        usage: How much that is.
    """

    def __init__(self, held: Iterable[HeldRecord] = ()) -> None:
        self.held: dict[tuple[RecordKey, PeerId], HeldRecord] = {}
        self.usage = StorageUsage()
        for record in held:
            self._put(record)

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]:
        """The replica's own receipt for a record; none where it has given none."""
        held = self.held.get((record_id.key, record_id.author))
        if held is None or held.receipt is None or held.value_digest != record_id.value_digest:
            return ()
        return (held.receipt,)

    def keep(self, record: HeldRecord) -> None:
        """Store a record in the place of its author's older one.

        Args:
            record: The record. One with the same value keeps the receipt that it has.
        """
        before = self.held.get((record.key, record.author))
        is_same = before is not None and before.value_digest == record.value_digest
        if before is not None and is_same and before.receipt is not None:
            record = msgspec.structs.replace(record, receipt=before.receipt)
        self._put(record)

    def add_receipt(self, copy: HeldRecord) -> bool:
        """Add the receipt of a copied record to the one that is stored, if it has none.

        Args:
            copy: The copied record.

        Returns:
            Whether a record with the same value is stored.
        """
        before = self.held.get((copy.key, copy.author))
        if before is None or before.value_digest != copy.value_digest:
            return False
        if before.receipt is None:
            self.held[copy.key, copy.author] = msgspec.structs.replace(before, receipt=copy.receipt)
        return True

    def forget(self, now_seconds: float, oldest_epoch: Epoch) -> None:
        """Delete what `NodeDatabase.forget` deletes.

        Args:
            now_seconds: Unix time.
            oldest_epoch: The first epoch that is still needed.
        """
        gone = [
            record
            for record in self.held.values()
            if record.expiration_time <= now_seconds and record.epoch < oldest_epoch
        ]
        for record in gone:
            del self.held[record.key, record.author]
            self._count(record, -1)

    def count_changes(self, held: Iterable[HeldRecord]) -> int:
        """Compare what is stored with what the replica says that it stores.

        Args:
            held: What it says.

        Returns:
            The number of keys and authors at which both differ.
        """
        ours = self.held
        theirs = {(record.key, record.author): record for record in held}
        places = ours.keys() | theirs.keys()
        return sum(ours.get(place) != theirs.get(place) for place in places)

    def _put(self, record: HeldRecord) -> None:
        self._count(record, 1)
        before = self.held.get((record.key, record.author))
        if before is not None:
            self._count(before, -1)
        self.held[record.key, record.author] = record

    def _count(self, record: HeldRecord, entries: int) -> None:
        self.usage.count(
            record.key,
            record.author,
            record.epoch,
            entries=entries,
            value_bytes=entries * record.value_bytes,
        )
