"""Nodes of plain, unforked hivemind on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hivemind.dht import DHTNode
from hivemind.dht.validation import CompositeValidator, RecordValidatorBase

LOOPBACK: dict[str, Any] = {
    "host_maddrs": ["/ip4/127.0.0.1/tcp/0"],
    "nat_port_map": False,
    "auto_nat": False,
    "use_relay": False,
}


async def start_node(
    known: Sequence[DHTNode], *validators: RecordValidatorBase, **options: Any
) -> DHTNode:
    """One that knows the others and keeps every record on three nodes; its cache is off, for it
    hides what those hold.
    """
    return await DHTNode.create(
        initial_peers=[
            str(address) for node in known for address in await node.get_visible_maddrs()
        ],
        record_validator=CompositeValidator(validators),
        **LOOPBACK | {"num_replicas": 3, "cache_locally": False, "cache_nearest": 0} | options,
    )
