"""Which keys exist at a moment."""

from __future__ import annotations

import pytest

from epochgate.core.epoch import epochs
from epochgate.core.peer_id import format_peer_id
from epochgate.core.policy import Policy
from epochgate.core.record import compute_key
from epochgate.core.roster import HOSTER, Member, Roster
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest, EpochContext
from epochgate.core.types import BlockNumber, Epoch
from tests.support.identities import (
    NETWORK,
    TIMING,
    alice,
    bob,
    carol,
    compute_unix_seconds,
    make_context,
    make_roster,
    victor,
)

DATED = Rule("work_epoch_{epoch}", by=HOSTER, ttl=epochs(2), schema=Digest())
UNDATED = Rule("beat", by=HOSTER, ttl=epochs(1), schema=Digest())
PERSONAL = Rule("out-{author}_epoch_{epoch}", by=HOSTER, ttl=epochs(2), schema=Digest())


def make_schedule(*epochs_known: int) -> EpochSchedule:
    schedule = EpochSchedule(Policy(DATED, UNDATED, PERSONAL))
    for epoch in epochs_known:
        schedule.add(make_context(Epoch(epoch)))
    return schedule


def test_reading_knows_three_epochs_and_posting_the_next_one_too() -> None:
    now = make_schedule(4, 5, 6, 7).compute_evaluation_context(
        TIMING.compute_first_block(Epoch(7)), 0.0
    )
    readable = {epoch for epoch in range(12) if compute_key(f"work_epoch_{epoch}") in now.readable}
    postable = {epoch for epoch in range(12) if compute_key(f"work_epoch_{epoch}") in now.postable}
    assert (readable, postable) == ({5, 6, 7}, {5, 6, 7, 8})


def test_an_epoch_that_cannot_be_read_any_more_is_let_go() -> None:
    schedule = make_schedule(*range(10))
    assert [epoch for epoch in range(10) if schedule.has(Epoch(epoch))] == [6, 7, 8, 9]


def test_the_next_epochs_context_does_not_disturb_the_current_one() -> None:
    schedule = make_schedule(6, 7)
    now = schedule.compute_evaluation_context(
        BlockNumber(TIMING.compute_first_block(Epoch(7)) - 1), compute_unix_seconds(BlockNumber(0))
    )
    assert now.data.epoch == 6
    assert not now.is_stale
    assert now.postable[compute_key("beat")].context.epoch == 6


def test_members_are_those_of_an_epoch_and_those_who_are_known_to_come() -> None:
    schedule = EpochSchedule(Policy(DATED))
    assert schedule.get_members(Epoch(7)) == set()
    for epoch, hosters in ((6, (alice, bob)), (7, (bob, carol))):
        roster = Roster(
            Epoch(epoch), b"seed", [Member(hoster.author, HOSTER) for hoster in hosters]
        )
        schedule.add(EpochContext(NETWORK, TIMING, roster))
    assert schedule.get_members(Epoch(5)) == schedule.get_context(Epoch(6)).roster.roles.keys()
    assert schedule.get_members(Epoch(6)) == {alice.author, bob.author, carol.author}
    assert schedule.get_members(Epoch(7)) == {bob.author, carol.author}


def test_a_key_without_an_epoch_has_the_network_id_for_its_seed() -> None:
    schedule = make_schedule(7)
    key_rule = schedule.get_key_rule(UNDATED, Epoch(7))
    assert key_rule.replica_set == make_roster(Epoch(7)).get_replica_set(key_rule.key, NETWORK)


def test_an_author_has_a_key_of_its_own() -> None:
    schedule = make_schedule(7)
    assert len(schedule.get_key_rules(PERSONAL, Epoch(7))) == len(make_roster(Epoch(7)).hosters)
    assert (
        schedule.get_key_rule(PERSONAL, Epoch(7), alice.author).name
        == f"out-{alice.author.hex()}_epoch_7"
    )
    with pytest.raises(KeyError, match="has no key in epoch 7"):
        schedule.get_key_rule(PERSONAL, Epoch(7))


def test_an_empty_calendar_says_what_it_lacks() -> None:
    with pytest.raises(LookupError, match="add the first one's context"):
        make_schedule().compute_evaluation_context(BlockNumber(0), 0.0)


def test_an_unknown_key_is_told_the_names_of_those_that_exist_now() -> None:
    schedule = make_schedule(5, 6, 7)
    schedule.add(make_context(Epoch(8)))
    now = schedule.compute_evaluation_context(TIMING.compute_first_block(Epoch(7)), 0.0)
    assert str(now.no_such_key) == (
        "denied, unknown-key; expected one of work_epoch_7, beat, out-{author}_epoch_7"
    )


def test_before_the_first_block_only_keys_without_an_epoch_are_named() -> None:
    schedule = EpochSchedule(Policy(DATED, UNDATED, PERSONAL))
    schedule.add(make_context(Epoch(0)))
    now = schedule.compute_evaluation_context(BlockNumber(999), 0.0)
    assert str(now.no_such_key) == "denied, unknown-key; expected one of beat"
    assert set(now.postable) == set(now.readable) == {compute_key("beat")}


def test_a_policy_without_keys_has_none_to_name() -> None:
    schedule = EpochSchedule(Policy())
    schedule.add(make_context(Epoch(0)))
    now = schedule.compute_evaluation_context(BlockNumber(1000), 0.0)
    assert str(now.no_such_key) == "denied, unknown-key"


def test_an_author_without_a_key_of_its_own_is_named_as_libp2p_does() -> None:
    with pytest.raises(KeyError, match=f"for {format_peer_id(victor.author)}"):
        make_schedule(7).get_key_rule(PERSONAL, Epoch(7), victor.author)


def test_members_are_those_of_the_epoch_and_of_the_next_one_where_it_is_known() -> None:
    schedule = EpochSchedule(Policy(DATED))
    for epoch, person in ((7, alice), (8, bob), (9, carol)):
        schedule.add(make_context(Epoch(epoch), make_roster(Epoch(epoch), {person: HOSTER})))
    assert schedule.get_members(Epoch(7)) == {alice.author, bob.author}
    assert schedule.get_members(Epoch(9)) == {carol.author}
    assert schedule.get_members(Epoch(6)) == {alice.author}
    assert schedule.get_members(Epoch(12)) == frozenset()


def test_the_newest_roster_may_be_an_earlier_epochs_as_long_as_that_can_be_read() -> None:
    schedule = make_schedule(5)
    roster = schedule.get_context(Epoch(5)).roster
    assert [schedule.find_newest_roster(Epoch(epoch)) for epoch in (4, 5, 7, 8)] == [
        None,
        roster,
        roster,
        None,
    ]
    assert schedule.get_roster(Epoch(5)) is roster
    assert schedule.get_roster(Epoch(6)) is None
