"""The epoch's challenge: derived, which nobody chooses and everybody can compute, or chosen by its
publisher (docs/spec.md#4-one-epoch).
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.record import pack_field
from epochgate.core.schema import Decoder, EpochContext, Malformed, Schema, get_longest_bytes
from epochgate.core.types import Epoch, Hash32, NetworkId

CHALLENGE_DOMAIN = b"epochgate/challenge/1\0"
CHALLENGE_DIGEST_DOMAIN = b"epochgate/challenge-digest/1\0"
MAX_CHALLENGE_ELEMENTS = 1 << 20
INTEGER_DTYPES = ("uint8", "int8", "int16", "int32", "int64")
FLOAT_DTYPE = "float32"


class TensorSpec(msgspec.Struct, frozen=True):
    """What a derived challenge looks like: `TensorSpec("float32", (16, 64))` has elements from -1
    up to but without 1, `TensorSpec("int64", (1, 128), high=50_000)` integers from `low` up to but
    without `high`. Raises ValueError for what cannot be derived.
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
        return math.prod(self.shape)

    def describe(self) -> str:
        values = "[-1, 1)" if self.high is None else f"[{self.low}, {self.high})"
        return f"{self.dtype} {self.shape} in {values}"

    def _check_range(self) -> None:
        info = np.iinfo(self.dtype)
        if self.high is None or not (
            info.min <= self.low < self.high <= int(info.max) + 1
            and self.high - self.low <= 1 << 32
        ):
            raise ValueError(
                f"an integer challenge needs low < high, at most 2^32 apart and within {self.dtype}"
            )


def compute_challenge(
    spec: TensorSpec, network: NetworkId, epoch: Epoch, seed: bytes
) -> NDArray[Any]:
    """The challenge of `epoch`, row-major and read-only.

    SHAKE-256 over domain, network id, epoch (eight bytes, big-endian) and seed, each behind its
    length, read from its start. A float32 takes three bytes, big-endian, as u24: (u24 - 2^23) /
    2^23, which is exact. An integer takes four, big-endian, as u32: low + u32 mod (high - low).
    """
    fields = (network, struct.pack(">Q", epoch), seed)
    stream = hashlib.shake_256(CHALLENGE_DOMAIN + b"".join(map(pack_field, fields)))
    if spec.high is None:
        u24 = np.frombuffer(stream.digest(3 * spec.size), np.uint8).reshape(-1, 3).astype(np.int32)
        flat: NDArray[Any] = u24[:, 0] << 16 | u24[:, 1] << 8 | u24[:, 2]
        flat = (flat - (1 << 23)).astype(np.float32) / np.float32(1 << 23)
    else:
        u32 = np.frombuffer(stream.digest(4 * spec.size), ">u4").astype(np.int64)
        flat = (spec.low + u32 % (spec.high - spec.low)).astype(spec.dtype)
    flat.setflags(write=False)
    return flat.reshape(spec.shape)


def compute_challenge_digest(array: NDArray[Any]) -> Hash32:
    """SHA-256 over domain, dtype by name, shape (eight bytes a side, big-endian) and the elements,
    row-major and little-endian; each behind its length. It names the challenge in openings,
    whatever file it travelled in.
    """
    elements = array.astype(array.dtype.newbyteorder("<")).tobytes()
    fields = (array.dtype.name.encode(), struct.pack(f">{array.ndim}Q", *array.shape), elements)
    return Hash32(
        hashlib.sha256(CHALLENGE_DIGEST_DOMAIN + b"".join(map(pack_field, fields))).digest()
    )


class Derived(msgspec.Struct, frozen=True):
    """The schema of a challenge that nobody chooses: `payload` decodes the tensor, and only the
    epoch's own is accepted.
    """

    payload: Schema
    spec: TensorSpec

    @property
    def longest_bytes(self) -> int:
        return get_longest_bytes(self.payload)

    def bind(self, context: EpochContext) -> Decoder:
        decode_payload = self.payload.bind(context)
        expect = functools.cache(
            lambda: self.compute_digest(context)
        )  # an epoch is bound more often than it is judged

        def decode(payload: bytes) -> NDArray[Any]:
            seen = decode_payload(payload)
            if not isinstance(seen, np.ndarray) or compute_challenge_digest(seen) != expect():
                raise Malformed(
                    f"expected the challenge derived for epoch {context.epoch}, saw another value"
                )
            return seen

        return decode

    def encode(self, value: NDArray[Any]) -> bytes:
        return self.payload.encode(value)

    def compute(self, context: EpochContext) -> NDArray[Any]:
        """The challenge of the context's epoch."""
        return compute_challenge(self.spec, context.network, context.epoch, context.roster.seed)

    def compute_digest(self, context: EpochContext) -> Hash32:
        """What openings in the context's epoch must name."""
        return compute_challenge_digest(self.compute(context))

    def describe(self) -> str:
        return f"derived[{self.spec.describe()}; {self.payload.describe()}]"


class Chosen(msgspec.Struct, frozen=True):
    """The schema of a challenge that its publisher chooses, such as prompts: any array that
    `payload` decodes.

    What a dishonest publisher can do with that is in docs/challenges.md.
    """

    payload: Schema

    def bind(self, context: EpochContext) -> Decoder:
        decode_payload = self.payload.bind(context)

        def decode(payload: bytes) -> NDArray[Any]:
            seen = decode_payload(payload)
            if not isinstance(seen, np.ndarray):
                raise Malformed(f"expected an array as the challenge, saw {type(seen).__name__}")
            return seen

        return decode

    def encode(self, value: NDArray[Any]) -> bytes:
        return self.payload.encode(value)

    def describe(self) -> str:
        return f"chosen[{self.payload.describe()}]"
