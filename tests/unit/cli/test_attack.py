"""`epochgate attack`: which adversaries run, the page's table, and what is refused before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from epochgate.cli import run_command
from epochgate.cli.attack import BEGIN, END
from epochgate.devnet.attack import AttackOutcome
from tests.support.command_line import refuse

HARMLESS = AttackOutcome("copier", 1, 0, 2 * 10**17, 10**6, 2, 2, {"late": 27})
HARMFUL = AttackOutcome("copier", 1, 0, 2 * 10**17, 10**6, 1, 2, {})


class Stage:
    """Takes the place of the runs."""

    def __init__(self) -> None:
        self.outcomes = [HARMLESS]
        self.failures: list[str] = []
        self.names: Sequence[str] = ()

    def run(
        self, names: Sequence[str], _epochs: int, _epoch_seconds: float
    ) -> tuple[list[AttackOutcome], list[str]]:
        self.names = names
        return self.outcomes, self.failures


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr("epochgate.cli.attack_run.run_attacks", stage.run)
    return stage


def test_all_adversaries_run_or_those_that_are_named(stage: Stage) -> None:
    assert run_command(["attack"]) == 0
    assert len(stage.names) > 10
    assert run_command(["attack", "--only", "latecomer", "--only", "copier"]) == 0
    assert list(stage.names) == ["copier", "latecomer"]


def test_harm_or_a_devnet_that_failed_is_exit_code_1(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.outcomes = [HARMFUL]
    assert run_command(["attack"]) == 1
    stage.outcomes = [HARMLESS]
    stage.failures = ["the subnet of copier: it did not start"]
    assert run_command(["attack"]) == 1
    assert "the subnet of copier: it did not start" in capsys.readouterr().out


def test_the_table_of_a_page_is_replaced(stage: Stage, tmp_path: Path) -> None:
    page = tmp_path / "security.md"
    page.write_text(f"# Security\n{BEGIN}old table\n{END}the rest\n")
    assert run_command(["attack", "--page", f"{page}"]) == 0
    text = page.read_text()
    assert text.startswith(f"# Security\n{BEGIN}")
    assert text.endswith(f"{END}the rest\n")
    assert "old table" not in text
    assert "copier" in text


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--only", "nobody"], "there are copier, latecomer"),
        (["--page", "FOLDER"], "is a folder"),
        (["--page", "FOLDER/none.md"], "cannot be read: No such file"),
        (["--page", "FOLDER/bare.md"], "put them where the table goes"),
    ],
)
def test_wrong_input_is_told_before_anything_runs(
    arguments: list[str],
    advice: str,
    stage: Stage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bare.md").write_text("# Security\n")
    given = [part.replace("FOLDER", str(tmp_path)) for part in arguments]
    assert advice in refuse(capsys, "attack", *given)
    assert stage.names == ()
