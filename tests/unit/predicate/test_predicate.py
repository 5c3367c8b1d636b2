"""The names that one star brings, and the upstream template's listing, called as it stands."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch as real_torch

from epochgate import predicate as exported
from epochgate.core.types import BlockNumber
from epochgate.predicate import (
    MAX_CONSENSUS_TIME,
    MAX_HEART_BEAT_TIME,
    MAX_VALIDATOR_REVEAL_TIME,
    HypertensorPredicateValidator,
    MSGPackSerializer,
)
from tests.support.predicates import (
    EPOCH,
    GET,
    POST,
    compute_data_at,
    make_dht_record,
    save,
)
from tests.support.upstream import make_upstream_predicate


def test_every_name_of_the_listing_comes_with_one_star() -> None:
    names = (
        "DHTRecord DHTRequestType EpochData DHTID get_dht_time MSGPackSerializer"
        " ConsensusTensorModel PredicateValidator"
    )
    names += (
        " HypertensorPredicateValidator CONSENSUS_STORE_DEADLINE CONSENSUS_FALLBACK_STORE_DEADLINE"
        " HOSTER_COMMIT_DEADLINE"
    )
    names += (
        " HOSTER_REVEAL_DEADLINE VALIDATOR_REVEAL_START VALIDATOR_REVEAL_DEADLINE"
        " VALIDATOR_COMMIT_START"
    )
    names += (
        " MAX_HEART_BEAT_TIME MAX_CONSENSUS_TIME MAX_HOSTER_COMMIT_TIME MAX_HOSTER_REVEAL_TIME"
        " MAX_VALIDATOR_COMMIT_TIME"
    )
    names += " MAX_VALIDATOR_REVEAL_TIME Callable ValidationError io torch"
    assert set(names.split()) <= set(exported.__all__)
    assert all(hasattr(exported, name) for name in exported.__all__)


def test_lifetimes_are_seconds_of_the_default_epoch() -> None:
    assert pytest.approx(660) == MAX_HEART_BEAT_TIME == MAX_CONSENSUS_TIME
    assert MAX_VALIDATOR_REVEAL_TIME == 1200
    assert exported.MAX_HOSTER_COMMIT_TIME == exported.MAX_HOSTER_REVEAL_TIME == 600


@pytest.mark.parametrize(
    ("key", "block", "is_admitted"),
    [
        ("hoster", 0, True),
        ("hoster", 99, True),
        ("validator", 50, True),
        ("other", 50, False),
        (f"consensus-epoch_{EPOCH}", 15, True),
        (f"consensus-epoch_{EPOCH}", 16, False),
        (f"consensus-epoch_{EPOCH - 1}", 15, False),
        (f"hoster-commit_epoch_{EPOCH}", 30, True),
        (f"hoster-reveal_epoch_{EPOCH}", 55, True),
        (f"validator-reveal_epoch_{EPOCH}", 30, True),
        (f"validator-commit_epoch_{EPOCH}", 59, False),
        (f"validator-commit_epoch_{EPOCH}", 60, True),
    ],
)
def test_the_listing_judges_a_post(key: str, block: BlockNumber, is_admitted: bool) -> None:
    listing = make_upstream_predicate()
    record = make_dht_record(key, MSGPackSerializer.dumps(save(real_torch.rand(2, 2))))
    assert listing(record, POST, compute_data_at(block)) is is_admitted
    assert listing(record, GET, compute_data_at(block)) is True


class Bomb:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("pack", [pickle.dumps, save])
def test_the_listing_refuses_a_pickle_bomb_which_does_not_run(
    tmp_path: Path, pack: Callable[[object], bytes]
) -> None:
    bomb = pack(Bomb(tmp_path / "blast"))
    record = make_dht_record(f"consensus-epoch_{EPOCH}", MSGPackSerializer.dumps(bomb))
    validator = HypertensorPredicateValidator(make_upstream_predicate(), lambda: compute_data_at(5))
    assert not validator.validate(record)
    assert not (tmp_path / "blast").exists()
