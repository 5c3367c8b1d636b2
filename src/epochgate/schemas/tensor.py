"""Tensors: one numpy array of a declared dtype, shape and range, from safetensors or from
`torch.save` bytes.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.schema import Decoder, EpochContext, Malformed
from epochgate.schemas import safetensors_file, torch_file
from epochgate.schemas.layout import MAX_DIMENSIONS, STORAGE, Layout

Side = int | tuple[int, int]
"""How long a tensor is along one axis: exactly so, or from the first to the second with both
inside.
"""

MAX_FLOAT = float(np.finfo(np.float64).max)


class Tensor(msgspec.Struct, frozen=True):
    """The schema of one tensor: `Tensor("float32", (2, (1, 512)), max_abs=1e4)`. Decodes to a
    read-only numpy array.

    `dtype` is numpy's name, or bfloat16, which decodes to the float32 of the same values. An empty
    tensor is accepted only where a side may be 0. Floats are finite; nothing is larger than
    `max_abs` in either direction. Which of the two file formats it is, its first bytes say; nothing
    is unpickled, and no array is made before dtype and shape were found right.
    """

    dtype: str
    shape: tuple[Side, ...]
    max_abs: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in STORAGE:
            raise ValueError(f"no dtype {self.dtype!r}: take one of {', '.join(STORAGE)}")
        if len(self.shape) > MAX_DIMENSIONS or not all(
            0 <= low <= high for low, high in self.bounds
        ):
            raise ValueError(
                f"shape {self.shape} must have at most {MAX_DIMENSIONS} sides, each a length or"
                " (shortest, longest)"
            )
        if self.max_abs is not None and not 0 <= self.max_abs <= MAX_FLOAT:
            raise ValueError(f"max_abs is {self.max_abs}: it must be finite and not negative")

    @property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """Shortest and longest of each side."""
        return tuple((side, side) if isinstance(side, int) else side for side in self.shape)

    @property
    def longest_bytes(self) -> int:
        """Of the elements alone."""
        return math.prod(high for _, high in self.bounds) * STORAGE[self.dtype].itemsize

    @property
    def max_payload_bytes(self) -> int:
        """The longest payload that can be accepted, in either format."""
        return self.longest_bytes + torch_file.MAX_OVERHEAD_BYTES

    def bind(self, _context: EpochContext | None) -> Decoder:
        max_bytes = self.max_payload_bytes
        dtype = self.dtype
        bounds = self.bounds
        only = tuple(low for low, _ in bounds) if all(low == high for low, high in bounds) else None

        def decode(payload: bytes) -> NDArray[Any]:
            if len(payload) > max_bytes:
                raise Malformed(f"expected at most {max_bytes} bytes, saw {len(payload)}")
            layout = find_tensor(payload)
            if layout.dtype != dtype or (
                layout.shape != only and not _is_within(layout.shape, bounds)
            ):
                raise Malformed(f"expected {self.describe()}, saw {layout.dtype} {layout.shape}")
            array = layout.read(payload)
            self._check_range(array)
            return array

        return decode

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Raises Malformed, and nothing else."""
        array: NDArray[Any] = self.bind(None)(payload)
        return array

    def encode(self, array: NDArray[Any]) -> bytes:
        """The payload, as safetensors. Raises Malformed for what no replica would take.

        For bfloat16 give the float32 array of values that are already rounded to it.
        """
        if not isinstance(array, np.ndarray):
            raise Malformed(f"expected a numpy array, saw {type(array).__name__}")
        expected = "float32" if self.dtype == "bfloat16" else self.dtype
        if array.dtype.name != expected:
            raise Malformed(f"expected an array of {expected}, saw {array.dtype.name}")
        bits = array
        if self.dtype == "bfloat16":
            wide = array.astype("<f4").view("<u4")
            if (wide & np.uint32(0xFFFF)).any():
                raise Malformed("expected values that bfloat16 holds exactly: round them first")
            bits = (wide >> np.uint32(16)).astype("<u2")
        payload = safetensors_file.encode(self.dtype, bits)
        self.decode(payload)
        return payload

    def describe(self) -> str:
        sides = ", ".join(
            str(low) if low == high else f"{low}..{high}" for low, high in self.bounds
        )
        limit = "" if self.max_abs is None else f" |x|<={float(self.max_abs)!r}"
        return f"tensor[{self.dtype} ({sides}){limit}]"

    def _check_range(self, array: NDArray[Any]) -> None:
        """NaN and infinity fail the comparison too, since the extremes of an array carry
        them on.
        """
        limit = self.max_abs
        if limit is None and array.dtype.kind == "f":
            limit = MAX_FLOAT
        if limit is None or array.size == 0:
            return
        low = array.min().item()
        high = array.max().item()
        if not (-limit <= low and high <= limit):
            raise Malformed(f"expected finite values up to {limit:g}, saw {low} to {high}")


def find_tensor(payload: bytes) -> Layout:
    """The one tensor of a payload in either format. Raises Malformed, and nothing else."""
    read = (
        torch_file.find_tensor
        if payload.startswith(torch_file.MAGIC)
        else safetensors_file.find_tensor
    )
    return read(payload)


def _is_within(shape: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> bool:
    return len(shape) == len(bounds) and all(
        low <= side <= high for side, (low, high) in zip(shape, bounds, strict=True)
    )
