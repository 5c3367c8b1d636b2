"""Nodes as the chain lists them, and the roster that follows from them."""

from __future__ import annotations

import pytest

from epochgate.chain.hypertensor.nodes import (
    compute_members,
    compute_roles,
    compute_seed,
    parse_node,
)
from epochgate.chain.hypertensor.units import BlockHash
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import Epoch
from epochgate.keys import format_peer_id
from tests.support.hypertensor_values import make_raw_node
from tests.support.identities import alice


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("hoster", HOSTER),
        ("Validator", VALIDATOR),
        ("hoster, validator", HOSTER | VALIDATOR),
        ("", HOSTER | VALIDATOR),
        ("gpu=8", HOSTER | VALIDATOR),
    ],
)
def test_roles_come_from_the_registration_and_are_both_until_it_names_one(
    text: str, roles: int
) -> None:
    node = parse_node(make_raw_node(1, format_peer_id(alice.author), text=text or None))

    assert compute_roles(text) == roles
    assert compute_members([node], "non_unique")[0].roles == roles
    assert compute_members([node], "")[0].roles == HOSTER | VALIDATOR


def test_a_peer_id_without_a_key_takes_no_part() -> None:
    node = parse_node(make_raw_node(1, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"))

    assert node.author is None
    assert compute_members([node], "") == []


def test_a_class_counts_from_its_epoch_on() -> None:
    node = parse_node(make_raw_node(1, format_peer_id(alice.author), "Included", start=4))

    assert [node.is_of_class(2, Epoch(epoch)) for epoch in (3, 4)] == [False, True]
    assert not node.is_of_class(3, Epoch(4))


def test_the_seed_is_a_digest_of_the_blocks_hash() -> None:
    import hashlib

    expected = hashlib.sha256(b"epochgate/hypertensor/seed/1\0" + b"h" * 32).digest()
    assert compute_seed(BlockHash("0x" + (b"h" * 32).hex())) == expected
