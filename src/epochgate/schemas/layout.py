"""Where one tensor lies in a file, found before any array is made of it."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.schema import Malformed

MAX_DIMENSIONS = 8

STORAGE = {
    "bool": np.dtype("|b1"),
    "uint8": np.dtype("|u1"),
    "int8": np.dtype("|i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
}
"""How each dtype lies in memory. numpy has no bfloat16: its bits come as uint16."""


class Layout(msgspec.Struct, frozen=True, gc=False):
    """A contiguous, row-major tensor: dtype by name, shape, and the byte at which its data
    begin.
    """

    dtype: str
    shape: tuple[int, ...]
    first_byte: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * STORAGE[self.dtype].itemsize

    def read_bits(self, data: bytes) -> NDArray[Any]:
        """A read-only view of the tensor in `data`. Raises Malformed for a bool that is neither 0
        nor 1.
        """
        count = math.prod(self.shape)
        try:
            array = (
                np.frombuffer(data, STORAGE[self.dtype], count, self.first_byte)
                if count
                else np.empty(0, STORAGE[self.dtype])
            )
            array = array.reshape(self.shape)
        except (
            ValueError
        ) as error:  # no numpy array has this shape: zero elements with a side of 2^62, say
            raise Malformed(f"shape {self.shape}: {error}") from None
        if self.dtype == "bool" and count and array.view(np.uint8).max() > 1:
            raise Malformed("expected bools of 0 and 1, saw other bytes")
        return array

    def read(self, data: bytes) -> NDArray[Any]:
        """As `read_bits`, with bfloat16 as the float32 of the same value: its bits are the upper
        half.
        """
        bits = self.read_bits(data)
        if self.dtype != "bfloat16":
            return bits
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
