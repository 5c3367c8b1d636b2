"""Policies that cannot work on a chain, a roster or a network, and how that is said."""

from __future__ import annotations

import msgspec
import pytest

from epochgate.core.commitment import OpeningOf
from epochgate.core.epoch import Timing, epochs, percent
from epochgate.core.limits import Allowance, Limits, Quota, Rate
from epochgate.core.policy import Policy
from epochgate.core.policy_lint import PolicyError, check_policy, find_problems
from epochgate.core.roster import HOSTER
from epochgate.core.rule import Rule
from epochgate.core.schema import Digest
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import Tensor
from tests.support.identities import TIMING

COMMIT = Rule(
    "commit_epoch_{epoch}",
    by=HOSTER,
    ttl=epochs(2),
    schema=Digest(),
    during=percent("[0, 50]"),
    once=True,
)
OPEN = Rule(
    "open_epoch_{epoch}",
    by=HOSTER,
    ttl=epochs(2),
    schema=OpeningOf(Digest()),
    during=percent("(50, 60]"),
    opens="commit",
)


def test_the_default_policy_has_no_problem_on_a_usual_chain() -> None:
    for blocks_per_epoch in (20, 100, 600):
        assert list(find_problems(INFERENCE_POLICY, Timing(None, blocks_per_epoch, 6.0), 500)) == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((COMMIT, msgspec.structs.replace(OPEN, during=percent("(50, 51]"))), "a window needs 2"),
        ((COMMIT, msgspec.structs.replace(OPEN, schema=Digest())), "has to be OpeningOf"),
        (
            (COMMIT, msgspec.structs.replace(OPEN, during=percent("[50, 60]"))),
            "an opening could be copied",
        ),
        ((OPEN,), "opens 'commit', but no rule of that kind has a window"),
        ((COMMIT, COMMIT), "two rules are of the kind commit"),
        (
            (msgspec.structs.replace(COMMIT, max_bytes=1 << 20),),
            "more than the 67108864 bytes of limits.key",
        ),
        (
            (msgspec.structs.replace(COMMIT, kept_until=epochs("2.5")),),
            "expires before it is last read",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused_in_words(rules: tuple[Rule, ...], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        check_policy(Policy(*rules), TIMING, roster_size=100)


def test_an_opening_in_a_later_epoch_may_share_the_hours_of_its_commitment() -> None:
    later = msgspec.structs.replace(OPEN, during=percent("[0, 50]"), epochs_ago=1)
    check_policy(Policy(COMMIT, later), TIMING, roster_size=100)


def test_a_key_an_author_needs_room_for_one() -> None:
    check_policy(
        Policy(Rule("out-{author}_epoch_{epoch}", HOSTER, epochs(1), Digest(), max_bytes=1 << 20)),
        TIMING,
        1000,
    )


def test_a_value_that_no_message_could_carry_is_refused_in_words() -> None:
    rule = Rule("out-{author}_epoch_{epoch}", HOSTER, epochs(1), Digest(), max_bytes=3 << 20)
    check_policy(Policy(rule), TIMING, 100)
    once = msgspec.structs.replace(rule, once=True)
    with pytest.raises(
        PolicyError,
        match=(
            "two values, as evidence shows them, each of 3145728 bytes could never be sent in one"
        ),
    ):
        check_policy(Policy(once), TIMING, 100)
    check_policy(Policy(once), TIMING, 100, max_message_bytes=8 << 20)
    with pytest.raises(
        PolicyError, match=r"a value of 3145728 bytes .* of 2097152: lower max_bytes to 2088960"
    ):
        check_policy(Policy(rule), TIMING, 100, max_message_bytes=2 << 20)


def test_a_schema_whose_values_do_not_fit_is_refused_in_words() -> None:
    """What a hoster would otherwise learn only when nobody stores the opening of its commitment."""
    rule = Rule(
        "out-{author}_epoch_{epoch}",
        HOSTER,
        epochs(1),
        OpeningOf(Tensor("float32", ((1, 16), 64))),
        max_bytes=4096,
    )
    with pytest.raises(
        PolicyError,
        match=r"a value of opening\[tensor.* takes 4224 bytes and more, and max_bytes is 4096",
    ):
        check_policy(Policy(rule), TIMING, 100)
    check_policy(Policy(msgspec.structs.replace(rule, max_bytes=8192)), TIMING, 100)


def test_the_default_limits_are_enough_for_a_thousand_authors() -> None:
    assert list(find_problems(INFERENCE_POLICY, Timing(None, 100, 6.0), 1000)) == []


SLOW = Allowance(Rate(0.001, 3.0), Rate(1e6, 1e6))
NARROW = Allowance(Rate(1.0, 10.0), Rate(1.0, 8192.0))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            Limits(author=Quota(1, 1 << 20)),
            (
                "an author needs room for 2 records and 8192 bytes in an epoch, and limits.author"
                " is 1 records and 1048576 bytes: raise it"
            ),
        ),
        (
            Limits(author=Quota(2, 8191)),
            (
                "an author needs room for 2 records and 8192 bytes in an epoch, and limits.author"
                " is 2 records and 8191 bytes"
            ),
        ),
        (
            Limits(total=Quota(599, 1 << 30)),
            (
                "and its part of limits.total among 100 is 1 records and 3579139 bytes: raise"
                " limits.total to 600 records and 2457600 bytes"
            ),
        ),
        (
            Limits(key=Quota(99, 1 << 20)),
            "100 authors may write under one key, and limits.key holds 99 records: raise it",
        ),
        (
            Limits(member=SLOW),
            (
                "a member sends a replica 6 requests in an epoch of 600 s, and limits.member grants"
                " 4: raise it"
            ),
        ),
        (
            Limits(member=NARROW),
            (
                "a member sends a replica 827392 bytes in an epoch of 600 s, and limits.member"
                " grants 8792: raise it"
            ),
        ),
    ],
)
def test_limits_below_what_an_honest_author_needs_are_refused_in_words(
    limits: Limits, words: str
) -> None:
    check_policy(Policy(COMMIT, OPEN), TIMING, roster_size=100)
    with pytest.raises(PolicyError) as refused:
        check_policy(Policy(COMMIT, OPEN, limits=limits), TIMING, roster_size=100)
    assert words in str(refused.value)


def test_a_key_that_outlives_rosters_has_room_for_those_who_left() -> None:
    beat = Rule("beat", by=HOSTER, ttl=epochs("1.1"), schema=Digest())
    check_policy(Policy(beat, limits=Limits(key=Quota(300, 64 << 20))), TIMING, roster_size=100)
    with pytest.raises(PolicyError, match=r"beat: 300 authors .* limits\.key holds 299 records"):
        check_policy(Policy(beat, limits=Limits(key=Quota(299, 64 << 20))), TIMING, roster_size=100)
