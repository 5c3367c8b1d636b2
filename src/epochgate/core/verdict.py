"""Verdicts: admitted, or denied for a reason from a closed list.

A `Denied` holds raw facts; they are put into words only when somebody asks, so that a flood of
refusals stays cheap.
"""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

import msgspec

from epochgate.core.peer_id import describe_bytes, describe_key_name
from epochgate.core.types import PeerId

_UNIX_EPOCH = datetime(1970, 1, 1)


class Reason(enum.Enum):
    """Why a record is refused. The value is its name on the wire, in logs and in counts.

    >>> Reason("early").is_authors_fault, Reason("bad-signature").is_authors_fault
    (False, True)
    """

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
        """True where only the author, or a sender in its name, can be the cause; clocks, lags and
        races can cause all others.
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
    """The record may be stored, or believed. It is true in a condition.

    Attributes:
        rule: The name of the key, which its rule gave it.
        author: The peer id of the record's author.
        value: The payload as the rule's schema decoded it.

    >>> verdict = Admitted("hoster", SigningKey.from_seed(bytes(32)).author, {"state": 2})
    >>> bool(verdict), str(verdict)
    (True, 'admitted by rule hoster')
    """

    rule: str
    author: PeerId
    value: object = None

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"admitted by rule {self.rule}"


class Denied(msgspec.Struct, frozen=True, gc=False):
    """The record is refused. It is false in a condition, and its text explains why.

    Attributes:
        reason: Why, from the closed list.
        rule: The name of the key, where it is known.
        expected: A fact that would have been accepted; `describe_fact` puts it into words.
        observed: The fact that was seen instead.
        wait_blocks: In how many blocks the same record would be admitted, where waiting helps.
        wait_seconds: In how many seconds; with or without `wait_blocks`.

    >>> denied = Denied(Reason.EARLY, "hoster", "blocks 51 to 60", "block 37", 14, 84.0)
    >>> bool(denied), denied.reason.value
    (False, 'early')
    >>> print(denied)
    denied, early; by rule hoster; expected blocks 51 to 60; saw block 37; opens in 14 blocks,
    about 84 s
    """

    reason: Reason
    rule: str | None = None
    expected: object = None
    observed: object = None
    wait_blocks: int | None = None
    wait_seconds: float | None = None

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        parts = [f"denied, {self.reason.value}"]
        if self.rule is not None:
            parts.append(f"by rule {describe_key_name(self.rule)}")
        if self.expected is not None:
            parts.append(f"expected {describe_fact(self.expected)}")
        if self.observed is not None:
            parts.append(f"saw {describe_fact(self.observed)}")
        if self.wait_blocks is not None:
            parts.append(f"opens in {self.wait_blocks} blocks, about {self.wait_seconds:.3g} s")
        elif self.wait_seconds is not None:
            parts.append(f"repeat it in about {self.wait_seconds:.3g} s")
        return "; ".join(parts)


Verdict = Admitted | Denied


def describe_fact(fact: object) -> str:
    """A fact in words: peers in text form, other bytes in hex, and all else by its own text."""
    if isinstance(fact, bytes):
        return describe_bytes(fact)
    return str(fact)


class Lifetime(msgspec.Struct, frozen=True, gc=False):
    """The remaining lifetime of a record, as a verdict holds it: a range, or one length twice."""

    shortest_seconds: float
    longest_seconds: float

    def __str__(self) -> str:
        if self.shortest_seconds == self.longest_seconds:
            return f"{self.longest_seconds:.6g} s from now"
        return f"{self.shortest_seconds:.6g} to {self.longest_seconds:.6g} s from now"


class UnixTime(msgspec.Struct, frozen=True, gc=False):
    """A moment as a verdict holds it: Unix seconds, which are put into words as a date in UTC."""

    seconds: float

    def __str__(self) -> str:
        try:
            date = _UNIX_EPOCH + timedelta(seconds=self.seconds)
        except (OverflowError, ValueError):  # not finite, or beyond the year 9999
            return f"Unix time {self.seconds:g}"
        return f"{date.isoformat(' ', 'milliseconds')} UTC"


class ExpiryAfter(msgspec.Struct, frozen=True, gc=False):
    """A moment that an expiry has to lie beyond, in Unix seconds."""

    seconds: float

    def __str__(self) -> str:
        return f"an expiry after {UnixTime(self.seconds)}"


class Size(msgspec.Struct, frozen=True, gc=False):
    """The length of a value in bytes."""

    value_bytes: int

    def __str__(self) -> str:
        return f"{self.value_bytes} bytes"


class AtMost(msgspec.Struct, frozen=True, gc=False):
    """A limit as a verdict holds it.

    Attributes:
        limit: The largest that is allowed; its text says it with its unit.
        scope: The unit that is counted, such as `per author and epoch`; empty where that is clear.
    """

    limit: object
    scope: str = ""

    def __str__(self) -> str:
        return f"at most {self.limit} {self.scope}".rstrip()
