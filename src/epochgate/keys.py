"""Ed25519 keys: create and load a node's identity file, sign records, and name peers in text.

The file is libp2p's own: a protobuf `PrivateKey` of type Ed25519 whose data is seed and public key
(libp2p peer id specification), so the libp2p daemon and the signer of records read the same one and
cannot disagree.
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

FILE_PREFIX = bytes.fromhex("08011240")
"""Field 1, key type: 1, Ed25519. Field 2, data: 64 bytes."""
FILE_BYTES = len(FILE_PREFIX) + 64
MAX_FILE_BYTES = 1 << 16

RSA_FILE_PREFIX = bytes.fromhex("0800")
"""Key type 0. hivemind writes such files when it is left to make an identity."""

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_TEXT_CHARACTERS = 60
"""A peer id of 38 bytes has 52. Longer text is refused before it is worked on."""
MAX_REMEMBERED_NAMES = 1 << 12
"""Every event names its peers in text, and base58 is slow to write."""


class KeyFileError(EpochgateError, RuntimeError):
    """An identity file that cannot be used; the message says why and what to do."""


def write_secret_file(path: Path, data: bytes) -> None:
    """A new file that only its owner can read. Raises KeyFileError when there is one already."""
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
        os.fsync(
            file.fileno()
        )  # a node that has registered with this key must not lose it with the power


def read_secret_file(path: Path, how_to_make: str) -> bytes:
    """Raises KeyFileError: missing, or readable by others."""
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
    """A node's identity. `author` is its peer id; the secret half shows in no text."""

    def __init__(self, key: nacl.signing.SigningKey) -> None:
        self._key = key
        self.author: PeerId = PeerId(PEER_ID_PREFIX + bytes(key.verify_key))

    @staticmethod
    def generate() -> SigningKey:
        return SigningKey(nacl.signing.SigningKey.generate())

    @staticmethod
    def from_seed(seed: bytes) -> SigningKey:
        """The key of a 32-byte seed, always the same: for tests and simulations. Raises ValueError
        for another length.
        """
        return SigningKey(nacl.signing.SigningKey(seed))

    @staticmethod
    def create(path: Path, key: SigningKey | None = None) -> SigningKey:
        """A new key, or this one, in a new file that only its owner can read. Raises KeyFileError
        when there is one already.
        """
        key = key or SigningKey.generate()
        write_secret_file(path, FILE_PREFIX + bytes(key._key) + bytes(key._key.verify_key))
        return key

    @staticmethod
    def load(path: Path) -> SigningKey:
        """Raises KeyFileError: missing, readable by others, no Ed25519 identity, or damaged."""
        data = read_secret_file(path, f"make a key with `epochgate keygen {path}`")
        if data.startswith(RSA_FILE_PREFIX):
            raise KeyFileError(
                f"{path} holds an RSA key, which no peer id contains: make one with `epochgate"
                " keygen FILE`"
            )
        if len(data) != FILE_BYTES or not data.startswith(FILE_PREFIX):
            raise KeyFileError(
                f"{path} is no Ed25519 identity of libp2p: make one with `epochgate keygen FILE`"
            )
        seed = data[len(FILE_PREFIX) : -32]
        public_key = data[-32:]
        key = SigningKey.from_seed(seed)
        if bytes(key._key.verify_key) != public_key:
            raise KeyFileError(
                f"{path} is damaged, its public half does not belong to its secret half: restore it"
                " from a backup"
            )
        return key

    def sign(self, message: bytes) -> Signature:
        """64 bytes; the same message always gets the same signature (RFC 8032)."""
        return Signature(self._key.sign(message).signature)

    def sign_record(
        self, network: NetworkId, key: RecordKey, payload: bytes, expiration_time: float
    ) -> Record:
        message = compute_signed_bytes(
            compute_signing_prefix(network, key), PeerId(self.author), expiration_time, payload
        )
        return Record(key, PeerId(self.author), self.sign(message) + payload, expiration_time)

    def __repr__(self) -> str:
        return f"SigningKey({format_peer_id(self.author)})"


@functools.lru_cache(MAX_REMEMBERED_NAMES)
def format_peer_id(peer_id: PeerId) -> str:
    """The text form that libp2p uses, `12D3KooW...`: base58 with Bitcoin's alphabet."""
    number = int.from_bytes(peer_id, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(peer_id) - len(peer_id.lstrip(b"\0"))) + text


def parse_peer_id(text: str) -> PeerId:
    """Raises ValueError for anything but the peer id of an Ed25519 key."""
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"{text[:MAX_TEXT_CHARACTERS]!r}... is too long for a peer id")
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise ValueError(f"{text!r} is no peer id: {character!r} does not belong to base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    peer_id = b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not is_author(peer_id):
        raise ValueError(f"{text!r} is not the peer id of an Ed25519 key (12D3KooW...)")
    return PeerId(peer_id)
