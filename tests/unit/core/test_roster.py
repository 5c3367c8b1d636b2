"""Rosters: who holds which role, and where a key is kept."""

from __future__ import annotations

import hashlib
import random

import pytest

from epochgate.core.peer_id import format_peer_id
from epochgate.core.record import compute_key
from epochgate.core.roster import (
    HOSTER,
    MAX_REPLICAS,
    VALIDATOR,
    Member,
    ReplicaSet,
    Roles,
    Roster,
    describe_roles,
)
from epochgate.core.types import Epoch, PeerId
from tests.support.identities import (
    NETWORK,
    alice,
    bob,
    carol,
    key_of,
    make_roster,
    vera,
    victor,
    vito,
)

KEY = compute_key("hoster-commit_epoch_7")
SEED = bytes(range(32))


def make_crowd(count: int, seed: bytes = SEED) -> Roster:
    return Roster(
        Epoch(7), seed, [Member(key_of(f"node {number}").author, HOSTER) for number in range(count)]
    )


@pytest.mark.parametrize(
    ("count", "k", "f", "weak_quorum", "quorum"),
    [
        (0, 0, 0, 1, 0),
        (1, 1, 0, 1, 1),
        (2, 2, 0, 1, 2),
        (3, 3, 0, 1, 3),
        (4, 4, 1, 2, 3),
        (6, 6, 1, 2, 5),
        (7, 7, 2, 3, 5),
        (10, 10, 3, 4, 7),
        (12, 12, 3, 4, 9),
        (13, 13, 4, 5, 9),
        (14, 13, 4, 5, 9),
        (40, 13, 4, 5, 9),
    ],
)
def test_replicas_and_the_faults_they_bear(
    count: int, k: int, f: int, weak_quorum: int, quorum: int
) -> None:
    replica_set = make_crowd(count).get_replica_set(KEY)

    assert (replica_set.k, replica_set.f, replica_set.weak_quorum, replica_set.quorum) == (
        k,
        f,
        weak_quorum,
        quorum,
    )
    assert len(set(replica_set.replicas)) == k


def test_the_replicas_are_the_smallest_digests() -> None:
    crowd = make_crowd(30)

    ranked = sorted(crowd.authors, key=lambda author: hashlib.sha256(SEED + KEY + author).digest())

    assert crowd.get_replica_set(KEY) == ReplicaSet(tuple(ranked[:MAX_REPLICAS]))
    assert crowd.get_replica_set(KEY) is crowd.get_replica_set(KEY)


def test_everybody_computes_the_same_replicas_whatever_the_order_of_members() -> None:
    crowd = make_crowd(30)
    shuffled = list(crowd.members)
    random.Random(5).shuffle(shuffled)

    assert Roster(Epoch(7), SEED, shuffled).get_replica_set(KEY) == crowd.get_replica_set(KEY)
    assert Roster(Epoch(7), SEED, shuffled).members == crowd.members


def test_key_and_seed_each_choose_other_replicas() -> None:
    crowd = make_crowd(30)
    placements = [
        crowd.get_replica_set(KEY),
        crowd.get_replica_set(compute_key("hoster-commit_epoch_8")),
        crowd.get_replica_set(KEY, NETWORK),
        make_crowd(30, bytes(32)).get_replica_set(KEY),
    ]

    assert len({replica_set.replicas for replica_set in placements}) == 4
    assert crowd.get_replica_set(KEY, SEED) == placements[0]


def test_who_leaves_makes_room_for_one_other_and_moves_nobody() -> None:
    crowd = make_crowd(30)
    before = crowd.get_replica_set(KEY).replicas

    after = (
        Roster(Epoch(7), SEED, [member for member in crowd.members if member.author != before[3]])
        .get_replica_set(KEY)
        .replicas
    )

    assert after[:-1] == before[:3] + before[4:]


def test_roles_are_in_order_of_author() -> None:
    roster = make_roster(roles={vito: VALIDATOR, alice: HOSTER, bob: HOSTER | VALIDATOR, carol: 0})

    assert roster.authors == tuple(sorted(key.author for key in (alice, bob, carol, vito)))
    assert roster.hosters == tuple(sorted([alice.author, bob.author]))
    assert roster.validators == tuple(sorted([bob.author, vito.author]))
    assert roster.get_authors(HOSTER | VALIDATOR) == tuple(
        sorted([alice.author, bob.author, vito.author])
    )
    assert roster.roles[bob.author] == HOSTER | VALIDATOR


@pytest.mark.parametrize(
    "author",
    [
        alice.author[:-1],
        alice.author + b"\0",
        b"\x12\x20" + bytes(32),  # the peer id of an RSA key: a hash of it
        b"\1" + alice.author[1:],
        b"",
    ],
)
def test_a_member_is_named_by_an_ed25519_peer_id(author: bytes) -> None:
    members = [Member(bob.author, int(HOSTER)), Member(PeerId(author), int(HOSTER))]
    with pytest.raises(ValueError, match="Ed25519 peer ids of 38 bytes"):
        Roster(Epoch(0), SEED, members)


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        (0, "no role"),
        (HOSTER, "hoster"),
        (VALIDATOR, "validator"),
        (HOSTER | VALIDATOR, "hoster or validator"),
        (4, "no role"),
    ],
)
def test_roles_are_said_by_name(roles: int, words: str) -> None:
    assert describe_roles(roles) == words
    assert str(Roles(int(roles))) == words


def test_an_author_counts_once() -> None:
    with pytest.raises(ValueError, match=f"names {format_peer_id(alice.author)} twice"):
        Roster(
            Epoch(0), SEED, [Member(alice.author, HOSTER, 1), Member(alice.author, VALIDATOR, 2)]
        )


@pytest.mark.parametrize("elected", [victor, vera, alice, None])
def test_stand_ins_are_the_other_validators_in_an_order_nobody_chose(elected: object) -> None:
    roster = make_roster(Epoch(3))
    author = None if elected is None else elected.author  # type: ignore[attr-defined]

    others = [key.author for key in (victor, vera, vito) if key.author != author]
    expected = sorted(
        others, key=lambda validator: hashlib.sha256(roster.seed + validator).digest()
    )

    assert roster.compute_stand_ins(author) == tuple(expected)


def test_stand_ins_change_with_the_seed() -> None:
    assert len({make_roster(Epoch(epoch)).compute_stand_ins(None) for epoch in range(20)}) > 1
