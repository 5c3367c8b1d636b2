"""What the replay of one file has found."""

from __future__ import annotations

from collections import Counter

import msgspec

from epochgate.core.types import Epoch
from epochgate.transcript.lines import DecisionMade, Scored
from epochgate.transcript.parts import Context
from epochgate.transcript.reader import Place


class EpochReplay(msgspec.Struct):
    """The replay of an epoch's file.

    Attributes:
        epoch: The epoch.
        counts: How often each verdict was reached.
        contexts: The epochs that the file knows, by their numbers.
        scored: The scores that the node, a validator, has computed.
        decision: What it decided about the submission made in the epoch.
        differences: What was recomputed otherwise than it was written, as messages.
        gaps: What is missing and may be, as messages: a torn line, or a record that a node stored
            and was killed before it could write down.
    """

    epoch: Epoch
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    contexts: dict[Epoch, Context] = msgspec.field(default_factory=dict)
    scored: Scored | None = None
    decision: DecisionMade | None = None
    differences: list[str] = msgspec.field(default_factory=list)
    gaps: list[str] = msgspec.field(default_factory=list)

    def add_difference(self, place: Place, message: str) -> None:
        """Add a difference that was found at a line."""
        self.differences.append(f"{place}: {message}")

    def add_gap(self, place: Place, message: str) -> None:
        """Add a gap that was found at a line."""
        self.gaps.append(f"{place}: {message}")
