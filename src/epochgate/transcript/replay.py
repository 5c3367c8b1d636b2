"""Decides again, offline, all that a transcript says its node decided, and says where that differs
from what it wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from epochgate.core.admission import Capacity, compute_receipt_epoch, judge_post
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge, Policy
from epochgate.core.receipt import Proof, Receipt, RecordId, Standing, is_receipt_signed
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId
from epochgate.core.verdict import Denied, Reason
from epochgate.keys import format_peer_id
from epochgate.transcript import lines
from epochgate.transcript.lines import ADMITTED, REPEATED, AnyLine, DecisionMade, Scored
from epochgate.transcript.reader import Damage, Place, read_transcript
from epochgate.transcript.replayed_entries import ReplayedEntries
from epochgate.transcript.resettlement import Resettlement

MakeJudge = Callable[[EpochSchedule], Judge]
NOT_RECOMPUTED = frozenset(
    {Reason.RATE.value, Reason.MALFORMED.value, Reason.PREDICATE_ERROR.value}
)
"""Of requests turned away: they rest on all that a sender asked before, or on bytes that are not
kept.
"""


class EpochReplay(msgspec.Struct):
    """One file, replayed. `differences` are what was written otherwise than it is recomputed,
    `gaps` what is missing and may be: a torn line, a record that a killed node kept and could not
    write down.
    """

    epoch: Epoch
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    contexts: dict[int, lines.Context] = msgspec.field(default_factory=dict)
    scored: Scored | None = None
    decision: DecisionMade | None = None
    differences: list[str] = msgspec.field(default_factory=list)
    gaps: list[str] = msgspec.field(default_factory=list)


class Replay:
    """A transcript's replay, file by file. With another policy than the transcript's it is a
    backtest: each record is judged as if the policy had changed at that moment, upon what the
    replica did hold then.
    """

    def __init__(
        self, policy: Policy, make_judge: MakeJudge | None = None, *, is_backtest: bool = False
    ) -> None:
        self._policy = policy
        self._make_judge = make_judge or (lambda _schedule: policy)
        self._is_backtest = is_backtest
        self._schedule = EpochSchedule(policy)
        self._judge: Judge = policy
        self._begun: lines.EpochStarted | None = None
        self._stored: ReplayedEntries | None = None
        self._values: dict[bytes, bytes] = {}
        self._proofs: dict[RecordId, Proof] = {}
        self._muted: set[PeerId] = set()
        self._counted: Counter[str] = Counter()
        self._contexts: dict[int, lines.Context] = {}
        self._lists: dict[int, tuple[int, ...]] = {}
        self._result = EpochReplay(Epoch(0))

    def replay_file(self, epoch: Epoch, path: Path) -> EpochReplay:
        """Raises TranscriptError when it cannot be read."""
        result = self._result = EpochReplay(epoch)
        self._values = {}
        self._proofs = {}
        for place, line in read_transcript(path):
            try:
                self._take(place, line)
            except (LookupError, ValueError, ArithmeticError) as error:
                self._differ(place, f"it cannot be replayed: {type(error).__name__}: {error}")
        self._end_counts()
        return result

    def _differ(self, place: Place, what: str) -> None:
        self._result.differences.append(f"{place}: {what}")

    def _take(self, place: Place, line: AnyLine | Damage) -> None:
        if self._begun is None and not isinstance(line, lines.EpochStarted | Damage):
            self._differ(place, "no begun line stands before it")
            return
        match line:
            case Damage(why, is_torn):
                self._take_damage(place, why, is_torn)
            case lines.EpochStarted():
                self._begin(place, line)
            case lines.ContextLearned(context):
                self._learn(place, context)
            case lines.Posted():
                self._check_post(place, line)
            case lines.RequestRejected():
                self._check_turned_away(place, line)
            case lines.Counted(verdict, count):
                self._counted[verdict] = count
            case lines.SenderMuted(sender):
                self._muted.add(sender)
            case lines.Proven():
                self._take_proof(place, line)
            case lines.Copied():
                self._check_copy(place, line)
            case lines.Scored() | lines.ScoreListRebuilt() | lines.DecisionMade():
                self._check_settlement(place, line)

    def _take_damage(self, place: Place, why: str, is_torn: bool) -> None:
        if is_torn:
            self._result.gaps.append(f"{place}: torn: {why}")
        else:
            self._differ(place, f"it is no line of a transcript: {why}")

    def _begin(self, place: Place, line: lines.EpochStarted) -> None:
        self._end_counts()
        if line.format != lines.FORMAT:
            self._differ(place, f"format {line.format}, this program reads {lines.FORMAT}")
        if not self._is_backtest and line.policy_digest != self._policy.digest.hex():
            self._differ(
                place, f"written under the policy {line.policy} of digest {line.policy_digest}"
            )
        if self._begun is not None and line.node != self._begun.node:
            self._differ(
                place,
                f"written by {format_peer_id(line.node)}, before by"
                f" {format_peer_id(self._begun.node)}",
            )
        self._compare_held(place, line)
        self._begun = line
        self._stored = ReplayedEntries(line.held)
        self._schedule = EpochSchedule(self._policy)
        for context in line.contexts:
            self._learn(place, context)
        self._judge = self._make_judge(self._schedule)
        self._muted.clear()

    def _compare_held(self, place: Place, line: lines.EpochStarted) -> None:
        """What the node says it holds must be what its transcript made it hold, but for what a
        killed node could not write.
        """
        if self._stored is None or line.lost or self._muted or self._result.gaps:
            if line.lost:
                self._result.gaps.append(
                    f"{place}: {line.lost} lines were lost: the disk did not take them"
                )
            return
        if line.oldest_epoch is not None:
            self._stored.forget(line.time_seconds, line.oldest_epoch)
        ours = self._stored.held
        theirs = {(it.key, it.author): it for it in line.held}
        changed = [
            held for held in ours.keys() | theirs.keys() if ours.get(held) != theirs.get(held)
        ]
        if not changed:
            return
        words = f"{len(changed)} records held are not as the lines before make them"
        if line.why == "start":
            self._result.gaps.append(
                f"{place}: {words}: the node was killed, or its database changed"
            )
        else:
            self._differ(place, words)

    def _learn(self, place: Place, context: lines.Context) -> None:
        """A roster is kept for good; before the subnet's first epoch has begun it is who has
        registered so far.
        """
        before = self._contexts.get(context.epoch)
        is_final = context.epoch > 0 or (self._begun is not None and self._begun.why == "epoch")
        if (
            before is not None
            and is_final
            and (before.seed, before.members) != (context.seed, context.members)
        ):
            self._differ(place, f"the roster of epoch {context.epoch} is another one than before")
        self._contexts[context.epoch] = context
        self._result.contexts[context.epoch] = context
        self._schedule.add(context.to_core())

    def _check_post(self, place: Place, line: lines.Posted) -> None:
        self._result.counts[line.verdict] += 1
        if line.sender in self._muted or self._begun is None or self._stored is None:
            return
        value = self._take_value(place, line.value_digest, line.value)
        record = Record(line.key, line.author, value, float(line.expiration_time))
        now = self._schedule.compute_evaluation_context(
            line.block, line.time_seconds, self._stored.held, is_stale=line.is_stale
        )
        key_rule = self._judge.find_key_rule(record.key, now)
        capacity = Capacity(
            self._begun.max_value_bytes, self._policy.limits, self._policy.held_epochs
        )
        answer = judge_post(
            self._judge,
            key_rule,
            record,
            now,
            sender=line.sender,
            replica=self._begun.node,
            stored=self._stored,
            capacity=capacity,
        )
        if isinstance(answer, Receipt):
            verdict = REPEATED
        else:
            verdict = ADMITTED
        reasons = None
        if isinstance(answer, Denied):
            verdict = answer.reason.value
            reasons = lines.Reasons.from_denied(answer)
        if (verdict, reasons) != (line.verdict, line.reasons):
            what = (
                f"{key_rule.name if key_rule else 'a key that is none'} by"
                f" {format_peer_id(line.author)}"
            )
            written = f"{line.verdict}{line.reasons or ''}"
            again = f"{verdict}{reasons or ''}"
            self._differ(place, f"{what}: written {written}, recomputed {again}")
        if line.verdict in (ADMITTED, REPEATED) and not self._is_backtest:
            self._check_receipt(place, line, compute_receipt_epoch(key_rule, now))
        if line.verdict == ADMITTED:
            self._stored.keep(
                lines.HeldRecord(
                    line.key,
                    line.author,
                    line.value_digest,
                    record.expiration_time,
                    now.data.epoch,
                    len(value),
                    line.receipt,
                )
            )

    def _check_receipt(self, place: Place, line: lines.Posted, epoch: Epoch) -> None:
        """An old receipt that is shown again was given at another block."""
        receipt = line.receipt
        record_id = RecordId(line.key, line.author, line.value_digest)
        assert self._begun is not None  # noqa: S101 - nothing is checked before it
        network = self._begun.contexts[-1].network
        is_timely = receipt is not None and (
            line.verdict == REPEATED or (receipt.epoch, receipt.block) == (epoch, line.block)
        )
        is_own = receipt is not None and receipt.replica == self._begun.node
        if (
            receipt is None
            or not is_own
            or not is_timely
            or not is_receipt_signed(network, record_id, receipt)
        ):
            self._differ(place, "the receipt does not hold")

    def _check_turned_away(self, place: Place, line: lines.RequestRejected) -> None:
        self._result.counts[line.verdict] += 1
        if line.verdict in NOT_RECOMPUTED:
            return
        roster = self._schedule.find_newest_roster(
            self._get_moment(line.block, line.time_seconds).data.epoch
        )
        if line.verdict != Reason.NOT_ON_ROSTER.value or (
            roster is not None and line.sender in roster.roles
        ):
            self._differ(
                place,
                f"turned away for {line.verdict}, and {format_peer_id(line.sender)} is on the"
                " roster",
            )

    def _take_value(self, place: Place, digest: Hash32, value: bytes | None) -> bytes:
        """Raises LookupError for one that stands nowhere before."""
        if value is None:
            if digest not in self._values:
                raise LookupError(f"no line before it has the value {digest.hex()}")
            return self._values[digest]
        if compute_value_digest(value) != digest:
            self._differ(place, f"the value has not the digest {digest.hex()}")
        self._values[digest] = value
        return value

    def _take_proof(self, place: Place, line: lines.Proven) -> None:
        value = self._take_value(place, line.value_digest, line.value)
        record = Record(line.key, line.author, value, line.expiration_time)
        self._proofs[RecordId(line.key, line.author, line.value_digest)] = Proof(
            record, line.receipts
        )

    def _check_copy(self, place: Place, line: lines.Copied) -> None:
        record_id = RecordId(line.key, line.author, line.value_digest)
        proof = self._proofs[record_id]
        now = self._get_moment(line.block, line.time_seconds)
        key_rule = self._judge.find_key_rule(line.key, now)
        if (
            key_rule is None
            or key_rule.receipt_rule.compute_standing(record_id, proof.receipts) < Standing.PROVEN
        ):
            self._differ(
                place, f"a copy of a record by {format_peer_id(line.author)} that is not proven"
            )
        assert self._begun is not None  # noqa: S101 - nothing is checked before it
        assert self._stored is not None  # noqa: S101 - likewise
        own = next(
            (receipt for receipt in proof.receipts if receipt.replica == self._begun.node), None
        )
        size = len(proof.record.value)
        expiration_time = proof.record.expiration_time
        copy = lines.HeldRecord(
            line.key, line.author, line.value_digest, expiration_time, line.epoch, size, own
        )
        if not self._stored.add_receipt(copy):
            self._stored.keep(copy)

    def _check_settlement(
        self, place: Place, line: Scored | lines.ScoreListRebuilt | DecisionMade
    ) -> None:
        assert self._begun is not None  # noqa: S101 - nothing is checked before it
        now = self._get_moment(line.block, line.time_seconds)
        again = Resettlement(self._policy, self._judge, self._schedule, now, self._proofs)
        match line:
            case Scored():
                self._result.scored = line
                again.check_scores(line)
            case lines.ScoreListRebuilt():
                again.check_list(line)
                self._lists[line.epoch] = line.outcome.score_list
            case DecisionMade():
                self._result.decision = line
                again.check_decision(line, self._begun.node)
                known = self._lists.get(line.epoch - 2)
                if line.attested_list is not None and known not in (None, line.attested_list):
                    self._differ(
                        place,
                        f"the list attested for epoch {line.epoch - 2} is another one than before",
                    )
                if line.settled is not None and line.decided in ("submitted", "agreed"):
                    self._lists[line.epoch - 1] = line.settled.outcome.score_list
        for difference in again.differences:
            self._differ(place, difference)

    def _get_moment(self, block: BlockNumber, time_seconds: float) -> EvaluationContext:
        return self._schedule.compute_evaluation_context(block, time_seconds)

    def _end_counts(self) -> None:
        self._result.counts += self._counted
        self._counted.clear()


def replay_files(replay: Replay, files: Mapping[int, Path]) -> Iterator[EpochReplay]:
    for epoch, path in files.items():
        yield replay.replay_file(Epoch(epoch), path)
