"""`epochgate adversary`: a node with bad intentions, for devnets that are to be attacked. Hidden
from the help.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from epochgate.cli.node import run_node
from epochgate.runtime.loading import InputError
from epochgate.runtime.settings import RoleName, load_settings

if TYPE_CHECKING:
    from epochgate.node.runner import Node


def adversary(
    name: Annotated[str, typer.Argument(help="What it plays.")],
    role: Annotated[list[RoleName], typer.Option()],
    chain: Annotated[str, typer.Option()],
    identity: Annotated[Path, typer.Option()],
    data: Annotated[Path, typer.Option()],
    listen: Annotated[str | None, typer.Option()] = None,
    initial_peers: Annotated[list[str] | None, typer.Option()] = None,
    model: Annotated[str | None, typer.Option()] = None,
    challenger: Annotated[str | None, typer.Option()] = None,
    policy: Annotated[str | None, typer.Option()] = None,
    events: Annotated[str | None, typer.Option()] = None,
) -> int:
    """Run one adversary; its options are those of `epochgate node`."""
    from epochgate.adversaries import ADVERSARIES  # noqa: PLC0415 - brings a node

    played = ADVERSARIES.get(name)
    if played is None:
        raise InputError(f"there is no adversary {name!r}; there are {', '.join(ADVERSARIES)}")

    def make_node(**parts: Any) -> Node:
        from epochgate.node.runner import Node  # noqa: PLC0415 - only here one is made

        node = Node(**parts)
        played.corrupt(node)
        return node

    options = {
        "role": role,
        "chain": chain,
        "identity": identity,
        "data": data,
        "listen": listen,
        "initial_peers": initial_peers,
        "model": model,
        "challenger": challenger,
        "policy": policy,
        "events": events,
    }
    return run_node(load_settings(options).settings, make_node=make_node)
