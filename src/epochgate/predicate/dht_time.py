"""The time as a predicate asks for it.

On epochgate's libp2p engine it is that of the judgement, so that a record can be judged again later
with the same verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from hivemind.utils import get_dht_time as get_hiveminds_time

_JUDGED_SECONDS: ContextVar[float | None] = ContextVar("epochgate_judged_seconds", default=None)


def get_dht_time() -> float:
    """Unix seconds: the judgement's while a judge asks a predicate, hivemind's own otherwise."""
    judged_seconds = _JUDGED_SECONDS.get()
    if judged_seconds is None:
        return float(get_hiveminds_time())
    return judged_seconds


@contextmanager
def judging_at(time_seconds: float) -> Iterator[None]:
    """Let `get_dht_time` answer `time_seconds`, Unix seconds, in this context."""
    token = _JUDGED_SECONDS.set(time_seconds)
    try:
        yield
    finally:
        _JUDGED_SECONDS.reset(token)
