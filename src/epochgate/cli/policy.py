"""`epochgate policy` and `epochgate keygen`, which need no network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epochgate.core.epoch import Timing
from epochgate.core.policy_lint import find_problems
from epochgate.keys import SigningKey, format_peer_id
from epochgate.runtime.loading import DEFAULT_POLICY, load_policy
from epochgate.runtime.settings import explain


def keygen(
    file: Annotated[Path, typer.Argument(help="Where the key goes; it must not exist yet.")],
) -> None:
    """Make an Ed25519 identity and print its peer id."""
    typer.echo(format_peer_id(SigningKey.create(file).author))


def policy(
    name: Annotated[str, typer.Option("--policy", help=explain("policy"))] = DEFAULT_POLICY,
    timeline: Annotated[bool, typer.Option("--timeline", help="Draw the epoch as well.")] = False,
    blocks_per_epoch: Annotated[
        int, typer.Option(min=1, help="The chain's epoch length in blocks.")
    ] = 100,
    block_seconds: Annotated[
        float, typer.Option("--block-seconds", min=0.001, help="The chain's block time.")
    ] = 6.0,
    roster: Annotated[int, typer.Option(min=1, help="How many nodes the subnet has.")] = 64,
) -> int:
    """Print a policy as a table, its digest, and its problems on a chain; exit 1 if it has any."""
    found = load_policy(name)
    typer.echo(f"{found}\n")
    if timeline:
        typer.echo(f"{found.render_timeline()}\n")
    typer.echo(f"digest {found.digest.hex()}")
    problems = list(find_problems(found, Timing(None, blocks_per_epoch, block_seconds), roster))
    for problem in problems:
        typer.echo(f"problem: {problem}")
    if problems:
        return 1
    return 0
