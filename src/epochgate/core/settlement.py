"""From the records that count to the scores on the chain. A submitter computes them, and every
attestor computes them again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from epochgate.core.commitment import Opened, is_opened
from epochgate.core.policy import Policy
from epochgate.core.protocol import CommitReveal
from epochgate.core.record import Record
from epochgate.core.record_set import RecordSet
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.scoring import compute_hoster_scores, compute_pay, count_good_entries
from epochgate.core.types import Epoch, Hash32, PeerId

NO_CHALLENGE = Hash32(bytes(32))
"""Openings name it in a subnet without challenges."""


class HosterOutcome(msgspec.Struct, frozen=True):
    """The hosters of one epoch, judged.

    Attributes:
        scores: 0 to 10^6 for each hoster on the roster, in order of author.
        score_list: The list that a validator must commit to: the same scores without their authors.
            It is empty, and no list fits it, when no hoster's commitment counts.
        committed: The authors whose commitments count.
        opened: The authors whose openings fit them and name the challenge that counted.
        challenge_digest: Names that challenge; None where the publisher chooses it and no opening
            that counts names one.
    """

    scores: dict[PeerId, int]
    score_list: tuple[int, ...]
    committed: tuple[PeerId, ...]
    opened: tuple[PeerId, ...]
    challenge_digest: Hash32 | None


class Settlement(msgspec.Struct, frozen=True):
    """The pay that a submission states, and the scores and lists that it follows from.

    Attributes:
        epoch: The epoch in which the submission is made.
        pay: By author, in order of author; 10^18 together, or 0 for all.
        outcome: The hosters of the epoch before.
        list_weights: The good entries of each validator's list about the epoch before that one.
    """

    epoch: Epoch
    pay: dict[PeerId, int]
    outcome: HosterOutcome
    list_weights: dict[PeerId, int]


def compute_deciding(
    policy: Policy, epoch: Epoch, *, is_attested: bool
) -> tuple[tuple[Rule, Epoch], ...]:
    """The records that a submission rests on.

    Args:
        policy: The subnet's policy. It must have rules for outputs and scores.
        epoch: The epoch in which the submission is made.
        is_attested: Whether the submission made one epoch before was attested. If not, nobody
            agreed on the hosters' records of the epoch that the lists are about, so this submission
            names them too.

    Returns:
        Pairs of a rule and the epoch of its keys, in the order of the submission's bitmaps. Epochs
        before the subnet's first one are left out.

    Raises:
        LookupError: The policy lacks those rules.
    """
    outputs = policy.protocol.require_outputs()
    scores = policy.protocol.require_scores()
    before = Epoch(epoch - 1)
    list_epoch = scores.compute_commit_epoch(before)
    pairs = [
        (outputs.commit, outputs.compute_commit_epoch(before)),
        (outputs.reveal, before),
        (scores.commit, list_epoch),
        (scores.reveal, before),
    ]
    if not is_attested:
        pairs += [(outputs.commit, list_epoch), (outputs.reveal, list_epoch)]
    return tuple((rule, key_epoch) for rule, key_epoch in pairs if key_epoch >= 0)


def compute_expected_challenge(policy: Policy, context: EpochContext) -> Hash32 | None:
    """The digest that every opening of an epoch must name.

    Args:
        policy: The subnet's policy.
        context: The chain's facts about the epoch.

    Returns:
        The digest of the derived challenge, or `NO_CHALLENGE` in a subnet without challenges; None
        where the publisher chooses.
    """
    protocol = policy.protocol
    if protocol.challenge is None:
        return NO_CHALLENGE
    if protocol.derived is None:
        return None
    return protocol.derived.compute_digest(context)


def compute_hoster_outcome(
    policy: Policy, schedule: EpochSchedule, records: RecordSet, epoch: Epoch
) -> HosterOutcome:
    """Score the hosters of an epoch.

    Args:
        policy: The subnet's policy.
        schedule: Knows the epoch's context.
        records: The records that count; its commitments and openings of the epoch are used.
        epoch: The epoch in which outputs were opened.

    Returns:
        The outcome: a score for each hoster on the epoch's roster, 0 for those that did not open.
    """
    context = schedule.get_context(epoch)
    outputs = policy.protocol.require_outputs()
    committed = tuple(records.get_records(outputs.commit.kind, epoch))
    opened = collect_openings(schedule, records, outputs, epoch)
    challenge = compute_expected_challenge(policy, context)
    if challenge is None:
        challenge = _elect_challenge(opened)
    # Stops "opening with another challenge".
    answers = {
        author: answer.value
        for author, answer in opened.items()
        if answer.opening.challenge_digest == challenge
    }
    # Stops "opening nothing": a commitment without an opening scores 0.
    scored = compute_hoster_scores(answers, committed, policy.scoring.tolerance_ppm)
    scores = {author: scored.get(author, 0) for author in context.roster.hosters}
    score_list = tuple(scores.values()) if committed else ()
    return HosterOutcome(scores, score_list, committed, tuple(answers), challenge)


def collect_openings(
    schedule: EpochSchedule, records: RecordSet, pair: CommitReveal, epoch: Epoch
) -> dict[PeerId, Opened]:
    """The openings that fit their authors' commitments.

    Args:
        schedule: Knows the epoch's context.
        records: The records that count.
        pair: The rules by which authors commit and open.
        epoch: The epoch in which they open.

    Returns:
        The openings by author, decoded. An opening without a commitment that counts, or that does
        not fit it, is left out.
    """
    commit_epoch = pair.compute_commit_epoch(epoch)
    commitments = records.get_records(pair.commit.kind, commit_epoch)
    network = schedule.get_context(epoch).network
    fitting: dict[PeerId, Opened] = {}
    for author, proof in records.get_records(pair.reveal.kind, epoch).items():
        commitment = commitments.get(author)
        opened = _decode(schedule, pair.reveal, epoch, proof.record)
        if commitment is None or opened is None:
            continue
        digest = Hash32(commitment.record.payload)
        # Stops "a copied digest and its opening".
        if is_opened(digest, network, pair.commit.kind, commit_epoch, author, opened.opening):
            fitting[author] = opened
    return fitting


def compute_settlement(
    policy: Policy,
    schedule: EpochSchedule,
    records: RecordSet,
    epoch: Epoch,
    attested_list: tuple[int, ...] | None,
) -> Settlement:
    """Compute the pay that a submission must state: for the hosters of the epoch before, and for
    the validators' lists about the epoch before that one.

    Args:
        policy: The subnet's policy.
        schedule: Knows the contexts of both epochs.
        records: The records that count for the submission.
        epoch: The epoch in which the submission is made.
        attested_list: The list recomputed from the set attested for the lists' epoch. None if none
            was attested: then it is recomputed from `records`.

    Returns:
        The settlement. A validator without a list that counts weighs 0.
    """
    before = Epoch(epoch - 1)
    outcome = compute_hoster_outcome(policy, schedule, records, before)
    # silence may never earn: a validator that opens no list weighs 0
    weights = dict.fromkeys(schedule.get_context(before).roster.validators, 0)
    list_epoch = policy.protocol.require_scores().compute_commit_epoch(before)
    if list_epoch >= 0:
        if attested_list is None:
            attested = compute_hoster_outcome(policy, schedule, records, list_epoch)
            attested_list = attested.score_list
        weights |= _weigh_lists(policy, schedule, records, before, attested_list)
    pay = compute_pay(
        outcome.scores,
        weights,
        hoster_pot=policy.scoring.hoster_pot,
        validator_pot=policy.scoring.validator_pot,
    )
    return Settlement(epoch, pay, outcome, weights)


def _weigh_lists(
    policy: Policy,
    schedule: EpochSchedule,
    records: RecordSet,
    epoch: Epoch,
    reference: tuple[int, ...],
) -> dict[PeerId, int]:
    """The good entries of the lists opened in `epoch`, by validator of the lists' epoch."""
    scores = policy.protocol.require_scores()
    list_context = schedule.get_context(scores.compute_commit_epoch(epoch))
    challenge = compute_expected_challenge(policy, list_context)
    weights = dict.fromkeys(list_context.roster.validators, 0)
    for author, opened in collect_openings(schedule, records, scores, epoch).items():
        # Stops "opening with another challenge".
        if challenge not in (None, opened.opening.challenge_digest):
            continue
        if isinstance(opened.value, tuple):
            weights[author] = count_good_entries(opened.value, reference)
    return weights


def _decode(schedule: EpochSchedule, rule: Rule, epoch: Epoch, record: Record) -> Opened | None:
    """The record's opening; None where it is not one."""
    author = record.author if rule.is_of_an_author else None
    try:
        value = schedule.get_key_rule(rule, epoch, author).decode(record.payload)
    except (Malformed, KeyError):
        return None
    if not isinstance(value, Opened):
        return None
    return value


def _elect_challenge(opened: Mapping[PeerId, Opened]) -> Hash32 | None:
    """The challenge that most openings name, the smallest digest among equals; None where there is
    no opening (docs/spec.md#4-one-epoch).
    """
    # Stops "a challenge twice, late or malformed".
    counts = Counter(answer.opening.challenge_digest for answer in opened.values())
    return min(counts, key=lambda digest: (-counts[digest], digest), default=None)
