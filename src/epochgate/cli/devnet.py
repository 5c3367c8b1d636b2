"""`epochgate devnet`: a whole subnet on loopback, each node a process of its own."""

from __future__ import annotations

import asyncio
import math
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from epochgate.chain.local import LocalChain
from epochgate.cli.inputs import DEFAULT_POLICY, InputError, load_policy
from epochgate.core.policy_text import check_policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.devnet.cast import Actor, Cast
from epochgate.devnet.supervisor import Devnet, DevnetError, Plan, make_console
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.models import load_model

BLOCKS_PER_EPOCH = 100
BOOTSTRAP_NODES = 2
START_SECONDS = 1.0
"""From the chain's start to the subnet's first block: every node has seen it by then."""
MIN_EPOCH_SECONDS = 5.0
LOOPBACK = "127.0.0.1"
ROLES = {"hoster": HOSTER, "validator": VALIDATOR}


class DevnetOptions(msgspec.Struct, frozen=True):
    """What to run, and where its files go."""

    hosters: int
    validators: int
    epochs: int
    epoch_seconds: float
    model: str | None
    folder: Path


def devnet(
    hosters: Annotated[int, typer.Option(min=1, help="How many nodes serve a model.")] = 4,
    validators: Annotated[int, typer.Option(min=1, help="How many nodes score them.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="How many epochs to complete.")] = 2,
    epoch_seconds: Annotated[float, typer.Option(min=MIN_EPOCH_SECONDS, help="An epoch's length.")] = 30.0,
    json: Annotated[Path | None, typer.Option(help="Where the summary goes, one object an epoch.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--dir", help="Where keys, ledgers and logs go, and stay. Default: a temporary one.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model that hosters serve, named as for `epochgate node`.")] = None,
) -> int:
    """Run a whole subnet on this machine; exit 0 only if every epoch was complete."""
    if json is not None and not json.absolute().parent.is_dir():
        raise InputError(f"--json {json}: there is no folder {json.absolute().parent}: make it first")
    if model is not None:
        load_model(model)  # so that a wrong name is told at once, and not by every hoster
    is_temporary = folder is None
    options = DevnetOptions(hosters, validators, epochs, epoch_seconds, model, _make_folder(folder))
    is_clean = False
    try:
        is_clean = _run(options, json)
    except KeyboardInterrupt:
        is_clean = True
        raise
    finally:
        if is_temporary and is_clean:
            shutil.rmtree(options.folder, ignore_errors=True)
        else:
            typer.echo(f"keys, ledgers and logs are in {options.folder}", file=sys.stderr)
    return 0 if is_clean else 1


def _run(options: DevnetOptions, json: Path | None) -> bool:
    """Returns whether every epoch was complete."""
    clock = SystemClock()
    chain_file = options.folder / "chain.sqlite"
    LocalChain.create(
        chain_file, clock, block_seconds=options.epoch_seconds / BLOCKS_PER_EPOCH, blocks_per_epoch=BLOCKS_PER_EPOCH
    )
    chain = LocalChain(chain_file, None, clock)
    policy = load_policy(DEFAULT_POLICY)
    check_policy(policy, chain.timing, options.hosters + options.validators)
    cast = _register(options, chain)

    def start_chain() -> None:
        chain.start(chain.get_head().block + math.ceil(START_SECONDS / chain.timing.block_seconds))

    plan = Plan(cast, policy, options.epochs, _make_waves(options, cast, chain_file), options.folder)
    try:
        summaries = asyncio.run(Devnet(plan, chain, start_chain, make_console()).run())
    except DevnetError as error:
        typer.echo(f"epochgate: {error}", file=sys.stderr)
        return False
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # SIGTERM, which ends it as Ctrl-C does
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(summaries), indent=2) + b"\n")
    return all(summary.complete for summary in summaries)


def _register(options: DevnetOptions, chain: LocalChain) -> Cast:
    """Make everybody's key and put them on the chain."""
    roles = [("hoster", number + 1) for number in range(options.hosters)]
    roles += [("validator", number + 1) for number in range(options.validators)]
    actors = []
    for role, number in roles:
        name = f"{role}-{number}"
        key = SigningKey.create(_get_identity(options.folder, name))
        chain.register(key.author, ROLES[role])
        actors.append(Actor(name, role, format_peer_id(key.author)))
    return Cast(tuple(actors))


def _make_waves(options: DevnetOptions, cast: Cast, chain_file: Path) -> list[dict[str, list[str]]]:
    """Everybody's command line; first those of the bootstrap nodes, whose ports are chosen here so that all know them."""
    count = min(BOOTSTRAP_NODES, len(cast.actors) - 1)
    addresses = [f"/ip4/{LOOPBACK}/tcp/{port}" for port in _find_free_ports(count)]
    known = [f"{address}/p2p/{actor.peer_id}" for address, actor in zip(addresses, cast.actors, strict=False)]
    first = {
        actor.name: _make_command(options, actor, chain_file, ["--listen", address])
        for address, actor in zip(addresses, cast.actors, strict=False)
    }
    peers = [part for address in known for part in ("--initial-peers", address)]
    rest = {actor.name: _make_command(options, actor, chain_file, peers) for actor in cast.actors[count:]}
    return [first, rest]


def _make_command(options: DevnetOptions, actor: Actor, chain_file: Path, network: list[str]) -> list[str]:
    command = [sys.executable, "-m", "epochgate", "node", "--role", actor.role, "--chain", f"local:{chain_file}"]
    command += ["--identity", str(_get_identity(options.folder, actor.name)), "--data", str(options.folder / actor.name)]
    command += ["--events", "-", *network]
    if options.model is not None and actor.role == "hoster":
        command += ["--model", options.model]
    return command


def _find_free_ports(count: int) -> list[int]:
    """All held at once, so that no two are the same."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _get_identity(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"


def _make_folder(folder: Path | None) -> Path:
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="epochgate-devnet-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"--dir {folder}: it is not empty, and keys are never overwritten: choose another one")
    except OSError as error:
        raise InputError(f"--dir {folder}: {error.strerror}") from None
    return folder.absolute()
