"""What turns payload bytes into a checked value; richer ones (pydantic models, tensors) live in
`epochgate.schemas`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from epochgate.core.epoch import Timing
from epochgate.core.roster import Roster
from epochgate.core.types import Epoch, NetworkId, PeerId
from epochgate.errors import EpochgateError


class Malformed(EpochgateError, ValueError):
    """A payload that its schema does not accept; the message says what was expected and what was
    seen.
    """


class EpochContext(msgspec.Struct, frozen=True):
    """What an epoch's rules are bound to: read once an epoch, from the chain."""

    network: NetworkId
    timing: Timing
    roster: Roster
    elected: PeerId | None = None

    @property
    def epoch(self) -> Epoch:
        return self.roster.epoch


Decoder = Callable[[bytes], Any]


class Schema(Protocol):
    """`bind` gives the decoder for one epoch; it takes a payload and raises Malformed for whatever
    it does not accept.
    """

    def bind(self, context: EpochContext) -> Decoder: ...

    def encode(self, value: Any) -> bytes:
        """The payload that decodes to `value`. Raises Malformed for what no replica would take."""
        ...

    def describe(self) -> str:
        """One line that says all that the schema accepts; it goes into the policy's digest."""
        ...


def get_longest_bytes(schema: Schema) -> int:
    """The longest payload that `schema` is declared for, without what a file format adds; 0 where
    it does not say.

    A schema says it with a property `longest_bytes`.
    """
    return int(getattr(schema, "longest_bytes", 0))


class Digest(msgspec.Struct, frozen=True):
    """Exactly `length_bytes` bytes, which mean nothing until they are opened: a commitment."""

    length_bytes: int = 32

    @property
    def longest_bytes(self) -> int:
        return self.length_bytes

    def bind(self, context: EpochContext) -> Decoder:
        return self.decode

    def decode(self, payload: bytes) -> bytes:
        if len(payload) != self.length_bytes:
            raise Malformed(f"expected {self.length_bytes} bytes, saw {len(payload)}")
        return payload

    def encode(self, value: bytes) -> bytes:
        return self.decode(value)

    def describe(self) -> str:
        return f"bytes[{self.length_bytes}]"
