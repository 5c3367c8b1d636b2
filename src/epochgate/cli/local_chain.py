"""`epochgate local-chain`: make a chain in one file, put nodes on it, start its subnet, see what it
holds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from epochgate.chain.local import LocalChain
from epochgate.core.roster import Role
from epochgate.core.types import BlockNumber, PeerId
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.runtime.settings import ROLE_BITS, RoleName

FIRST_BLOCKS = 2
"""From now to the subnet's first block: nodes that run look for it once a block."""

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
        chain.register(PeerId(author), ROLE_BITS[role])
    finally:
        asyncio.run(chain.close())
    typer.echo(f"{format_peer_id(author)} is registered as {role}")


@app.command()
def start(file: ChainFile) -> int:
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
    return 0


@app.command()
def show(file: ChainFile) -> None:
    """Where the chain stands, who is on it, and what was submitted."""
    asyncio.run(_show(LocalChain(file, None, SystemClock())))


async def _show(chain: LocalChain) -> None:
    try:
        block = chain.get_head().block
        timing = chain.timing
        if timing.is_started(block):
            where = f"epoch {timing.compute_epoch(block)}"
        else:
            where = "the subnet has not started"
        typer.echo(f"block {block}, {where}")
        for member in chain.get_waiting_roster().members:
            roles = " and ".join(
                role.name.lower() for role in Role if role.name and role & member.roles
            )
            typer.echo(f"  {format_peer_id(member.author)}  {roles}")
        for on_chain in await chain.get_submissions():
            if on_chain.is_attested:
                standing = "attested"
            else:
                standing = "not attested"
            paid = sum(score > 0 for score in on_chain.submission.scores.values())
            epoch = on_chain.submission.epoch
            typer.echo(
                f"epoch {epoch}: scores of epoch {epoch - 1} by"
                f" {format_peer_id(on_chain.submitter)}, {standing} by {len(on_chain.attested_by)},"
                f" {paid} nodes paid"
            )
    finally:
        await chain.close()
