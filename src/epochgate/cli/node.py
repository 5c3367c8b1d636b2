"""`epochgate node`: one node in a process of its own, with signals and a terminal around it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from epochgate.cli.options import NodeOptions, add_node_options
from epochgate.engine.listening import is_loopback
from epochgate.engine.system import SystemClock, ThreadCompute, exit_immediately
from epochgate.keys import SigningKey, format_peer_id
from epochgate.node.runner import Node
from epochgate.observe.cast import Cast
from epochgate.observe.describe import describe_fact
from epochgate.observe.events import AnyEvent, Emit, Line, encode_line
from epochgate.ports import Clock, Compute
from epochgate.runtime.node import MakeNode, open_node
from epochgate.runtime.settings import NodeSettings, find_unknown_variables, load_settings

ConfigFile = Annotated[
    Path | None,
    typer.Option(help="A TOML file with settings; EPOCHGATE_CONFIG names one too."),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Show the settings in force, and leave.")
]


@add_node_options()
def node(options: NodeOptions, config: ConfigFile = None, print_config: PrintConfig = False) -> int:
    """Run one node until SIGTERM or Ctrl-C. It then says OFFLINE in a last heartbeat and leaves; a
    second signal ends it at once.

    Each option may also be a variable (EPOCHGATE_LISTEN) or a line of the file (listen = "...").
    Options come first, then variables, then the file.
    """
    loaded = load_settings(options, config)
    if print_config:
        typer.echo(loaded.render())
        return 0
    for variable in find_unknown_variables():
        _warn(f"{variable} is set and is not a setting of a node: see `epochgate node --help`")
    return run_node(loaded.settings)


def run_node(settings: NodeSettings, *, make_node: MakeNode = Node) -> int:
    """Run the node that `settings` describe until a signal ends it, and return the exit code."""
    compute = ThreadCompute()
    try:
        asyncio.run(_run(settings, compute, make_node))
    finally:
        compute.close()
    if compute.is_working():
        exit_immediately(0)  # a model that hangs must not keep the process
    return 0


async def _run(settings: NodeSettings, compute: Compute, make_node: MakeNode) -> None:
    """Serve until a signal comes. One that comes before the node has started cancels the start."""
    leaving = _listen_to_signals()
    started = asyncio.Event()
    serving = asyncio.create_task(_serve(settings, compute, make_node, leaving, started))
    waiting = asyncio.create_task(leaving.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving.done() or started.is_set():
        await serving
        return
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    _warn("left before the node had started")


async def _serve(
    settings: NodeSettings,
    compute: Compute,
    make_node: MakeNode,
    leaving: asyncio.Event,
    started: asyncio.Event,
) -> None:
    author = SigningKey.load(settings.identity).author
    emit = _make_emit(
        format_peer_id(author), SystemClock(), leaving.set, is_json=settings.events == "-"
    )
    async with open_node(settings, emit=emit, compute=compute, make_node=make_node) as opened:
        started.set()
        if not is_loopback(settings.listen):
            _warn(
                f"{settings.listen} can be reached from beyond this machine: let only this port"
                " through the firewall"
            )
        ends = [asyncio.create_task(event.wait()) for event in (leaving, opened.stopped)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()


def _listen_to_signals() -> asyncio.Event:
    """An event that the first SIGTERM or Ctrl-C sets. A second one ends the process at once; the
    node's database survives that.
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


def _make_emit(node_name: str, clock: Clock, leave: Callable[[], None], *, is_json: bool) -> Emit:
    """What writes each fact to standard output, and leaves when nobody reads it any more."""

    def emit(fact: AnyEvent) -> None:
        data = _encode(fact, node_name, clock, is_json=is_json)
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError:
            leave()

    return emit


def _encode(fact: AnyEvent, node_name: str, clock: Clock, *, is_json: bool) -> bytes:
    """The fact as one line; empty for a fact that has no words."""
    if is_json:
        return encode_line(Line(node_name, clock.get_unix_seconds(), fact))
    message = describe_fact(fact, Cast(()))
    if message:
        return f"{message}\n".encode()
    return b""


def _warn(message: str) -> None:
    typer.echo(f"epochgate: {message}", file=sys.stderr)
