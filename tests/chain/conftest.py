from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def devchain() -> Iterator[object]:
    from tests.chain.devchain import DevChain, find_spec

    chain = DevChain.start(find_spec())
    yield chain
    chain.stop()
