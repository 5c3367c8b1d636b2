"""One simulated run: production nodes in virtual time, the faults of a plan, and an umpire that
sees everything.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.core.epoch import Head
from epochgate.core.receipt import Receipt
from epochgate.core.record import Record
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.engine.memory import Hub, Links
from epochgate.engine.virtual_time import VirtualClock, run_virtually
from epochgate.node.runner import Node
from epochgate.observe.events import AnyEvent, Attested, Submitted
from epochgate.store.database import NodeDatabase
from epochgate.store.wire import Post, Posted, Refused, decode_reply, decode_request, is_read
from tests.simulation import faults
from tests.simulation.faults import Fault, Plan
from tests.simulation.invariants import InvariantChecker, Registry
from tests.simulation.shared_proofs import SharedProofCache, sharing
from tests.simulation.signatures import check_once, forget
from tests.simulation.subnet import HonestModel, SimNode, SimSubnet

LOOKS = (30.0, 52.0, 66.0, 97.0)
"""Percent of each epoch at which the umpire looks at the whole subnet."""
ENDS_AT = 66.0
"""Percent of the last epoch: its submission is made and attested by then, and its hosters are
scored.
"""

try:
    from epochgate.adversaries import ADVERSARIES
except ImportError:
    ADVERSARIES: Mapping[str, Any] = {}  # type: ignore[no-redef]  # runs without villains where the devnet has none
COLLECT_AFTER = 100_000
"""Objects. A run makes many small ones that live for a message, and few rings: looking for those
less often saves a tenth.
"""

check_once()


def prepare_process() -> None:
    """For many runs, one after the other, that say nothing but how they ended."""
    logging.basicConfig(level=logging.ERROR)
    gc.set_threshold(COLLECT_AFTER)


class Report(msgspec.Struct, frozen=True):
    """How a run went: what was broken, if anything, and the digest over all events and admitted
    records.
    """

    seed: int
    digest: str
    events: int
    broken: str
    last: tuple[str, ...]
    attested_epochs: tuple[int, ...]
    """In which a submission was made that the chain acts on: each completes the epoch before."""


class WatchedDatabase(NodeDatabase):
    """A ledger that tells the umpire of every record it keeps."""

    def __init__(self, path: Path | None, run: FaultRun, sim_node: SimNode) -> None:
        super().__init__(path)
        self._stage = run
        self._resident = sim_node

    def keep(self, record: Record, receipts: Iterable[Receipt], epoch: Epoch) -> None:
        receipts = tuple(receipts)
        super().keep(record, receipts, epoch)
        sim_node = self._resident
        self._stage.checker.see_kept(
            sim_node.key.author, record, receipts, sim_node.clock.get_unix_seconds()
        )


class WatchedSharedCache(WatchedDatabase, SharedProofCache):
    """The same where many nodes share what they have read."""


class DeceivedChain(LocalChain):
    """The chain as a node sees it whose heads stand still, or come late. What it asks for it gets
    all the same.
    """

    stopped: Head | None = None
    lag_blocks = 0

    @property
    def is_deceived(self) -> bool:
        return self.stopped is not None or self.lag_blocks > 0

    def get_head(self) -> Head:
        head = super().get_head()
        return self.stopped or Head(
            BlockNumber(max(0, head.block - self.lag_blocks)), head.seen_seconds
        )


class FaultRun(SimSubnet):
    """A world that lives by a plan."""

    chain_type = DeceivedChain

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self._chains: dict[str, DeceivedChain] = {}
        self._crashing = {
            name for it in plan.faults_drawn if it.kind == faults.CRASH for name in it.nodes
        }
        hub = Hub(random.Random(f"hub {plan.seed}"))
        hub.links = plan.links
        hub.is_cut = self._is_cut
        super().__init__(
            folder,
            hosters=plan.hosters,
            validators=plan.validators,
            seed=plan.seed,
            hub=hub,
        )
        self.registry = Registry(plan.seed.to_bytes(32, "big"), self.chain.network_id)
        is_within_f = plan.budget == faults.WITHIN_F
        self.checker = InvariantChecker(
            self.registry,
            self.chain.network_id,
            self.chain.genesis_seconds,
            is_within_f=is_within_f,
        )
        self.checker.adversaries = {self.nodes[name].key.author for name in plan.adversaries}
        for name in plan.names:
            self.registry.join(
                self.nodes[name].key.author,
                int(HOSTER if name in plan.hosters else VALIDATOR),
                1,
            )
        self._deaf: set[bytes] = set()
        self._mute: set[bytes] = set()
        self._parted: list[set[PeerId]] = []

    def make_clock(self, name: str) -> VirtualClock:
        return VirtualClock(self.plan.skews_seconds.get(name, 0.0))

    def share_chain(self, sim_node: SimNode) -> LocalChain:
        chain = super().share_chain(sim_node)
        assert isinstance(chain, DeceivedChain)
        self._chains[sim_node.name] = chain
        return chain

    def open_ledger(self, sim_node: SimNode) -> NodeDatabase:
        """On disk where a crash will read it again; in memory where nothing but a whole new one
        follows.
        """
        if sim_node.name in self._crashing:
            return WatchedDatabase(self.folder / f"{sim_node.name}.sqlite", self, sim_node)
        return (WatchedSharedCache if self.plan.is_large else WatchedDatabase)(None, self, sim_node)

    def hear(self, sim_node: SimNode, fact: AnyEvent) -> None:
        super().hear(sim_node, fact)
        self.checker.see_event(
            sim_node.name, sim_node.key.author, fact, self.clock.get_unix_seconds()
        )

    def prepare(self, sim_node: SimNode, node: Node) -> None:
        author = sim_node.key.author
        handle = node.replica.handle
        chain = self._chains[sim_node.name]
        if adversary := self.plan.adversaries.get(sim_node.name):
            ADVERSARIES[adversary].corrupt(node)
            return

        async def answer(sender: PeerId, data: bytes) -> bytes:
            clock_seconds = sim_node.clock.get_unix_seconds()
            head = chain.get_head() if chain.is_deceived else None
            reply = await handle(sender, data)
            if not is_read(data):
                self._see_answer(author, sender, data, PeerId(reply), clock_seconds, head)
            return reply

        node.replica.handle = answer  # type: ignore[method-assign]  # every answer passes the umpire

    def _see_answer(
        self,
        author: PeerId,
        sender: PeerId,
        data: bytes,
        answered: PeerId,
        clock_seconds: float,
        head: Head | None,
    ) -> None:
        try:
            request = decode_request(data)
        except msgspec.MsgspecError:
            return
        reply = decode_reply(answered)
        if isinstance(request, Post) and isinstance(reply, Posted):
            self.checker.see_receipt(
                author, sender, request.record, reply.receipt, clock_seconds, head
            )
        elif isinstance(request, Post) and isinstance(reply, Refused):
            self.checker.see_refusal(author, sender, request.record, reply.reason)

    # What befalls it.

    async def inject(self, fault: Fault) -> None:
        await self._wait_for_block(fault.begins)
        nodes = [self.nodes[name] for name in fault.nodes if name in self.nodes]
        authors = {sim_node.key.author for sim_node in nodes}
        match fault.kind:
            case faults.CRASH | faults.WIPE:
                await self._crash(nodes, fault)
            case faults.SILENCE:
                self.hub.silent |= authors
                await self._wait_for_block(fault.ends)
                self.hub.silent -= authors
            case faults.DEAF | faults.MUTE | faults.ISLAND:
                sides = [self._deaf] * (fault.kind != faults.MUTE) + [self._mute] * (
                    fault.kind != faults.DEAF
                )
                for side in sides:
                    side.update(authors)
                await self._wait_for_block(fault.ends)
                for side in sides:
                    side.difference_update(authors)
            case faults.SPLIT:
                self._parted.append(authors)
                await self._wait_for_block(fault.ends)
                self._parted.remove(authors)
            case faults.STALL | faults.LAG:
                await self._deceive(nodes, fault)
            case faults.LEAVE:
                for sim_node in nodes:
                    await self._leave(sim_node)
            case faults.JOIN:
                for name in fault.nodes:
                    await self._join(name)

    async def _crash(self, nodes: list[SimNode], fault: Fault) -> None:
        for sim_node in nodes:
            await sim_node.kill()
            if fault.kind == faults.WIPE:
                sim_node.lose_ledger()
                self.checker.see_wiped(sim_node.key.author)
        self._look_at_records()
        await self._wait_for_block(fault.ends)
        for sim_node in nodes:
            await sim_node.start()

    async def _deceive(self, nodes: list[SimNode], fault: Fault) -> None:
        chains = [self._chains[sim_node.name] for sim_node in nodes]
        for chain in chains:
            chain.stopped = chain.get_head() if fault.kind == faults.STALL else None
            chain.lag_blocks = faults.LAG_BLOCKS if fault.kind == faults.LAG else 0
        await self._wait_for_block(fault.ends)
        for chain in chains:
            chain.stopped = None
            chain.lag_blocks = 0

    async def _leave(self, sim_node: SimNode) -> None:
        self.registry.leave(sim_node.key.author, self.chain.deregister(sim_node.key.author))
        await sim_node.kill()

    async def _join(self, name: str) -> None:
        role = VALIDATOR if name.startswith("validator") else HOSTER
        sim_node = self.nodes[name] = SimNode(self, name, HonestModel())
        self.registry.join(
            sim_node.key.author, int(role), self.chain.register(sim_node.key.author, role)
        )
        await sim_node.start()

    def _is_cut(self, sender: PeerId, receiver: PeerId) -> bool:
        return (
            sender in self._mute
            or receiver in self._deaf
            or any((sender in side) != (receiver in side) for side in self._parted)
        )

    async def _wait_for_block(self, block: float) -> None:
        seconds = self.chain.genesis_seconds + (10 + block) * 6.0 - self.clock.get_unix_seconds()
        await asyncio.sleep(max(0.0, seconds))

    # What the umpire looks at.

    async def look(self, epoch: Epoch, percent: float) -> None:
        self._look_at_records()
        if percent == LOOKS[1] and epoch > 0:
            before = await self.chain.get_submission(Epoch(epoch - 1))
            on_chain = await self.chain.get_submission(epoch)
            self.checker.look_at_submission(
                epoch, on_chain, before is not None and before.is_attested
            )
            self.checker.look_at_lists(epoch - 1, self._get_lists(epoch))

    async def look_at_the_end(self, epoch: Epoch) -> None:
        """Everything has been well for an epoch: whoever is honest agrees, and what an honest node
        submits is attested.
        """
        honest = [
            them
            for them in self._get_honest()
            if them.key.author in self.registry.get_members(epoch)
        ]
        members = self.registry.get_members(epoch)
        validators = {them.key.author for them in honest if members[them.key.author] & VALIDATOR}
        if self.checker.is_within_f:
            self.checker.look_at_agreement(epoch, validators)
        on_chain = await self.chain.get_submission(epoch)
        elected = self.registry.get_elected(epoch)
        if not self.checker.is_within_f or elected in self.checker.adversaries:
            return
        if elected not in {them.key.author for them in honest}:
            return
        self.checker.require(
            on_chain is not None, f"an honest node submitted nothing in healed epoch {epoch}"
        )
        if on_chain is not None:
            lacking = [
                them.name
                for them in honest
                if them.key.author not in (on_chain.submitter, *on_chain.attested_by)
            ]
            self.checker.require(
                not lacking, f"{', '.join(lacking)} did not attest in healed epoch {epoch}"
            )

    def _look_at_records(self) -> None:
        held = {
            them.key.author: them.get_live_node().context.database.held
            for them in self._get_honest()
        }
        self.checker.look_at_records(held, self.clock.get_unix_seconds())

    def _get_honest(self) -> list[SimNode]:
        return [them for them in self.get_running() if them.name not in self.plan.adversaries]

    def _get_lists(self, epoch: Epoch) -> dict[PeerId, tuple[int, ...]]:
        agreeing: tuple[type[AnyEvent], ...] = (Attested, Submitted)
        agreed = [
            them for them in self._get_honest() if any(them.get(kind, epoch) for kind in agreeing)
        ]
        lists = {
            them.key.author: them.get_live_node().context.database.get_score_list(Epoch(epoch - 1))
            for them in agreed
        }
        return {author: scores for author, scores in lists.items() if scores is not None}


async def play(run: FaultRun) -> tuple[int, ...]:
    """The plan's run to its end, or to the first thing that is broken. Returns the epochs with an
    attested submission.
    """
    plan = run.plan
    checker = run.checker
    await run.start()
    faults_drawn = [asyncio.create_task(run.inject(fault)) for fault in plan.faults_drawn]
    last = plan.epochs - 1
    for epoch in range(plan.epochs):
        for percent in LOOKS:
            if checker.broken or (epoch == last and percent > ENDS_AT):
                break
            await run.run_until(Epoch(epoch), percent)
            await run.look(Epoch(epoch), percent)
        if epoch == last - 1:
            run.hub.links = Links(latency_seconds=plan.links.latency_seconds)
    for fault in faults_drawn:
        if fault.done():
            fault.result()
    if not checker.broken:
        await run.look_at_the_end(Epoch(last))
    return tuple(
        on_chain.submission.epoch
        for on_chain in await run.chain.get_submissions()
        if on_chain.is_attested
    )


def run_plan(plan: Plan, folder: Path | None = None) -> Report:
    async def main(_rng: random.Random, root: Path) -> Report:
        run = FaultRun(root, plan)
        attested = await play(run)
        checker = run.checker
        for sim_node in run.get_running():
            await sim_node.kill()
        return Report(
            plan.seed,
            checker.get_digest(),
            checker.events,
            checker.broken,
            tuple(checker.last),
            attested,
        )

    forget()
    with tempfile.TemporaryDirectory(dir=folder) as name, sharing(plan.is_large):
        return run_virtually(lambda rng: main(rng, Path(name)), plan.seed)
