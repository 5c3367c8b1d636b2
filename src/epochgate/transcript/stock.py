"""What a replica holds, built again from its transcript."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from epochgate.core.admission import Usage
from epochgate.core.receipt import Receipt, Stamp
from epochgate.transcript.lines import HeldRecord


class ReplayedStock:
    """A `core.admission.Stock` without values."""

    def __init__(self, held: Iterable[HeldRecord] = ()) -> None:
        self.held: dict[tuple[bytes, bytes], HeldRecord] = {(it.key, it.author): it for it in held}

    def get_usage(self, author: bytes) -> Usage:
        sizes = [it.value_bytes for it in self.held.values() if it.author == author]
        return Usage(len(sizes), sum(sizes))

    def get_receipts(self, stamp: Stamp) -> tuple[Receipt, ...]:
        held = self.held.get((stamp.key, stamp.author))
        return (held.receipt,) if held and held.receipt and held.value_digest == stamp.value_digest else ()

    def keep(self, it: HeldRecord) -> None:
        """In the place of the author's older record; the same one keeps the receipt that it has."""
        before = self.held.get((it.key, it.author))
        if before is not None and before.value_digest == it.value_digest and before.receipt is not None:
            it = msgspec.structs.replace(it, receipt=before.receipt)
        self.held[it.key, it.author] = it

    def add_receipt(self, it: HeldRecord) -> bool:
        """The receipt of a copy whose record is held already; False where it is not."""
        before = self.held.get((it.key, it.author))
        if before is None or before.value_digest != it.value_digest:
            return False
        if before.receipt is None:
            self.held[it.key, it.author] = msgspec.structs.replace(before, receipt=it.receipt)
        return True

    def forget(self, now_seconds: float, oldest_epoch: int) -> None:
        """As `Ledger.forget`."""
        self.held = {
            place: it for place, it in self.held.items() if it.expiration_time > now_seconds or it.epoch >= oldest_epoch
        }
