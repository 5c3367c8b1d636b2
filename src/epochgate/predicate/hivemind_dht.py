"""Request types on an unforked hivemind DHT.

hivemind asks a validator without saying whether a record is read or stored, so a predicate gets
POST, the stricter, until the node is marked. On a node that is not marked, a record that another
replica returns outside its window is refused, and only the node's own records can be read. On a
marked node windows bind stores only.

Nothing of hivemind is patched or subclassed; one method of one object is wrapped. So the node keeps
the faults of bare hivemind 1.1.12, whatever a predicate says:

- a reply over the message limit makes its reader drop healthy peers;
- a store with an earlier expiry is refused and still shortens the stored record's life, so an old
  record deletes the new one;
- a plain store replaces everybody's entries;
- one bad entry hides all good ones under its key, and an empty dictionary hides the key;
- `store` reports the last replica's verdict only, and `get` answers from a local cache;
- records that a newcomer receives after their window are refused;
- node ids are chosen;
- unsigned values pass the signature validator;
- 1.4 KB of nested tuples end the process.

epochgate's libp2p engine has none of these: `tests/network/test_bare_hivemind.py` shows both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from hivemind.dht import DHT, DHTNode
from hivemind.dht.routing import DHTID
from hivemind.p2p import PeerID

from epochgate.predicate.validators import READING_TASK


def mark_reads(node: DHTNode) -> None:
    """Let validators on a node know a GET from a POST, from now on.

    hivemind validates replies in `call_find`, and nowhere else.

    Args:
        node: A node that runs in this process.
    """
    call_find = node.protocol.call_find

    async def call_find_as_get(peer: PeerID, keys: Collection[DHTID]) -> Any:
        token = READING_TASK.set(asyncio.current_task())
        try:
            return await call_find(peer, keys)
        finally:
            READING_TASK.reset(token)

    node.protocol.call_find = call_find_as_get


def mark_reads_of_dht(dht: DHT) -> None:
    """Do what `mark_reads` does for the node of a `hivemind.DHT`.

    Args:
        dht: A DHT that is started, and so has its node in a process of its own.
    """
    dht.run_coroutine(_mark_reads)


async def _mark_reads(_dht: DHT, node: DHTNode) -> None:
    mark_reads(node)
