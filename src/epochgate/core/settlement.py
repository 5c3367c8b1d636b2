"""From the records that count to the scores on the chain: what a submitter computes and every
attestor computes again.
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


class HosterOutcome(msgspec.Struct, frozen=True):
    """An epoch's hosters, judged. `score_list` is what a validator's list must say: one integer a
    roster hoster, in order of author; it is empty, and no list fits it, when no hoster's commitment
    counts. `challenge_digest` names the challenge that counted, None where the publisher chooses it
    and no opening that counts names one.
    """

    scores: dict[PeerId, int]
    score_list: tuple[int, ...]
    committed: tuple[PeerId, ...]
    opened: tuple[PeerId, ...]
    challenge_digest: Hash32 | None


class Settlement(msgspec.Struct, frozen=True):
    """What the submission made in `epoch` says: pay by author, in order of author, and what it came
    from.
    """

    epoch: Epoch
    pay: dict[PeerId, int]
    outcome: HosterOutcome
    list_weights: dict[PeerId, int]


def compute_deciding(
    policy: Policy, epoch: Epoch, *, is_attested: bool
) -> tuple[tuple[Rule, int], ...]:
    """The (rule, epoch of its key) pairs that the submission made in `epoch` rests on, in the order
    of its bitmaps.

    `is_attested` says whether the submission made an epoch before was attested; if not, nobody
    agreed on the hosters' records of the epoch that the lists are about, so this submission names
    them too.
    """
    outputs = policy.protocol.require_outputs()
    scores = policy.protocol.require_scores()
    before = Epoch(epoch - 1)
    list_epoch = scores.compute_commit_epoch(before)
    pairs = [(outputs.commit, outputs.compute_commit_epoch(before)), (outputs.reveal, before)]
    pairs += [(scores.commit, list_epoch), (scores.reveal, before)]
    if not is_attested:
        pairs += [(outputs.commit, list_epoch), (outputs.reveal, list_epoch)]
    return tuple((rule, key_epoch) for rule, key_epoch in pairs if key_epoch >= 0)


def compute_expected_challenge(policy: Policy, context: EpochContext) -> Hash32 | None:
    """The digest that every opening of this epoch must name; None where the publisher chooses the
    challenge.
    """
    protocol = policy.protocol
    if protocol.challenge is None:
        # a subnet without challenges: every opening names the same nothing
        return Hash32(bytes(32))
    if protocol.derived is None:
        return None
    return protocol.derived.compute_digest(context)


def compute_hoster_outcome(
    policy: Policy, schedule: EpochSchedule, records: RecordSet, epoch: Epoch
) -> HosterOutcome:
    """Scores 0 to 10^6 of every roster hoster of `epoch`, from the commitments and openings in the
    set.
    """
    context = schedule.get_context(epoch)
    pair = policy.protocol.require_outputs()
    committed = records.get_records(pair.commit.kind, epoch)
    opened = collect_openings(schedule, records, pair, epoch)
    challenge = compute_expected_challenge(policy, context) or _elect_challenge(opened)
    outputs = {
        author: it.value
        for author, it in opened.items()
        if it.opening.challenge_digest == challenge
    }
    scored = compute_hoster_scores(outputs, tuple(committed), policy.scoring.tolerance_ppm)
    scores = {author: scored.get(author, 0) for author in context.roster.hosters}
    score_list = tuple(scores.values()) if committed else ()
    return HosterOutcome(scores, score_list, tuple(committed), tuple(outputs), challenge)


def collect_openings(
    schedule: EpochSchedule, records: RecordSet, pair: CommitReveal, epoch: Epoch
) -> dict[PeerId, Opened]:
    """The openings that `pair` reveals in `epoch` and that fit their authors' counted commitments;
    any other counts as none.
    """
    commitment_epoch = pair.compute_commit_epoch(epoch)
    commitments = records.get_records(pair.commit.kind, commitment_epoch)
    opened: dict[PeerId, Opened] = {}
    for author, proof in records.get_records(pair.reveal.kind, epoch).items():
        committed = commitments.get(author)
        value = _decode(schedule, pair.reveal, epoch, proof.record)
        if committed is not None and value is not None:
            network = schedule.get_context(epoch).network
            digest = committed.record.payload
            if is_opened(
                Hash32(digest),
                network,
                pair.commit.kind,
                Epoch(commitment_epoch),
                author,
                value.opening,
            ):
                opened[author] = value
    return opened


def compute_settlement(
    policy: Policy,
    schedule: EpochSchedule,
    records: RecordSet,
    epoch: Epoch,
    attested_list: tuple[int, ...] | None,
) -> Settlement:
    """The submission made in `epoch`: the hosters of the epoch before, and the lists about the one
    before that.

    `attested_list` is the list recomputed from the set attested for the lists' epoch, None if none
    was attested: then it is recomputed from this set.
    """
    outcome = compute_hoster_outcome(policy, schedule, records, Epoch(epoch - 1))
    weights = dict.fromkeys(schedule.get_context(Epoch(epoch - 1)).roster.validators, 0)
    list_epoch = policy.protocol.require_scores().compute_commit_epoch(Epoch(epoch - 1))
    if list_epoch >= 0:
        if attested_list is None:
            attested_list = compute_hoster_outcome(
                policy, schedule, records, Epoch(list_epoch)
            ).score_list
        weights |= _weigh_lists(policy, schedule, records, Epoch(epoch - 1), attested_list)
    pay = compute_pay(
        outcome.scores, weights, policy.scoring.hoster_pot, policy.scoring.validator_pot
    )
    return Settlement(epoch, {author: pay[author] for author in sorted(pay)}, outcome, weights)


def _weigh_lists(
    policy: Policy,
    schedule: EpochSchedule,
    records: RecordSet,
    epoch: Epoch,
    reference: tuple[int, ...],
) -> dict[PeerId, int]:
    pair = policy.protocol.require_scores()
    list_context = schedule.get_context(pair.compute_commit_epoch(epoch))
    challenge = compute_expected_challenge(policy, list_context)
    opened = collect_openings(schedule, records, pair, epoch)
    weights = dict.fromkeys(list_context.roster.validators, 0)
    for author, it in opened.items():
        if isinstance(it.value, tuple) and challenge in (None, it.opening.challenge_digest):
            weights[author] = count_good_entries(it.value, reference)
    return weights


def _decode(schedule: EpochSchedule, rule: Rule, epoch: Epoch, record: Record) -> Opened | None:
    author = record.author if "{author}" in rule.name else None
    try:
        value = schedule.get_key_rule(rule, epoch, author).decode(record.payload)
    except (Malformed, KeyError):
        return None
    return value if isinstance(value, Opened) else None


def _elect_challenge(opened: Mapping[PeerId, Opened]) -> Hash32 | None:
    """The challenge that most counted openings name, the smallest digest among equals
    (docs/spec.md#4-one-epoch).
    """
    named = Counter(it.opening.challenge_digest for it in opened.values())
    return min(named, key=lambda digest: (-named[digest], digest), default=None)
