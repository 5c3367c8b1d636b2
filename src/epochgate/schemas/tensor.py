"""Tensors: one numpy array of a declared dtype, shape and range, from safetensors or from
`torch.save` bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.schema import EpochContext, Malformed
from epochgate.schemas import safetensors_file, torch_file
from epochgate.schemas.layout import MAX_DIMENSIONS, STORAGE, Layout

Side = int | tuple[int, int]
"""The length of a tensor along one axis: exactly so, or from the first to the second with both
inside.
"""

MAX_FLOAT = float(np.finfo(np.float64).max)


class Tensor(msgspec.Struct, frozen=True):
    """The schema of one tensor, in the file format of safetensors or of `torch.save`.

    A payload decodes to a read-only numpy array. Its first bytes say which format it is; nothing is
    unpickled, and no array is made before dtype and shape were found right.

    Attributes:
        dtype: numpy's name, or `bfloat16`, which decodes to the float32 of the same values.
        shape: Each side is a length, or a pair of the shortest and the longest. An empty tensor is
            accepted only where a side may be 0.
        max_abs: No element is larger in either direction. Floats are finite in any case.

    Raises:
        ValueError: The dtype is unknown, or the shape or `max_abs` makes no sense.

    >>> output = Tensor("float32", (2, (1, 512)), max_abs=1e4)
    >>> output.describe()
    'tensor[float32 (2, 1..512) |x|<=10000.0]'
    >>> import numpy as np
    >>> output.decode(output.encode(np.ones((2, 3), np.float32))).shape
    (2, 3)
    """

    dtype: str
    shape: tuple[Side, ...]
    max_abs: float | None = None

    def __post_init__(self) -> None:
        if self.dtype not in STORAGE:
            raise ValueError(f"dtype {self.dtype!r} is unknown: take one of {', '.join(STORAGE)}")
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
        """The shortest and the longest length of each side."""
        return tuple((side, side) if isinstance(side, int) else side for side in self.shape)

    @property
    def longest_bytes(self) -> int:
        """The longest tensor's elements, without a file's header."""
        return math.prod(high for _, high in self.bounds) * STORAGE[self.dtype].itemsize

    @property
    def max_payload_bytes(self) -> int:
        """The longest payload that can be accepted, in either format."""
        return self.longest_bytes + torch_file.MAX_OVERHEAD_BYTES

    def bind(self, _context: EpochContext | None) -> Callable[[bytes], NDArray[Any]]:
        """The decoder, which is the same in every epoch: it takes a payload and returns the array,
        and raises Malformed for anything else.
        """
        max_bytes = self.max_payload_bytes
        dtype = self.dtype
        bounds = self.bounds
        # for most schemas the only shape, so it is compared first
        shortest = tuple(low for low, _ in bounds)

        def decode(payload: bytes) -> NDArray[Any]:
            # Stops "10^12 elements in 1.5 KB": sizes come first, and no array is made yet.
            if len(payload) > max_bytes:
                raise Malformed(f"expected at most {max_bytes} bytes, saw {len(payload)}")
            layout = find_tensor(payload)
            # Stops "empty tensors, wrong dtype, wrong shape".
            is_shape_fitting = layout.shape == shortest or _is_within(layout.shape, bounds)
            if layout.dtype != dtype or not is_shape_fitting:
                raise Malformed(f"expected {self.describe()}, saw {layout.dtype} {layout.shape}")
            array = layout.read(payload)
            self._check_range(array)
            return array

        return decode

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Raises Malformed, and nothing else."""
        return self.bind(None)(payload)

    def encode(self, value: object) -> bytes:
        """Encode an array, as safetensors.

        Args:
            value: A numpy array of the dtype and of a shape that the schema accepts; for bfloat16 a
                float32 array of values that are already rounded to it.

        Returns:
            The payload.

        Raises:
            Malformed: No replica would accept the value.
        """
        if not isinstance(value, np.ndarray):
            raise Malformed(f"expected a numpy array, saw {type(value).__name__}")
        expected = "float32" if self.dtype == "bfloat16" else self.dtype
        if value.dtype.name != expected:
            raise Malformed(f"expected an array of {expected}, saw {value.dtype.name}")
        bits = _take_bfloat16(value) if self.dtype == "bfloat16" else value
        payload = safetensors_file.encode(self.dtype, bits)
        self.decode(payload)
        return payload

    def describe(self) -> str:
        """The dtype, the lengths of the sides, and the largest element."""
        sides = ", ".join(_describe_side(low, high) for low, high in self.bounds)
        limit = "" if self.max_abs is None else f" |x|<={float(self.max_abs)!r}"
        return f"tensor[{self.dtype} ({sides}){limit}]"

    def _check_range(self, array: NDArray[Any]) -> None:
        """Raise Malformed for an element that is too large, or not finite."""
        limit = self.max_abs
        if limit is None and array.dtype.kind == "f":
            limit = MAX_FLOAT
        if limit is None or array.size == 0:
            return
        # Stops "NaN, infinite and complex tensors": they spread to the extremes, and fail there.
        low = array.min().item()
        high = array.max().item()
        if not (-limit <= low and high <= limit):
            raise Malformed(f"expected finite values up to {limit:g}, saw {low} to {high}")


def find_tensor(payload: bytes) -> Layout:
    """The one tensor of a payload in either format. Raises Malformed, and nothing else."""
    if payload.startswith(torch_file.MAGIC):
        return torch_file.find_tensor(payload)
    return safetensors_file.find_tensor(payload)


def _is_within(shape: tuple[int, ...], bounds: tuple[tuple[int, int], ...]) -> bool:
    return len(shape) == len(bounds) and all(
        low <= side <= high for side, (low, high) in zip(shape, bounds, strict=True)
    )


def _describe_side(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low}..{high}"


def _take_bfloat16(array: NDArray[Any]) -> NDArray[np.uint16]:
    """The upper halves of float32 values. Raises Malformed where a lower half is not zero."""
    wide = array.astype("<f4").view("<u4")
    if (wide & np.uint32(0xFFFF)).any():
        raise Malformed("expected values that bfloat16 holds exactly: round them first")
    return (wide >> np.uint32(16)).astype("<u2")
