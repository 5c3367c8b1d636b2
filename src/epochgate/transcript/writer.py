"""Writes a node's transcript. Whatever happens to it, the node goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from epochgate._version import __version__
from epochgate.core.admission import find_own_receipt
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.limits import Quota
from epochgate.core.receipt import Proof, Receipt, RecordId, compute_record_id
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.record_set import KeyReading, RecordSet, RuleReading
from epochgate.core.schema import EpochContext
from epochgate.core.settlement import HosterOutcome
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey
from epochgate.core.verdict import Denied, Reason
from epochgate.observe.events import Emit, NodeWarning
from epochgate.observe.recorder import Decision, Situation
from epochgate.transcript import lines
from epochgate.transcript.budget import Budget
from epochgate.transcript.files import LineFile
from epochgate.transcript.lines import ADMITTED, REPEATED, AnyLine, Pairs, encode_line

KEPT_EPOCHS = 16
_STRANGERS = b""
_RATE = Reason.RATE.value
_FULL = "free disk space: the transcript goes on with the next epoch"


class TranscriptWriter:
    """A recorder that writes to `folder`. `policy_name` is how the node was given its policy, as
    module:NAME.
    """

    def __init__(
        self, folder: Path, policy_name: str, emit: Emit, *, kept_epochs: int = KEPT_EPOCHS
    ) -> None:
        self._file = LineFile(folder, kept_epochs)
        self._policy_name = policy_name
        self._emit = emit
        self._node = b""
        self._quota = Quota(0, 0)
        self._members: frozenset[PeerId] = frozenset()
        self._contexts: dict[int, lines.Context] = {}
        self._budgets: dict[PeerId, Budget] = {}
        self._uncounted: Counter[str] = Counter()
        self._values: set[bytes] = set()
        self._proofs: dict[RecordId, tuple[Receipt, ...]] = {}
        self._lost = 0
        self._is_broken = True

    def close(self) -> None:
        """Write what was counted; the node has stopped."""
        self._write_counts()
        self._file.close()

    def note_begun(self, situation: Situation) -> None:
        self._write_counts()
        if self._is_broken or situation.epoch != self._file.epoch:
            self._values.clear()
            self._proofs.clear()
        self._budgets.clear()
        self._node = situation.node
        self._quota = situation.capacity.limits.author
        self._contexts.clear()
        self._members = frozenset()
        contexts = tuple(map(self._remember, situation.contexts))
        held = tuple(
            lines.HeldRecord(
                *place,
                it.value_digest,
                it.expiration_time,
                it.epoch,
                it.value_bytes,
                find_own_receipt(self._node, it.receipts),
            )
            for place, it in situation.held.items()
        )
        begun = lines.EpochStarted(
            format=lines.FORMAT,
            why="start" if situation.oldest_epoch is None else "epoch",
            epoch=situation.epoch,
            time_seconds=situation.time_seconds,
            node=situation.node,
            version=__version__,
            policy=self._policy_name,
            policy_digest=situation.policy_digest.hex(),
            judge=situation.judge,
            max_value_bytes=situation.capacity.value_bytes,
            contexts=contexts,
            held=held,
            oldest_epoch=situation.oldest_epoch,
            lost=self._lost,
        )
        self._begin(begun)

    def note_context(self, context: EpochContext) -> None:
        before = self._contexts.get(context.epoch)
        line = self._remember(context)
        if line != before:  # before the subnet starts, the roster is looked at again and again
            self._write(lines.ContextLearned(line))

    def note_post(
        self,
        sender: PeerId,
        record: Record,
        now: EvaluationContext,
        answer: Receipt | Denied,
        *,
        is_new: bool,
    ) -> None:
        budget = self._get_budget(sender)
        size = len(record.value)
        if isinstance(answer, Denied):
            verdict = answer.reason.value
        elif is_new:
            verdict = ADMITTED
        else:
            verdict = REPEATED
        if (
            verdict == ADMITTED
            and not budget.is_muted
            and not budget.has_room_for_record(size, self._quota)
        ):
            budget.is_muted = True
            self._write(lines.SenderMuted(sender))
        if budget.is_muted or (
            verdict != ADMITTED and not budget.has_room_for_refusal(verdict, size)
        ):
            self._count(verdict)
            return
        digest = compute_value_digest(record.value)
        line = lines.Posted(
            block=now.block,
            time_seconds=now.time_seconds,
            sender=sender,
            key=record.key,
            author=record.author,
            value_digest=digest,
            expiration_time=lines.write_seconds(record.expiration_time),
            verdict=verdict,
            value=self._take_value(digest, record),
            receipt=answer if isinstance(answer, Receipt) else None,
            reasons=lines.Reasons.from_denied(answer) if isinstance(answer, Denied) else None,
            is_stale=now.is_stale,
        )
        self._write(line)

    def note_turned_away(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, size_bytes: int
    ) -> None:
        budget = self._get_budget(PeerId(sender if sender in self._members else _STRANGERS))
        verdict = denied.reason.value
        if budget.is_muted or not budget.has_room_for_refusal(verdict, 0):
            self._count(verdict)
            return
        reasons = lines.Reasons.from_denied(denied)
        self._write(
            lines.RequestRejected(now.block, now.time_seconds, sender, size_bytes, verdict, reasons)
        )

    def note_put_off(self) -> None:
        self._count(_RATE)

    def note_copy(self, proof: Proof, now: EvaluationContext, epoch: Epoch) -> None:
        record_id = self._write_proof(proof)
        self._write(
            lines.Copied(
                now.block,
                now.time_seconds,
                record_id.key,
                record_id.author,
                record_id.value_digest,
                epoch,
            )
        )

    def note_scores(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        records: RecordSet,
        it: HosterOutcome,
    ) -> None:
        read = self._write_sections(rule_readings)
        self._write(
            lines.Scored(
                epoch,
                now.block,
                now.time_seconds,
                read,
                _write_set(records.bitmaps, records.root),
                _write_outcome(it),
            )
        )

    def note_list(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        bitmaps: Sequence[bytes],
        it: HosterOutcome,
    ) -> None:
        read = self._write_sections(rule_readings)
        named = tuple(bitmap.hex() for bitmap in bitmaps)
        self._write(
            lines.ScoreListRebuilt(
                epoch, now.block, now.time_seconds, read, named, _write_outcome(it)
            )
        )

    def note_decision(self, now: EvaluationContext, decision: Decision) -> None:
        read = self._write_sections(decision.rule_readings)
        if decision.shown:
            shown = tuple(map(self._write_reading, decision.shown.readings))
        else:
            shown = ()
        self._write(
            lines.DecisionMade(
                epoch=decision.epoch,
                block=now.block,
                time_seconds=now.time_seconds,
                decided=decision.decided,
                attested_list=decision.attested_list,
                rule_readings=read,
                on_chain=_write_on_chain(decision),
                settled=_write_settled(decision),
                shown=shown,
                evidence=decision.shown.evidence if decision.shown else (),
                differences=tuple(decision.differences),
            )
        )

    def _remember(self, context: EpochContext) -> lines.Context:
        line = self._contexts[context.epoch] = lines.Context.from_core(context)
        self._members = self._members | context.roster.roles.keys()
        return line

    def _get_budget(self, sender: PeerId) -> Budget:
        budget = self._budgets.get(sender)
        if budget is None:
            budget = self._budgets[sender] = Budget()
        return budget

    def _count(self, verdict: str) -> None:
        """Written at every doubling, so that a node that is killed has told of more than half."""
        self._uncounted[verdict] += 1
        count = self._uncounted[verdict]
        if count & (count - 1) == 0:
            self._write(lines.Counted(verdict, count))

    def _write_counts(self) -> None:
        for verdict, count in sorted(self._uncounted.items()):
            if count & (count - 1):
                self._write(lines.Counted(verdict, count))
        self._uncounted.clear()

    def _take_value(self, digest: Hash32, record: Record) -> bytes | None:
        """The value where this file lacks it."""
        if digest in self._values:
            return None
        self._values.add(digest)
        return record.value

    def _write_proof(self, proof: Proof) -> RecordId:
        """A `proven` line, unless the file has the very same already."""
        record_id = compute_record_id(proof.record)
        record = proof.record
        if self._proofs.get(record_id) != proof.receipts:
            self._proofs[record_id] = proof.receipts
            value = self._take_value(record_id.value_digest, record)
            self._write(
                lines.Proven(*_get_fields(record_id), record.expiration_time, proof.receipts, value)
            )
        return record_id

    def _write_sections(
        self, rule_readings: Iterable[RuleReading]
    ) -> tuple[lines.SectionRead, ...]:
        return tuple(
            lines.SectionRead(
                rule_reading.rule.kind,
                rule_reading.epoch,
                tuple(map(self._write_reading, rule_reading.readings)),
            )
            for rule_reading in rule_readings
        )

    def _write_reading(self, reading: KeyReading) -> lines.Reading:
        record_ids = [self._write_proof(proof) for proof in reading.proofs.values()]
        unverified = tuple(
            (record_id.author, record_id.value_digest, tuple(sorted(signers)))
            for record_id, signers in reading.signers.items()
            if record_id not in reading.proofs
        )
        proven = tuple((record_id.author, record_id.value_digest) for record_id in record_ids)
        return lines.Reading(
            reading.key_rule.key, tuple(sorted(reading.answered)), proven, unverified
        )

    def _begin(self, begun: lines.EpochStarted) -> None:
        try:
            if self._is_broken or self._file.epoch != begun.epoch:
                self._file.open(begun.epoch)
            self._file.append(encode_line(begun))
        except OSError as error:
            self._break(error)
        else:
            self._is_broken = False
            self._lost = 0

    def _write(self, line: AnyLine) -> None:
        if self._is_broken:
            self._lost += bool(
                self._node
            )  # what comes before the node has begun stands in its first line
            return
        try:
            self._file.append(encode_line(line))
        except (
            OSError,
            ValueError,
            msgspec.MsgspecError,
        ) as error:  # words of strangers may be no text at all
            self._break(error)

    def _break(self, error: Exception) -> None:
        """Nothing more until an epoch begins, for what follows would rest on what is missing. Said
        once.
        """
        self._lost += 1
        if not self._is_broken or self._lost == 1:
            self._emit(NodeWarning("transcript", f"{type(error).__name__}: {error}", _FULL))
        self._is_broken = True


def _get_fields(record_id: RecordId) -> tuple[RecordKey, PeerId, Hash32]:
    return record_id.key, record_id.author, record_id.value_digest


def _write_pairs(scores: Mapping[PeerId, int]) -> Pairs:
    return tuple(sorted(scores.items()))


def _write_set(bitmaps: Sequence[bytes], root: Hash32) -> lines.Set:
    return lines.Set(tuple(bitmap.hex() for bitmap in bitmaps), root.hex())


def _write_outcome(it: HosterOutcome) -> lines.Outcome:
    return lines.Outcome(
        _write_pairs(it.scores), it.score_list, it.committed, it.opened, it.challenge_digest
    )


def _write_on_chain(decision: Decision) -> lines.OnChain | None:
    if decision.submission is None:
        return None
    made = decision.submission.submission
    named = _write_set(made.bitmaps, made.root)
    return lines.OnChain(
        decision.submission.submitter, decision.submission.block, _write_pairs(made.scores), named
    )


def _write_settled(decision: Decision) -> lines.Settled | None:
    records = decision.records
    settlement = decision.settlement
    if records is None or settlement is None:
        return None
    outcome = _write_outcome(settlement.outcome)
    weights = _write_pairs(settlement.list_weights)
    return lines.Settled(
        _write_set(records.bitmaps, records.root), outcome, weights, _write_pairs(settlement.pay)
    )
