from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(
    0, str(Path(__file__).parent)
)  # its helpers need the extra [hypertensor], so they stay here


@pytest.fixture
def devchain() -> Iterator[object]:
    from devchain import DevChain, find_spec

    chain = DevChain.start(find_spec())
    yield chain
    chain.stop()
