"""Ed25519 keys: create and load a node's identity file, sign records, and name peers in text.

The file is libp2p's own: a protobuf `PrivateKey` of type Ed25519 whose data is seed and public key
(libp2p peer id specification). So the libp2p daemon and the signer of records read the same file,
and cannot disagree.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import nacl.signing

from epochgate.core.peer_id import PEER_ID_PREFIX, format_peer_id, parse_peer_id
from epochgate.core.record import Record, compute_signed_bytes, compute_signing_prefix
from epochgate.core.types import NetworkId, PeerId, RecordKey, Signature
from epochgate.errors import EpochgateError

__all__ = [
    "FILE_BYTES",
    "FILE_PREFIX",
    "MAX_FILE_BYTES",
    "RSA_FILE_PREFIX",
    "KeyFileError",
    "SigningKey",
    "format_peer_id",
    "parse_peer_id",
    "read_secret_file",
    "write_secret_file",
]

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
FILE_PREFIX = bytes.fromhex("08011240")
"""Field 1, key type: 1, Ed25519. Field 2, data: 64 bytes."""
FILE_BYTES = len(FILE_PREFIX) + SEED_BYTES + PUBLIC_KEY_BYTES
MAX_FILE_BYTES = 1 << 16

RSA_FILE_PREFIX = bytes.fromhex("0800")
"""Key type 0, RSA. hivemind writes such a file where it makes the identity itself."""


class KeyFileError(EpochgateError, RuntimeError):
    """An identity file that cannot be used; the message says why and what to do."""


def write_secret_file(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read, and wait until it is on the disk.

    Args:
        path: The file, which must not exist.
        data: Its content.

    Raises:
        KeyFileError: There is a file already, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists already", "a key is never overwritten, choose another name"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        # a node that has registered with this key must not lose it in a power cut
        os.fsync(file.fileno())


def read_secret_file(path: Path, how_to_make: str) -> bytes:
    """Read a file that only its owner can read.

    Args:
        path: The file.
        how_to_make: Advice for the error where there is no such file.

    Returns:
        The content, cut to MAX_FILE_BYTES.

    Raises:
        KeyFileError: The file is missing, cannot be read, or is readable by others.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise KeyFileError(f"{path} does not exist", how_to_make) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"{path} is open to others (mode {mode:o})", f"run `chmod 600 {path}`")
    return data


class SigningKey:
    """A node's identity. No text shows its secret half.

    Args:
        key: The key as PyNaCl holds it; `generate`, `create`, `load` and `from_seed` make one.

    Attributes:
        author: The key's peer id, 38 bytes.

    >>> alice = SigningKey.from_seed(bytes(32))
    >>> alice
    SigningKey(12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN)
    >>> len(alice.sign(b"a message"))
    64
    """

    def __init__(self, key: nacl.signing.SigningKey) -> None:
        self._key = key
        self.author: PeerId = PeerId(PEER_ID_PREFIX + bytes(key.verify_key))

    @staticmethod
    def generate() -> SigningKey:
        """A new key, from the operating system's random bytes."""
        return SigningKey(nacl.signing.SigningKey.generate())

    @staticmethod
    def from_seed(seed: bytes) -> SigningKey:
        """The key that follows from a seed: for tests and simulations.

        Args:
            seed: 32 bytes; the same ones always give the same key.

        Returns:
            The key whose secret half is the seed (RFC 8032).

        Raises:
            ValueError: The seed has another length.
        """
        return SigningKey(nacl.signing.SigningKey(seed))

    @staticmethod
    def create(path: Path, key: SigningKey | None = None) -> SigningKey:
        """Write a key into a new file that only its owner can read.

        Args:
            path: The file, which must not exist.
            key: The key; a new one where it is None.

        Returns:
            The key.

        Raises:
            KeyFileError: There is a file already, or it cannot be written.
        """
        key = key or SigningKey.generate()
        write_secret_file(path, FILE_PREFIX + bytes(key._key) + bytes(key._key.verify_key))
        return key

    @staticmethod
    def load(path: Path) -> SigningKey:
        """Read the key in a file.

        Args:
            path: A file that `create`, or another program of libp2p, wrote.

        Returns:
            The key in the file.

        Raises:
            KeyFileError: The file is missing, readable by others, damaged, or not an Ed25519
                identity.
        """
        data = read_secret_file(path, f"make a key with `epochgate keygen {path}`")
        if data.startswith(RSA_FILE_PREFIX):
            raise KeyFileError(
                f"{path} holds an RSA key, which no peer id contains",
                "make one with `epochgate keygen FILE`",
            )
        if len(data) != FILE_BYTES or not data.startswith(FILE_PREFIX):
            raise KeyFileError(
                f"{path} is not an Ed25519 identity of libp2p",
                "make one with `epochgate keygen FILE`",
            )
        seed = data[len(FILE_PREFIX) : -PUBLIC_KEY_BYTES]
        public_key = data[-PUBLIC_KEY_BYTES:]
        key = SigningKey.from_seed(seed)
        if bytes(key._key.verify_key) != public_key:
            raise KeyFileError(
                f"{path} is damaged, its public half does not belong to its secret half",
                "restore it from a backup",
            )
        return key

    def sign(self, message: bytes) -> Signature:
        """Sign a message: 64 bytes, always the same for the same message (RFC 8032)."""
        return Signature(self._key.sign(message).signature)

    def sign_record(
        self, network: NetworkId, key: RecordKey, payload: bytes, expiration_time: float
    ) -> Record:
        """Sign a record.

        Args:
            network: The chain and subnet that it is for.
            key: The record's key.
            payload: What it carries, as its rule's schema encodes it.
            expiration_time: Its expiry in Unix seconds, finite.

        Returns:
            The record, whose value is the signature and then the payload.
        """
        prefix = compute_signing_prefix(network, key)
        message = compute_signed_bytes(prefix, self.author, expiration_time, payload)
        return Record(key, self.author, self.sign(message) + payload, expiration_time)

    def __repr__(self) -> str:
        return f"SigningKey({format_peer_id(self.author)})"
