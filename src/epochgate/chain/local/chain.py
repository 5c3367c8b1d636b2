"""The Chain port over a chain file."""

from __future__ import annotations

import asyncio
import copy
import hashlib
from pathlib import Path

import msgspec

from epochgate.chain.local.file import SubmissionRow
from epochgate.chain.local.registry import LocalRegistry
from epochgate.chain.rounds import (
    check_epoch_number,
    compute_snapshot_block,
    has_begun,
    keep_newest,
    require_attestable,
    require_current,
    require_submission,
    require_submittable,
)
from epochgate.core.roster import Roster
from epochgate.core.types import Epoch, PeerId
from epochgate.ports import ChainRefused, Clock, OnChain, Submission

ATTESTED_PERCENT = 66
"""Share of the roster that has to stand by a submission, its submitter included."""
ELECTION_DOMAIN = b"election"
MIN_WAIT_SECONDS = 0.001


class Snapshot(msgspec.Struct, frozen=True):
    """The roster of an epoch and the node that it elects; neither ever changes."""

    roster: Roster
    elected: PeerId | None


class LocalChain(LocalRegistry):
    """The chain as one node sees it.

    Each call takes well under a millisecond, so all run in the event loop: a thread would cost more
    than it saves, and a simulation allows none.

    Example:
        >>> import tempfile
        >>> from epochgate import HOSTER, VALIDATOR, SigningKey
        >>> from epochgate.engine.system import SystemClock
        >>> folder = tempfile.TemporaryDirectory()
        >>> file = Path(folder.name) / "chain.sqlite"
        >>> key = SigningKey.from_seed(bytes(32))
        >>> LocalChain.create(file, SystemClock(), block_seconds=6)
        >>> chain = LocalChain(file, key.author, SystemClock())
        >>> chain.register(key.author, HOSTER | VALIDATOR)
        1
        >>> chain.get_waiting_roster().authors == (key.author,)
        True
        >>> asyncio.run(chain.close())
        >>> folder.cleanup()
    """

    def __init__(self, path: Path, author: PeerId | None, clock: Clock) -> None:
        """Open the chain in `path`.

        Args:
            path: A file that `create` made.
            author: The node that looks and acts; None for one that only looks.
            clock: The node's clock, which says what block it is.

        Raises:
            ChainFileError: The file holds no chain of this version.
        """
        super().__init__(path, clock)
        self._author = author
        self._owns_file = True
        self._snapshots: dict[Epoch, Snapshot] = {}

    def share(self, author: PeerId | None, clock: Clock | None = None) -> LocalChain:
        """The same chain as another node of this process sees it, for simulations of many nodes.

        They use one connection and one copy of each roster. Only the chain that was opened closes
        the file.

        Args:
            author: The other node; None for one that only looks.
            clock: The other node's clock; this one's if None.

        Returns:
            The chain as the other node sees it.
        """
        other = copy.copy(self)
        other._author = author
        other._clock = clock or self._clock
        other._owns_file = False
        return other

    def predict_elected(self, epoch: Epoch) -> PeerId | None:
        """The node that the chain is going to elect in `epoch` if nobody joins or leaves before.

        Only a local chain can tell, because its file holds all that the seeds follow from.
        """
        block = compute_snapshot_block(self.timing, epoch)
        if block is None:
            return None
        members = self.get_waiting_roster().members
        return _elect(Roster(epoch, self._compute_seed(block), members))

    async def get_roster(self, epoch: Epoch) -> Roster:
        check_epoch_number(epoch)
        while (snapshot := self._find_snapshot(epoch)) is None:  # noqa: ASYNC110 - by time
            await asyncio.sleep(self._compute_wait_seconds(epoch))
        return snapshot.roster

    async def get_elected(self, epoch: Epoch) -> PeerId | None:
        """The validator on the roster with the smallest SHA-256(seed, "election", author)."""
        if not has_begun(self.timing, epoch, self.get_head().block):
            return None
        return self._get_elected(epoch)

    async def submit(self, submission: Submission) -> None:
        epoch = submission.epoch
        elected = self._get_elected(epoch)
        with self._write() as block:
            require_current(self.timing, epoch, block)
            is_submitted = self._file.read_submitter(epoch) is not None
            author = require_submittable(
                epoch, self._author, elected=elected, is_submitted=is_submitted
            )
            self._file.add_submission(SubmissionRow(submission, author, block))

    async def get_submission(self, epoch: Epoch) -> OnChain | None:
        row = self._file.read_submission(epoch)
        if row is None:
            return None
        attested_by = self._file.read_attestors(epoch)
        members = (await self.get_roster(epoch)).members
        supporters = len(attested_by) + 1  # the submitter stands by its own submission
        is_attested = supporters * 100 >= ATTESTED_PERCENT * len(members)
        return OnChain(row.submission, row.submitter, row.block, attested_by, is_attested)

    async def get_submissions(self) -> tuple[OnChain, ...]:
        """All submissions, in order of epoch."""
        found = [await self.get_submission(epoch) for epoch in self._file.read_submitted_epochs()]
        return tuple(on_chain for on_chain in found if on_chain is not None)

    async def attest(self, epoch: Epoch) -> None:
        snapshot = self._find_snapshot(epoch)
        with self._write() as block:
            require_current(self.timing, epoch, block)
            author = self._author
            if author is None or snapshot is None or author not in snapshot.roster.roles:
                raise ChainRefused(
                    f"this node is not on the roster of epoch {epoch}",
                    "register it, and it counts from the next one",
                )
            submitter = require_submission(epoch, self._file.read_submitter(epoch))
            attested_by = self._file.read_attestors(epoch)
            require_attestable(epoch, author, submitter=submitter, attested_by=attested_by)
            self._file.add_attestation(epoch, author, block)

    async def close(self) -> None:
        if self._owns_file:
            self._file.close()

    def _get_elected(self, epoch: Epoch) -> PeerId | None:
        snapshot = self._find_snapshot(epoch)
        if snapshot is None:
            return None
        return snapshot.elected

    def _find_snapshot(self, epoch: Epoch) -> Snapshot | None:
        """The snapshot of `epoch`, None while its block has not begun."""
        block = compute_snapshot_block(self.timing, epoch)
        if epoch < 0 or block is None or block > self.get_head().block:
            return None
        if epoch in self._snapshots:
            return self._snapshots[epoch]
        # the lock waits for a registration that is being written and may count from this block
        with self._write():
            members = self._file.read_members(block)
            self._file.fix_block(block)
        roster = Roster(epoch, self._compute_seed(block), members)
        snapshot = Snapshot(roster, _elect(roster))
        keep_newest(self._snapshots, epoch, snapshot)
        return snapshot

    def _compute_wait_seconds(self, epoch: Epoch) -> float:
        """The time until the snapshot block of `epoch`, but at most a block's.

        The first block may be set meanwhile, and clocks are put right.
        """
        block_seconds = self.timing.block_seconds
        block = compute_snapshot_block(self.timing, epoch)
        if block is None:
            return block_seconds
        left_seconds = self.compute_unix_seconds(block) - self._clock.get_unix_seconds()
        return min(block_seconds, max(MIN_WAIT_SECONDS, left_seconds))


def _elect(roster: Roster) -> PeerId | None:
    prefix = roster.seed + ELECTION_DOMAIN
    return min(
        roster.validators, key=lambda author: hashlib.sha256(prefix + author).digest(), default=None
    )
