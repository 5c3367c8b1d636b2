"""Ed25519 keys: create and load a node's identity file, sign records, and name peers in text.

The file is libp2p's own: a protobuf `PrivateKey` of type Ed25519 whose data is seed and public key
(libp2p peer id specification). So the libp2p daemon and the signer of records read the same file,
and cannot disagree.
"""

from __future__ import annotations

import functools
import os
import stat
from pathlib import Path

import nacl.signing

from epochgate.core.record import (
    PEER_ID_PREFIX,
    Record,
    compute_signed_bytes,
    compute_signing_prefix,
    is_author,
)
from epochgate.core.types import NetworkId, PeerId, RecordKey, Signature
from epochgate.errors import EpochgateError

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
FILE_PREFIX = bytes.fromhex("08011240")
"""Field 1, key type: 1, Ed25519. Field 2, data: 64 bytes."""
FILE_BYTES = len(FILE_PREFIX) + SEED_BYTES + PUBLIC_KEY_BYTES
MAX_FILE_BYTES = 1 << 16

RSA_FILE_PREFIX = bytes.fromhex("0800")
"""Key type 0, RSA. hivemind writes such a file where it makes the identity itself."""

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_TEXT_CHARACTERS = 60
"""A peer id of 38 bytes has 52. Longer text is refused before it is decoded."""
MAX_REMEMBERED_NAMES = 1 << 12
"""Every event names its peers in text, and base58 is slow to write."""


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
            f"{path} exists already: a key is never overwritten, choose another name"
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
        raise KeyFileError(f"{path} does not exist: {how_to_make}") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"{path} is open to others (mode {mode:o}): run `chmod 600 {path}`")
    return data


class SigningKey:
    """A node's identity. No text shows its secret half.

    Args:
        key: The key as PyNaCl holds it; `generate`, `create`, `load` and `from_seed` make one.

    Attributes:
        author: The key's peer id, 38 bytes.

    Example:
        >>> from epochgate import SigningKey, compute_key, compute_network_id
        >>> key = SigningKey.from_seed(bytes(32))
        >>> key
        SigningKey(12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN)
        >>> network = compute_network_id("a genesis hash", 1)
        >>> record = key.sign_record(network, compute_key("hoster"), b"payload", 1_700_000_600.0)
        >>> record.author == key.author
        True
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
                f"{path} holds an RSA key, which no peer id contains: make one with `epochgate"
                " keygen FILE`"
            )
        if len(data) != FILE_BYTES or not data.startswith(FILE_PREFIX):
            raise KeyFileError(
                f"{path} is not an Ed25519 identity of libp2p: make one with `epochgate keygen"
                " FILE`"
            )
        seed = data[len(FILE_PREFIX) : -PUBLIC_KEY_BYTES]
        public_key = data[-PUBLIC_KEY_BYTES:]
        key = SigningKey.from_seed(seed)
        if bytes(key._key.verify_key) != public_key:
            raise KeyFileError(
                f"{path} is damaged, its public half does not belong to its secret half: restore it"
                " from a backup"
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


@functools.lru_cache(MAX_REMEMBERED_NAMES)
def format_peer_id(peer_id: PeerId) -> str:
    """A peer id as text, as libp2p writes it: 12D3KooW..., base58 with Bitcoin's alphabet."""
    number = int.from_bytes(peer_id, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(peer_id) - len(peer_id.lstrip(b"\0"))) + text


def parse_peer_id(text: str) -> PeerId:
    """Read a peer id in text.

    Args:
        text: The id as `format_peer_id` writes it, 12D3KooW...

    Returns:
        The peer id, 38 bytes.

    Raises:
        ValueError: The text is not the peer id of an Ed25519 key.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"{text[:MAX_TEXT_CHARACTERS]!r}... is too long for a peer id")
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise ValueError(f"{text!r} is not a peer id: {character!r} does not belong to base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    peer_id = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not is_author(peer_id):
        raise ValueError(f"{text!r} is not the peer id of an Ed25519 key (12D3KooW...)")
    return PeerId(peer_id)
