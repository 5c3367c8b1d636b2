"""The chain's numbers and names, as this package writes them."""

from __future__ import annotations

from typing import NewType

UNIT = 10**18
"""One TENSOR in the chain's smallest unit, and the whole of which the chain's shares are parts."""

BlockHash = NewType("BlockHash", str)
"""A block's hash: `0x` and 64 hexadecimal digits."""
