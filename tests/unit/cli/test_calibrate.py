"""`epochgate calibrate`: the table, the line for the policy, and what wrong input gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.cli import run_command

USERS_FILE = """
import torch
from epochgate import INFERENCE_POLICY, Policy, Scoring

class Shifted(torch.nn.Module):
    def forward(self, x):
        return x + 0.001

STRICT = Policy(*INFERENCE_POLICY.rules, scoring=Scoring(tolerance_ppm=10))
"""


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory, as a user has it."""
    name = f"users_calibration_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(USERS_FILE)
    monkeypatch.chdir(tmp_path)
    return name


def test_the_default_model_is_measured_and_a_tolerance_proposed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["calibrate", "--runs", "1"]) == 0

    said = capsys.readouterr().out
    for name in (
        "1 thread",
        "in a batch of 32",
        "bfloat16 weights",
        "8-bit weights",
        "the grid of scores",
    ):
        assert name in said
    assert "Policy(..., scoring=Scoring(tolerance_ppm=" in said
    assert "full marks at the policy's 1,000 ppm: float16." in said
    assert "full marks at the proposed" in said
    assert "not measured" not in said


def test_a_policy_that_is_too_strict_for_honest_noise_is_told(
    users_module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["calibrate", "--runs", "1", "--policy", f"{users_module}:STRICT"]) == 1
    assert "The policy's 10 ppm is less than that" in capsys.readouterr().out


def test_another_model_is_measured_against_the_first(
    users_module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"{users_module}:Shifted"
    assert run_command(["calibrate", "--runs", "1", "--against", other]) == 0
    assert other[:19] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nowhere:make_model"], "there is no module"),
        (["--against", "nowhere:make_model"], "there is no module"),
        (["--policy", "nowhere:POLICY"], "there is no module"),
        (["--runs", "0"], "greater than or equal to 1"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["calibrate", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("epochgate: ")
    assert words in said
    assert said.count("\n") == 1
