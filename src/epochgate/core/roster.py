"""Who takes part in an epoch, in which role, and which of them are the replicas of a key.

The roster of an epoch is read from the chain at one block and kept for good, so everybody computes
the same replicas in one hop, and the seed is younger than any peer id, so nobody bought its place
in advance (docs/spec.md#5-which-records-count).
"""

from __future__ import annotations

import enum
import hashlib
import heapq
from collections.abc import Iterable
from functools import cached_property

import msgspec

from epochgate.core.record import is_author
from epochgate.core.types import Epoch, PeerId, RecordKey

MAX_REPLICAS = 13


class Role(enum.IntFlag):
    HOSTER = 1
    VALIDATOR = 2


HOSTER = Role.HOSTER
VALIDATOR = Role.VALIDATOR


class Member(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One node of the roster: its peer id, its roles as bits of `Role`, its stake in the chain's
    smallest unit.
    """

    author: PeerId
    roles: int
    stake: int = 0


class ReplicaSet(msgspec.Struct, frozen=True):
    """The replicas of a key, best rank first, and how many of them may be dishonest, silent or
    lossy in all.
    """

    replicas: tuple[PeerId, ...]

    @property
    def k(self) -> int:
        return len(self.replicas)

    @property
    def f(self) -> int:
        return max(0, (self.k - 1) // 3)

    @property
    def weak_quorum(self) -> int:
        """Receipts of which one must be honest."""
        return self.f + 1

    @property
    def quorum(self) -> int:
        """Receipts that all honest replicas together can always give."""
        return self.k - self.f


class Roster:
    """The members of one epoch in order of author, and the seed that was unknown until its snapshot
    block.
    """

    def __init__(self, epoch: Epoch, seed: bytes, members: Iterable[Member]) -> None:
        self.epoch = epoch
        self.seed = seed
        self.members = tuple(sorted(members))
        self.roles: dict[PeerId, int] = {
            member.author: int(member.roles) for member in self.members
        }
        if strangers := [member for member in self.members if not is_author(member.author)]:
            raise ValueError(
                "a roster names peers by Ed25519 peer ids of 38 bytes, saw"
                f" {strangers[0].author.hex()}"
            )
        if len(self.roles) != len(self.members):
            raise ValueError("a roster names an author twice: one author counts once")
        self._replica_sets: dict[tuple[bytes, RecordKey], ReplicaSet] = {}

    @cached_property
    def authors(self) -> tuple[PeerId, ...]:
        return tuple(self.roles)

    @cached_property
    def hosters(self) -> tuple[PeerId, ...]:
        return self.get_authors(HOSTER)

    @cached_property
    def validators(self) -> tuple[PeerId, ...]:
        return self.get_authors(VALIDATOR)

    def get_authors(self, role: int) -> tuple[PeerId, ...]:
        """The authors that hold `role`, in order of author."""
        return tuple(author for author, roles in self.roles.items() if roles & role)

    def get_replica_set(self, key: RecordKey, seed: bytes | None = None) -> ReplicaSet:
        """The replicas of `key`: the K smallest SHA-256(seed, key, peer id).

        Keys without an epoch pass the network id for `seed`.
        """
        seed = self.seed if seed is None else seed
        replica_set = self._replica_sets.get((seed, key))
        if replica_set is None:
            prefix = hashlib.sha256(seed + key)
            ranked = heapq.nsmallest(
                MAX_REPLICAS, self.authors, key=lambda author: (_rank(prefix, author), author)
            )
            replica_set = self._replica_sets[seed, key] = ReplicaSet(tuple(ranked))
        return replica_set

    def compute_stand_ins(self, elected: PeerId | None) -> tuple[PeerId, ...]:
        """The validators that may publish the challenge for the elected one, first stand-in
        first.
        """
        prefix = hashlib.sha256(self.seed)
        return tuple(
            sorted(
                (v for v in self.validators if v != elected),
                key=lambda author: _rank(prefix, author),
            )
        )


def _rank(prefix: hashlib._Hash, author: PeerId) -> bytes:
    digest = prefix.copy()
    digest.update(author)
    return digest.digest()
