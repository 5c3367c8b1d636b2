"""How much of what is posted is written down: so much a sender, so that nobody's flood fills the
disk or hides the others.
"""

from __future__ import annotations

from collections import Counter

from epochgate.core.limits import Quota

REFUSALS_PER_SENDER = 64
"""Of each reason, in a file."""
REFUSED_BYTES_A_SENDER = 1 << 20
"""Of values in refusals, in a file."""


class Budget:
    """One sender's part of a file; strangers, who are on no roster, share one."""

    def __init__(self) -> None:
        self.is_muted = False
        self._refusals: Counter[str] = Counter()
        self._refused_bytes = 0
        self._admitted = 0
        self._admitted_bytes = 0

    def has_room_for_refusal(self, verdict: str, size_bytes: int) -> bool:
        """Whether it is to be written; it is counted as written then."""
        if (
            self._refusals[verdict] >= REFUSALS_PER_SENDER
            or self._refused_bytes + size_bytes > REFUSED_BYTES_A_SENDER
        ):
            return False
        self._refusals[verdict] += 1
        self._refused_bytes += size_bytes
        return True

    def has_room_for_record(self, size_bytes: int, quota: Quota) -> bool:
        """An admitted one: as many, and as many bytes, as its author may add in an epoch."""
        self._admitted += 1
        self._admitted_bytes += size_bytes
        return self._admitted <= quota.entries and self._admitted_bytes <= quota.value_bytes
