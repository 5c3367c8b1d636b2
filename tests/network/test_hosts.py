"""Several hosts: each node in a network namespace of its own, 50 ms and a lossy cable away from all
others.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.core.types import BlockNumber, Epoch
from epochgate.observe.events import DutyMissed
from tests.support.machine import scale_seconds
from tests.support.network_namespaces import Hosts, find_hindrance
from tests.support.process_subnet import ProcessSubnet

HINDRANCE = find_hindrance()
pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(bool(HINDRANCE), reason=HINDRANCE or "it may"),
]

NAMES = ("hoster-1", "hoster-2", "hoster-3", "validator-1", "validator-2")
EPOCH_SECONDS = 20.0


async def test_over_slow_and_lossy_cables_epochs_are_complete_but_for_a_host_that_was_cut_off(
    tmp_path: Path,
) -> None:
    """It says what it missed, and the next epoch lacks nothing."""
    with Hosts(NAMES, delay_seconds=0.05, loss=0.01) as hosts:
        async with ProcessSubnet(
            tmp_path, NAMES, scale_seconds(EPOCH_SECONDS), hosts.addresses, hosts.get_prefix
        ).live() as subnet:
            await subnet.wait_for_block(Epoch(0), BlockNumber(45))
            hosts.unplugged.add("hoster-3")
            await subnet.wait_for_block(Epoch(0), BlockNumber(65))
            hosts.unplugged.clear()
            await subnet.wait_until_settled(Epoch(1))
            assert subnet.chronicle.find_gaps(Epoch(0)) == ["no counted opening of hoster-3"]
            assert subnet.get_facts("hoster-3", DutyMissed, epoch=0, duty="open-output"), (
                "it says what it missed"
            )
            assert subnet.chronicle.find_gaps(Epoch(1)) == []
        assert hosts.lost_frames > 0
