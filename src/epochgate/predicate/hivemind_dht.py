"""Request types on an unforked hivemind DHT.

hivemind asks a validator without saying whether a record is read or stored, so a predicate hears
POST, the stricter, until the node is marked. On a bare node, then, what another replica returns
outside its window is refused, and only what lies on the node itself can still be read: mark the
node, and windows bind stores only.

Nothing of hivemind is patched or subclassed; one method of one object is wrapped. So the node keeps
what is wrong with bare hivemind 1.1.12, whatever a predicate says: a reply over the message limit
makes its reader drop healthy peers; a store with an earlier expiry is refused and still shortens
the stored record's life, so an old record deletes the new one; a plain store replaces everybody's
entries; one bad entry hides all good ones under its key, and an empty dictionary the key; `store`
reports the last replica's verdict only, and `get` answers from a local cache; what a newcomer is
handed after a window is refused; node ids are chosen; unsigned values pass the signature validator;
and 1.4 KB of nested tuples end the process. Our engine has none of these:
`tests/network/test_bare_hivemind.py` shows both.
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
    """From now on validators on `node` know a GET: replies are validated in `call_find` and nowhere
    else.
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
    """The same for the node inside a started `hivemind.DHT`, which lives in a process of
    its own.
    """
    dht.run_coroutine(_mark_reads)


async def _mark_reads(_dht: DHT, node: DHTNode) -> None:
    mark_reads(node)
