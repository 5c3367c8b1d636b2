"""Which epoch it is, who takes part in it and whom the chain elects: learnt ahead, looked
at again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from epochgate.core.evaluation import READABLE_EPOCHS
from epochgate.core.schema import EpochContext
from epochgate.core.types import Epoch, PeerId
from epochgate.keys import format_peer_id
from epochgate.node.context import NodeContext
from epochgate.observe.events import ElectionChanged, NodeWarning
from epochgate.ports import Network

ELECTION_PATIENCE_BLOCKS = 2
"""How long into an epoch an election that the chain does not show yet is asked for."""


class EpochListener(Protocol):
    """Acts on what the follower learns."""

    def begin_epoch(self, context: EpochContext) -> None:
        """An epoch has begun, and its roster and election are known. Never waits."""
        ...

    def change_election(self, context: EpochContext, why: str) -> None:
        """The chain elects another node in the epoch that has begun; `why` is for people."""
        ...


class EpochFollower:
    """Follows the chain from epoch to epoch and keeps the node's schedule up to date.

    Args:
        node: its chain, clock, schedule and recorder are used.
        network: is told whose connections to protect.
        listener: hears of each epoch that begins, and of each change of an election.
    """

    def __init__(self, node: NodeContext, network: Network, listener: EpochListener) -> None:
        self.epoch: Epoch | None = None
        """The last epoch that began; None before the first."""
        self._node = node
        self._network = network
        self._listener = listener
        self._learnt: set[Epoch] = set()

    @property
    def is_started(self) -> bool:
        """Whether the chain has reached the subnet's first block."""
        return self._node.chain.timing.is_started(self._node.chain_clock.get_block()[0])

    def get_epoch(self) -> Epoch:
        """The epoch by the chain's clock, which may have begun without having been learnt."""
        return self._node.chain.timing.compute_epoch(self._node.chain_clock.get_block()[0])

    async def learn_first(self, epoch: Epoch) -> None:
        """Learn what a node that starts in `epoch` has to know before it can answer anybody."""
        if self.is_started:
            await self._learn(epoch)
        else:
            self._learn_waiting()

    async def follow(self) -> None:
        """Epoch after epoch, for ever. What an epoch began goes on by itself, so this only waits
        for the next one.
        """
        while not self.is_started:
            self._learn_waiting()
            await self._wait_for_start()
        timing = self._node.chain.timing  # from here on it names the first block
        while True:
            epoch = self.get_epoch()
            if epoch != self.epoch:
                await self._learn(epoch)
                self._begin(epoch)
            first_block = timing.compute_first_block(epoch)
            await self._node.wait_for_block(first_block + timing.blocks_per_epoch / 2)
            await self._learn_roster(Epoch(epoch + 1))
            await self._node.wait_for_block(timing.compute_first_block(Epoch(epoch + 1)))
            # the head may come later than the time for it
            while self.get_epoch() == epoch:  # noqa: ASYNC110 - no event announces a block
                await asyncio.sleep(timing.block_seconds / 8)

    async def look_at_election(self) -> None:
        """Ask the chain once whom it elects in this epoch; it is asked again at every block.

        A reorganisation of the epoch's first block may elect another node, and a chain that was
        slow may show its election late.
        """
        epoch = self.epoch
        if epoch is None:
            return
        elected = await self._node.chain.get_elected(epoch)
        known = self._node.schedule.get_context(epoch).elected
        if epoch == self.epoch and elected is not None and elected != known:
            self._change_election(epoch, elected)

    def _begin(self, epoch: Epoch) -> None:
        self.epoch = epoch
        self._learnt = {learnt for learnt in self._learnt if learnt > epoch - READABLE_EPOCHS}
        self._listener.begin_epoch(self._node.schedule.get_context(epoch))

    async def _wait_for_start(self) -> None:
        timing = self._node.chain.timing
        if timing.slot is not None:
            await self._node.wait_for_block(timing.slot)
        await asyncio.sleep(timing.block_seconds / 8)

    def _learn_waiting(self) -> None:
        """Before the first block there are heartbeats only, among those who are registered now."""
        chain = self._node.chain
        roster = chain.get_waiting_roster()
        self._add_context(EpochContext(chain.network_id, chain.timing, roster))

    def _add_context(self, context: EpochContext) -> None:
        schedule = self._node.schedule
        schedule.add(context)
        self._network.set_protected_peers(schedule.get_members(self.get_epoch()))
        self._node.recorder.note_context(context)

    async def _learn(self, epoch: Epoch) -> None:
        """The contexts of `epoch` and of those before it that can still be read."""
        for earlier in range(max(0, epoch - READABLE_EPOCHS + 1), epoch):
            await self._learn_past_roster(Epoch(earlier))
        await self._learn_roster(epoch)
        elected = await self._get_elected(epoch)
        chain = self._node.chain
        roster = self._node.schedule.get_context(epoch).roster
        self._add_context(EpochContext(chain.network_id, chain.timing, roster, elected))

    async def _learn_past_roster(self, epoch: Epoch) -> None:
        """Without the past a node cannot settle it, and still does the rest."""
        try:
            await self._learn_roster(epoch)
        except Exception as error:  # noqa: BLE001 - a chain may fail in any way; it is told
            advice = "a chain node that keeps its history is needed"
            what = f"{type(error).__name__}: {error}"
            self._node.emit(NodeWarning(f"roster of epoch {epoch}", what, advice))

    async def _learn_roster(self, epoch: Epoch) -> None:
        """Learn it ahead of the epoch, so that nothing waits for it at the boundary.

        A roster that was learnt once is not asked for again.
        """
        if epoch in self._learnt and self._node.schedule.has(epoch):
            return
        chain = self._node.chain
        roster = await chain.get_roster(epoch)
        self._add_context(EpochContext(chain.network_id, chain.timing, roster))
        self._learnt.add(epoch)

    async def _get_elected(self, epoch: Epoch) -> PeerId | None:
        """None where the chain does not show its election within the first blocks of the epoch."""
        chain = self._node.chain
        patience_until = chain.timing.compute_first_block(epoch) + ELECTION_PATIENCE_BLOCKS
        elected = await chain.get_elected(epoch)
        while elected is None and self._node.compute_seconds_until(patience_until) > 0:
            await asyncio.sleep(chain.timing.block_seconds / 4)
            elected = await chain.get_elected(epoch)
        return elected

    def _change_election(self, epoch: Epoch, elected: PeerId) -> None:
        before = self._node.schedule.get_context(epoch)
        context = msgspec.structs.replace(before, elected=elected)
        self._add_context(context)
        now = format_peer_id(elected)
        if before.elected:
            then = format_peer_id(before.elected)
        else:
            then = None
        self._node.emit(ElectionChanged(epoch, now, then))
        why = f"the chain elects {now} now, in the place of {then or 'nobody'}"
        self._listener.change_election(context, why)
