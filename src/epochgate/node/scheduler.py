"""Starts each duty of an epoch at its time, and follows when the chain elects another node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from epochgate.core.schema import EpochContext
from epochgate.core.types import PeerId
from epochgate.node import duties
from epochgate.node.context import DutyFailed, DutyHandler, NodeContext
from epochgate.node.duties import Duty, compute_duties, select_left
from epochgate.observe.events import DutyBegan, DutyDone, DutyMissed
from epochgate.supervision.task_keeper import TaskKeeper

GRACE_BLOCKS = 0.5
"""A duty whose time is over sends nothing more, but it has this long to say how far it came."""


class DutyScheduler:
    """Runs the duties of one node, each in a task of its own.

    Args:
        node: whose duties they are.
        handlers: how each duty is done, by its name.
        keeper: owns the tasks, which end when it is closed.
    """

    def __init__(
        self,
        node: NodeContext,
        handlers: Mapping[str, DutyHandler],
        keeper: TaskKeeper,
    ) -> None:
        self._node = node
        self._handlers = handlers
        self._keeper = keeper
        self._tasks: dict[Duty, asyncio.Task[None]] = {}
        """This epoch's duties, begun or waiting for their time."""
        self._working: set[asyncio.Task[Any] | None] = set()
        """Those of them whose time has come."""

    def begin(self, context: EpochContext) -> None:
        """Start the duties of an epoch that begins. Those of the epoch before go on until their
        time is over.
        """
        self._tasks = {}
        self._begin_left(self._compute_table(context))

    def change(self, context: EpochContext, why: str) -> None:
        """Follow a changed election: end the duties that only the election before gave, begin those
        that this one gives, and leave the others alone.

        Attesting begins anew, since an attestation may have gone with the block that was reorged.
        """
        table = self._compute_table(context)
        for duty in [
            duty for duty in self._tasks if duty not in table or duty.name == duties.ATTEST
        ]:
            task = self._tasks.pop(duty)
            if task in self._working and duty not in table:
                self._node.emit(DutyMissed(duty.epoch, duty.name, why))
            task.cancel()
        self._begin_left(table)

    def _compute_table(self, context: EpochContext) -> tuple[Duty, ...]:
        node = self._node
        roster = context.roster
        elected = context.elected
        if node.author not in roster.roles:
            return ()
        stand_ins = roster.compute_stand_ins(elected)
        return compute_duties(
            node.policy,
            node.chain.timing,
            context.epoch,
            roster.roles[PeerId(node.author)],
            is_elected=elected == node.author,
            stand_in_rank=stand_ins.index(node.author) if node.author in stand_ins else None,
        )

    def _begin_left(self, table: tuple[Duty, ...]) -> None:
        for duty in select_left(table, self._node.chain_clock.get_block()[0]):
            if duty not in self._tasks:
                self._tasks[duty] = self._keeper.spawn(duty.name, self._do(duty))

    async def _do(self, duty: Duty) -> None:
        """One duty at its time. Whatever happens to it ends here."""
        node = self._node
        await node.wait_for_block(duty.opens)
        left_seconds = node.compute_seconds_until(duty.closes)
        if left_seconds <= 0:
            return
        working = asyncio.current_task()
        self._working.add(working)
        node.emit(DutyBegan(duty.epoch, duty.name))
        try:
            detail = await self._work_in_time(duty)
        except TimeoutError:
            node.emit(
                DutyMissed(
                    duty.epoch, duty.name, f"not done in the {left_seconds:.3g} s that it had"
                )
            )
        except DutyFailed as failed:
            node.emit(DutyMissed(duty.epoch, duty.name, str(failed)))
        except Exception as error:  # noqa: BLE001 - one duty's failure never ends another
            node.emit(DutyMissed(duty.epoch, duty.name, f"{type(error).__name__}: {error}"))
        else:
            node.emit(DutyDone(duty.epoch, duty.name, detail))
        finally:
            self._working.discard(working)

    async def _work_in_time(self, duty: Duty) -> str:
        """What the duty's flow says. Raises TimeoutError when the window closes, by the head:
        blocks may come slower than they should, and whoever gave up by the clock would give up too
        soon.
        """
        node = self._node
        task = asyncio.ensure_future(self._handlers[duty.name](node, duty))
        try:
            while (left_seconds := node.compute_seconds_until(duty.closes + GRACE_BLOCKS)) > 0:
                if (await asyncio.wait({task}, timeout=left_seconds))[0]:
                    return task.result()
            raise TimeoutError
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
