"""Accounts of the chain: secp256k1 keys in files that only their owner can read, or in the
environment.

Hypertensor names an account by the last 20 bytes of the Keccak-256 hash of its public key, and
signs the Keccak-256 hash of a message, both as Ethereum does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError

from epochgate.core.types import Signature
from epochgate.keys import KeyFileError, read_secret_file, write_secret_file

SECRET_BYTES = 32
SECRET = re.compile(r"(0x)?[0-9a-fA-F]{64}")
ECDSA = 2
"""The number by which async-substrate-interface knows this kind of key."""


class Account:
    """A key that signs extrinsics, as `async_substrate_interface.protocols.Keypair` describes it.

    No text shows the secret.
    """

    crypto_type = ECDSA
    ss58_format = 42

    def __init__(self, secret: bytes) -> None:
        """Take a secret of 32 bytes. Raise ValueError where they are not a secp256k1 key."""
        try:
            self._key = PrivateKey(secret)
            self.public_key: bytes = self._key.public_key.to_canonical_address()
        except (ValidationError, ValueError) as error:
            raise ValueError(f"these 32 bytes are not a secp256k1 key: {error}") from None
        self.ss58_address: str = self._key.public_key.to_checksum_address()

    @property
    def address(self) -> str:
        """`0x` and 40 hexadecimal digits."""
        return self.ss58_address

    @staticmethod
    def create(path: Path) -> Account:
        """Make a new key in a new file that only its owner can read.

        Args:
            path: The file, which must not exist.

        Returns:
            The account of the key.

        Raises:
            KeyFileError: There is a file already, or it cannot be written.
        """
        secret = os.urandom(SECRET_BYTES)
        account = Account(secret)
        write_secret_file(path, f"0x{secret.hex()}\n".encode())
        return account

    @staticmethod
    def load(path: Path) -> Account:
        """Read the key in a file.

        Args:
            path: A file that `create` made.

        Returns:
            The account of the key.

        Raises:
            KeyFileError: The file is missing, others can read it, or it holds no key.
        """
        data = read_secret_file(path, f"make a key with `epochgate chain keygen {path}`")
        return _parse(data.decode("ascii", "replace"), str(path))

    def sign(self, data: bytes | str) -> Signature:
        """Sign an extrinsic.

        Args:
            data: The extrinsic, which the library gives as bytes or as hexadecimal text.

        Returns:
            65 bytes: r, s and v.
        """
        message = data
        if isinstance(message, str):
            message = bytes.fromhex(message.removeprefix("0x"))
        return Signature(self._key.sign_msg(bytes(message)).to_bytes())

    def __repr__(self) -> str:
        return f"Account({self.address})"


def find_account(file: Path | None, variable: str, environment: Mapping[str, str]) -> Account:
    """The account in `file`, or in the environment where `file` is None.

    Args:
        file: A file that `Account.create` made.
        variable: The environment variable that holds the secret in hexadecimal.
        environment: The environment.

    Returns:
        The account of the key.

    Raises:
        KeyFileError: There is neither, or it holds no key.
    """
    if file is not None:
        return Account.load(file)
    if text := environment.get(variable):
        return _parse(text, variable)
    raise KeyFileError(
        "no key was given", f"name its file, or put it into the environment as {variable}"
    )


def _parse(text: str, source: str) -> Account:
    if not SECRET.fullmatch(text.strip()):
        raise KeyFileError(
            f"{source} does not hold a secp256k1 key of 64 hexadecimal digits",
            "look whether it is the right one",
        )
    try:
        return Account(bytes.fromhex(text.strip().removeprefix("0x")))
    except ValueError as error:
        raise KeyFileError(f"{source}: {error}") from None
