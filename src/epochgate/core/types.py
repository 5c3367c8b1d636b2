"""Names for bytes and integers that would be swapped unseen otherwise: a type checker tells them
apart.

At run time each is the plain value, so nothing is converted; whoever makes one says what it is.
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
"""Comes before every peer id: a listing begins beyond it."""

NetworkId = NewType("NetworkId", bytes)
"""Chain and subnet: 32 bytes."""

Hash32 = NewType("Hash32", bytes)
"""A SHA-256 digest, 32 bytes: of a value, a challenge, a commitment, a policy or a set."""

Signature = NewType("Signature", bytes)
"""Ed25519, 64 bytes."""

Epoch = NewType("Epoch", int)
"""An epoch's number, 0 for the subnet's first."""

BlockNumber = NewType("BlockNumber", int)
"""A block's number on the chain."""
