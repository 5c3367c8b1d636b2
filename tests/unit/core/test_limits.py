"""What a policy grants, and that its shares add up: whoever keeps to its own finds room, and all
that is held is bounded.
"""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochgate.core.admission import Capacity, find_excess
from epochgate.core.epoch import epochs
from epochgate.core.limits import Limits, Quota, Rate
from epochgate.core.policy import Policy
from epochgate.core.record import Record
from epochgate.core.roster import HOSTER, Member, Roster
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest, EpochContext
from epochgate.core.types import Epoch, Hash32, PeerId, RecordKey
from epochgate.core.verdict import Denied
from epochgate.transcript.parts import HeldRecord
from epochgate.transcript.replayed_entries import ReplayedEntries
from tests.support.identities import NETWORK, TIMING, key_of

RULE = Rule("note", by=HOSTER, ttl=epochs(2), schema=Digest())
AUTHORS = [key_of(f"author {number}").author for number in range(12)]
LIMITS = Limits(author=Quota(6, 1500), key=Quota(36, 3600), total=Quota(48, 6000))
POLICY = Policy(RULE, limits=LIMITS)
CAPACITY = Capacity(1 << 20, LIMITS, POLICY.held_epochs)

Post = tuple[int, int, int]
"""Which of the roster, under which of four keys, how many bytes."""
posts = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 3), st.integers(1, 500)), max_size=40)
rosters = st.sets(st.integers(0, 11), min_size=1)


@pytest.mark.parametrize(
    "numbers",
    [(0.0, 1.0), (-1.0, 1.0), (math.inf, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.inf)],
)
def test_a_rate_that_grants_nothing_or_everything_is_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="give finite numbers above 0"):
        Rate(*numbers)


def test_a_small_roster_is_bound_by_the_authors_quota_and_a_large_one_by_its_share() -> None:
    limits = Limits()
    assert limits.compute_author_share(13, held_epochs=3) == limits.author
    share = limits.compute_author_share(1000, held_epochs=3)
    assert share == Quota(43, 1_431_655)
    assert share.entries * 1000 * 3 <= limits.total.entries
    assert share.value_bytes * 1000 * 3 <= limits.total.value_bytes


def test_records_are_held_until_they_expired_and_nobody_can_read_their_epoch() -> None:
    assert POLICY.held_epochs == Policy().held_epochs == 3
    assert Policy(msgspec.structs.replace(RULE, ttl=epochs("2.2"))).held_epochs == 4


@given(st.lists(st.tuples(rosters, posts), min_size=1, max_size=6))
def test_whoever_keeps_to_its_share_finds_room_whatever_others_store(
    story: list[tuple[set[int], list[Post]]],
) -> None:
    """Rosters change altogether from epoch to epoch, and everybody stores as much as it is let: its
    share, and no more.
    """
    stored = ReplayedEntries()
    for epoch, (members, posted) in enumerate(story):
        stored.forget(epoch, Epoch(epoch - 2))
        authors = [AUTHORS[number] for number in sorted(members)]
        key_rule = bind(Epoch(epoch), authors)
        for number, place, size in posted:
            author = authors[number % len(authors)]
            record = Record(
                RecordKey(key_rule.key[:-1] + bytes([place])), author, bytes(size), epoch + 3.0
            )
            is_due = is_within_share(record, len(authors), Epoch(epoch), stored)
            denied = store(stored, record, key_rule, Epoch(epoch))
            assert (denied is None) == is_due, denied
            assert stored.usage.get_all().entries <= LIMITS.total.entries
            assert stored.usage.get_all().value_bytes <= LIMITS.total.value_bytes
            assert stored.usage.get_keys(record.key).value_bytes <= LIMITS.key.value_bytes
            assert stored.usage.get_keys(record.key).entries <= LIMITS.key.entries


def test_a_renewed_record_counts_in_the_epoch_that_renewed_it() -> None:
    """Here a roster of twelve leaves each of them one record an epoch."""
    stored = ReplayedEntries()
    key_rules = [bind(Epoch(epoch), AUTHORS) for epoch in range(3)]
    first = Record(key_rules[0].key, AUTHORS[0], bytes(1), 9.0)
    other = msgspec.structs.replace(first, key=bytes(20))
    assert store(stored, first, key_rules[0], Epoch(0)) is None
    assert store(stored, first, key_rules[0], Epoch(0)) is None
    assert store(stored, other, key_rules[0], Epoch(0)) is not None
    assert store(stored, other, key_rules[1], Epoch(1)) is None
    assert store(stored, first, key_rules[1], Epoch(1)) is not None
    assert store(stored, first, key_rules[2], Epoch(2)) is None


def store(
    stored: ReplayedEntries, record: Record, key_rule: KeyRule, epoch: Epoch
) -> Denied | None:
    """The refusal; a record that fits is kept."""
    denied = find_excess(
        record,
        stored.held.get((record.key, record.author)),
        key_rule,
        epoch,
        stored.usage,
        CAPACITY,
    )
    if denied is None:
        size = len(record.value)
        stored.keep(
            HeldRecord(
                record.key,
                record.author,
                Hash32(bytes(32)),
                record.expiration_time,
                epoch,
                size,
                None,
            )
        )
    return denied


def bind(epoch: Epoch, authors: list[PeerId]) -> KeyRule:
    schedule = EpochSchedule(POLICY)
    roster = Roster(
        epoch, bytes(32), tuple(Member(author, int(HOSTER)) for author in sorted(authors))
    )
    schedule.add(EpochContext(NETWORK, TIMING, roster))
    return schedule.get_key_rule(RULE, epoch)


def is_within_share(record: Record, authors: int, epoch: Epoch, stored: ReplayedEntries) -> bool:
    """Counted anew, and by the words of the promise."""
    own = [
        held
        for held in stored.held.values()
        if held.author == record.author and held.epoch == epoch and held.key != record.key
    ]
    parts = authors * 3
    return (
        len(own) + 1 <= min(6, 48 // parts)
        and sum(held.value_bytes for held in own) + len(record.value) <= min(1500, 6000 // parts)
        and len(record.value) <= 3600 // parts
    )
