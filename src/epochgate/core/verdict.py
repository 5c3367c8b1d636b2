"""Verdicts: admitted, or denied for a reason from a closed list.

A `Denied` holds raw facts; words are made only when somebody asks, so that a flood of refusals
stays cheap.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from epochgate.core.types import PeerId


class Reason(enum.Enum):
    """Why a record is refused. The value is its name on the wire, in logs and in counts."""

    TOO_LARGE = "too-large"
    UNKNOWN_KEY = "unknown-key"
    NOT_STARTED = "not-started"
    CHAIN_STALE = "chain-stale"
    EARLY = "early"
    LATE = "late"
    EXPIRY = "expiry"
    NOT_ON_ROSTER = "not-on-roster"
    WRONG_ROLE = "wrong-role"
    NOT_ELECTED = "not-elected"
    NOT_AUTHOR = "not-author"
    NOT_REPLICA = "not-replica"
    ALREADY_THERE = "already-there"
    QUOTA = "quota"
    RATE = "rate"
    BAD_SIGNATURE = "bad-signature"
    MALFORMED = "malformed"
    PREDICATE = "predicate"
    PREDICATE_ERROR = "predicate-error"

    @property
    def is_authors_fault(self) -> bool:
        """True for what only the author, or who sends in its name, can have done; clocks, lags and
        races can cause the rest.
        """
        return self not in _NOBODYS_FAULT


_NOBODYS_FAULT = frozenset(
    {
        Reason.NOT_STARTED,
        Reason.CHAIN_STALE,
        Reason.EARLY,
        Reason.LATE,
        Reason.EXPIRY,
        Reason.NOT_ELECTED,
        Reason.NOT_REPLICA,
        Reason.ALREADY_THERE,
        Reason.QUOTA,
        Reason.RATE,
        Reason.PREDICATE,
        Reason.PREDICATE_ERROR,
    }
)


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """`value` is the payload as the rule's schema decoded it."""

    rule: str
    author: PeerId
    value: Any = None

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"admitted by rule {self.rule}"


class Denied(msgspec.Struct, frozen=True, gc=False):
    """`wait_blocks` and `wait_seconds` say when the same record would be admitted, where that
    helps.
    """

    reason: Reason
    rule: str | None = None
    expected: Any = None
    observed: Any = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        words = [f"denied, {self.reason.value}"]
        if self.rule is not None:
            words.append(f"by rule {self.rule}")
        if self.expected is not None:
            words.append(f"expected {_words(self.expected)}")
        if self.observed is not None:
            words.append(f"saw {_words(self.observed)}")
        if self.wait_blocks is not None:
            words.append(f"opens in {self.wait_blocks} blocks, about {self.wait_seconds:.3g} s")
        return "; ".join(words)


Verdict = Admitted | Denied


def _words(fact: Any) -> str:
    if isinstance(fact, bytes):
        return fact.hex() if len(fact) <= 40 else f"{fact[:16].hex()}... ({len(fact)} bytes)"
    return str(fact)
