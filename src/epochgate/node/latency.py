"""How fast a hoster's model answers, as far as it was seen."""

from __future__ import annotations

import statistics
from collections import deque

REMEMBERED_ANSWERS = 5
"""The median of so many forgives one slow answer, and follows a machine that has become slower."""


class LatencyTracker:
    """What the last answers took."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED_ANSWERS)
        self._is_late = False

    def note(self, seconds: float) -> None:
        """An answer that came in time."""
        self._seconds.append(seconds)
        self._is_late = False

    def note_miss(self) -> None:
        """An answer that did not."""
        self._is_late = True

    @property
    def usual_seconds(self) -> float | None:
        """The median of the answers that came; None before the first."""
        if self._seconds:
            return statistics.median(self._seconds)
        return None

    @property
    def throughput(self) -> float:
        """Requests a second that the model has been seen to answer: none before its first answer,
        and after a miss.
        """
        usual_seconds = self.usual_seconds
        if usual_seconds and not self._is_late:
            return 1 / usual_seconds
        return 0.0
