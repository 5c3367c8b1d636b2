"""A replica's answer to a POST: who may send what to whom, the same receipt again, and its room."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from epochgate.core.admission import (
    Capacity,
    compute_receipt_epoch,
    find_excess,
    find_own_receipt,
    judge_post,
)
from epochgate.core.epoch import epochs, percent
from epochgate.core.evaluation import EvaluationContext, StoredEntry
from epochgate.core.limits import Limits, Quota
from epochgate.core.policy import Policy
from epochgate.core.receipt import Receipt, ReceiptedEntry, RecordId
from epochgate.core.record import Record, compute_key, compute_value_digest
from epochgate.core.roster import HOSTER, Member, Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest
from epochgate.core.storage_usage import StorageUsage
from epochgate.core.types import BlockNumber, Epoch, PeerId, RecordKey, Signature
from epochgate.core.verdict import Admitted, Denied, Reason, Verdict
from epochgate.keys import SigningKey
from tests.support.identities import (
    TIMING,
    alice,
    bob,
    carol,
    compute_unix_seconds,
    dave,
    key_of,
    make_context,
    sign,
)

NOTE = Rule(
    "note_epoch_{epoch}",
    by=HOSTER,
    during=percent("[0, 50]"),
    ttl=epochs(2),
    schema=Digest(),
    once=True,
)
BEAT = Rule("beat", by=HOSTER, ttl=epochs(2), schema=Digest())
POLICY = Policy(NOTE, BEAT)
BLOCK = BlockNumber(TIMING.compute_first_block(Epoch(7)) + 20)
CAPACITY = Capacity(4096, Limits(), POLICY.held_epochs)
NOBODYS_KEY = compute_key("nobody's")


class Entries:
    """A replica's stored entries, in memory."""

    def __init__(self) -> None:
        self.held: Mapping[tuple[RecordKey, PeerId], StoredEntry] = {}
        self.usage = StorageUsage()
        self.receipts: tuple[Receipt, ...] = ()

    def keep(self, record: Record, *receipts: Receipt) -> None:
        self.held = {
            (record.key, record.author): ReceiptedEntry(
                compute_value_digest(record.value),
                record.expiration_time,
                Epoch(7),
                len(record.value),
                receipts,
            )
        }
        self.receipts = receipts

    def get_receipts(self, record_id: RecordId) -> tuple[Receipt, ...]:
        assert all(record_id.key == key for key, _ in self.held)
        return self.receipts


def make_now(
    roster: Roster | None = None, entries: Entries | None = None, *, is_stale: bool = False
) -> EvaluationContext:
    schedule = EpochSchedule(POLICY)
    schedule.add(make_context(Epoch(7), roster=roster))
    held = {} if entries is None else entries.held
    return schedule.compute_evaluation_context(
        BLOCK, compute_unix_seconds(BLOCK), held, is_stale=is_stale
    )


def make_note(author: SigningKey = alice, payload: bytes = bytes(32)) -> Record:
    return sign(author, "note_epoch_7", payload, compute_unix_seconds(BLOCK) + 60.0)


def make_receipt(replica: SigningKey) -> Receipt:
    return Receipt(replica.author, Epoch(7), BLOCK, Signature(bytes(64)))


def find_key_rule(record: Record, now: EvaluationContext) -> KeyRule:
    key_rule = POLICY.find_key_rule(record.key, now)
    assert key_rule is not None
    return key_rule


def answer(
    record: Record,
    now: EvaluationContext | None = None,
    *,
    sender: SigningKey = alice,
    replica: SigningKey = bob,
    entries: Entries | None = None,
    capacity: Capacity = CAPACITY,
) -> Receipt | Verdict:
    """The answer of `replica` to `record`, which `sender` sent."""
    stored = entries or Entries()
    now = now or make_now(entries=stored)
    return judge_post(
        POLICY,
        POLICY.find_key_rule(record.key, now),
        record,
        now,
        sender=sender.author,
        replica=replica.author,
        stored=stored,
        capacity=capacity,
    )


def expect_refusal(verdict: Receipt | Verdict, reason: Reason) -> Denied:
    assert isinstance(verdict, Denied), verdict
    assert verdict.reason is reason
    return verdict


def test_a_record_that_its_author_sends_to_a_replica_of_its_key_is_admitted() -> None:
    verdict = answer(make_note())
    assert isinstance(verdict, Admitted)
    assert verdict.value == bytes(32)


