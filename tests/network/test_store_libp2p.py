"""The store on real libp2p daemons, in real time: eight of them serve all tests of this file.

Smaller towns live on the memory engine, and a town of four in `test_bare_hivemind.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from epochgate.engine.system import SystemClock
from libp2p_town import lay_lines
from suites.store_suite import Behaviour, every_behaviour
from town import NAMES, VISITOR, Line, Town

pytestmark = [pytest.mark.network, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[tuple[str, Line]]]:
    async with lay_lines(tmp_path_factory.mktemp("town"), (*NAMES, VISITOR)) as lines:
        yield lines


@every_behaviour
async def test_store_on_libp2p(
    behaviour: Behaviour, lines: list[tuple[str, Line]], tmp_path: Path
) -> None:
    town = await Town.settle(tmp_path, SystemClock(), lines[:-1], lines[-1][1])
    try:
        await behaviour(town)
    finally:
        await town.close()
