"""The rules of an epoch that every chain keeps: when its roster is read, and when it takes a
submission or an attestation.

Pure functions. Each chain reads the facts in its own way, and acts where these do not raise.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from epochgate.core.epoch import Timing
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused

SNAPSHOT_BLOCKS = 5
"""Blocks between the one at which an epoch's roster is read and the epoch's first
(docs/spec.md#5-which-records-count).
"""
MAX_SNAPSHOTS = 8
"""Rosters kept in memory, those of the newest epochs."""

Found = TypeVar("Found")
Kept = TypeVar("Kept")


def check_epoch_number(epoch: Epoch) -> None:
    """Raise ValueError for an epoch below 0."""
    if epoch < 0:
        raise ValueError(f"epochs count from 0, saw {epoch}")


def compute_snapshot_block(timing: Timing, epoch: Epoch) -> BlockNumber | None:
    """Return the block at which the roster of `epoch` is read.

    Epoch 0 is read at its first block, because the subnet has no block before it.

    Args:
        timing: The subnet's time.
        epoch: The epoch, 0 or later.

    Returns:
        The block's number, or None while the subnet has no first block.
    """
    if timing.slot is None:
        return None
    first_block = timing.compute_first_block(epoch)
    if epoch == 0:
        return first_block
    return BlockNumber(first_block - SNAPSHOT_BLOCKS)


def has_begun(timing: Timing, epoch: Epoch, block: BlockNumber) -> bool:
    """Tell whether `epoch` has begun when the head is `block`; an epoch below 0 never begins."""
    if epoch < 0 or timing.slot is None:
        return False
    return block >= timing.compute_first_block(epoch)


def require_current(timing: Timing, epoch: Epoch, block: BlockNumber) -> None:
    """Raise ChainRefused unless `block` lies in `epoch`: a chain acts on the current one alone."""
    if not timing.is_started(block):
        raise ChainRefused(
            f"the subnet has not reached its first block, now is block {block}",
            "wait until its epoch 0 begins",
        )
    current = timing.compute_epoch(block)
    if epoch < current:
        raise ChainRefused(f"epoch {epoch} is over, now is epoch {current}", "go on with that one")
    if epoch > current:
        raise ChainRefused(
            f"epoch {epoch} has not begun",
            f"wait until block {timing.compute_first_block(epoch)}, now is {block}",
        )


def require_submittable(
    epoch: Epoch, author: PeerId | None, *, elected: PeerId | None, is_submitted: bool
) -> PeerId:
    """Raise ChainRefused unless `author` may submit in `epoch`.

    Args:
        epoch: The current epoch.
        author: The node that wants to submit; None for one that only looks.
        elected: The node that the chain elected in `epoch`; None where it elected nobody.
        is_submitted: Whether the chain holds a submission of `epoch` already.

    Returns:
        The author, who is the elected node.
    """
    if author is None or author != elected:
        name = "nobody"
        if elected is not None:
            name = format_peer_id(elected)
        raise ChainRefused(
            f"this node is not elected in epoch {epoch}, {name} is",
            "leave the submission to the elected node and attest",
        )
    if is_submitted:
        raise ChainRefused(
            f"epoch {epoch} has a submission already and takes one only",
            "wait for its attestations",
        )
    return author


def require_submission(epoch: Epoch, submission: Found | None) -> Found:
    """Return what was found of the submission made in `epoch`; raise ChainRefused for None."""
    if submission is None:
        raise ChainRefused(
            f"epoch {epoch} has no submission yet", "wait until the elected node has made it"
        )
    return submission


def require_attestable(
    epoch: Epoch, author: PeerId, *, submitter: PeerId, attested_by: Collection[PeerId]
) -> None:
    """Raise ChainRefused unless `author` may attest the submission made in `epoch`.

    Args:
        epoch: The current epoch.
        author: The node that wants to attest, a member of the roster of `epoch`.
        submitter: The node that submitted in `epoch`.
        attested_by: The nodes that have attested the submission so far.
    """
    if author == submitter:
        raise ChainRefused(
            f"this node submitted in epoch {epoch}, which counts as its attestation",
            "leave attesting to the others",
        )
    if author in attested_by:
        raise ChainRefused(f"this node has attested in epoch {epoch} already: once is enough")


def keep_newest(snapshots: dict[Epoch, Kept], epoch: Epoch, snapshot: Kept) -> None:
    """Keep `snapshot` as that of `epoch`; the oldest epoch makes room beyond MAX_SNAPSHOTS."""
    snapshots[epoch] = snapshot
    if len(snapshots) > MAX_SNAPSHOTS:
        del snapshots[min(snapshots)]
