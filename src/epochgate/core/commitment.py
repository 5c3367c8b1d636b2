"""Commit and open: a digest that only its author can open, and only for one kind of record, epoch,
challenge and subnet (docs/spec.md#6-commitment-and-opening).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable

import msgspec

from epochgate.core.record import pack_field
from epochgate.core.schema import EpochContext, Malformed, Schema, get_longest_bytes
from epochgate.core.types import Epoch, Hash32, NetworkId, PeerId, Salt

SALT_BYTES = 32
DIGEST_BYTES = 32
COMMITMENT_DOMAIN = b"epochgate/commitment/1\0"


class Opening(msgspec.Struct, frozen=True, gc=False):
    """The secrets that an author shows to open its commitment.

    On the wire it is salt, challenge digest and payload, end to end; the first two have a fixed
    width. Salt and payload are secrets until then, so its text does not show them.

    Attributes:
        salt: 32 random bytes, drawn for this commitment alone.
        challenge_digest: Names the challenge that was worked on.
        payload: The encoded output or list of scores.

    >>> opening = Opening(Salt(bytes(32)), Hash32(bytes(32)), b"an output")
    >>> Opening.from_bytes(opening.to_bytes()) == opening
    True
    """

    salt: Salt
    challenge_digest: Hash32
    payload: bytes

    def __repr__(self) -> str:
        # Stops "secrets in logs".
        return f"Opening(challenge {self.challenge_digest.hex()}, salt and payload not shown)"

    def to_bytes(self) -> bytes:
        """The opening as it is signed and stored."""
        return self.salt + self.challenge_digest + self.payload

    @staticmethod
    def from_bytes(data: bytes) -> Opening:
        """Read an opening.

        Args:
            data: The payload of a record that opens a commitment.

        Returns:
            The opening; its payload is not decoded yet.

        Raises:
            Malformed: There are fewer bytes than a salt and a digest take.
        """
        # Stops "truncated and bit-flipped records".
        first_bytes = SALT_BYTES + DIGEST_BYTES
        if len(data) < first_bytes:
            raise Malformed(
                f"an opening begins with {first_bytes} bytes of salt and challenge, saw"
                f" {len(data)} in all"
            )
        challenge_digest = Hash32(data[SALT_BYTES:first_bytes])
        return Opening(Salt(data[:SALT_BYTES]), challenge_digest, data[first_bytes:])


def compute_commitment(
    network: NetworkId, kind: str, epoch: Epoch, author: PeerId, opening: Opening
) -> Hash32:
    """The digest by which an author commits (docs/spec.md#6-commitment-and-opening).

    Args:
        network: Chain and subnet.
        kind: The kind of the commitment's rule, `hoster-commit` for example.
        epoch: The epoch of the commitment's key.
        author: The author's peer id.
        opening: The opening that the author will show.

    Returns:
        SHA-256 over domain, network id, kind, epoch, author, challenge digest, salt and SHA-256 of
        the payload, each behind its length.

    >>> network = compute_network_id("my-chain", 1)
    >>> author = SigningKey.from_seed(bytes(32)).author
    >>> opening = Opening(Salt(bytes(32)), Hash32(bytes(32)), b"an output")
    >>> len(compute_commitment(network, "hoster-commit", Epoch(7), author, opening))
    32
    """
    fields = (
        network,
        kind.encode(),
        struct.pack(">Q", epoch),
        author,
        opening.challenge_digest,
        opening.salt,
        hashlib.sha256(opening.payload).digest(),
    )
    return Hash32(hashlib.sha256(COMMITMENT_DOMAIN + b"".join(map(pack_field, fields))).digest())


def is_opened(
    commitment: Hash32,
    network: NetworkId,
    kind: str,
    epoch: Epoch,
    author: PeerId,
    opening: Opening,
) -> bool:
    """Whether `opening` fits `commitment`; the others are `compute_commitment`'s arguments."""
    # Stops "a copied digest and its opening", and "bytes moved between salt and payload".
    expected = compute_commitment(network, kind, epoch, author, opening)
    return hmac.compare_digest(commitment, expected)


class Opened(msgspec.Struct, frozen=True, gc=False):
    """An opening, and the value that its payload was decoded to."""

    opening: Opening
    value: object


class OpeningOf(msgspec.Struct, frozen=True):
    """The schema of an opening. A payload decodes to an `Opened`.

    Attributes:
        payload: The schema of the output or list that was committed to.

    >>> OpeningOf(ScoreList()).describe()
    'opening[scores[up to 16000 of 0..1000000]]'
    """

    payload: Schema

    @property
    def longest_bytes(self) -> int:
        """Salt, challenge digest, and the longest payload that its schema declares."""
        return SALT_BYTES + DIGEST_BYTES + get_longest_bytes(self.payload)

    def bind(self, context: EpochContext) -> Callable[[bytes], Opened]:
        """The decoder: it takes the bytes of an opening and returns an `Opened`."""
        decode_payload = self.payload.bind(context)

        def decode(data: bytes) -> Opened:
            opening = Opening.from_bytes(data)
            return Opened(opening, decode_payload(opening.payload))

        return decode

    def encode(self, value: object) -> bytes:
        """The bytes of an `Opening`; its payload is encoded already, since the commitment was made
        over it. Raises Malformed for anything else.
        """
        if not isinstance(value, Opening):
            raise Malformed(f"expected an Opening, saw {type(value).__name__}")
        return value.to_bytes()

    def describe(self) -> str:
        """The payload's schema."""
        return f"opening[{self.payload.describe()}]"
