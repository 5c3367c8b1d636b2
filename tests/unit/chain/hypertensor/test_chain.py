"""Opening a chain."""

from __future__ import annotations

import pytest

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.rpc import ChainUnreachable
from epochgate.core.epoch import Timing
from epochgate.core.policy_lint import check_policy
from epochgate.core.types import BlockNumber
from epochgate.engine.system import SystemClock
from epochgate.policies.inference import INFERENCE_POLICY
from tests.support.head_server import HeadServer


def test_the_default_policy_fits_the_live_epoch_of_20_blocks() -> None:
    check_policy(INFERENCE_POLICY, Timing(BlockNumber(3), 20, 6.0), roster_size=64)


async def test_a_chain_that_is_not_there_is_told_in_words() -> None:
    server = HeadServer()
    async with server.serve():
        pass
    with pytest.raises(
        ChainUnreachable, match=r"does not answer .*: look whether the chain node runs"
    ):
        await HypertensorChain.open(server.url, 1, SystemClock())
