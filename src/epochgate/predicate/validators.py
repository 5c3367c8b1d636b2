"""Predicates as hivemind record validators: each keeps why it refused, and an exception in it is a
refusal.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import math
from collections import Counter, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np
from hivemind.dht.validation import DHTRecord, RecordValidatorBase

from epochgate.core.epoch import EpochData
from epochgate.core.verdict import Denied, Reason

MAX_REFUSALS = 100
MAX_REASON_CHARACTERS = 200


class DHTRequestType(enum.Enum):
    """GET is a reply that we read; POST is a request to store, a node's own store on its own
    replica too.
    """

    GET = "get"
    POST = "post"


READING_TASK: ContextVar[asyncio.Task[Any] | None] = ContextVar(
    "epochgate_reading_task", default=None
)
"""The task that reads a reply. Tasks inherit the contexts of those that start them, and a task that
serves a store may have been started by one that reads; it is another task, so it is none that
reads.
"""


def get_request_type() -> DHTRequestType:
    """POST, the stricter, unless this very task was marked as reading
    (`hivemind_dht.mark_reads`).
    """
    try:
        task = asyncio.current_task()
    except (
        RuntimeError
    ):  # a thread without an event loop, which may have copied the context of one that reads
        return DHTRequestType.POST
    return (
        DHTRequestType.GET
        if task is not None and task is READING_TASK.get()
        else DHTRequestType.POST
    )


class PredicateValidator(RecordValidatorBase):  # type: ignore[misc]  # hivemind has no types
    """Asks `predicate(record) -> bool`.

    `refusals` holds the last MAX_REFUSALS refusals as `Denied`, oldest first, and `counts` all of
    them by reason, in the process that validates: `hivemind.DHT` is one of its own. hivemind merges
    two validators into one only if they agree to it; these never do, so each is asked.
    """

    def __init__(self, predicate: Callable[..., bool]) -> None:
        self.predicate = predicate
        self.name = _get_name(predicate)
        self.refusals: deque[Denied] = deque(maxlen=MAX_REFUSALS)
        self.counts: Counter[Reason] = Counter()

    @property
    def priority(self) -> int:
        """Below hivemind's signature validators (10), which check and strip the signature before a
        predicate sees the value.
        """
        return 0

    def validate(self, record: DHTRecord) -> bool:
        denied = self.find_refusal(record, get_request_type(), None)
        if denied is not None:
            self.refusals.append(denied)
            self.counts[denied.reason] += 1
        return denied is None

    def find_refusal(
        self, record: DHTRecord, request_type: DHTRequestType, data: EpochData | None
    ) -> Denied | None:
        """None when the predicate accepts. Never raises, and remembers nothing."""
        if not math.isfinite(
            record.expiration_time
        ):  # NaN passes every comparison that a predicate makes with it
            return Denied(Reason.EXPIRY, self.name, "a finite time", record.expiration_time)
        try:
            answer = self._ask(record, request_type, data)
        except Exception as error:  # noqa: BLE001 - whatever a predicate raises is a refusal, never a crash
            return Denied(
                Reason.PREDICATE_ERROR,
                self.name,
                "True or False",
                repr(error)[:MAX_REASON_CHARACTERS],
            )
        if isinstance(answer, (bool, np.bool_)):
            return (
                None
                if answer
                else Denied(
                    Reason.PREDICATE, self.name, "a record that the predicate accepts", record.key
                )
            )
        if inspect.iscoroutine(
            answer
        ):  # it is truthy, so an async predicate would admit everything
            answer.close()
        return Denied(Reason.PREDICATE_ERROR, self.name, "True or False", type(answer).__name__)

    def _ask(
        self, record: DHTRecord, _request_type: DHTRequestType, _data: EpochData | None
    ) -> object:
        return self.predicate(record)


class HypertensorPredicateValidator(PredicateValidator):
    """Asks `predicate(record, type, epoch_data) -> bool`.

    `get_epoch_data` gives the epoch data of now and never waits: a cached head moved on by local
    time. On our engine the judge brings the moment's own, and it may be left out.
    """

    def __init__(
        self,
        predicate: Callable[[DHTRecord, DHTRequestType, EpochData], bool],
        get_epoch_data: Callable[[], EpochData] | None = None,
    ) -> None:
        super().__init__(predicate)
        self._get_epoch_data = get_epoch_data

    def _ask(
        self, record: DHTRecord, request_type: DHTRequestType, data: EpochData | None
    ) -> object:
        if data is None:
            if self._get_epoch_data is None:
                raise LookupError(
                    "no epoch data: give HypertensorPredicateValidator a get_epoch_data outside our"
                    " engine"
                )
            data = self._get_epoch_data()
        return self.predicate(record, request_type, data)


def _get_name(predicate: Callable[..., bool]) -> str:
    name = getattr(predicate, "__qualname__", type(predicate).__qualname__)
    return name.replace(".<locals>", "")
