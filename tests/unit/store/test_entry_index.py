"""The entries in memory: found by key and author, listed by key, and counted."""

from __future__ import annotations

import pytest

from epochgate.core.receipt import ReceiptedEntry
from epochgate.core.record import compute_key
from epochgate.core.storage_usage import Usage
from epochgate.core.types import Epoch, Hash32
from epochgate.store.entry_index import EntryIndex
from tests.support.identities import alice, bob

KEY = compute_key("note")
OTHER_KEY = compute_key("other")


def make_entry(value_bytes: int = 100, epoch: Epoch = Epoch(5)) -> ReceiptedEntry:
    return ReceiptedEntry(Hash32(bytes([value_bytes]) * 32), 1e9, epoch, value_bytes, ())


def test_a_listing_is_in_order_of_author_and_of_one_key() -> None:
    index = EntryIndex()
    first, second = sorted((alice.author, bob.author))
    index.put(KEY, second, make_entry())
    index.put(KEY, first, make_entry())
    index.put(OTHER_KEY, first, make_entry())

    assert [entry.author for entry in index.get_listing(KEY)] == [first, second]
    assert index.get_listing(compute_key("nothing")) == ()


def test_a_listing_is_made_once_and_again_when_the_key_changes() -> None:
    index = EntryIndex()
    index.put(KEY, alice.author, make_entry())
    listing = index.get_listing(KEY)
    index.put(OTHER_KEY, alice.author, make_entry())
    assert index.get_listing(KEY) is listing

    index.put(KEY, bob.author, make_entry())
    assert len(index.get_listing(KEY)) == 2
    index.remove(KEY, alice.author)
    assert [entry.author for entry in index.get_listing(KEY)] == [bob.author]


def test_an_entry_in_the_place_of_another_is_counted_once() -> None:
    index = EntryIndex()
    index.put(KEY, alice.author, make_entry(100, Epoch(5)))
    index.put(KEY, alice.author, make_entry(60, Epoch(6)))

    assert index.usage.get_all() == Usage(1, 60)
    assert index.usage.get_authors(alice.author, Epoch(5)) == Usage()
    assert index.usage.get_authors(alice.author, Epoch(6)) == Usage(1, 60)


def test_what_is_removed_leaves_nothing_behind() -> None:
    index = EntryIndex()
    index.put(KEY, alice.author, make_entry())
    index.remove(KEY, alice.author)

    assert not index.held
    assert index.usage.get_all() == Usage()
    assert index.get_listing(KEY) == ()
    with pytest.raises(KeyError):
        index.remove(KEY, alice.author)
