"""The store on real libp2p daemons, in real time: eight of them serve all tests of this file.

Smaller towns live on the memory engine, and a town of four in `test_bare_hivemind.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from epochgate.engine.system import SystemClock
from tests.suites.store_suite import Behaviour, every_behaviour
from tests.support.libp2p_cluster import attach_handlers
from tests.support.store_cluster import NAMES, OUTSIDER, StoreCluster, SwitchableHandler

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def handlers(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[list[tuple[str, SwitchableHandler]]]:
    async with attach_handlers(tmp_path_factory.mktemp("town"), (*NAMES, OUTSIDER)) as handlers:
        yield handlers


@every_behaviour
async def test_store_on_libp2p(
    behaviour: Behaviour, handlers: list[tuple[str, SwitchableHandler]], tmp_path: Path
) -> None:
    cluster = await StoreCluster.start(tmp_path, SystemClock(), handlers[:-1], handlers[-1][1])
    try:
        await behaviour(cluster)
    finally:
        await cluster.close()
