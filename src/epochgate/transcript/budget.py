"""How much of what one sender posts is written down.

Stops "a flood from a peer or an author" from filling the disk, or hiding the others' records.
"""

from __future__ import annotations

from collections import Counter

from epochgate.core.limits import Quota

MAX_REFUSALS_PER_REASON = 64
"""Refusals of one sender in one file, per reason."""
MAX_REFUSED_BYTES = 1 << 20
"""Bytes of refused values of one sender in one file."""


class Budget:
    """One sender's budget for one file. Strangers share one.

    Attributes:
        is_muted: Whether the sender had more records admitted than are written down, so that all
            it posts is only counted.
    """

    def __init__(self) -> None:
        self.is_muted = False
        self._refusals: Counter[str] = Counter()
        self._refused_bytes = 0
        self._admitted = 0
        self._admitted_bytes = 0

    def take_refusal(self, reason: str, size_bytes: int) -> bool:
        """Take what a refusal costs, if it is left.

        Args:
            reason: The refusal's reason.
            size_bytes: The size of the refused value.

        Returns:
            Whether the refusal is to be written.
        """
        if self._refusals[reason] >= MAX_REFUSALS_PER_REASON:
            return False
        if self._refused_bytes + size_bytes > MAX_REFUSED_BYTES:
            return False
        self._refusals[reason] += 1
        self._refused_bytes += size_bytes
        return True

    def take_record(self, size_bytes: int, quota: Quota) -> bool:
        """Take what an admitted record costs.

        Args:
            size_bytes: The size of its value.
            quota: What an author may add in an epoch.

        Returns:
            Whether the record is to be written: the quota is not used up.
        """
        self._admitted += 1
        self._admitted_bytes += size_bytes
        return self._admitted <= quota.entries and self._admitted_bytes <= quota.value_bytes
