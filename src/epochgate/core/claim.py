"""Judging a submission's set: agreed, disputed entry by entry, or undecided where too few replicas
answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from epochgate.core.peer_id import format_peer_id
from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, RecordSet, RuleReading, compute_root, read_bitmap
from epochgate.core.types import Epoch, Hash32, PeerId


class SubmissionClaim(msgspec.Struct, frozen=True):
    """A submission's statement of its set.

    Attributes:
        bitmaps: For each rule reading that decides, the authors that are included.
        root: The Merkle root over all records that they name.
    """

    bitmaps: tuple[bytes, ...]
    root: Hash32


class ShownSet(msgspec.Struct, frozen=True):
    """The part of its set that a submitter showed.

    Attributes:
        readings: Its proofs, read and verified like a replica's answers.
        evidence: Pairs of signed records of one author under a once-key, for leaving it out.
    """

    readings: tuple[KeyReading, ...] = ()
    evidence: tuple[tuple[Record, Record], ...] = ()


class Agreed(msgspec.Struct, frozen=True):
    """All that is included is proven, and nothing complete was left out: scores follow from this
    set.
    """

    records: RecordSet


class Disputed(msgspec.Struct, frozen=True):
    """The claim differs from what this node sees: one sentence for each difference."""

    differences: tuple[str, ...]


class Undecided(msgspec.Struct, frozen=True):
    """Too few replicas answered to judge the claim: an attestor abstains, and says so."""

    why: str


def judge_claim(
    claim: SubmissionClaim, rule_readings: Sequence[RuleReading], shown: ShownSet
) -> Agreed | Disputed | Undecided:
    """Judge a submission's set by what this node has read itself.

    Args:
        claim: The submission's statement of its set.
        rule_readings: This node's own readings, in the order of the claim's bitmaps.
        shown: The records that the submitter showed. The signatures of its receipts and of its
            evidence have been verified.

    Returns:
        Agreed, with the set that scores follow from; Disputed, with every difference; or Undecided.
    """
    # Stops "attesting without having looked".
    too_few = [_name(reading) for reading in rule_readings if not reading.is_enough]
    if too_few:
        return Undecided(f"too few replicas answered for {', '.join(too_few)}")
    # Stops "a submitter that leaves out or takes in what it should not".
    if len(claim.bitmaps) != len(rule_readings):
        return Disputed((f"expected {len(rule_readings)} bitmaps, saw {len(claim.bitmaps)}",))
    differences: list[str] = []
    included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}
    for rule_reading, bitmap in zip(rule_readings, claim.bitmaps, strict=True):
        proofs, found = _judge_bitmap(rule_reading, bitmap, shown)
        included[rule_reading.rule.kind, rule_reading.epoch] = proofs
        differences += found
    if not differences:
        differences += _judge_root(claim.root, included)
    if differences:
        return Disputed(tuple(differences))
    return Agreed(RecordSet(included, {}, claim.bitmaps, claim.root))


def compute_claim(records: RecordSet) -> SubmissionClaim:
    """The statement of a set that a submission carries."""
    return SubmissionClaim(records.bitmaps, records.root)


def _name(rule_reading: RuleReading) -> str:
    return f"{rule_reading.rule.kind} of epoch {rule_reading.epoch}"


def _judge_root(
    root: Hash32, included: dict[tuple[str, Epoch], dict[PeerId, Proof]]
) -> Iterator[str]:
    """A sentence if the claim's root names other records than its bitmaps."""
    record_ids = [
        compute_record_id(proof.record) for proofs in included.values() for proof in proofs.values()
    ]
    expected = compute_root(record_ids)
    if root != expected:
        yield (
            f"the claim's Merkle root is {root.hex()}, that of what it includes is {expected.hex()}"
        )


def _judge_bitmap(
    rule_reading: RuleReading, bitmap: bytes, shown: ShownSet
) -> tuple[dict[PeerId, Proof], list[str]]:
    """The proofs that the bitmap names, by author, and a sentence for each fault of the bitmap."""
    name = _name(rule_reading)
    try:
        authors = read_bitmap(rule_reading.roster, bitmap)
    except ValueError as error:
        return {}, [f"{name}: {error}"]
    proven = _merge(rule_reading, shown.readings).get_proofs(Standing.PROVEN)
    shown_ids = {record_id for reading in shown.readings for record_id in reading.proofs}
    proofs: dict[PeerId, Proof] = {}
    differences = []
    for author in authors:
        candidates = proven.get(author, [])
        named = [proof for proof in candidates if compute_record_id(proof.record) in shown_ids]
        # Of two proven values of an author, the one that the submitter showed is meant.
        proof = next(iter(named or candidates), None)
        if proof is not None:
            proofs[author] = proof
        else:
            differences.append(
                f"{name}: {format_peer_id(author)} is included, but its record is not proven"
            )
    excused = _find_equivocators(rule_reading, shown.evidence) | set(authors)
    differences += [
        f"{name}: {format_peer_id(author)} is complete, but was left out without evidence"
        for author in rule_reading.get_proofs(Standing.COMPLETE)
        if author not in excused
    ]
    return proofs, differences


def _merge(rule_reading: RuleReading, shown: Sequence[KeyReading]) -> RuleReading:
    """The reading together with the submitter's readings of the same keys. Receipts add up, since
    their signatures hold regardless of who shows them.
    """
    by_key = {reading.key_rule.key: reading for reading in shown}
    merged = []
    for own in rule_reading.readings:
        other = by_key.get(own.key_rule.key)
        merged.append(own if other is None else _add(own, other))
    return RuleReading(rule_reading.rule, rule_reading.epoch, rule_reading.roster, tuple(merged))


def _add(own: KeyReading, other: KeyReading) -> KeyReading:
    """This node's reading of a key, with the records and receipts of another one."""
    signers: dict[RecordId, frozenset[PeerId]] = dict(own.signers)
    for record_id, replicas in other.signers.items():
        signers[record_id] = signers.get(record_id, frozenset()) | replicas
    return KeyReading(own.key_rule, other.proofs | own.proofs, signers, own.answered)


def _find_equivocators(
    rule_reading: RuleReading, evidence: Sequence[tuple[Record, Record]]
) -> frozenset[PeerId]:
    """Authors of whom two different values are shown under one once-key of this reading."""
    if not rule_reading.rule.once:
        return frozenset()
    keys = {reading.key_rule.key for reading in rule_reading.readings}
    return frozenset(
        first.author
        for first, second in evidence
        if first.key in keys
        and (first.key, first.author) == (second.key, second.author)
        and first.value != second.value
    )
