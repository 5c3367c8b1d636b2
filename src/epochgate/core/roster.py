"""The members of an epoch, their roles, and the replicas of a key among them.

The roster of an epoch is read from the chain at one block and kept for good, so every node computes
the same replicas, in one hop. The seed is younger than any peer id, so nobody can have bought its
place in advance (docs/spec.md#5-which-records-count).
"""

from __future__ import annotations

import enum
import hashlib
import heapq
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Literal, get_args

import msgspec

from epochgate.core.peer_id import AUTHOR_BYTES, describe_bytes, format_peer_id, is_author
from epochgate.core.types import Epoch, PeerId, RecordKey

MAX_REPLICAS = 13
"""A key has as many replicas, or the whole roster where that is smaller."""


class Role(enum.IntFlag):
    """The role of a node in its subnet. The values are bits, since a node may hold both roles.

    >>> Role.HOSTER | Role.VALIDATOR == 3
    True
    """

    HOSTER = 1
    VALIDATOR = 2


HOSTER = Role.HOSTER
VALIDATOR = Role.VALIDATOR

RoleName = Literal["hoster", "validator"]
"""The names of roles: registrations, heartbeats and messages take them from here."""
ROLE_NAMES: Mapping[str, Role] = {name: Role[name.upper()] for name in get_args(RoleName)}


def get_role_names(roles: int) -> list[str]:
    """The names of the roles in `roles`, bits of `Role`."""
    return [name for name, role in ROLE_NAMES.items() if roles & role]


def describe_roles(roles: int) -> str:
    """`hoster`, `validator`, `hoster or validator`, or `no role` for the bits of `roles`."""
    return " or ".join(get_role_names(roles)) or "no role"


class Roles(msgspec.Struct, frozen=True, gc=False):
    """Roles as a verdict holds them: bits, which are put into words when somebody asks."""

    bits: int

    def __str__(self) -> str:
        return describe_roles(self.bits)


class Member(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One node of the roster.

    Attributes:
        author: Its peer id, 38 bytes.
        roles: Its roles as bits of `Role`.
        stake: Its stake in the chain's smallest unit. Nothing in the core depends on it.

    >>> alice = SigningKey.from_seed(bytes(32))
    >>> Member(alice.author, HOSTER | VALIDATOR, stake=100).roles
    <Role.HOSTER|VALIDATOR: 3>
    """

    author: PeerId
    roles: int
    stake: int = 0


class ReplicaSet(msgspec.Struct, frozen=True):
    """The replicas of a key, best rank first, and how many of them may fail.

    With k replicas, f of them may be dishonest, silent or lossy in all: f is the largest number
    below a third of k.
    """

    replicas: tuple[PeerId, ...]

    @property
    def k(self) -> int:
        """The number of replicas."""
        return len(self.replicas)

    @property
    def f(self) -> int:
        """The number of replicas that may fail."""
        return max(0, (self.k - 1) // 3)

    @property
    def weak_quorum(self) -> int:
        """f + 1: of as many receipts at least one is by an honest replica."""
        return self.f + 1

    @property
    def quorum(self) -> int:
        """k - f: as many receipts all honest replicas together can always give."""
        return self.k - self.f


class Roster:
    """The members of one epoch, and the seed that was unknown until the roster's snapshot block.

    Args:
        epoch: The epoch whose keys this roster rules.
        seed: Random bytes from the chain, usually 32.
        members: In any order; they are kept in order of author.

    Attributes:
        epoch: The epoch.
        seed: The seed.
        members: All members, in order of author.
        roles: The roles of each author as bits of `Role`, in order of author.

    Raises:
        ValueError: An author is not an Ed25519 peer id, or is named twice.

    >>> alice, bob = (SigningKey.from_seed(bytes([n]) * 32) for n in (1, 2))
    >>> members = [Member(alice.author, HOSTER), Member(bob.author, VALIDATOR)]
    >>> roster = Roster(Epoch(7), bytes(32), members)
    >>> roster.hosters == (alice.author,), roster.validators == (bob.author,)
    (True, True)
    >>> roster.get_replica_set(compute_key("hoster-commit_epoch_7")).k
    2
    """

    def __init__(self, epoch: Epoch, seed: bytes, members: Iterable[Member]) -> None:
        self.epoch = epoch
        self.seed = seed
        self.members = tuple(sorted(members))
        self.roles: dict[PeerId, int] = {}
        for member in self.members:
            # Stops "one key in many encodings": an author has one name, and counts once.
            if not is_author(member.author):
                raise ValueError(
                    f"a roster names peers by Ed25519 peer ids of {AUTHOR_BYTES} bytes, saw"
                    f" {describe_bytes(member.author)}"
                )
            if member.author in self.roles:
                raise ValueError(
                    f"a roster names {format_peer_id(member.author)} twice: an author counts once"
                )
            self.roles[member.author] = int(member.roles)
        self._replica_sets: dict[tuple[bytes, RecordKey], ReplicaSet] = {}

    @cached_property
    def authors(self) -> tuple[PeerId, ...]:
        """All authors, in order."""
        return tuple(self.roles)

    @cached_property
    def hosters(self) -> tuple[PeerId, ...]:
        """The authors that are hosters, in order; some may be validators too."""
        return self.get_authors(HOSTER)

    @cached_property
    def validators(self) -> tuple[PeerId, ...]:
        """The authors that are validators, in order; some may be hosters too."""
        return self.get_authors(VALIDATOR)

    def get_authors(self, role: int) -> tuple[PeerId, ...]:
        """The authors that hold any of the roles in `role`, in order of author."""
        return tuple(author for author, roles in self.roles.items() if roles & role)

    def get_replica_set(self, key: RecordKey, seed: bytes | None = None) -> ReplicaSet:
        """The replicas of a key: those with the smallest SHA-256(seed, key, peer id).

        Args:
            key: The key's digest, 20 bytes.
            seed: None for a key of the roster's epoch, whose seed is the roster's. A key without an
                epoch passes the network id, so that its replicas change with the roster alone.

        Returns:
            `MAX_REPLICAS` of the roster's authors, or all of them where there are fewer; best rank
            first.
        """
        if seed is None:
            seed = self.seed
        replica_set = self._replica_sets.get((seed, key))
        if replica_set is None:
            # Stops "a peer id ground towards a known key": the seed is younger than any peer id.
            ranked = _rank(self.authors, seed + key)
            replica_set = ReplicaSet(
                tuple(heapq.nsmallest(MAX_REPLICAS, ranked, ranked.__getitem__))
            )
            self._replica_sets[seed, key] = replica_set
        return replica_set

    def compute_stand_ins(self, elected: PeerId | None) -> tuple[PeerId, ...]:
        """The validators that may publish the challenge in the elected one's place
        (docs/spec.md#4-one-epoch).

        Args:
            elected: The elected validator, which is left out; None where none is elected.

        Returns:
            All other validators, in order of SHA-256(seed, author): the first one tries first.
        """
        others = [author for author in self.validators if author != elected]
        ranked = _rank(others, self.seed)
        return tuple(sorted(ranked, key=ranked.__getitem__))


def _rank(authors: Iterable[PeerId], prefix: bytes) -> dict[PeerId, bytes]:
    """SHA-256 of `prefix` and each author, by author."""
    hashed_prefix = hashlib.sha256(prefix)
    ranks = {}
    for author in authors:
        digest = hashed_prefix.copy()
        digest.update(author)
        ranks[author] = digest.digest()
    return ranks
