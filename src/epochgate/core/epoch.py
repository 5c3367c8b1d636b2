"""Epochs, windows and lifetimes, decided in integers on blocks.

Agreement needs every node to draw the same edge, so shares of an epoch are exact fractions and a
window is turned into whole blocks once per epoch; floats appear only where a person reads them.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import NamedTuple

import msgspec

from epochgate.core.types import BlockNumber, Epoch

MAX_EXTRAPOLATED_BLOCKS = 3
"""Blocks that local time may move a head on before it counts as stale (docs/spec.md#3-time)."""


class Timing(msgspec.Struct, frozen=True):
    """A chain's epoch length and block time, and the subnet's first block.

    Attributes:
        slot: The subnet's first block; None until the chain has named it.
        blocks_per_epoch: Blocks in an epoch.
        block_seconds: Seconds between two blocks.

    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> timing.compute_epoch(BlockNumber(1250)), timing.compute_first_block(Epoch(3))
    (2, 1300)
    >>> timing.seconds_per_epoch
    600.0
    """

    slot: BlockNumber | None
    blocks_per_epoch: int
    block_seconds: float

    @property
    def seconds_per_epoch(self) -> float:
        """Seconds in an epoch."""
        return self.blocks_per_epoch * self.block_seconds

    def compute_epoch(self, block: BlockNumber) -> Epoch:
        """The epoch that `block` belongs to; 0 before the subnet's first block."""
        if self.slot is None or block < self.slot:
            return Epoch(0)
        return Epoch((block - self.slot) // self.blocks_per_epoch)

    def compute_first_block(self, epoch: Epoch) -> BlockNumber:
        """The first block of `epoch`. Raises ValueError while the subnet has no first block."""
        if self.slot is None:
            raise ValueError(
                "the subnet has no first block yet: wait until the chain names its slot"
            )
        return BlockNumber(self.slot + epoch * self.blocks_per_epoch)

    def is_started(self, block: BlockNumber) -> bool:
        """Whether the subnet's first block is `block` or an earlier one."""
        return self.slot is not None and block >= self.slot


class EpochData(msgspec.Struct, frozen=True):
    """The position of a block in its epoch. `compute_epoch_data` makes it.

    Before the subnet's first block the epoch and all that counts from it are zero.

    Attributes:
        block: The block's number.
        epoch: The epoch that it belongs to.
        block_per_epoch: Blocks in an epoch.
        seconds_per_epoch: Seconds in an epoch.
        percent_complete: The share of the epoch that has passed, from 0 up to but without 1. It is
            not a percentage, despite its name, which is the one in the predicates that users bring.
        blocks_elapsed: Blocks since the epoch's first one.
        blocks_remaining: Blocks until the next epoch's first one.
        seconds_elapsed: The same in seconds.
        seconds_remaining: The same in seconds.

    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> data = compute_epoch_data(BlockNumber(1215), timing)
    >>> data.epoch, data.percent_complete, data.blocks_remaining, data.seconds_elapsed
    (2, 0.15, 85, 90.0)
    """

    block: BlockNumber
    epoch: Epoch
    block_per_epoch: int
    seconds_per_epoch: float
    percent_complete: float
    blocks_elapsed: int
    blocks_remaining: int
    seconds_elapsed: float
    seconds_remaining: float


def compute_epoch_data(block: BlockNumber, timing: Timing) -> EpochData:
    """Compute the position of a block in its epoch (docs/spec.md#3-time).

    Args:
        block: The block's number.
        timing: The chain's epoch length, block time, and the subnet's first block.

    Returns:
        With the subnet's slot s and epochs of L blocks, `epoch = (block - s) // L` and
        `blocks_elapsed = (block - s) % L`; zeros before the subnet's first block.
    """
    length = timing.blocks_per_epoch
    seconds = timing.block_seconds
    if not timing.is_started(block):
        return EpochData(block, Epoch(0), length, length * seconds, 0.0, 0, 0, 0.0, 0.0)
    epoch = timing.compute_epoch(block)
    elapsed = block - timing.compute_first_block(epoch)
    remaining = length - elapsed
    return EpochData(
        block=block,
        epoch=epoch,
        block_per_epoch=length,
        seconds_per_epoch=length * seconds,
        percent_complete=elapsed / length,
        blocks_elapsed=elapsed,
        blocks_remaining=remaining,
        seconds_elapsed=elapsed * seconds,
        seconds_remaining=remaining * seconds,
    )


class Head(msgspec.Struct, frozen=True):
    """The newest best head that a node has heard of, and the node's Unix time when it did."""

    block: BlockNumber
    seen_seconds: float


def compute_deciding_block(
    head: Head, now_seconds: float, block_seconds: float
) -> tuple[BlockNumber, bool]:
    """The block that windows are decided at: the head, moved on by local time.

    Args:
        head: The newest head.
        now_seconds: The node's Unix time.
        block_seconds: Seconds between two blocks.

    Returns:
        The block, and whether the head is stale: too old to be moved on any further than
        `MAX_EXTRAPOLATED_BLOCKS`.
    """
    blocks_ahead = max(0, math.floor((now_seconds - head.seen_seconds) / block_seconds) - 1)
    block = head.block + min(blocks_ahead, MAX_EXTRAPOLATED_BLOCKS)
    return BlockNumber(block), blocks_ahead > MAX_EXTRAPOLATED_BLOCKS


class Blocks(NamedTuple):
    """A first and a last block, both inside."""

    first: BlockNumber
    last: BlockNumber

    def __str__(self) -> str:
        if self.first == self.last:
            return f"block {self.first}"
        return f"blocks {self.first} to {self.last}"


_INTERVAL = re.compile(r"([\[(])\s*(\d+(?:\.\d+)?)\s*,\s*(\d+(?:\.\d+)?)\s*([\])])")


class Window(msgspec.Struct, frozen=True):
    """A part of an epoch. `percent` reads one from the notation of intervals.

    Attributes:
        first: Where it begins, as a share of the epoch's blocks, 0 to 1.
        last: Where it ends, as a share of the epoch's blocks, 0 to 1.
        after: Leaves out the block at `first` itself.
        before: Leaves out the block at `last` itself.

    >>> window = percent("(15, 50]")
    >>> print(window)
    (15, 50] %
    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> window.bind(Epoch(2), timing)
    Blocks(first=1216, last=1250)
    """

    first: Fraction
    last: Fraction
    after: bool = False
    before: bool = False

    def bind(self, epoch: Epoch, timing: Timing) -> Blocks:
        """The window's blocks in one epoch.

        Args:
            epoch: The epoch.
            timing: The chain's epoch length and the subnet's first block, which must be known.

        Returns:
            The first and the last block inside the window, on the chain's own count. They are the
            same on every node, since they are found in integers and exact fractions.

        Raises:
            ValueError: The subnet has no first block yet.
        """
        length = timing.blocks_per_epoch
        first = math.ceil(self.first * length)
        if self.after:
            first = math.floor(self.first * length) + 1
        last = math.floor(self.last * length)
        if self.before:
            last = math.ceil(self.last * length) - 1
        start = timing.compute_first_block(epoch)
        return Blocks(BlockNumber(start + first), BlockNumber(start + min(last, length - 1)))

    def describe(self) -> str:
        """The window exactly, for the policy's digest."""
        return f"{self.first}..{self.last} after={self.after} before={self.before}"

    def __str__(self) -> str:
        left = "(" if self.after else "["
        right = ")" if self.before else "]"
        return f"{left}{_format_percent(self.first)}, {_format_percent(self.last)}{right} %"


WHOLE_EPOCH = Window(Fraction(0), Fraction(1))
"""The window of a rule that declares none."""


def percent(interval: str) -> Window:
    """A window in the notation of intervals.

    Args:
        interval: `(15, 50]` is after 15 % of the epoch's blocks, up to and with 50 %. A square
            bracket takes in the edge, a round one leaves it out.

    Returns:
        The window, with exact edges.

    Raises:
        ValueError: The text is not an interval, is empty, or leaves 0 to 100.

    >>> percent("[60, 100)")
    Window(first=Fraction(3, 5), last=Fraction(1, 1), after=False, before=True)
    """
    match = _INTERVAL.fullmatch(interval.strip())
    if match is None:
        raise ValueError(
            f"{interval!r} is not an interval of percents: write it like '(15, 50]' or '[60, 100)'"
        )
    first = Fraction(match[2]) / 100
    last = Fraction(match[3]) / 100
    if not 0 <= first < last <= 1:
        raise ValueError(f"{interval!r} must run upwards and stay within 0 and 100")
    return Window(first, last, after=match[1] == "(", before=match[4] == ")")


def epochs(count: str | int) -> Fraction:
    """A span of time in epochs, exactly.

    Args:
        count: A whole number, or text such as `"1.1"`.

    Returns:
        The span as a fraction of epochs.

    Raises:
        TypeError: `count` is a float, which cannot hold 1.1 exactly.
        ValueError: The text is not a number.

    >>> epochs("1.1")
    Fraction(11, 10)
    """
    if isinstance(count, float):
        raise TypeError(f"write epochs('{count}'): a float is not exact")
    return Fraction(count)


def compute_seconds(span: Fraction, timing: Timing) -> float:
    """A span of epochs in seconds of this chain."""
    return float(span * timing.blocks_per_epoch) * timing.block_seconds


def _format_percent(share: Fraction) -> str:
    return f"{float(share * 100):g}"
