"""Adversaries run two at a time, each two on a devnet of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from epochgate.cli.attack_run import run_attacks
from epochgate.devnet.attack import AttackOutcome
from tests.support.command_line import get_values


class Devnets:
    """Takes the place of `epochgate devnet`: those with a troublemaker do not end well."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []

    def run(self, command: Sequence[str], **_options: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        names = get_values(command, "--adversary")
        if "unstartable" in names:
            return subprocess.CompletedProcess(command, 2, "", "epochgate: no memory\n")
        outcomes = [AttackOutcome(name, 1, 0, 1, 10**6, 2, 2, {}) for name in names]
        Path(*get_values(command, "--attack-json")).write_bytes(msgspec.json.encode(outcomes))
        if "troublemaker" in names:
            told = "starting\n  epoch 1 incomplete: no submission\n"
            return subprocess.CompletedProcess(command, 1, told, "")
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def devnets(monkeypatch: pytest.MonkeyPatch) -> Devnets:
    devnets = Devnets()
    monkeypatch.setattr("epochgate.cli.attack_run.subprocess.run", devnets.run)
    return devnets


def test_each_subnet_has_two(devnets: Devnets, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes, failures = run_attacks(["a", "b", "c"], 3, 8.0)
    assert [outcome.adversary for outcome in outcomes] == ["a", "b", "c"]
    assert failures == []
    assert [get_values(command, "--adversary") for command in devnets.commands] == [
        ["a", "b"],
        ["c"],
    ]
    assert get_values(devnets.commands[0], "--epochs") == ["3"]
    assert "subnet 2 of 2: c ..." in capsys.readouterr().err


def test_a_devnet_that_did_not_end_well_says_why(devnets: Devnets) -> None:
    outcomes, failures = run_attacks(["a", "troublemaker", "b", "unstartable"], 3, 8.0)
    assert [outcome.adversary for outcome in outcomes] == ["a", "troublemaker"]
    assert failures == [
        "the subnet of a and troublemaker: epoch 1 incomplete: no submission",
        "the subnet of b and unstartable: epochgate: no memory",
    ]
