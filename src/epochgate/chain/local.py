"""The embedded chain: one subnet in one SQLite file that several processes use at once.

Blocks follow from genesis and period, so nobody has to produce them; what nodes do is a row. Whoever has the file knows
all its seeds beforehand: it is a chain for development and tests, among nodes of one owner.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from epochgate.core.epoch import Head, Timing
from epochgate.core.record import compute_network_id, is_author
from epochgate.core.roster import VALIDATOR, Member, Roster
from epochgate.ports import ChainRefused, Clock, OnChain, Submission

SNAPSHOT_BLOCKS = 5
"""How long before an epoch's first block its roster is read."""
ATTESTED_PERCENT = 66
SEED_DOMAIN = b"epochgate/local-chain/seed/1\0"
LOCK_SECONDS = 10.0

SCHEMA = """
CREATE TABLE subnet (
    genesis BLOB, genesis_ms INTEGER, period_ms INTEGER, blocks_per_epoch INTEGER, subnet_id INTEGER, slot INTEGER);
CREATE TABLE nodes (author BLOB, roles INTEGER, stake INTEGER, joined INTEGER, left_at INTEGER);
CREATE TABLE submissions (epoch INTEGER PRIMARY KEY, submitter BLOB, block INTEGER, content BLOB);
CREATE TABLE attestations (epoch INTEGER, author BLOB, block INTEGER, PRIMARY KEY (epoch, author));
"""


class ChainFileError(RuntimeError):
    """A chain file that cannot be used; the message says why and what to do."""


