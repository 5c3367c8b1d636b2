"""`epochgate node`: one node, wired to its network, chain and ledger, in a process of its own."""

from __future__ import annotations

import asyncio
import enum
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from epochgate.chain.local import LocalChain
from epochgate.cli.inputs import DEFAULT_POLICY, InputError, load_policy
from epochgate.core.policy import Policy
from epochgate.core.policy_text import check_policy
from epochgate.core.roster import HOSTER, VALIDATOR, Role
from epochgate.devnet.cast import Cast
from epochgate.devnet.words import describe_fact
from epochgate.engine.system import SystemClock, SystemEntropy, ThreadCompute, leave_now
from epochgate.events import AnyEvent, Emit, Line, encode_line
from epochgate.keys import SigningKey, format_peer_id
from epochgate.ledger import Ledger
from epochgate.models import load_model
from epochgate.ports import Clock, Compute

if TYPE_CHECKING:
    from epochgate.engine.libp2p import Libp2pNetwork

LOCAL_CHAIN = "local:"


class RoleName(enum.StrEnum):
    """What `--role` takes."""

    HOSTER = "hoster"
    VALIDATOR = "validator"
    BOTH = "both"


ROLE_BITS = {RoleName.HOSTER: HOSTER, RoleName.VALIDATOR: VALIDATOR, RoleName.BOTH: HOSTER | VALIDATOR}


class NodeOptions(msgspec.Struct, frozen=True):
    """What one node is made from."""

    roles: int
    chain_file: Path
    identity: Path
    data: Path
    listen: str
    initial_peers: tuple[str, ...]
    model: str | None
    policy: Policy


def node(
    role: Annotated[list[RoleName], typer.Option(help="What the node does; may be given twice.")],
    chain: Annotated[str, typer.Option(help="The chain, as local:FILE.")],
    identity: Annotated[Path, typer.Option(help="The node's key, made by `epochgate keygen`.")],
    data: Annotated[Path, typer.Option(help="The node's folder: its ledger and address book.")],
    listen: Annotated[str, typer.Option(help="The multiaddress to listen on; port 0 takes any.")] = "/ip4/127.0.0.1/tcp/0",
    initial_peers: Annotated[list[str] | None, typer.Option(help="A peer to begin with, as a full multiaddress.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The model to serve: module:factory, export:FILE.pt2 or transformers:FOLDER.")
    ] = None,
    policy: Annotated[str, typer.Option(help="The subnet's policy, as module:NAME.")] = DEFAULT_POLICY,
    events: Annotated[str | None, typer.Option(help="'-' writes each event as a line of JSON.")] = None,
) -> int:
    """Run one node until SIGTERM or Ctrl-C, which it leaves with an OFFLINE heartbeat."""
    if not chain.startswith(LOCAL_CHAIN):
        raise InputError(f"--chain {chain!r}: write local:FILE")
    if events not in (None, "-"):
        raise InputError(f"--events {events!r}: only '-', the standard output, is known")
    roles = 0
    for name in role:
        roles |= ROLE_BITS[name]
    options = NodeOptions(
        roles=roles,
        chain_file=Path(chain.removeprefix(LOCAL_CHAIN)),
        identity=identity,
        data=data,
        listen=listen,
        initial_peers=tuple(initial_peers or ()),
        model=model,
        policy=load_policy(policy),
    )
    compute = ThreadCompute()
    try:
        asyncio.run(_run(options, compute, is_json=events == "-"))
    finally:
        compute.close()
    if compute.is_working():
        leave_now(0)  # a model that hangs must not keep the process
    return 0


async def _run(options: NodeOptions, compute: Compute, *, is_json: bool) -> None:
    clock = SystemClock()
    key = SigningKey.load(options.identity)
    chain = LocalChain(options.chain_file, key.author, clock)
    try:
        _check_chain(chain, clock, key, options)
        _make_folder(options.data)
        ledger = Ledger(options.data / "ledger.sqlite")
        try:
            await _live(options, key, chain, ledger, compute, is_json=is_json)
        finally:
            ledger.close()
    finally:
        await chain.close()


async def _live(
    options: NodeOptions, key: SigningKey, chain: LocalChain, ledger: Ledger, compute: Compute, *, is_json: bool
) -> None:
    """From the start of the network to the last goodbye."""
    from epochgate.node.runner import Node  # noqa: PLC0415 - only this command runs one

    leaving = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leaving.set)
    model = load_model(options.model) if options.roles & HOSTER else None
    clock = SystemClock()
    emit = _make_emit(format_peer_id(key.author), clock, leaving.set, is_json=is_json)
    network = await _start_network(options, emit)
    try:
        node = Node(
            chain=chain,
            network=network,
            ledger=ledger,
            key=key,
            policy=options.policy,
            clock=clock,
            entropy=SystemEntropy(),
            compute=compute,
            emit=emit,
            model=model,
            addresses=network.get_listen_addresses(),
        )
        await node.start()
        running = asyncio.create_task(node.run())
        waiting = asyncio.create_task(leaving.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        node.stop()
        await running
    finally:
        await network.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--data {folder} cannot be made ({error.strerror}): choose another folder") from None


def _check_chain(chain: LocalChain, clock: Clock, key: SigningKey, options: NodeOptions) -> None:
    """A node whose clock, roles or policy do not fit its chain says so and does not start (SPEC section 3)."""
    ahead_seconds = chain.genesis_seconds - clock.get_unix_seconds()
    if ahead_seconds > chain.timing.block_seconds:
        raise InputError(
            f"the chain in {options.chain_file} begins {ahead_seconds:.0f} s from now, so this machine's clock is behind: "
            "set it, for example with `timedatectl set-ntp true`"
        )
    roster = chain.get_waiting_roster()
    registered = roster.roles.get(key.author)
    if registered is None:
        raise InputError(f"{format_peer_id(key.author)} is not registered on {options.chain_file}: register it first")
    if registered != options.roles:
        names = " ".join(f"--role {role.name.lower()}" for role in Role if role.name and role & registered)
        raise InputError(f"the chain has this node in another role: start it with {names}, or register it anew")
    check_policy(options.policy, chain.timing, len(roster.members))


async def _start_network(options: NodeOptions, emit: Emit) -> Libp2pNetwork:
    from epochgate.engine.libp2p import Libp2pNetwork  # noqa: PLC0415 - brings hivemind and torch

    return await Libp2pNetwork.start(
        options.identity, options.data, listen=options.listen, initial_peers=options.initial_peers, emit=emit
    )


def _make_emit(node: str, clock: Clock, leave: Callable[[], None], *, is_json: bool) -> Emit:
    """Write each fact to standard output; when nobody reads it any more the node leaves."""
    nobody = Cast(())

    def emit(fact: AnyEvent) -> None:
        line = Line(node, clock.get_unix_seconds(), fact)
        words = None if is_json else describe_fact(fact, nobody)
        data = encode_line(line) if is_json else f"{words}\n".encode() if words else b""
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError:
            leave()

    return emit
