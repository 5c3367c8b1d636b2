"""A hundred epochs of a subnet, in virtual time: what validators compute never parts."""

from __future__ import annotations

import random
from pathlib import Path

from epochgate.core.scoring import TOTAL_PAY
from epochgate.engine.memory import Hub
from epochgate.observe.events import Abstained, AttestationRefused, DutyMissed, NodeWarning, Scored
from simulation.world import VALIDATORS, World, assert_complete, live

EPOCHS = 100


def test_a_hundred_epochs_end_with_identical_scores_on_every_validator(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.start()
        for epoch in range(EPOCHS):
            await world.run_until(epoch + 1, 55)
            await assert_complete(world, epoch)
            lists = [world[name].get(Scored, epoch) for name in (*VALIDATORS, "erin")]
            assert [len(scored) for scored in lists] == [1] * 4
            assert all(scored[0].scores == lists[0][0].scores for scored in lists)
            submitted = (await world.get_submission(epoch + 1)).submission.scores
            assert sum(submitted.values()) == (TOTAL_PAY if epoch > 0 else 0)
        for resident in world.residents.values():
            for unwanted in (DutyMissed, AttestationRefused, Abstained, NodeWarning):
                assert not resident.get(unwanted)

    live(tmp_path, story, both=("erin",), hub=Hub(random.Random(0)))
