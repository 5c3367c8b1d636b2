"""The position of one tensor in a file, found before any array is made of it."""

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
"""The memory layout of each dtype. numpy has no bfloat16: its bits come as uint16."""


class Layout(msgspec.Struct, frozen=True, gc=False):
    """A contiguous, row-major tensor.

    Attributes:
        dtype: One of the names in `STORAGE`.
        shape: Its sides.
        first_byte: Where in the file its elements begin.
    """

    dtype: str
    shape: tuple[int, ...]
    first_byte: int

    @property
    def size_bytes(self) -> int:
        """The length of its elements."""
        return math.prod(self.shape) * STORAGE[self.dtype].itemsize

    def read_bits(self, data: bytes) -> NDArray[Any]:
        """A read-only view of the tensor.

        Args:
            data: The whole file.

        Returns:
            The elements as `STORAGE` says they lie in memory.

        Raises:
            Malformed: A bool is neither 0 nor 1, or no array has this shape.
        """
        count = math.prod(self.shape)
        storage = STORAGE[self.dtype]
        if count:
            array = np.frombuffer(data, storage, count, self.first_byte)
        else:
            array = np.empty(0, storage)
        # Stops "10^12 elements in 1.5 KB": zero elements can have a side of 2^62, say.
        try:
            array = array.reshape(self.shape)
        except ValueError as error:
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
