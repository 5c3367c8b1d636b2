"""From the set to the pay: which openings count, whose lists are paid, and what breaks neither."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from epochgate.core.challenge import Chosen, compute_challenge
from epochgate.core.commitment import Opening, compute_commitment
from epochgate.core.policy import Policy
from epochgate.core.receipt import Proof
from epochgate.core.record import Record, compute_key
from epochgate.core.record_set import RecordSet
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.schedule import EpochSchedule
from epochgate.core.scoring import HOSTER_POT, MAX_SCORE, TOTAL_PAY, VALIDATOR_POT, ScoreList
from epochgate.core.settlement import (
    Settlement,
    compute_deciding,
    compute_expected_challenge,
    compute_hoster_outcome,
    compute_settlement,
)
from epochgate.core.types import Epoch, Hash32, PeerId, Salt
from epochgate.keys import SigningKey
from epochgate.policies.inference import CHALLENGE, INFERENCE_POLICY, OUTPUT
from epochgate.schemas import Tensor
from tests.support.identities import (
    NETWORK,
    alice,
    bob,
    carol,
    make_context,
    make_roster,
    vera,
    victor,
    vito,
)

EPOCH = 9
"""The epoch in which the submission is made: about the hosters of 8 and the lists about 7."""

HONEST = np.linspace(-1, 1, 16 * 64, dtype=np.float32).reshape(16, 64)
CHOSEN = Policy(  # the publisher chooses: any tensor is a challenge
    *(
        (
            msgspec.structs.replace(rule, schema=Chosen(Tensor("float32", (16, 64))))
            if rule.kind == "consensus"
            else rule
        )
        for rule in INFERENCE_POLICY.rules
    )
)


class Book:
    """A set of records under construction; nothing in it is signed, since settlement asks
    no more.
    """

    def __init__(self, policy: Policy = INFERENCE_POLICY) -> None:
        self.policy = policy
        self.schedule = EpochSchedule(policy)
        for epoch in range(EPOCH - 2, EPOCH + 1):
            self.schedule.add(make_context(Epoch(epoch)))
        self.included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}

    def challenge(self, epoch: Epoch) -> bytes:
        digest = compute_expected_challenge(INFERENCE_POLICY, self.schedule.get_context(epoch))
        assert digest is not None
        return digest

    def put(self, kind: str, epoch: Epoch, author: SigningKey, payload: bytes) -> None:
        record = Record(
            compute_key(f"{kind}_epoch_{epoch}"), author.author, bytes(64) + payload, 0.0
        )
        self.included.setdefault((kind, epoch), {})[author.author] = Proof(record, ())

    def commit_and_open(
        self,
        author: SigningKey,
        kind: str,
        epoch: Epoch,
        payload: bytes,
        challenge: bytes | None = None,
    ) -> Opening:
        """Commit in `epoch`, and open when the role does."""
        opening = Opening(Salt(bytes(32)), Hash32(challenge or self.challenge(epoch)), payload)
        self.put(
            f"{kind}-commit",
            epoch,
            author,
            compute_commitment(NETWORK, f"{kind}-commit", epoch, author.author, opening),
        )
        self.put(f"{kind}-reveal", Epoch(epoch + (kind == "validator")), author, opening.to_bytes())
        return opening

    def host(
        self,
        author: SigningKey,
        output: np.ndarray,
        challenge: bytes | None = None,
        epoch: Epoch = Epoch(EPOCH - 1),
    ) -> None:
        self.commit_and_open(author, "hoster", epoch, OUTPUT.encode(output), challenge)

    def list_scores(self, author: SigningKey, scores: tuple[int, ...]) -> None:
        self.commit_and_open(author, "validator", Epoch(EPOCH - 2), ScoreList().encode(scores))

    @property
    def records(self) -> RecordSet:
        return RecordSet(self.included, {}, (), Hash32(b""))

    def settle(self, attested_list: tuple[int, ...] | None = (MAX_SCORE,) * 3) -> Settlement:
        return compute_settlement(
            self.policy, self.schedule, self.records, Epoch(EPOCH), attested_list
        )


def make_usual_book() -> Book:
    book = Book()
    for hoster in (alice, bob, carol):
        book.host(hoster, HONEST)
    for validator in (victor, vera, vito):
        book.list_scores(validator, (MAX_SCORE,) * 3)
    return book


def test_honest_work_shares_both_pots_exactly() -> None:
    pay = make_usual_book().settle().pay
    assert sum(pay.values()) == TOTAL_PAY
    assert sum(pay[hoster.author] for hoster in (alice, bob, carol)) == HOSTER_POT
    assert {pay[validator.author] for validator in (victor, vera, vito)} == {VALIDATOR_POT // 3}
    assert list(pay) == sorted(pay)


def test_a_copied_commitment_earns_its_copier_nothing_and_costs_the_others_nothing() -> None:
    book = Book()
    for hoster in (alice, bob, carol):
        book.host(hoster, HONEST)
    copied = book.included["hoster-commit", Epoch(8)][alice.author].record.payload
    opened = book.included["hoster-reveal", Epoch(8)][alice.author].record.payload
    book.put("hoster-commit", Epoch(8), carol, copied)
    book.put("hoster-reveal", Epoch(8), carol, opened)
    outcome = compute_hoster_outcome(INFERENCE_POLICY, book.schedule, book.records, Epoch(8))
    assert carol.author in outcome.committed
    assert carol.author not in outcome.opened
    assert outcome.scores[carol.author] == 0


@pytest.mark.parametrize(
    "what", ["other challenge", "never opened", "opened something else", "another epoch's"]
)
def test_an_opening_that_does_not_fit_counts_as_none(what: str) -> None:
    book = make_usual_book()
    if what == "other challenge":
        book.host(alice, HONEST, challenge=book.challenge(Epoch(EPOCH - 2)))
    elif what == "never opened":
        del book.included["hoster-reveal", Epoch(8)][alice.author]
    elif what == "opened something else":
        book.put(
            "hoster-reveal",
            Epoch(8),
            alice,
            Opening(
                Salt(bytes(32)), Hash32(book.challenge(Epoch(8))), OUTPUT.encode(HONEST * 2)
            ).to_bytes(),
        )
    else:
        opening = Opening(Salt(bytes(32)), Hash32(book.challenge(Epoch(8))), OUTPUT.encode(HONEST))
        book.put(
            "hoster-commit",
            Epoch(8),
            alice,
            compute_commitment(NETWORK, "hoster-commit", Epoch(7), alice.author, opening),
        )
    outcome = compute_hoster_outcome(INFERENCE_POLICY, book.schedule, book.records, Epoch(8))
    assert alice.author not in outcome.opened
    assert set(outcome.scores) == {hoster.author for hoster in (alice, bob, carol)}


@pytest.mark.parametrize("payload", [b"", bytes(64), bytes(64) + b"no tensor"])
def test_an_opening_that_nobody_can_decode_counts_as_none(payload: bytes) -> None:
    book = make_usual_book()
    book.put("hoster-reveal", Epoch(8), alice, payload)
    outcome = compute_hoster_outcome(INFERENCE_POLICY, book.schedule, book.records, Epoch(8))
    assert alice.author in outcome.committed
    assert alice.author not in outcome.opened


def test_openings_held_back_do_not_make_a_majority_of_what_is_left() -> None:
    book = make_usual_book()
    del book.included["hoster-reveal", Epoch(8)][alice.author]
    settlement = book.settle()
    assert settlement.outcome.scores == {hoster.author: 0 for hoster in (alice, bob, carol)}
    assert set(settlement.pay.values()) == {0}


def test_a_list_is_paid_by_the_entries_that_fit_the_recomputed_one() -> None:
    book = make_usual_book()
    book.list_scores(vera, (MAX_SCORE, MAX_SCORE, 0))
    book.list_scores(vito, (MAX_SCORE,) * 4)
    weights = book.settle().list_weights
    assert [weights[v.author] for v in (victor, vera, vito)] == [3, 2, 0]


@pytest.mark.parametrize("what", ["committed to nothing", "never opened"])
def test_a_silent_validator_earns_nothing(what: str) -> None:
    book = make_usual_book()
    del book.included["validator-reveal", Epoch(8)][vito.author]
    if what == "committed to nothing":
        del book.included["validator-commit", Epoch(7)][vito.author]
    settlement = book.settle()
    assert settlement.list_weights[vito.author] == 0
    assert settlement.pay[vito.author] == 0
    assert settlement.pay[victor.author] == settlement.pay[vera.author] == VALIDATOR_POT // 2


def test_where_all_validators_are_silent_nobody_is_paid() -> None:
    book = make_usual_book()
    del book.included["validator-reveal", Epoch(8)]
    settlement = book.settle()
    assert set(settlement.list_weights.values()) == {0}
    assert set(settlement.pay.values()) == {0}


def test_a_validator_that_joined_after_the_lists_epoch_earns_nothing_yet() -> None:
    book = make_usual_book()
    hosters = {hoster: int(HOSTER) for hoster in (alice, bob, carol)}
    for epoch, validators in ((EPOCH - 2, [victor, vera]), (EPOCH - 1, [victor, vera, vito])):
        roles = hosters | {validator: int(VALIDATOR) for validator in validators}
        book.schedule.add(make_context(Epoch(epoch), make_roster(Epoch(epoch), roles)))
    for kind, epoch in (("validator-commit", EPOCH - 2), ("validator-reveal", EPOCH - 1)):
        del book.included[kind, Epoch(epoch)][vito.author]
    settlement = book.settle()
    assert settlement.pay[vito.author] == 0
    assert settlement.pay[victor.author] == settlement.pay[vera.author] == VALIDATOR_POT // 2


def test_the_first_epochs_hosters_are_not_paid_before_there_are_lists() -> None:
    """The validators' pot would have nobody to pay."""
    book = Book()
    book.schedule = EpochSchedule(INFERENCE_POLICY)
    for epoch in (0, 1):
        book.schedule.add(make_context(Epoch(epoch)))
    for hoster in (alice, bob, carol):
        book.host(hoster, HONEST, epoch=Epoch(0))
    settlement = compute_settlement(
        INFERENCE_POLICY, book.schedule, book.records, Epoch(1), attested_list=None
    )
    assert set(settlement.outcome.scores.values()) == {MAX_SCORE}
    assert set(settlement.pay.values()) == {0}


