"""Compares the replays of two nodes' transcripts: do they give the same scores, sets and pay?"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from epochgate.core.types import Hash32
from epochgate.keys import format_peer_id
from epochgate.transcript.epoch_replay import EpochReplay
from epochgate.transcript.parts import Context, Pairs, Set, Settled


def compute_scores_digest(scores: Pairs) -> Hash32:
    """Compute a digest by which people compare scores.

    Args:
        scores: A score per peer, in order of peer id.

    Returns:
        SHA-256 over peer id and score (eight bytes, big-endian), end to end.
    """
    rows = (author + struct.pack(">Q", score) for author, score in scores)
    return Hash32(hashlib.sha256(b"".join(rows)).digest())


def compare_epochs(ours: EpochReplay, theirs: EpochReplay) -> Iterator[str]:
    """Compare what two transcripts say of one epoch.

    Args:
        ours: The replay of one node's file.
        theirs: That of the other's.

    Yields:
        The differences, as messages. What only one of them has is not compared.
    """
    for epoch in sorted(ours.contexts.keys() & theirs.contexts.keys()):
        if not _is_same_roster(ours.contexts[epoch], theirs.contexts[epoch]):
            yield f"the rosters of epoch {epoch}"
    if ours.scored is not None and theirs.scored is not None:
        yield from _compare(
            f"of epoch {ours.epoch}",
            (ours.scored.set, ours.scored.outcome.scores),
            (theirs.scored.set, theirs.scored.outcome.scores),
        )
    our_settled = _get_settled(ours)
    their_settled = _get_settled(theirs)
    if our_settled is not None and their_settled is not None:
        yield from _compare(
            f"of the submission made in epoch {ours.epoch}",
            (our_settled.set, our_settled.pay),
            (their_settled.set, their_settled.pay),
        )


def _get_settled(replay: EpochReplay) -> Settled | None:
    if replay.decision is None:
        return None
    return replay.decision.settled


def _is_same_roster(ours: Context, theirs: Context) -> bool:
    """A context that was read before the subnet had a first block has another timing, and is not
    compared.
    """
    if ours.timing != theirs.timing:
        return True
    return ours.seed == theirs.seed and ours.members == theirs.members


def _compare(what: str, ours: tuple[Set, Pairs], theirs: tuple[Set, Pairs]) -> Iterator[str]:
    our_set, our_pairs = ours
    their_set, their_pairs = theirs
    if our_set.root != their_set.root:
        yield f"the root {what}: {our_set.root} and {their_set.root}"
    our_scores = dict(our_pairs)
    their_scores = dict(their_pairs)
    for author in sorted(our_scores.keys() | their_scores.keys()):
        our_score = our_scores.get(author)
        their_score = their_scores.get(author)
        if our_score != their_score:
            yield (f"the score {what} for {format_peer_id(author)}: {our_score} and {their_score}")
