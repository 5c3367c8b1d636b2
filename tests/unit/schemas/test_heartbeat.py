"""Heartbeats: a node's statement about itself."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from epochgate.core.roster import ROLE_NAMES, RoleName
from epochgate.schemas import Heartbeat, Map, ServerState

ALICE = Heartbeat(
    state=ServerState.ONLINE,
    role="hoster",
    throughput=12.5,
    public_name="alice",
    version="0.1.0",
    policy_digest="ab" * 32,
)


def test_its_bytes_are_the_payload_of_its_map() -> None:
    assert Map(Heartbeat).decode(ALICE.to_bytes()) == ALICE
    assert Map(Heartbeat).encode(ALICE) == ALICE.to_bytes()


def test_it_names_every_role_that_there_is() -> None:
    assert set(get_args(RoleName)) == set(ROLE_NAMES)
    for role in ROLE_NAMES:
        assert Heartbeat(**ALICE.model_dump() | {"role": role}).role == role


@pytest.mark.parametrize(
    ("field", "value"),
    [("role", "miner"), ("throughput", -1.0), ("public_name", "a" * 65), ("policy_digest", "AB")],
)
def test_it_cannot_be_made_of_what_replicas_would_refuse(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Heartbeat(**ALICE.model_dump() | {field: value})


def test_it_does_not_change() -> None:
    with pytest.raises(ValidationError):
        ALICE.throughput = 1.0
