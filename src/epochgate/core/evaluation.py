"""All that a judgement depends on beside the record: the keys that exist now, the block, the time,
and what is held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from epochgate.core.epoch import EpochData
from epochgate.core.rule import KeyRule
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey

READABLE_EPOCHS = 3
"""GET knows the keys of the current and the two epochs before (docs/spec.md#1-records)."""


class StoredEntry(Protocol):
    """What a replica stores under a key and author, without the value itself."""

    @property
    def value_digest(self) -> Hash32:
        """SHA-256 of the value."""
        ...

    @property
    def expiration_time(self) -> float:
        """Unix seconds."""
        ...

    @property
    def value_bytes(self) -> int:
        """How long the value is."""
        ...

    @property
    def epoch(self) -> Epoch:
        """In which it was stored."""
        ...


NOTHING_HELD: Mapping[tuple[RecordKey, PeerId], StoredEntry] = {}


class EvaluationContext(msgspec.Struct, frozen=True, gc=False):
    """All that a judgement depends on beside the record, read once. `held` maps (key, author) to
    what is stored.

    `postable` holds the keys of the current epoch, and those of its neighbours so that a refusal
    can say when; their windows are absolute blocks, so only the current epoch's can be open.
    `readable` holds what GET knows.
    """

    postable: dict[RecordKey, KeyRule]
    readable: dict[RecordKey, KeyRule]
    data: EpochData
    block: BlockNumber
    time_seconds: float
    network: NetworkId
    held: Mapping[tuple[RecordKey, PeerId], StoredEntry] = NOTHING_HELD
    is_stale: bool = False
