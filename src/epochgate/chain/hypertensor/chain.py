"""The Chain port on Hypertensor: one subnet, as one node sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.acting import Action, act, make_attestation, make_proposal
from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.chain.hypertensor.heads import HeadFollower
from epochgate.chain.hypertensor.nodes import ChainNode, compute_members, find_node
from epochgate.chain.hypertensor.notices import Notices
from epochgate.chain.hypertensor.rosters import RosterReader
from epochgate.chain.hypertensor.rpc import ChainUnreachable, Rpc
from epochgate.chain.hypertensor.subnet import NoSuchSubnet, SubnetFacts, SubnetReader
from epochgate.chain.rounds import (
    check_epoch_number,
    compute_snapshot_block,
    has_begun,
    require_attestable,
    require_current,
    require_submission,
    require_submittable,
)
from epochgate.core.epoch import Head, Timing
from epochgate.core.record import compute_network_id
from epochgate.core.roster import Roster
from epochgate.core.types import BlockNumber, Epoch, NetworkId, PeerId
from epochgate.observe.events import Emit
from epochgate.ports import ChainRefused, Clock, OnChain, Submission
from epochgate.supervision.task_keeper import TaskKeeper

BURIED_BLOCKS = 2
"""A snapshot is read when this many blocks lie over it: the newest may still be reorganised."""
MILLISECONDS = 1000

T = TypeVar("T")


class HypertensorChain:
    """One subnet, as one node sees it. Make it with `open`, and `close` it.

    Questions are repeated, a block's time apart, for as long as the chain does not answer: callers
    have time limits of their own.
    """

    def __init__(
        self,
        rpc: Rpc,
        subnet_id: int,
        *,
        network_id: NetworkId,
        timing: Timing,
        heads: HeadClock,
        author: PeerId | None,
        account: Account | None,
        role_field: str,
        emit: Emit | None,
    ) -> None:
        self._rpc = rpc
        self._subnet_id = subnet_id
        self._network_id = network_id
        self._timing = timing
        self._heads = heads
        self._author = author
        self._account = account
        self._role_field = role_field
        self._reader = SubnetReader(rpc, subnet_id)
        self._rosters = RosterReader(rpc, self._reader, role_field)
        self._notices = Notices(emit)
        self._facts: SubnetFacts | None = None
        self._nodes: list[ChainNode] = []
        self._news = asyncio.Event()
        """Set at the next head, and replaced then."""
        self._tasks = TaskKeeper(self._notices.tell_failure)

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
        """Connect, read what never changes, and follow the heads.

        Args:
            url: The chain node's RPC address, ws:// or wss://.
            subnet_id: The subnet's number on the chain.
            clock: This node's clock, by which a head grows old.
            author: This node's peer id; None for one that only looks.
            account: Its hotkey, which signs its extrinsics; None for one that only looks.
            role_field: The registration field that names a node's roles, as the policy says.
            block_seconds: The time between two blocks; the chain's own where it is None. For
                development chains, whose blocks do not come at that pace.
            emit: Is given a warning of each outage, and of what the subnet or this node waits for.

        Returns:
            The chain, whose head follows the server's.

        Raises:
            ChainUnreachable: The chain's server does not answer.
            NoSuchSubnet: The chain has no subnet of this number.
        """
        rpc = Rpc(url)
        try:
            genesis = await rpc.get_block_hash(BlockNumber(0))
            blocks_per_epoch = await rpc.get_constant("EpochLength")
            slot_milliseconds = await rpc.get_constant("SlotDuration", pallet="Aura")
            header = await rpc.request("chain_getHeader")
            block_seconds = block_seconds or slot_milliseconds / MILLISECONDS
            chain = HypertensorChain(
                rpc,
                subnet_id,
                network_id=compute_network_id(str(genesis).removeprefix("0x"), subnet_id),
                timing=Timing(None, blocks_per_epoch, block_seconds),
                heads=HeadClock(clock, BlockNumber(int(header["number"], 16))),
                author=author,
                account=account,
                role_field=role_field,
                emit=emit,
            )
            await chain._read_subnet()
        except BaseException:
            await rpc.close()
            raise
        chain._follow(url)
        return chain

    @property
    def network_id(self) -> NetworkId:
        return self._network_id

    @property
    def timing(self) -> Timing:
        """Without a slot until the first epoch in which the active subnet elects a node begins."""
        return self._timing

    @property
    def facts(self) -> SubnetFacts | None:
        """The chain's entry of the subnet when it was last read."""
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
        check_epoch_number(epoch)
        while True:
            news = self._news
            block = compute_snapshot_block(self._timing, epoch)
            if block is not None and block + BURIED_BLOCKS <= self.get_head().block:
                roster = await self._ask(partial(self._rosters.read_roster, epoch, block))
                if roster is not None:
                    return roster
            await news.wait()

    async def get_elected(self, epoch: Epoch) -> PeerId | None:
        if not has_begun(self._timing, epoch, self.get_head().block):
            return None
        first_block = self._timing.compute_first_block(epoch)
        return await self._ask(partial(self._rosters.read_elected, epoch, first_block))

    async def get_submission(self, epoch: Epoch) -> OnChain | None:
        async def read() -> OnChain | None:
            return await self._reader.get_submission(epoch, await self._rpc.get_head_hash())

        return await self._ask(read)

    async def submit(self, submission: Submission) -> None:
        epoch = submission.epoch
        author, account = self._require_identity()
        self._require_current(epoch)
        node = await self._read_own_node(epoch)
        self._rosters.forget_elected()
        elected = await self.get_elected(epoch)
        is_submitted = await self._has_submission(epoch)
        require_submittable(epoch, author, elected=elected, is_submitted=is_submitted)
        proposal = make_proposal(self._subnet_id, node, submission, self._nodes)
        await self._act(account, proposal, epoch, self._has_submission)

    async def attest(self, epoch: Epoch) -> None:
        author, account = self._require_identity()
        self._require_current(epoch)
        node = await self._read_own_node(epoch)
        on_chain = require_submission(epoch, await self.get_submission(epoch))
        require_attestable(
            epoch, author, submitter=on_chain.submitter, attested_by=on_chain.attested_by
        )
        attestation = make_attestation(self._subnet_id, node, epoch)
        await self._act(account, attestation, epoch, self._has_attested)

    async def close(self) -> None:
        await self._tasks.close()
        await self._rpc.close()

    # Following the chain.

    def _follow(self, url: str) -> None:
        block_seconds = self._timing.block_seconds
        follower = HeadFollower(url, block_seconds, self._take_head, self._notices.tell_outage)
        self._tasks.keep("following heads", follower.follow, block_seconds)
        self._tasks.keep("reading the subnet", self._keep_reading_subnet, block_seconds)

    def _take_head(self, block: BlockNumber) -> None:
        self._heads.take(block)
        news = self._news
        self._news = asyncio.Event()
        news.set()

    async def _keep_reading_subnet(self) -> None:
        """Read the subnet at each head that comes while it is not being read."""
        while True:
            await self._news.wait()
            with suppress(ChainUnreachable):  # warned of by the follower of heads
                try:
                    await self._read_subnet()
                except NoSuchSubnet as error:
                    self._notices.tell_gone(str(error))

    async def _read_subnet(self) -> None:
        block_hash = await self._rpc.get_head_hash()
        facts = await self._reader.get_facts(block_hash)
        self._facts = facts
        self._nodes = await self._reader.get_nodes(block_hash, with_queue=True)
        if self._timing.slot is None and facts.is_active:
            first_block = facts.slot + facts.start_epoch * self._timing.blocks_per_epoch
            if self.get_head().block >= first_block:
                self._timing = msgspec.structs.replace(self._timing, slot=facts.slot)
        self._notices.tell_state(facts, find_node(self._nodes, self._author))

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the chain until it answers."""
        while True:
            try:
                return await question()
            except ChainUnreachable:  # warned of by the follower of heads
                await asyncio.sleep(self._timing.block_seconds)

    # Acting.

    async def _act(
        self,
        account: Account,
        action: Action,
        epoch: Epoch,
        is_done: Callable[[Epoch], Awaitable[bool]],
    ) -> None:
        await act(
            self._rpc,
            account,
            action,
            block_seconds=self._timing.block_seconds,
            is_done=partial(is_done, epoch),
            require_current=partial(self._require_current, epoch),
        )

    async def _has_submission(self, epoch: Epoch) -> bool:
        return await self.get_submission(epoch) is not None

    async def _has_attested(self, epoch: Epoch) -> bool:
        on_chain = await self.get_submission(epoch)
        return on_chain is not None and self._author in on_chain.attested_by

    def _require_identity(self) -> tuple[PeerId, Account]:
        if self._account is None or self._author is None:
            raise ChainRefused(
                "this node has no hotkey, so the chain takes nothing from it",
                "start it with --hotkey FILE",
            )
        return self._author, self._account

    def _require_current(self, epoch: Epoch) -> None:
        require_current(self._timing, epoch, self.get_head().block)

    async def _read_own_node(self, epoch: Epoch) -> ChainNode:
        """This node as the chain has it now. Raise ChainRefused where it is not registered."""

        async def read() -> list[ChainNode]:
            return await self._reader.get_nodes(await self._rpc.get_head_hash(), with_queue=True)

        self._nodes = await self._ask(read)
        node = find_node(self._nodes, self._author)
        if node is None:
            raise ChainRefused(
                f"this node is not on the roster of epoch {epoch}",
                "register it with `epochgate chain register-node`",
            )
        return node
