"""The engines, chains and models are what the ports ask for."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from epochgate import ports
from epochgate.chain.local import LocalChain
from epochgate.engine.memory import Hub
from epochgate.engine.system import SystemClock, SystemEntropy, ThreadCompute
from epochgate.engine.virtual_time import InlineCompute, SeededEntropy, VirtualClock
from epochgate.models import create_default_model
from tests.support.identities import alice


def test_each_port_has_its_twins(tmp_path: Path) -> None:
    """A type checker reads this: each value is assigned to its port."""
    LocalChain.create(tmp_path / "chain.sqlite", SystemClock(), block_seconds=6)
    chain: ports.Chain = LocalChain(tmp_path / "chain.sqlite", None, SystemClock())
    network: ports.Network = Hub().join(alice.author)
    clocks: list[ports.Clock] = [SystemClock(), VirtualClock()]
    entropies: list[ports.Entropy] = [SystemEntropy(), SeededEntropy(random.Random(0))]
    computes: list[ports.Compute] = [ThreadCompute(), InlineCompute()]
    model: ports.Model = create_default_model()

    assert chain.get_head().block == 0
    assert network.peer_id == alice.author
    assert len(clocks) == len(entropies) == len(computes) == 2
    assert model.infer(np.zeros((16, 64), np.float32)).shape == (16, 64)


def test_work_that_ran_out_of_time_says_how_much_it_had() -> None:
    error = ports.OutOfTime(longest_seconds=2.5, unfinished=1)
    assert str(error) == "not done in the 2.5 s that it had"
    assert error.unfinished == 1
