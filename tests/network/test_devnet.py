"""The main job as its users start it: processes, daemons, a chain file, and nothing left behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.listening_sockets import find_listening_sockets, is_loopback
from tests.support.machine import measure_start_seconds, scale_seconds, with_interrupts

pytestmark = pytest.mark.network

STARTS = 2.5
"""So many times as long as its imports take may a killed node take until it is ready again."""
LEAVE_SECONDS = 10.0
"""A libp2p daemon whose node was killed notices it within 2 s."""


@contextmanager
def run_devnet(folder: Path, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    command = with_interrupts(
        [sys.executable, "-m", "epochgate", "devnet", "--dir", f"{folder / 'run'}", *options]
    )
    environment = os.environ | variables
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def find_processes(folder: Path) -> dict[int, str]:
    """Command lines of the nodes and daemons of the devnet in `folder`; daemons are given their
    identity's path.
    """
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it has ended meanwhile
                continue
            if f"{folder / 'run'}/" in command:
                found[int(entry.name)] = command
    return found


def wait_until_all_are_gone(folder: Path) -> None:
    until = time.monotonic() + scale_seconds(LEAVE_SECONDS)
    while (left := find_processes(folder)) and time.monotonic() < until:
        time.sleep(0.1)  # they are nobody's children any more, so no call waits for them
    assert left == {}


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the devnet never said {words!r}")


def test_a_subnet_lives_through_two_epochs_on_loopback_alone_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    summary_file = tmp_path / "summary.json"
    options = (
        "--hosters",
        "3",
        "--validators",
        "2",
        "--epochs",
        "2",
        "--epoch-seconds",
        f"{scale_seconds(10)}",
        "--json",
        f"{summary_file}",
    )
    with run_devnet(tmp_path, *options) as process:
        read_until(process, "epoch 0 began")
        pids = [process.pid, *find_processes(tmp_path)]
        doors = list(find_listening_sockets(pids))
        out, err = process.communicate(timeout=scale_seconds(120))
        assert process.returncode == 0, out + err
    assert len(pids) >= 1 + 5 + 5, "the devnet, five nodes and their daemons"
    assert len(doors) >= 5, "every daemon listens"
    assert [door for door in doors if not is_loopback(door[1])] == []
    first, second = json.loads(summary_file.read_text())
    assert (first["epoch"], second["epoch"]) == (0, 1)
    assert first["complete"]
    assert second["complete"]
    assert (second["commitments"], second["openings"], second["validator_openings"]) == (3, 3, 2)
    assert len(second["attested_by"]) == 4
    assert second["submitted_by"] not in second["attested_by"]
    assert sum(first["scores"].values()) == 0, "there were no lists to pay for yet"
    assert sum(second["scores"].values()) == 10**18
    assert min(second["scores"].values()) > 0
    assert "epoch 1: complete" in out
    wait_until_all_are_gone(tmp_path)
    replay_everybody(tmp_path / "run", second["root"])


def replay_everybody(folder: Path, root: str) -> None:
    """Every node's transcript agrees with itself and with its neighbour's, and names the set that
    was submitted.
    """
    nodes = [path.parent for path in sorted(folder.glob("*/transcript"))]
    assert len(nodes) == 5
    for node, other in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        command = [sys.executable, "-m", "epochgate", "replay", f"{node}", "--against", f"{other}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"about epoch 1: root {root}" in done.stdout
        assert "both give the same" in done.stdout


def test_a_node_that_dies_is_reported_and_ends_in_an_incomplete_epoch(tmp_path: Path) -> None:
    options = (
        "--hosters",
        "3",
        "--validators",
        "1",
        "--epochs",
        "1",
        "--epoch-seconds",
        f"{scale_seconds(6)}",
    )
    with run_devnet(tmp_path, *options) as process:
        read_until(process, "epoch 0 began")
        hoster = next(
            pid
            for pid, command in find_processes(tmp_path).items()
            if "epochgate node" in command and "hoster-3" in command
        )
        os.kill(hoster, signal.SIGKILL)
        out, err = process.communicate(timeout=scale_seconds(90))
        assert process.returncode == 1
    assert "epoch 0: incomplete" in out
    assert "hoster-3 died: killed by SIGKILL" in out
    assert f"{tmp_path / 'run'}" in err, "it says where the logs are"
    wait_until_all_are_gone(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_interrupts_it_finds_everything_ended(
    tmp_path: Path, number: signal.Signals
) -> None:
    with run_devnet(tmp_path, "--hosters", "1", "--validators", "1", "--epochs", "9") as process:
        read_until(process, "epoch 0 began")
        assert sum("p2pd" in command for command in find_processes(tmp_path).values()) == 2, (
            "each node has a daemon"
        )
        process.send_signal(number)
        _, err = process.communicate(timeout=scale_seconds(60))
        assert process.returncode == 130
    assert "Traceback" not in err
    wait_until_all_are_gone(tmp_path)


def test_nodes_whose_devnet_was_killed_leave_by_themselves(tmp_path: Path) -> None:
    with run_devnet(
        tmp_path,
        "--hosters",
        "1",
        "--validators",
        "1",
        "--epochs",
        "9",
        "--epoch-seconds",
        f"{scale_seconds(5)}",
    ) as process:
        read_until(process, "epoch 0 began")
        process.kill()
        process.wait()
    wait_until_all_are_gone(tmp_path)


def test_a_node_killed_between_commitment_and_opening_goes_on_when_it_is_started_again(
    tmp_path: Path,
) -> None:
    """Everything that opens its commitment lies in its folder."""
    summary_file = tmp_path / "summary.json"
    # a third of the epoch lies between the kill and the end of the window for openings
    epoch_seconds = math.ceil(3 * STARTS * measure_start_seconds())
    options = (
        "--hosters",
        "3",
        "--validators",
        "2",
        "--epochs",
        "1",
        "--epoch-seconds",
        f"{epoch_seconds}",
        "--restart-node-at",
        "25%",
    )
    with run_devnet(tmp_path, *options, "--json", f"{summary_file}") as process:
        out, err = process.communicate(timeout=4 * epoch_seconds + scale_seconds(60))
        assert process.returncode == 0, out + err
    lines = [line for line in out.splitlines() if "hoster-3 " in line]
    moments = (
        "commit-output",
        "killed (SIGKILL) after 25% of epoch 0",
        "started again",
        "open-output",
    )
    assert find_order(lines, moments) == sorted(find_order(lines, moments)), out
    (epoch,) = json.loads(summary_file.read_text())
    assert epoch["complete"]
    assert (epoch["commitments"], epoch["openings"]) == (3, 3), "a restart is no excuse"
    assert "excuses" not in epoch
    wait_until_all_are_gone(tmp_path)


def find_order(lines: list[str], words: tuple[str, ...]) -> list[int]:
    """Where each of the words is first said."""
    return [next(number for number, line in enumerate(lines) if said in line) for said in words]


def test_what_an_absent_and_a_late_node_leave_of_an_epoch_is_complete(tmp_path: Path) -> None:
    """Two of seven: f. A stand-in has three blocks to publish in, so they are long enough for a
    busy machine.
    """
    summary_file = tmp_path / "summary.json"
    options = (
        "--hosters",
        "4",
        "--validators",
        "3",
        "--epochs",
        "1",
        "--epoch-seconds",
        f"{scale_seconds(30)}",
        "--json",
        f"{summary_file}",
    )
    with run_devnet(tmp_path, *options, "--late-node", "--absent-elected") as process:
        out, err = process.communicate(timeout=scale_seconds(150))
        assert process.returncode == 0, out + err
    (epoch,) = json.loads(summary_file.read_text())
    assert epoch["complete"]
    assert "hoster-4     started as late as 50% of epoch 0" in out
    assert "on purpose: hoster-4 was started as late" in out
    assert "elected in epoch 0 and taken away before it" in out
    assert "complete, as far as its faults" in out
    wait_until_all_are_gone(tmp_path)


CHOSEN = """
import msgspec, numpy

