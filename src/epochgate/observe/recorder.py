"""The port through which a node says what it decided and from what, so that it can be decided again
later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from epochgate.core.admission import Capacity
from epochgate.core.claim import ShownSet
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.receipt import Proof, Receipt, ReceiptedEntry
from epochgate.core.record import Record
from epochgate.core.record_set import RecordSet, RuleReading
from epochgate.core.schema import EpochContext
from epochgate.core.settlement import HosterOutcome, Settlement
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey
from epochgate.core.verdict import Denied
from epochgate.ports import OnChain

Decided = Literal["submitted", "agreed", "refused", "abstained"]


class Situation(msgspec.Struct, frozen=True):
    """Who judges, by what, and what it knows and holds: all that the verdicts from here on rest on.

    `judge` names the one that stands in for the policy, empty where none does. At an epoch's begin
    what expired of epochs before `oldest_epoch` has just been let go; at a node's start nothing
    has, and it is None.
    """

    node: PeerId
    policy_digest: Hash32
    judge: str
    capacity: Capacity
    epoch: Epoch
    time_seconds: float
    oldest_epoch: Epoch | None
    contexts: Sequence[EpochContext]
    held: Mapping[tuple[RecordKey, PeerId], ReceiptedEntry]


class Decision(msgspec.Struct, frozen=True):
    """How a node decided about the submission of `epoch`: its own, or another node's.

    `attested_list` holds the scores that validators' lists are compared with, None where the
    submission before was not attested. `records` and `settlement` are what the node computed, None
    where it stopped earlier.
    """

    epoch: Epoch
    decided: Decided
    attested_list: tuple[int, ...] | None
    rule_readings: Sequence[RuleReading]
    submission: OnChain | None = None
    shown: ShownSet | None = None
    records: RecordSet | None = None
    settlement: Settlement | None = None
    differences: Sequence[str] = ()


class Recorder(Protocol):
    """The port through which a node tells what it decides. No method waits or raises, since a
    transcript must never harm its node."""

    def note_begun(self, situation: Situation) -> None:
        """The node starts, or begins an epoch."""
        ...

    def note_context(self, context: EpochContext) -> None:
        """An epoch's roster, or its election, has been learnt."""
        ...

    def note_post(
        self,
        sender: PeerId,
        record: Record,
        now: EvaluationContext,
        answer: Receipt | Denied,
        *,
        is_new: bool,
    ) -> None:
        """A record was judged; `is_new` tells a receipt given now from one given before."""
        ...

    def note_turned_away(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, size_bytes: int
    ) -> None:
        """A request was refused before it was read as a record."""
        ...

    def note_put_off(self) -> None:
        """A sender that was refused for its rate sent another request before the time that it was
        told to wait was over.
        """
        ...

    def note_copy(self, proof: Proof, now: EvaluationContext, epoch: Epoch) -> None:
        """A replica that lacked a record, or receipts for it, took what is proven; kept as of
        `epoch`.
        """
        ...

    def note_scores(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        records: RecordSet,
        it: HosterOutcome,
    ) -> None:
        """A validator scored the hosters of `epoch`."""
        ...

    def note_list(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        bitmaps: Sequence[bytes],
        it: HosterOutcome,
    ) -> None:
        """The list attested for `epoch` was computed again, from the records that the attested
        submission named.
        """
        ...

    def note_decision(self, now: EvaluationContext, decision: Decision) -> None: ...


class Unrecorded:
    """Writes nothing down."""

    def note_begun(self, situation: Situation) -> None: ...

    def note_context(self, context: EpochContext) -> None: ...

    def note_post(
        self,
        sender: PeerId,
        record: Record,
        now: EvaluationContext,
        answer: Receipt | Denied,
        *,
        is_new: bool,
    ) -> None: ...

    def note_turned_away(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, size_bytes: int
    ) -> None: ...

    def note_put_off(self) -> None: ...

    def note_copy(self, proof: Proof, now: EvaluationContext, epoch: Epoch) -> None: ...

    def note_scores(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        records: RecordSet,
        it: HosterOutcome,
    ) -> None: ...

    def note_list(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        bitmaps: Sequence[bytes],
        it: HosterOutcome,
    ) -> None: ...

    def note_decision(self, now: EvaluationContext, decision: Decision) -> None: ...
