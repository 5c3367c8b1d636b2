"""How much is stored: per author and epoch, per key, and in total."""

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
    """Counts what is added and removed, each in constant time.

    What has come down to no record is forgotten, so it holds no more counts than there are records.
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
            entries: How many more there are; negative where they were removed.
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
        """What `author` stored in `epoch`, under all keys together."""
        return self._usage.get((author, epoch), _NOTHING)

    def get_keys(self, key: RecordKey) -> Usage:
        """What all authors together have stored under `key`."""
        return self._usage.get(key, _NOTHING)

    def get_all(self) -> Usage:
        """What is stored in total: by all authors, under all keys."""
        return self._usage.get(_TOTAL, _NOTHING)
