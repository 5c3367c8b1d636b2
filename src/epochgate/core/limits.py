"""What every replica grants, as its policy declares it: how fast a sender may ask, and how much is
stored for whom.
"""

from __future__ import annotations

import math

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """So many a second in the long run, so many at once. Raises ValueError where that is not finite
    or nothing ever comes.
    """

    per_second: float
    burst: float

    def __post_init__(self) -> None:
        if not (0 < self.per_second < math.inf and 0 <= self.burst < math.inf):
            raise ValueError(
                f"a rate of {self.per_second} a second, {self.burst} at once: give finite numbers"
                " above 0"
            )

    def describe(self) -> str:
        return f"{float(self.per_second)!r}/{float(self.burst)!r}"


class Allowance(msgspec.Struct, frozen=True):
    """Requests, and bytes of requests and replies together."""

    requests: Rate
    bytes: Rate

    def describe(self) -> str:
        return f"{self.requests.describe()},{self.bytes.describe()}"


class Quota(msgspec.Struct, frozen=True):
    """So many records, and so many bytes of their values."""

    entries: int
    value_bytes: int

    def __str__(self) -> str:
        return f"{self.entries} records and {self.value_bytes} bytes"

    def describe(self) -> str:
        return f"{self.entries}/{self.value_bytes}"


class Limits(msgspec.Struct, frozen=True):
    """What a replica grants, and to whom.

    Every member of the roster has `member` for itself, and beyond that a part of `spare`, which all
    members share. A stranger has `stranger`, and all strangers together `strangers`.

    An author may add `author` in an epoch, all authors together have `key` under one key, and a
    replica never holds more than `total`. An author's fair share of `total` and of a key is nobody
    else's (`compute_author_share`, `compute_key_share_bytes`): within it a record is never refused
    because of others. Values are on disk; in memory an entry takes 1 to 4 KiB, with its receipts,
    so the default total bounds it by half a GiB.
    """

    member: Allowance = Allowance(Rate(50.0, 400.0), Rate(4e6, 64e6))
    spare: Allowance = Allowance(Rate(500.0, 1000.0), Rate(32e6, 128e6))
    stranger: Allowance = Allowance(Rate(2.0, 10.0), Rate(0.25e6, 8e6))
    strangers: Allowance = Allowance(Rate(20.0, 50.0), Rate(2e6, 16e6))
    author: Quota = Quota(1024, 64 << 20)
    key: Quota = Quota(4096, 64 << 20)
    total: Quota = Quota(1 << 17, 4 << 30)

    def compute_author_share(self, authors: int, held_epochs: int) -> Quota:
        """What each of a roster's `authors` may add in an epoch, where records are held for
        `held_epochs`.

        Where `total` is the narrower, it is parted evenly among the epochs that are held at a time,
        and an epoch's part among its roster. So all that is held is at most the sum of these
        shares, and that is at most `total`, whatever the rosters do from epoch to epoch: it is
        never reached, and nobody is refused because of it.
        """
        parts = authors * held_epochs
        return Quota(
            min(self.author.entries, self.total.entries // parts),
            min(self.author.value_bytes, self.total.value_bytes // parts),
        )

    def compute_key_share_bytes(self, writers: int) -> int:
        """How long a value each of a key's `writers` may have, so that all of them find room; an
        author has one a key.
        """
        return self.key.value_bytes // writers

    def describe(self) -> str:
        """One line that says all, for the policy's digest."""
        return " ".join(
            f"{name}={getattr(self, name).describe()}" for name in self.__struct_fields__
        )
