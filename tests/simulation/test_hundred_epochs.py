"""A hundred epochs of a subnet, in virtual time: what validators compute never parts."""

from __future__ import annotations

import random
from pathlib import Path

from epochgate.core.scoring import TOTAL_PAY
from epochgate.core.types import Epoch
from epochgate.engine.memory import Hub
from epochgate.observe.events import Abstained, AttestationRefused, DutyMissed, NodeWarning, Scored
from tests.simulation.subnet import VALIDATORS, SimSubnet, assert_complete, live

EPOCHS = 100


def test_a_hundred_epochs_end_with_identical_scores_on_every_validator(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        for epoch in range(EPOCHS):
            await subnet.run_until(Epoch(epoch + 1), 55)
            await assert_complete(subnet, Epoch(epoch))
            lists = [subnet[name].get(Scored, Epoch(epoch)) for name in (*VALIDATORS, "erin")]
            assert [len(scored) for scored in lists] == [1] * 4
            assert all(scored[0].scores == lists[0][0].scores for scored in lists)
            submitted = (await subnet.get_submission(Epoch(epoch + 1))).submission.scores
            assert sum(submitted.values()) == (TOTAL_PAY if epoch > 0 else 0)
        for sim_node in subnet.nodes.values():
            for unwanted in (DutyMissed, AttestationRefused, Abstained, NodeWarning):
                assert not sim_node.get(unwanted)

    live(tmp_path, story, both=("erin",), hub=Hub(random.Random(0)))
