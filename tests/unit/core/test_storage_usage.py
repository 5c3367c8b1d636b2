"""Counting what is stored: per author and epoch, per key, and in total."""

from __future__ import annotations

from epochgate.core.record import compute_key
from epochgate.core.storage_usage import StorageUsage, Usage
from epochgate.core.types import Epoch
from tests.support.identities import alice, bob

ONE = compute_key("one")
OTHER = compute_key("other")


def test_nothing_is_stored_at_first() -> None:
    usage = StorageUsage()
    assert usage.get_authors(alice.author, Epoch(1)) == Usage(0, 0)
    assert usage.get_keys(ONE) == Usage(0, 0)
    assert usage.get_all() == Usage(0, 0)


def test_a_record_counts_for_its_author_and_epoch_its_key_and_the_total() -> None:
    usage = StorageUsage()
    usage.count(ONE, alice.author, Epoch(1), entries=1, value_bytes=100)
    usage.count(OTHER, alice.author, Epoch(2), entries=1, value_bytes=20)
    usage.count(ONE, bob.author, Epoch(1), entries=1, value_bytes=3)
    assert usage.get_authors(alice.author, Epoch(1)) == Usage(1, 100)
    assert usage.get_authors(alice.author, Epoch(2)) == Usage(1, 20)
    assert usage.get_authors(bob.author, Epoch(1)) == Usage(1, 3)
    assert usage.get_authors(bob.author, Epoch(2)) == Usage(0, 0)
    assert usage.get_keys(ONE) == Usage(2, 103)
    assert usage.get_keys(OTHER) == Usage(1, 20)
    assert usage.get_all() == Usage(3, 123)


def test_what_is_removed_counts_no_more_and_leaves_nothing_behind() -> None:
    usage = StorageUsage()
    usage.count(ONE, alice.author, Epoch(1), entries=2, value_bytes=100)
    usage.count(ONE, alice.author, Epoch(1), entries=-1, value_bytes=-60)
    assert usage.get_authors(alice.author, Epoch(1)) == Usage(1, 40)
    usage.count(ONE, alice.author, Epoch(1), entries=-1, value_bytes=-40)
    assert usage.get_all() == Usage(0, 0)
    assert vars(usage) == vars(StorageUsage())


def test_usage_reads_as_people_count() -> None:
    assert str(Usage(3, 123)) == "3 records and 123 bytes"
