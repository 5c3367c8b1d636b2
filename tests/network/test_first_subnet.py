"""The page for newcomers, run as it stands but for the installation: what it says is what
happens.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import scale_seconds

pytestmark = pytest.mark.network

PAGE = Path(__file__).parents[2] / "docs" / "first-subnet.md"
EPOCHGATE = f'#!/bin/sh\nexec "{sys.executable}" -m epochgate "$@"\n'


def find_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def find_nodes(folder: Path) -> list[str]:
    """Processes that work in `folder`."""
    return [str(entry) for entry in Path("/proc").glob("[0-9]*/cwd") if is_link_to(entry, folder)]


def is_link_to(link: Path, folder: Path) -> bool:
    try:
        return link.readlink() == folder
    except OSError:  # the process has ended meanwhile
        return False


def test_a_newcomer_reaches_the_third_epoch(tmp_path: Path) -> None:
    (subnet,) = find_blocks("python")
    (tmp_path / "my_subnet.py").write_text(subnet)
    command = tmp_path / "bin" / "epochgate"
    command.parent.mkdir()
    command.write_text(EPOCHGATE)
    command.chmod(0o700)
    script = ["/bin/bash", "-euc", "\n".join(find_blocks("sh"))]
    environment = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}"}
    with subprocess.Popen(
        script,
        cwd=tmp_path,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            out, _ = process.communicate(timeout=scale_seconds(240))
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # the script's nodes too
            raise
    logs = "\n".join(f"{log.name}: {log.read_text()}" for log in sorted(tmp_path.glob("*.log")))
    assert process.returncode == 0, out + logs
    assert "epoch 1: complete" in out
    assert "problem:" not in out
    assert find_nodes(tmp_path) == [], "they left when they were asked to"
    assert re.search(
        r"^epoch 3: scores of epoch 2 by 12D3KooW\w+, attested by 4, 5 nodes paid$",
        out,
        re.MULTILINE,
    ), out + logs
