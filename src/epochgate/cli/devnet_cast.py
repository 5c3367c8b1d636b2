"""Who takes part in a devnet: nodes are registered, cast in roles, and given command lines."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.cli.adversaries import load_adversaries
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import PeerId
from epochgate.devnet.faults import (
    Faults,
    Outage,
    choose_absent_epoch,
    plan_absent_elected,
    plan_late_node,
    plan_restart,
)
from epochgate.keys import SigningKey, format_peer_id
from epochgate.observe.cast import Actor, Cast

BLOCKS_PER_EPOCH = 100
BOOTSTRAP_NODES = 2
LOOPBACK = "127.0.0.1"
ROLES = {"hoster": HOSTER, "validator": VALIDATOR}


class DevnetOptions(msgspec.Struct, frozen=True):
    """What to run, and where its files go."""

    hosters: int
    validators: int
    epochs: int
    epoch_seconds: float
    model: str | None
    challenger: str | None
    policy: str
    faults: Faults
    adversaries: tuple[str, ...]
    attack_json: Path | None
    folder: Path


def get_late(cast: Cast) -> Actor:
    """The node that a devnet with `--late-node` starts late."""
    return get_honest_hosters(cast)[-1]


def get_honest_hosters(cast: Cast) -> list[Actor]:
    """The hosters that play no adversary."""
    return [actor for actor in cast.actors if actor.role == "hoster" and actor.adversary is None]


def plan_outages(options: DevnetOptions, cast: Cast, chain: LocalChain) -> Iterator[Outage]:
    """When each node that is to be away is taken away, and when it comes back."""
    faults = options.faults
    hosters = [actor.peer_id for actor in get_honest_hosters(cast)]
    if faults.restart_at is not None:
        yield plan_restart(
            hosters[-2 if faults.has_late_node else -1], options.epochs, faults.restart_at
        )
    if faults.has_absent_elected:
        epoch = choose_absent_epoch(options.epochs)
        elected = chain.predict_elected(epoch)
        if elected is not None:
            yield plan_absent_elected(format_peer_id(elected), epoch)
    if faults.has_late_node:
        yield plan_late_node(get_late(cast).peer_id)


def register_cast(options: DevnetOptions, chain: LocalChain) -> Cast:
    """Make everybody's key and put them on the chain."""
    roles = [("hoster", number + 1) for number in range(options.hosters)]
    roles += [("validator", number + 1) for number in range(options.validators)]
    actors = [
        _join(options, chain, f"{role}-{number}", role, SigningKey.generate())
        for role, number in roles
    ]
    return Cast((*actors, *_cast_adversaries(options, chain)))


def _cast_adversaries(options: DevnetOptions, chain: LocalChain) -> Iterator[Actor]:
    if not options.adversaries:
        return
    adversaries = load_adversaries()
    for number, name in enumerate(options.adversaries):
        adversary = adversaries[name]
        count = options.adversaries[: number + 1].count(name)
        if adversary.role == HOSTER:
            role = "hoster"
        else:
            role = "validator"
        yield _join(options, chain, f"{name}-{count}", role, adversary.make_key(), name)


def _join(
    options: DevnetOptions,
    chain: LocalChain,
    name: str,
    role: str,
    key: SigningKey,
    adversary: str | None = None,
) -> Actor:
    SigningKey.create(_get_identity(options.folder, name), key)
    chain.register(PeerId(key.author), ROLES[role])
    return Actor(name, role, format_peer_id(key.author), adversary)


def make_waves(options: DevnetOptions, cast: Cast, chain_file: Path) -> list[dict[str, list[str]]]:
    """Everybody's command line; first those of the bootstrap nodes, whose ports are chosen here so
    that all know them.
    """
    count = min(BOOTSTRAP_NODES, len(cast.actors) - 1)
    addresses = [f"/ip4/{LOOPBACK}/tcp/{port}" for port in _find_free_ports(count)]
    known = [
        f"{address}/p2p/{actor.peer_id}"
        for address, actor in zip(addresses, cast.actors, strict=False)
    ]
    first = {
        actor.name: _make_command(options, actor, chain_file, ["--listen", address])
        for address, actor in zip(addresses, cast.actors, strict=False)
    }
    peers = [part for address in known for part in ("--initial-peers", address)]
    rest = {
        actor.name: _make_command(options, actor, chain_file, peers)
        for actor in cast.actors[count:]
    }
    return [first, rest]


def _make_command(
    options: DevnetOptions, actor: Actor, chain_file: Path, network: list[str]
) -> list[str]:
    if actor.adversary is None:
        program = ["node"]
    else:
        program = ["adversary", actor.adversary]
    command = [
        sys.executable,
        "-m",
        "epochgate",
        *program,
        "--role",
        actor.role,
        "--chain",
        f"local:{chain_file}",
    ]
    command += [
        "--identity",
        str(_get_identity(options.folder, actor.name)),
        "--data",
        str(options.folder / actor.name),
    ]
    command += ["--events", "-", "--policy", options.policy, *network]
    if options.model is not None and actor.role == "hoster":
        command += ["--model", options.model]
    if options.challenger is not None and actor.role == "validator":
        command += ["--challenger", options.challenger]
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
