"""A rule, and what it comes to for the keys of one epoch."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest

from epochgate.core.epoch import Timing, epochs, percent
from epochgate.core.record import compute_key, compute_signing_prefix
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import ALWAYS, KeyRule, Rule
from epochgate.core.schema import Digest
from epochgate.core.types import BlockNumber, Epoch
from tests.support.identities import NETWORK, TIMING, alice, bob, carol, make_context, victor

FIRST = TIMING.compute_first_block(Epoch(7))
NOTE = Rule("note_epoch_{epoch}", by=HOSTER, ttl=epochs(2), schema=Digest())
BEAT = Rule("beat", by=HOSTER, ttl=epochs(1), schema=Digest())
OWN = Rule("own-{author}_epoch_{epoch}", by=HOSTER, ttl=epochs(1), schema=Digest())


def bind(rule: Rule) -> KeyRule:
    (key_rule,) = rule.bind(make_context(Epoch(7)), Epoch(7))
    return key_rule


def change(rule: Rule, **changes: object) -> Rule:
    return msgspec.structs.replace(rule, **changes)


@pytest.mark.parametrize(
    ("name", "kind", "is_of_an_epoch", "is_of_an_author"),
    [
        ("hoster", "hoster", False, False),
        ("hoster-commit_epoch_{epoch}", "hoster-commit", True, False),
        ("consensus-epoch_{epoch}", "consensus", True, False),
        ("out-{author}_epoch_{epoch}", "out", True, True),
        ("out_{author}", "out", False, True),
        ("out{author}", "out", False, True),
    ],
)
def test_a_name_says_whose_keys_there_are(
    name: str, kind: str, is_of_an_epoch: bool, is_of_an_author: bool
) -> None:
    rule = change(NOTE, name=name)
    assert (rule.kind, rule.is_of_an_epoch, rule.is_of_an_author) == (
        kind,
        is_of_an_epoch,
        is_of_an_author,
    )


def test_a_keys_writers_are_its_author_or_a_roster_or_those_of_all_epochs_that_are_held() -> None:
    assert OWN.compute_writers(10, held_epochs=3) == 1
    assert NOTE.compute_writers(10, held_epochs=3) == 10
    assert BEAT.compute_writers(10, held_epochs=3) == 30


def test_a_rule_describes_all_that_it_says() -> None:
    rule = Rule(
        "a-reveal_epoch_{epoch}",
        by=HOSTER | VALIDATOR,
        ttl=epochs("1.1"),
        schema=Digest(),
        during=percent("(0, 50]"),
        once=True,
        max_bytes=100,
        kept_until=epochs(1),
        elected_until=epochs("0.1"),
        opens="a-commit",
        epochs_ago=1,
    )
    assert rule.describe() == (
        "a-reveal_epoch_{epoch} by=3 ttl=11/10 during=0..1/2 after=True before=False once=True"
        " max_bytes=100 kept_until=1 elected_until=1/10 opens=a-commit:1 schema=bytes[32]"
    )
    assert "during=always" in NOTE.describe()


def test_a_key_of_an_epoch_is_open_for_all_of_it_or_for_its_window() -> None:
    whole = bind(NOTE)
    assert (whole.name, whole.key, whole.epoch) == ("note_epoch_7", compute_key("note_epoch_7"), 7)
    assert whole.blocks == (whole.first, whole.last) == (FIRST, FIRST + 99)
    part = bind(change(NOTE, during=percent("(15, 50]")))
    assert part.blocks == (part.first, part.last) == (FIRST + 16, FIRST + 50)


def test_a_key_without_an_epoch_is_always_open() -> None:
    key_rule = bind(BEAT)
    assert (key_rule.name, key_rule.epoch, key_rule.blocks) == ("beat", None, ALWAYS)
    assert key_rule.stand_ins_first == ALWAYS.first
    assert key_rule.receipt_rule.blocks is None
    assert key_rule.receipt_rule.epoch is None


def test_a_key_without_an_epoch_exists_before_the_subnets_first_block() -> None:
    context = make_context(Epoch(0), timing=Timing(None, 100, 6.0))
    (key_rule,) = BEAT.bind(context, Epoch(0))
    assert key_rule.longest_seconds == 600.0


def test_each_author_in_the_role_has_a_key_of_its_own() -> None:
    key_rules = list(OWN.bind(make_context(Epoch(7)), Epoch(7)))
    assert [key_rule.author for key_rule in key_rules] == sorted(
        [alice.author, bob.author, carol.author]
    )
    assert {key_rule.name for key_rule in key_rules} == {
        f"own-{person.author.hex()}_epoch_7" for person in (alice, bob, carol)
    }


def test_shares_of_an_epoch_become_blocks_and_seconds_of_the_chain() -> None:
    key_rule = bind(
        change(NOTE, ttl=Fraction(3, 2), elected_until=epochs("0.1"), kept_until=epochs(2))
    )
    assert key_rule.stand_ins_first == FIRST + 11
    assert key_rule.keep_block == FIRST + 200
    assert (key_rule.longest_seconds, key_rule.block_seconds) == (900.0, 6.0)
    assert bind(NOTE).stand_ins_first == FIRST
    assert bind(NOTE).keep_block is None


@pytest.mark.parametrize(
    ("block", "seconds"), [(FIRST, 588.0), (FIRST + 90, 48.0), (FIRST + 99, 0.0), (FIRST + 300, 0)]
)
def test_a_record_has_to_live_until_the_block_it_is_kept_for(
    block: BlockNumber, seconds: float
) -> None:
    assert bind(change(NOTE, kept_until=epochs(1))).compute_shortest_seconds(block) == seconds
    assert bind(NOTE).compute_shortest_seconds(block) == 0.0


def test_a_key_of_an_epoch_has_the_seeds_replicas_and_any_other_the_networks() -> None:
    roster = make_context(Epoch(7)).roster
    note = bind(NOTE)
    beat = bind(BEAT)
    assert note.replica_set == roster.get_replica_set(note.key)
    assert beat.replica_set == roster.get_replica_set(beat.key, NETWORK)
    assert note.receipt_rule.replica_set == note.replica_set
    assert (note.receipt_rule.network, note.receipt_rule.epoch) == (NETWORK, 7)
    assert note.receipt_rule.blocks == note.blocks


def test_a_key_rule_carries_what_judging_needs() -> None:
    key_rule = bind(change(NOTE, once=True, max_bytes=77))
    assert key_rule.prefix == compute_signing_prefix(NETWORK, key_rule.key)
    assert key_rule.roles == make_context(Epoch(7)).roster.roles
    assert (key_rule.once, key_rule.max_bytes, key_rule.role) == (True, 77, HOSTER)
    assert (key_rule.elected, key_rule.author) == (victor.author, None)
    assert key_rule.decode(bytes(32)) == bytes(32)
