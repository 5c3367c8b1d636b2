"""A node's options are made from its settings, where each is written once."""

from __future__ import annotations

import sys

import pytest

from epochgate.cli import run_command
from epochgate.runtime.settings import NodeSettings


@pytest.mark.parametrize("command", [["node"], ["adversary", "copier"]])
def test_every_setting_has_its_option_and_its_words(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)
    assert run_command([*command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, field in NodeSettings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in shown
        assert field.description is not None
        assert field.description in shown


def test_an_option_reaches_its_setting(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--role", "hoster", "--chain", "local:chain.sqlite", "--identity", "node.key"]
    options += ["--data", "data", "--subnet-id", "7", "--block-seconds", "1.5", "--behind-nat"]
    options += ["--initial-peers", "/ip4/127.0.0.1/tcp/1", "--heartbeat-facts", "region=eu"]
    assert run_command(["node", *options, "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert "subnet_id = 7" in shown
    assert "block_seconds = 1.5" in shown
    assert "behind_nat = true" in shown
    assert '"/ip4/127.0.0.1/tcp/1"' in shown
    assert 'region = "eu"' in shown
    assert "(--subnet-id)" in shown


@pytest.mark.parametrize(
    "command",
    [
        ["devnet", "--adversary", "copier"],
        ["attack"],
        ["adversary", "copier", "--role", "hoster"],
    ],
)
def test_where_adversaries_are_not_installed_a_line_says_how_to_get_them(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "epochgate.adversaries", None)
    assert run_command(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "clone the repository" in told
