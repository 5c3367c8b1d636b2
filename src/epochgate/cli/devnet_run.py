"""Run a devnet: make its chain and its nodes, watch it to the end, and write what came of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from epochgate.chain.local import LocalChain
from epochgate.cli.adversaries import load_adversaries
from epochgate.cli.devnet_cast import get_late, make_waves, plan_outages, register_cast
from epochgate.cli.devnet_options import BLOCKS_PER_EPOCH, DevnetOptions
from epochgate.cli.files import write_output_file
from epochgate.core.types import BlockNumber
from epochgate.devnet.attack import (
    AttackOutcome,
    compute_outcomes,
    describe_end,
    render_outcomes,
)
from epochgate.devnet.faults import Outage
from epochgate.devnet.supervisor import Devnet, Plan, make_console
from epochgate.engine.system import SystemClock
from epochgate.observe.cast import Cast
from epochgate.runtime.loading import load_policy

START_SECONDS = 1.0
"""From the chain's start to the subnet's first block: every node has seen it by then."""


def run_devnet(options: DevnetOptions, folder: Path) -> bool:
    """Run a subnet whose keys, databases and logs go into `folder`, which is empty.

    Returns:
        Whether every epoch was complete, and every adversary harmless.

    Raises:
        DevnetError: the subnet did not come up.
        KeyboardInterrupt: it was ended by a signal.
    """
    chain_file = folder / "chain.sqlite"
    chain = _make_chain(options, chain_file)
    cast = register_cast(options, folder, chain)

    def start_chain() -> list[Outage]:
        blocks = math.ceil(START_SECONDS / options.block_seconds)
        chain.start(BlockNumber(chain.get_head().block + blocks))
        return list(plan_outages(options, cast, chain))

    plan = _make_plan(options, folder, cast, chain_file)
    run = Devnet(plan, chain, start_chain, make_console())
    try:
        summaries = asyncio.run(run.run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM, which ends it as Ctrl-C does
    if options.json is not None:
        text = msgspec.json.format(msgspec.json.encode(summaries), indent=2)
        write_output_file(options.json, "--json", text + b"\n")
    outcomes = compute_outcomes(run.chronicle, summaries)
    if outcomes:
        _show_outcomes(outcomes, run.console)
    if options.attack_json is not None:
        text = msgspec.json.encode(outcomes)
        write_output_file(options.attack_json, "--attack-json", text + b"\n")
    is_complete = all(summary.complete for summary in summaries)
    return is_complete and all(outcome.is_harmless for outcome in outcomes)


def _make_chain(options: DevnetOptions, file: Path) -> LocalChain:
    clock = SystemClock()
    LocalChain.create(
        file, clock, block_seconds=options.block_seconds, blocks_per_epoch=BLOCKS_PER_EPOCH
    )
    return LocalChain(file, None, clock)


def _make_plan(options: DevnetOptions, folder: Path, cast: Cast, chain_file: Path) -> Plan:
    first, rest = make_waves(options, folder, cast, chain_file)
    later = {}
    if options.faults.has_late_node:
        late = get_late(cast).name
        later = {late: rest.pop(late)}
    policy = load_policy(options.settings["policy"])
    return Plan(cast, policy, options.epochs, [first, rest], folder, later)


def _show_outcomes(outcomes: Sequence[AttackOutcome], console: Console) -> None:
    aims = {name: adversary.aim for name, adversary in load_adversaries().items()}
    console.print(render_outcomes(outcomes, aims))
    for line in describe_end(outcomes):
        console.print(line, soft_wrap=True)
