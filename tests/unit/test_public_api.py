"""`import epochgate`: every name of the public screen, in one list, with one home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import epochgate


def test_all_names_have_a_home_and_can_be_had() -> None:
    assert set(epochgate.__all__) == {"__version__", *epochgate._HOME_OF, *epochgate._FORMER_NAMES}
    assert all(getattr(epochgate, name) is not None for name in epochgate.__all__)


def test_a_users_type_checker_knows_them(tmp_path: Path) -> None:
    user_file = tmp_path / "my_subnet.py"
    user_file.write_text("from epochgate import HOSTER, Policy, Rule, Scoring, epochs, percent\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", user_file],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout
