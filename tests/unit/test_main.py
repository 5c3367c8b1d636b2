"""`python -m epochgate`, with and without what the command line needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from epochgate.__main__ import main
sys.modules.update(dict.fromkeys(sys.argv.pop(1).split(), None))
main()
"""


def run(missing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where the modules of these names are not installed."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, missing, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_exit_code_is_the_commands() -> None:
    assert run("", "policy", "--roster", "0").returncode == 2
    assert run("", "policy").returncode == 0


@pytest.mark.parametrize("missing", ["typer", "rich", "pydantic_settings"])
def test_a_light_installation_says_what_to_install(missing: str) -> None:
    done = run(missing, "policy")
    assert done.returncode != 0
    assert done.stderr == (
        "epochgate: the command line comes with nodes: run `pip install 'epochgate[node]'`\n"
    )


def test_a_mistake_in_the_package_is_not_taken_for_that() -> None:
    assert "ModuleNotFoundError" in run("epochgate.cli.node", "policy").stderr
