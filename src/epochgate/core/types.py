"""Names for bytes and integers that could be swapped unseen otherwise: a type checker tells them
apart.

At run time each name is the plain value, so a conversion costs nothing. Code that makes a value
from raw bytes or integers names its type once; everything behind it is checked.
"""

from __future__ import annotations

from typing import NewType

PeerId = NewType("PeerId", bytes)
"""A libp2p peer id that contains an Ed25519 public key: 38 bytes. It names authors and replicas."""

RecordKey = NewType("RecordKey", bytes)
"""The digest that a record's key has on the wire: 20 bytes, SHA-1 of the name's MessagePack
encoding.
"""

NOBODY = PeerId(b"")
"""Sorts before every peer id: the cursor of a listing that starts with the first author."""

NetworkId = NewType("NetworkId", bytes)
"""Chain and subnet: 32 bytes."""

Hash32 = NewType("Hash32", bytes)
"""A SHA-256 digest, 32 bytes: of a value, a challenge, a commitment, a policy or a set."""

Signature = NewType("Signature", bytes)
"""Ed25519, 64 bytes."""

Salt = NewType("Salt", bytes)
"""The random bytes that hide what a commitment is to: 32 bytes."""

SigningPrefix = NewType("SigningPrefix", bytes)
"""The first of the bytes that an author signs, the same for all records of a key."""

Epoch = NewType("Epoch", int)
"""An epoch's number, 0 for the subnet's first."""

BlockNumber = NewType("BlockNumber", int)
"""A block's number on the chain."""

FIXED_POINT_ONE = 10**18
"""One in the chains' numbers, which have 18 decimals: one token, a whole, a submission's pay."""
