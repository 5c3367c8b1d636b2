"""The devnet's nodes on Hypertensor's own runtime: `make devnet CHAIN=hypertensor`. Blocks come at
a steady period.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.units import UNIT
from epochgate.devnet.summary import EpochSummary
from epochgate.devnet.supervisor import Devnet, DevnetError, Plan, make_console
from epochgate.keys import SigningKey, format_peer_id
from epochgate.observe.cast import Actor, Cast
from epochgate.policies.inference import INFERENCE_POLICY
from tests.chain.devchain import COLDKEYS, LOOPBACK, SPEC_VARIABLE, DevChain
from tests.chain.subnet import ChainSubnet

ROLES = ("hoster", "hoster", "hoster", "validator")
BLOCK_SECONDS = 1.5
EPOCHS = 3
LEAD_BLOCKS = 2
"""So long before the first epoch the steady period begins; the blocks before that are made at once.
"""


Look = Callable[[HypertensorChain, int], Awaitable[None]]
"""Asked at the end, with the chain and its first epoch."""


async def run_devnet(
    devchain: DevChain, folder: Path, look: Look | None = None
) -> tuple[list[EpochSummary], dict[bytes, int], dict[bytes, int]]:
    """EPOCHS epochs. Returns their summaries, and the stakes before and after. `look` may ask the
    chain before it is closed.
    """
    subnet = await ChainSubnet.register(devchain)
    actors = []
    commands = {}
    for number, (coldkey, role) in enumerate(zip(COLDKEYS, ROLES, strict=True), start=1):
        name = f"{role}-{number}"
        key = SigningKey.create(folder / f"{name}.key")
        await subnet.add_node(coldkey, key, role, hotkey=Account.create(folder / f"{name}.hotkey"))
        actors.append(Actor(name, role, format_peer_id(key.author)))
        commands[name] = make_command(devchain, subnet.subnet_id, folder, name, role)
    chain = await subnet.see(None, block_seconds=BLOCK_SECONDS)
    before = get_stakes(chain)
    assert chain.facts is not None
    first_epoch = 1 + await devchain.get_block() // chain.timing.blocks_per_epoch
    driving: list[asyncio.Task[None]] = []

    def start_chain() -> tuple[()]:
        driving.append(asyncio.create_task(drive(subnet, chain, first_epoch)))
        return ()

    cast = Cast(tuple(actors))
    waves = make_waves(actors, commands)
    plan = Plan(
        cast, INFERENCE_POLICY, first_epoch + EPOCHS, waves, folder, first_epoch=first_epoch
    )
    try:
        summaries = await Devnet(plan, chain, start_chain, make_console()).run()
        if look is not None:
            await look(chain, first_epoch)
        seen = await subnet.see(None)
        return summaries, before, get_stakes(seen)
    finally:
        for task in driving:
            task.cancel()
        await asyncio.gather(*driving, return_exceptions=True)
        await subnet.close()


async def drive(subnet: ChainSubnet, chain: HypertensorChain, first_epoch: int) -> None:
    """Activate the subnet, and make a block each period."""
    await subnet.activate()
    assert chain.facts is not None
    await subnet.devchain.ask("dev_setBlockBuildMode", "Manual")
    slot = await subnet.rpc.query(
        "SubnetSlot", [subnet.subnet_id], await subnet.rpc.get_head_hash()
    )
    await subnet.devchain.reach(slot + first_epoch * chain.timing.blocks_per_epoch - LEAD_BLOCKS)
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += BLOCK_SECONDS
        await asyncio.sleep(max(0.0, due - loop.time()))
        await subnet.devchain.make_blocks()


def get_stakes(chain: HypertensorChain) -> dict[bytes, int]:
    return {node.author: node.stake for node in chain.nodes if node.author is not None}


def make_command(
    devchain: DevChain, subnet_id: int, folder: Path, name: str, role: str
) -> list[str]:
    command = [sys.executable, "-m", "epochgate", "node", "--role", role, "--chain", devchain.url]
    command += ["--subnet-id", str(subnet_id), "--block-seconds", str(BLOCK_SECONDS)]
    command += [
        "--identity",
        str(folder / f"{name}.key"),
        "--hotkey",
        str(folder / f"{name}.hotkey"),
    ]
    return [*command, "--data", str(folder / name), "--events", "-"]


def make_waves(actors: list[Actor], commands: dict[str, list[str]]) -> list[dict[str, list[str]]]:
    """The first two nodes, at ports chosen here, and then the others, who begin with them."""
    servers = [socket.create_server((LOOPBACK, 0)) for _ in range(2)]
    addresses = [f"/ip4/{LOOPBACK}/tcp/{server.getsockname()[1]}" for server in servers]
    for server in servers:
        server.close()
    peers = [
        f"{address}/p2p/{actor.peer_id}" for address, actor in zip(addresses, actors, strict=False)
    ]
    first = {
        actor.name: [*commands[actor.name], "--listen", at]
        for actor, at in zip(actors, addresses, strict=False)
    }
    known = [part for peer in peers for part in ("--initial-peers", peer)]
    return [first, {actor.name: [*commands[actor.name], *known] for actor in actors[2:]}]


def main() -> int:
    spec = os.environ.get(SPEC_VARIABLE)
    if not spec:
        print(
            f"set {SPEC_VARIABLE} to the chain's hoskinsonSpecRaw.json: docs/hypertensor.md says"
            " where it is",
            file=sys.stderr,
        )
        return 2
    devchain = DevChain.start(Path(spec))
    try:
        with tempfile.TemporaryDirectory(prefix="epochgate-devnet-") as folder:
            summaries, before, after = asyncio.run(run_devnet(devchain, Path(folder)))
    except DevnetError as error:
        print(f"epochgate: {error}", file=sys.stderr)
        return 1
    finally:
        devchain.stop()
    for author, stake in after.items():
        print(
            f"{format_peer_id(author)}: stake {stake / UNIT:,.4f} TENSOR,"
            f" {(stake - before[author]) / UNIT:+,.4f}"
        )
    return 0 if all(summary.complete for summary in summaries) else 1


if __name__ == "__main__":
    sys.exit(main())
