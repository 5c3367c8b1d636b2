"""Commit and open: a digest that only its author can open, only for this kind, epoch, challenge and
subnet.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

import msgspec

from epochgate.core.record import pack_field
from epochgate.core.schema import Decoder, EpochContext, Malformed, Schema, get_longest_bytes
from epochgate.core.types import Epoch, Hash32, NetworkId, PeerId

SALT_BYTES = 32
DIGEST_BYTES = 32
COMMITMENT_DOMAIN = b"epochgate/commitment/1\0"


class Opening(msgspec.Struct, frozen=True, gc=False):
    """What an author shows to open its commitment: 32 random bytes, the challenge it worked on, and
    its payload.

    On the wire: salt, challenge digest, payload, end to end; the first two have a fixed width.
    """

    salt: bytes
    challenge_digest: Hash32
    payload: bytes

    def __repr__(self) -> str:
        """Salt and payload are secrets until they are shown, and texts end up in logs."""
        return f"Opening(challenge {self.challenge_digest.hex()}, salt and payload not shown)"

    def to_bytes(self) -> bytes:
        return self.salt + self.challenge_digest + self.payload

    @staticmethod
    def from_bytes(data: bytes) -> Opening:
        """Raises Malformed on fewer bytes than a salt and a digest take."""
        if len(data) < SALT_BYTES + DIGEST_BYTES:
            raise Malformed(
                f"an opening begins with {SALT_BYTES + DIGEST_BYTES} bytes of salt and challenge,"
                f" saw {len(data)} in all"
            )
        return Opening(
            data[:SALT_BYTES],
            Hash32(data[SALT_BYTES : SALT_BYTES + DIGEST_BYTES]),
            data[SALT_BYTES + DIGEST_BYTES :],
        )


def compute_commitment(
    network: NetworkId, kind: str, epoch: Epoch, author: PeerId, opening: Opening
) -> Hash32:
    """SHA-256 over domain, network id, kind, epoch, author, challenge digest, salt and SHA-256 of
    the payload, each behind its length (docs/spec.md#6-commitment-and-opening). `kind` is the name
    of the commitment's rule, `epoch` that of its key.
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
    return hmac.compare_digest(
        commitment, compute_commitment(network, kind, epoch, author, opening)
    )


class Opened(msgspec.Struct, frozen=True, gc=False):
    """An opening whose payload has been decoded to `value`."""

    opening: Opening
    value: object


class OpeningOf(msgspec.Struct, frozen=True):
    """The schema of an opening whose payload has the schema `payload`."""

    payload: Schema

    @property
    def longest_bytes(self) -> int:
        return SALT_BYTES + DIGEST_BYTES + get_longest_bytes(self.payload)

    def bind(self, context: EpochContext) -> Decoder:
        decode_payload = self.payload.bind(context)

        def decode(data: bytes) -> Opened:
            opening = Opening.from_bytes(data)
            return Opened(opening, decode_payload(opening.payload))

        return decode

    def encode(self, value: Opening) -> bytes:
        """Its payload is encoded already: the commitment was made over it."""
        return value.to_bytes()

    def describe(self) -> str:
        return f"opening[{self.payload.describe()}]"
