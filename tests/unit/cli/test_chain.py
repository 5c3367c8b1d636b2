"""`epochgate chain`, as far as it goes without a chain."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from epochgate.chain.hypertensor.account import Account
from epochgate.cli import run_command

NOWHERE = ["--chain", "ws://127.0.0.1:1", "--subnet-id", "7"]


@pytest.fixture
def coldkey(tmp_path: Path) -> str:
    Account.create(tmp_path / "cold.key")
    return str(tmp_path / "cold.key")


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error."""
    assert run_command(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_key_is_made_once_and_its_address_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hot.key"
    assert run_command(["chain", "keygen", str(path)]) == 0

    assert capsys.readouterr().out.strip() == Account.load(path).address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "never overwritten" in refuse(capsys, "chain", "keygen", str(path))


def test_a_chain_that_is_not_there_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], coldkey: str
) -> None:
    for command in (["status", *NOWHERE], ["activate", *NOWHERE, "--coldkey", coldkey, "--yes"]):
        assert "ws://127.0.0.1:1 does not answer" in refuse(capsys, "chain", *command)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-cost", "much", "write a number of TENSOR"),
        ("--max-cost", "-1", "an amount is 0 or more"),
        ("--min-stake", "0.0000000000000000001", "at most 18 decimals"),
        ("--initial-coldkey", "alith", "write an address of 0x and 40 digits"),
        ("--bootnode", "/ip4/127.0.0.1/tcp/1", "write it like /ip4/203.0.113.5"),
    ],
)
def test_a_wrong_option_is_named(
    capsys: pytest.CaptureFixture[str], coldkey: str, option: str, value: str, words: str
) -> None:
    peer = "12D3KooWRkZhiRhsqmrQ28rt73K7V3aCBpqKrLGSXmZ99PTcTZby"
    options = {
        "--max-cost": "1",
        "--bootnode": f"/ip4/127.0.0.1/tcp/1/p2p/{peer}",
        "--name": "a",
    } | {option: value}
    given = [part for pair in options.items() for part in pair]
    line = refuse(
        capsys,
        "chain",
        "register-subnet",
        "--chain",
        "ws://127.0.0.1:1",
        "--coldkey",
        coldkey,
        *given,
    )
    assert option in line
    assert words in line


def test_without_a_key_nothing_is_asked_of_the_chain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EPOCHGATE_COLDKEY_SECRET", raising=False)
    assert "as EPOCHGATE_COLDKEY_SECRET" in refuse(capsys, "chain", "activate", *NOWHERE)


def test_a_node_on_a_chain_with_many_subnets_names_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "node.key"
    run_command(["keygen", str(key)])
    capsys.readouterr()
    node = [
        "node",
        "--role",
        "hoster",
        "--chain",
        "ws://127.0.0.1:1",
        "--identity",
        str(key),
        "--data",
        str(tmp_path / "data"),
    ]
    assert "say which with --subnet-id N" in refuse(capsys, *node)
    assert "as EPOCHGATE_HOTKEY_SECRET" in refuse(capsys, *node, "--subnet-id", "7")
