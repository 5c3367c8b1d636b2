"""The Chain port on Hypertensor: one subnet, as one node sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import msgspec

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.calls import encode_submission
from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.chain.hypertensor.heads import follow_heads
from epochgate.chain.hypertensor.nodes import (
    ATTESTING_CLASS,
    SCORED_CLASS,
    ChainNode,
    compute_members,
    compute_seed,
)
from epochgate.chain.hypertensor.rpc import ERA_BLOCKS, ChainUnreachable, Rpc
from epochgate.chain.hypertensor.subnet import SubnetFacts, SubnetReader
from epochgate.core.epoch import Head, Timing
from epochgate.core.record import compute_network_id
from epochgate.core.roster import Roster
from epochgate.core.types import BlockNumber, Epoch, NetworkId, PeerId
from epochgate.observe.events import Emit, NodeWarning
from epochgate.ports import ChainRefused, Clock, OnChain, Submission

SNAPSHOT_BLOCKS = 5
"""How long before an epoch's first block its roster is read
(docs/spec.md#5-which-records-count).
"""
BURIED_BLOCKS = 2
"""A snapshot is read when so many blocks lie over it, since the best one may still be exchanged for
another.
"""
MAX_SNAPSHOTS = 8
MILLISECONDS = 1000

T = TypeVar("T")


class HypertensorChain:
    """Made by `open`. `account` is None, and so is `author`, for one that only looks.

    Questions are repeated, a block's time apart, for as long as the chain does not answer: whoever
    asks has a time limit of his own.
    """

    def __init__(
        self,
        rpc: Rpc,
        subnet_id: int,
        genesis: str,
        timing: Timing,
        heads: HeadClock,
        author: PeerId | None,
        account: Account | None,
    ) -> None:
        self._rpc = rpc
        self._reader = SubnetReader(rpc, subnet_id)
        self._subnet_id = subnet_id
        self._network_id = compute_network_id(genesis.removeprefix("0x"), subnet_id)
        self._timing = timing
        self._heads = heads
        self._author = author
        self._account = account
        self._role_field = ""
        self._emit: Emit | None = None
        self._facts: SubnetFacts | None = None
        self._nodes: list[ChainNode] = []
        self._said = ""
        self._news = asyncio.Event()
        self._snapshots: dict[int, tuple[str, Roster]] = {}
        self._elected: dict[tuple[int, str], PeerId | None] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @staticmethod
    async def open(
        url: str,
        subnet_id: int,
        clock: Clock,
        *,
        author: PeerId | None = None,
        account: Account | None = None,
        role_field: str = "",
        block_seconds: float | None = None,
        emit: Emit | None = None,
    ) -> HypertensorChain:
        """Connect, read what never changes, and follow the heads. Raises ChainUnreachable and
        NoSuchSubnet.

        `role_field` is the policy's; `block_seconds` only for development chains, whose blocks do
        not come at the chain's own pace.
        """
        rpc = Rpc(url)
        try:
            genesis = await rpc.request("chain_getBlockHash", [0])
            length = await rpc.get_constant("Network", "EpochLength")
            slot_milliseconds = await rpc.get_constant("Aura", "SlotDuration")
            timing = Timing(None, length, block_seconds or slot_milliseconds / MILLISECONDS)
            header = await rpc.request("chain_getHeader")
            chain = HypertensorChain(
                rpc,
                subnet_id,
                genesis,
                timing,
                HeadClock(clock, BlockNumber(int(header["number"], 16))),
                author,
                account,
            )
            chain._role_field = role_field
            chain._emit = emit
            await chain._look()
        except BaseException:
            await rpc.close()
            raise
        on_trouble = chain._say_outage
        chain._tasks = [
            asyncio.create_task(
                follow_heads(url, timing.block_seconds, chain._take_head, on_trouble)
            ),
            asyncio.create_task(chain._keep_looking()),
        ]
        return chain

    @property
    def network_id(self) -> NetworkId:
        return self._network_id

    @property
    def timing(self) -> Timing:
        """Without a slot until the first block of the first epoch in which the active subnet elects
        somebody.
        """
        return self._timing

    @property
    def facts(self) -> SubnetFacts | None:
        return self._facts

    @property
    def nodes(self) -> tuple[ChainNode, ...]:
        """All that are registered, also those that wait to be let in."""
        return tuple(self._nodes)

    def get_head(self) -> Head:
        return self._heads.get_head()

    def get_waiting_roster(self) -> Roster:
        return Roster(Epoch(0), self._network_id, compute_members(self._nodes, self._role_field))

    async def get_roster(self, epoch: Epoch) -> Roster:
        if epoch < 0:
            raise ValueError(f"epochs count from 0, saw {epoch}")
        while True:
            news = self._news
            block = self._compute_snapshot_block(epoch)
            if block is not None and block + BURIED_BLOCKS <= self.get_head().block:
                return await self._patiently(partial(self._read_snapshot, epoch, block))
            await news.wait()

    async def get_elected(self, epoch: Epoch) -> PeerId | None:
        """Kept by the hash of the epoch's first block: a reorganisation of that block may elect
        another.
        """
        timing = self._timing
        if (
            epoch < 0
            or timing.slot is None
            or self.get_head().block < timing.compute_first_block(epoch)
        ):
            return None
        first = timing.compute_first_block(epoch)
        return await self._patiently(partial(self._read_elected, epoch, first))

    async def get_submission(self, epoch: Epoch) -> OnChain | None:
        async def read() -> OnChain | None:
            return await self._reader.get_submission(
                epoch, await self._rpc.request("chain_getBlockHash")
            )

        return await self._patiently(read)

    async def submit(self, submission: Submission) -> None:
        epoch = submission.epoch
        account = self._require_account()
        self._require_current(epoch)
        node = await self._require_node(epoch)
        self._elected.clear()  # read again before acting
        if await self.get_elected(epoch) != self._author:
            raise ChainRefused(
                f"this node is not elected in epoch {epoch}: leave the submission to the elected"
                " one and attest"
            )
        await self._refuse_second(epoch)
        by_author = {
            other.author: other.node_id for other in self._nodes if other.author is not None
        }
        scores = [
            {"subnet_node_id": by_author[author], "score": score}
            for author, score in submission.scores.items()
            if author in by_author
        ]
        known = {
            "subnet_id": self._subnet_id,
            "subnet_node_id": node.node_id,
            "data": scores,
            "args": "0x" + encode_submission(submission, by_author).hex(),
            "attest_data": None,
        }
        await self._act(account, "propose_attestation", known, epoch, self._has_submitted)

    async def attest(self, epoch: Epoch) -> None:
        account = self._require_account()
        self._require_current(epoch)
        node = await self._require_node(epoch)
        on_chain = await self.get_submission(epoch)
        if on_chain is None:
            raise ChainRefused(
                f"epoch {epoch} has no submission yet: wait until the elected node has made it"
            )
        if on_chain.submitter == self._author:
            raise ChainRefused("this node stands by its submission: leave attesting to the others")
        if self._author in on_chain.attested_by:
            raise ChainRefused(f"this node has attested in epoch {epoch} already: once is enough")
        if not node.is_of_class(ATTESTING_CLASS, epoch):
            raise ChainRefused(
                f"this node is of the chain's class {node.class_name}, which does not attest yet:"
                " keep it running, each attested epoch that scores it brings it nearer"
            )
        known = {
            "subnet_id": self._subnet_id,
            "subnet_node_id": node.node_id,
            "attest_data": None,
            "data": None,
        }
        await self._act(account, "attest", known, epoch, self._has_attested)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._rpc.close()

    # What is asked for beside the duties.

    def _take_head(self, block: BlockNumber) -> None:
        self._heads.take(block)
        news = self._news
        self._news = asyncio.Event()
        news.set()

    async def _keep_looking(self) -> None:
        """The subnet's state and who is registered, at each head that is there when the last look
        is over.
        """
        while True:
            await self._news.wait()
            with suppress(ChainUnreachable):  # the heads' follower says so
                try:
                    await self._look()
                except LookupError as error:
                    self._say("the subnet is gone", str(error))

    async def _look(self) -> None:
        block_hash = await self._rpc.request("chain_getBlockHash")
        self._facts = facts = await self._reader.get_facts(block_hash)
        self._nodes = await self._reader.get_nodes(block_hash, with_queue=True)
        if self._timing.slot is None and facts.is_active:
            first = facts.slot + facts.start_epoch * self._timing.blocks_per_epoch
            if self.get_head().block >= first:
                self._timing = msgspec.structs.replace(self._timing, slot=facts.slot)
        self._say_what_is_waited_for(facts)

    def _say_what_is_waited_for(self, facts: SubnetFacts) -> None:
        node = next(
            (node for node in self._nodes if self._author and node.author == self._author), None
        )
        if not facts.is_active:
            self._say(
                "the subnet is not active yet",
                "its owner activates it with `epochgate chain activate`",
            )
        elif facts.state == "Paused":
            self._say("the subnet is paused", "its owner decides when it goes on")
        elif node is not None and node.node_class < SCORED_CLASS:
            self._say(
                "this node is registered, but not in the consensus yet: its class is"
                f" {node.class_name}",
                "keep it running, the chain lifts it by the epoch",
            )
        else:
            self._said = ""

    def _say_outage(self, why: str) -> None:
        self._say(
            why,
            "records are refused as chain-stale until it is back, and it is tried again by itself",
            again=True,
        )

    def _say(self, what: str, advice: str, *, again: bool = False) -> None:
        """Once, until something else was said."""
        if self._emit is not None and (again or what != self._said):
            self._said = what
            self._emit(NodeWarning("chain", what, advice))

    # Reads that are kept.

    def _compute_snapshot_block(self, epoch: Epoch) -> BlockNumber | None:
        if self._timing.slot is None:
            return None
        return BlockNumber(
            self._timing.compute_first_block(epoch) - (SNAPSHOT_BLOCKS if epoch > 0 else 0)
        )

    async def _read_snapshot(self, epoch: Epoch, block: BlockNumber) -> Roster:
        block_hash = await self._rpc.request("chain_getBlockHash", [block])
        kept = self._snapshots.get(epoch)
        if kept is not None and kept[0] == block_hash:
            return kept[1]
        nodes = [
            node
            for node in await self._reader.get_nodes(block_hash)
            if node.is_of_class(SCORED_CLASS, epoch)
        ]
        roster = Roster(epoch, compute_seed(block_hash), compute_members(nodes, self._role_field))
        self._snapshots[epoch] = (block_hash, roster)
        if len(self._snapshots) > MAX_SNAPSHOTS:
            del self._snapshots[min(self._snapshots)]
        return roster

    async def _read_elected(self, epoch: Epoch, first_block: BlockNumber) -> PeerId | None:
        block_hash = await self._rpc.request("chain_getBlockHash", [first_block])
        if block_hash is None:
            return None  # a reorganisation has just taken it
        if (epoch, block_hash) not in self._elected:
            node_id = await self._reader.get_elected_id(epoch, block_hash)
            nodes = await self._reader.get_nodes(block_hash)
            author = next((node.author for node in nodes if node.node_id == node_id), None)
            self._elected = {(epoch, block_hash): author}
        return self._elected[epoch, block_hash]

    # Acting.

    async def _act(
        self,
        account: Account,
        call: str,
        known: Mapping[str, Any],
        epoch: Epoch,
        is_done: Callable[[Epoch], Awaitable[bool]],
    ) -> None:
        """Send it, and go by what the chain shows then: the answer may be lost, and a block may be
        exchanged for another.

        After its era nothing that was sent can still be taken in, and the chain takes each only
        once an epoch, so sending it again never does it twice.
        """
        era_seconds = ERA_BLOCKS * self._timing.block_seconds
        while True:
            try:
                await self._rpc.send(account, call, known, timeout_seconds=era_seconds + 1)
            except ChainRefused:
                if not await is_done(epoch):
                    raise
            except ChainUnreachable:  # the heads' follower says so
                await asyncio.sleep(self._timing.block_seconds)
            if await is_done(epoch):
                return
            self._require_current(epoch)

    async def _has_submitted(self, epoch: Epoch) -> bool:
        return await self.get_submission(epoch) is not None

    async def _has_attested(self, epoch: Epoch) -> bool:
        on_chain = await self.get_submission(epoch)
        return on_chain is not None and self._author in on_chain.attested_by

    async def _refuse_second(self, epoch: Epoch) -> None:
        if await self._has_submitted(epoch):
            raise ChainRefused(
                f"epoch {epoch} has a submission already and takes one only: wait for its"
                " attestations"
            )

    def _require_account(self) -> Account:
        if self._account is None or self._author is None:
            raise ChainRefused(
                "this node has no hotkey, so the chain takes nothing from it: start it with"
                " --hotkey FILE"
            )
        return self._account

    def _require_current(self, epoch: Epoch) -> None:
        block = self.get_head().block
        timing = self._timing
        if not timing.is_started(block):
            raise ChainRefused("the subnet is not active yet: wait until its first epoch begins")
        current = timing.compute_epoch(block)
        if epoch < current:
            raise ChainRefused(
                f"epoch {epoch} is over, now is epoch {current}: go on with that one"
            )
        if epoch > current:
            first = timing.compute_first_block(epoch)
            raise ChainRefused(
                f"epoch {epoch} has not begun: wait until block {first}, now is {block}"
            )

    async def _require_node(self, epoch: Epoch) -> ChainNode:
        """This node as the chain has it now."""

        async def read() -> ChainNode | None:
            self._nodes = await self._reader.get_nodes(
                await self._rpc.request("chain_getBlockHash"), with_queue=True
            )
            return next((node for node in self._nodes if node.author == self._author), None)

        node = await self._patiently(read)
        if node is None:
            raise ChainRefused(
                f"this node is not on the roster of epoch {epoch}: register it with `epochgate"
                " chain register-node`"
            )
        return node

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except ChainUnreachable:
                await asyncio.sleep(self._timing.block_seconds)
