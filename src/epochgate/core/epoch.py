"""Epochs, windows and lifetimes, decided in integers on blocks.

Agreement needs every node to draw the same edge, so shares of an epoch are exact fractions and a
window is bound to whole blocks once an epoch; floats appear only where a person reads them.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple

import msgspec

from epochgate.core.types import BlockNumber, Epoch

MAX_EXTRAPOLATED_BLOCKS = 3
"""How far local time may move the last head on before the head counts as stale
(docs/spec.md#3-time).
"""


class Timing(msgspec.Struct, frozen=True):
    """What a chain says of its own time. `slot` is the subnet's first block; None until it is
    known.
    """

    slot: BlockNumber | None
    blocks_per_epoch: int
    block_seconds: float

    @property
    def seconds_per_epoch(self) -> float:
        return self.blocks_per_epoch * self.block_seconds

    def compute_epoch(self, block: BlockNumber) -> Epoch:
        """The epoch that `block` belongs to; 0 before the subnet's first block."""
        if self.slot is None or block < self.slot:
            return Epoch(0)
        return Epoch(Epoch(block - self.slot) // self.blocks_per_epoch)

    def compute_first_block(self, epoch: Epoch) -> BlockNumber:
        """Raises ValueError while the subnet has no first block."""
        if self.slot is None:
            raise ValueError(
                "the subnet has no first block yet: wait until the chain names its slot"
            )
        return BlockNumber(self.slot + epoch * self.blocks_per_epoch)

    def is_started(self, block: BlockNumber) -> bool:
        return self.slot is not None and block >= self.slot


class EpochData(msgspec.Struct, frozen=True):
    """Where a block stands in its epoch. Before the subnet's first block all that counts from it is
    zero.
    """

    block: BlockNumber
    epoch: Epoch
    block_per_epoch: int
    seconds_per_epoch: float
    percent_complete: float
    """0 to 1, despite the name: the field is called so in the predicates that users bring."""
    blocks_elapsed: int
    blocks_remaining: int
    seconds_elapsed: float
    seconds_remaining: float


def compute_epoch_data(block: BlockNumber, timing: Timing) -> EpochData:
    length = timing.blocks_per_epoch
    seconds = timing.block_seconds
    if not timing.is_started(block):
        return EpochData(block, Epoch(0), length, length * seconds, 0.0, 0, 0, 0.0, 0.0)
    epoch = timing.compute_epoch(block)
    elapsed = block - timing.compute_first_block(epoch)
    remaining = length - elapsed
    return EpochData(
        block,
        epoch,
        length,
        length * seconds,
        elapsed / length,
        elapsed,
        remaining,
        elapsed * seconds,
        remaining * seconds,
    )


class Head(msgspec.Struct, frozen=True):
    """The last best head a node has heard of, and its own Unix time when it did."""

    block: BlockNumber
    seen_seconds: float


def compute_deciding_block(
    head: Head, now_seconds: float, block_seconds: float
) -> tuple[BlockNumber, bool]:
    """(block, stale): the head moved on by local time; stale is a head too old to be moved on any
    further.
    """
    ahead = max(0, math.floor((now_seconds - head.seen_seconds) / block_seconds) - 1)
    block = head.block + min(ahead, MAX_EXTRAPOLATED_BLOCKS)
    return BlockNumber(block), ahead > MAX_EXTRAPOLATED_BLOCKS


class Blocks(NamedTuple):
    """The first and last block, both inside."""

    first: BlockNumber
    last: BlockNumber


_INTERVAL = re.compile(r"([\[(])\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*([\])])")


class Window(msgspec.Struct, frozen=True):
    """A part of an epoch, in shares of it; `after` and `before` leave out the edge itself."""

    first: Fraction
    last: Fraction
    after: bool = False
    before: bool = False

    def bind(self, epoch: Epoch, timing: Timing) -> Blocks:
        start = timing.compute_first_block(epoch)
        length = timing.blocks_per_epoch
        first = (
            math.floor(self.first * length) + 1 if self.after else math.ceil(self.first * length)
        )
        last = math.ceil(self.last * length) - 1 if self.before else math.floor(self.last * length)
        return Blocks(BlockNumber(start + first), BlockNumber(start + min(last, length - 1)))

    def describe(self) -> str:
        """Exactly, for the policy's digest."""
        return f"{self.first}..{self.last} after={self.after} before={self.before}"

    def __str__(self) -> str:
        left = "(" if self.after else "["
        right = ")" if self.before else "]"
        return f"{left}{_percent_words(self.first)}, {_percent_words(self.last)}{right} %"


WHOLE_EPOCH = Window(Fraction(0), Fraction(1))
"""The window of a rule that declares none."""


def percent(interval: str) -> Window:
    """A window in the notation of intervals: `(15, 50]` is after 15 % up to and with 50 % of the
    epoch's blocks.

    Raises ValueError on anything else, on shares outside 0 to 100 and on an empty interval.
    """
    match = _INTERVAL.fullmatch(interval.strip())
    if match is None:
        raise ValueError(
            f"{interval!r} is no interval of percents: write it like '(15, 50]' or '[60, 100)'"
        )
    first = Fraction(match[2]) / 100
    last = Fraction(match[3]) / 100
    if not 0 <= first < last <= 1:
        raise ValueError(f"{interval!r} must run upwards and stay within 0 and 100")
    return Window(first, last, after=match[1] == "(", before=match[4] == ")")


def epochs(count: str | int) -> Fraction:
    """A span in epochs, exactly: `epochs("1.1")`. Floats are not taken, since 1.1 is none."""
    if isinstance(count, float):
        raise TypeError(f"write epochs('{count}'): a float is not exact")
    return Fraction(count)


def compute_seconds(span: Fraction, timing: Timing) -> float:
    """A span of epochs in seconds of this chain."""
    return float(span * timing.blocks_per_epoch) * timing.block_seconds


def _percent_words(share: Fraction) -> str:
    return f"{float(share * 100):g}"
