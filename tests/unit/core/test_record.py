"""Records: key digests, the bytes that are signed, and whose signatures count."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_BYTES

from epochgate.core.peer_id import PEER_ID_PREFIX
from epochgate.core.record import (
    KEY_BYTES,
    SIGNATURE_BYTES,
    Record,
    compute_key,
    compute_network_id,
    compute_signed_bytes,
    compute_signing_prefix,
    compute_value_digest,
    is_record_signed,
    is_signed,
    pack_field,
)
from epochgate.core.types import NetworkId, PeerId, RecordKey, Signature
from tests.support.identities import NETWORK, alice, bob, sign

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "records.json").read_text())
KEY_NAME = "hoster-commit_epoch_7"
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of Ed25519 (RFC 8032): adding it to a signature's scalar gives another that naive verifiers
accept.
"""


def read_name(case: dict[str, Any]) -> str:
    if "name" in case:
        return str(case["name"])
    letter, count = case["repeat"]
    return str(letter * count)


def make_record(**changes: Any) -> Record:
    return msgspec.structs.replace(sign(alice, KEY_NAME, b"a payload", 1_700_000_600.25), **changes)


@pytest.mark.parametrize("case", VECTORS["keys"], ids=lambda case: read_name(case)[:40])
def test_the_fixed_key_digests_hold(case: dict[str, Any]) -> None:
    key = compute_key(read_name(case))

    assert key.hex() == case["key"]
    assert len(key) == KEY_BYTES


def test_a_key_is_what_hivemind_makes_of_its_name() -> None:
    routing = pytest.importorskip("hivemind.dht.routing")
    names = [read_name(case) for case in VECTORS["keys"]] + [
        f"hoster-commit_epoch_{epoch}" for epoch in range(300)
    ]

    assert [compute_key(name) for name in names] == [
        routing.DHTID.generate(source=name).to_bytes() for name in names
    ]


def test_a_network_id_tells_chains_and_subnets_apart() -> None:
    case = VECTORS["network"]
    ids = {
        compute_network_id(chain, subnet)
        for chain, subnet in [("a", 1), ("a", 2), ("b", 1), ("a1", 1), ("", 1)]
    }

    assert compute_network_id(case["chain"], case["subnet_id"]).hex() == case["id"]
    assert len(ids) == 5


@settings(deadline=None)
@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_packed_fields_are_the_same_only_for_the_same_fields(
    fields: list[bytes], others: list[bytes]
) -> None:
    packed, other = (b"".join(map(pack_field, each)) for each in (fields, others))

    assert (packed == other) == (fields == others)


def test_the_fixed_signed_bytes_hold() -> None:
    case = VECTORS["signed"]
    key, author, payload, network = (
        bytes.fromhex(case[field]) for field in ("key", "author", "payload", "network")
    )

    message = compute_signed_bytes(
        compute_signing_prefix(NetworkId(network), RecordKey(key)),
        PeerId(author),
        case["expiration_time"],
        payload,
    )

    assert message.hex() == case["bytes"]
    assert is_record_signed(
        NetworkId(network),
        Record(
            RecordKey(key), PeerId(author), bytes.fromhex(case["value"]), case["expiration_time"]
        ),
    )


def test_a_value_is_a_signature_and_its_payload() -> None:
    record = make_record()

    assert record.payload == b"a payload"
    assert len(record.value) == SIGNATURE_BYTES + len(record.payload)
    assert compute_value_digest(record.value) == hashlib.sha256(record.value).digest()


def test_what_its_author_signed_is_signed() -> None:
    assert is_record_signed(NETWORK, make_record())
    assert is_record_signed(NETWORK, sign(alice, KEY_NAME, b"", math.inf))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": compute_key("hoster-commit_epoch_8")},
        {"author": bob.author},
        {"author": alice.author[:-1]},
        {"author": alice.author + b"\0"},
        {"author": b"\x01" + alice.author[1:]},
        {"author": b""},
        {"expiration_time": 1_700_000_600.5},
        {"expiration_time": math.nextafter(1_700_000_600.25, math.inf)},
        {"expiration_time": math.nan},
        {"value": make_record().value + b"!"},
        {"value": make_record().value[:-1]},
        {"value": bytes([make_record().value[0] ^ 1]) + make_record().value[1:]},
        {"value": bytes(SIGNATURE_BYTES) + b"a payload"},
        {"value": make_record().value[:SIGNATURE_BYTES]},
        {"value": make_record().value[: SIGNATURE_BYTES - 1]},
        {"value": b""},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_no_field_can_be_changed_afterwards(changes: dict[str, Any]) -> None:
    assert not is_record_signed(NETWORK, make_record(**changes))


@pytest.mark.parametrize("author", [b"\x01" + alice.author[1:], bytes(6) + alice.author[6:]])
def test_one_author_has_one_encoding(author: PeerId) -> None:
    key = compute_key(KEY_NAME)
    message = compute_signed_bytes(
        compute_signing_prefix(NETWORK, key), author, 1_700_000_600.25, b"a payload"
    )

    assert not is_record_signed(
        NETWORK, Record(key, author, alice.sign(message) + b"a payload", 1_700_000_600.25)
    )


def test_a_signature_is_for_one_network() -> None:
    assert not is_record_signed(compute_network_id("test-chain", 2), make_record())


def test_a_signature_that_anybody_can_bend_is_refused() -> None:
    message = b"the same words"
    signature = alice.sign(message)
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER

    assert is_signed(alice.author, message, signature)
    assert not is_signed(
        alice.author, message, Signature(signature[:32] + scalar.to_bytes(32, "little"))
    )


@pytest.mark.parametrize(
    "public_key",
    [
        (1).to_bytes(32, "little"),  # the neutral element, order 1
        (2**255 - 20).to_bytes(32, "little"),  # order 2
        bytes(32),  # order 4
        bytes.fromhex(
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
        ),  # order 8
        bytes.fromhex(
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
        ),  # order 8
    ],
)
def test_a_key_of_small_order_signs_nothing(public_key: bytes) -> None:
    """With such a key a signature of zeros would fit one message in eight, or all of them."""
    signature = (1).to_bytes(32, "little") + bytes(crypto_sign_BYTES - 32)

    assert not any(
        is_signed(PeerId(PEER_ID_PREFIX + public_key), bytes([n]), Signature(signature))
        for n in range(32)
    )


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_another_length_is_none(length: int) -> None:
    assert not is_signed(alice.author, b"words", Signature((alice.sign(b"words") + b"\0")[:length]))
