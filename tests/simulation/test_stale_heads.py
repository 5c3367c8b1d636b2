"""Heads that stand still, because the chain makes no blocks or because a node's line to it
is gone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from epochgate.chain.local import LocalChain
from epochgate.core.epoch import Head
from epochgate.core.types import Epoch
from epochgate.core.verdict import Reason
from epochgate.node.attestor import attest
from epochgate.node.context import NodeContext
from epochgate.node.duties import ATTEST, Duty
from epochgate.observe.events import (
    Abstained,
    AttestationRefused,
    Attested,
    DutyMissed,
    NodeWarning,
    Verdicts,
)
from tests.simulation.subnet import (
    BLOCK_SECONDS,
    BLOCKS_PER_EPOCH,
    HOSTERS,
    SimNode,
    SimSubnet,
    assert_complete,
    live,
)

SLOT = 10


class Line:
    """One node's line to the chain, and the clock by which that node's chain makes its blocks."""

    def __init__(self, sim_node: SimNode) -> None:
        chain = sim_node.get_live_node().context.chain
        assert isinstance(chain, LocalChain)
        self._clock = chain._clock
        self._read_head = chain.get_head
        self._stopped_seconds: float | None = None
        self._lost_seconds = 0.0
        chain._clock = self
        chain.get_head = self.get_head  # type: ignore[method-assign] # the port, as a client shows it whose chain stops

    def get_unix_seconds(self) -> float:
        return self._stopped_seconds or self._clock.get_unix_seconds() - self._lost_seconds

    def get_head(self) -> Head:
        head = self._read_head()
        return Head(head.block, head.seen_seconds + self._lost_seconds)

    def stop(self) -> None:
        self._stopped_seconds = self._clock.get_unix_seconds()

    def go_on(self, lost_blocks: int = 0) -> None:
        """With the head of now; or, where the chain made none of `lost_blocks` meanwhile, with the
        next.
        """
        self._stopped_seconds = None
        self._lost_seconds = lost_blocks * BLOCK_SECONDS


class SlowChain:
    """As one node sees it: from now on a block takes twice as long as it should."""

    def __init__(self, sim_node: SimNode) -> None:
        chain = sim_node.get_live_node().context.chain
        assert isinstance(chain, LocalChain)
        self._clock = chain._clock
        self._read_head = chain.get_head
        self._since_seconds = self._clock.get_unix_seconds()
        chain._clock = self
        chain.get_head = self.get_head  # type: ignore[method-assign] # the port, as a client shows it

    def get_unix_seconds(self) -> float:
        return self._since_seconds + (self._clock.get_unix_seconds() - self._since_seconds) / 2

    def get_head(self) -> Head:
        return Head(self._read_head().block, self._clock.get_unix_seconds())


def count_stale(sim_node: SimNode, epoch: Epoch) -> int:
    return sum(
        fact.denied.get(Reason.CHAIN_STALE.value, 0) for fact in sim_node.get(Verdicts, epoch)
    )


def test_while_the_chain_stands_still_nothing_is_stored_and_then_all_goes_on(
    tmp_path: Path,
) -> None:
    """From 45 % of epoch 1 on, for 75 blocks' time in which openings and lists fall due by the
    nodes' own clocks.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        lines = [Line(sim_node) for sim_node in subnet.nodes.values()]
        await subnet.run_until(Epoch(1), 45)
        for line in lines:
            line.stop()
        await subnet.run_until(Epoch(1), 45 + 75)
        for line in lines:
            line.go_on(lost_blocks=75)
        await subnet.run_until(Epoch(4), 75 + 50)
        last_block = SLOT + BLOCKS_PER_EPOCH + 45 + 3
        for name, sim_node in subnet.nodes.items():
            assert [count_stale(sim_node, Epoch(epoch)) > 0 for epoch in range(4)] == [
                False,
                True,
                False,
                False,
            ]
            duty, rule = (
                ("open-output", "hoster-reveal")
                if name in HOSTERS
                else ("commit-scores", "validator-commit")
            )
            (failed,) = sim_node.get(DutyMissed)
            assert (failed.epoch, failed.duty) == (1, duty)
            assert (
                f"chain-stale; by rule {rule}_epoch_1; expected a fresh chain head; saw"
                f" block {last_block}" in failed.why
            )
            assert [
                "chain-stale; by rule" in trouble.what for trouble in sim_node.get(NodeWarning)
            ] == [True]
            assert not sim_node.get(AttestationRefused)
            assert not sim_node.get(Abstained)
        for epoch in (2, 3):
            await assert_complete(subnet, Epoch(epoch))

    live(tmp_path, story)


def test_a_node_whose_line_is_gone_stores_nothing_and_others_store_what_it_sends(
    tmp_path: Path,
) -> None:
    """Two of seven, as many as may fail: they go by their clocks for three quarters of an epoch."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        cut_off = {name: Line(subnet[name]) for name in ("alice", "victor")}
        await subnet.run_until(Epoch(1), 20)
        for line in cut_off.values():
            line.stop()
        await subnet.run_until(Epoch(1), 95)
        for line in cut_off.values():
            line.go_on()
        await subnet.run_until(Epoch(3), 50)
        for name, sim_node in subnet.nodes.items():
            assert [count_stale(sim_node, Epoch(epoch)) > 0 for epoch in range(3)] == [
                False,
                name in cut_off,
                False,
            ]
            assert not sim_node.get(DutyMissed)
        for epoch in (1, 2):
            await assert_complete(subnet, Epoch(epoch))

    live(tmp_path, story)


def test_where_blocks_come_slowly_a_duty_has_all_the_blocks_of_its_window(tmp_path: Path) -> None:
    """Attesting is over at 50 %; so slow a chain is there after an epoch's time, and this node
    after three quarters of it.
    """

    async def attest_late(node_context: NodeContext, duty: Duty) -> str:
        await asyncio.sleep(75 * BLOCK_SECONDS)
        return await attest(node_context, duty)

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.5)
        elected = await subnet.get_elected(Epoch(1))
        late = next(subnet[name] for name in HOSTERS if name != elected.name)
        late.get_live_node().handlers[ATTEST] = attest_late
        for sim_node in subnet.nodes.values():
            SlowChain(sim_node)
        await subnet.run_until(Epoch(1), 90)
        assert late.get(Attested, Epoch(1))
        assert not late.get(DutyMissed)

    live(tmp_path, story)
