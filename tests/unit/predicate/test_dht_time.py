"""The time that a predicate is given."""

from __future__ import annotations

from epochgate.predicate import get_dht_time


def test_a_predicate_hears_the_time_of_the_judgement() -> None:
    from epochgate.predicate.dht_time import judging_at

    with judging_at(5.0):
        assert get_dht_time() == 5.0
    assert get_dht_time() > 1_700_000_000.0
