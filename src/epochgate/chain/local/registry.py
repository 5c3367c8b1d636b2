"""The subnet as the owner of its chain file keeps it: its time, its first block, its members."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from epochgate.chain.local.file import ChainFacts, ChainFile, ChainFileError, create_chain_file
from epochgate.chain.rounds import SNAPSHOT_BLOCKS
from epochgate.core.epoch import Head, Timing
from epochgate.core.peer_id import is_author
from epochgate.core.record import compute_network_id
from epochgate.core.roster import HOSTER, VALIDATOR, Member, Roster
from epochgate.core.types import BlockNumber, Epoch, NetworkId, PeerId
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused, Clock

SEED_DOMAIN = b"epochgate/local-chain/seed/1\0"
DEFAULT_STAKE = 100


class LocalRegistry:
    """Blocks, and the nodes registered at each of them.

    As on any chain, a change counts from the next block on: a block that has begun is the same for
    everybody, whenever they look at it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the chain in `path`. Raise ChainFileError where it holds none."""
        self._file = ChainFile(path)
        self._clock = clock
        self._facts = self._file.facts
        self._network_id = compute_network_id(self._facts.genesis.hex(), self._facts.subnet_id)
        self._timing = self._make_timing(self._file.read_slot())
        self._slot_read_at = BlockNumber(-1)
        self._waiting_rosters: dict[tuple[BlockNumber, tuple[int, int]], Roster] = {}
        """The last one, by its block and the file's version."""

    @staticmethod
    def create(
        path: Path,
        clock: Clock,
        *,
        block_seconds: float,
        blocks_per_epoch: int = 100,
        subnet_id: int = 1,
        genesis: bytes | None = None,
    ) -> None:
        """Make a new chain whose block 0 is now and whose subnet has not started.

        Args:
            path: The file to make.
            clock: The clock that says when block 0 is.
            block_seconds: The time between two blocks, rounded to whole milliseconds, of which
                there is at least one.
            blocks_per_epoch: The length of an epoch, more than SNAPSHOT_BLOCKS.
            subnet_id: The subnet's number, a part of the network id.
            genesis: The hash that names the chain, 32 bytes; random unless a test or a simulation
                gives one.

        Raises:
            ChainFileError: The file exists already or cannot be written, or blocks or epochs are
                too short.
        """
        period_ms = _to_milliseconds(block_seconds)
        if period_ms < 1 or blocks_per_epoch <= SNAPSHOT_BLOCKS:
            raise ChainFileError(
                "a chain needs blocks of at least a millisecond, and more than"
                f" {SNAPSHOT_BLOCKS} of them in an epoch, saw {block_seconds:g} s and"
                f" {blocks_per_epoch}",
                "give --epoch-seconds a larger value",
            )
        facts = ChainFacts(
            genesis=genesis or os.urandom(32),
            genesis_ms=_to_milliseconds(clock.get_unix_seconds()),
            period_ms=period_ms,
            blocks_per_epoch=blocks_per_epoch,
            subnet_id=subnet_id,
        )
        create_chain_file(path, facts)

    @property
    def network_id(self) -> NetworkId:
        return self._network_id

    @property
    def timing(self) -> Timing:
        """The subnet's time. Without a first block the file is read, at most once in each block."""
        if self._timing.slot is None:
            block = self.get_head().block
            if block != self._slot_read_at:
                self._slot_read_at = block
                self._timing = self._make_timing(self._file.read_slot())
        return self._timing

    @property
    def genesis_seconds(self) -> float:
        """Unix time of block 0."""
        return self._facts.genesis_ms / 1000

    def compute_unix_seconds(self, block: BlockNumber) -> float:
        """Unix time at which `block` begins."""
        return (self._facts.genesis_ms + block * self._facts.period_ms) / 1000

    def get_head(self) -> Head:
        """The block that has begun last by this node's clock: nobody has to produce it."""
        now_seconds = self._clock.get_unix_seconds()
        elapsed_ms = _to_milliseconds(now_seconds) - self._facts.genesis_ms
        return Head(BlockNumber(max(0, elapsed_ms // self._facts.period_ms)), now_seconds)

    def start(self, slot: BlockNumber) -> None:
        """Set the subnet's first block, once.

        Args:
            slot: A block to come.

        Raises:
            ChainRefused: The subnet has a first block, or `slot` has begun.
        """
        with self._write() as block:
            first_block = self._file.read_slot()
            if first_block is not None:
                raise ChainRefused(
                    f"the subnet has its first block already, {first_block}: it is set once"
                )
            if slot <= block:
                raise ChainRefused(
                    f"block {slot} has begun, now is block {block}", "choose a first block to come"
                )
            self._file.set_slot(slot)
        self._timing = self._make_timing(slot)

    def register(self, author: PeerId, roles: int, *, stake: int = DEFAULT_STAKE) -> BlockNumber:
        """Register a node, or change the roles and stake of one that is registered.

        Args:
            author: The node's peer id.
            roles: Bits of `Role`, at least one.
            stake: The node's stake, 0 or more, in the chain's smallest unit.

        Returns:
            The block from which on the registration counts: the next one.

        Raises:
            ValueError: A peer id, roles or a stake that no node can have.
            ChainRefused: Another process does not release the file.
        """
        if not is_author(author):
            raise ValueError("a node registers with its Ed25519 peer id, 38 bytes")
        if not 0 < roles <= HOSTER | VALIDATOR or stake < 0:
            raise ValueError(
                "a node is hoster, validator or both, with a stake of 0 or more; saw roles"
                f" {roles}, stake {stake}"
            )
        with self._write() as block:
            counts_from = self._compute_open_block(block)
            self._file.end_membership(author, counts_from)
            self._file.add_member(Member(author, roles, stake), counts_from)
        return counts_from

    def deregister(self, author: PeerId) -> BlockNumber:
        """Let a node leave.

        Args:
            author: The node's peer id.

        Returns:
            The block from which on `author` is not a member: the next one.

        Raises:
            ChainRefused: The node is not registered, or another process does not release the file.
        """
        with self._write() as block:
            counts_from = self._compute_open_block(block)
            if not self._file.end_membership(author, counts_from):
                raise ChainRefused(
                    f"{format_peer_id(author)} is not registered, so it cannot leave",
                    "look whether it is the right peer id",
                )
        return counts_from

    def get_waiting_roster(self) -> Roster:
        """The nodes that have registered so far, for the time before the subnet's first block.

        It is made once for all nodes that share the chain.
        """
        block = BlockNumber(self.get_head().block + 1)
        version = (block, self._file.read_version())
        if version not in self._waiting_rosters:
            seed = self._compute_seed(BlockNumber(0))
            roster = Roster(Epoch(0), seed, self._file.read_members(block))
            self._waiting_rosters.clear()
            self._waiting_rosters[version] = roster
        return self._waiting_rosters[version]

    def _compute_seed(self, block: BlockNumber) -> bytes:
        preimage = SEED_DOMAIN + self._facts.genesis + struct.pack(">Q", block)
        return hashlib.sha256(preimage).digest()

    def _compute_open_block(self, block: BlockNumber) -> BlockNumber:
        """The first block whose members may still change, after `block`.

        Clocks differ: a node that is ahead may have read the members of a block to come.
        """
        return BlockNumber(max(block, self._file.read_fixed_block()) + 1)

    def _make_timing(self, slot: BlockNumber | None) -> Timing:
        return Timing(slot, self._facts.blocks_per_epoch, self._facts.period_ms / 1000)

    @contextmanager
    def _write(self) -> Iterator[BlockNumber]:
        """Lock the file for a change, and give the present block, read under the lock."""
        with self._file.write():
            yield self.get_head().block


def _to_milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
