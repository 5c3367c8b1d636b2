"""Command lines: what stands in one, and what a command says that cannot do as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from epochgate.cli import run_command


def refuse(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 2) -> str:
    """Run a command, and return the one line in which it says why it ends with `exit_code`."""
    capsys.readouterr()
    assert run_command(list(arguments)) == exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("epochgate: ")
    return line.removeprefix("epochgate: ")


def get_values(command: Sequence[str], option: str) -> list[str]:
    """What stands behind each `option` of a command line."""
    return [value for name, value in pairwise(command) if name == option]
