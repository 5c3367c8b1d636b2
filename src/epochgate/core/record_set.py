"""Which records count: what was read, what of it is proven, and the set that a submission names.

A submission includes exactly what is proven; an attestor insists that all included is proven and
that all it sees complete is included, or excluded with evidence
(docs/spec.md#5-which-records-count).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id
from epochgate.core.roster import Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey

LEAF_DOMAIN = b"\0epochgate/leaf/1"
NODE_DOMAIN = b"\1epochgate/node/1"


class KeyReading(msgspec.Struct, frozen=True):
    """What the replicas of one key answered: recognised records with the replicas that vouch for
    each, and who answered.
    """

    key_rule: KeyRule
    proofs: dict[RecordId, Proof]
    signers: dict[RecordId, frozenset[PeerId]]
    answered: frozenset[PeerId]

    @property
    def is_enough(self) -> bool:
        """Whether so many answered that no complete record can have been missed, and all that is
        proven is at hand.
        """
        judge = self.key_rule.receipt_rule.judge_count
        at_hand = all(
            record_id in self.proofs
            for record_id, who in self.signers.items()
            if judge(len(who)) >= Standing.PROVEN
        )
        return at_hand and len(self.answered) >= self.key_rule.replica_set.quorum

    def get_record_ids(self, standing: Standing) -> Iterator[RecordId]:
        """The stamps of at least that standing whose values are at hand, in order."""
        judge = self.key_rule.receipt_rule.judge_count
        for record_id in sorted(self.proofs, key=_order):
            if judge(len(self.signers.get(record_id, ()))) >= standing:
                yield record_id


class RuleReading(msgspec.Struct, frozen=True):
    """All keys of one rule in one epoch: one, or one an author."""

    rule: Rule
    epoch: Epoch
    roster: Roster
    readings: tuple[KeyReading, ...]

    @property
    def is_enough(self) -> bool:
        return all(reading.is_enough for reading in self.readings)

    def get_proofs(self, standing: Standing) -> dict[PeerId, list[Proof]]:
        """By author, in order of author, every value of at least that standing; two under a
        once-key are equivocation.
        """
        found: dict[PeerId, list[Proof]] = {}
        for reading in self.readings:
            for record_id in reading.get_record_ids(standing):
                found.setdefault(record_id.author, []).append(reading.proofs[record_id])
        return {author: found[author] for author in sorted(found)}


class RecordSet(msgspec.Struct, frozen=True):
    """The records that count for a submission: by (kind, epoch), then by author; and the evidence
    for who was left out.
    """

    included: dict[tuple[str, Epoch], dict[PeerId, Proof]]
    excluded: dict[tuple[str, Epoch], dict[PeerId, tuple[Proof, ...]]]
    bitmaps: tuple[bytes, ...]
    root: Hash32

    def get_records(self, kind: str, epoch: Epoch) -> Mapping[PeerId, Proof]:
        return self.included.get((kind, epoch), {})


def compute_set(rule_readings: Sequence[RuleReading]) -> RecordSet:
    """Exactly what is proven; an author with two proven values under a once-key is left out, with
    both as evidence.
    """
    included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}
    excluded: dict[tuple[str, Epoch], dict[PeerId, tuple[Proof, ...]]] = {}
    bitmaps = []
    for rule_reading in rule_readings:
        name = (rule_reading.rule.kind, rule_reading.epoch)
        proven = rule_reading.get_proofs(Standing.PROVEN)
        included[name] = {
            author: proofs[0] for author, proofs in proven.items() if len(proofs) == 1
        }
        excluded[name] = {
            author: tuple(proofs) for author, proofs in proven.items() if len(proofs) > 1
        }
        bitmaps.append(compute_bitmap(rule_reading.roster, included[name]))
    leaves = [
        compute_record_id(proof.record)
        for records in included.values()
        for proof in records.values()
    ]
    return RecordSet(included, excluded, tuple(bitmaps), compute_root(leaves))


def compute_bitmap(roster: Roster, authors: Iterable[PeerId]) -> bytes:
    """Bit i (least significant first in byte i // 8) is member i of the roster, in order of
    author.
    """
    bits = bytearray((len(roster.authors) + 7) // 8)
    chosen = set(authors)
    for index, author in enumerate(roster.authors):
        if author in chosen:
            bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def read_bitmap(roster: Roster, bitmap: bytes) -> tuple[PeerId, ...]:
    """The authors a bitmap names. Raises ValueError when it does not fit the roster."""
    size = len(roster.authors)
    if len(bitmap) != (size + 7) // 8 or int.from_bytes(bitmap, "little") >> size:
        raise ValueError(
            f"a bitmap over a roster of {size} has {(size + 7) // 8} bytes and no bit beyond, saw"
            f" {bitmap.hex()}"
        )
    return tuple(
        author for index, author in enumerate(roster.authors) if bitmap[index // 8] >> index % 8 & 1
    )


def compute_root(record_ids: Iterable[RecordId]) -> Hash32:
    """The Merkle root over the sorted leaves (key, author, value digest); leaves and inner nodes
    have different domains.

    An odd node moves up unpaired (RFC 6962, section 2.1), so no two different lists share a root.
    """
    layer = [
        hashlib.sha256(
            LEAF_DOMAIN + record_id.key + record_id.author + record_id.value_digest
        ).digest()
        for record_id in sorted(record_ids, key=_order)
    ]
    if not layer:
        return Hash32(hashlib.sha256(LEAF_DOMAIN).digest())
    while len(layer) > 1:
        pairs = [
            hashlib.sha256(NODE_DOMAIN + a + b).digest()
            for a, b in zip(layer[::2], layer[1::2], strict=False)
        ]
        layer = pairs + layer[len(pairs) * 2 :]
    return Hash32(layer[0])


def _order(record_id: RecordId) -> tuple[RecordKey, PeerId, Hash32]:
    return (record_id.key, record_id.author, record_id.value_digest)
