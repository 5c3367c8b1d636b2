"""Lines over real libp2p daemons, so that a town lives on the network that nodes use; a module's
tests share them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from epochgate.engine.libp2p import Libp2pNetwork
from epochgate.keys import FILE_PREFIX
from tests.support.identities import key_of
from tests.support.store_cluster import MAX_MESSAGE_BYTES, SwitchableHandler


@asynccontextmanager
async def attach_handlers(
    folder: Path, names: Sequence[str]
) -> AsyncIterator[list[tuple[str, SwitchableHandler]]]:
    """One for each name; the first two are the others' bootstrap peers."""
    async with AsyncExitStack() as stack:
        networks: list[Libp2pNetwork] = []
        for name in names:
            home = folder / name
            home.mkdir()
            (home / "key").write_bytes(
                FILE_PREFIX + bytes(key_of(name)._key) + bytes(key_of(name)._key.verify_key)
            )
            (home / "key").chmod(0o600)
            peers = [
                address for network in networks[:2] for address in network.get_listen_addresses()
            ]
            network = await Libp2pNetwork.start(
                home / "key", home, initial_peers=peers, max_message_bytes=MAX_MESSAGE_BYTES
            )
            stack.push_async_callback(network.close)
            networks.append(network)
        yield [
            (name, await SwitchableHandler.attach(network))
            for name, network in zip(names, networks, strict=True)
        ]
