"""Records: what is stored, its key's digest, and the bytes that its author signs.

An author is named by its libp2p peer id, 38 bytes that end in its Ed25519 public key, and by
nothing else: one author has one encoding. A value is the signature (64 bytes) followed by the
payload.
"""

from __future__ import annotations

import hashlib
import struct

import msgspec
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from epochgate.core.types import Hash32, NetworkId, PeerId, RecordKey, Signature

KEY_BYTES = 20
SIGNATURE_BYTES = 64
AUTHOR_BYTES = 38
PEER_ID_PREFIX = bytes.fromhex("002408011220")
"""Identity multihash of a protobuf public key of type Ed25519 (libp2p peer id specification)."""

RECORD_DOMAIN = b"epochgate/record/1\0"
_pack_seconds = struct.Struct(">d").pack


class Record(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """`key` is a digest of 20 bytes, `author` a peer id, `expiration_time` absolute Unix
    seconds.
    """

    key: RecordKey
    author: PeerId
    value: bytes
    expiration_time: float

    @property
    def payload(self) -> bytes:
        return self.value[SIGNATURE_BYTES:]


def compute_key(name: str) -> RecordKey:
    """SHA-1 of the MessagePack encoding of the name: the same as hivemind's
    `DHTID.generate(source=name).to_bytes()`.
    """
    return RecordKey(hashlib.sha1(msgspec.msgpack.encode(name), usedforsecurity=False).digest())


def compute_network_id(chain: str, subnet_id: int) -> NetworkId:
    """32 bytes that tell this chain and subnet from every other; `chain` is the hash of its
    genesis, or its name.
    """
    return NetworkId(
        hashlib.sha256(
            b"epochgate/network/1\0" + pack_field(chain.encode()) + struct.pack(">Q", subnet_id)
        ).digest()
    )


def pack_field(field: bytes) -> bytes:
    """A field behind its length in four bytes, so that bytes cannot slide between neighbours."""
    return struct.pack(">I", len(field)) + field


def compute_value_digest(value: bytes) -> Hash32:
    return Hash32(hashlib.sha256(value).digest())


def compute_signing_prefix(network: NetworkId, key: RecordKey) -> bytes:
    """The part of the signed bytes that all records of a key share, so that it is made once an
    epoch.
    """
    return RECORD_DOMAIN + pack_field(network) + key


def compute_signed_bytes(
    prefix: bytes, author: PeerId, expiration_time: float, payload: bytes
) -> bytes:
    """Domain, network id, key, author, expiry and SHA-256 of the payload; all behind the prefix has
    a fixed width.
    """
    return prefix + author + _pack_seconds(expiration_time) + hashlib.sha256(payload).digest()


def is_author(name: bytes) -> bool:
    """Whether `name` is a peer id that carries an Ed25519 public key."""
    return len(name) == AUTHOR_BYTES and name.startswith(PEER_ID_PREFIX)


def is_signed(author: PeerId, message: bytes, signature: Signature) -> bool:
    """Whether `author`'s key made `signature` of `message`. libsodium refuses small-order keys and
    malleable signatures.
    """
    try:
        crypto_sign_open(signature + message, author[6:])
    except (BadSignatureError, ValueError):
        return False
    return True


def is_record_signed(network: NetworkId, record: Record) -> bool:
    message = compute_signed_bytes(
        compute_signing_prefix(network, record.key),
        record.author,
        record.expiration_time,
        record.payload,
    )
    return is_author(record.author) and is_signed(
        record.author, message, Signature(record.value[:SIGNATURE_BYTES])
    )
