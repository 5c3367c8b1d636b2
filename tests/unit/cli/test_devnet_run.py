"""What a devnet's run makes of its end; tests/network/test_devnet.py runs whole ones."""

from __future__ import annotations

import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from epochgate.cli.devnet_options import DevnetOptions
from epochgate.cli.devnet_run import run_devnet
from epochgate.core.types import Epoch
from epochgate.devnet.faults import Faults
from epochgate.devnet.summary import Chronicle, EpochSummary
from epochgate.devnet.supervisor import Plan
from epochgate.runtime.loading import DEFAULT_POLICY, InputError


class StubDevnet:
    """A run that is over at once, in the way that a test says."""

    plan: Plan
    error: BaseException | None = None

    def __init__(self, plan: Plan, _chain: Any, start_chain: Any, _console: Any) -> None:
        StubDevnet.plan = plan
        self.console = Console(file=StringIO())
        self.chronicle = Chronicle(plan.cast, plan.policy)
        self.start_chain = start_chain

    async def run(self) -> list[EpochSummary]:
        if self.error is not None:
            raise self.error
        self.start_chain()
        return [self.chronicle.compute_summary(Epoch(0))]


@pytest.fixture(autouse=True)
def devnet(monkeypatch: pytest.MonkeyPatch) -> type[StubDevnet]:
    monkeypatch.setattr("epochgate.cli.devnet_run.Devnet", StubDevnet)
    monkeypatch.setattr(StubDevnet, "error", None)
    return StubDevnet


def ask(
    *, faults: Faults | None = None, json: Path | None = None, attack_json: Path | None = None
) -> DevnetOptions:
    return DevnetOptions(
        hosters=3,
        validators=2,
        epochs=1,
        epoch_seconds=30.0,
        settings={"policy": DEFAULT_POLICY},
        faults=faults or Faults(),
        adversaries=(),
        json=json,
        attack_json=attack_json,
    )


def test_an_epoch_that_is_not_complete_is_no_success_and_its_summary_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    options = ask(json=tmp_path / "summary.json", attack_json=tmp_path / "attack.json")
    assert not run_devnet(options, tmp_path / "run")
    (summary,) = json.loads((tmp_path / "summary.json").read_text())
    assert summary["epoch"] == 0
    assert not summary["complete"]
    assert json.loads((tmp_path / "attack.json").read_text()) == []


def test_a_late_node_is_kept_back_from_the_others(devnet: type[StubDevnet], tmp_path: Path) -> None:
    run_devnet(ask(faults=Faults(has_late_node=True)), tmp_path)
    first, rest = devnet.plan.waves
    assert [*first, *rest] == ["hoster-1", "hoster-2", "validator-1", "validator-2"]
    assert list(devnet.plan.later) == ["hoster-3"]


def test_a_run_that_a_signal_ends_ends_the_command_as_ctrl_c_does(
    devnet: type[StubDevnet], tmp_path: Path
) -> None:
    devnet.error = asyncio.CancelledError()
    with pytest.raises(KeyboardInterrupt):
        run_devnet(ask(), tmp_path)


def test_a_summary_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"--json .* cannot be written"):
        run_devnet(ask(json=tmp_path / "run"), tmp_path / "run")
