"""Models that take their time: what fits the window counts, what does not is told with the time it
had.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from epochgate.core.receipt import Standing
from epochgate.core.types import Epoch
from epochgate.observe.events import Attested, DutyMissed, NodeWarning, Scored
from epochgate.schemas import Heartbeat
from epochgate.store.client import get_latest
from tests.simulation.subnet import HOSTERS, HonestModel, SimSubnet, assert_complete, live

HAD_SECONDS = 192
"""Commitments are made in blocks 17 up to but without 50, and the last block is for sending: 32
blocks of 6 s.
"""


class SlowModel(HonestModel):
    def __init__(self, virtual_seconds: float) -> None:
        self.virtual_seconds = virtual_seconds


async def read_throughputs(subnet: SimSubnet) -> dict[str, float]:
    """What hosters say of themselves, by name."""
    node_context = subnet["victor"].get_live_node().context
    rule_reading = await node_context.store.read_all(
        node_context.policy.get_rule("hoster"), Epoch(0)
    )
    latest = get_latest(rule_reading.readings, node_context.chain_clock.get_evaluation_context())
    names = {subnet[name].key.author: name for name in HOSTERS}
    key_rule = node_context.schedule.get_key_rule(node_context.policy.get_rule("hoster"), Epoch(0))
    said: dict[str, float] = {}
    for author, proof in latest.items():
        beat = key_rule.decode(proof.record.payload)
        assert isinstance(beat, Heartbeat)
        said[names[author]] = beat.throughput
    return said


def test_a_model_that_fits_the_window_counts_and_its_pace_is_known(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(0), 99)
        assert await read_throughputs(subnet) == {
            "alice": 0.0,
            "bob": 0.0,
            "carol": 0.0,
            "dave": pytest.approx(1 / 190),
        }
        await subnet.run_until(Epoch(2), 30)
        await assert_complete(subnet, Epoch(0))
        await assert_complete(subnet, Epoch(1))
        assert not subnet["dave"].get(DutyMissed)

    live(tmp_path, story, models={"dave": SlowModel(190.0)})


def test_a_model_that_is_too_slow_is_told_with_the_time_it_had(tmp_path: Path) -> None:
    model = SlowModel(60.0)

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 1)
        model.virtual_seconds = 200.0
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(0))
        await assert_complete(subnet, Epoch(1), without=("dave",))
        failed = {fact.duty: fact.why for fact in subnet["dave"].get(DutyMissed, Epoch(1))}
        assert (
            failed["commit-output"]
            == f"the model had not answered after the {HAD_SECONDS} s it had; it usually needs 60"
            " s: serve a smaller model, or this one on a faster machine"
        )
        assert set(failed) == {"commit-output", "open-output"}, "what it does for others goes on"
        assert subnet["dave"].get(Attested, Epoch(2))
        assert subnet["dave"].peer_id not in subnet["victor"].get(Scored, Epoch(1))[0].commitments
        assert (await read_throughputs(subnet))["dave"] == 0.0
        assert not subnet["dave"].get(NodeWarning), "it ended long before it was asked again"
        model.virtual_seconds = 60.0
        await subnet.run_until(Epoch(4), 30)
        await assert_complete(subnet, Epoch(3))

    live(tmp_path, story, models={"dave": model})


def test_a_model_that_hangs_is_told_when_it_is_asked_again(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 51)
        first, second = [
            fact.why for fact in subnet["dave"].get(DutyMissed) if fact.duty == "commit-output"
        ][:2]
        assert first == second
        assert (
            f"after the {HAD_SECONDS} s it had; it never answered since this node started: serve a"
            " smaller" in first
        )
        troubles = [(fact.where, fact.what) for fact in subnet["dave"].get(NodeWarning)]
        assert troubles == [
            (
                "model",
                (
                    f"{runs} runs of the model were given up and still go on, each in a thread of"
                    " its own"
                ),
            )
            for runs in (2, 3)
        ]
        node_context = subnet["victor"].get_live_node().context
        rule_reading = await node_context.store.read_all(
            node_context.policy.get_rule("hoster-commit"), Epoch(2)
        )
        assert sorted(rule_reading.get_proofs(Standing.PROVEN)) == sorted(
            subnet[name].key.author for name in ("alice", "bob", "carol")
        )

    live(tmp_path, story, models={"dave": SlowModel(math.inf)})
