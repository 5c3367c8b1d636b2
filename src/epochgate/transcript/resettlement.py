"""Recomputes the sets, scores and decisions of a transcript from the records and receipts in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from epochgate.core.claim import Agreed, ShownSet, SubmissionClaim, Undecided, judge_claim
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Judge, Policy
from epochgate.core.receipt import Proof, RecordId, Standing
from epochgate.core.record import is_record_signed
from epochgate.core.record_set import KeyReading, RecordSet, RuleReading, compute_set, read_bitmap
from epochgate.core.rule import KeyRule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.settlement import (
    HosterOutcome,
    Settlement,
    compute_deciding,
    compute_hoster_outcome,
    compute_settlement,
)
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey
from epochgate.core.verdict import Denied
from epochgate.keys import format_peer_id
from epochgate.transcript.lines import DecisionMade, Scored, ScoreListRebuilt
from epochgate.transcript.parts import OnChain, Outcome, Pairs, Reading, RuleRead, Set


class Resettlement:
    """The settlement of one line, recomputed.

    Args:
        policy: The policy.
        judge: Recognises the records.
        schedule: The key tables of the epochs.
        now: The moment at which the line was written.
        proofs: The records that stand in lines before it, with their receipts.

    Attributes:
        differences: What was recomputed otherwise than it was written, as messages.
    """

    def __init__(
        self,
        policy: Policy,
        judge: Judge,
        schedule: EpochSchedule,
        now: EvaluationContext,
        proofs: Mapping[RecordId, Proof],
    ) -> None:
        self.differences: list[str] = []
        self._policy = policy
        self._judge = judge
        self._schedule = schedule
        self._now = now
        self._proofs = proofs

    def check_scores(self, line: Scored) -> None:
        """Recompute a validator's scores from what it has read.

        Args:
            line: The line.

        Raises:
            LookupError: The policy has no such rule, or an epoch or a proof is not known.
        """
        records = compute_set(self._read_rules(line.rule_reads))
        self._compare_set(line.set, records)
        self._compare_outcome(line.outcome, self._compute_outcome(records, line.epoch))

    def check_list(self, line: ScoreListRebuilt) -> None:
        """Recompute the score list of an attested set from the records that its bitmaps name.

        Args:
            line: The line.

        Raises:
            LookupError: The policy has no such rule, or an epoch or a proof is not known.
            ValueError: A bitmap does not fit its roster.
        """
        rule_readings = self._read_rules(line.rule_reads)
        included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}
        for rule_reading, bitmap in zip(rule_readings, line.bitmaps, strict=True):
            proven = rule_reading.get_proofs(Standing.PROVEN)
            named: dict[PeerId, Proof] = {}
            for author in read_bitmap(rule_reading.roster, bytes.fromhex(bitmap)):
                if author in proven:
                    named[author] = proven[author][0]
                else:
                    self.differences.append(f"{format_peer_id(author)} is named, but not proven")
            included[rule_reading.rule.kind, rule_reading.epoch] = named
        records = RecordSet(included, {}, (), Hash32(b""))
        self._compare_outcome(line.outcome, self._compute_outcome(records, line.epoch))

    def check_decision(self, line: DecisionMade, node: PeerId) -> None:
        """Recompute what a node decided about a submission.

        Args:
            line: The line.
            node: The node.

        Raises:
            LookupError: The policy has no such rule, or an epoch or a proof is not known.
            ValueError: A bitmap or a root is not what it should be.
        """
        rule_readings = self._read_rules(line.rule_reads)
        deciding = compute_deciding(
            self._policy, line.epoch, is_attested=line.attested_list is not None
        )
        read = [(rule_reading.rule, rule_reading.epoch) for rule_reading in rule_readings]
        if list(deciding) != read:
            self.differences.append("the rules that were read are not those that decide")
        if line.decided == "submitted":
            self._check_submission(line, compute_set(rule_readings), node)
        elif line.on_chain is None:
            self.differences.append("there is no submission to decide on")
        else:
            self._check_attestation(line, line.on_chain, rule_readings)

    def _check_submission(self, line: DecisionMade, records: RecordSet, node: PeerId) -> None:
        self._compare_settled(line, records)
        if line.on_chain is None or line.on_chain.submitter != node:
            self.differences.append("the submission on the chain is another node's")
        elif line.settled is not None and line.on_chain.set == line.settled.set:
            pay = dict(line.settled.pay)
            self.differences += _compare_pairs("on the chain", line.on_chain.scores, pay)

    def _check_attestation(
        self, line: DecisionMade, on_chain: OnChain, rule_readings: Sequence[RuleReading]
    ) -> None:
        bitmaps = tuple(map(bytes.fromhex, on_chain.set.bitmaps))
        claim = SubmissionClaim(bitmaps, Hash32(bytes.fromhex(on_chain.set.root)))
        verdict = judge_claim(claim, rule_readings, self._read_shown(line))
        if isinstance(verdict, Agreed):
            # who is paid otherwise is only told in words; that anybody is, is compared here
            settlement = self._compare_settled(line, verdict.records)
            differences = line.differences
            decided = "refused"
            if dict(on_chain.scores) == settlement.pay:
                decided = "agreed"
        elif isinstance(verdict, Undecided):
            differences = (verdict.why,)
            decided = "abstained"
        else:
            differences = verdict.differences
            decided = "refused"
        if line.decided != decided:
            self.differences.append(f"decided: written {line.decided}, recomputed {decided}")
        if line.differences != differences:
            written = "; ".join(line.differences)
            self.differences.append(f"why: written {written}, recomputed {'; '.join(differences)}")

    def _compare_settled(self, line: DecisionMade, records: RecordSet) -> Settlement:
        settlement = compute_settlement(
            self._policy, self._schedule, records, line.epoch, line.attested_list
        )
        if line.settled is None:
            self.differences.append("no scores are written for a set that gives some")
            return settlement
        self._compare_set(line.settled.set, records)
        self._compare_outcome(line.settled.outcome, settlement.outcome)
        self.differences += _compare_pairs("weight", line.settled.weights, settlement.list_weights)
        self.differences += _compare_pairs("pay", line.settled.pay, settlement.pay)
        return settlement

    def _compute_outcome(self, records: RecordSet, epoch: Epoch) -> HosterOutcome:
        return compute_hoster_outcome(self._policy, self._schedule, records, epoch)

    def _compare_set(self, written: Set, records: RecordSet) -> None:
        recomputed = Set.from_core(records.bitmaps, records.root)
        if written.bitmaps != recomputed.bitmaps:
            before = " ".join(written.bitmaps)
            after = " ".join(recomputed.bitmaps)
            self.differences.append(f"bitmaps: written {before}, recomputed {after}")
        if written.root != recomputed.root:
            message = f"root: written {written.root}, recomputed {recomputed.root}"
            self.differences.append(message)

    def _compare_outcome(self, written: Outcome, outcome: HosterOutcome) -> None:
        self.differences += _compare_pairs("score", written.scores, outcome.scores)
        for name in ("score_list", "committed", "opened", "challenge_digest"):
            if getattr(written, name) != getattr(outcome, name):
                self.differences.append(f"{name} is not what the set gives")

    def _read_rules(self, rule_reads: Sequence[RuleRead]) -> tuple[RuleReading, ...]:
        return tuple(map(self._read_rule, rule_reads))

    def _read_rule(self, rule_read: RuleRead) -> RuleReading:
        rule = self._policy.get_rule(rule_read.kind)
        key_rules = self._find_key_rules(rule_read)
        roster = self._schedule.get_context(rule_read.epoch).roster
        readings = tuple(
            self._read_key(key_rules[reading.key], reading, is_own=True)
            for reading in rule_read.readings
        )
        return RuleReading(rule, rule_read.epoch, roster, readings)

    def _find_key_rules(self, rule_read: RuleRead) -> dict[RecordKey, KeyRule]:
        """The keys of a rule in its epoch. Raises KeyError where one of both is not known."""
        rule = self._policy.get_rule(rule_read.kind)
        return {
            key_rule.key: key_rule
            for key_rule in self._schedule.get_key_rules(rule, rule_read.epoch)
        }

    def _read_key(self, key_rule: KeyRule, reading: Reading, *, is_own: bool) -> KeyReading:
        """Judge and verify again what was read of a key.

        Of what it has read itself, a node keeps no receipt that is not valid. What a submitter
        shows may hold some (`is_own` is False).
        """
        proofs: dict[RecordId, Proof] = {}
        signers: dict[RecordId, frozenset[PeerId]] = {}
        for author, digest in reading.proven:
            record_id = RecordId(reading.key, author, digest)
            proof = self._proofs[record_id]
            proofs[record_id] = proof
            valid = key_rule.receipt_rule.compute_signers(record_id, proof.receipts)
            signers[record_id] = valid
            name = f"{key_rule.name} by {format_peer_id(author)}"
            verdict = self._judge.recognise(proof.record, self._now)
            if isinstance(verdict, Denied):
                self.differences.append(f"{name}: {verdict}")
            if is_own and len(valid) != len(proof.receipts):
                false = [
                    format_peer_id(receipt.replica)
                    for receipt in proof.receipts
                    if receipt.replica not in valid
                ]
                self.differences.append(f"{name}: no receipt holds of {', '.join(false)}")
        for author, digest, replicas in reading.unverified:
            signers[RecordId(reading.key, author, digest)] = frozenset(replicas)
        return KeyReading(key_rule, proofs, signers, frozenset(reading.answered))

    def _read_shown(self, line: DecisionMade) -> ShownSet:
        """Read the set that the submitter served."""
        key_rules: dict[RecordKey, KeyRule] = {}
        for rule_read in line.rule_reads:
            key_rules |= self._find_key_rules(rule_read)
        readings = tuple(
            self._read_key(key_rules[reading.key], reading, is_own=False) for reading in line.shown
        )
        network = self._now.network
        evidence = tuple(
            (first, second)
            for first, second in line.evidence
            if is_record_signed(network, first) and is_record_signed(network, second)
        )
        return ShownSet(readings, evidence)


def _compare_pairs(what: str, written: Pairs, recomputed: Mapping[PeerId, int]) -> Iterator[str]:
    before = dict(written)
    for author in sorted(before.keys() | recomputed.keys()):
        number = before.get(author)
        expected = recomputed.get(author)
        if number != expected:
            peer = format_peer_id(author)
            yield f"{what} of {peer}: written {number}, recomputed {expected}"
