"""hivemind's serializer, for what strangers send."""

from __future__ import annotations

from collections.abc import Callable

import hivemind.utils
import msgpack
import pytest
from hivemind.dht.storage import DictionaryDHTValue
from hypothesis import given
from hypothesis import strategies as st

from epochgate.core.schema import Malformed
from epochgate.predicate import MSGPackSerializer
from tests.support.predicates import nest


def test_the_serializer_reads_what_hivemind_writes() -> None:
    for value in (None, 1, "a", b"b", [1, (2, (3, "c"))], {"k": (1,)}):
        assert MSGPackSerializer.loads(hivemind.utils.MSGPackSerializer.dumps(value)) == value
        assert MSGPackSerializer.dumps(value) == hivemind.utils.MSGPackSerializer.dumps(value)


def test_tuples_in_tuples_are_malformed_where_hivemind_dies_of_them() -> None:
    assert MSGPackSerializer.loads(nest(16)) is not None
    for levels in (17, 400, 5000):
        with pytest.raises(Malformed, match="deep"):
            MSGPackSerializer.loads(nest(levels))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2000 + b"\xc0",
        b"\xa1\xff",
        b"\x81\x90\xc0",
        msgpack.packb(msgpack.ExtType(7, b"")),
        hivemind.utils.MSGPackSerializer.dumps(DictionaryDHTValue()),
    ],
)
def test_odd_messagepack_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        MSGPackSerializer.loads(data)


@given(st.binary(max_size=64))
def test_random_messagepack_is_read_or_malformed(data: bytes) -> None:
    try:
        MSGPackSerializer.loads(data)
    except Malformed:
        return


@pytest.mark.parametrize(
    "wrap", [lambda moment: moment, lambda moment: [moment], lambda moment: {"a": {"b": [moment]}}]
)
def test_the_serializer_refuses_the_timestamps_that_msgpack_reads_unasked(
    wrap: Callable[[object], object],
) -> None:
    with pytest.raises(Malformed, match="timestamp"):
        MSGPackSerializer.loads(msgpack.packb(wrap(msgpack.Timestamp(1, 2))))