def test_nobody_is_paid_for_lists_about_an_epoch_in_which_no_commitment_counted() -> None:
    settlement = make_usual_book().settle(attested_list=())
    assert set(settlement.list_weights.values()) == {0}
    assert set(settlement.pay.values()) == {0}


def test_the_first_submission_finds_no_lists_and_pays_nobody() -> None:
    schedule = EpochSchedule(INFERENCE_POLICY)
    for epoch in (0, 1):
        schedule.add(make_context(Epoch(epoch)))
    settlement = compute_settlement(
        INFERENCE_POLICY, schedule, RecordSet({}, {}, (), Hash32(b"")), Epoch(1), None
    )
    assert set(settlement.pay.values()) == {0}
    assert len(settlement.pay) == 6


def test_without_an_attested_list_it_follows_from_the_set_itself() -> None:
    book = make_usual_book()
    for hoster in (alice, bob, carol):
        book.host(hoster, HONEST, epoch=Epoch(EPOCH - 2))
    assert book.settle(attested_list=None).list_weights == book.settle().list_weights


def test_which_records_decide() -> None:
    def names(epoch: Epoch, *, is_attested: bool) -> list[tuple[str, int]]:
        return [
            (rule.kind, of)
            for rule, of in compute_deciding(INFERENCE_POLICY, epoch, is_attested=is_attested)
        ]

    usual = [
        ("hoster-commit", 8),
        ("hoster-reveal", 8),
        ("validator-commit", 7),
        ("validator-reveal", 8),
    ]
    assert names(Epoch(9), is_attested=True) == usual
    assert names(Epoch(9), is_attested=False) == [
        *usual,
        ("hoster-commit", 7),
        ("hoster-reveal", 7),
    ]
    assert names(Epoch(1), is_attested=False) == [
        ("hoster-commit", 0),
        ("hoster-reveal", 0),
        ("validator-reveal", 0),
    ]


