"""What a replica holds, built again from its transcript."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from epochgate.core.receipt import Receipt, RecordId
from epochgate.core.storage_usage import StorageUsage
from epochgate.core.types import Epoch, PeerId, RecordKey
from epochgate.transcript.lines import HeldRecord


class ReplayedEntries:
    """A `core.admission.StoredEntries` without values."""

    def __init__(self, held: Iterable[HeldRecord] = ()) -> None:
        self.held: dict[tuple[RecordKey, PeerId], HeldRecord] = {}
        self.usage = StorageUsage()
        for it in held:
            self._put(it)

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]:
        held = self.held.get((record_id.key, record_id.author))
        if held and held.receipt and held.value_digest == record_id.value_digest:
            return (held.receipt,)
        return ()

    def keep(self, it: HeldRecord) -> None:
        """In the place of the author's older record; the same one keeps the receipt that it has."""
        before = self.held.get((it.key, it.author))
        if (
            before is not None
            and before.value_digest == it.value_digest
            and before.receipt is not None
        ):
            it = msgspec.structs.replace(it, receipt=before.receipt)
        self._put(it)

    def add_receipt(self, it: HeldRecord) -> bool:
        """The receipt of a copy whose record is held already; False where it is not."""
        before = self.held.get((it.key, it.author))
        if before is None or before.value_digest != it.value_digest:
            return False
        if before.receipt is None:
            self.held[it.key, it.author] = msgspec.structs.replace(before, receipt=it.receipt)
        return True

    def forget(self, now_seconds: float, oldest_epoch: Epoch) -> None:
        """As `NodeDatabase.forget`."""
        for it in [
            it
            for it in self.held.values()
            if it.expiration_time <= now_seconds and it.epoch < oldest_epoch
        ]:
            del self.held[it.key, it.author]
            self._count(it, -1)

    def _put(self, it: HeldRecord) -> None:
        self._count(it, 1)
        if (before := self.held.get((it.key, it.author))) is not None:
            self._count(before, -1)
        self.held[it.key, it.author] = it

    def _count(self, it: HeldRecord, entries: int) -> None:
        self.usage.count(
            it.key, it.author, it.epoch, entries=entries, value_bytes=entries * it.value_bytes
        )
