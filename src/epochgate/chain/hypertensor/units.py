"""The chain's numbers and names, as this package writes them."""

from __future__ import annotations

from typing import NewType

from epochgate.core.types import FIXED_POINT_ONE

UNIT = FIXED_POINT_ONE
"""One TENSOR in the chain's smallest unit, and the whole of which the chain's shares are parts."""

BlockHash = NewType("BlockHash", str)
"""A block's hash: `0x` and 64 hexadecimal digits."""
