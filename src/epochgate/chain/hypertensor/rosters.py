"""Rosters and elections as the chain has them, kept by the hash of the block they were read at."""

from __future__ import annotations

from epochgate.chain.hypertensor.nodes import SCORED_CLASS, compute_members, compute_seed
from epochgate.chain.hypertensor.rpc import Rpc
from epochgate.chain.hypertensor.subnet import SubnetReader
from epochgate.chain.hypertensor.units import BlockHash
from epochgate.chain.rounds import keep_newest
from epochgate.core.roster import Roster
from epochgate.core.types import BlockNumber, Epoch, PeerId


class RosterReader:
    """Reads each roster and each election once for a block.

    A reorganisation replaces the block. Its successor has another hash, so it is read anew.
    """

    def __init__(self, rpc: Rpc, reader: SubnetReader, role_field: str) -> None:
        self._rpc = rpc
        self._reader = reader
        self._role_field = role_field
        self._rosters: dict[Epoch, tuple[BlockHash, Roster]] = {}
        self._elected: dict[tuple[Epoch, BlockHash], PeerId | None] = {}

    async def read_roster(self, epoch: Epoch, block: BlockNumber) -> Roster | None:
        """The roster of `epoch`, whose snapshot is `block`; None where a reorganisation took it."""
        block_hash = await self._rpc.get_block_hash(block)
        if block_hash is None:
            return None
        kept_hash, kept_roster = self._rosters.get(epoch, (None, None))
        if kept_hash == block_hash:
            return kept_roster
        nodes = [
            node
            for node in await self._reader.get_nodes(block_hash)
            if node.is_of_class(SCORED_CLASS, epoch)
        ]
        roster = Roster(epoch, compute_seed(block_hash), compute_members(nodes, self._role_field))
        keep_newest(self._rosters, epoch, (block_hash, roster))
        return roster

    async def read_elected(self, epoch: Epoch, first_block: BlockNumber) -> PeerId | None:
        """The node that is elected in `epoch`, which begins with `first_block`.

        None where nobody is, or where a reorganisation has just taken the block.
        """
        block_hash = await self._rpc.get_block_hash(first_block)
        if block_hash is None:
            return None
        if (epoch, block_hash) not in self._elected:
            node_id = await self._reader.get_elected_id(epoch, block_hash)
            nodes = await self._reader.get_nodes(block_hash)
            author = next((node.author for node in nodes if node.node_id == node_id), None)
            self._elected = {(epoch, block_hash): author}
        return self._elected[epoch, block_hash]

    def forget_elected(self) -> None:
        """Read the election again next time, whatever was kept."""
        self._elected.clear()
