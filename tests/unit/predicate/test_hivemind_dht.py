"""Marking the reads of a hivemind node, without one: `tests/network/test_hivemind_dht.py` has real
ones.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from epochgate.predicate import DHTRequestType, mark_reads
from epochgate.predicate.validators import get_request_type


class CallingNode:
    """A node whose replies are validated in `call_find`, as hivemind's are."""

    def __init__(self, *, is_failing: bool = False) -> None:
        self.request_types: list[DHTRequestType] = []
        self.is_failing = is_failing
        self.protocol = SimpleNamespace(call_find=self.call_find)

    async def call_find(self, peer: str, keys: list[str]) -> tuple[str, list[str]]:
        self.request_types.append(get_request_type())
        if self.is_failing:
            raise ConnectionError("the peer is gone")
        return peer, keys


async def ask(node: Any) -> Any:
    return await node.protocol.call_find("peer", ["key"])


async def test_only_a_marked_node_reads() -> None:
    node: Any = CallingNode()
    await ask(node)
    mark_reads(node)
    assert await ask(node) == ("peer", ["key"])
    assert node.request_types == [DHTRequestType.POST, DHTRequestType.GET]
    assert get_request_type() is DHTRequestType.POST


async def test_a_read_that_fails_ends_too() -> None:
    node: Any = CallingNode(is_failing=True)
    mark_reads(node)
    with pytest.raises(ConnectionError):
        await ask(node)
    assert get_request_type() is DHTRequestType.POST
