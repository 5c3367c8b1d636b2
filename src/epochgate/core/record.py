"""Records, the digests of their keys, and the bytes that their authors sign.

An author is named by its peer id (`epochgate.core.peer_id`). A value is the author's signature, 64
bytes, followed by the payload.
"""

from __future__ import annotations

import hashlib
import struct

import msgspec
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from epochgate.core.peer_id import get_public_key, is_author
from epochgate.core.types import (
    Hash32,
    NetworkId,
    PeerId,
    RecordKey,
    Signature,
    SigningPrefix,
)

KEY_BYTES = 20
SIGNATURE_BYTES = 64

RECORD_DOMAIN = b"epochgate/record/1\0"
NETWORK_DOMAIN = b"epochgate/network/1\0"
_pack_seconds = struct.Struct(">d").pack


class Record(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One record as it travels and is stored. `SigningKey.sign_record` makes a signed one.

    Attributes:
        key: SHA-1 of the key's name, 20 bytes: `compute_key(name)`.
        author: The peer id of the author, 38 bytes.
        value: The author's signature, 64 bytes, and the payload behind it.
        expiration_time: Unix seconds after which the record may be let go.

    >>> alice = SigningKey.from_seed(bytes(32))
    >>> network = compute_network_id("my-chain", 1)
    >>> record = alice.sign_record(network, compute_key("hoster"), b"a payload", 1_800_000_000.0)
    >>> record.payload, len(record.value)
    (b'a payload', 73)
    >>> Record(record.key, record.author, record.value, record.expiration_time) == record
    True
    """

    key: RecordKey
    author: PeerId
    value: bytes
    expiration_time: float

    @property
    def payload(self) -> bytes:
        """The value without its signature."""
        return self.value[SIGNATURE_BYTES:]


def compute_key(name: str) -> RecordKey:
    """The digest that names a key on the wire.

    It is the same as hivemind's `DHTID.generate(source=name).to_bytes()`, so a record has the same
    key on a plain hivemind DHT.

    Args:
        name: The key's name, `hoster-commit_epoch_7` for example.

    Returns:
        SHA-1 of the name's MessagePack encoding, 20 bytes.

    >>> compute_key("hoster").hex()
    'f2711850d7105406b1b8d2946be127b0234ce3b5'
    """
    return RecordKey(hashlib.sha1(msgspec.msgpack.encode(name), usedforsecurity=False).digest())


def compute_network_id(chain: str, subnet_id: int) -> NetworkId:
    """32 bytes that tell this chain and subnet from every other.

    Every signature covers them, so that none counts in another subnet.

    Args:
        chain: The hash of the chain's genesis block, or the chain's name.
        subnet_id: The subnet's number on the chain, from 0 to 2^64 - 1.

    Returns:
        SHA-256 over domain, `chain` behind its length and `subnet_id` as eight bytes, big-endian.

    >>> compute_network_id("my-chain", 1) == compute_network_id("my-chain", 2)
    False
    """
    message = NETWORK_DOMAIN + pack_field(chain.encode()) + struct.pack(">Q", subnet_id)
    return NetworkId(hashlib.sha256(message).digest())


def pack_field(field: bytes) -> bytes:
    """A field behind its length in four bytes, so that bytes cannot slide between neighbours."""
    return struct.pack(">I", len(field)) + field


def compute_value_digest(value: bytes) -> Hash32:
    """SHA-256 of a value: signature and payload."""
    return Hash32(hashlib.sha256(value).digest())


def compute_signing_prefix(network: NetworkId, key: RecordKey) -> SigningPrefix:
    """The part of the signed bytes that all records of a key share; it is made once per epoch."""
    return SigningPrefix(RECORD_DOMAIN + pack_field(network) + key)


def compute_signed_bytes(
    prefix: SigningPrefix, author: PeerId, expiration_time: float, payload: bytes
) -> bytes:
    """The bytes that an author signs (docs/spec.md#1-records).

    Args:
        prefix: Domain, network id and key, from `compute_signing_prefix`.
        author: The author's peer id.
        expiration_time: Unix seconds.
        payload: The value without its signature.

    Returns:
        The prefix, and behind it author (38 bytes), expiry (float64, big-endian) and SHA-256 of the
        payload. All of them have a fixed width, so no length is needed between them.
    """
    return prefix + author + _pack_seconds(expiration_time) + hashlib.sha256(payload).digest()


def is_signed(author: PeerId, message: bytes, signature: Signature) -> bool:
    """Whether `author`'s key made `signature` of `message`, and it has the length of one.

    libsodium refuses keys of small order and malleable signatures.
    """
    # Stops "a signature with a tail": whoever signed tail + message could show signature + tail,
    # and make every honest reply that repeats it too long to send.
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        # Stops "small-order keys, malleable signatures".
        crypto_sign_open(signature + message, get_public_key(author))
    except (BadSignatureError, ValueError):
        return False
    return True


def is_record_signed(network: NetworkId, record: Record) -> bool:
    """Whether the record's value begins with its author's signature for this network."""
    # Stops "one key in many encodings": a peer id contains the key, and has one form.
    if not is_author(record.author):
        return False
    message = compute_signed_bytes(
        compute_signing_prefix(network, record.key),
        record.author,
        record.expiration_time,
        record.payload,
    )
    return is_signed(record.author, message, Signature(record.value[:SIGNATURE_BYTES]))
