"""`epochgate node` as its operators treat it: killed in every phase, stopped, stopped in a
hurry.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from epochgate.core.types import Epoch
from epochgate.observe.events import DutyBegan, EpochBegan, NodeReady, NodeStopped, Stored
from tests.support.machine import scale_seconds
from tests.support.process_subnet import ProcessSubnet

pytestmark = pytest.mark.network

NAMES = ("hoster-1", "hoster-2", "hoster-3", "validator-1", "validator-2")


async def test_an_epoch_is_complete_though_a_node_is_killed_in_each_of_its_phases(
    tmp_path: Path,
) -> None:
    """One after the other, each started again at once. A hoster dies in the short window for
    openings when its own is told: whoever dies before and starts slower than a tenth of an epoch is
    absent from it.
    """
    async with ProcessSubnet(tmp_path, NAMES, scale_seconds(25)).live() as subnet:
        await subnet.wait_for("hoster-1", EpochBegan, epoch=0)
        elected = await get_elected(subnet, Epoch(0))
        await subnet.wait_for(elected, DutyBegan, epoch=0, duty="publish-challenge")
        await subnet.kill_and_start_again(elected)
        await subnet.wait_for("hoster-1", DutyBegan, epoch=0, duty="commit-output")
        await subnet.kill_and_start_again("hoster-1")
        await subnet.wait_for("hoster-2", Stored, epoch=0, rule="hoster-reveal")
        await subnet.kill_and_start_again("hoster-2")
        await subnet.wait_for("validator-2", DutyBegan, epoch=0, duty="commit-scores")
        await subnet.kill_and_start_again("validator-2")
        await subnet.wait_for("hoster-3", EpochBegan, epoch=1)
        elected = await get_elected(subnet, Epoch(1))
        await subnet.wait_for(elected, DutyBegan, epoch=1, duty="submit")
        await subnet.kill_and_start_again(elected)
        await subnet.wait_until_settled(Epoch(0))
        assert subnet.chronicle.find_gaps(Epoch(0)) == []
        arguments = [
            "peers",
            "--data",
            f"{tmp_path}/hoster-3",
            "--chain",
            f"local:{subnet.chain_file}",
            "--ping",
        ]
        asking = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "epochgate", *arguments, stdout=subprocess.PIPE
        )
        told, _ = await asking.communicate()
        assert asking.returncode == 0
        rows = {row.split()[0]: row.split() for row in told.decode().splitlines()}
        others = [actor for actor in subnet.cast.actors if actor.name != "hoster-3"]
        assert [rows[actor.peer_id][1:4] for actor in others] == [
            [actor.role, "100", "yes"] for actor in others
        ]


async def get_elected(subnet: ProcessSubnet, epoch: Epoch) -> str:
    author = await subnet.chain.get_elected(epoch)
    assert author is not None
    return subnet.cast.get_name(subnet.chronicle.compute_summary(epoch).elected or "")


async def test_a_node_leaves_when_asked_and_at_once_when_asked_twice(tmp_path: Path) -> None:
    async with ProcessSubnet(tmp_path, NAMES[:1], scale_seconds(25)).live() as subnet:
        process = subnet._nodes["hoster-1"].process
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        await subnet.wait_for("hoster-1", NodeStopped)
        await subnet.start("hoster-1")
        await subnet.wait_for("hoster-1", NodeReady, at_least=2)
        process = subnet._nodes["hoster-1"].process
        os.kill(process.pid, signal.SIGSTOP)  # so that both signals are there when it looks
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        os.kill(process.pid, signal.SIGCONT)
        assert await process.wait() in (128 + signal.SIGTERM, 128 + signal.SIGINT)
        assert subnet.count("hoster-1", NodeStopped) == 1
