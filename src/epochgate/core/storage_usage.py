"""The number and bytes of stored records: per author and epoch, per key, and in total."""

from __future__ import annotations

import msgspec

from epochgate.core.types import Epoch, PeerId, RecordKey


class Usage(msgspec.Struct, frozen=True):
    """A number of records, and the bytes of their values together."""

    entries: int = 0
    value_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.entries} records and {self.value_bytes} bytes"


_NOTHING = Usage()
_TOTAL = None
"""Names the sum over all records, where others are named by a key, or by author and epoch."""


class StorageUsage:
    """Counts records as they are stored and removed, each in constant time.

    A count that has come down to 0 is forgotten, so there are never more counts than three times
    the records.
    """

    def __init__(self) -> None:
        self._usage: dict[RecordKey | tuple[PeerId, Epoch] | None, Usage] = {}

    def count(
        self, key: RecordKey, author: PeerId, epoch: Epoch, *, entries: int, value_bytes: int
    ) -> None:
        """Count records that were stored, or removed.

        Args:
            key: The key that they are stored under.
            author: Their author.
            epoch: The epoch in which they were stored.
            entries: Their number; negative where they were removed.
            value_bytes: The bytes of their values together, with the same sign.
        """
        for place in (_TOTAL, key, (author, epoch)):
            before = self._usage.get(place, _NOTHING)
            after = Usage(before.entries + entries, before.value_bytes + value_bytes)
            if after.entries:
                self._usage[place] = after
            else:
                del self._usage[place]

    def get_authors(self, author: PeerId, epoch: Epoch) -> Usage:
        """The records that `author` stored in `epoch`, under all keys."""
        return self._usage.get((author, epoch), _NOTHING)

    def get_keys(self, key: RecordKey) -> Usage:
        """The records of all authors under `key`."""
        return self._usage.get(key, _NOTHING)

    def get_all(self) -> Usage:
        """All records."""
        return self._usage.get(_TOTAL, _NOTHING)
