"""The input of a judgement beside the record: the keys that exist now, the block, the time, and the
stored entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from epochgate.core.epoch import EpochData
from epochgate.core.rule import KeyRule
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, PeerId, RecordKey
from epochgate.core.verdict import Denied, Reason

READABLE_EPOCHS = 3
"""GET knows the keys of the current and the two epochs before (docs/spec.md#1-records)."""

NO_SUCH_KEY = Denied(Reason.UNKNOWN_KEY)
"""Made once: the most frequent refusal of a flood allocates nothing."""


class StoredEntry(Protocol):
    """The entry that a replica stores under a key and author, without the value itself."""

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
        """The length of the value."""
        ...

    @property
    def epoch(self) -> Epoch:
        """The epoch in which it was stored."""
        ...


NOTHING_HELD: Mapping[tuple[RecordKey, PeerId], StoredEntry] = {}


class EvaluationContext(msgspec.Struct, frozen=True, gc=False):
    """The input of a judgement beside the record, read once for it.

    `EpochSchedule.compute_evaluation_context` makes it. A policy never asks for the time, the block
    or the chain, so a judgement with an equal context can be repeated anywhere.

    Attributes:
        postable: The keys of the current epoch by digest, and those of its neighbours, so that a
            refusal can say when they open. Windows are absolute blocks, so only the current epoch's
            can be open.
        readable: The keys that GET knows, by digest.
        data: Where `block` stands in its epoch.
        block: The block that windows are decided at.
        time_seconds: Unix seconds, for expiries.
        network: Chain and subnet.
        held: The stored entries by key and author.
        is_stale: The chain's head is too old to decide by, or the epoch's roster has not arrived.
        no_such_key: The refusal of any other key than the postable ones; it names those of now.

    >>> schedule = EpochSchedule(INFERENCE_POLICY)
    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> network = compute_network_id("my-chain", 1)
    >>> schedule.add(EpochContext(network, timing, Roster(Epoch(7), bytes(32), [])))
    >>> now = schedule.compute_evaluation_context(BlockNumber(1720), 1_800_000_000.0)
    >>> now.data.epoch, now.data.percent_complete, len(now.readable)
    (7, 0.2, 7)
    """

    postable: dict[RecordKey, KeyRule]
    readable: dict[RecordKey, KeyRule]
    data: EpochData
    block: BlockNumber
    time_seconds: float
    network: NetworkId
    held: Mapping[tuple[RecordKey, PeerId], StoredEntry] = NOTHING_HELD
    is_stale: bool = False
    no_such_key: Denied = NO_SUCH_KEY
