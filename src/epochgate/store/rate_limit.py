"""Token buckets: how much a sender may ask, with a share for every roster author that nobody else
can use up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from epochgate.core.limits import Allowance, Limits, Rate
from epochgate.core.types import PeerId

MAX_STRANGERS = 1024


class TokenBucket:
    """Fills by `rate` and is asked with the time, so that it works on any clock. It may be drawn
    below empty: what a reply costs is known only when it is made.
    """

    __slots__ = ("_level", "_rate", "_seen_seconds")

    def __init__(self, rate: Rate, now_seconds: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._seen_seconds = now_seconds

    def take(self, amount: float) -> None:
        self._level -= amount

    def compute_wait_seconds(self, amount: float, now_seconds: float) -> float:
        """Until `amount` is there; 0 when it is."""
        gained = max(0.0, now_seconds - self._seen_seconds) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained)
        self._seen_seconds = now_seconds
        return max(0.0, amount - self._level) / self._rate.per_second


class TokenBuckets:
    """What is left of an allowance, and how long its owner has been told to wait."""

    __slots__ = ("_bytes", "_deferred_seconds", "_requests", "_retry_seconds")

    def __init__(self, allowance: Allowance, now_seconds: float) -> None:
        self._requests = TokenBucket(allowance.requests, now_seconds)
        self._bytes = TokenBucket(allowance.bytes, now_seconds)
        self._deferred_seconds = self._retry_seconds = now_seconds

    def defer(self, wait_seconds: float, now_seconds: float) -> None:
        self._deferred_seconds = now_seconds
        self._retry_seconds = now_seconds + wait_seconds

    def compute_retry_after_seconds(self, now_seconds: float) -> float:
        """What is left of the wait; 0 when it is over, or the clock was put back."""
        if self._deferred_seconds <= now_seconds < self._retry_seconds:
            return self._retry_seconds - now_seconds
        return 0.0

    def compute_wait_seconds(self, now_seconds: float) -> float:
        """Until another request may come; 0 when it may come now."""
        return max(
            self._requests.compute_wait_seconds(1, now_seconds),
            self._bytes.compute_wait_seconds(1, now_seconds),
        )

    def debit(self, requests: int, size_bytes: int) -> None:
        self._requests.take(requests)
        self._bytes.take(size_bytes)


class RateLimiter:
    """Keeps the token buckets of every sender. Only the latest strangers are remembered, so that
    memory is bounded by the roster.
    """

    def __init__(self, limits: Limits, now_seconds: float = 0.0) -> None:
        self._limits = limits
        self._members: dict[PeerId, TokenBuckets] = {}
        self._spare = TokenBuckets(limits.spare, now_seconds)
        self._strangers: OrderedDict[PeerId, TokenBuckets] = OrderedDict()
        self._all_strangers = TokenBuckets(limits.strangers, now_seconds)

    def compute_retry_after_seconds(self, sender: PeerId, now_seconds: float) -> float:
        """The rest of the time that `sender` was told to wait, in seconds; 0 when it need not.

        O(1), and no bucket is updated: a flood goes on whatever it is told, and must stay cheap.
        """
        buckets = self._members.get(sender) or self._strangers.get(sender)
        if buckets is None:
            return 0.0
        return buckets.compute_retry_after_seconds(now_seconds)

    def find_buckets(
        self, sender: PeerId, *, is_member: bool, now_seconds: float
    ) -> tuple[tuple[TokenBuckets, ...], float]:
        """Which buckets are debited for `sender`'s request and its reply.

        Returns:
            The buckets and 0, or no bucket and how many seconds the sender has to wait.
        """
        if not is_member:
            return self._find_strangers_buckets(sender, now_seconds)
        own = self._members.get(sender)
        if own is None:
            own = self._members[sender] = TokenBuckets(self._limits.member, now_seconds)
        wait_seconds = own.compute_wait_seconds(now_seconds)
        if wait_seconds <= 0:
            return (own,), 0.0
        wait_for_spare_seconds = self._spare.compute_wait_seconds(now_seconds)
        if wait_for_spare_seconds <= 0:
            return (self._spare,), 0.0
        own.defer(min(wait_seconds, wait_for_spare_seconds), now_seconds)
        return (), wait_seconds

    def retain(self, members: Container[PeerId]) -> None:
        """Forget those who have left the roster."""
        self._members = {
            author: buckets for author, buckets in self._members.items() if author in members
        }

    def _find_strangers_buckets(
        self, sender: PeerId, now_seconds: float
    ) -> tuple[tuple[TokenBuckets, ...], float]:
        own = self._strangers.pop(sender, None) or TokenBuckets(self._limits.stranger, now_seconds)
        self._strangers[sender] = own
        if len(self._strangers) > MAX_STRANGERS:
            self._strangers.popitem(last=False)
        wait_seconds = max(
            own.compute_wait_seconds(now_seconds),
            self._all_strangers.compute_wait_seconds(now_seconds),
        )
        own.defer(wait_seconds, now_seconds)
        if wait_seconds > 0:
            return ((), wait_seconds)
        return ((own, self._all_strangers), 0.0)
