"""What `deploy/` hands to operators fits the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from epochgate.node.runner import GOODBYE_SECONDS
from epochgate.runtime.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_example_settings_are_settings_with_and_without_what_is_commented_out(
    tmp_path: Path,
) -> None:
    text = (DEPLOY / "node.toml").read_text()
    assert load_settings({}, DEPLOY / "node.toml").settings.listen.startswith("/ip4/0.0.0.0/")
    whole = tmp_path / "node.toml"
    whole.write_text(re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE))
    settings = load_settings({}, whole).settings
    assert settings.heartbeat_facts == {"gpus": 1}
    assert len(settings.initial_peers) == 2


def test_the_service_leaves_a_node_the_time_to_say_goodbye() -> None:
    unit = (DEPLOY / "epochgate.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) >= 2 * GOODBYE_SECONDS + 3, "the network's end takes as long again"


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_understands_the_service(tmp_path: Path) -> None:
    unit = tmp_path / "epochgate.service"
    unit.write_text(
        (DEPLOY / "epochgate.service")
        .read_text()
        .replace("/opt/epochgate/bin/epochgate", "/bin/true")
    )
    command = ["systemd-analyze", "verify", f"{unit}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
