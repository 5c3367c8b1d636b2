"""Peer ids: which bytes are one, and how they read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochgate.core.peer_id import (
    AUTHOR_BYTES,
    PEER_ID_PREFIX,
    describe_bytes,
    describe_key_name,
    format_peer_id,
    get_public_key,
    is_author,
    parse_peer_id,
)
from epochgate.core.types import PeerId
from epochgate.keys import SigningKey
from tests.support.identities import alice

SEED = bytes(range(32))
PEER_ID = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (alice.author, True),
        (PEER_ID_PREFIX + bytes(32), True),
        (alice.author[:-1], False),
        (alice.author + b"\0", False),
        (b"\x12\x20" + bytes(36), False),  # the peer id of another type of key: a hash of it
        (b"", False),
    ],
)
def test_an_author_is_a_peer_id_with_an_ed25519_key(name: bytes, expected: bool) -> None:
    assert is_author(name) == expected
    assert len(alice.author) == AUTHOR_BYTES


def test_peer_ids_read_as_libp2p_writes_them() -> None:
    # made once with libp2p's own daemon from the file of this seed
    assert format_peer_id(SigningKey.from_seed(SEED).author) == PEER_ID
    assert parse_peer_id(PEER_ID) == SigningKey.from_seed(SEED).author


@given(st.binary(min_size=32, max_size=32))
def test_every_peer_id_comes_back_from_its_text(seed: bytes) -> None:
    author = SigningKey.from_seed(seed).author
    assert format_peer_id(author).startswith("12D3KooW")
    assert parse_peer_id(format_peer_id(author)) == author


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not the peer id"),
        ("alice", "'l' does not belong to base58"),
        (PEER_ID[:-1], "not the peer id"),
        ("1" + PEER_ID, "not the peer id"),
        (PEER_ID + " ", "' ' does not belong"),
        ("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "not the peer id"),
        ("2" * 1_000_000, "too long"),
    ],
)
def test_text_that_is_no_peer_id_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_peer_id(text)


def test_zeros_in_front_stay() -> None:
    assert format_peer_id(PeerId(b"\0\0\x01")) == "112"
    assert format_peer_id(PeerId(b"")) == ""


def test_a_peer_id_ends_in_its_public_key() -> None:
    assert get_public_key(PeerId(PEER_ID_PREFIX + SEED)) == SEED


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (SigningKey.from_seed(SEED).author, PEER_ID),
        (b"\x01\x02", "0102"),
        (b"\xab" * 40, "ab" * 40),
        (b"\xab" * 41, "ab" * 16 + "... (41 bytes)"),
    ],
)
def test_a_message_names_peers_and_cuts_other_bytes(value: bytes, text: str) -> None:
    assert describe_bytes(value) == text


def test_a_message_names_the_author_in_a_keys_name() -> None:
    author = SigningKey.from_seed(SEED).author
    assert describe_key_name(f"out-{author.hex()}_epoch_7") == f"out-{PEER_ID}_epoch_7"
    assert describe_key_name("hoster-commit_epoch_7") == "hoster-commit_epoch_7"
