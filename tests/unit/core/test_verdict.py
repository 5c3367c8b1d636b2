"""Verdicts: truthy or falsy, with a reason from a closed list, and in words when somebody asks."""

from __future__ import annotations

import msgspec
import pytest

from epochgate.core.epoch import Blocks
from epochgate.core.limits import Quota
from epochgate.core.peer_id import format_peer_id
from epochgate.core.roster import HOSTER, VALIDATOR, Roles
from epochgate.core.types import BlockNumber
from epochgate.core.verdict import (
    Admitted,
    AtMost,
    Denied,
    ExpiryAfter,
    Lifetime,
    Reason,
    Size,
    UnixTime,
    describe_fact,
)
from tests.support.identities import alice

IS_AUTHORS_FAULT = {
    "too-large": True,
    "unknown-key": True,
    "not-started": False,
    "chain-stale": False,
    "early": False,
    "late": False,
    "expiry": False,
    "not-on-roster": True,
    "wrong-role": True,
    "not-elected": False,
    "not-author": True,
    "not-replica": False,
    "already-there": False,
    "quota": False,
    "rate": False,
    "bad-signature": True,
    "malformed": True,
    "predicate": False,
    "predicate-error": False,
}


def test_the_list_of_reasons_is_closed_and_says_whose_fault_each_is() -> None:
    assert {reason.value: reason.is_authors_fault for reason in Reason} == IS_AUTHORS_FAULT


def test_admitted_is_truthy_and_carries_the_value() -> None:
    verdict = Admitted("hoster-commit_epoch_7", alice.author, b"digest")

    assert verdict
    assert verdict.value == b"digest"
    assert str(verdict) == "admitted by rule hoster-commit_epoch_7"


@pytest.mark.parametrize("reason", Reason)
def test_denied_is_falsy_for_every_reason(reason: Reason) -> None:
    verdict = Denied(reason)

    assert not verdict
    assert str(verdict) == f"denied, {reason.value}"


@pytest.mark.parametrize(
    ("denied", "words"),
    [
        (Denied(Reason.UNKNOWN_KEY), "denied, unknown-key"),
        (
            Denied(
                Reason.EARLY,
                "hoster-reveal_epoch_7",
                Blocks(BlockNumber(51), BlockNumber(60)),
                Blocks(BlockNumber(37), BlockNumber(37)),
                14,
                84.0,
            ),
            (
                "denied, early; by rule hoster-reveal_epoch_7; expected blocks 51 to 60; saw block"
                " 37; opens in 14 blocks, about 84 s"
            ),
        ),
        (Denied(Reason.EXPIRY, observed=0.0), "denied, expiry; saw 0.0"),
        (
            Denied(Reason.RATE, None, "fewer requests", wait_seconds=0.25),
            "denied, rate; expected fewer requests; repeat it in about 0.25 s",
        ),
        (
            Denied(Reason.WRONG_ROLE, "hoster", Roles(int(HOSTER)), Roles(int(VALIDATOR))),
            "denied, wrong-role; by rule hoster; expected hoster; saw validator",
        ),
        (Denied(Reason.NOT_ELECTED, None, b"\x01\x02"), "denied, not-elected; expected 0102"),
        (Denied(Reason.MALFORMED, None, None, b"\xab" * 40), "denied, malformed; saw " + "ab" * 40),
        (
            Denied(Reason.MALFORMED, None, None, b"\xab" * 41),
            "denied, malformed; saw " + "ab" * 16 + "... (41 bytes)",
        ),
    ],
)
def test_a_denial_explains_itself(denied: Denied, words: str) -> None:
    assert str(denied) == words


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (alice.author, format_peer_id(alice.author)),
        (b"\x01\x02", "0102"),
        ("one record", "one record"),
        (Lifetime(0.0, 660.0), "0 to 660 s from now"),
        (Lifetime(-3.25, -3.25), "-3.25 s from now"),
        (Lifetime(float("inf"), float("inf")), "inf s from now"),
        (UnixTime(0.0), "1970-01-01 00:00:00.000 UTC"),
        (UnixTime(1_800_000_000.5), "2027-01-15 08:00:00.500 UTC"),
        (UnixTime(float("nan")), "Unix time nan"),
        (UnixTime(float("-inf")), "Unix time -inf"),
        (UnixTime(1e300), "Unix time 1e+300"),
        (ExpiryAfter(0.0), "an expiry after 1970-01-01 00:00:00.000 UTC"),
        (AtMost(Size(4096)), "at most 4096 bytes"),
        (AtMost(Quota(2, 96), "per key"), "at most 2 records and 96 bytes per key"),
    ],
)
def test_a_fact_is_put_into_words(fact: object, words: str) -> None:
    assert describe_fact(fact) == words


def test_a_key_that_belongs_to_an_author_names_it_as_libp2p_does() -> None:
    denied = Denied(Reason.LATE, f"out-{alice.author.hex()}_epoch_7")
    assert str(denied) == f"denied, late; by rule out-{format_peer_id(alice.author)}_epoch_7"


def test_facts_become_words_only_when_somebody_asks() -> None:
    class Fact:
        def __str__(self) -> str:
            raise AssertionError("nobody has asked")

    assert not Denied(Reason.MALFORMED, "hoster", Fact(), Fact())


def test_verdicts_are_values() -> None:
    assert Denied(Reason.LATE, "hoster") == Denied(Reason.LATE, "hoster")
    with pytest.raises(AttributeError):
        Denied(Reason.LATE).rule = "another"  # type: ignore[misc]
    assert msgspec.to_builtins(Denied(Reason.LATE))["reason"] == "late"
