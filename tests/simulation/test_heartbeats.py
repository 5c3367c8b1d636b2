"""Heartbeats of whole nodes: JOINING, ONLINE, OFFLINE, and what a failed renewal costs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from epochgate.core.types import Epoch
from epochgate.observe.events import NodeWarning
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import Heartbeat, ServerState
from epochgate.store.client import get_latest
from tests.simulation.subnet import SimNode, SimSubnet, live


async def read_state(
    subnet: SimSubnet, reader: SimNode, of: SimNode, kind: str
) -> ServerState | None:
    """The state that `of`'s heartbeat under `kind` names, as `reader` sees it."""
    node = reader.get_live_node()
    moment = node.chain_clock.get_evaluation_context()
    rule = INFERENCE_POLICY.get_rule(kind)
    rule_reading = await node.store.read_all(rule, moment.data.epoch)
    proof = get_latest(rule_reading.readings, moment).get(of.key.author)
    if proof is None:
        return None
    beat = node.schedule.get_key_rule(rule, moment.data.epoch).decode(proof.record.payload)
    assert isinstance(beat, Heartbeat)
    assert (beat.public_name, beat.role, beat.policy_digest) == (
        of.name,
        kind,
        INFERENCE_POLICY.digest.hex(),
    )
    return beat.state


def test_heartbeats_tell_joining_online_and_offline(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        alice = subnet["alice"]
        erin = subnet["erin"]

        async def read_both() -> list[ServerState | None]:
            return [await read_state(subnet, alice, erin, kind) for kind in ("hoster", "validator")]

        await subnet.start()
        await asyncio.sleep(20)
        assert await read_both() == [ServerState.JOINING] * 2, (
            "before the first block there are heartbeats already"
        )
        for percent in range(5, 300, 25):
            await subnet.run_until(Epoch(0), percent)
            assert await read_both() == [ServerState.ONLINE] * 2
        await erin.stop()
        assert await read_both() == [ServerState.OFFLINE] * 2
        await subnet.run_until(Epoch(4), 50)
        assert await read_both() == [None] * 2

    live(tmp_path, story, both=("erin",))


def test_a_failed_renewal_ends_nothing(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        alice = subnet["alice"]
        dave = subnet["dave"]
        await subnet.start()
        await subnet.run_until(Epoch(0), 80)
        subnet.hub.is_cut = lambda sender, receiver: dave.key.author in (sender, receiver)
        await subnet.run_until(Epoch(2), 20)
        assert await read_state(subnet, alice, dave, "hoster") is None
        assert [fact.where for fact in dave.get(NodeWarning)] == ["heartbeat"]
        subnet.hub.is_cut = lambda _sender, _receiver: False
        await subnet.run_until(Epoch(2), 40)
        assert await read_state(subnet, alice, dave, "hoster") is ServerState.ONLINE

    live(tmp_path, story)
