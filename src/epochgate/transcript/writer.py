"""Writes a node's transcript. An error in it never reaches the node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from epochgate._version import __version__
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.limits import Quota
from epochgate.core.receipt import Proof, Receipt, RecordId, compute_record_id
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.record_set import KeyReading, RecordSet, RuleReading
from epochgate.core.schema import EpochContext
from epochgate.core.settlement import HosterOutcome
from epochgate.core.types import NOBODY, Epoch, Hash32, PeerId
from epochgate.core.verdict import Denied, Reason
from epochgate.observe.events import Emit, NodeWarning
from epochgate.observe.recorder import Decision, Situation
from epochgate.transcript import lines, parts
from epochgate.transcript.budget import Budget
from epochgate.transcript.files import LineFile
from epochgate.transcript.lines import ADMITTED, REPEATED, AnyLine, encode_line

KEPT_EPOCHS = 16
_STRANGERS = NOBODY
"""The sender under which the budget of all strangers stands."""
_RATE = Reason.RATE.value
_ADVICE = "free disk space: the transcript goes on with the next epoch"


class TranscriptWriter:
    """The recorder that writes a transcript (`observe/recorder.py` has the port).

    Args:
        folder: The transcript's folder, which is made where there is none.
        policy_name: How the node was given its policy, as module:NAME.
        emit: Takes a warning when the disk does not take a line.
        kept_epochs: How many epochs' files are kept.
    """

    def __init__(
        self, folder: Path, policy_name: str, emit: Emit, *, kept_epochs: int = KEPT_EPOCHS
    ) -> None:
        self._file = LineFile(folder, kept_epochs)
        self._policy_name = policy_name
        self._emit = emit
        self._node = NOBODY
        self._quota = Quota(0, 0)
        self._members: frozenset[PeerId] = frozenset()
        self._contexts: dict[Epoch, parts.Context] = {}
        self._budgets: dict[PeerId, Budget] = {}
        self._uncounted: Counter[str] = Counter()
        """How many verdicts were counted in this file instead of being written."""
        self._values: set[Hash32] = set()
        """The digests of the values that stand in this file."""
        self._proofs: dict[RecordId, tuple[Receipt, ...]] = {}
        """The receipts that stand in this file."""
        self._lost = 0
        self._is_broken = True
        """Whether nothing is written until an epoch begins."""

    def close(self) -> None:
        """Write what was counted, and close the file. The node has stopped."""
        self._write_counts()
        self._file.close()

    def note_epoch_started(self, situation: Situation) -> None:
        """Begin a file, or go on with the epoch's file after a restart."""
        self._write_counts()
        if self._is_broken or situation.epoch != self._file.epoch:
            self._values.clear()
            self._proofs.clear()
        self._budgets.clear()
        self._node = situation.node
        self._quota = situation.capacity.limits.author
        self._contexts.clear()
        self._members = frozenset()
        why: lines.Why = "epoch"
        if situation.oldest_epoch is None:
            why = "start"
        line = lines.EpochStarted(
            format=lines.FORMAT,
            why=why,
            epoch=situation.epoch,
            time_seconds=situation.time_seconds,
            node=situation.node,
            version=__version__,
            policy=self._policy_name,
            policy_digest=situation.policy_digest.hex(),
            judge=situation.judge,
            max_value_bytes=situation.capacity.value_bytes,
            contexts=tuple(map(self._remember, situation.contexts)),
            held=tuple(
                parts.HeldRecord.from_core(key, author, entry, self._node)
                for (key, author), entry in situation.held.items()
            ),
            oldest_epoch=situation.oldest_epoch,
            lost=self._lost,
        )
        self._begin(line)

    def note_context(self, context: EpochContext) -> None:
        """Write an epoch's context, unless the file has the same already."""
        before = self._contexts.get(context.epoch)
        line = self._remember(context)
        # before the subnet starts, the roster is read again and again
        if line != before:
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
        """Write a verdict, or count it where the sender's budget is used up."""
        verdict = _name_verdict(answer, is_new=is_new)
        if not self._has_budget(sender, verdict, len(record.value)):
            self._count(verdict)
            return
        receipt = None
        reasons = None
        if isinstance(answer, Denied):
            reasons = parts.Reasons.from_denied(answer)
        else:
            receipt = answer
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
            receipt=receipt,
            reasons=reasons,
            is_stale=now.is_stale,
        )
        self._write(line)

    def note_request_rejected(
        self, sender: PeerId, now: EvaluationContext, denied: Denied, size_bytes: int
    ) -> None:
        """Write a refusal, or count it where the sender's budget is used up."""
        verdict = denied.reason.value
        owner = sender
        if sender not in self._members:
            owner = _STRANGERS
        budget = self._get_budget(owner)
        if budget.is_muted or not budget.take_refusal(verdict, 0):
            self._count(verdict)
            return
        reasons = parts.Reasons.from_denied(denied)
        self._write(
            lines.RequestRejected(now.block, now.time_seconds, sender, size_bytes, verdict, reasons)
        )

    def note_request_deferred(self) -> None:
        """Count a refusal."""
        self._count(_RATE)

    def note_copy(self, proof: Proof, now: EvaluationContext, epoch: Epoch) -> None:
        """Write a copied record, and the receipts that prove it."""
        record_id = self._write_proof(proof)
        line = lines.Copied(
            block=now.block,
            time_seconds=now.time_seconds,
            key=record_id.key,
            author=record_id.author,
            value_digest=record_id.value_digest,
            epoch=epoch,
        )
        self._write(line)

    def note_scores(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        records: RecordSet,
        outcome: HosterOutcome,
    ) -> None:
        """Write scores, and all that they follow from."""
        line = lines.Scored(
            epoch=epoch,
            block=now.block,
            time_seconds=now.time_seconds,
            rule_reads=self._write_rule_reads(rule_readings),
            set=parts.Set.from_core(records.bitmaps, records.root),
            outcome=parts.Outcome.from_core(outcome),
        )
        self._write(line)

    def note_score_list(
        self,
        now: EvaluationContext,
        epoch: Epoch,
        rule_readings: Sequence[RuleReading],
        bitmaps: Sequence[bytes],
        outcome: HosterOutcome,
    ) -> None:
        """Write a recomputed score list, and all that it follows from."""
        line = lines.ScoreListRebuilt(
            epoch=epoch,
            block=now.block,
            time_seconds=now.time_seconds,
            rule_reads=self._write_rule_reads(rule_readings),
            bitmaps=tuple(bitmap.hex() for bitmap in bitmaps),
            outcome=parts.Outcome.from_core(outcome),
        )
        self._write(line)

    def note_decision(self, now: EvaluationContext, decision: Decision) -> None:
        """Write a decision, and all that it follows from."""
        rule_reads = self._write_rule_reads(decision.rule_readings)
        shown: tuple[parts.Reading, ...] = ()
        evidence: tuple[tuple[Record, Record], ...] = ()
        if decision.shown is not None:
            shown = tuple(map(self._write_reading, decision.shown.readings))
            evidence = decision.shown.evidence
        on_chain = None
        if decision.submission is not None:
            on_chain = parts.OnChain.from_core(decision.submission)
        settled = None
        if decision.records is not None and decision.settlement is not None:
            settled = parts.Settled.from_core(decision.records, decision.settlement)
        line = lines.DecisionMade(
            epoch=decision.epoch,
            block=now.block,
            time_seconds=now.time_seconds,
            decided=decision.decided,
            attested_list=decision.attested_list,
            rule_reads=rule_reads,
            on_chain=on_chain,
            settled=settled,
            shown=shown,
            evidence=evidence,
            differences=tuple(decision.differences),
        )
        self._write(line)

    def _remember(self, context: EpochContext) -> parts.Context:
        line = parts.Context.from_core(context)
        self._contexts[context.epoch] = line
        self._members = self._members | context.roster.roles.keys()
        return line

    def _has_budget(self, sender: PeerId, verdict: str, size_bytes: int) -> bool:
        """Whether a verdict is to be written in full. A sender's first one too many mutes it."""
        budget = self._get_budget(sender)
        if budget.is_muted:
            return False
        if verdict != ADMITTED:
            return budget.take_refusal(verdict, size_bytes)
        if not budget.take_record(size_bytes, self._quota):
            budget.is_muted = True
            self._write(lines.SenderMuted(sender))
        return not budget.is_muted

    def _get_budget(self, sender: PeerId) -> Budget:
        budget = self._budgets.get(sender)
        if budget is None:
            budget = Budget()
            self._budgets[sender] = budget
        return budget

    def _count(self, verdict: str) -> None:
        """Count a verdict. The count is written at every doubling, so that a node that is killed
        has told of more than half.
        """
        self._uncounted[verdict] += 1
        count = self._uncounted[verdict]
        if _is_power_of_two(count):
            self._write(lines.Counted(verdict, count))

    def _write_counts(self) -> None:
        for verdict, count in sorted(self._uncounted.items()):
            if not _is_power_of_two(count):
                self._write(lines.Counted(verdict, count))
        self._uncounted.clear()

    def _take_value(self, digest: Hash32, record: Record) -> bytes | None:
        """The record's value, unless it stands in this file already."""
        if digest in self._values:
            return None
        self._values.add(digest)
        return record.value

    def _write_proof(self, proof: Proof) -> RecordId:
        """Write a `proven` line, unless the very same stands in this file already."""
        record = proof.record
        record_id = compute_record_id(record)
        if self._proofs.get(record_id) == proof.receipts:
            return record_id
        self._proofs[record_id] = proof.receipts
        line = lines.Proven(
            key=record_id.key,
            author=record_id.author,
            value_digest=record_id.value_digest,
            expiration_time=record.expiration_time,
            receipts=proof.receipts,
            value=self._take_value(record_id.value_digest, record),
        )
        self._write(line)
        return record_id

    def _write_rule_reads(self, rule_readings: Iterable[RuleReading]) -> tuple[parts.RuleRead, ...]:
        return tuple(
            parts.RuleRead(
                rule_reading.rule.kind,
                rule_reading.epoch,
                tuple(map(self._write_reading, rule_reading.readings)),
            )
            for rule_reading in rule_readings
        )

    def _write_reading(self, reading: KeyReading) -> parts.Reading:
        record_ids = [self._write_proof(proof) for proof in reading.proofs.values()]
        return parts.Reading(
            key=reading.key_rule.key,
            answered=tuple(sorted(reading.answered)),
            proven=tuple((record_id.author, record_id.value_digest) for record_id in record_ids),
            unverified=tuple(
                (record_id.author, record_id.value_digest, tuple(sorted(signers)))
                for record_id, signers in reading.signers.items()
                if record_id not in reading.proofs
            ),
        )

    def _begin(self, line: lines.EpochStarted) -> None:
        try:
            if self._is_broken or self._file.epoch != line.epoch:
                self._file.open(line.epoch)
            self._file.append(encode_line(line))
        except OSError as error:
            self._break(error)
        else:
            self._is_broken = False
            self._lost = 0

    def _write(self, line: AnyLine) -> None:
        if self._is_broken:
            # what comes before the node's first epoch begins stands in the first line of its file
            if self._node != NOBODY:
                self._lost += 1
            return
        # what strangers send may not be text at all
        try:
            self._file.append(encode_line(line))
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._break(error)

    def _break(self, error: Exception) -> None:
        """Write nothing until an epoch begins, since it would rest on what is missing. Warn
        once.
        """
        self._lost += 1
        if not self._is_broken or self._lost == 1:
            self._emit(NodeWarning("transcript", f"{type(error).__name__}: {error}", _ADVICE))
        self._is_broken = True


def _name_verdict(answer: Receipt | Denied, *, is_new: bool) -> str:
    if isinstance(answer, Denied):
        return answer.reason.value
    if is_new:
        return ADMITTED
    return REPEATED


def _is_power_of_two(count: int) -> bool:
    return count & (count - 1) == 0
