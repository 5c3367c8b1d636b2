"""What every schema rests on: the epoch's context, and bytes of one length."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from epochgate.core.schema import Digest, EpochContext, Malformed, Schema, get_longest_bytes
from epochgate.core.types import Epoch
from tests.support.identities import make_context


def test_a_context_is_of_its_rosters_epoch() -> None:
    assert make_context(Epoch(7)).epoch == 7


def test_a_digest_is_taken_as_it_is() -> None:
    decode = Digest().bind(make_context())

    assert decode(bytes(range(32))) == bytes(range(32))


@pytest.mark.parametrize("length_bytes", [0, 31, 33, 64])
def test_bytes_of_another_length_are_malformed(length_bytes: int) -> None:
    with pytest.raises(Malformed, match=f"expected 32 bytes, saw {length_bytes}"):
        Digest().decode(bytes(length_bytes))


def test_a_length_can_be_declared() -> None:
    assert Digest(20).decode(bytes(20)) == bytes(20)
    assert Digest(20).describe() == "bytes[20]"
    with pytest.raises(Malformed):
        Digest(20).decode(bytes(32))


def test_a_digest_is_encoded_as_it_is_and_nothing_else_is() -> None:
    assert Digest().encode(bytes(range(32))) == bytes(range(32))
    for value in (bytes(31), "text", None):
        with pytest.raises(Malformed):
            Digest().encode(value)


class ClassWithoutLength:
    """A user's schema, whose arguments have names of their own."""

    def bind(self, epoch_context: EpochContext) -> Callable[[bytes], str]:
        return bytes.hex

    def encode(self, anything: object) -> bytes:
        return bytes.fromhex(str(anything))

    def describe(self) -> str:
        return "hex"


def test_a_schema_may_say_how_long_its_payloads_get() -> None:
    schema: Schema = ClassWithoutLength()
    assert get_longest_bytes(schema) == 0
    assert get_longest_bytes(Digest(20)) == 20


def test_malformed_is_a_value_error() -> None:
    assert issubclass(Malformed, ValueError)