def test_a_record_that_another_peer_sends_is_refused_before_all_else() -> None:
    denied = expect_refusal(answer(make_note(), sender=carol), Reason.NOT_AUTHOR)
    assert (denied.rule, denied.expected, denied.observed) == (
        "note_epoch_7",
        alice.author,
        carol.author,
    )
    unknown = msgspec.structs.replace(make_note(), key=NOBODYS_KEY)
    denied = expect_refusal(answer(unknown, sender=carol), Reason.NOT_AUTHOR)
    assert denied.rule is None


def test_a_node_that_is_no_replica_of_the_key_refuses() -> None:
    people = [key_of(f"author {number}") for number in range(15)]
    roster = Roster(Epoch(7), bytes(32), [Member(person.author, int(HOSTER)) for person in people])
    now = make_now(roster)
    note = make_note(people[0])
    replicas = find_key_rule(note, now).replica_set.replicas
    for person in people:
        verdict = answer(note, now, sender=people[0], replica=person)
        if person.author in replicas:
            assert isinstance(verdict, Admitted)
        else:
            denied = expect_refusal(verdict, Reason.NOT_REPLICA)
            assert denied.expected == "one of the key's 13 replicas"
            assert denied.observed == person.author


def test_an_unknown_key_is_unknown_to_a_replica_whose_head_is_fresh() -> None:
    unknown = msgspec.structs.replace(make_note(), key=NOBODYS_KEY)
    expect_refusal(answer(unknown), Reason.UNKNOWN_KEY)


def test_with_a_stale_head_an_unknown_key_may_be_one_of_an_epoch_to_come() -> None:
    unknown = msgspec.structs.replace(make_note(), key=NOBODYS_KEY)
    denied = expect_refusal(answer(unknown, make_now(is_stale=True)), Reason.CHAIN_STALE)
    assert str(denied) == (
        "denied, chain-stale; expected a fresh chain head and its epoch's roster;"
        f" saw block {BLOCK}"
    )


def test_the_same_record_gets_the_same_receipt_again_even_when_its_window_has_closed() -> None:
    entries = Entries()
    receipt = make_receipt(bob)
    entries.keep(make_note(), make_receipt(carol), receipt)
    assert answer(make_note(), entries=entries) is receipt
    assert answer(make_note(), make_now(is_stale=True), entries=entries) is receipt


def test_a_copy_that_repair_brought_is_judged_as_if_it_came_first() -> None:
    """It holds receipts of others, and the replica has not given its own."""
    entries = Entries()
    entries.keep(make_note(), make_receipt(carol))
    assert isinstance(answer(make_note(), entries=entries), Admitted)


@pytest.mark.parametrize("payload", [bytes(31) + b"\1", bytes(31)], ids=["equal length", "shorter"])
def test_another_record_in_the_place_of_one_that_is_stored_is_judged_by_the_rule(
    payload: bytes,
) -> None:
    entries = Entries()
    entries.keep(make_note(), make_receipt(bob))
    expect_refusal(answer(make_note(payload=payload), entries=entries), Reason.ALREADY_THERE)


def test_a_value_that_could_not_be_sent_again_in_one_message_is_refused() -> None:
    capacity = msgspec.structs.replace(CAPACITY, value_bytes=95)
    denied = expect_refusal(answer(make_note(), capacity=capacity), Reason.TOO_LARGE)
    assert str(denied).endswith("expected at most 95 bytes; saw 96 bytes")
    just_enough = msgspec.structs.replace(CAPACITY, value_bytes=96)
    assert isinstance(answer(make_note(), capacity=just_enough), Admitted)


def test_a_record_beyond_its_authors_quota_is_refused_after_the_judge_has_admitted_it() -> None:
    capacity = msgspec.structs.replace(CAPACITY, limits=Limits(author=Quota(0, 1 << 20)))
    denied = expect_refusal(answer(make_note(), capacity=capacity), Reason.QUOTA)
    assert str(denied) == (
        "denied, quota; by rule note_epoch_7; expected at most 0 records and 1048576 bytes per"
        " author and epoch; saw 1 records and 96 bytes"
    )
    stranger = answer(make_note(dave), sender=dave, capacity=capacity)
    expect_refusal(stranger, Reason.NOT_ON_ROSTER)


