"""The set that a submission names: the proven records, its bitmaps, and its Merkle root."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from epochgate.core.epoch import epochs, percent
from epochgate.core.policy import Policy
from epochgate.core.receipt import Proof, RecordId, Standing, compute_record_id
from epochgate.core.record import Record
from epochgate.core.record_set import (
    KeyReading,
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
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey
from epochgate.keys import SigningKey
from tests.support.identities import alice, bob, carol, key_of, make_context, sign

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "sets.json").read_text()
)
RECORD_IDS = [
    RecordId(
        RecordKey(bytes.fromhex(fields["key"])),
        PeerId(bytes.fromhex(fields["author"])),
        Hash32(bytes.fromhex(fields["value_digest"])),
    )
    for fields in VECTORS["record_ids"]
]
RULE = Rule(
    "commit_epoch_{epoch}",
    by=HOSTER,
    during=percent("[0, 50]"),
    ttl=epochs(2),
    schema=Digest(),
    once=True,
)


def make_roster_of(people: Iterable[SigningKey]) -> Roster:
    members = [Member(person.author, int(HOSTER)) for person in people]
    return Roster(Epoch(3), bytes(32), members)


PEOPLE = [key_of(f"peer {number}") for number in range(7)]
ROSTER = make_roster_of([alice, bob, carol, *PEOPLE[:4]])
"""Seven replicas: two may fail, three receipts prove, five make complete."""


def make_key_rule() -> KeyRule:
    schedule = EpochSchedule(Policy(RULE))
    schedule.add(make_context(Epoch(3), roster=ROSTER))
    return schedule.get_key_rule(RULE, Epoch(3))


KEY_RULE = make_key_rule()
REPLICAS = KEY_RULE.replica_set.replicas


def make_record(author: SigningKey, payload: bytes = bytes(32)) -> Record:
    return sign(author, KEY_RULE.name, payload, 1e9)


def make_reading(
    receipts: dict[SigningKey | tuple[SigningKey, bytes], int], answered: int = 7
) -> KeyReading:
    """As if so many replicas had signed each author's record, and so many had answered."""
    proofs = {}
    signers = {}
    for author, count in receipts.items():
        record = make_record(*author) if isinstance(author, tuple) else make_record(author)
        record_id = compute_record_id(record)
        proofs[record_id] = Proof(record, ())
        signers[record_id] = frozenset(REPLICAS[:count])
    return KeyReading(KEY_RULE, proofs, signers, frozenset(REPLICAS[:answered]))


def make_rule_reading(reading: KeyReading) -> RuleReading:
    return RuleReading(RULE, Epoch(3), ROSTER, (reading,))


@pytest.mark.parametrize("case", VECTORS["roots"], ids=lambda case: case["first"])
def test_the_fixed_roots_hold(case: dict[str, Any]) -> None:
    """They were worked out with hashlib alone, from the text of docs/spec.md."""
    record_ids = RECORD_IDS[: case["first"]]
    assert compute_root(record_ids).hex() == case["root"]
    assert compute_root(reversed(record_ids)).hex() == case["root"]


def test_every_record_and_every_field_of_it_shows_in_the_root() -> None:
    first, second = RECORD_IDS[:2]
    sets = [
        [],
        [first],
        [second],
        [first, second],
        [first, first],
        [RecordId(second.key, first.author, first.value_digest)],
        [RecordId(first.key, second.author, first.value_digest)],
        [RecordId(first.key, first.author, second.value_digest)],
    ]
    assert len({compute_root(record_ids) for record_ids in sets}) == len(sets)


@pytest.mark.parametrize("case", VECTORS["bitmaps"], ids=lambda case: case["bitmap"])
def test_the_fixed_bitmaps_hold(case: dict[str, Any]) -> None:
    roster = make_roster_of(key_of(f"member {number}") for number in range(case["roster_size"]))
    members = tuple(roster.authors[number] for number in case["members"])
    assert compute_bitmap(roster, members).hex() == case["bitmap"]
    assert compute_bitmap(roster, reversed(members)).hex() == case["bitmap"]
    assert read_bitmap(roster, bytes.fromhex(case["bitmap"])) == members


