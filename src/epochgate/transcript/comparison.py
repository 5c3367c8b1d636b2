"""Do two nodes' replays agree? Their scores, sets and decisions of an epoch, side by side."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from epochgate.core.types import Hash32
from epochgate.keys import format_peer_id
from epochgate.transcript import lines
from epochgate.transcript.lines import Pairs
from epochgate.transcript.replay import EpochReplay


def compute_scores_digest(scores: Pairs) -> Hash32:
    """SHA-256 over author and score (eight bytes, big-endian), end to end, in order of author."""
    return Hash32(
        hashlib.sha256(
            b"".join(author + struct.pack(">Q", score) for author, score in scores)
        ).digest()
    )


def compare_epochs(ours: EpochReplay, theirs: EpochReplay) -> Iterator[str]:
    """Where two nodes' transcripts of an epoch do not give the same; nothing where one of them says
    nothing.
    """
    for epoch in sorted(ours.contexts.keys() & theirs.contexts.keys()):
        mine = ours.contexts[epoch]
        yours = theirs.contexts[epoch]
        if mine.timing == yours.timing and (mine.seed, mine.members) != (yours.seed, yours.members):
            yield f"the rosters of epoch {epoch}"
    if ours.scored and theirs.scored:
        one = ours.scored
        other = theirs.scored
        yield from _compare(
            f"of epoch {ours.epoch}", one.set, other.set, one.outcome.scores, other.outcome.scores
        )
    if ours.decision and theirs.decision and ours.decision.settled and theirs.decision.settled:
        made = ours.decision.settled
        again = theirs.decision.settled
        yield from _compare(
            f"of the submission made in epoch {ours.epoch}",
            made.set,
            again.set,
            made.pay,
            again.pay,
        )


def _compare(
    what: str, one: lines.Set, other: lines.Set, ours: Pairs, theirs: Pairs
) -> Iterator[str]:
    if one.root != other.root:
        yield f"the root {what}: {one.root} and {other.root}"
    first = dict(ours)
    second = dict(theirs)
    for author in sorted(first.keys() | second.keys()):
        if first.get(author) != second.get(author):
            yield (
                f"the score {what} for {format_peer_id(author)}: {first.get(author)} and"
                f" {second.get(author)}"
            )
