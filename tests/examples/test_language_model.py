"""The example's subnet: hosters with a real, tiny language model through whole epochs, and one who
serves another.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from epochgate.core.epoch import Timing
from epochgate.core.policy_lint import find_problems
from epochgate.core.types import Epoch
from epochgate.models import load_model
from tests.simulation.subnet import HOSTERS, SimSubnet, assert_complete, live

EXAMPLE = Path(__file__).parents[2] / "examples" / "language_model"


def test_hosters_of_one_language_model_agree_and_another_model_earns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    subnet, maker = (
        importlib.import_module(name) for name in ("language_subnet", "make_tiny_model")
    )
    assert list(find_problems(subnet.POLICY, Timing(None, 100, 6.0), 500)) == []
    maker.make_tiny_model(tmp_path / "tiny")
    name = f"transformers:{tmp_path / 'tiny'}?positions={subnet.POSITIONS}&width={subnet.WIDTH}"
    models = {hoster: load_model(name) for hoster in HOSTERS}
    models["dave"] = load_model(f"{name}&output=hidden")

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1), without=("dave",))
        scores = (await subnet.get_submission(Epoch(2))).submission.scores
        assert scores[subnet["dave"].key.author] == 0
        assert scores[subnet["alice"].key.author] > 0

    live(tmp_path, story, policy=subnet.POLICY, models=models)
