"""Commit and open: only the author, only there and then, and only what was committed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochgate.core.commitment import (
    DIGEST_BYTES,
    SALT_BYTES,
    Opened,
    Opening,
    OpeningOf,
    compute_commitment,
    is_opened,
)
from epochgate.core.record import compute_network_id
from epochgate.core.schema import Digest, Malformed
from epochgate.core.types import Epoch, Hash32, NetworkId, PeerId, Salt
from tests.support.identities import NETWORK, alice, bob, make_context

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "records.json").read_text())
OPENING = Opening(salt=Salt(b"s" * 32), challenge_digest=Hash32(b"c" * 32), payload=b"an output")
FACTS = {
    "network": NETWORK,
    "kind": "hoster-commit",
    "epoch": 7,
    "author": alice.author,
    "opening": OPENING,
}
COMMITMENT = compute_commitment(**FACTS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "case", VECTORS["commitments"], ids=lambda case: f"{case['kind']} {case['epoch']}"
)
def test_the_fixed_commitments_hold(case: dict[str, Any]) -> None:
    author, challenge, salt, payload = (
        bytes.fromhex(case[field]) for field in ("author", "challenge_digest", "salt", "payload")
    )

    commitment = compute_commitment(
        NETWORK,
        case["kind"],
        case["epoch"],
        PeerId(author),
        Opening(Salt(salt), Hash32(challenge), payload),
    )

    assert commitment.hex() == case["commitment"]


def test_its_opening_opens_a_commitment() -> None:
    assert is_opened(COMMITMENT, **FACTS)  # type: ignore[arg-type]
    assert len(COMMITMENT) == DIGEST_BYTES


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("another subnet", {"network": compute_network_id("test-chain", 2)}),
        ("another role", {"kind": "validator-commit"}),
        ("another epoch", {"epoch": 8}),
        ("a copier", {"author": bob.author}),
        (
            "another challenge",
            {"opening": msgspec.structs.replace(OPENING, challenge_digest=bytes(32))},
        ),
        ("another salt", {"opening": msgspec.structs.replace(OPENING, salt=Salt(bytes(32)))}),
        ("another payload", {"opening": msgspec.structs.replace(OPENING, payload=b"an output!")}),
        ("no payload", {"opening": msgspec.structs.replace(OPENING, payload=b"")}),
    ],
)
def test_every_field_is_bound(why: str, change: dict[str, Any]) -> None:
    assert not is_opened(COMMITMENT, **{**FACTS, **change}), why


@pytest.mark.parametrize("commitment", [b"", COMMITMENT[:-1], COMMITMENT + b"\0", bytes(32)])
def test_what_is_not_the_digest_is_not_opened(commitment: Hash32) -> None:
    assert not is_opened(commitment, **FACTS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            Opening(Salt(b"salt"), Hash32(b"c" * 32), b"payload"),
            Opening(Salt(b"saltp"), Hash32(b"c" * 32), b"ayload"),
        ),
        (Opening(Salt(b"ss"), Hash32(b"c"), b""), Opening(Salt(b"s"), Hash32(b"sc"), b"")),
        (Opening(Salt(b""), Hash32(b"cs"), b""), Opening(Salt(b"s"), Hash32(b"c"), b"")),
    ],
)
def test_bytes_cannot_slide_between_the_fields_of_an_opening(
    first: Opening, second: Opening
) -> None:
    digests = {
        compute_commitment(NETWORK, "hoster-commit", Epoch(7), alice.author, opening)
        for opening in (first, second)
    }

    assert len(digests) == 2


def test_bytes_cannot_slide_between_the_other_fields() -> None:
    digests = {
        compute_commitment(NETWORK, "ab", Epoch(7), PeerId(b"c"), OPENING),
        compute_commitment(NETWORK, "a", Epoch(7), PeerId(b"bc"), OPENING),
        compute_commitment(NetworkId(NETWORK + b"a"), "b", Epoch(7), PeerId(b"c"), OPENING),
        compute_commitment(
            NetworkId(NETWORK[:-1]),
            NETWORK[-1:].decode("latin-1") + "ab",
            Epoch(7),
            PeerId(b"c"),
            OPENING,
        ),
    }

    assert len(digests) == 4


@settings(deadline=None)
@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=200),
)
def test_an_opening_survives_the_wire(
    salt: bytes, challenge_digest: Hash32, payload: bytes
) -> None:
    opening = Opening(Salt(salt), challenge_digest, payload)

    assert Opening.from_bytes(opening.to_bytes()) == opening


@pytest.mark.parametrize("length_bytes", [0, 1, SALT_BYTES, SALT_BYTES + DIGEST_BYTES - 1])
def test_an_opening_cut_short_is_malformed(length_bytes: int) -> None:
    with pytest.raises(Malformed, match=f"saw {length_bytes} in all"):
        Opening.from_bytes(bytes(length_bytes))


def test_the_payload_of_an_opening_has_a_schema_of_its_own() -> None:
    schema = OpeningOf(Digest(4))
    decode = schema.bind(make_context(Epoch(7)))
    opening = msgspec.structs.replace(OPENING, payload=b"four")

    assert decode(opening.to_bytes()) == Opened(opening, b"four")
    assert schema.describe() == "opening[bytes[4]]"
    for data in (OPENING.to_bytes(), b"", OPENING.salt):
        with pytest.raises(Malformed):
            decode(data)


def test_no_text_of_an_opening_shows_what_it_will_show() -> None:
    opening = Opening(Salt(b"s" * 32), Hash32(b"c" * 32), b"secret answer")
    for text in (repr(opening), str(opening), repr(Opened(opening, None))):
        assert b"c".hex() * 32 in text
        assert "sss" not in text
        assert "secret" not in text


@pytest.mark.parametrize("value", [b"bytes", None, OPENING.to_bytes()])
def test_only_an_opening_is_encoded_as_one(value: object) -> None:
    assert OpeningOf(Digest()).encode(OPENING) == OPENING.to_bytes()
    with pytest.raises(Malformed, match="expected an Opening"):
        OpeningOf(Digest()).encode(value)
