"""The limits that a policy declares and every replica keeps: request rates of senders, and storage
of authors.
"""

from __future__ import annotations

import math

import msgspec

DEFAULT_MAX_MESSAGE_BYTES = 4 << 20
"""The longest message that a network carries, where nothing else is said."""


class Rate(msgspec.Struct, frozen=True):
    """A token bucket: it refills by `per_second`, and holds at most `burst`.

    Attributes:
        per_second: The rate in the long run.
        burst: The amount that may be used at once, after a pause.

    Raises:
        ValueError: A number is not finite, or nothing would ever refill it.

    >>> Rate(per_second=50, burst=400)
    Rate(per_second=50, burst=400)
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
        """Both numbers, for the policy's digest."""
        return f"{float(self.per_second)!r}/{float(self.burst)!r}"


class Allowance(msgspec.Struct, frozen=True):
    """The rates of a sender.

    Attributes:
        requests: The rate of requests.
        bytes: The rate of bytes, of requests and replies together.

    >>> Allowance(requests=Rate(2.0, 10.0), bytes=Rate(0.25e6, 8e6)).requests.burst
    10.0
    """

    requests: Rate
    bytes: Rate

    def describe(self) -> str:
        """Both rates, for the policy's digest."""
        return f"{self.requests.describe()},{self.bytes.describe()}"


class Quota(msgspec.Struct, frozen=True):
    """A limit of storage.

    Attributes:
        entries: The number of records.
        value_bytes: The bytes of their values together.

    >>> print(Quota(1024, 64 << 20))
    1024 records and 67108864 bytes
    """

    entries: int
    value_bytes: int

    def __str__(self) -> str:
        return f"{self.entries} records and {self.value_bytes} bytes"

    def describe(self) -> str:
        """Both numbers, for the policy's digest."""
        return f"{self.entries}/{self.value_bytes}"


class Limits(msgspec.Struct, frozen=True):
    """Everything that a replica grants.

    An author's fair share of `total` and of a key belongs to it alone (`compute_author_share`,
    `compute_key_share_bytes`): within its share, no record is ever refused because of others.
    Values are on disk; in memory an entry takes 1 to 4 KiB with its receipts, so the default total
    bounds the memory by half a GiB.

    Attributes:
        member: The rates of each member of the roster.
        spare: The rates that all members share beyond that.
        stranger: The rates of each peer that is not on the roster. It may only read.
        strangers: The rates of all such peers together.
        author: The records that an author may add per epoch.
        key: The records that all authors together may have stored under one key.
        total: The records that a replica stores at most.

    >>> limits = Limits(total=Quota(3000, 30_000_000))
    >>> limits.compute_author_share(10, held_epochs=3)
    Quota(entries=100, value_bytes=1000000)
    """

    member: Allowance = Allowance(Rate(50.0, 400.0), Rate(4e6, 64e6))
    spare: Allowance = Allowance(Rate(500.0, 1000.0), Rate(32e6, 128e6))
    stranger: Allowance = Allowance(Rate(2.0, 10.0), Rate(0.25e6, 8e6))
    strangers: Allowance = Allowance(Rate(20.0, 50.0), Rate(2e6, 16e6))
    author: Quota = Quota(1024, 64 << 20)
    key: Quota = Quota(4096, 64 << 20)
    total: Quota = Quota(1 << 17, 4 << 30)

    def compute_author_share(self, authors: int, *, held_epochs: int) -> Quota:
        """The quota of each author of a roster per epoch.

        Where `total` is narrower than `author`, it is divided evenly among the epochs that are held
        at once, and an epoch's part among its roster. So the sum of all shares is at most `total`,
        however the rosters change from epoch to epoch: the total is never reached, and nobody is
        refused because of it.

        Args:
            authors: The size of the roster.
            held_epochs: In how many epochs the records were stored that a replica holds at once.

        Returns:
            `author`, or the author's part of `total` where that is less.
        """
        parts = authors * held_epochs
        return Quota(
            min(self.author.entries, self.total.entries // parts),
            min(self.author.value_bytes, self.total.value_bytes // parts),
        )

    def compute_key_share_bytes(self, writers: int) -> int:
        """The longest value that each author of a key may store, so that there is room for all.

        Args:
            writers: The number of authors that may write the key, each one record.

        Returns:
            Bytes of a value.
        """
        return self.key.value_bytes // writers

    def describe(self) -> str:
        """One line that says all, for the policy's digest."""
        return " ".join(
            f"{name}={getattr(self, name).describe()}" for name in self.__struct_fields__
        )
