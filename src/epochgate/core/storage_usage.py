"""How much is stored: of an author in an epoch, under a key, and in all."""

from __future__ import annotations

import msgspec

from epochgate.core.types import Epoch, PeerId, RecordKey


class Usage(msgspec.Struct, frozen=True):
    """Records, and bytes of their values."""

    entries: int = 0
    value_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.entries} records and {self.value_bytes} bytes"


_NOTHING = Usage()
_ALL = None


class StorageUsage:
    """Counts what is added and removed, in constant time. It forgets whoever has nothing."""

    def __init__(self) -> None:
        self._usage: dict[RecordKey | tuple[PeerId, int] | None, Usage] = {}

    def count(
        self, key: RecordKey, author: PeerId, epoch: Epoch, entries: int, value_bytes: int
    ) -> None:
        """`entries` more, or fewer, that `author` stored under `key` in `epoch`, of so many bytes
        together.
        """
        for place in (_ALL, key, (author, epoch)):
            before = self._usage.get(place, _NOTHING)
            after = Usage(before.entries + entries, before.value_bytes + value_bytes)
            if after.entries:
                self._usage[place] = after
            else:
                del self._usage[place]

    def get_authors(self, author: PeerId, epoch: Epoch) -> Usage:
        """What `author` stored in `epoch`."""
        return self._usage.get((author, epoch), _NOTHING)

    def get_keys(self, key: RecordKey) -> Usage:
        """What all authors have under `key`."""
        return self._usage.get(key, _NOTHING)

    def get_all(self) -> Usage:
        return self._usage.get(_ALL, _NOTHING)