def test_where_the_publisher_chooses_the_challenge_most_openings_name_counts() -> None:
    book = Book(CHOSEN)
    one = bytes([1]) * 32
    other = bytes([2]) * 32
    for hoster, challenge in ((alice, one), (bob, one), (carol, other)):
        book.host(hoster, HONEST, challenge=challenge)
    outcome = compute_hoster_outcome(CHOSEN, book.schedule, book.records, Epoch(8))
    assert outcome.opened == tuple(sorted([alice.author, bob.author]))
    assert outcome.challenge_digest == one


def test_of_two_challenges_that_equally_many_openings_name_the_smaller_digest_counts() -> None:
    book = Book(CHOSEN)
    one = bytes([1]) * 32
    other = bytes([2]) * 32
    for hoster, challenge in ((alice, other), (bob, one)):
        book.host(hoster, HONEST, challenge=challenge)
    assert (
        compute_hoster_outcome(CHOSEN, book.schedule, book.records, Epoch(8)).challenge_digest
        == one
    )


def test_an_opening_that_does_not_fit_its_commitment_has_no_say_in_what_the_challenge_is() -> None:
    book = Book(CHOSEN)
    one = bytes([1]) * 32
    other = bytes([2]) * 32
    for hoster, challenge in ((alice, one), (bob, one), (carol, other)):
        book.host(hoster, HONEST, challenge=challenge)
    for hoster in (alice, bob):
        del book.included["hoster-commit", Epoch(8)][hoster.author]
    assert (
        compute_hoster_outcome(CHOSEN, book.schedule, book.records, Epoch(8)).challenge_digest
        == other
    )


def test_without_a_challenge_there_is_nothing_to_score_and_nobody_to_pay() -> None:
    outcome = compute_hoster_outcome(
        CHOSEN, Book(CHOSEN).schedule, RecordSet({}, {}, (), Hash32(b"")), Epoch(8)
    )
    assert outcome.challenge_digest is None
    assert outcome.score_list == ()
    assert set(outcome.scores.values()) == {0}


def test_a_policy_without_challenges_opens_to_the_same_nothing() -> None:
    policy = Policy(*(rule for rule in INFERENCE_POLICY.rules if rule.kind != "consensus"))
    assert compute_expected_challenge(policy, make_context(Epoch(EPOCH))) == bytes(32)
    assert policy.protocol.require_outputs().reveal.kind == "hoster-reveal"


def test_the_expected_challenge_is_that_of_the_epochs_seed() -> None:
    context = make_context(Epoch(EPOCH))
    array = compute_challenge(CHALLENGE, NETWORK, Epoch(EPOCH), context.roster.seed)
    assert array.shape == (16, 64)
    assert compute_expected_challenge(INFERENCE_POLICY, context) != compute_expected_challenge(
        INFERENCE_POLICY, make_context(Epoch(EPOCH - 1))
    )
