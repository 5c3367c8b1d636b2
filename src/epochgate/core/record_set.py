"""The records that count: readings of keys, the proven records in them, and the set that a
submission names.

A submission includes exactly the proven records. An attestor insists that every included record is
proven, and that every record it sees complete is included, or excluded with evidence
(docs/spec.md#5-which-records-count).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from epochgate.core.peer_id import describe_bytes
from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id
from epochgate.core.roster import Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey

LEAF_DOMAIN = b"\0epochgate/leaf/1"
NODE_DOMAIN = b"\1epochgate/node/1"


class KeyReading(msgspec.Struct, frozen=True):
    """The answers of the replicas of one key.

    Attributes:
        key_rule: The rule for the key.
        proofs: The recognised records whose values are at hand, with their receipts.
        signers: For each record, the replicas whose receipts hold.
        answered: The replicas that answered at all.
    """

    key_rule: KeyRule
    proofs: dict[RecordId, Proof]
    signers: dict[RecordId, frozenset[PeerId]]
    answered: frozenset[PeerId]

    @property
    def is_enough(self) -> bool:
        """Whether so many answered that no complete record can have been missed, and the value of
        every proven one is at hand.
        """
        # Stops "a replica that lies on reads or withholds".
        if len(self.answered) < self.key_rule.replica_set.quorum:
            return False
        judge_count = self.key_rule.receipt_rule.judge_count
        return all(
            record_id in self.proofs
            for record_id, replicas in self.signers.items()
            if judge_count(len(replicas)) >= Standing.PROVEN
        )

    def get_record_ids(self, standing: Standing) -> Iterator[RecordId]:
        """The records of at least that standing whose values are at hand, in order."""
        judge_count = self.key_rule.receipt_rule.judge_count
        for record_id in sorted(self.proofs, key=_order):
            replicas = self.signers.get(record_id, frozenset())
            if judge_count(len(replicas)) >= standing:
                yield record_id


class RuleReading(msgspec.Struct, frozen=True):
    """All keys of one rule in one epoch: one, or one for each author.

    Attributes:
        rule: The rule.
        epoch: The epoch of the keys.
        roster: The epoch's roster.
        readings: The reading of each key.
    """

    rule: Rule
    epoch: Epoch
    roster: Roster
    readings: tuple[KeyReading, ...]

    @property
    def is_enough(self) -> bool:
        """Whether each key's reading is."""
        return all(reading.is_enough for reading in self.readings)

    def get_proofs(self, standing: Standing) -> dict[PeerId, list[Proof]]:
        """Every value of at least that standing, by author and in order of author. An author with
        two of them under a once-key has equivocated.
        """
        found: dict[PeerId, list[Proof]] = {}
        for reading in self.readings:
            for record_id in reading.get_record_ids(standing):
                found.setdefault(record_id.author, []).append(reading.proofs[record_id])
        return {author: found[author] for author in sorted(found)}


class RecordSet(msgspec.Struct, frozen=True):
    """The records that count for a submission.

    Attributes:
        included: By kind and epoch, and then by author: the records that count.
        excluded: Likewise: the evidence for each author that was left out.
        bitmaps: Over the roster, one for each kind and epoch: the authors that are included.
        root: The Merkle root over all that is included.
    """

    included: dict[tuple[str, Epoch], dict[PeerId, Proof]]
    excluded: dict[tuple[str, Epoch], dict[PeerId, tuple[Proof, ...]]]
    bitmaps: tuple[bytes, ...]
    root: Hash32

    def get_records(self, kind: str, epoch: Epoch) -> Mapping[PeerId, Proof]:
        """The records of one kind and epoch that count, by author."""
        return self.included.get((kind, epoch), {})


def compute_set(rule_readings: Sequence[RuleReading]) -> RecordSet:
    """The set that a submission names: exactly the proven records.

    Args:
        rule_readings: This node's readings, in the order of the submission's bitmaps.

    Returns:
        The set. An author with two proven values under a once-key is left out, with both as
        evidence.
    """
    included: dict[tuple[str, Epoch], dict[PeerId, Proof]] = {}
    excluded: dict[tuple[str, Epoch], dict[PeerId, tuple[Proof, ...]]] = {}
    bitmaps = []
    for rule_reading in rule_readings:
        records: dict[PeerId, Proof] = {}
        evidence: dict[PeerId, tuple[Proof, ...]] = {}
        for author, proofs in rule_reading.get_proofs(Standing.PROVEN).items():
            # Stops "a second, different commitment".
            if len(proofs) == 1:
                records[author] = proofs[0]
            else:
                evidence[author] = tuple(proofs)
        name = (rule_reading.rule.kind, rule_reading.epoch)
        included[name] = records
        excluded[name] = evidence
        bitmaps.append(compute_bitmap(rule_reading.roster, records))
    leaves = [
        compute_record_id(proof.record)
        for records in included.values()
        for proof in records.values()
    ]
    return RecordSet(included, excluded, tuple(bitmaps), compute_root(leaves))


def compute_bitmap_bytes(roster: Roster) -> int:
    """The length of a bitmap over `roster`: one bit for each author, in whole bytes."""
    return (len(roster.authors) + 7) // 8


def compute_bitmap(roster: Roster, authors: Iterable[PeerId]) -> bytes:
    """Name some authors of a roster.

    Args:
        roster: The roster.
        authors: Some of its authors, in any order.

    Returns:
        A bitmap: bit i, the least significant first in byte i // 8, is the roster's author i.
    """
    bits = bytearray(compute_bitmap_bytes(roster))
    chosen = set(authors)
    for index, author in enumerate(roster.authors):
        if author in chosen:
            bits[index // 8] |= 1 << index % 8
    return bytes(bits)


def read_bitmap(roster: Roster, bitmap: bytes) -> tuple[PeerId, ...]:
    """The authors that a bitmap names, in order.

    Args:
        roster: The roster that the bitmap is over.
        bitmap: A bitmap by a stranger; it may be any bytes.

    Returns:
        The authors.

    Raises:
        ValueError: The bitmap has another length, or a bit beyond the roster.
    """
    authors = len(roster.authors)
    length = compute_bitmap_bytes(roster)
    # Stops "a submitter that leaves out or takes in what it should not".
    if len(bitmap) != length or int.from_bytes(bitmap, "little") >> authors:
        raise ValueError(
            f"a bitmap over a roster of {authors} has {length} bytes and no bit beyond, saw"
            f" {describe_bytes(bitmap)}"
        )
    return tuple(
        author for index, author in enumerate(roster.authors) if bitmap[index // 8] >> index % 8 & 1
    )


def compute_root(record_ids: Iterable[RecordId]) -> Hash32:
    """The Merkle root that names a set of records.

    Args:
        record_ids: The records, in any order.

    Returns:
        The root of a tree of SHA-256 digests. The leaves are key, author and value digest, sorted;
        leaves and inner nodes have different domains. An odd node moves up unpaired (RFC 6962,
        section 2.1), so no two different sets share a root.
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
            hashlib.sha256(NODE_DOMAIN + left + right).digest()
            for left, right in zip(layer[::2], layer[1::2], strict=False)
        ]
        layer = pairs + layer[len(pairs) * 2 :]
    return Hash32(layer[0])


def _order(record_id: RecordId) -> tuple[RecordKey, PeerId, Hash32]:
    return (record_id.key, record_id.author, record_id.value_digest)
