"""The command line as a whole: exit codes, unknown commands, and what a command imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer

from epochgate import __version__
from epochgate.cli import app, run_command
from epochgate.errors import EpochgateError
from tests.support.command_line import refuse


class Impossible(EpochgateError):
    exit_code = 1


@pytest.fixture
def command() -> Iterator[str]:
    """A command that fails in the way that its argument names."""
    errors = {
        "wrong": EpochgateError("the file is wrong", "name another one"),
        "impossible": Impossible("the chain\nsays no"),
        "interrupted": KeyboardInterrupt(),
        "unsure": typer.Abort(),
        "broken": ZeroDivisionError("a mistake in the program"),
    }

    def fail(how: str) -> None:
        raise errors[how]

    app.command("fail", hidden=True)(fail)
    yield "fail"
    app.registered_commands.pop()


def test_what_the_user_has_to_correct_is_one_line_and_exit_code_2(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refuse(capsys, command, "wrong") == "the file is wrong: name another one"


def test_what_could_not_be_done_has_the_errors_own_exit_code(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refuse(capsys, command, "impossible", exit_code=1) == "the chain says no"


def test_an_interrupted_command_ends_as_the_shell_expects(command: str) -> None:
    assert run_command([command, "interrupted"]) == 130
    assert run_command([command, "unsure"]) == 130


def test_a_mistake_in_the_program_is_not_hidden(command: str) -> None:
    with pytest.raises(ZeroDivisionError):
        run_command([command, "broken"])


def test_an_unknown_command_or_option_points_to_the_help(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "see `epochgate --help`" in refuse(capsys, "fly")
    assert "see `epochgate policy --help`" in refuse(capsys, "policy", "--colour", "red")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_it_also_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "epochgate", "devnet", "--hosters", "0"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"epochgate: ")
