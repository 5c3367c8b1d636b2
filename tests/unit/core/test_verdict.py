"""Verdicts: truthy or falsy, with a reason from a closed list, and in words when somebody asks."""

from __future__ import annotations

import msgspec
import pytest

from epochgate.core.verdict import Admitted, Denied, Reason
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
            Denied(Reason.EARLY, "hoster-reveal_epoch_7", "blocks 51 to 60", 37, 14, 84.0),
            (
                "denied, early; by rule hoster-reveal_epoch_7; expected blocks 51 to 60; saw 37;"
                " opens in 14 blocks, about 84 s"
            ),
        ),
        (Denied(Reason.EXPIRY, observed=0.0), "denied, expiry; saw 0.0"),
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


def test_verdicts_are_values() -> None:
    assert Denied(Reason.LATE, "hoster") == Denied(Reason.LATE, "hoster")
    with pytest.raises(AttributeError):
        Denied(Reason.LATE).rule = "another"  # type: ignore[misc]
    assert msgspec.to_builtins(Denied(Reason.LATE))["reason"] == "late"