from epochgate import INFERENCE_POLICY, Chosen, Policy, Tensor


def choose_challenge(rule):
    schema = Chosen(Tensor("float32", (16, 64)))
    return msgspec.structs.replace(rule, schema=schema) if rule.kind == "consensus" else rule


POLICY = Policy(*map(choose_challenge, INFERENCE_POLICY.rules))


class Prompts:
    def choose(self, epoch, seed):
        return numpy.random.default_rng(list(seed)).standard_normal((16, 64)).astype(numpy.float32)
"""


def test_epochs_whose_challenge_their_publisher_chose_are_complete_and_pay_no_adversary(
    tmp_path: Path,
) -> None:
    (tmp_path / "chosen.py").write_text(CHOSEN)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    file = tmp_path / "attack.json"
    options = (
        "--hosters",
        "4",
        "--validators",
        "2",
        "--epochs",
        "2",
        "--epoch-seconds",
        f"{scale_seconds(10)}",
        "--policy",
        "chosen:POLICY",
    )
    attack = (
        "--challenger",
        "chosen:Prompts",
        "--adversary",
        "two-faced:2",
        "--attack-json",
        f"{file}",
    )
    with run_devnet(tmp_path, *options, *attack, PYTHONPATH=path) as process:
        out, err = process.communicate(timeout=scale_seconds(150))
        assert process.returncode == 0, out + err
    for epoch in range(2):
        assert f"epoch {epoch}: complete: challenge by validator-" in out
    assert "trouble" not in out, "nobody is left writing when the node has gone"
    (two_faced,) = json.loads(file.read_text())
    assert (two_faced["adversary"], two_faced["nodes"]) == ("two-faced", 2)
    assert two_faced["earned"] == 0 < two_faced["honest_mean"]
    assert two_faced["denied"]["late"] > 0, "its late commitments were refused by the honest"
    assert "no adversary was paid more than an honest node" in out
    wait_until_all_are_gone(tmp_path)
