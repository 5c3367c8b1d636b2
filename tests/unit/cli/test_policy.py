"""`epochgate policy` and `epochgate keygen`."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.cli import run_command
from epochgate.keys import SigningKey, format_peer_id, parse_peer_id
from tests.support.command_line import refuse


def test_keygen_prints_the_peer_id_of_the_key_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["keygen", f"{tmp_path}/carol.key"]) == 0
    peer_id = capsys.readouterr().out.strip()
    assert peer_id == format_peer_id(SigningKey.load(tmp_path / "carol.key").author)
    assert parse_peer_id(peer_id)


def test_a_key_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SigningKey.create(tmp_path / "carol.key")
    assert "choose another name" in refuse(capsys, "keygen", f"{tmp_path}/carol.key")


def test_a_policy_is_printed_with_its_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["policy", "--timeline"]) == 0
    out = capsys.readouterr().out
    assert "hoster-commit_epoch_{epoch}" in out
    assert "█" in out
    assert "digest " in out
    assert "problem" not in out


def test_a_policy_that_cannot_work_on_a_chain_says_so_and_exits_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["policy", "--blocks-per-epoch", "10"]) == 1
    assert "problem: hoster-reveal" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--policy", "INFERENCE_POLICY"], "write module:NAME"),
        (["--policy", "nowhere:POLICY"], "there is no module 'nowhere'"),
        (["--roster", "0"], "--roster"),
    ],
)
def test_wrong_input_is_told(
    arguments: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert advice in refuse(capsys, "policy", *arguments)
