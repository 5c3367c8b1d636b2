"""Sets, scores and decisions of a transcript, computed again from the records and receipts that it
holds.
"""

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
from epochgate.core.types import Epoch, Hash32, PeerId
from epochgate.core.verdict import Denied
from epochgate.keys import format_peer_id
from epochgate.transcript.lines import (
    DecisionMade,
    Outcome,
    Pairs,
    Reading,
    Scored,
    ScoreListRebuilt,
    SectionRead,
    Set,
)


class Resettlement:
    """Computes again at one moment; `differences` says what came out otherwise than it was
    written.
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
        records = compute_set(self._read_sections(line.rule_readings))
        self._compare_set(line.set, records)
        self._compare_outcome(line.outcome, self._compute_outcome(records, line.epoch))

    def check_list(self, line: ScoreListRebuilt) -> None:
        rule_readings = self._read_sections(line.rule_readings)
        included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}
        for rule_reading, bitmap in zip(rule_readings, line.bitmaps, strict=True):
            proven = {
                author: proofs[0]
                for author, proofs in rule_reading.get_proofs(Standing.PROVEN).items()
            }
            named = read_bitmap(rule_reading.roster, bytes.fromhex(bitmap))
            self.differences += [
                f"{format_peer_id(author)} is named, but not proven"
                for author in named
                if author not in proven
            ]
            included[rule_reading.rule.kind, rule_reading.epoch] = {
                author: proven[author] for author in named if author in proven
            }
        self._compare_outcome(
            line.outcome,
            self._compute_outcome(RecordSet(included, {}, (), Hash32(b"")), line.epoch),
        )

    def check_decision(self, line: DecisionMade, node: PeerId) -> None:
        rule_readings = self._read_sections(line.rule_readings)
        deciding = compute_deciding(
            self._policy, line.epoch, is_attested=line.attested_list is not None
        )
        if [(rule, epoch) for rule, epoch in deciding] != [
            (rule_reading.rule, rule_reading.epoch) for rule_reading in rule_readings
        ]:
            self.differences.append("the sections are not those that decide")
        if line.decided == "submitted":
            self._check_submission(line, compute_set(rule_readings), node)
        else:
            self._check_attestation(line, rule_readings)

    def _check_submission(self, line: DecisionMade, records: RecordSet, node: PeerId) -> None:
        self._compare_settled(line, records)
        if line.on_chain is None or line.on_chain.submitter != node:
            self.differences.append("the submission on the chain is another node's")
        elif line.settled and line.on_chain.set == line.settled.set:
            self.differences += _compare_pairs(
                "on the chain", line.on_chain.scores, dict(line.settled.pay)
            )

    def _check_attestation(self, line: DecisionMade, rule_readings: Sequence[RuleReading]) -> None:
        if line.on_chain is None:
            self.differences.append("there is no submission to decide on")
            return
        named = line.on_chain.set
        claim = SubmissionClaim(
            tuple(map(bytes.fromhex, named.bitmaps)), Hash32(bytes.fromhex(named.root))
        )
        verdict = judge_claim(claim, rule_readings, self._read_shown(line))
        decided = "refused"
        differences = getattr(verdict, "differences", ())
        if isinstance(verdict, Agreed):
            settlement = self._compare_settled(line, verdict.records)
            differences = (
                line.differences
            )  # who is paid otherwise is words; whether anybody is, is compared here
            if dict(line.on_chain.scores) == settlement.pay:
                decided = "agreed"
            else:
                decided = "refused"
        elif isinstance(verdict, Undecided):
            decided = "abstained"
            differences = (verdict.why,)
        if line.decided != decided:
            self.differences.append(f"decided: written {line.decided}, recomputed {decided}")
        if line.differences != differences:
            self.differences.append(
                f"why: written {'; '.join(line.differences)}, recomputed {'; '.join(differences)}"
            )

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
        bitmaps = tuple(bitmap.hex() for bitmap in records.bitmaps)
        root = records.root.hex()
        if written.bitmaps != bitmaps:
            self.differences.append(
                f"bitmaps: written {' '.join(written.bitmaps)}, recomputed {' '.join(bitmaps)}"
            )
        if written.root != root:
            self.differences.append(f"root: written {written.root}, recomputed {root}")

    def _compare_outcome(self, written: Outcome, outcome: HosterOutcome) -> None:
        self.differences += _compare_pairs("score", written.scores, outcome.scores)
        for name in ("score_list", "committed", "opened", "challenge_digest"):
            if getattr(written, name) != getattr(outcome, name):
                self.differences.append(f"{name} is not what the set gives")

    def _read_sections(self, rule_readings: Sequence[SectionRead]) -> tuple[RuleReading, ...]:
        return tuple(map(self._read_section, rule_readings))

    def _read_section(self, it: SectionRead) -> RuleReading:
        """Raises KeyError for a rule or an epoch that is not known."""
        rule = self._policy.get_rule(it.kind)
        key_rules = {
            key_rule.key: key_rule for key_rule in self._schedule.get_key_rules(rule, it.epoch)
        }
        roster = self._schedule.get_context(it.epoch).roster
        readings = (
            self._read_key(key_rules[reading.key], reading, is_own=True) for reading in it.readings
        )
        return RuleReading(rule, it.epoch, roster, tuple(readings))

    def _read_key(self, key_rule: KeyRule, reading: Reading, *, is_own: bool) -> KeyReading:
        """What is proven is judged and verified again. Of its own readings a node keeps no receipt
        that does not hold.
        """
        proofs: dict[RecordId, Proof] = {}
        signers: dict[RecordId, frozenset[PeerId]] = {}
        for author, digest in reading.proven:
            record_id = RecordId(reading.key, author, digest)
            proof = proofs[record_id] = self._proofs[record_id]
            who = signers[record_id] = key_rule.receipt_rule.compute_signers(
                record_id, proof.receipts
            )
            verdict = self._judge.recognise(proof.record, self._now)
            if isinstance(verdict, Denied):
                self.differences.append(f"{key_rule.name} by {format_peer_id(author)}: {verdict}")
            if is_own and len(who) != len(proof.receipts):
                false = [
                    receipt.replica for receipt in proof.receipts if receipt.replica not in who
                ]
                words = ", ".join(map(format_peer_id, false))
                self.differences.append(
                    f"{key_rule.name} by {format_peer_id(author)}: no receipt holds of {words}"
                )
        for author, digest, replicas in reading.unverified:
            signers[RecordId(reading.key, author, digest)] = frozenset(replicas)
        return KeyReading(key_rule, proofs, signers, frozenset(reading.answered))

    def _read_shown(self, line: DecisionMade) -> ShownSet:
        key_rules = {
            key_rule.key: key_rule
            for it in line.rule_readings
            for key_rule in self._schedule.get_key_rules(self._policy.get_rule(it.kind), it.epoch)
        }
        readings = tuple(
            self._read_key(key_rules[reading.key], reading, is_own=False) for reading in line.shown
        )
        network = self._now.network
        evidence = [
            pair
            for pair in line.evidence
            if all(is_record_signed(network, record) for record in pair)
        ]
        return ShownSet(readings, tuple(evidence))


def _compare_pairs(what: str, written: Pairs, recomputed: Mapping[PeerId, int]) -> Iterator[str]:
    before = dict(written)
    for author in sorted(before.keys() | recomputed.keys()):
        if before.get(author) != recomputed.get(author):
            yield (
                f"{what} of {format_peer_id(author)}: written {before.get(author)}, recomputed"
                f" {recomputed.get(author)}"
            )
