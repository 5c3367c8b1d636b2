"""What `epochgate chain status` prints; it needs the Hypertensor chain's client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import typer

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.nodes import ChainNode
from epochgate.chain.hypertensor.subnet import SubnetFacts
from epochgate.chain.hypertensor.units import UNIT
from epochgate.engine.system import SystemClock
from epochgate.keys import format_peer_id
from epochgate.ports import OnChain


async def show_status(url: str, subnet_id: int) -> None:
    """Print where a chain, one of its subnets and the subnet's nodes stand.

    Raises:
        ChainUnreachable: the chain does not answer.
        ChainRefused: it answers that it cannot.
        NoSuchSubnet: it has no subnet of this number.
    """
    chain = await HypertensorChain.open(url, subnet_id, SystemClock())
    try:
        async for line in describe_status(chain, subnet_id):
            typer.echo(line)
    finally:
        await chain.close()


async def describe_status(chain: HypertensorChain, subnet_id: int) -> AsyncIterator[str]:
    """The lines of the report. There are none before the subnet was read for the first time."""
    facts = chain.facts
    if facts is None:
        return
    timing = chain.timing
    block = chain.get_head().block
    yield (
        f"chain      block {block}, {timing.blocks_per_epoch} blocks of"
        f" {timing.block_seconds:g} s per epoch"
    )
    yield (
        f"subnet     {subnet_id} {facts.name!r}, {facts.state.lower()}, epochs begin at block"
        f" {facts.slot} of each"
    )
    if timing.slot is None:
        yield f"epoch      none yet: {_describe_first_epoch(facts, timing.blocks_per_epoch)}"
    else:
        epoch = timing.compute_epoch(block)
        elected = await chain.get_elected(epoch)
        name = "nobody"
        if elected is not None:
            name = format_peer_id(elected)
        yield f"epoch      {epoch}, elected {name}"
        yield f"submission {_describe_submission(await chain.get_submission(epoch))}"
    yield f"nodes      {len(chain.nodes)}"
    for node in chain.nodes:
        yield _describe_node(node)


def _describe_first_epoch(facts: SubnetFacts, blocks_per_epoch: int) -> str:
    if not facts.is_active:
        return "the first node is elected after `epochgate chain activate`"
    first = facts.slot + facts.start_epoch * blocks_per_epoch
    return f"the first node is elected in its epoch {facts.start_epoch}, at block {first}"


def _describe_submission(on_chain: OnChain | None) -> str:
    if on_chain is None:
        return "none yet"
    verdict = "not enough"
    if on_chain.is_attested:
        verdict = "enough"
    return f"attested by {len(on_chain.attested_by)}, {verdict}"


def _describe_node(node: ChainNode) -> str:
    peer = "no Ed25519 peer id, so it can take no part"
    if node.author is not None:
        peer = format_peer_id(node.author)
    roles = node.fields.get("non_unique", "")
    return (
        f"  {node.node_id:>4}  {peer}  {node.class_name:<10}  {node.stake / UNIT:>12,.4f}"
        f" TENSOR  {roles}"
    )
