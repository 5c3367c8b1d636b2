"""A node's options are made from its settings, where each is written once."""

from __future__ import annotations

import inspect

import pytest

from epochgate.cli import run_command
from epochgate.cli.options import NodeOptions, add_node_options
from epochgate.runtime.settings import NodeSettings


def show_help(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The help on one line, without the table's rules."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 300)
    assert run_command([*command, "--help"]) == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("command", [["node"], ["adversary", "copier"]])
def test_every_setting_has_its_option_and_its_words(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show_help(command, capsys, monkeypatch)
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


@pytest.mark.parametrize("name", ["model", "challenger", "policy"])
def test_a_devnet_takes_what_it_passes_on_as_a_node_does(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = show_help(["devnet"], capsys, monkeypatch)
    assert f"--{name} " in shown
    assert (NodeSettings.model_fields[name].description or "") in shown
    assert "--identity" not in shown


def test_a_commands_own_options_keep_their_places() -> None:
    @add_node_options(["model", "policy"])
    def command(*, first: int = 1, options: NodeOptions, last: bool = False) -> int:
        assert options == {"model": None, "policy": "my:POLICY"}
        assert (first, last) == (7, True)
        return 3

    parameters = inspect.signature(command).parameters
    assert list(parameters) == ["first", "model", "policy", "last"]
    assert command(first=7, model=None, policy="my:POLICY", last=True) == 3
