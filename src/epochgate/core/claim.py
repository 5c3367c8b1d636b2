"""Judging a submission's set: agreed, disputed entry by entry, or undecided for want of answers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, RecordSet, RuleReading, compute_root, read_bitmap
from epochgate.core.types import Epoch, Hash32, PeerId


class SubmissionClaim(msgspec.Struct, frozen=True):
    """What a submission says of its set: a bitmap a section, and the Merkle root over all that they
    name.
    """

    bitmaps: tuple[bytes, ...]
    root: Hash32


class ShownSet(msgspec.Struct, frozen=True):
    """What the submitter showed: its proofs, read and verified like a replica's answers, and pairs
    of signed records of one author under a once-key as evidence for leaving it out.
    """

    readings: tuple[KeyReading, ...] = ()
    evidence: tuple[tuple[Record, Record], ...] = ()


class Agreed(msgspec.Struct, frozen=True):
    """All that is included is proven, and nothing complete was left out: scores follow from this
    set.
    """

    records: RecordSet


class Disputed(msgspec.Struct, frozen=True):
    """What differs, a sentence an entry."""

    differences: tuple[str, ...]


class Undecided(msgspec.Struct, frozen=True):
    """Too few answers to judge by: an attestor abstains, and says so."""

    why: str


def judge_claim(
    claim: SubmissionClaim, rule_readings: Sequence[RuleReading], shown: ShownSet
) -> Agreed | Disputed | Undecided:
    """Judge `claim` by this node's own `rule_readings` and what the submitter showed.

    The sections are in the order of the claim's bitmaps. Signatures of evidence and receipts were
    verified by whoever read them; this decides only what follows from them.
    """
    if too_few := [
        f"{rule_reading.rule.kind} of epoch {rule_reading.epoch}"
        for rule_reading in rule_readings
        if not rule_reading.is_enough
    ]:
        return Undecided(f"too few replicas answered for {', '.join(too_few)}")
    if len(claim.bitmaps) != len(rule_readings):
        return Disputed((f"expected {len(rule_readings)} bitmaps, saw {len(claim.bitmaps)}",))
    differences: list[str] = []
    included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}
    for rule_reading, bitmap in zip(rule_readings, claim.bitmaps, strict=True):
        included[rule_reading.rule.kind, rule_reading.epoch] = _judge_rule_reading(
            rule_reading, bitmap, shown, differences
        )
    record_ids = [
        compute_record_id(proof.record) for proofs in included.values() for proof in proofs.values()
    ]
    if not differences and compute_root(record_ids) != claim.root:
        differences.append(
            f"the claim's Merkle root is {claim.root.hex()}, that of what it includes"
            f" {compute_root(record_ids).hex()}"
        )
    if differences:
        return Disputed(tuple(differences))
    return Agreed(RecordSet(included, {}, claim.bitmaps, claim.root))


def _judge_rule_reading(
    rule_reading: RuleReading, bitmap: bytes, shown: ShownSet, differences: list[str]
) -> dict[PeerId, Proof]:
    """The proofs that the bitmap names; appends what is wrong with it to `differences`."""
    name = f"{rule_reading.rule.kind} of epoch {rule_reading.epoch}"
    try:
        authors = read_bitmap(rule_reading.roster, bitmap)
    except ValueError as error:
        differences.append(f"{name}: {error}")
        return {}
    merged = _merge(rule_reading, shown.readings)
    proven = merged.get_proofs(Standing.PROVEN)
    complete = rule_reading.get_proofs(Standing.COMPLETE)
    shown_ids = {record_id for reading in shown.readings for record_id in reading.proofs}
    proofs: dict[PeerId, Proof] = {}
    for author in authors:
        candidates = proven.get(author, [])
        named = [
            proof for proof in candidates if compute_record_id(proof.record) in shown_ids
        ] or candidates
        if named:
            proofs[author] = named[0]
        else:
            differences.append(f"{name}: {author.hex()} is included, but its record is not proven")
    equivocators = _find_equivocators(rule_reading, shown.evidence)
    left_out = [
        author for author in complete if author not in authors and author not in equivocators
    ]
    differences += [
        f"{name}: {author.hex()} is complete, but was left out without evidence"
        for author in left_out
    ]
    return proofs


def _merge(rule_reading: RuleReading, shown: Sequence[KeyReading]) -> RuleReading:
    """The section with what the submitter showed of the same keys: receipts add up, whoever shows
    them.
    """
    by_key = {reading.key_rule.key: reading for reading in shown}
    readings = []
    for own in rule_reading.readings:
        other = by_key.get(own.key_rule.key)
        if other is not None:
            record_ids: dict[RecordId, frozenset[PeerId]] = dict(own.signers)
            for record_id, signers in other.signers.items():
                record_ids[record_id] = record_ids.get(record_id, frozenset()) | signers
            own = KeyReading(own.key_rule, other.proofs | own.proofs, record_ids, own.answered)  # noqa: PLW2901 - the merged one is what is read from here on
        readings.append(own)
    return RuleReading(rule_reading.rule, rule_reading.epoch, rule_reading.roster, tuple(readings))


def _find_equivocators(
    rule_reading: RuleReading, evidence: Sequence[tuple[Record, Record]]
) -> frozenset[PeerId]:
    """Authors of whom two different values are shown under one once-key of this section."""
    keys = {reading.key_rule.key for reading in rule_reading.readings if rule_reading.rule.once}
    return frozenset(
        first.author
        for first, second in evidence
        if first.key in keys
        and (first.key, first.author) == (second.key, second.author)
        and first.value != second.value
    )


def compute_claim(records: RecordSet) -> SubmissionClaim:
    return SubmissionClaim(records.bitmaps, records.root)
