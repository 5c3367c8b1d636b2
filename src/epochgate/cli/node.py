"""`epochgate node`: one node, wired to its network, chain and ledger, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER
from epochgate.engine.listening import is_loopback
from epochgate.engine.system import SystemClock, SystemEntropy, ThreadCompute, exit_immediately
from epochgate.keys import SigningKey, format_peer_id
from epochgate.models import load_model
from epochgate.observe.cast import Cast
from epochgate.observe.describe import describe_fact
from epochgate.observe.events import AnyEvent, Emit, Line, encode_line
from epochgate.ports import Clock, Compute
from epochgate.runtime.chains import ChainIdentity, OpenedChain, check_node, open_chain
from epochgate.runtime.loading import InputError, load_challenger, load_policy
from epochgate.runtime.settings import (
    NodeSettings,
    RoleName,
    explain,
    find_unknown_variables,
    load_settings,
)
from epochgate.store.database import NodeDatabase
from epochgate.transcript.writer import TranscriptWriter

if TYPE_CHECKING:
    from epochgate.engine.libp2p import Libp2pNetwork
    from epochgate.node.runner import Node

T = TypeVar("T")

MakeNode = Callable[..., "Node"]
"""Makes the node from its parts, which it is given by the names that `Node` has for them; `Node`
itself is one.
"""


def node(
    role: Annotated[list[RoleName] | None, typer.Option(help=explain("role"))] = None,
    chain: Annotated[str | None, typer.Option(help=explain("chain"))] = None,
    subnet_id: Annotated[int | None, typer.Option(help=explain("subnet_id"))] = None,
    hotkey: Annotated[Path | None, typer.Option(help=explain("hotkey"))] = None,
    block_seconds: Annotated[float | None, typer.Option(help=explain("block_seconds"))] = None,
    identity: Annotated[Path | None, typer.Option(help=explain("identity"))] = None,
    data: Annotated[Path | None, typer.Option(help=explain("data"))] = None,
    listen: Annotated[str | None, typer.Option(help=explain("listen"))] = None,
    announce: Annotated[list[str] | None, typer.Option(help=explain("announce"))] = None,
    behind_nat: Annotated[bool | None, typer.Option(help=explain("behind_nat"))] = None,
    initial_peers: Annotated[list[str] | None, typer.Option(help=explain("initial_peers"))] = None,
    model: Annotated[str | None, typer.Option(help=explain("model"))] = None,
    challenger: Annotated[str | None, typer.Option(help=explain("challenger"))] = None,
    policy: Annotated[str | None, typer.Option(help=explain("policy"))] = None,
    public_name: Annotated[str | None, typer.Option(help=explain("public_name"))] = None,
    heartbeat_facts: Annotated[
        list[str] | None, typer.Option(help=explain("heartbeat_facts"))
    ] = None,
    events: Annotated[str | None, typer.Option(help=explain("events"))] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings; EPOCHGATE_CONFIG names one too.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show the settings in force, and leave.")
    ] = False,
) -> int:
    """Run one node until SIGTERM or Ctrl-C, which it leaves with an OFFLINE heartbeat; a second one
    ends it at once.

    Each option may also be a variable (EPOCHGATE_LISTEN) or a line of the file (listen = "...").
    Options come first, then variables, then the file.
    """
    options = {
        "role": role,
        "chain": chain,
        "subnet_id": subnet_id,
        "hotkey": hotkey,
        "block_seconds": block_seconds,
        "identity": identity,
        "data": data,
        "listen": listen,
        "announce": announce,
        "behind_nat": behind_nat,
        "initial_peers": initial_peers,
        "model": model,
        "challenger": challenger,
        "policy": policy,
        "public_name": public_name,
        "heartbeat_facts": heartbeat_facts,
        "events": events,
    }
    loaded = load_settings(options, config)
    if print_config:
        typer.echo(loaded.render())
        return 0
    for variable in find_unknown_variables():
        _warn(f"{variable} is set and is no setting of a node: see `epochgate node --help`")
    return run_node(loaded.settings)


def run_node(settings: NodeSettings, *, make_node: MakeNode | None = None) -> int:
    """Run the node that `settings` describe until it is asked to leave. `make_node` takes the place
    of `Node`.
    """
    compute = ThreadCompute()
    try:
        asyncio.run(_run(settings, compute, make_node))
    except _Left:
        _warn("left before the node had started")
    finally:
        compute.close()
    if compute.is_working():
        exit_immediately(0)  # a model that hangs must not keep the process
    return 0


async def _run(settings: NodeSettings, compute: Compute, make_node: MakeNode | None) -> None:
    leaving = _listen_to_signals()
    policy = load_policy(settings.policy)
    key = SigningKey.load(settings.identity)
    clock = SystemClock()
    emit = _make_emit(
        format_peer_id(key.author), clock, leaving.set, is_json=settings.events == "-"
    )
    chain_identity = ChainIdentity(
        settings.subnet_id, settings.hotkey, policy.role_field, settings.block_seconds, emit
    )
    opened = await _unless(
        leaving,
        open_chain(settings.chain, author=key.author, clock=clock, chain_identity=chain_identity),
    )
    async with AsyncExitStack() as closing:
        closing.push_async_callback(opened.chain.close)
        check_node(opened, key.author, settings.roles, policy)
        _make_folder(settings.data)
        database = NodeDatabase(settings.data / "ledger.sqlite")
        closing.callback(database.close)
        await _live(
            settings, opened, key, policy, database, clock, compute, emit, leaving, make_node
        )


async def _live(
    settings: NodeSettings,
    opened: OpenedChain,
    key: SigningKey,
    policy: Policy,
    database: NodeDatabase,
    clock: Clock,
    compute: Compute,
    emit: Emit,
    leaving: asyncio.Event,
    make_node: MakeNode | None,
) -> None:
    """From the start of the network to the last goodbye. Here a node gets its parts."""
    from epochgate.node.runner import Node  # noqa: PLC0415 - only this command runs one

    model = load_model(settings.model) if settings.roles & HOSTER else None
    challenger = load_challenger(settings.challenger)
    async with AsyncExitStack() as closing:
        recorder = TranscriptWriter(settings.data / "transcript", settings.policy, emit)
        closing.callback(recorder.close)  # after the network: what still arrives is written
        network = await _unless(leaving, _start_network(settings, emit))
        closing.push_async_callback(network.close)
        node = (make_node or Node)(
            chain=opened.chain,
            network=network,
            database=database,
            key=key,
            policy=policy,
            clock=clock,
            entropy=SystemEntropy(),
            compute=compute,
            emit=emit,
            model=model,
            challenger=challenger,
            public_name=settings.public_name,
            heartbeat_facts=settings.heartbeat_facts,
            addresses=network.get_listen_addresses(),
            recorder=recorder,
        )
        await _unless(leaving, node.start())
        running = asyncio.create_task(node.run())
        waiting = asyncio.create_task(leaving.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        node.stop()
        await running


class _Left(Exception):
    """The node was asked to leave before it had started."""


async def _unless(leaving: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Raises _Left, with `work` cancelled, when the node is asked to leave
    before.
    """
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(leaving.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        raise _Left
    finally:
        waiting.cancel()
        task.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


def _listen_to_signals() -> asyncio.Event:
    """Set by the first SIGTERM or Ctrl-C; a second one ends the process where it stands, which the
    ledger survives.
    """
    leaving = asyncio.Event()

    def leave(number: signal.Signals) -> None:
        if leaving.is_set():
            _warn("left at once, without an OFFLINE heartbeat")
            os._exit(128 + number)
        leaving.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, leave, number)
    return leaving


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--data {folder} cannot be made ({error.strerror}): choose another folder"
        ) from None


async def _start_network(settings: NodeSettings, emit: Emit) -> Libp2pNetwork:
    from epochgate.engine.libp2p import Libp2pNetwork  # noqa: PLC0415 - brings hivemind and torch

    network = await Libp2pNetwork.start(
        settings.identity,
        settings.data,
        listen=settings.listen,
        announce=settings.announce,
        initial_peers=settings.initial_peers,
        is_behind_nat=settings.behind_nat,
        emit=emit,
    )
    if not is_loopback(settings.listen):
        _warn(
            f"{settings.listen} can be reached from beyond this machine: let only this port through"
            " the firewall"
        )
    return network


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


def _warn(words: str) -> None:
    typer.echo(f"epochgate: {words}", file=sys.stderr)
