"""What a policy checks of a record before its signature, one check after the other."""

from __future__ import annotations

import math

import msgspec
import pytest

from epochgate.core.checks import (
    DescribedBySchema,
    check_author,
    check_expiry,
    check_lifetime,
    check_replacement,
    deny_block,
    deny_size,
    deny_stand_in,
)
from epochgate.core.epoch import Blocks, epochs, percent
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.policy import Policy
from epochgate.core.receipt import ReceiptedEntry
from epochgate.core.record import Record
from epochgate.core.roster import HOSTER, VALIDATOR, Roles
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId
from epochgate.core.verdict import Denied, ExpiryAfter, Lifetime, Reason, UnixTime
from tests.support.identities import (
    TIMING,
    alice,
    bob,
    compute_unix_seconds,
    dave,
    make_context,
    vera,
    victor,
)

NOTE = Rule(
    "note_epoch_{epoch}",
    by=HOSTER,
    during=percent("[20, 50]"),
    ttl=epochs(2),
    schema=Digest(),
    max_bytes=96,
    kept_until=epochs(1),
)
BEAT = Rule("beat", by=HOSTER, ttl=epochs(1), schema=Digest())
OWN = Rule("own-{author}_epoch_{epoch}", by=HOSTER, ttl=epochs(1), schema=Digest())
TENSOR = Rule(
    "challenge_epoch_{epoch}",
    by=VALIDATOR,
    ttl=epochs(1),
    schema=Digest(),
    elected_until=epochs("0.10"),
)
POLICY = Policy(NOTE, BEAT, OWN, TENSOR)
FIRST = TIMING.compute_first_block(Epoch(7))


def make_schedule() -> EpochSchedule:
    schedule = EpochSchedule(POLICY)
    schedule.add(make_context(Epoch(7)))
    return schedule


SCHEDULE = make_schedule()


def get_key_rule(rule: Rule, author: PeerId | None = None) -> KeyRule:
    return SCHEDULE.get_key_rule(rule, Epoch(7), author)


def at(blocks_elapsed: int) -> EvaluationContext:
    block = BlockNumber(FIRST + blocks_elapsed)
    return SCHEDULE.compute_evaluation_context(block, compute_unix_seconds(block))


def make_record(rule: Rule, expiration_time: float) -> Record:
    return Record(get_key_rule(rule).key, alice.author, bytes(96), expiration_time)


def check_at(blocks_elapsed: int, left_seconds: float) -> Denied | None:
    now = at(blocks_elapsed)
    record = make_record(NOTE, now.time_seconds + left_seconds)
    return check_lifetime(record, get_key_rule(NOTE), now)


def test_a_value_that_is_too_long_is_told_both_lengths() -> None:
    denied = deny_size(get_key_rule(NOTE), 97)
    assert str(denied).endswith("by rule note_epoch_7; expected at most 96 bytes; saw 97 bytes")


def test_who_comes_early_is_told_how_long_to_wait() -> None:
    denied = deny_block(get_key_rule(NOTE), BlockNumber(FIRST + 13))
    assert (denied.reason, denied.wait_blocks, denied.wait_seconds) == (Reason.EARLY, 7, 42.0)
    assert denied.expected == Blocks(BlockNumber(FIRST + 20), BlockNumber(FIRST + 50))
    assert str(denied.observed) == f"block {FIRST + 13}"


def test_who_comes_late_has_nothing_to_wait_for() -> None:
    denied = deny_block(get_key_rule(NOTE), BlockNumber(FIRST + 51))
    assert (denied.reason, denied.wait_blocks, denied.wait_seconds) == (Reason.LATE, None, None)


@pytest.mark.parametrize(
    ("left_seconds", "is_fine"),
    [
        (1200.0, True),
        (1200.1, False),
        (348.0, True),  # from block 40 to block 100, less two blocks of lag
        (347.9, False),
        (0.0, False),
        (math.nan, False),
        (math.inf, False),
        (-math.inf, False),
    ],
)
def test_a_record_lives_until_it_is_last_read_and_no_longer_than_its_rule_says(
    left_seconds: float, is_fine: bool
) -> None:
    denied = check_at(40, left_seconds)
    assert (denied is None) is is_fine
    if denied is not None:
        assert denied.expected == Lifetime(348.0, 1200.0)


