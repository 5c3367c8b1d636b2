"""The time as a predicate asks for it: on our engine that of the judgement, so that it can be
judged again later.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hivemind.utils import get_dht_time as get_hiveminds_time

_JUDGED_SECONDS: ContextVar[float | None] = ContextVar("epochgate_judged_seconds", default=None)


def get_dht_time() -> float:
    """Unix seconds: the moment's while our engine judges, hivemind's own everywhere else."""
    judged_seconds = _JUDGED_SECONDS.get()
    return float(get_hiveminds_time()) if judged_seconds is None else judged_seconds


@contextmanager
def judging_at(time_seconds: float) -> Iterator[None]:
    token = _JUDGED_SECONDS.set(time_seconds)
    try:
        yield
    finally:
        _JUDGED_SECONDS.reset(token)
