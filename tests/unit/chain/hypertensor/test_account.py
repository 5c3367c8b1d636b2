"""Accounts: secp256k1 keys in files and in the environment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from epochgate.chain.hypertensor.account import Account, find_account
from epochgate.keys import KeyFileError
from tests.support.hypertensor_values import ALITH, ALITH_ADDRESS


def test_an_address_is_that_of_frontiers_development_account() -> None:
    assert Account(ALITH).address == ALITH_ADDRESS
    assert ALITH.hex() not in repr(Account(ALITH))


def test_a_signature_recovers_to_the_account() -> None:
    from eth_keys.datatypes import Signature

    account = Account(ALITH)
    signature = account.sign("0x" + b"extrinsic".hex())
    assert signature == account.sign(b"extrinsic")
    public_key = Signature(signature).recover_public_key_from_msg(b"extrinsic")
    assert public_key.to_checksum_address() == ALITH_ADDRESS


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "hot.key"
    account = Account.create(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Account.load(path).address == account.address
    with pytest.raises(KeyFileError, match="never overwritten"):
        Account.create(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="open to others"):
        Account.load(path)


def test_what_is_no_key_is_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "hot.key"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, b"my secret phrase")
    os.close(descriptor)

    with pytest.raises(KeyFileError, match="does not hold a secp256k1 key") as refused:
        Account.load(path)
    assert "phrase" not in str(refused.value)
    with pytest.raises(KeyFileError, match="not a secp256k1 key"):
        find_account(None, "HOT", {"HOT": "00" * 32})


def test_a_key_may_come_from_the_environment() -> None:
    assert find_account(None, "HOT", {"HOT": f"0x{ALITH.hex()}\n"}).address == ALITH_ADDRESS
    with pytest.raises(KeyFileError, match="into the environment as HOT"):
        find_account(None, "HOT", {})
