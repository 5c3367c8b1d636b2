"""`epochgate adversary`: a node whose parts are replaced before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.cli import run_command
from epochgate.node.runner import Node
from epochgate.runtime.node import MakeNode
from epochgate.runtime.settings import NodeSettings
from tests.support.command_line import refuse

NODE = ["--role", "hoster", "--chain", "local:chain.sqlite", "--identity", "key", "--data", "data"]


def test_its_options_are_those_of_a_node_and_its_parts_are_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[NodeSettings, MakeNode]] = []

    def run_node(settings: NodeSettings, *, make_node: MakeNode) -> int:
        started.append((settings, make_node))
        return 0

    class StubNode:
        def __init__(self, **parts: object) -> None:
            self.parts = parts
            self.handlers: dict[str, object] = {}

    monkeypatch.setattr("epochgate.cli.adversary.run_node", run_node)
    monkeypatch.setattr("epochgate.cli.adversary.Node", StubNode)
    assert run_command(["adversary", "copier", *NODE, "--model", "my:model"]) == 0
    ((settings, make_node),) = started
    assert (settings.data, settings.model) == (Path("data"), "my:model")
    node: Node = make_node(chain="a chain")
    assert isinstance(node, StubNode)
    assert node.parts == {"chain": "a chain"}
    assert set(node.handlers) == {"commit-output", "open-output"}


def test_an_unknown_one_shows_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there are copier, latecomer" in refuse(capsys, "adversary", "nobody", *NODE)
