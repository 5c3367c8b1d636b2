"""`epochgate attack`: every adversary on real subnets, one subnet after the other, and a table of
what it got.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from epochgate.cli.adversaries import load_adversaries
from epochgate.devnet.attack import AttackOutcome, describe_end, render_markdown, render_outcomes
from epochgate.devnet.supervisor import make_console
from epochgate.runtime.loading import InputError

KINDS_PER_SUBNET = 2
"""Of nine nodes; f is 2, so two dishonest ones are a minority at every key."""
BEGIN = "<!-- attack: begin -->\n"
END = "<!-- attack: end -->\n"


def attack(
    only: Annotated[
        list[str] | None,
        typer.Option(help="One adversary; may be given more than once. Default: all."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How many epochs each subnet lives.")] = 3,
    epoch_seconds: Annotated[float, typer.Option(min=5.0, help="An epoch's length.")] = 8.0,
    page: Annotated[
        Path | None, typer.Option(help="A Markdown page whose marked table is replaced.")
    ] = None,
) -> int:
    """Let every adversary loose; exit 0 only if none earned more than the honest, and none cost
    them a score or an epoch.
    """
    adversaries = load_adversaries()

    if unknown := [name for name in only or () if name not in adversaries]:
        raise InputError(
            f"--only {unknown[0]}: there is no such adversary; there are {', '.join(adversaries)}"
        )
    if page is not None:
        _split_page(page)
    outcomes: list[AttackOutcome] = []
    failed: list[str] = []
    subnets = list(_group([name for name in adversaries if not only or name in only]))
    for number, kinds in enumerate(subnets, 1):
        typer.echo(f"subnet {number} of {len(subnets)}: {' and '.join(kinds)} ...", file=sys.stderr)
        found, words = _run_devnet(kinds, epochs, epoch_seconds)
        outcomes += found
        if words:
            failed.append(f"the subnet of {' and '.join(kinds)}: {words}")
    aims = {name: adversary.aim for name, adversary in adversaries.items()}
    console = make_console()
    console.print(render_outcomes(outcomes, aims))
    for words in (*describe_end(outcomes), *failed):
        console.print(words, soft_wrap=True)
    if page is not None:
        before, after = _split_page(page)
        page.write_text(f"{before}{BEGIN}\n{render_markdown(outcomes, aims)}\n{END}{after}")
    if failed or not all(outcome.is_harmless for outcome in outcomes):
        return 1
    return 0


def _group(names: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(names), KINDS_PER_SUBNET):
        yield names[first : first + KINDS_PER_SUBNET]


def _run_devnet(
    kinds: list[str], epochs: int, epoch_seconds: float
) -> tuple[list[AttackOutcome], str]:
    """What the adversaries got, and the devnet's own words where it did not end well."""
    with tempfile.TemporaryDirectory(prefix="epochgate-attack-") as folder:
        file = Path(folder) / "attack.json"
        command = [
            sys.executable,
            "-m",
            "epochgate",
            "devnet",
            "--epochs",
            str(epochs),
            "--epoch-seconds",
            str(epoch_seconds),
        ]
        command += ["--dir", str(Path(folder) / "run"), "--attack-json", str(file)]
        command += [part for kind in kinds for part in ("--adversary", kind)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
        if file.exists():
            outcomes = msgspec.json.decode(file.read_bytes(), type=list[AttackOutcome])
        else:
            outcomes = []
    return outcomes, (
        "" if done.returncode == 0 else _find_reason(done.stdout) or done.stderr.strip()
    )


def _find_reason(output: str) -> str:
    return "; ".join(line.strip() for line in output.splitlines() if "incomplete:" in line)


def _split_page(page: Path) -> tuple[str, str]:
    """What stands before and behind the marked table. Raises InputError."""
    if page.is_file():
        text = page.read_text()
    else:
        text = ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(
            f"--page {page}: it has no lines {BEGIN.strip()} and {END.strip()}: put them where the"
            " table goes"
        )
    return before, after
