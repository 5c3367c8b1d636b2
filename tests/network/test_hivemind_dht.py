"""A predicate on `hivemind.DHT`, which forks a process for its node."""

from __future__ import annotations

import hivemind
import pytest
from hivemind.utils import get_dht_time

from epochgate.core.epoch import EpochData, compute_epoch_data
from epochgate.core.types import Epoch
from epochgate.predicate import DHTRequestType, HypertensorPredicateValidator, mark_reads_of_dht
from tests.support.bare_hivemind import LOOPBACK
from tests.support.identities import TIMING

pytestmark = pytest.mark.network


def ask_for_a_get(_record: object, request_type: DHTRequestType, _data: EpochData) -> bool:
    return request_type is DHTRequestType.GET


def test_on_bare_hivemind_every_request_is_a_post_until_reads_are_marked() -> None:
    first = second = None
    data = compute_epoch_data(TIMING.compute_first_block(Epoch(7)), TIMING)
    try:
        first = hivemind.DHT(start=True, **LOOPBACK)
        second = hivemind.DHT(
            initial_peers=[str(address) for address in first.get_visible_maddrs()],
            start=True,
            client_mode=True,
            record_validators=[HypertensorPredicateValidator(ask_for_a_get, lambda: data)],
            **LOOPBACK,
        )
        assert first.store("key", b"value", get_dht_time() + 60)
        assert second.get("key", latest=True) is None
        mark_reads_of_dht(second)
        assert second.get("key", latest=True).value == b"value"
    finally:
        for dht in (second, first):
            if dht is not None:
                dht.shutdown()
