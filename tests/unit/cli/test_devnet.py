"""`epochgate devnet`: what it refuses, and what becomes of its folder. The runs themselves are in
tests/network/test_devnet.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from epochgate.cli import run_command
from epochgate.cli.devnet_options import DevnetOptions
from epochgate.devnet.supervisor import DevnetError
from epochgate.runtime.loading import DEFAULT_POLICY
from tests.support.command_line import refuse

Run = Callable[[DevnetOptions, Path], bool]


class Stage:
    """Takes the place of a run, and remembers what it was given."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_clean = True

    def run(self, options: DevnetOptions, folder: Path) -> bool:
        self.options = options
        self.folder = folder
        (folder / "chain.sqlite").touch()
        if self.error is not None:
            raise self.error
        return self.is_clean


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr("epochgate.cli.devnet_run.run_devnet", stage.run)
    return stage


def test_what_is_asked_for_is_what_is_run(stage: Stage, tmp_path: Path) -> None:
    asked = ["--hosters", "5", "--validators", "2", "--epochs", "3", "--epoch-seconds", "10"]
    asked += ["--json", f"{tmp_path}/summary.json", "--restart-node-at", "45%"]
    assert run_command(["devnet", *asked]) == 0
    options = stage.options
    assert (options.hosters, options.validators, options.epochs) == (5, 2, 3)
    assert options.block_seconds == 0.1
    assert options.faults.restart_at == 0.45
    assert options.settings == {"policy": DEFAULT_POLICY}
    assert options.json == tmp_path / "summary.json"


def test_a_temporary_folder_goes_after_a_clean_run_or_an_interrupted_one(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["devnet"]) == 0
    assert not stage.folder.exists()
    stage.error = KeyboardInterrupt()
    assert run_command(["devnet"]) == 130
    assert not stage.folder.exists()
    assert capsys.readouterr().err == ""


def test_the_folder_of_a_run_that_failed_stays_and_is_named(
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stage.is_clean = False
    assert run_command(["devnet"]) == 1
    assert stage.folder.is_dir()
    assert f"keys, databases and logs are in {stage.folder}" in capsys.readouterr().err


def test_a_subnet_that_does_not_come_up_says_why_and_exits_1(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.error = DevnetError("hoster-1 did not start: exit code 3")
    assert run_command(["devnet", "--dir", f"{tmp_path}/run"]) == 1
    assert "epochgate: hoster-1 did not start: exit code 3\n" in capsys.readouterr().err
    assert stage.folder == tmp_path / "run"


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--dir", "FOLDER"], "choose another one"),
        (["--dir", "FOLDER/file"], "File exists"),
        (["--json", "FOLDER/nowhere/summary.json"], "make it first"),
        (["--json", "FOLDER"], "is a folder: name a file in it"),
        (["--attack-json", "FOLDER"], "is a folder: name a file in it"),
        (["--hosters", "0"], "--hosters"),
        (["--validators", "many"], "--validators"),
        (["--epochs", "0"], "--epochs"),
        (["--epoch-seconds", "1"], "greater than or equal to 5"),
        (["--model", "nowhere:make_model"], "there is no module 'nowhere'"),
        (["--challenger", "nowhere:Prompts"], "there is no module 'nowhere'"),
        (["--policy", "nowhere:POLICY"], "there is no module 'nowhere'"),
        (["--colour", "red"], "see `epochgate devnet --help`"),
        (["--adversary", "nobody"], "there are copier, latecomer"),
        (["--adversary", "copier:4"], "so 9 honest ones"),
        (["--restart-node-at", "145%"], "as in 45%"),
    ],
)
def test_wrong_input_is_told_in_one_line_before_anything_runs(
    arguments: list[str],
    advice: str,
    stage: Stage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    given = [part.replace("FOLDER", str(tmp_path)) for part in arguments]
    assert advice in refuse(capsys, "devnet", *given)
    assert not hasattr(stage, "folder")
