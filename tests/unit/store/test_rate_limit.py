"""Token buckets: what is granted, to whom, and that nobody can take another's share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochgate.core.limits import Allowance, Limits, Rate
from epochgate.core.types import PeerId
from epochgate.store.rate_limit import MAX_STRANGERS, RateLimiter, TokenBucket
from tests.support.identities import alice, bob, key_of

FEW = Allowance(Rate(1.0, 2.0), Rate(1000.0, 1000.0))


def ask(
    limiter: RateLimiter,
    sender: PeerId,
    now_seconds: float,
    size_bytes: int = 1,
    *,
    is_member: bool = True,
) -> float:
    """How long the sender has to wait; 0 when its request was taken and paid for."""
    buckets_in_turn, wait_seconds = limiter.find_buckets(
        sender, is_member=is_member, now_seconds=now_seconds
    )
    for buckets in buckets_in_turn:
        buckets.debit(1, size_bytes)
    assert bool(buckets_in_turn) == (wait_seconds == 0)
    return wait_seconds


def test_a_bucket_says_when_enough_is_there() -> None:
    bucket = TokenBucket(Rate(2.0, 10.0), 100.0)
    assert bucket.compute_wait_seconds(10, 100.0) == 0
    bucket.take(10)
    assert bucket.compute_wait_seconds(1, 100.0) == 0.5
    assert bucket.compute_wait_seconds(1, 100.5) == 0
    bucket.take(21)
    assert bucket.compute_wait_seconds(0, 100.5) == 10.0


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_a_bucket_never_holds_more_than_its_burst_whatever_the_clock_does(
    times: list[float],
) -> None:
    bucket = TokenBucket(Rate(3.0, 5.0), 0.0)
    for now_seconds in times:
        assert bucket.compute_wait_seconds(5.5, now_seconds) > 0


def test_a_member_uses_its_own_share_and_then_what_is_spare() -> None:
    limiter = RateLimiter(Limits(member=FEW, spare=FEW))
    waits = [ask(limiter, alice.author, 10.0) for _ in range(5)]
    assert waits == [0, 0, 0, 0, 1.0]
    assert [ask(limiter, bob.author, 10.0) for _ in range(3)] == [0, 0, 1.0]


def test_bytes_count_as_well_and_may_be_owed() -> None:
    limiter = RateLimiter(Limits(member=FEW, spare=Allowance(Rate(1.0, 0.0), Rate(1.0, 0.0))))
    assert ask(limiter, alice.author, 10.0, 3000) == 0
    assert ask(limiter, alice.author, 10.0) == pytest.approx(2.001)
    assert ask(limiter, alice.author, 12.002) == 0


def test_who_was_told_to_wait_is_known_until_then_whatever_the_clock_does() -> None:
    limiter = RateLimiter(Limits(member=FEW, spare=FEW, stranger=FEW))
    assert limiter.compute_retry_after_seconds(alice.author, 10.0) == 0
    assert [ask(limiter, alice.author, 10.0) for _ in range(4)] == [0, 0, 0, 0]
    assert limiter.compute_retry_after_seconds(alice.author, 10.0) == 0
    assert ask(limiter, alice.author, 10.0) == 1.0
    assert limiter.compute_retry_after_seconds(alice.author, 10.25) == 0.75
    assert [
        limiter.compute_retry_after_seconds(alice.author, seconds) for seconds in (11.0, 9.0)
    ] == [0, 0]
    assert limiter.compute_retry_after_seconds(bob.author, 10.25) == 0
    assert [ask(limiter, PeerId(b"stranger"), 10.0, is_member=False) for _ in range(3)] == [
        0,
        0,
        1.0,
    ]
    assert limiter.compute_retry_after_seconds(PeerId(b"stranger"), 10.25) == 0.75


def test_strangers_share_what_all_of_them_have() -> None:
    limiter = RateLimiter(Limits(stranger=FEW, strangers=Allowance(Rate(1.0, 3.0), Rate(1e6, 1e6))))
    carol = key_of("carol").author
    dave = key_of("dave").author
    assert [ask(limiter, carol, 10.0, is_member=False) for _ in range(3)] == [0, 0, 1.0]
    assert [ask(limiter, dave, 10.0, is_member=False) for _ in range(2)] == [0, 1.0]
    assert ask(limiter, alice.author, 10.0) == 0


def test_only_the_latest_strangers_are_remembered() -> None:
    plenty = Allowance(Rate(1e9, 1e9), Rate(1e9, 1e9))
    limiter = RateLimiter(
        Limits(stranger=Allowance(Rate(0.001, 1.0), Rate(1e6, 1e6)), strangers=plenty)
    )
    assert ask(limiter, PeerId(b"first"), 10.0, is_member=False) == 0
    assert ask(limiter, PeerId(b"first"), 10.0, is_member=False) > 0
    for number in range(MAX_STRANGERS):
        assert ask(limiter, PeerId(b"%d" % number), 10.0, is_member=False) == 0
    assert ask(limiter, PeerId(b"%d" % (MAX_STRANGERS - 1)), 10.0, is_member=False) > 0
    assert ask(limiter, PeerId(b"first"), 10.0, is_member=False) == 0


def test_who_leaves_the_roster_is_forgotten() -> None:
    limiter = RateLimiter(Limits(member=FEW, spare=Allowance(Rate(0.001, 0.0), Rate(0.001, 0.0))))
    for author in (alice.author, bob.author):
        ask(limiter, author, 10.0)
        ask(limiter, author, 10.0)
    limiter.retain({bob.author})
    assert ask(limiter, bob.author, 10.0) > 0
    assert ask(limiter, alice.author, 10.0) == 0
