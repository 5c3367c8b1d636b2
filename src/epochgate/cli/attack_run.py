"""Run adversaries on devnets, one devnet after the other, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import typer

from epochgate.devnet.attack import AttackOutcome, describe_end, render_outcomes
from epochgate.devnet.supervisor import make_console

ADVERSARIES_PER_SUBNET = 2
"""Of nine nodes; f is 2, so two dishonest ones are a minority at every key."""


def run_attacks(
    names: Sequence[str], epochs: int, epoch_seconds: float
) -> tuple[list[AttackOutcome], list[str]]:
    """Run each adversary in a subnet, and say on standard error which ones run now.

    Returns:
        What the adversaries got, and a sentence for each devnet that did not end well.
    """
    outcomes: list[AttackOutcome] = []
    failures: list[str] = []
    groups = list(_group(names))
    for number, group in enumerate(groups, 1):
        typer.echo(f"subnet {number} of {len(groups)}: {' and '.join(group)} ...", err=True)
        found, failure = _run_devnet(group, epochs, epoch_seconds)
        outcomes += found
        if failure:
            failures.append(f"the subnet of {' and '.join(group)}: {failure}")
    return outcomes, failures


def show_outcomes(
    outcomes: Sequence[AttackOutcome], failures: Sequence[str], aims: Mapping[str, str]
) -> None:
    """Print the table, and below it what was gained or cost and which devnets failed."""
    console = make_console()
    console.print(render_outcomes(outcomes, aims))
    for line in (*describe_end(outcomes), *failures):
        console.print(line, soft_wrap=True)


def _group(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), ADVERSARIES_PER_SUBNET):
        yield names[first : first + ADVERSARIES_PER_SUBNET]


def _run_devnet(
    names: Sequence[str], epochs: int, epoch_seconds: float
) -> tuple[list[AttackOutcome], str]:
    """What the adversaries got, and the devnet's own words where it did not end well."""
    with tempfile.TemporaryDirectory(prefix="epochgate-attack-") as folder:
        file = Path(folder) / "attack.json"
        command = [sys.executable, "-m", "epochgate", "devnet", "--attack-json", str(file)]
        command += ["--dir", str(Path(folder) / "run")]
        command += ["--epochs", str(epochs), "--epoch-seconds", str(epoch_seconds)]
        for name in names:
            command += ["--adversary", name]
        done = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, check=False
        )
        outcomes = _read_outcomes(file)
    if done.returncode == 0:
        return outcomes, ""
    return outcomes, _find_reason(done.stdout) or done.stderr.strip()


def _read_outcomes(file: Path) -> list[AttackOutcome]:
    """None where the devnet did not come as far as to write them."""
    if not file.exists():
        return []
    return msgspec.json.decode(file.read_bytes(), type=list[AttackOutcome])


def _find_reason(output: str) -> str:
    return "; ".join(line.strip() for line in output.splitlines() if "incomplete:" in line)
