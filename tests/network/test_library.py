"""The programs of docs/library.md, run as they stand, with the commands that the page names."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import scale_seconds, with_interrupts

pytestmark = pytest.mark.network

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
PROGRAM, _, SUBNET = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS, *_ = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LONGEST_SECONDS = 120


def test_the_pages_program_runs_a_node_until_it_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "my_node.py").write_text(PROGRAM)
    *commands, last = COMMANDS.splitlines()
    assert last == "python my_node.py"
    for command in commands:
        arguments = command.removeprefix("epochgate ").split()
        subprocess.run([sys.executable, "-m", "epochgate", *arguments], cwd=tmp_path, check=True)
    process = subprocess.Popen(
        with_interrupts([sys.executable, "my_node.py"]),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("ready on"):
                break
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=scale_seconds(LONGEST_SECONDS))
    finally:
        process.kill()
    assert told[-1].startswith("ready on /ip4/127.0.0.1"), "".join(told)
    assert "KeyboardInterrupt" in rest or not rest
    assert (tmp_path / "node" / "ledger.sqlite").is_file()


def test_the_pages_subnet_attests_an_epoch_and_ends(tmp_path: Path) -> None:
    (tmp_path / "subnet.py").write_text(SUBNET)
    done = subprocess.run(
        [sys.executable, "subnet.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=scale_seconds(LONGEST_SECONDS),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(
        r"\w+ attests what 12D3KooW\w+ submitted in epoch \d+$", done.stdout, re.MULTILINE
    )
