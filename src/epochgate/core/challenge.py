"""The epoch's challenge (docs/spec.md#4-one-epoch): derived, so that nobody chooses it and every
node can compute it, or chosen by its publisher.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.record import pack_field
from epochgate.core.schema import EpochContext, Malformed, Schema, get_longest_bytes
from epochgate.core.types import Epoch, Hash32, NetworkId

CHALLENGE_DOMAIN = b"epochgate/challenge/1\0"
CHALLENGE_DIGEST_DOMAIN = b"epochgate/challenge-digest/1\0"
MAX_CHALLENGE_ELEMENTS = 1 << 20
INTEGER_DTYPES = ("uint8", "int8", "int16", "int32", "int64")
FLOAT_DTYPE = "float32"
FLOAT_HALF_RANGE = 1 << 23
"""A float32 holds every multiple of 2^-23 between -1 and 1 exactly."""


class TensorSpec(msgspec.Struct, frozen=True):
    """The dtype, shape and range of a derived challenge.

    Attributes:
        dtype: `float32`, whose elements run from -1 up to but without 1; or `uint8`, `int8`,
            `int16`, `int32` or `int64`.
        shape: The sides, each 1 or more; 1 to `MAX_CHALLENGE_ELEMENTS` elements in all.
        low: The smallest integer; for integers alone.
        high: One more than the largest integer; for integers alone, which need it. At most 2^32
            above `low`.

    Raises:
        ValueError: No challenge can be derived for it.

    >>> TensorSpec("int64", (1, 128), high=50_000).describe()
    'int64 (1, 128) in [0, 50000)'
    >>> TensorSpec("float16", (16, 64))
    Traceback (most recent call last):
    ...
    ValueError: a challenge of dtype 'float16' cannot be derived: take float32 or an integer
    """

    dtype: str
    shape: tuple[int, ...]
    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.shape) or self.size > MAX_CHALLENGE_ELEMENTS:
            raise ValueError(
                f"a challenge has 1 to {MAX_CHALLENGE_ELEMENTS} elements, shape {self.shape} has"
                f" {self.size}"
            )
        if self.dtype == FLOAT_DTYPE:
            if (self.low, self.high) != (0, None):
                raise ValueError(
                    "low and high are for integers: a float32 challenge runs from -1 to 1"
                )
        elif self.dtype in INTEGER_DTYPES:
            self._check_range()
        else:
            raise ValueError(
                f"a challenge of dtype {self.dtype!r} cannot be derived: take {FLOAT_DTYPE} or an"
                " integer"
            )

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def describe(self) -> str:
        """One line that says all, for the policy's digest."""
        values = "[-1, 1)" if self.high is None else f"[{self.low}, {self.high})"
        return f"{self.dtype} {self.shape} in {values}"

    def _check_range(self) -> None:
        limits = np.iinfo(self.dtype)
        if (
            self.high is None
            or not limits.min <= self.low < self.high <= int(limits.max) + 1
            or self.high - self.low > 1 << 32
        ):
            raise ValueError(
                f"an integer challenge needs low < high, at most 2^32 apart and within {self.dtype}"
            )


def compute_challenge(
    spec: TensorSpec, network: NetworkId, epoch: Epoch, seed: bytes
) -> NDArray[Any]:
    """Derive a challenge (docs/spec.md#4-one-epoch).

    SHAKE-256 over domain, network id, epoch (eight bytes, big-endian) and seed, each behind its
    length, is read from its start. A float32 takes three bytes, big-endian, as u24: (u24 - 2^23) /
    2^23, which is exact. An integer takes four, big-endian, as u32: low + u32 mod (high - low).

    Args:
        spec: Dtype, shape and range.
        network: Chain and subnet.
        epoch: The epoch whose challenge it is.
        seed: The seed of the epoch's roster.

    Returns:
        The challenge, row-major and read-only, of the spec's dtype and shape.
    """
    fields = (network, struct.pack(">Q", epoch), seed)
    stream = hashlib.shake_256(CHALLENGE_DOMAIN + b"".join(map(pack_field, fields)))
    if spec.high is None:
        octets = np.frombuffer(stream.digest(3 * spec.size), np.uint8).astype(np.int32)
        first, second, third = octets.reshape(-1, 3).T
        u24 = first << 16 | second << 8 | third
        centred: NDArray[Any] = (u24 - FLOAT_HALF_RANGE).astype(np.float32)
        flat = centred / np.float32(FLOAT_HALF_RANGE)
    else:
        u32 = np.frombuffer(stream.digest(4 * spec.size), ">u4").astype(np.int64)
        flat = (spec.low + u32 % (spec.high - spec.low)).astype(spec.dtype)
    flat.setflags(write=False)
    return flat.reshape(spec.shape)


def compute_challenge_digest(array: NDArray[Any]) -> Hash32:
    """The digest that names a challenge in openings, whatever file format it travelled in.

    Args:
        array: The challenge, of any shape, byte order and memory layout.

    Returns:
        SHA-256 over domain, dtype by name, shape (eight bytes a side, big-endian) and the elements
        (row-major and little-endian), each behind its length.
    """
    elements = array.astype(array.dtype.newbyteorder("<")).tobytes()
    fields = (array.dtype.name.encode(), struct.pack(f">{array.ndim}Q", *array.shape), elements)
    message = CHALLENGE_DIGEST_DOMAIN + b"".join(map(pack_field, fields))
    return Hash32(hashlib.sha256(message).digest())


class Derived(msgspec.Struct, frozen=True):
    """The schema of a challenge that nobody chooses: only the one derived for the epoch is
    accepted.

    Attributes:
        payload: The schema of the tensor that carries it.
        spec: Its dtype, shape and range, which `payload` must accept.

    >>> challenge = Derived(Tensor("float32", (16, 64)), TensorSpec("float32", (16, 64)))
    >>> context = EpochContext(
    ...     compute_network_id("my-chain", 1),
    ...     Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0),
    ...     Roster(Epoch(7), bytes(32), []),
    ... )
    >>> array = challenge.compute(context)
    >>> array.shape, array.dtype.name
    ((16, 64), 'float32')
    >>> challenge.bind(context)(challenge.encode(array + 1))
    Traceback (most recent call last):
    ...
    epochgate.core.schema.Malformed: expected the challenge derived for epoch 7, saw another value
    """

    payload: Schema
    spec: TensorSpec

    @property
    def longest_bytes(self) -> int:
        """The longest payload, as its schema declares it."""
        return get_longest_bytes(self.payload)

    def bind(self, context: EpochContext) -> Callable[[bytes], NDArray[Any]]:
        """The decoder of the epoch's challenge: it takes a payload and returns the array."""
        decode_payload = self.payload.bind(context)

        # Derived when the first payload comes: an epoch is bound more often than it is judged.
        @functools.cache
        def get_expected_digest() -> Hash32:
            return self.compute_digest(context)

        def decode(payload: bytes) -> NDArray[Any]:
            seen = decode_payload(payload)
            # Stops "a challenge chosen to favour somebody".
            if (
                not isinstance(seen, np.ndarray)
                or compute_challenge_digest(seen) != get_expected_digest()
            ):
                raise Malformed(
                    f"expected the challenge derived for epoch {context.epoch}, saw another value"
                )
            return seen

        return decode

    def encode(self, value: object) -> bytes:
        """The payload of an array, as its schema encodes it. Raises Malformed as that one does."""
        return self.payload.encode(value)

    def compute(self, context: EpochContext) -> NDArray[Any]:
        """The challenge of the context's epoch, read-only."""
        return compute_challenge(self.spec, context.network, context.epoch, context.roster.seed)

    def compute_digest(self, context: EpochContext) -> Hash32:
        """The digest that openings in the context's epoch must name."""
        return compute_challenge_digest(self.compute(context))

    def describe(self) -> str:
        """The spec and the payload's schema."""
        return f"derived[{self.spec.describe()}; {self.payload.describe()}]"


class Chosen(msgspec.Struct, frozen=True):
    """The schema of a challenge that its publisher chooses, such as prompts.

    What a dishonest publisher can do with that is in docs/challenges.md.

    Attributes:
        payload: The schema of the tensor; it must decode to a numpy array.

    >>> Chosen(Tensor("int64", (4, 128))).describe()
    'chosen[tensor[int64 (4, 128)]]'
    """

    payload: Schema

    def bind(self, context: EpochContext) -> Callable[[bytes], NDArray[Any]]:
        """The decoder: it takes a payload and returns the array."""
        decode_payload = self.payload.bind(context)

        def decode(payload: bytes) -> NDArray[Any]:
            seen = decode_payload(payload)
            # Stops "an elected validator with a malformed challenge".
            if not isinstance(seen, np.ndarray):
                raise Malformed(f"expected an array as the challenge, saw {type(seen).__name__}")
            return seen

        return decode

    def encode(self, value: object) -> bytes:
        """The payload of an array, as its schema encodes it. Raises Malformed as that one does."""
        return self.payload.encode(value)

    def describe(self) -> str:
        """The payload's schema."""
        return f"chosen[{self.payload.describe()}]"