def test_a_judge_that_admits_what_it_finds_no_rule_for_is_at_fault() -> None:
    note = make_note()
    now = make_now()
    with pytest.raises(AssertionError, match="finds no rule"):
        judge_post(
            POLICY,
            None,
            note,
            now,
            sender=alice.author,
            replica=bob.author,
            stored=Entries(),
            capacity=CAPACITY,
        )


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(author=Quota(1, 1 << 20)), "at most 1 records and 1048576 bytes per author and"),
        (Limits(author=Quota(9, 150)), "at most 9 records and 150 bytes per author and epoch"),
        (
            Limits(total=Quota(18, 1 << 20)),
            "at most 1 records and 58254 bytes per author and epoch, its part of the total",
        ),
        (Limits(key=Quota(1, 1 << 20)), "at most 1 records and 1048576 bytes per key"),
        (Limits(key=Quota(9, 575)), "at most 95 bytes per author and key"),
    ],
)
def test_the_narrowest_limit_is_named(limits: Limits, words: str) -> None:
    note = make_note()
    usage = StorageUsage()
    usage.count(note.key, alice.author, Epoch(7), entries=1, value_bytes=96)
    denied = find_excess(
        note,
        None,
        find_key_rule(note, make_now()),
        Epoch(7),
        usage,
        msgspec.structs.replace(CAPACITY, limits=limits),
    )
    assert denied is not None
    assert str(denied.expected).startswith(words)


def test_the_total_is_the_last_bound_whatever_the_shares_say() -> None:
    note = make_note()
    usage = StorageUsage()
    usage.count(NOBODYS_KEY, carol.author, Epoch(3), entries=18, value_bytes=96)
    capacity = msgspec.structs.replace(CAPACITY, limits=Limits(total=Quota(18, 1 << 20)))
    key_rule = find_key_rule(note, make_now())
    denied = find_excess(note, None, key_rule, Epoch(7), usage, capacity)
    assert denied is not None
    assert str(denied.expected) == "at most 18 records and 1048576 bytes in total"
    assert str(denied.observed) == "19 records and 192 bytes"


@pytest.mark.parametrize(
    ("stored_in", "fits"), [(Epoch(7), True), (Epoch(6), False)], ids=["this epoch", "before"]
)
def test_a_replaced_record_makes_room_in_the_epoch_in_which_it_was_stored(
    stored_in: Epoch, fits: bool
) -> None:
    note = make_note()
    usage = StorageUsage()
    usage.count(note.key, alice.author, Epoch(7), entries=1, value_bytes=96)
    usage.count(note.key, bob.author, Epoch(7), entries=1, value_bytes=96)
    held = ReceiptedEntry(compute_value_digest(b""), 0.0, stored_in, 96, ())
    limits = Limits(author=Quota(1, 96), key=Quota(2, 1 << 20), total=Quota(1 << 10, 1 << 20))
    capacity = msgspec.structs.replace(CAPACITY, limits=limits)
    denied = find_excess(note, held, find_key_rule(note, make_now()), Epoch(7), usage, capacity)
    assert (denied is None) is fits


@pytest.mark.parametrize(("entries", "fits"), [(3, True), (2, False)])
def test_a_replaced_record_makes_room_for_one(entries: int, fits: bool) -> None:
    note = make_note()
    usage = StorageUsage()
    usage.count(note.key, alice.author, Epoch(7), entries=3, value_bytes=288)
    held = ReceiptedEntry(compute_value_digest(b""), 0.0, Epoch(7), 96, ())
    capacity = msgspec.structs.replace(CAPACITY, limits=Limits(author=Quota(entries, 1 << 20)))
    denied = find_excess(note, held, find_key_rule(note, make_now()), Epoch(7), usage, capacity)
    assert (denied is None) is fits


def test_a_receipt_names_the_keys_epoch_or_else_the_current_one() -> None:
    now = make_now()
    beat = find_key_rule(sign(alice, "beat", bytes(32), 0.0), now)
    next_note = now.postable[compute_key("note_epoch_8")]
    assert compute_receipt_epoch(next_note, now) == 8
    assert compute_receipt_epoch(beat, now) == 7
    assert compute_receipt_epoch(None, now) == 7


def test_a_replicas_own_receipt_is_found_among_others() -> None:
    receipts = (make_receipt(alice), make_receipt(bob))
    assert find_own_receipt(bob.author, receipts) == receipts[1]
    assert find_own_receipt(carol.author, receipts) is None
