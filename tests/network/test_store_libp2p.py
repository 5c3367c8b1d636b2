"""The store on real libp2p daemons, in real time: eight of them serve all tests of this file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from epochgate.engine.libp2p import Libp2pNetwork
from epochgate.engine.system import SystemClock
from epochgate.keys import FILE_PREFIX
from people import meet
from suites.store_suite import Behaviour, every_behaviour
from town import MAX_MESSAGE_BYTES, NAMES, VISITOR, Line, Town

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[tuple[str, Line]]]:
    async with AsyncExitStack() as stack:
        networks: list[Libp2pNetwork] = []
        for name in (*NAMES, VISITOR):
            home = tmp_path_factory.mktemp(name)
            (home / "key").write_bytes(FILE_PREFIX + bytes(meet(name)._key) + bytes(meet(name)._key.verify_key))
            (home / "key").chmod(0o600)
            peers = [address for network in networks[:2] for address in network.get_listen_addresses()]
            network = await Libp2pNetwork.start(home / "key", home, initial_peers=peers, max_message_bytes=MAX_MESSAGE_BYTES)
            stack.push_async_callback(network.close)
            networks.append(network)
        yield [(name, await Line.lay(network)) for name, network in zip((*NAMES, VISITOR), networks, strict=True)]


@every_behaviour
@pytest.mark.parametrize("size", [4, 7])
async def test_store_on_libp2p(behaviour: Behaviour, size: int, lines: list[tuple[str, Line]], tmp_path: Path) -> None:
    town = await Town.settle(tmp_path, SystemClock(), lines[:size], lines[-1][1])
    try:
        await behaviour(town)
    finally:
        await town.close()