@pytest.mark.parametrize(
    ("roster_size", "bitmap"),
    [(0, "00"), (1, ""), (1, "02"), (7, "80"), (8, "0100"), (9, "01"), (9, "0002"), (9, "000000")],
)
def test_a_bitmap_that_does_not_fit_its_roster_is_refused(roster_size: int, bitmap: str) -> None:
    roster = make_roster_of(key_of(f"member {number}") for number in range(roster_size))
    with pytest.raises(ValueError, match=f"over a roster of {roster_size} has"):
        read_bitmap(roster, bytes.fromhex(bitmap))


def test_an_author_who_is_not_on_the_roster_has_no_bit() -> None:
    assert compute_bitmap(ROSTER, [key_of("stranger").author]) == bytes(1)


def test_the_set_includes_exactly_what_is_proven() -> None:
    reading = make_reading({alice: 2, bob: 3, carol: 7})
    records = compute_set([make_rule_reading(reading)])
    included = records.get_records("commit", Epoch(3))
    assert set(included) == {bob.author, carol.author}
    assert records.bitmaps == (compute_bitmap(ROSTER, [bob.author, carol.author]),)
    assert records.root == compute_root(
        [compute_record_id(make_record(bob)), compute_record_id(make_record(carol))]
    )
    assert records.get_records("commit", Epoch(2)) == {}
    assert records.get_records("reveal", Epoch(3)) == {}


def test_an_author_of_two_proven_values_is_left_out_with_both_as_evidence() -> None:
    other = b"\1" * 32
    reading = make_reading({alice: 3, (alice, other): 4, bob: 3})
    records = compute_set([make_rule_reading(reading)])
    assert set(records.get_records("commit", Epoch(3))) == {bob.author}
    evidence = records.excluded["commit", Epoch(3)][alice.author]
    assert {proof.record.payload for proof in evidence} == {bytes(32), other}


def test_a_second_value_that_is_not_proven_changes_nothing() -> None:
    reading = make_reading({alice: 3, (alice, b"\1" * 32): 2})
    records = compute_set([make_rule_reading(reading)])
    assert records.get_records("commit", Epoch(3))[alice.author].record == make_record(alice)
    assert records.excluded["commit", Epoch(3)] == {}


@pytest.mark.parametrize(("answered", "is_enough"), [(4, False), (5, True), (7, True)])
def test_a_reading_needs_the_answers_of_a_quorum(answered: int, is_enough: bool) -> None:
    reading = make_reading({alice: 7}, answered)
    assert reading.is_enough is is_enough
    assert make_rule_reading(reading).is_enough is is_enough


@pytest.mark.parametrize(("receipts", "is_enough"), [(2, True), (3, False)])
def test_a_reading_needs_the_value_of_every_proven_record(receipts: int, is_enough: bool) -> None:
    reading = make_reading({alice: receipts})
    without_values = KeyReading(KEY_RULE, {}, reading.signers, reading.answered)
    assert without_values.is_enough is is_enough


def test_records_are_listed_in_order_from_a_standing_on() -> None:
    reading = make_reading({alice: 2, bob: 3, carol: 5})
    by_standing = {
        standing: [record_id.author for record_id in reading.get_record_ids(standing)]
        for standing in Standing
    }
    assert by_standing == {
        Standing.UNPROVEN: sorted([alice.author, bob.author, carol.author]),
        Standing.PROVEN: sorted([bob.author, carol.author]),
        Standing.COMPLETE: [carol.author],
    }


def test_a_value_without_any_receipt_is_unproven() -> None:
    reading = make_reading({alice: 3})
    bare = KeyReading(KEY_RULE, reading.proofs, {}, reading.answered)
    assert len(list(bare.get_record_ids(Standing.UNPROVEN))) == 1
    assert list(bare.get_record_ids(Standing.PROVEN)) == []
    assert make_rule_reading(bare).get_proofs(Standing.PROVEN) == {}
