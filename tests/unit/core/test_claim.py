"""Honest attestors and honest submitters agree while faults stay within f, tried exhaustively for K
= 4 and 7.

Honest replicas are interchangeable, and so are faulty ones up to what they show to whom; so how
many honest replicas hold which value is enumerated, and for every faulty replica every pair of what
it shows to the submitter and what to the attestor. A faulty replica may also be silent to either.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec
import pytest

from epochgate.core.claim import (
    Agreed,
    Disputed,
    ShownSet,
    SubmissionClaim,
    Undecided,
    compute_claim,
    judge_claim,
)
from epochgate.core.epoch import epochs, percent
from epochgate.core.policy import Policy
from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.record_set import (
    KeyReading,
    RecordSet,
    RuleReading,
    compute_bitmap,
    compute_root,
    compute_set,
    read_bitmap,
)
from epochgate.core.roster import HOSTER, Member, Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest
from epochgate.core.types import Epoch, Hash32, RecordKey
from tests.support.identities import TIMING, key_of, make_context, sign

RULE = Rule(
    "commit_epoch_{epoch}",
    by=HOSTER,
    during=percent("[0, 50]"),
    ttl=epochs(2),
    schema=Digest(),
    once=True,
)
NOTHING: frozenset[RecordId] = frozenset()


class ClaimScenario:
    """One deciding key with K replicas, the first f of them faulty, and two different records of
    one author.
    """

    def __init__(self, k: int) -> None:
        people = [key_of(f"peer {number}") for number in range(k)]
        roster = Roster(Epoch(0), bytes(32), [Member(person.author, HOSTER) for person in people])
        schedule = EpochSchedule(Policy(RULE))
        schedule.add(make_context(Epoch(0), roster=roster))
        self.key_rule: KeyRule = schedule.get_key_rule(RULE, Epoch(0))
        self.roster = roster
        self.f = self.key_rule.replica_set.f
        self.faulty = self.key_rule.replica_set.replicas[: self.f]
        self.honest = self.key_rule.replica_set.replicas[self.f :]
        self.author = people[0]
        self.records: dict[RecordId, Record] = {}
        for value in (b"A", b"B"):
            record = sign(self.author, self.key_rule.name, value * 32, 2 * TIMING.seconds_per_epoch)
            self.records[compute_record_id(record)] = record
        self.a, self.b = self.records

    def read(
        self,
        honest: tuple[frozenset[RecordId], ...],
        faulty: tuple[frozenset[RecordId] | None, ...],
    ) -> RuleReading:
        """What a reader gets when each replica shows these values; None is silence."""
        shown = dict(zip(self.honest + self.faulty, honest + faulty, strict=True))
        signers = {
            record_id: frozenset(
                who for who, record_ids in shown.items() if record_ids and record_id in record_ids
            )
            for record_id in self.records
        }
        signers = {record_id: who for record_id, who in signers.items() if who}
        proofs = {record_id: Proof(self.records[record_id], ()) for record_id in signers}
        answered = frozenset(who for who, record_ids in shown.items() if record_ids is not None)
        return RuleReading(
            RULE, Epoch(0), self.roster, (KeyReading(self.key_rule, proofs, signers, answered),)
        )

    def holdings(self) -> Iterator[tuple[frozenset[RecordId], ...]]:
        """Every way in which the honest replicas, each of which holds one value at most, can hold
        them.
        """
        options = (NOTHING, frozenset({self.a}), frozenset({self.b}))
        return itertools.combinations_with_replacement(options, len(self.honest))

    def lies(self) -> Iterator[tuple[frozenset[RecordId] | None, ...]]:
        """Everything that the faulty replicas together can show one reader."""
        options = (
            None,
            NOTHING,
            frozenset({self.a}),
            frozenset({self.b}),
            frozenset({self.a, self.b}),
        )
        return itertools.product(options, repeat=self.f)


def show(rule_reading: RuleReading, records: RecordSet) -> ShownSet:
    """What an honest submitter serves: the proofs of what it included, and the evidence for what it
    left out.
    """
    included = {
        compute_record_id(proof.record)
        for proofs in records.included.values()
        for proof in proofs.values()
    }
    reading = rule_reading.readings[0]
    signers = {
        record_id: who for record_id, who in reading.signers.items() if record_id in included
    }
    proofs = {
        record_id: proof for record_id, proof in reading.proofs.items() if record_id in included
    }
    pairs = [
        tuple(proof.record for proof in pair[:2])
        for authors in records.excluded.values()
        for pair in authors.values()
    ]
    return ShownSet(
        (msgspec.structs.replace(reading, proofs=proofs, signers=signers),),
        tuple((a, b) for a, b in pairs),
    )


@pytest.mark.parametrize("k", [4, 7])
def test_a_late_record_is_never_proven(k: int) -> None:
    scenario = ClaimScenario(k)
    nobody = (NOTHING,) * len(scenario.honest)
    for lie in scenario.lies():
        rule_reading = scenario.read(nobody, lie)
        assert not rule_reading.get_proofs(Standing.PROVEN)
        assert compute_set([rule_reading]).included == {("commit", 0): {}}


@pytest.mark.parametrize("k", [4, 7])
def test_an_honest_attestor_never_refuses_an_honest_submitter(k: int) -> None:
    scenario = ClaimScenario(k)
    for honest, to_submitter, to_attestor in itertools.product(
        scenario.holdings(), scenario.lies(), scenario.lies()
    ):
        seen_by_submitter = scenario.read(honest, to_submitter)
        records = compute_set([seen_by_submitter])
        verdict = judge_claim(
            compute_claim(records),
            [scenario.read(honest, to_attestor)],
            show(seen_by_submitter, records),
        )
        assert isinstance(verdict, Agreed), (honest, to_submitter, to_attestor, verdict)
        assert verdict.records.included == records.included


@pytest.mark.parametrize("k", [4, 7])
def test_what_an_honest_reader_sees_complete_every_honest_reader_sees_proven(k: int) -> None:
    scenario = ClaimScenario(k)
    for honest, to_one, to_other in itertools.product(
        scenario.holdings(), scenario.lies(), scenario.lies()
    ):
        for proofs in scenario.read(honest, to_one).get_proofs(Standing.COMPLETE).values():
            elsewhere = scenario.read(honest, to_other).get_proofs(Standing.PROVEN)[
                scenario.author.author
            ]
            assert all(proof in elsewhere for proof in proofs)


@pytest.mark.parametrize("k", [4, 7])
def test_a_dishonest_submitter_is_refused(k: int) -> None:
    scenario = ClaimScenario(k)
    everyone = (frozenset({scenario.a}),) * len(scenario.honest)
    silent = (NOTHING,) * scenario.f
    attestor = scenario.read(everyone, silent)
    empty = compute_set([scenario.read((NOTHING,) * len(scenario.honest), silent)])
    left_out = judge_claim(compute_claim(empty), [attestor], ShownSet())
    assert isinstance(left_out, Disputed)
    assert "left out without evidence" in left_out.differences[0]

    made_up = SubmissionClaim(
        (compute_bitmap(scenario.roster, [scenario.author.author]),), compute_root([scenario.b])
    )
    assert isinstance(judge_claim(made_up, [attestor], ShownSet()), Disputed)
    late = scenario.read((NOTHING,) * len(scenario.honest), (frozenset({scenario.b}),) * scenario.f)
    unproven = judge_claim(made_up, [late], show(late, compute_set([late])))
    assert isinstance(unproven, Disputed)
    assert "not proven" in unproven.differences[0]


def test_evidence_must_be_two_values_of_one_author_under_this_key() -> None:
    scenario = ClaimScenario(4)
    rule_reading = scenario.read((frozenset({scenario.a}),) * 3, (NOTHING,))
    claim = SubmissionClaim((compute_bitmap(scenario.roster, []),), compute_root([]))
    first, second = scenario.records.values()
    elsewhere = msgspec.structs.replace(second, key=bytes(20))
    somebody_else = msgspec.structs.replace(second, author=key_of("peer 1").author)
    assert isinstance(judge_claim(claim, [rule_reading], ShownSet((), ((first, second),))), Agreed)
    for evidence in ((), ((first, first),), ((first, elsewhere),), ((first, somebody_else),)):
        assert isinstance(judge_claim(claim, [rule_reading], ShownSet((), evidence)), Disputed)


def test_too_few_answers_mean_abstaining() -> None:
    scenario = ClaimScenario(4)
    rule_reading = scenario.read((frozenset({scenario.a}),) * 3, (None,))
    records = compute_set([rule_reading])
    reading = rule_reading.readings[0]
    lonely = msgspec.structs.replace(reading, answered=frozenset(list(reading.answered)[:2]))
    verdict = judge_claim(
        compute_claim(records),
        [msgspec.structs.replace(rule_reading, readings=(lonely,))],
        ShownSet(),
    )
    assert isinstance(verdict, Undecided)
    assert "commit of epoch 0" in verdict.why


def test_a_proven_record_whose_value_nobody_handed_over_leaves_the_reading_open() -> None:
    scenario = ClaimScenario(4)
    reading = scenario.read((frozenset({scenario.a}),) * 3, (NOTHING,)).readings[0]
    assert reading.is_enough
    assert not msgspec.structs.replace(reading, proofs={}).is_enough


def test_a_claim_that_does_not_fit_the_roster_is_disputed() -> None:
    scenario = ClaimScenario(4)
    rule_reading = scenario.read((NOTHING,) * 3, (NOTHING,))
    for bitmaps in ((), (b"",), (b"\xff",), (b"\0\0",)):
        assert isinstance(
            judge_claim(SubmissionClaim(bitmaps, compute_root([])), [rule_reading], ShownSet()),
            Disputed,
        )


def test_bitmaps_name_authors_and_nothing_else() -> None:
    roster = ClaimScenario(7).roster
    for chosen in itertools.chain.from_iterable(
        itertools.combinations(roster.authors, n) for n in range(8)
    ):
        assert read_bitmap(roster, compute_bitmap(roster, chosen)) == chosen


def test_roots_differ_with_every_set_of_leaves_and_not_with_their_order() -> None:
    leaves = [
        RecordId(RecordKey(bytes([n]) * 20), key_of(f"peer {n}").author, Hash32(bytes([n]) * 32))
        for n in range(6)
    ]
    subsets = [subset for n in range(7) for subset in itertools.combinations(leaves, n)]
    assert len({compute_root(subset) for subset in subsets}) == len(subsets)
    assert compute_root(leaves) == compute_root(reversed(leaves))


def test_a_submitter_that_shows_nothing_is_believed_where_ones_own_reading_proves_its_set() -> None:
    scenario = ClaimScenario(7)
    rule_reading = scenario.read(
        (frozenset({scenario.a}),) * len(scenario.honest), (NOTHING,) * scenario.f
    )
    assert isinstance(
        judge_claim(compute_claim(compute_set([rule_reading])), [rule_reading], ShownSet()), Agreed
    )
