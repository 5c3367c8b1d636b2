"""The port through which a node says what it decided and from what, so that it can be decided again
later.

`transcript/writer.py` implements it with files. Another implementation may derive from
`NullRecorder` and note what it needs.
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
"""What a node did about a submission: made it, attested it, refused to, or could not judge it."""


class Situation(msgspec.Struct, frozen=True):
    """All that the verdicts of a node rest on, when it starts or begins an epoch.

    Attributes:
        node: Its peer id.
        policy_digest: SHA-256 of its policy.
        judge: The class of the judge that stands in for the policy; empty where none does.
        capacity: The limits of its storage.
        epoch: The epoch.
        time_seconds: Unix time.
        oldest_epoch: The oldest epoch that is still needed: expired records of older ones have just
            been deleted. None at a node's start, where nothing has.
        contexts: The epochs that it knows, with rosters and elections.
        held: The entries that it stores, by key and author.
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
    """What a node decided about a submission, its own or another's.

    Attributes:
        epoch: The epoch in which the submission was made.
        decided: The decision.
        attested_list: The scores by which validators' lists are judged, one per hoster; None where
            the submission before was not attested.
        rule_readings: What it has read of the deciding keys.
        submission: The submission on the chain.
        shown: The set that the submitter served; None where it was not asked.
        records: The set that the node computed; None where it did not come so far.
        settlement: The scores and pay that it computed from it; None likewise.
        differences: Why it refused or abstained, as messages for people.
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
    """Notes what a node decides. A recorder never harms its node: no method waits or raises.

    All are called in the node's event loop, in the order in which things happen.
    """

    def note_epoch_started(self, situation: Situation) -> None:
        """Note that the node starts, or begins an epoch.

        Args:
            situation: All that the verdicts from here on rest on.
        """
        ...

    def note_context(self, context: EpochContext) -> None:
        """Note that an epoch's roster, or its election, came from the chain.

        Args:
            context: The epoch. It may be the same as before.
        """
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
        """Note that a record was judged.

        Args:
            sender: The authenticated peer that sent it.
            record: The record.
            now: The moment of the judgement.
            answer: The receipt or the refusal that was sent back.
            is_new: Whether the record was stored now. A receipt that was given before is not new.
        """
        ...

    def note_request_rejected(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, size_bytes: int
    ) -> None:
        """Note that a request was refused before it was read as a record.

        Args:
            sender: The authenticated peer that sent it.
            now: The moment.
            denied: The refusal.
            size_bytes: The length of the request.
        """
        ...

    def note_request_deferred(self) -> None:
        """Note that a sender which was told to wait did not, and was refused for its rate again."""
        ...

    def note_copy(self, proof: Proof, now: EvaluationContext, epoch: Epoch) -> None:
        """Note that repair has copied a record, or receipts for one that is stored.

        Args:
            proof: The record, with the receipts that prove it.
            now: The moment.
            epoch: The epoch as of which it is stored.
        """
        ...

    def note_scores(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        records: RecordSet,
        outcome: HosterOutcome,
    ) -> None:
        """Note that the node, a validator, has scored an epoch's hosters.

        Args:
            now: The moment.
            epoch: The epoch.
            rule_readings: What it has read of the deciding keys.
            records: The set that it computed from them.
            outcome: The scores that follow.
        """
        ...

    def note_score_list(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        bitmaps: Sequence[bytes],
        outcome: HosterOutcome,
    ) -> None:
        """Note that the score list of an attested set was recomputed.

        Args:
            now: The moment.
            epoch: The epoch that the list is about.
            rule_readings: What the node has read of the keys that the bitmaps stand for.
            bitmaps: The authors in the set, as the attested submission names them: a bitmap over
                the roster per reading.
            outcome: The scores that follow.
        """
        ...

    def note_decision(self, now: EvaluationContext, decision: Decision) -> None:
        """Note what the node decided about a submission.

        Args:
            now: The moment.
            decision: The decision, and all that it rests on.
        """
        ...


class NullRecorder:
    """A recorder that notes nothing."""

    def note_epoch_started(self, situation: Situation) -> None:
        """Do nothing."""

    def note_context(self, context: EpochContext) -> None:
        """Do nothing."""

    def note_post(
        self,
        sender: PeerId,
        record: Record,
        now: EvaluationContext,
        answer: Receipt | Denied,
        *,
        is_new: bool,
    ) -> None:
        """Do nothing."""

    def note_request_rejected(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, size_bytes: int
    ) -> None:
        """Do nothing."""

    def note_request_deferred(self) -> None:
        """Do nothing."""

    def note_copy(self, proof: Proof, now: EvaluationContext, epoch: Epoch) -> None:
        """Do nothing."""

    def note_scores(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        records: RecordSet,
        outcome: HosterOutcome,
    ) -> None:
        """Do nothing."""

    def note_score_list(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        bitmaps: Sequence[bytes],
        outcome: HosterOutcome,
    ) -> None:
        """Do nothing."""

    def note_decision(self, now: EvaluationContext, decision: Decision) -> None:
        """Do nothing."""
