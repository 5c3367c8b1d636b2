"""Identity files, signatures, and peer ids in text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from epochgate.core.peer_id import is_author
from epochgate.core.record import (
    SIGNATURE_BYTES,
    compute_key,
    is_record_signed,
    is_signed,
)
from epochgate.core.types import NetworkId
from epochgate.keys import (
    FILE_BYTES,
    FILE_PREFIX,
    KeyFileError,
    SigningKey,
)
from tests.support.identities import NETWORK, alice, bob

SEED = bytes(range(32))
PEER_ID = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"


def test_a_key_comes_back_from_its_file(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "identity")
    again = SigningKey.load(tmp_path / "identity")
    assert again.author == key.author
    assert again.sign(b"hi") == key.sign(b"hi")
    assert SigningKey.create(tmp_path / "another").author != key.author


def test_the_file_is_libp2ps_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    before = os.umask(0)
    try:
        key = SigningKey.create(path)
    finally:
        os.umask(before)
    data = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(data) == FILE_BYTES
    assert data.startswith(bytes([0x08, 1, 0x12, 64])), "key type Ed25519, 64 bytes of data"
    assert SigningKey.from_seed(data[4:36]).author == key.author
    assert data[36:] == key.author[-32:]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    key = SigningKey.create(path)
    with pytest.raises(KeyFileError, match=r"exists already.*choose another name"):
        SigningKey.create(path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="exists already"):
        SigningKey.create(tmp_path / "link")
    assert SigningKey.load(path).author == key.author


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written: No such file"):
        SigningKey.create(tmp_path / "missing" / "identity")


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        KeyFileError, match=r"does not exist: make a key with `epochgate keygen .*identity`"
    ):
        SigningKey.load(tmp_path / "identity")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777, 0o601])
def test_a_file_open_to_others_says_what_to_run(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity"
    SigningKey.create(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:o}\): run `chmod 600 {path}`"):
        SigningKey.load(path)
    path.chmod(0o400)
    SigningKey.load(path)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not an Ed25519 identity"),
        (b"-----BEGIN PRIVATE KEY-----", "not an Ed25519 identity"),
        (FILE_PREFIX + bytes(63), "not an Ed25519 identity"),
        (FILE_PREFIX + bytes(65), "not an Ed25519 identity"),
        (bytes.fromhex("08021240") + bytes(64), "not an Ed25519 identity"),
        (bytes.fromhex("080012a709") + bytes(1191), "an RSA key"),
        (bytes(1 << 20), "not an Ed25519 identity"),
        (FILE_PREFIX + SEED + bytes(32), "its public half does not belong"),
    ],
)
def test_what_is_no_identity_says_what_it_is(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "identity"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=why):
        SigningKey.load(path)


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read"):
        SigningKey.load(tmp_path)


def test_a_signature_is_the_authors_of_that_message() -> None:
    signature = alice.sign(b"hi")
    assert len(signature) == SIGNATURE_BYTES
    assert is_signed(alice.author, b"hi", signature)
    assert not is_signed(bob.author, b"hi", signature)
    assert not is_signed(alice.author, b"ho", signature)


def test_a_signed_record_is_bound_to_its_network() -> None:
    record = alice.sign_record(NETWORK, compute_key("hoster"), b"payload", 1e9)
    assert (record.key, record.author, record.payload, record.expiration_time) == (
        compute_key("hoster"),
        alice.author,
        b"payload",
        1e9,
    )
    assert is_record_signed(NETWORK, record)
    assert not is_record_signed(NetworkId(bytes(32)), record)


def test_a_seed_always_gives_the_same_key() -> None:
    assert (
        SigningKey.from_seed(SEED).author
        == SigningKey.from_seed(SEED).author
        != SigningKey.generate().author
    )
    assert is_author(SigningKey.generate().author)
    with pytest.raises(ValueError, match="32"):
        SigningKey.from_seed(b"short")


def test_the_secret_shows_in_no_text() -> None:
    key = SigningKey.from_seed(SEED)
    for text in (repr(key), str(key), f"{key}", repr([key])):
        assert text.strip("[]") == f"SigningKey({PEER_ID})"
    assert SEED.hex() not in repr(vars(key))
    assert repr(SEED)[2:-1] not in repr(vars(key))
