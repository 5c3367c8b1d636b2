"""Token buckets: how much a peer may ask, with a part for each member that nobody else can use up.

All of it stops "a flood from a peer or an author" (docs/security.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

from epochgate.core.limits import Allowance, Limits, Rate
from epochgate.core.types import PeerId

MAX_STRANGERS = 1024
"""Strangers whose buckets are remembered: the latest ones."""


class TokenBucket:
    """A token bucket: refills at `rate.per_second`, holds at most `rate.burst`.

    It is told the time, so it works on any clock. It may go below empty, because the size of a
    reply is known only after it was made.

    Args:
        rate: How fast it refills, and how much it holds. It is full at first.
        now_seconds: The time.
    """

    __slots__ = ("_level", "_rate", "_seen_seconds")

    def __init__(self, rate: Rate, now_seconds: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._seen_seconds = now_seconds

    def take(self, amount: float) -> None:
        """Take out tokens, whether or not there are as many."""
        self._level -= amount

    def compute_wait_seconds(self, amount: float, now_seconds: float) -> float:
        """Refill the bucket, and compute how long it takes until it holds enough.

        Args:
            amount: The tokens that are needed.
            now_seconds: The time. A clock that was put back refills nothing.

        Returns:
            Seconds; 0 when there are enough.
        """
        gained = max(0.0, now_seconds - self._seen_seconds) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained)
        self._seen_seconds = now_seconds
        return max(0.0, amount - self._level) / self._rate.per_second


class TokenBuckets:
    """The two buckets of an allowance, and how long their owner was told to wait.

    Args:
        allowance: Requests, and bytes of requests and replies together.
        now_seconds: The time.
    """

    __slots__ = ("_bytes", "_deferred_seconds", "_requests", "_retry_seconds")

    def __init__(self, allowance: Allowance, now_seconds: float) -> None:
        self._requests = TokenBucket(allowance.requests, now_seconds)
        self._bytes = TokenBucket(allowance.bytes, now_seconds)
        self._deferred_seconds = now_seconds
        self._retry_seconds = now_seconds

    def defer(self, wait_seconds: float, now_seconds: float) -> None:
        """Note that the owner was told to wait for `wait_seconds` from now on."""
        self._deferred_seconds = now_seconds
        self._retry_seconds = now_seconds + wait_seconds

    def compute_retry_after_seconds(self, now_seconds: float) -> float:
        """Seconds of that wait that are left; 0 when it is over, or the clock was put back."""
        if self._deferred_seconds <= now_seconds < self._retry_seconds:
            return self._retry_seconds - now_seconds
        return 0.0

    def compute_wait_seconds(self, now_seconds: float) -> float:
        """Seconds until another request may come; 0 when it may come now."""
        return max(
            self._requests.compute_wait_seconds(1, now_seconds),
            self._bytes.compute_wait_seconds(1, now_seconds),
        )

    def debit(self, requests: int, size_bytes: int) -> None:
        """Charge requests, and bytes of a request or a reply."""
        self._requests.take(requests)
        self._bytes.take(size_bytes)


class RateLimiter:
    """The token buckets of all senders.

    A member has buckets of its own, and beyond them the spare ones that all members share. A
    stranger needs its own and those that all strangers share. Memory is bounded by the roster and
    MAX_STRANGERS.

    Args:
        limits: What the policy grants.
        now_seconds: The time.
    """

    def __init__(self, limits: Limits, now_seconds: float = 0.0) -> None:
        self._limits = limits
        self._members: dict[PeerId, TokenBuckets] = {}
        self._spare = TokenBuckets(limits.spare, now_seconds)
        self._strangers: OrderedDict[PeerId, TokenBuckets] = OrderedDict()
        self._all_strangers = TokenBuckets(limits.strangers, now_seconds)

    def compute_retry_after_seconds(self, sender: PeerId, now_seconds: float) -> float:
        """How long a sender was told to wait, and still has to.

        O(1): no bucket is updated, so that a sender that does not wait costs next to nothing.

        Args:
            sender: The sender.
            now_seconds: The time.

        Returns:
            Seconds; 0 where it does not have to wait.
        """
        buckets = self._members.get(sender) or self._strangers.get(sender)
        if buckets is None:
            return 0.0
        return buckets.compute_retry_after_seconds(now_seconds)

    def find_buckets(
        self, sender: PeerId, *, is_member: bool, now_seconds: float
    ) -> tuple[tuple[TokenBuckets, ...], float]:
        """Find the buckets that are charged for a sender's next request and its reply.

        Args:
            sender: The sender.
            is_member: Whether it is on the roster.
            now_seconds: The time.

        Returns:
            The buckets, and 0; or no buckets, and the seconds that the sender has to wait. That it
            was told so is noted.
        """
        if not is_member:
            return self._find_strangers_buckets(sender, now_seconds)
        own = self._members.get(sender)
        if own is None:
            own = TokenBuckets(self._limits.member, now_seconds)
            self._members[sender] = own
        wait_seconds = own.compute_wait_seconds(now_seconds)
        if wait_seconds <= 0:
            return (own,), 0.0
        wait_for_spare_seconds = self._spare.compute_wait_seconds(now_seconds)
        if wait_for_spare_seconds <= 0:
            return (self._spare,), 0.0
        own.defer(min(wait_seconds, wait_for_spare_seconds), now_seconds)
        return (), wait_seconds

    def retain(self, members: Container[PeerId]) -> None:
        """Forget the buckets of those who have left the roster.

        Args:
            members: The peers on the roster.
        """
        self._members = {
            author: buckets for author, buckets in self._members.items() if author in members
        }

    def _find_strangers_buckets(
        self, sender: PeerId, now_seconds: float
    ) -> tuple[tuple[TokenBuckets, ...], float]:
        own = self._strangers.pop(sender, None)
        if own is None:
            own = TokenBuckets(self._limits.stranger, now_seconds)
        self._strangers[sender] = own
        if len(self._strangers) > MAX_STRANGERS:
            self._strangers.popitem(last=False)
        wait_seconds = max(
            own.compute_wait_seconds(now_seconds),
            self._all_strangers.compute_wait_seconds(now_seconds),
        )
        own.defer(wait_seconds, now_seconds)
        if wait_seconds > 0:
            return (), wait_seconds
        return (own, self._all_strangers), 0.0
