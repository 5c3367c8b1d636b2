"""Token buckets: how much a sender may ask, with a share for every roster author that nobody else can use up."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

MAX_STRANGERS = 1024


class Rate(msgspec.Struct, frozen=True):
    """So many a second in the long run, so many at once."""

    per_second: float
    burst: float


class Limits(msgspec.Struct, frozen=True):
    """What a replica grants each sender. Strangers, peers that are not on the roster, may only read, and little."""

    member_requests: Rate = Rate(200.0, 400.0)
    member_bytes: Rate = Rate(8e6, 64e6)
    stranger_requests: Rate = Rate(2.0, 10.0)
    all_strangers_requests: Rate = Rate(50.0, 100.0)


class Bucket:
    """Fills by `rate` and is asked with the time, so that it works on any clock."""

    __slots__ = ("_level", "_rate", "_seen_seconds")

    def __init__(self, rate: Rate, now_seconds: float) -> None:
        self._rate = rate
        self._level = rate.burst
        self._seen_seconds = now_seconds

    def take(self, amount: float, now_seconds: float) -> bool:
        """Whether `amount` was there to be taken."""
        gained = max(0.0, now_seconds - self._seen_seconds) * self._rate.per_second
        self._level = min(self._rate.burst, self._level + gained)
        self._seen_seconds = now_seconds
        if self._level < amount:
            return False
        self._level -= amount
        return True


class Gate:
    """Charges the authenticated sender of every request. Members have buckets of their own, so no flood takes another's
    share; strangers share one beside theirs, and only the latest of them are remembered."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._members: dict[bytes, tuple[Bucket, Bucket]] = {}
        self._strangers: OrderedDict[bytes, Bucket] = OrderedDict()
        self._all_strangers = Bucket(limits.all_strangers_requests, 0.0)

    def admits(self, sender: bytes, size_bytes: int, *, is_member: bool, now_seconds: float) -> bool:
        if is_member:
            requests, size = self._get_member(sender, now_seconds)
            return requests.take(1, now_seconds) and size.take(size_bytes, now_seconds)
        bucket = self._strangers.pop(sender, None) or Bucket(self._limits.stranger_requests, now_seconds)
        self._strangers[sender] = bucket
        if len(self._strangers) > MAX_STRANGERS:
            self._strangers.popitem(last=False)
        return bucket.take(1, now_seconds) and self._all_strangers.take(1, now_seconds)

    def retain(self, members: frozenset[bytes]) -> None:
        """Forget those who have left the roster."""
        self._members = {author: buckets for author, buckets in self._members.items() if author in members}

    def _get_member(self, sender: bytes, now_seconds: float) -> tuple[Bucket, Bucket]:
        buckets = self._members.get(sender)
        if buckets is None:
            limits = self._limits
            buckets = (Bucket(limits.member_requests, now_seconds), Bucket(limits.member_bytes, now_seconds))
            self._members[sender] = buckets
        return buckets
