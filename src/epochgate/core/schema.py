"""Schemas: how a rule turns payload bytes into a checked value, and a value into payload bytes.

The port and the simplest schema are here; richer ones (pydantic models, tensors) are in
`epochgate.schemas`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from epochgate.core.epoch import Timing
from epochgate.core.roster import Roster
from epochgate.core.types import Epoch, NetworkId, PeerId
from epochgate.errors import EpochgateError


class Malformed(EpochgateError, ValueError):
    """A payload or a value that its schema does not accept.

    The message says what was expected and what was seen; it ends up in the verdict. Keep it short,
    and quote little of what a stranger sent.

    >>> raise Malformed("expected 32 bytes, saw 31")
    Traceback (most recent call last):
    ...
    epochgate.core.schema.Malformed: expected 32 bytes, saw 31
    """


class EpochContext(msgspec.Struct, frozen=True):
    """The chain's facts about an epoch, which its rules depend on; read once per epoch.

    Attributes:
        network: Chain and subnet, 32 bytes.
        timing: The chain's epoch length, block time, and the subnet's first block.
        roster: The epoch's members, their roles, and its seed.
        elected: The peer id of the validator that the chain elected to submit; None where it
            elected nobody.

    >>> roster = Roster(Epoch(7), bytes(32), [])
    >>> timing = Timing(slot=BlockNumber(1000), blocks_per_epoch=100, block_seconds=6.0)
    >>> EpochContext(compute_network_id("my-chain", 1), timing, roster).epoch
    7
    """

    network: NetworkId
    timing: Timing
    roster: Roster
    elected: PeerId | None = None

    @property
    def epoch(self) -> Epoch:
        """The epoch, which is the roster's."""
        return self.roster.epoch


Decoder = Callable[[bytes], object]
"""Takes a payload and returns its value, or raises Malformed; it raises nothing else."""


class Schema(Protocol):
    """The port for a record's payload: any object with these three methods is a schema.

    One instance serves every node, epoch and thread, so it holds nothing that changes. Payloads
    come from strangers: a decoder bounds what it reads before it makes anything of it, never
    unpickles, and answers with Malformed. Two nodes must decode one payload to the same value.

    A schema may have a property `longest_bytes`, the longest payload that it is declared for;
    `check_policy` then finds rules whose `max_bytes` is too small for it.

    >>> from collections.abc import Callable
    >>> class Even:
    ...     def bind(self, context: EpochContext) -> Callable[[bytes], int]:
    ...         return self.decode
    ...
    ...     def decode(self, payload: bytes) -> int:
    ...         if len(payload) != 1 or payload[0] % 2:
    ...             raise Malformed("expected one byte, an even number")
    ...         return payload[0]
    ...
    ...     def encode(self, value: object) -> bytes:
    ...         if not isinstance(value, int) or value not in range(0, 256, 2):
    ...             raise Malformed(f"expected an even number up to 254, saw {value!r}")
    ...         return bytes([value])
    ...
    ...     def describe(self) -> str:
    ...         return "even[1 byte]"
    >>> rule = Rule("counter", by=HOSTER, ttl=epochs(1), schema=Even())
    >>> rule.schema.describe(), rule.schema.encode(6)
    ('even[1 byte]', b'\\x06')
    """

    def bind(self, context: EpochContext, /) -> Decoder:
        """Give the decoder for one epoch.

        Args:
            context: The epoch's network id, roster and election, for schemas that depend on them.

        Returns:
            A function that takes a payload, at most the rule's `max_bytes` less 64, and returns its
            value. It raises Malformed for every payload that the schema does not accept, and
            nothing else.
        """
        ...

    def encode(self, value: object, /) -> bytes:
        """Encode a value that this node is about to sign.

        Args:
            value: A model's output, a challenge, a heartbeat. A model may have made anything.

        Returns:
            A payload that decodes to an equal value.

        Raises:
            Malformed: No replica would accept the value.
        """
        ...

    def describe(self) -> str:
        """One line that says all that the schema accepts.

        It goes into the policy's digest, by which nodes compare their policies, so it must change
        whenever the schema accepts other payloads.
        """
        ...


def get_longest_bytes(schema: Schema) -> int:
    """The longest payload that `schema` is declared for, without what a file format adds.

    It is the schema's property `longest_bytes`; 0 for a schema that has none.
    """
    return int(getattr(schema, "longest_bytes", 0))


class Digest(msgspec.Struct, frozen=True):
    """The schema of a commitment: exactly so many bytes, of any content.

    Attributes:
        length_bytes: The number of bytes; 32 for a SHA-256 digest.

    >>> Digest().decode(bytes(31))
    Traceback (most recent call last):
    ...
    epochgate.core.schema.Malformed: expected 32 bytes, saw 31
    """

    length_bytes: int = 32

    @property
    def longest_bytes(self) -> int:
        """The length of every payload."""
        return self.length_bytes

    def bind(self, context: EpochContext) -> Callable[[bytes], bytes]:
        """The decoder, which is the same in every epoch."""
        return self.decode

    def decode(self, payload: bytes) -> bytes:
        """The payload itself. Raises Malformed for another length."""
        # Stops "truncated and bit-flipped records".
        if len(payload) != self.length_bytes:
            raise Malformed(f"expected {self.length_bytes} bytes, saw {len(payload)}")
        return payload

    def encode(self, value: object) -> bytes:
        """The value itself. Raises Malformed for anything but bytes of the length."""
        if not isinstance(value, bytes):
            raise Malformed(f"expected bytes, saw {type(value).__name__}")
        return self.decode(value)

    def describe(self) -> str:
        """The length."""
        return f"bytes[{self.length_bytes}]"
