"""Names for plain values: they cost nothing at run time."""

from __future__ import annotations

import pytest

from epochgate.core import types


@pytest.mark.parametrize(
    "name", ["PeerId", "RecordKey", "NetworkId", "Hash32", "Salt", "Signature", "SigningPrefix"]
)
def test_a_name_for_bytes_is_the_bytes_themselves(name: str) -> None:
    value = bytes(32)
    assert getattr(types, name)(value) is value


@pytest.mark.parametrize("name", ["Epoch", "BlockNumber"])
def test_a_name_for_an_integer_is_the_integer_itself(name: str) -> None:
    value = 1 << 40
    assert getattr(types, name)(value) is value


def test_nobody_comes_before_every_peer() -> None:
    assert types.PeerId(b"\0") > types.NOBODY
