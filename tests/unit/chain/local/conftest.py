"""A local chain in a temporary folder, and the clock that it is seen with."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from tests.support.local_chain import StoppedClock, create


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chain.sqlite"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def chain(path: Path, clock: StoppedClock) -> LocalChain:
    create(path, clock)
    return LocalChain(path, None, clock)
