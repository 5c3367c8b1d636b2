"""The nodes of a devnet: each gets a key, a place on the chain, and a command line."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from epochgate.chain.local import LocalChain
from epochgate.cli.adversaries import load_adversaries
from epochgate.cli.devnet_options import BOOTSTRAP_NODES, DevnetOptions
from epochgate.core.roster import HOSTER
from epochgate.devnet.faults import (
    Outage,
    choose_absent_epoch,
    plan_absent_elected,
    plan_late_node,
    plan_restart,
)
from epochgate.keys import SigningKey, format_peer_id
from epochgate.observe.cast import Actor, Cast
from epochgate.runtime.settings import ROLE_BITS, RoleName, make_arguments

LOOPBACK = "127.0.0.1"

Commands = dict[str, list[str]]
"""Command lines by the node's name."""


def register_cast(options: DevnetOptions, folder: Path, chain: LocalChain) -> Cast:
    """Make every node's key in `folder`, and register it on the chain."""
    actors = [
        _join(folder, chain, f"hoster-{number}", RoleName.HOSTER, SigningKey.generate())
        for number in range(1, options.hosters + 1)
    ]
    actors += [
        _join(folder, chain, f"validator-{number}", RoleName.VALIDATOR, SigningKey.generate())
        for number in range(1, options.validators + 1)
    ]
    return Cast((*actors, *_register_adversaries(options, folder, chain)))


def _register_adversaries(
    options: DevnetOptions, folder: Path, chain: LocalChain
) -> Iterator[Actor]:
    if not options.adversaries:
        return
    adversaries = load_adversaries()
    for index, name in enumerate(options.adversaries, 1):
        adversary = adversaries[name]
        number = options.adversaries[:index].count(name)
        role = RoleName.VALIDATOR
        if adversary.role == HOSTER:
            role = RoleName.HOSTER
        yield _join(folder, chain, f"{name}-{number}", role, adversary.make_key(), name)


def _join(
    folder: Path,
    chain: LocalChain,
    name: str,
    role: RoleName,
    key: SigningKey,
    adversary: str | None = None,
) -> Actor:
    SigningKey.create(_get_identity(folder, name), key)
    chain.register(key.author, ROLE_BITS[role])
    return Actor(name, role.value, format_peer_id(key.author), adversary)


def get_late(cast: Cast) -> Actor:
    """The hoster that starts late, where a late node is asked for."""
    return _get_honest_hosters(cast)[-1]


def plan_outages(options: DevnetOptions, cast: Cast, chain: LocalChain) -> Iterator[Outage]:
    """Choose the nodes that the faults meet. The chain's subnet has its first block by now."""
    faults = options.faults
    hosters = [actor.peer_id for actor in _get_honest_hosters(cast)]
    if faults.has_late_node:
        yield plan_late_node(hosters.pop())
    if faults.restart_at is not None:
        yield plan_restart(hosters[-1], options.epochs, faults.restart_at)
    if faults.has_absent_elected:
        epoch = choose_absent_epoch(options.epochs)
        elected = chain.predict_elected(epoch)
        if elected is not None:
            yield plan_absent_elected(format_peer_id(elected), epoch)


def _get_honest_hosters(cast: Cast) -> list[Actor]:
    return [actor for actor in cast.actors if actor.role == "hoster" and actor.adversary is None]


def make_waves(
    options: DevnetOptions, folder: Path, cast: Cast, chain_file: Path
) -> tuple[Commands, Commands]:
    """The command lines of the bootstrap nodes, and of all others.

    The ports of the bootstrap nodes are chosen here, so that all others know them from the start.
    """
    count = min(BOOTSTRAP_NODES, len(cast.actors) - 1)
    bootstrap = cast.actors[:count]
    others = cast.actors[count:]
    addresses = [f"/ip4/{LOOPBACK}/tcp/{port}" for port in _find_free_ports(count)]
    peers = [
        f"{address}/p2p/{actor.peer_id}"
        for address, actor in zip(addresses, bootstrap, strict=True)
    ]
    first = {
        actor.name: _make_command(options, folder, actor, chain_file, {"listen": address})
        for address, actor in zip(addresses, bootstrap, strict=True)
    }
    rest = {
        actor.name: _make_command(options, folder, actor, chain_file, {"initial_peers": peers})
        for actor in others
    }
    return first, rest


def _make_command(
    options: DevnetOptions,
    folder: Path,
    actor: Actor,
    chain_file: Path,
    network: Mapping[str, object],
) -> list[str]:
    settings: dict[str, object] = {
        "role": actor.role,
        "chain": f"local:{chain_file}",
        "identity": _get_identity(folder, actor.name),
        "data": folder / actor.name,
        "events": "-",
        **options.settings,
        **network,
    }
    if actor.role != RoleName.HOSTER:
        settings.pop("model", None)
    if actor.role != RoleName.VALIDATOR:
        settings.pop("challenger", None)
    command = ["node"]
    if actor.adversary is not None:
        command = ["adversary", actor.adversary]
    return [sys.executable, "-m", "epochgate", *command, *make_arguments(settings)]


def _find_free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _get_identity(folder: Path, name: str) -> Path:
    return folder / f"{name}.key"
