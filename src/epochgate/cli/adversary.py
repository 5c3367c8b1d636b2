"""`epochgate adversary`: a node that breaks the rules, in a devnet that is attacked. Hidden from
the help.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from epochgate.cli.adversaries import load_adversaries
from epochgate.cli.node import run_node
from epochgate.cli.options import NodeOptions, add_node_options
from epochgate.node.runner import Node
from epochgate.runtime.loading import InputError
from epochgate.runtime.settings import load_settings

AdversaryName = Annotated[str, typer.Argument(help="What it plays.")]


@add_node_options()
def adversary(options: NodeOptions, name: AdversaryName) -> int:
    """Run one adversary; its options are those of `epochgate node`."""
    adversaries = load_adversaries()
    played = adversaries.get(name)
    if played is None:
        raise InputError(f"there is no adversary {name!r}; there are {', '.join(adversaries)}")

    def make_node(**parts: Any) -> Node:
        node = Node(**parts)
        played.corrupt(node)
        return node

    return run_node(load_settings(options).settings, make_node=make_node)