def test_a_record_that_nothing_depends_on_may_live_as_short_as_it_likes() -> None:
    now = at(40)
    record = make_record(BEAT, now.time_seconds + 0.001)
    assert check_lifetime(record, get_key_rule(BEAT), now) is None


@pytest.mark.parametrize(
    ("rule", "left_seconds", "is_fine"),
    [
        (BEAT, 0.1, True),
        (BEAT, 0.0, False),
        (BEAT, -1.0, False),
        (BEAT, math.nan, False),
        (BEAT, math.inf, False),
        (NOTE, -1e6, True),
        (NOTE, math.nan, False),
        (NOTE, -math.inf, False),
    ],
)
def test_a_record_is_read_as_long_as_its_epoch_is_or_else_until_it_expires(
    rule: Rule, left_seconds: float, is_fine: bool
) -> None:
    now = at(40)
    record = make_record(rule, now.time_seconds + left_seconds)
    denied = check_expiry(record, get_key_rule(rule), now)
    assert (denied is None) is is_fine
    if denied is not None:
        assert denied.reason is Reason.EXPIRY
        assert isinstance(denied.observed, UnixTime)


def test_an_author_has_to_be_on_the_roster_and_in_the_role() -> None:
    key_rule = get_key_rule(NOTE)
    assert check_author(key_rule, alice.author) is None
    stranger = check_author(key_rule, dave.author)
    assert stranger == Denied(
        Reason.NOT_ON_ROSTER, "note_epoch_7", "an author on the epoch's roster", dave.author
    )
    validator = check_author(key_rule, victor.author)
    assert validator == Denied(
        Reason.WRONG_ROLE, "note_epoch_7", Roles(int(HOSTER)), Roles(int(VALIDATOR))
    )


def test_the_elected_node_may_publish_the_challenge_in_any_role() -> None:
    elected = msgspec.structs.replace(get_key_rule(TENSOR), elected=alice.author)
    assert check_author(elected, alice.author) is None
    assert check_author(elected, vera.author) is None
    other = check_author(elected, bob.author)
    assert other is not None
    assert other.reason is Reason.WRONG_ROLE
    note = msgspec.structs.replace(get_key_rule(NOTE), elected=victor.author)
    assert check_author(note, victor.author) is not None


def test_a_key_of_an_author_is_its_own() -> None:
    key_rule = get_key_rule(OWN, alice.author)
    assert check_author(key_rule, alice.author) is None
    denied = check_author(key_rule, bob.author)
    assert denied == Denied(Reason.NOT_AUTHOR, key_rule.name, alice.author, bob.author)


def test_a_stand_in_is_told_when_its_turn_begins() -> None:
    denied = deny_stand_in(get_key_rule(TENSOR), BlockNumber(FIRST + 4), vera.author)
    assert denied == Denied(
        Reason.NOT_ELECTED, "challenge_epoch_7", victor.author, vera.author, 7, 42.0
    )


@pytest.mark.parametrize(
    ("later_by", "is_fine"), [(0.001, True), (0.0, False), (-1.0, False), (math.nan, True)]
)
def test_a_record_is_replaced_by_one_that_expires_later(later_by: float, is_fine: bool) -> None:
    held = ReceiptedEntry(Hash32(bytes(32)), 1000.0, Epoch(7), 96, ())
    denied = check_replacement(make_record(BEAT, 1000.0 + later_by), get_key_rule(BEAT), held)
    assert (denied is None) is is_fine
    if denied is not None:
        assert denied.reason is Reason.ALREADY_THERE
        assert denied.expected == ExpiryAfter(1000.0)


def test_a_once_key_is_written_once_however_long_the_new_record_lives() -> None:
    once = msgspec.structs.replace(get_key_rule(NOTE), once=True)
    held = ReceiptedEntry(Hash32(bytes(32)), 1000.0, Epoch(7), 96, ())
    denied = check_replacement(make_record(NOTE, 2000.0), once, held)
    assert str(denied).endswith(
        "already-there; by rule note_epoch_7; expected one record; saw another one"
    )


def test_a_schema_describes_itself_only_when_somebody_asks() -> None:
    assert str(DescribedBySchema(Digest())) == "bytes[32]"
