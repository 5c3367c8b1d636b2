"""`epochgate local-chain`: make a chain in one file, register nodes, start its subnet, show it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from epochgate.chain.local import LocalChain
from epochgate.core.roster import Member, get_role_names
from epochgate.core.types import BlockNumber
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.ports import OnChain
from epochgate.runtime.settings import ROLE_BITS, RoleName

FIRST_BLOCKS = 2
"""Blocks from now to the subnet's first one: running nodes look for it once per block."""

app = typer.Typer(
    no_args_is_help=True,
    help="A chain in one file, for nodes of one owner: make it, fill it, start it.",
)

ChainFile = Annotated[Path, typer.Argument(help="The chain's file.")]


@app.command()
def create(
    file: ChainFile,
    epoch_seconds: Annotated[float, typer.Option(min=5.0, help="An epoch's length.")] = 600.0,
    blocks_per_epoch: Annotated[
        int, typer.Option(min=20, help="How many blocks make an epoch.")
    ] = 100,
) -> None:
    """Make a new chain; its subnet begins with `start`."""
    LocalChain.create(
        file,
        SystemClock(),
        block_seconds=epoch_seconds / blocks_per_epoch,
        blocks_per_epoch=blocks_per_epoch,
    )
    typer.echo(
        f"{file}: epochs of {blocks_per_epoch} blocks, {epoch_seconds:g} s; register nodes, and"
        " start it"
    )


@app.command()
def register(
    file: ChainFile,
    identity: Annotated[Path, typer.Option(help="The node's key, made by `epochgate keygen`.")],
    role: Annotated[RoleName, typer.Option(help="What the node does.")],
) -> None:
    """Put a node on the chain; it counts from the next epoch whose roster is read."""
    author = SigningKey.load(identity).author
    chain = LocalChain(file, None, SystemClock())
    try:
        chain.register(author, ROLE_BITS[role])
    finally:
        asyncio.run(chain.close())
    typer.echo(f"{format_peer_id(author)} is registered as {role}")


@app.command()
def start(file: ChainFile) -> None:
    """Set the subnet's first block, once: from then on epochs follow each other."""
    chain = LocalChain(file, None, SystemClock())
    try:
        slot = chain.get_head().block + FIRST_BLOCKS
        chain.start(BlockNumber(slot))
    finally:
        asyncio.run(chain.close())
    typer.echo(
        f"epoch 0 begins at block {slot}, in {FIRST_BLOCKS * chain.timing.block_seconds:g} s"
    )


@app.command()
def show(file: ChainFile) -> None:
    """Show where the chain stands, who is on it, and what was submitted."""
    typer.echo("\n".join(asyncio.run(_describe(LocalChain(file, None, SystemClock())))))


async def _describe(chain: LocalChain) -> list[str]:
    """The lines of the report, all of them: a damaged file ends in an error alone."""
    try:
        return [
            _describe_head(chain),
            *map(_describe_member, chain.get_waiting_roster().members),
            *map(_describe_submission, await chain.get_submissions()),
        ]
    finally:
        await chain.close()


def _describe_head(chain: LocalChain) -> str:
    block = chain.get_head().block
    if chain.timing.is_started(block):
        return f"block {block}, epoch {chain.timing.compute_epoch(block)}"
    return f"block {block}, the subnet has not started"


def _describe_member(member: Member) -> str:
    roles = " and ".join(get_role_names(member.roles))
    return f"  {format_peer_id(member.author)}  {roles}"


def _describe_submission(on_chain: OnChain) -> str:
    epoch = on_chain.submission.epoch
    standing = "not attested"
    if on_chain.is_attested:
        standing = "attested"
    paid = sum(score > 0 for score in on_chain.submission.scores.values())
    return (
        f"epoch {epoch}: scores of epoch {epoch - 1} by {format_peer_id(on_chain.submitter)},"
        f" {standing} by {len(on_chain.attested_by)}, {paid} nodes paid"
    )