class LocalChain:
    """The chain as one node sees it; `author` may be None for one that only looks.

    Calls take well under a millisecond, so they run in the event loop; another process that writes at the same time makes
    them wait for as long.
    """

    def __init__(self, path: Path, author: bytes | None, clock: Clock) -> None:
        if not path.exists():
            raise ChainFileError(f"{path} does not exist: `epochgate devnet` makes one, or LocalChain.create")
        self._database = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
        self._author = author
        self._clock = clock
        try:
            row = self._database.execute("SELECT * FROM subnet").fetchone()
        except sqlite3.DatabaseError as error:
            raise ChainFileError(f"{path} is no local chain ({error})") from None
        subnet_id: int
        slot: int | None
        self._genesis: bytes
        self._genesis_ms: int
        self._period_ms: int
        self._blocks_per_epoch: int
        self._genesis, self._genesis_ms, self._period_ms, self._blocks_per_epoch, subnet_id, slot = row
        self._network_id = compute_network_id(self._genesis.hex(), subnet_id)
        self._timing = Timing(slot, self._blocks_per_epoch, self._period_ms / 1000)
        self._looked_at_block = -1

    @staticmethod
    def create(
        path: Path, clock: Clock, *, block_seconds: float, blocks_per_epoch: int = 100, genesis: bytes | None = None
    ) -> None:
        """A new chain whose block 0 is now and whose subnet has not started. Block times are whole milliseconds."""
        period_ms = round(block_seconds * 1000)
        if period_ms < 1 or blocks_per_epoch < 1:
            raise ChainFileError("a chain needs blocks of at least a millisecond, and one of them an epoch")
        if path.exists():
            raise ChainFileError(f"{path} exists already: a chain is never overwritten, choose another name")
        database = sqlite3.connect(path, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)
            facts = (genesis or os.urandom(32), round(clock.get_unix_seconds() * 1000), period_ms, blocks_per_epoch, 1, None)
            database.execute("INSERT INTO subnet VALUES (?, ?, ?, ?, ?, ?)", facts)
        finally:
            database.close()

    @property
    def network_id(self) -> bytes:
        return self._network_id

    @property
    def timing(self) -> Timing:
        """While the subnet has no slot the file is looked at, at most once a block; afterwards never."""
        if self._timing.slot is None and self._looked_at_block != (block := self.get_head().block):
            self._looked_at_block = block
            (slot,) = self._database.execute("SELECT slot FROM subnet").fetchone()
            self._timing = Timing(slot, self._blocks_per_epoch, self._period_ms / 1000)
        return self._timing

    @property
    def genesis_seconds(self) -> float:
        """Unix time of block 0."""
        return self._genesis_ms / 1000

    def compute_unix_seconds(self, block: int) -> float:
        """When `block` begins."""
        return (self._genesis_ms + block * self._period_ms) / 1000

    def get_head(self) -> Head:
        now = self._clock.get_unix_seconds()
        return Head((round(now * 1000) - self._genesis_ms) // self._period_ms, now)

    def start(self, slot: int) -> None:
        """Set the subnet's first block, once."""
        with self._writing():
            self._database.execute("UPDATE subnet SET slot = ? WHERE slot IS NULL", (slot,))

    def register(self, author: bytes, roles: int, stake: int = 100) -> None:
        """From the next snapshot on `author` is a member. Registering again changes roles and stake."""
        if not is_author(author):
            raise ValueError("a node registers with its Ed25519 peer id, 38 bytes")
        block = self.get_head().block
        with self._writing():
            self._leave(author, block)
            self._database.execute("INSERT INTO nodes VALUES (?, ?, ?, ?, NULL)", (author, int(roles), stake, block))

    def deregister(self, author: bytes) -> None:
        """From the next snapshot on `author` is no member."""
        with self._writing():
            self._leave(author, self.get_head().block)

    async def get_roster(self, epoch: int) -> Roster:
        while (block := self._compute_snapshot_block(epoch)) is None or block > self.get_head().block:  # noqa: ASYNC110 - blocks come by time
            await asyncio.sleep(self._period_ms / 1000)
        return self._read_roster(epoch, block)

    def get_waiting_roster(self) -> Roster:
        """Who is registered now, for the time before the subnet's first block."""
        return self._read_roster(0, self.get_head().block)

    async def get_elected(self, epoch: int) -> bytes | None:
        timing = self.timing
        if timing.slot is None or self.get_head().block < timing.compute_first_block(epoch):
            return None
        roster = await self.get_roster(epoch)
        prefix = hashlib.sha256(roster.seed + b"election").digest()
        candidates = roster.get_authors(VALIDATOR)
        return min(candidates, key=lambda author: hashlib.sha256(prefix + author).digest(), default=None)

    async def submit(self, submission: Submission) -> None:
        block = self.get_head().block
        if not self.timing.is_started(block) or submission.epoch != self.timing.compute_epoch(block):
            raise ChainRefused(f"epoch {submission.epoch} is not the current one: a submission is made in its own epoch")
        if self._author is None or self._author != await self.get_elected(submission.epoch):
            raise ChainRefused(f"this node is not elected in epoch {submission.epoch}: only the elected one submits")
        row = (submission.epoch, self._author, block, msgspec.msgpack.encode(submission))
        try:
            with self._writing():
                self._database.execute("INSERT INTO submissions VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise ChainRefused(f"epoch {submission.epoch} has a submission already: it is made once") from None

    async def get_submission(self, epoch: int) -> OnChain | None:
        row = self._database.execute("SELECT submitter, block, content FROM submissions WHERE epoch = ?", (epoch,)).fetchone()
        if row is None:
            return None
        submitter, block, content = row
        query = "SELECT author FROM attestations WHERE epoch = ? ORDER BY author"
        attested_by = tuple(author for (author,) in self._database.execute(query, (epoch,)))
        members = len((await self.get_roster(epoch)).members)
        is_attested = (len(attested_by) + 1) * 100 >= ATTESTED_PERCENT * members  # the submitter stands by its own
        return OnChain(msgspec.msgpack.decode(content, type=Submission), submitter, block, attested_by, is_attested)

    async def attest(self, epoch: int) -> None:
        block = self.get_head().block
        if not self.timing.is_started(block) or epoch != self.timing.compute_epoch(block):
            raise ChainRefused(f"epoch {epoch} is not the current one: an attestation is made in the submission's own epoch")
        on_chain = await self.get_submission(epoch)
        if on_chain is None:
            raise ChainRefused(f"epoch {epoch} has no submission yet: there is nothing to attest")
        if self._author is None or self._author not in (await self.get_roster(epoch)).roles:
            raise ChainRefused(f"this node is not on the roster of epoch {epoch}: register it, and it counts from the next one")
        if self._author == on_chain.submitter:
            raise ChainRefused("the submitter stands by its own submission: others attest it")
        try:
            with self._writing():
                self._database.execute("INSERT INTO attestations VALUES (?, ?, ?)", (epoch, self._author, block))
        except sqlite3.IntegrityError:
            raise ChainRefused(f"this node has attested the submission of epoch {epoch} already") from None

    async def close(self) -> None:
        self._database.close()

    def _compute_snapshot_block(self, epoch: int) -> int | None:
        timing = self.timing
        if timing.slot is None:
            return None
        return timing.compute_first_block(epoch) - (SNAPSHOT_BLOCKS if epoch > 0 else 0)

    def _read_roster(self, epoch: int, block: int) -> Roster:
        query = "SELECT author, roles, stake FROM nodes WHERE joined <= ? AND (left_at IS NULL OR left_at > ?)"
        seed = hashlib.sha256(SEED_DOMAIN + self._genesis + struct.pack(">Q", block)).digest()
        return Roster(epoch, seed, [Member(*row) for row in self._database.execute(query, (block, block))])

    def _leave(self, author: bytes, block: int) -> None:
        """One that joins and leaves within a block was never there, so no author counts twice."""
        self._database.execute("UPDATE nodes SET left_at = ? WHERE author = ? AND left_at IS NULL", (block, author))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that takes the write lock at once, so two processes cannot both believe that they are first."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
