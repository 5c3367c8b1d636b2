"""Timing two things side by side: rounds alternate, so that what else the machine does falls on
both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One line of the report: what was compared, the ratio or figure seen, and what was
    aimed at.
    """

    what: str
    seen: str
    aim: str
    is_met: bool | None = None


def time_alternately(*works: Callable[[], object], number: int) -> tuple[float, ...]:
    """Seconds a call of each of `works`, the best of several alternating rounds of `number`
    calls.
    """
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for index, work in enumerate(works):
            start = time.perf_counter()
            for _ in range(number):
                work()
            best[index] = min(best[index], (time.perf_counter() - start) / number)
    return tuple(best)
