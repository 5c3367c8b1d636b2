"""Nodes here are a line of Python that says what real ones say; tests/network/test_devnet.py runs
real ones.
"""

from __future__ import annotations

import asyncio
import math
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from epochgate import INFERENCE_POLICY
from epochgate.chain.local import LocalChain
from epochgate.core.types import BlockNumber, Epoch
from epochgate.devnet.faults import Outage
from epochgate.devnet.summary import EpochSummary
from epochgate.devnet.supervisor import Devnet, DevnetError, Plan
from epochgate.engine.system import SystemClock
from epochgate.observe.events import Line, encode_line
from tests.support.devnet_events import CAST, EVERYBODY, PAY, tell_epoch, tell_start

PATIENCE_BLOCK = 30
"""Of a hundred: later than anything that is staged here."""
LONG_SECONDS = 60.0
WAIT = "import time; time.sleep(60)"
DIE = "import sys; print('no disk left', file=sys.stderr); sys.exit(1)"


def say(lines: list[Line], node: str) -> str:
    text = b"".join(encode_line(line) for line in lines if line.node == node).decode()
    return f"print({text!r}, end='', flush=True); "


class StoppingClock(SystemClock):
    """Stops at a time, so that nothing is over before it has been heard, however slowly processes
    start.
    """

    stops_seconds = math.inf

    def get_unix_seconds(self) -> float:
        return min(self.stops_seconds, super().get_unix_seconds())


class Stage:
    def __init__(
        self,
        folder: Path,
        programs: dict[str, str],
        late: str | None = None,
        *,
        is_patient: bool = True,
    ) -> None:
        self.clock = StoppingClock()
        self.is_patient = is_patient
        LocalChain.create(folder / "chain.sqlite", self.clock, block_seconds=0.01)
        self.chain = LocalChain(folder / "chain.sqlite", None, self.clock)
        self.shown = StringIO()
        names = {actor.name: programs[actor.peer_id] for actor in CAST.actors}
        commands = {name: [sys.executable, "-c", program] for name, program in names.items()}
        later = {
            actor.name: commands.pop(actor.name) for actor in CAST.actors if actor.peer_id == late
        }
        waves = [{name: command} for name, command in commands.items()]
        plan = Plan(CAST, INFERENCE_POLICY, 1, waves, folder, later)
        self.devnet = Devnet(
            plan, self.chain, self.start_chain, Console(file=self.shown, width=100)
        )
        self.started = folder / "started"
        self.outages: list[Outage] = []

    async def run(self) -> list[EpochSummary]:
        async with asyncio.timeout(LONG_SECONDS):
            return await self.devnet.run()

    def start_chain(self) -> list[Outage]:
        slot = self.chain.get_head().block + 3
        self.chain.start(BlockNumber(slot))
        if self.is_patient:
            self.clock.stops_seconds = self.chain.compute_unix_seconds(
                BlockNumber(slot + PATIENCE_BLOCK)
            )
        self.started.touch()
        return self.outages


async def test_it_ends_when_the_last_epoch_is_settled(tmp_path: Path) -> None:
    lines = [*tell_start(), *tell_epoch(Epoch(0), PAY)]
    stage = Stage(tmp_path, {node: say(lines, node) + WAIT for node in EVERYBODY})
    (summary,) = await stage.run()
    assert summary.complete
    assert "hoster-1     ready on /ip4/127.0.0.1/tcp/4001" in stage.shown.getvalue()
    assert "epoch 0: complete" in stage.shown.getvalue()


async def test_it_gives_up_when_the_last_epoch_can_no_longer_be_settled(tmp_path: Path) -> None:
    lines = [*tell_start(), *tell_epoch(Epoch(0))[:-1]]
    stage = Stage(tmp_path, {node: say(lines, node) + WAIT for node in EVERYBODY}, is_patient=False)
    (summary,) = await stage.run()
    assert not summary.complete
    assert "epoch 0: incomplete: not attested by" in stage.shown.getvalue()


async def test_it_does_not_wait_for_nodes_that_are_all_dead(tmp_path: Path) -> None:
    await_start = (
        f"import os, time\nwhile not os.path.exists({str(tmp_path / 'started')!r}):"
        " time.sleep(0.01)\n"
    )
    programs = {node: f"{say(list(tell_start()), node)}\n{await_start}{DIE}" for node in EVERYBODY}
    stage = Stage(tmp_path, programs)
    (summary,) = await stage.run()
    assert not summary.complete
    assert [loss.why for loss in stage.devnet.chronicle.losses] == ["exit code 1; no disk left"] * 4


async def test_a_node_that_does_not_start_ends_it_with_the_reason(tmp_path: Path) -> None:
    programs = {node: say(list(tell_start()), node) + WAIT for node in EVERYBODY}
    stage = Stage(tmp_path, programs | {EVERYBODY[2]: DIE})
    with pytest.raises(DevnetError, match=r"validator-1 did not start: exit code 1; no disk left"):
        await stage.run()


async def test_a_node_that_is_taken_away_on_purpose_is_no_loss_and_is_started_again(
    tmp_path: Path,
) -> None:
    """Each life of it leaves a line in a file; the second one says what the epoch still lacked."""
    lives = f"open({str(tmp_path / 'lives')!r}, 'a').write('.'); "
    lines = [*tell_start(), *tell_epoch(Epoch(0), PAY)]
    first = EVERYBODY[0]
    last = EVERYBODY[-1]
    programs = {node: say(lines, node) + WAIT for node in EVERYBODY if node != first}
    is_second = f"import os\nsecond = os.path.getsize({str(tmp_path / 'lives')!r}) > 1\n"
    start = say(list(tell_start()), first)
    rest = say(tell_epoch(Epoch(0), PAY), first)
    programs[first] = f"{lives}\n{is_second}{start}\nif second: {rest}\n{WAIT}"
    stage = Stage(tmp_path, programs)
    stage.outages = [Outage(first, 0.1, 0.2, False, "killed (SIGKILL) after 10% of epoch 0")]
    (summary,) = await stage.run()
    assert summary.complete, stage.shown.getvalue()
    assert (tmp_path / "lives").read_text() == ".."
    assert stage.devnet.chronicle.losses == []
    assert "hoster-1     killed (SIGKILL) after 10% of epoch 0" in stage.shown.getvalue()
    assert "hoster-1     started again" in stage.shown.getvalue()
    assert last in summary.attested_by or summary.submitted_by == last


async def test_a_node_that_starts_late_is_excused_until_it_is_ready(tmp_path: Path) -> None:
    lines = [*tell_start(), *tell_epoch(Epoch(0), PAY)]
    late = EVERYBODY[1]
    stage = Stage(tmp_path, {node: say(lines, node) + WAIT for node in EVERYBODY}, late=late)
    stage.outages = [Outage(late, None, 0.1, True, "started as late as 10% of epoch 0")]
    (summary,) = await stage.run()
    assert summary.complete, stage.shown.getvalue()
    (absence,) = stage.devnet.chronicle.absences
    assert absence.gone == 0.0
    assert absence.back is not None
    assert absence.back >= 0.1
    assert "hoster-2     started" in stage.shown.getvalue()
