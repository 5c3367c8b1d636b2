"""Replays a transcript offline: decides again all that its node decided, and says what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from epochgate.core.admission import (
    Capacity,
    compute_receipt_epoch,
    find_own_receipt,
    judge_post,
)
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge, Policy
from epochgate.core.receipt import Receipt, RecordId, Standing, is_receipt_signed
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.rule import KeyRule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId
from epochgate.core.verdict import Denied, Reason
from epochgate.keys import format_peer_id
from epochgate.transcript import lines
from epochgate.transcript.epoch_replay import EpochReplay
from epochgate.transcript.file_contents import FileContents
from epochgate.transcript.lines import ADMITTED, REPEATED, AnyLine, DecisionMade, Scored
from epochgate.transcript.parts import Context, HeldRecord, Reasons
from epochgate.transcript.reader import Damage, Place, read_transcript
from epochgate.transcript.replayed_entries import ReplayedEntries
from epochgate.transcript.resettlement import Resettlement

MakeJudge = Callable[[EpochSchedule], Judge]
"""Makes the judge of a node whose judge was not its policy."""

NOT_RECOMPUTED = frozenset(
    {Reason.RATE.value, Reason.MALFORMED.value, Reason.PREDICATE_ERROR.value}
)
"""Reasons of rejected requests that cannot be recomputed: they rest on all that a sender asked
before, or on bytes that are not kept.
"""


class Replay:
    """The replay of a transcript, file by file, in order of epoch.

    Args:
        policy: The node's policy. With another one than the transcript's, the replay is a backtest.
        make_judge: Makes the node's judge; None where that was the policy.
        is_backtest: Judge each record as if the policy had changed at that moment, with the records
            that the replica did store.
    """

    def __init__(
        self, policy: Policy, make_judge: MakeJudge | None = None, *, is_backtest: bool = False
    ) -> None:
        self._policy = policy
        self._make_judge = make_judge or (lambda _schedule: policy)
        self._is_backtest = is_backtest
        self._schedule = EpochSchedule(policy)
        self._judge: Judge = policy
        self._started: lines.EpochStarted | None = None
        """The newest line of this kind: all that the lines behind it rest on."""
        self._stored = ReplayedEntries()
        self._contents = FileContents()
        self._muted: set[PeerId] = set()
        self._counted: Counter[str] = Counter()
        self._contexts: dict[Epoch, Context] = {}
        self._score_lists: dict[int, tuple[int, ...]] = {}
        """By epoch, the list that its attested set gives."""
        self._result = EpochReplay(Epoch(0))

    def replay_file(self, epoch: Epoch, path: Path) -> EpochReplay:
        """Replay the next file.

        Args:
            epoch: Its epoch.
            path: The file.

        Returns:
            What was found.

        Raises:
            TranscriptError: The file cannot be read.
        """
        result = EpochReplay(epoch)
        self._result = result
        self._contents = FileContents()
        for place, line in read_transcript(path):
            try:
                self._take(place, line)
            except (LookupError, ValueError, ArithmeticError) as error:
                message = f"it cannot be replayed: {type(error).__name__}: {error}"
                result.add_difference(place, message)
        self._add_counts()
        return result

    def _take(self, place: Place, line: AnyLine | Damage) -> None:
        if isinstance(line, Damage):
            self._take_damage(place, line)
            return
        if isinstance(line, lines.EpochStarted):
            self._begin(place, line)
            return
        started = self._started
        if started is None:
            self._result.add_difference(place, "no begun line stands before it")
            return
        match line:
            case lines.ContextLearned(context):
                self._learn(place, context)
            case lines.Posted():
                self._check_post(place, line, started)
            case lines.RequestRejected():
                self._check_rejected(place, line)
            case lines.Counted(verdict, count):
                self._counted[verdict] = count
            case lines.SenderMuted(sender):
                self._muted.add(sender)
            case lines.Proven():
                value = self._take_value(place, line.value_digest, line.value)
                self._contents.add_proof(line, value)
            case lines.Copied():
                self._check_copy(place, line, started)
            case lines.Scored() | lines.ScoreListRebuilt() | lines.DecisionMade():
                self._check_settlement(place, line, started)

    def _take_damage(self, place: Place, damage: Damage) -> None:
        if damage.is_torn:
            self._result.add_gap(place, f"torn: {damage.why}")
        else:
            message = f"it is no line of a transcript: {damage.why}"
            self._result.add_difference(place, message)

    def _begin(self, place: Place, line: lines.EpochStarted) -> None:
        self._add_counts()
        if line.format != lines.FORMAT:
            message = f"format {line.format}, this program reads {lines.FORMAT}"
            self._result.add_difference(place, message)
        if not self._is_backtest and line.policy_digest != self._policy.digest.hex():
            message = f"written under the policy {line.policy} of digest {line.policy_digest}"
            self._result.add_difference(place, message)
        if self._started is not None and line.node != self._started.node:
            node = format_peer_id(line.node)
            before = format_peer_id(self._started.node)
            self._result.add_difference(place, f"written by {node}, before by {before}")
        if line.lost:
            self._result.add_gap(place, f"{line.lost} lines were lost: the disk did not take them")
        elif self._started is not None:
            self._compare_held(place, line)
        self._started = line
        self._stored = ReplayedEntries(line.held)
        self._schedule = EpochSchedule(self._policy)
        for context in line.contexts:
            self._learn(place, context)
        self._judge = self._make_judge(self._schedule)
        self._muted.clear()

    def _compare_held(self, place: Place, line: lines.EpochStarted) -> None:
        """Compare what the node stores with what the lines before have made it store.

        Where lines are missing, both may differ, and nothing is compared.
        """
        if self._muted or self._result.gaps:
            return
        if line.oldest_epoch is not None:
            self._stored.forget(line.time_seconds, line.oldest_epoch)
        changes = self._stored.count_changes(line.held)
        if not changes:
            return
        message = f"{changes} records held are not as the lines before make them"
        if line.why == "start":
            reason = "the node was killed, or its database changed"
            self._result.add_gap(place, f"{message}: {reason}")
        else:
            self._result.add_difference(place, message)

    def _learn(self, place: Place, context: Context) -> None:
        """Take an epoch's context. Its roster must not change.

        Only before the subnet's first epoch has begun does it: whoever has registered so far is on
        that roster.
        """
        before = self._contexts.get(context.epoch)
        is_final = context.epoch > 0 or (self._started is not None and self._started.why == "epoch")
        if before is not None and is_final:
            is_same = (before.seed, before.members) == (context.seed, context.members)
            if not is_same:
                message = f"the roster of epoch {context.epoch} is another one than before"
                self._result.add_difference(place, message)
        self._contexts[context.epoch] = context
        self._result.contexts[context.epoch] = context
        self._schedule.add(context.to_core())

    def _check_post(self, place: Place, line: lines.Posted, started: lines.EpochStarted) -> None:
        self._result.counts[line.verdict] += 1
        if line.sender in self._muted:
            return
        value = self._take_value(place, line.value_digest, line.value)
        record = Record(line.key, line.author, value, float(line.expiration_time))
        now = self._schedule.compute_evaluation_context(
            line.block, line.time_seconds, self._stored.held, is_stale=line.is_stale
        )
        key_rule = self._judge.find_key_rule(record.key, now)
        verdict, reasons = self._judge_post(line.sender, record, now, key_rule, started)
        if (verdict, reasons) != (line.verdict, line.reasons):
            name = "a key without a rule"
            if key_rule is not None:
                name = key_rule.name
            written = f"{line.verdict}{line.reasons or ''}"
            recomputed = f"{verdict}{reasons or ''}"
            self._result.add_difference(
                place,
                f"{name} by {format_peer_id(line.author)}: written {written}, recomputed"
                f" {recomputed}",
            )
        if line.verdict in (ADMITTED, REPEATED) and not self._is_backtest:
            epoch = compute_receipt_epoch(key_rule, now)
            if not _is_receipt_valid(line, started, epoch):
                self._result.add_difference(place, "the receipt does not hold")
        if line.verdict == ADMITTED:
            self._stored.keep(
                HeldRecord(
                    line.key,
                    line.author,
                    line.value_digest,
                    record.expiration_time,
                    now.data.epoch,
                    len(value),
                    line.receipt,
                )
            )

    def _judge_post(
        self,
        sender: PeerId,
        record: Record,
        now: EvaluationContext,
        key_rule: KeyRule | None,
        started: lines.EpochStarted,
    ) -> tuple[str, Reasons | None]:
        """The verdict and the reasons that the node should have written."""
        limits = self._policy.limits
        answer = judge_post(
            self._judge,
            key_rule,
            sender=sender,
            record=record,
            now=now,
            replica=started.node,
            stored=self._stored,
            capacity=Capacity(started.max_value_bytes, limits, self._policy.held_epochs),
        )
        if isinstance(answer, Denied):
            return answer.reason.value, Reasons.from_denied(answer)
        if isinstance(answer, Receipt):
            return REPEATED, None
        return ADMITTED, None

    def _check_rejected(self, place: Place, line: lines.RequestRejected) -> None:
        self._result.counts[line.verdict] += 1
        if line.verdict in NOT_RECOMPUTED:
            return
        now = self._compute_context(line.block, line.time_seconds)
        roster = self._schedule.find_newest_roster(now.data.epoch)
        is_member = roster is not None and line.sender in roster.roles
        if is_member or line.verdict != Reason.NOT_ON_ROSTER.value:
            sender = format_peer_id(line.sender)
            message = f"turned away for {line.verdict}, and {sender} is on the roster"
            self._result.add_difference(place, message)

    def _take_value(self, place: Place, digest: Hash32, value: bytes | None) -> bytes:
        if value is not None and compute_value_digest(value) != digest:
            message = f"the value has not the digest {digest.hex()}"
            self._result.add_difference(place, message)
        return self._contents.take_value(digest, value)

    def _check_copy(self, place: Place, line: lines.Copied, started: lines.EpochStarted) -> None:
        record_id = RecordId(line.key, line.author, line.value_digest)
        proof = self._contents.proofs[record_id]
        now = self._compute_context(line.block, line.time_seconds)
        key_rule = self._judge.find_key_rule(line.key, now)
        standing = Standing.UNPROVEN
        if key_rule is not None:
            standing = key_rule.receipt_rule.compute_standing(record_id, proof.receipts)
        if standing < Standing.PROVEN:
            author = format_peer_id(line.author)
            self._result.add_difference(place, f"a copy of a record by {author} that is not proven")
        copy = HeldRecord(
            line.key,
            line.author,
            line.value_digest,
            proof.record.expiration_time,
            line.epoch,
            len(proof.record.value),
            find_own_receipt(started.node, proof.receipts),
        )
        if not self._stored.add_receipt(copy):
            self._stored.keep(copy)

    def _check_settlement(
        self,
        place: Place,
        line: Scored | lines.ScoreListRebuilt | DecisionMade,
        started: lines.EpochStarted,
    ) -> None:
        now = self._compute_context(line.block, line.time_seconds)
        proofs = self._contents.proofs
        resettlement = Resettlement(self._policy, self._judge, self._schedule, now, proofs)
        match line:
            case Scored():
                self._result.scored = line
                resettlement.check_scores(line)
            case lines.ScoreListRebuilt():
                resettlement.check_list(line)
                self._score_lists[line.epoch] = line.outcome.score_list
            case DecisionMade():
                self._result.decision = line
                resettlement.check_decision(line, started.node)
                self._check_attested_list(place, line)
        for difference in resettlement.differences:
            self._result.add_difference(place, difference)

    def _check_attested_list(self, place: Place, line: DecisionMade) -> None:
        """Compare the list that a decision rests on with the one that was computed before."""
        epoch = line.epoch - 2
        known = self._score_lists.get(epoch)
        if line.attested_list is not None and known not in (None, line.attested_list):
            message = f"the list attested for epoch {epoch} is another one than before"
            self._result.add_difference(place, message)
        if line.settled is not None and line.decided in ("submitted", "agreed"):
            self._score_lists[line.epoch - 1] = line.settled.outcome.score_list

    def _compute_context(self, block: BlockNumber, time_seconds: float) -> EvaluationContext:
        return self._schedule.compute_evaluation_context(block, time_seconds)

    def _add_counts(self) -> None:
        """Add the verdicts that were only counted. A later count of a verdict has the earlier ones
        in it, until an epoch begins.
        """
        self._result.counts += self._counted
        self._counted.clear()


def replay_files(replay: Replay, files: Mapping[int, Path]) -> Iterator[EpochReplay]:
    """Replay the files of a transcript.

    Args:
        replay: The replay.
        files: The files by epoch, in order.

    Yields:
        What was found in each.

    Raises:
        TranscriptError: A file cannot be read.
    """
    for epoch, path in files.items():
        yield replay.replay_file(Epoch(epoch), path)


def _is_receipt_valid(line: lines.Posted, started: lines.EpochStarted, epoch: Epoch) -> bool:
    """Whether the node has signed its receipt for this record.

    A receipt that was given now names this epoch and block. One that was given before is shown
    again as it was.
    """
    receipt = line.receipt
    if receipt is None or receipt.replica != started.node:
        return False
    if line.verdict == ADMITTED and (receipt.epoch, receipt.block) != (epoch, line.block):
        return False
    record_id = RecordId(line.key, line.author, line.value_digest)
    return is_receipt_signed(started.contexts[-1].network, record_id, receipt)
