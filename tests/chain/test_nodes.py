"""Whole nodes, each a process with its own libp2p daemon, on Hypertensor's own runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.core.types import Epoch
from tests.chain.devchain import DevChain
from tests.chain.run_devnet import EPOCHS, run_devnet

pytestmark = [pytest.mark.chain, pytest.mark.network]


async def test_the_devnets_nodes_go_through_three_epochs(
    devchain: DevChain, tmp_path: Path
) -> None:
    """Each epoch's challenge, commitments and openings; its scores on the chain, attested, and the
    submitter paid.
    """
    paid: set[bytes] = set()

    async def look(chain: HypertensorChain, first_epoch: int) -> None:
        for epoch in range(first_epoch + 1, first_epoch + 1 + EPOCHS):
            found = await chain.get_submission(Epoch(epoch))
            assert found is not None, f"nothing was submitted in epoch {epoch}"
            assert found.is_attested
            assert len(found.attested_by) == 3
            assert found.submission.epoch == epoch
            paid.add(found.submitter)

    summaries, before, after = await run_devnet(devchain, tmp_path, look)

    assert [summary.complete for summary in summaries] == [True] * EPOCHS
    assert any(any(summary.scores.values()) for summary in summaries)
    assert any(after[author] > before[author] for author in paid)
