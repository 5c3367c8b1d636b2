"""Predicates as hivemind record validators: each remembers why it refused, and an exception in it
is a refusal.
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
    """GET is a reply that this node reads. POST is a request to store, also the node's own."""

    GET = "get"
    POST = "post"


READING_TASK: ContextVar[asyncio.Task[Any] | None] = ContextVar(
    "epochgate_reading_task", default=None
)
"""The task that reads a reply.

A task inherits the context of the one that starts it, and a task that serves a store may have been
started by one that reads. It is another task than the one named here, so it does not read.
"""


def get_request_type() -> DHTRequestType:
    """Whether this very task was marked as reading (`hivemind_dht.mark_reads`).

    Where nobody says so it is POST, the stricter.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        # a thread without an event loop, which may have copied the context of a task that reads
        return DHTRequestType.POST
    if task is not None and task is READING_TASK.get():
        return DHTRequestType.GET
    return DHTRequestType.POST


class PredicateValidator(RecordValidatorBase):  # type: ignore[misc]  # hivemind has no types
    """A record validator that asks `predicate(record) -> bool`.

    `refusals` holds the last MAX_REFUSALS refusals, oldest first, and `counts` the number of all of
    them by reason. Both are in the process that validates, and a `hivemind.DHT` has one of its own.

    hivemind merges two validators into one only if they agree to it. These never do, so each is
    asked.

    Example:
        >>> def is_small(record):
        ...     return len(record.value) < 10
        >>> validator = PredicateValidator(is_small)
        >>> validator.validate(DHTRecord(bytes(20), b"", b"a long value", 1_700_000_000.0))
        False
        >>> print(validator.refusals[0].reason.name)
        PREDICATE
    """

    def __init__(self, predicate: Callable[[DHTRecord], bool]) -> None:
        """Take a predicate.

        Args:
            predicate: Called with each record; True accepts it. An exception, or an answer that is
                not a bool, refuses it.
        """
        self.predicate: Callable[..., bool] = predicate
        self.name = _get_name(predicate)
        self.refusals: deque[Denied] = deque(maxlen=MAX_REFUSALS)
        self.counts: Counter[Reason] = Counter()

    @property
    def priority(self) -> int:
        """Below hivemind's signature validators (10).

        They check the signature and remove it, before a predicate gets the value.
        """
        return 0

    def validate(self, record: DHTRecord) -> bool:
        """Whether the predicate accepts a record, as hivemind asks. Never raises."""
        denied = self.find_refusal(record, get_request_type(), None)
        if denied is not None:
            self.refusals.append(denied)
            self.counts[denied.reason] += 1
        return denied is None

    def find_refusal(
        self, record: DHTRecord, request_type: DHTRequestType, data: EpochData | None
    ) -> Denied | None:
        """Ask the predicate, and remember nothing. Never raises.

        Args:
            record: The record.
            request_type: Whether it is read or stored.
            data: The epoch data of the judgement; None where hivemind asks.

        Returns:
            None where the predicate accepts the record, and otherwise why not.
        """
        if not math.isfinite(record.expiration_time):
            # NaN passes every comparison that a predicate makes with it
            return Denied(Reason.EXPIRY, self.name, "a finite time", record.expiration_time)
        try:
            answer = self._ask(record, request_type, data)
        except Exception as error:  # noqa: BLE001 - whatever it raises is a refusal
            return self._deny_answer(repr(error)[:MAX_REASON_CHARACTERS])
        if inspect.iscoroutine(answer):
            # it is truthy, so an async predicate would admit everything
            answer.close()
        if not isinstance(answer, bool | np.bool_):
            return self._deny_answer(type(answer).__name__)
        if not answer:
            expected = "a record that the predicate accepts"
            return Denied(Reason.PREDICATE, self.name, expected, record.key)
        return None

    def _ask(
        self, record: DHTRecord, _request_type: DHTRequestType, _data: EpochData | None
    ) -> object:
        return self.predicate(record)

    def _deny_answer(self, observed: str) -> Denied:
        return Denied(Reason.PREDICATE_ERROR, self.name, "True or False", observed)


class HypertensorPredicateValidator(PredicateValidator):
    """A record validator that asks `predicate(record, request_type, epoch_data) -> bool`.

    Example:
        >>> def is_early(record, request_type, epoch_data):
        ...     return request_type is DHTRequestType.GET or epoch_data.percent_complete < 0.5
        >>> validator = HypertensorPredicateValidator(is_early)
        >>> validator.name
        'is_early'
    """

    def __init__(
        self,
        predicate: Callable[[DHTRecord, DHTRequestType, EpochData], bool],
        get_epoch_data: Callable[[], EpochData] | None = None,
    ) -> None:
        """Take a predicate.

        Args:
            predicate: Called with each record, with whether it is read or stored, and with the
                epoch data. True accepts it; an exception, or an answer that is not a bool, refuses
                it.
            get_epoch_data: Gives the present epoch data and never waits: it moves a cached head on
                by local time. None on epochgate's libp2p engine, where the judge brings that of the
                judgement.
        """
        super().__init__(predicate)  # type: ignore[arg-type] # only `_ask` calls it, with all three
        self._get_epoch_data = get_epoch_data

    def _ask(
        self, record: DHTRecord, request_type: DHTRequestType, data: EpochData | None
    ) -> object:
        if data is None:
            if self._get_epoch_data is None:
                raise LookupError(
                    "no epoch data: give HypertensorPredicateValidator a get_epoch_data outside"
                    " epochgate's libp2p engine"
                )
            data = self._get_epoch_data()
        return self.predicate(record, request_type, data)


def _get_name(predicate: Callable[..., bool]) -> str:
    name = getattr(predicate, "__qualname__", type(predicate).__qualname__)
    return name.replace(".<locals>", "")
