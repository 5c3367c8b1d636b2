"""A whole subnet on one machine: start its nodes, start its chain, watch until the last epoch is
settled.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.live import Live

from epochgate.core.epoch import EpochData, compute_epoch_data
from epochgate.core.policy import Policy
from epochgate.core.types import Epoch
from epochgate.devnet.faults import Absence, Outage
from epochgate.devnet.processes import NodeProcesses
from epochgate.devnet.result import render_scores, render_verdicts
from epochgate.devnet.screen import COLUMNS, Screen
from epochgate.devnet.summary import Chronicle, EpochSummary, Loss
from epochgate.errors import EpochgateError
from epochgate.observe.cast import Cast
from epochgate.observe.events import Line, NodeReady
from epochgate.ports import Chain

READY_SECONDS = 120.0
LOOK_SECONDS = 0.1


class DevnetError(EpochgateError, RuntimeError):
    """The subnet did not come up; the message says why."""

    exit_code = 1


class Plan(msgspec.Struct, frozen=True):
    """What to run. `waves` are command lines by node, those of a wave started when the one before
    is ready; those of `later` are started by an outage that ends. Logs go to `folder`. Epochs
    before `first_epoch` were over when the subnet began.
    """

    cast: Cast
    policy: Policy
    epochs: int
    waves: Sequence[Mapping[str, Sequence[str]]]
    folder: Path
    later: Mapping[str, Sequence[str]] = {}
    first_epoch: int = 0


class Devnet:
    """One run. `start_chain` sets the subnet's first block and says which outages to stage;
    `console` shows it all, live when it is a terminal.
    """

    def __init__(
        self,
        plan: Plan,
        chain: Chain,
        start_chain: Callable[[], Sequence[Outage]],
        console: Console,
    ) -> None:
        self.chronicle = Chronicle(plan.cast, plan.policy, plan.first_epoch)
        self._plan = plan
        self._chain = chain
        self._start_chain = start_chain
        self.console = console
        self._screen = Screen(plan.cast, plan.policy, plan.epochs)
        self._peer_id_of = {actor.name: actor.peer_id for actor in plan.cast.actors}
        self._began_seconds = 0.0

    async def run(self) -> list[EpochSummary]:
        """Raises DevnetError when a node does not come up. Every process it started has ended when
        it returns.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        self._began_seconds = loop.time()
        if task is not None:
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            async with (
                self._show(),
                NodeProcesses(self._plan.folder, self._take, self._lose) as nodes,
            ):
                for wave in self._plan.waves:
                    await nodes.start(wave)
                    await self._wait_until_ready({self._peer_id_of[name] for name in wave})
                outages = [
                    asyncio.create_task(self._stage(outage, nodes))
                    for outage in self._start_chain()
                ]
                try:
                    await self._wait_until_settled(nodes)
                finally:
                    await _end(outages)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
        summaries = [
            self.chronicle.compute_summary(Epoch(epoch))
            for epoch in range(self._plan.first_epoch, self._plan.epochs)
        ]
        self.console.print(*render_scores(self.chronicle, summaries), sep="\n")
        for verdict in render_verdicts(self.chronicle, summaries):
            self.console.print(verdict, soft_wrap=True)
        return summaries

    @asynccontextmanager
    async def _show(self) -> AsyncIterator[None]:
        """Draw while the block runs, where somebody watches; from this loop, for the chain belongs
        to it.
        """
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False) as live:
            drawing = asyncio.create_task(self._draw(live))
            try:
                yield
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)
                live.update(self._screen.render(self._get_epoch_data()), refresh=True)

    async def _draw(self, live: Live) -> None:
        while True:
            live.update(self._screen.render(self._get_epoch_data()), refresh=True)
            await asyncio.sleep(LOOK_SECONDS)

    async def _wait_until_ready(self, expected: set[str]) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not expected <= (
                    ready := {node for node, _ in self.chronicle.get_facts(NodeReady)}
                ):
                    if self.chronicle.losses:
                        loss = self.chronicle.losses[0]
                        raise DevnetError(f"{loss.name} did not start: {loss.why}")
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            late = ", ".join(sorted(self._plan.cast.get_name(peer) for peer in expected - ready))
            raise DevnetError(
                f"{late}: not ready after {READY_SECONDS:g} s; the logs are in {self._plan.folder}"
            ) from None

    async def _wait_until_settled(self, nodes: NodeProcesses) -> None:
        """Until the last epoch is, or cannot be any more: the submission about it is made in the
        next one.
        """
        while nodes.running_count and not self.chronicle.is_settled(Epoch(self._plan.epochs - 1)):
            data = self._get_epoch_data()
            if data is not None and data.epoch > self._plan.epochs:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _stage(self, outage: Outage, nodes: NodeProcesses) -> None:
        """Take a node away and start it again; when it is ready, it says so."""
        name = self._plan.cast.get_name(outage.peer_id)
        if outage.gone is not None:
            await self._wait_for_place(outage.gone)
            await nodes.take_away(name)
        if outage.gone is not None:
            gone = max(0.0, self._get_place())
        else:
            gone = 0.0
        if outage.is_excuse:
            self.chronicle.absences.append(Absence(outage.peer_id, gone, None, outage.why))
        self._say(self._screen.note_fault(outage.peer_id, "away", outage.why))
        await self._wait_for_place(outage.back)
        await nodes.start(
            self._plan.later if name in self._plan.later else {name: nodes.get_command(name)}
        )
        self._say(
            self._screen.note_fault(
                outage.peer_id, "starting", "started again" if outage.gone else "started"
            )
        )

    def _end_absence(self, peer_id: str) -> None:
        """It is ready, again or at last."""
        for index, absence in enumerate(self.chronicle.absences):
            if absence.peer_id == peer_id and absence.back is None:
                self.chronicle.absences[index] = msgspec.structs.replace(
                    absence, back=self._get_place()
                )

    def _get_place(self) -> float:
        """Epochs that have passed since the subnet's first block; negative before it."""
        timing = self._chain.timing
        return (
            self._chain.get_head().block - timing.compute_first_block(Epoch(0))
        ) / timing.blocks_per_epoch

    async def _wait_for_place(self, place: float) -> None:
        while self._get_place() < place:  # noqa: ASYNC110 - blocks come by time
            await asyncio.sleep(self._chain.timing.block_seconds / 2)

    def _get_epoch_data(self) -> EpochData | None:
        block = self._chain.get_head().block
        timing = self._chain.timing
        if timing.is_started(block):
            return compute_epoch_data(block, timing)
        return None

    def _take(self, name: str, line: Line) -> None:
        line = msgspec.structs.replace(line, node=self._peer_id_of[name])
        self.chronicle.take(line)
        if isinstance(line.fact, NodeReady):
            self._end_absence(line.node)
        self._say(self._screen.take(line.node, line.fact))

    def _lose(self, name: str, why: str) -> None:
        data = self._get_epoch_data()
        self.chronicle.losses.append(Loss(name, data.epoch if data else Epoch(0), why))
        self._say(self._screen.note_death(self._peer_id_of[name], why))

    def _say(self, words: str | None) -> None:
        """Where nobody watches live, one line a fact worth reading."""
        if words is None or self.console.is_terminal:
            return
        data = self._get_epoch_data()
        if data is None:
            where = "starting"
        else:
            where = f"epoch {data.epoch} block {data.blocks_elapsed:>2}"
        seconds = asyncio.get_running_loop().time() - self._began_seconds
        self.console.print(
            f"{seconds:6.1f} s  {where:<16}  {words}", soft_wrap=True, markup=False, highlight=False
        )


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """What failed is raised: a fault that was not staged proves nothing."""
    for task in tasks:
        if not task.done():
            task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def make_console() -> Console:
    """A terminal as it is, at least wide enough; lines of any length where there is none."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(file=sys.stdout, width=COLUMNS, highlight=False)
