"""What `epochgate chain status` prints; it needs the Hypertensor chain's client."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.nodes import ChainNode
from epochgate.chain.hypertensor.subnet import SubnetFacts
from epochgate.chain.hypertensor.units import UNIT
from epochgate.engine.system import SystemClock
from epochgate.keys import format_peer_id


async def show_status(url: str, subnet_id: int) -> None:
    """Print where a chain, one of its subnets and the subnet's nodes stand.

    Raises:
        ChainUnreachable: the chain does not answer.
        ChainRefused: it answers that it cannot.
        NoSuchSubnet: it has no subnet of this number.
    """
    chain = await HypertensorChain.open(url, subnet_id, SystemClock())
    try:
        facts = chain.facts
        if facts is None:
            return
        for line in _describe_subnet(chain, subnet_id, facts):
            typer.echo(line)
        if chain.timing.slot is None:
            typer.echo(_describe_waiting(chain, facts))
        else:
            await _show_epoch(chain)
        typer.echo(f"nodes      {len(chain.nodes)}")
        for node in chain.nodes:
            typer.echo(_describe_node(node))
    finally:
        await chain.close()


def _describe_subnet(chain: HypertensorChain, subnet_id: int, facts: SubnetFacts) -> Iterator[str]:
    timing = chain.timing
    yield (
        f"chain      block {chain.get_head().block}, {timing.blocks_per_epoch} blocks of"
        f" {timing.block_seconds:g} s per epoch"
    )
    yield (
        f"subnet     {subnet_id} {facts.name!r}, {facts.state.lower()}, epochs begin at block"
        f" {facts.slot} of each"
    )


def _describe_waiting(chain: HypertensorChain, facts: SubnetFacts) -> str:
    """The line for a subnet whose first epoch has not begun."""
    when = "after `epochgate chain activate`"
    if facts.is_active:
        first = facts.slot + facts.start_epoch * chain.timing.blocks_per_epoch
        when = f"in its epoch {facts.start_epoch}, at block {first}"
    return f"epoch      none yet: the first node is elected {when}"


async def _show_epoch(chain: HypertensorChain) -> None:
    epoch = chain.timing.compute_epoch(chain.get_head().block)
    elected = await chain.get_elected(epoch)
    name = "nobody"
    if elected:
        name = format_peer_id(elected)
    typer.echo(f"epoch      {epoch}, elected {name}")
    on_chain = await chain.get_submission(epoch)
    attested = "none yet"
    if on_chain:
        attested = f"attested by {len(on_chain.attested_by)}, not enough"
        if on_chain.is_attested:
            attested = f"attested by {len(on_chain.attested_by)}, enough"
    typer.echo(f"submission {attested}")


def _describe_node(node: ChainNode) -> str:
    peer = "no Ed25519 peer id, so it can take no part"
    if node.author:
        peer = format_peer_id(node.author)
    roles = node.fields.get("non_unique", "")
    return (
        f"  {node.node_id:>4}  {peer}  {node.class_name:<10}  {node.stake / UNIT:>12,.4f}"
        f" TENSOR  {roles}"
    )
