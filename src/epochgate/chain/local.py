"""The embedded chain: one subnet in one SQLite file that several processes use at once.

Blocks follow from genesis and period, so nobody has to produce them; what nodes do is a row.
Whoever has the file knows all its seeds beforehand: it is a chain for development and tests, among
nodes of one owner (docs/adr/0002).
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from epochgate.core.epoch import Head, Timing
from epochgate.core.peer_id import is_author
from epochgate.core.record import compute_network_id
from epochgate.core.roster import HOSTER, VALIDATOR, Member, Roster
from epochgate.core.types import BlockNumber, Epoch, NetworkId, PeerId
from epochgate.errors import EpochgateError
from epochgate.ports import ChainRefused, Clock, OnChain, Submission

SNAPSHOT_BLOCKS = 5
"""How long before an epoch's first block its roster is read."""
ATTESTED_PERCENT = 66
SEED_DOMAIN = b"epochgate/local-chain/seed/1\0"
ELECTION_DOMAIN = b"election"
LOCK_SECONDS = 5.0
"""How long a write waits for another process's; each takes well under a millisecond."""
MAX_SNAPSHOTS = 8

APPLICATION_ID = 0x65676368
SCHEMA_VERSION = 2
SCHEMA = f"""
BEGIN;
CREATE TABLE subnet (
    genesis BLOB, genesis_ms INTEGER, period_ms INTEGER, blocks_per_epoch INTEGER,
    subnet_id INTEGER, slot INTEGER,
    fixed_block INTEGER);
CREATE TABLE nodes (author BLOB, roles INTEGER, stake INTEGER, joined INTEGER, left_at INTEGER);
CREATE TABLE submissions (epoch INTEGER PRIMARY KEY, submitter BLOB, block INTEGER, content BLOB);
CREATE TABLE attestations (
    epoch INTEGER, author BLOB, block INTEGER, PRIMARY KEY (epoch, author)) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""


class ChainFileError(EpochgateError, RuntimeError):
    """A chain file that cannot be used; the message says why and what to do."""


class _Snapshot(msgspec.Struct, frozen=True):
    """What an epoch goes by, once its snapshot block is there: it never changes again."""

    roster: Roster
    elected: PeerId | None


class LocalChain:
    """The chain as one node sees it; `author` may be None for one that only looks.

    Calls take well under a millisecond, so they run in the event loop: a thread would cost more
    than it saves, and a simulation allows none.
    """

    def __init__(self, path: Path, author: PeerId | None, clock: Clock) -> None:
        self._database = _open(path)
        self._owns_database = True
        self._author = author
        self._clock = clock
        subnet_id: int
        slot: BlockNumber | None
        self._genesis: bytes
        self._genesis_ms: int
        self._period_ms: int
        self._blocks_per_epoch: int
        row = self._database.execute("SELECT * FROM subnet").fetchone()
        (
            self._genesis,
            self._genesis_ms,
            self._period_ms,
            self._blocks_per_epoch,
            subnet_id,
            slot,
            _,
        ) = row
        self._network_id = compute_network_id(self._genesis.hex(), subnet_id)
        self._timing = Timing(slot, self._blocks_per_epoch, self._period_ms / 1000)
        self._looked_at_block = -1
        self._snapshots: dict[int, _Snapshot] = {}
        self._waiting_rosters: dict[tuple[int, int, int], Roster] = {}
        """The last one, by its block and the state of the file."""

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
        """A new chain whose block 0 is now and whose subnet has not started. Block times are whole
        milliseconds.

        `genesis` is its hash, 32 bytes; random unless a test or a simulation gives one. Raises
        ChainFileError.
        """
        period_ms = round(block_seconds * 1000)
        if period_ms < 1 or blocks_per_epoch <= SNAPSHOT_BLOCKS:
            raise ChainFileError(
                f"a chain needs blocks of at least a millisecond, and more than {SNAPSHOT_BLOCKS}"
                f" of them an epoch, saw {block_seconds:g} s and {blocks_per_epoch}: give"
                " --epoch-seconds a larger value"
            )
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            raise ChainFileError(
                f"{path} exists already: a chain is never overwritten, choose another name"
            ) from None
        except OSError as error:
            raise ChainFileError(f"{path} cannot be written: {error.strerror}") from None
        facts = (
            genesis or os.urandom(32),
            _to_ms(clock.get_unix_seconds()),
            period_ms,
            blocks_per_epoch,
            subnet_id,
            None,
            0,
        )
        database = sqlite3.connect(path, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)
            database.execute("INSERT INTO subnet VALUES (?, ?, ?, ?, ?, ?, ?)", facts)
            database.execute("COMMIT")
        finally:
            database.close()

    def share(self, author: PeerId | None, clock: Clock | None = None) -> LocalChain:
        """The same chain as another node of this process sees it, over one connection and with one
        copy of each roster.

        For simulations of many nodes. Only the chain that was opened closes the file.
        """
        other = copy.copy(self)
        other._author = author
        other._clock = clock or self._clock
        other._owns_database = False
        return other

    @property
    def network_id(self) -> NetworkId:
        return self._network_id

    @property
    def timing(self) -> Timing:
        """While the subnet has no slot the file is looked at, at most once a block; afterwards
        never.
        """
        if self._timing.slot is None and self._looked_at_block != (block := self.get_head().block):
            self._looked_at_block = block
            self._set_slot(self._read_slot())
        return self._timing

    @property
    def genesis_seconds(self) -> float:
        """Unix time of block 0."""
        return self._genesis_ms / 1000

    def compute_unix_seconds(self, block: BlockNumber) -> float:
        """When `block` begins."""
        return (self._genesis_ms + block * self._period_ms) / 1000

    def get_head(self) -> Head:
        now = self._clock.get_unix_seconds()
        return Head(BlockNumber(max(0, (_to_ms(now) - self._genesis_ms) // self._period_ms)), now)

    # What the owner of the file does. As on any chain, it counts from the next block on, so a block
    # that has begun is
    # the same for everybody, whenever they look at it.

    def start(self, slot: BlockNumber) -> None:
        """Set the subnet's first block, once. Raises ChainRefused: it has one, or `slot` is no
        block to come.
        """
        with self._writing() as block:
            started = self._read_slot()
            if started is not None:
                raise ChainRefused(
                    f"the subnet has its first block already, {started}: it is set once"
                )
            if slot <= block:
                raise ChainRefused(
                    f"block {slot} has begun, now is block {block}: choose a first block to come"
                )
            self._database.execute("UPDATE subnet SET slot = ?", (slot,))
        self._set_slot(slot)

    def register(self, author: PeerId, roles: int, stake: int = 100) -> int:
        """From the next block on, which it returns, `author` is a member. Registering again changes
        roles and stake. Raises ValueError.
        """
        if not is_author(author):
            raise ValueError("a node registers with its Ed25519 peer id, 38 bytes")
        if not 0 < roles <= HOSTER | VALIDATOR or stake < 0:
            raise ValueError(
                "a node is hoster, validator or both, with a stake of 0 or more; saw roles"
                f" {roles}, stake {stake}"
            )
        with self._writing() as block:
            counts_from = self._compute_open_block(BlockNumber(block))
            self._leave(author, counts_from)
            self._database.execute(
                "INSERT INTO nodes VALUES (?, ?, ?, ?, NULL)",
                (author, int(roles), stake, counts_from),
            )
        return counts_from

    def deregister(self, author: PeerId) -> int:
        """From the next block on, which it returns, `author` is no member. Raises ChainRefused when
        it is none anyway.
        """
        with self._writing() as block:
            counts_from = self._compute_open_block(BlockNumber(block))
            if not self._leave(author, counts_from):
                raise ChainRefused(
                    "this node is not registered, so it cannot leave: look at its peer id"
                )
        return counts_from

    def get_waiting_roster(self) -> Roster:
        """Who has registered so far, for the time before the subnet's first block. Made once for
        all that share the chain.
        """
        block = self.get_head().block + 1
        others_writes = self._database.execute("PRAGMA data_version").fetchone()[0]
        version = (block, others_writes, self._database.total_changes)
        if version not in self._waiting_rosters:
            self._waiting_rosters.clear()
            self._waiting_rosters[version] = Roster(
                Epoch(0), self._compute_seed(BlockNumber(0)), self._read_members(BlockNumber(block))
            )
        return self._waiting_rosters[version]

    def predict_elected(self, epoch: Epoch) -> PeerId | None:
        """Whom the chain is going to elect if nobody joins or leaves before: whoever has the file
        knows all its seeds.
        """
        block = self._compute_snapshot_block(epoch)
        if block is None:
            return None
        return _elect(
            Roster(
                epoch,
                self._compute_seed(block),
                self._read_members(BlockNumber(self.get_head().block + 1)),
            )
        )

    # The Chain port.

    async def get_roster(self, epoch: Epoch) -> Roster:
        if epoch < 0:
            raise ValueError(f"epochs count from 0, saw {epoch}")
        while (snapshot := self._find_snapshot(epoch)) is None:  # noqa: ASYNC110 - blocks come by time, nobody announces them
            await asyncio.sleep(self._compute_wait_seconds(epoch))
        return snapshot.roster

    async def get_elected(self, epoch: Epoch) -> PeerId | None:
        """Of the roster's validators the one with the smallest SHA-256(seed, "election",
        author).
        """
        timing = self.timing
        if (
            epoch < 0
            or timing.slot is None
            or self.get_head().block < timing.compute_first_block(epoch)
        ):
            return None
        snapshot = self._find_snapshot(epoch)
        return None if snapshot is None else snapshot.elected

    async def submit(self, submission: Submission) -> None:
        epoch = submission.epoch
        snapshot = self._find_snapshot(submission.epoch)
        with self._writing() as block:
            self._require_current(epoch, BlockNumber(block))
            if snapshot is None or self._author is None or self._author != snapshot.elected:
                raise ChainRefused(
                    f"this node is not elected in epoch {epoch}: leave the submission to the"
                    " elected one and attest"
                )
            query = "INSERT OR IGNORE INTO submissions VALUES (?, ?, ?, ?)"
            row = (epoch, self._author, block, msgspec.msgpack.encode(submission))
            if not self._database.execute(query, row).rowcount:
                raise ChainRefused(
                    f"epoch {epoch} has a submission already and takes one only: wait for its"
                    " attestations"
                )

    async def get_submission(self, epoch: Epoch) -> OnChain | None:
        row = self._database.execute(
            "SELECT submitter, block, content FROM submissions WHERE epoch = ?", (epoch,)
        ).fetchone()
        if row is None:
            return None
        submitter, block, content = row
        query = "SELECT author FROM attestations WHERE epoch = ? ORDER BY author"
        attested_by = tuple(author for (author,) in self._database.execute(query, (epoch,)))
        members = len((await self.get_roster(epoch)).members)
        is_attested = (
            len(attested_by) + 1
        ) * 100 >= ATTESTED_PERCENT * members  # the submitter stands by its own
        return OnChain(
            msgspec.msgpack.decode(content, type=Submission),
            submitter,
            block,
            attested_by,
            is_attested,
        )

    async def get_submissions(self) -> tuple[OnChain, ...]:
        """All of them, in order of epoch."""
        numbers = self._database.execute("SELECT epoch FROM submissions ORDER BY epoch").fetchall()
        return tuple(
            [
                found
                for (epoch,) in numbers
                if (found := await self.get_submission(epoch)) is not None
            ]
        )

    async def attest(self, epoch: Epoch) -> None:
        snapshot = self._find_snapshot(epoch)
        with self._writing() as block:
            self._require_current(epoch, BlockNumber(block))
            row = self._database.execute(
                "SELECT submitter FROM submissions WHERE epoch = ?", (epoch,)
            ).fetchone()
            if row is None:
                raise ChainRefused(
                    f"epoch {epoch} has no submission yet: wait until the elected node has made it"
                )
            if snapshot is None or self._author not in snapshot.roster.roles:
                raise ChainRefused(
                    f"this node is not on the roster of epoch {epoch}: register it, and it counts"
                    " from the next one"
                )
            if self._author == row[0]:
                raise ChainRefused(
                    "this node submitted, and so stands by its submission: leave attesting to the"
                    " others"
                )
            query = "INSERT OR IGNORE INTO attestations VALUES (?, ?, ?)"
            if not self._database.execute(query, (epoch, self._author, block)).rowcount:
                raise ChainRefused(
                    f"this node has attested in epoch {epoch} already: once is enough"
                )

    async def close(self) -> None:
        if self._owns_database:
            self._database.close()

    def _require_current(self, epoch: Epoch, block: BlockNumber) -> None:
        timing = self.timing
        if not timing.is_started(block):
            raise ChainRefused(
                "the subnet has not reached its first block: wait until its epoch 0 begins"
            )
        current = timing.compute_epoch(block)
        if epoch < current:
            raise ChainRefused(
                f"epoch {epoch} is over, now is epoch {current}: go on with that one"
            )
        if epoch > current:
            raise ChainRefused(
                f"epoch {epoch} has not begun: wait until block"
                f" {timing.compute_first_block(epoch)}, now is {block}"
            )

    def _find_snapshot(self, epoch: Epoch) -> _Snapshot | None:
        """None while its block has not come."""
        block = self._compute_snapshot_block(epoch)
        if epoch < 0 or block is None or block > self.get_head().block:
            return None
        snapshot = self._snapshots.get(epoch)
        if snapshot is None:
            with (
                self._writing()
            ):  # behind every registration that is being written, and that may name this block
                roster = Roster(epoch, self._compute_seed(block), self._read_members(block))
                self._database.execute(
                    "UPDATE subnet SET fixed_block = MAX(fixed_block, ?)", (block,)
                )
            snapshot = self._snapshots[epoch] = _Snapshot(roster, _elect(roster))
            if len(self._snapshots) > MAX_SNAPSHOTS:
                del self._snapshots[min(self._snapshots)]
        return snapshot

    def _compute_snapshot_block(self, epoch: Epoch) -> BlockNumber | None:
        timing = self.timing
        if timing.slot is None:
            return None
        return BlockNumber(
            timing.compute_first_block(epoch) - (SNAPSHOT_BLOCKS if epoch > 0 else 0)
        )

    def _compute_open_block(self, block: BlockNumber) -> BlockNumber:
        """The first block whose members may still change: clocks differ, and whoever is ahead may
        have read its roster.
        """
        fixed_block: BlockNumber = self._database.execute(
            "SELECT fixed_block FROM subnet"
        ).fetchone()[0]
        return BlockNumber(max(block, fixed_block) + 1)

    def _compute_wait_seconds(self, epoch: Epoch) -> float:
        """Until the snapshot block begins, but a block at most: a slot may be set meanwhile, and
        clocks are put right.
        """
        period_seconds = self._period_ms / 1000
        block = self._compute_snapshot_block(epoch)
        if block is None:
            return period_seconds
        left_seconds = self.compute_unix_seconds(block) - self._clock.get_unix_seconds()
        return min(period_seconds, max(0.001, left_seconds))

    def _compute_seed(self, block: BlockNumber) -> bytes:
        return hashlib.sha256(SEED_DOMAIN + self._genesis + struct.pack(">Q", block)).digest()

    def _read_members(self, block: BlockNumber) -> list[Member]:
        query = (
            "SELECT author, roles, stake FROM nodes WHERE joined <= ? AND (left_at IS NULL OR"
            " left_at > ?)"
        )
        return [Member(*row) for row in self._database.execute(query, (block, block))]

    def _read_slot(self) -> BlockNumber | None:
        slot: BlockNumber | None = self._database.execute("SELECT slot FROM subnet").fetchone()[0]
        return slot

    def _set_slot(self, slot: BlockNumber | None) -> None:
        self._timing = Timing(slot, self._blocks_per_epoch, self._period_ms / 1000)

    def _leave(self, author: PeerId, block: BlockNumber) -> int:
        """How many rows it ended. One that joins and leaves within a block was never there, so no
        author counts twice.
        """
        return self._database.execute(
            "UPDATE nodes SET left_at = ? WHERE author = ? AND left_at IS NULL", (block, author)
        ).rowcount

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """A transaction that takes the write lock at once, so two processes cannot both believe
        that they are first.

        Gives the block it happens in, read under the lock. Raises ChainRefused when another process
        does not let go.
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield self.get_head().block
            self._database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise ChainRefused(
                f"the chain file cannot be written now ({error}): try again"
            ) from None
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _to_ms(seconds: float) -> int:
    return round(seconds * 1000)


def _elect(roster: Roster) -> PeerId | None:
    prefix = roster.seed + ELECTION_DOMAIN
    return min(
        roster.validators, key=lambda author: hashlib.sha256(prefix + author).digest(), default=None
    )


def _open(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise ChainFileError(
            f"{path} does not exist: `epochgate devnet` makes one, or LocalChain.create"
        )
    database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        seen = [
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("application_id", "user_version")
        ]
        database.execute(
            "PRAGMA synchronous = NORMAL"
        )  # no wait for the disk at a commit: enough against a killed process
    except sqlite3.DatabaseError as error:
        seen = [error]
    if seen != [APPLICATION_ID, SCHEMA_VERSION]:
        database.close()
        raise ChainFileError(
            f"{path} is no local chain of this version ({seen[0]}): name another one, or make one"
            " anew"
        )
    return database
