"""What a replica stores, in memory beside its file: all but the values.

So a verdict and a listing cost no query.
"""

from __future__ import annotations

from epochgate.core.receipt import Entry, ReceiptedEntry
from epochgate.core.storage_usage import StorageUsage
from epochgate.core.types import PeerId, RecordKey


class EntryIndex:
    """The stored entries, found by key and author, or listed by key.

    Attributes:
        held: The entries by key and author. Only the index itself changes it.
        usage: Their number and bytes, counted as they come and go.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[RecordKey, PeerId], ReceiptedEntry] = {}
        self.usage = StorageUsage()
        self._authors: dict[RecordKey, set[PeerId]] = {}
        self._listings: dict[RecordKey, tuple[Entry, ...]] = {}
        """By key, made when it is first asked for. All readers of an epoch ask for the same keys,
        when these no longer change.
        """

    def put(self, key: RecordKey, author: PeerId, entry: ReceiptedEntry) -> None:
        """Put an entry in the place of the author's older one under `key`."""
        before = self.held.get((key, author))
        self._count(key, author, entry, 1)
        if before is None:
            self._authors.setdefault(key, set()).add(author)
        else:
            self._count(key, author, before, -1)
        self.held[key, author] = entry
        self._listings.pop(key, None)

    def remove(self, key: RecordKey, author: PeerId) -> None:
        """Remove an entry.

        Args:
            key: Its key.
            author: Its author.

        Raises:
            KeyError: There is none.
        """
        entry = self.held.pop((key, author))
        self._count(key, author, entry, -1)
        self._authors[key].discard(author)
        if not self._authors[key]:
            del self._authors[key]
        self._listings.pop(key, None)

    def get_listing(self, key: RecordKey) -> tuple[Entry, ...]:
        """The entries under `key`, in order of author."""
        listing = self._listings.get(key)
        if listing is None:
            authors = sorted(self._authors.get(key, ()))
            listing = tuple(self._make_entry(key, author) for author in authors)
            self._listings[key] = listing
        return listing

    def _make_entry(self, key: RecordKey, author: PeerId) -> Entry:
        held = self.held[key, author]
        return Entry(
            author, held.value_digest, held.expiration_time, held.value_bytes, held.receipts
        )

    def _count(self, key: RecordKey, author: PeerId, entry: ReceiptedEntry, entries: int) -> None:
        self.usage.count(
            key, author, entry.epoch, entries=entries, value_bytes=entries * entry.value_bytes
        )
