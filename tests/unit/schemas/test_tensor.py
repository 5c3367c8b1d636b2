"""Tensors by safetensors: exactly the declared dtype, shape and range, in the library's own
encoding.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from epochgate.core.schema import Malformed, Schema
from epochgate.schemas import Tensor
from epochgate.schemas.layout import STORAGE

PAIR = Tensor("float32", (2, 2))
VALUES = np.array([[1, -2], [3.5, 0]], np.float32)
PAYLOAD = PAIR.encode(VALUES)


def save(**arrays: NDArray[Any]) -> bytes:
    data: bytes = safetensors.numpy.save(arrays)
    return data


def pack(header: object, data: bytes, padding: int = 0) -> bytes:
    text = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    text += b" " * padding
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[int], size: int) -> dict[str, object]:
    return {"tensor": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


def test_a_tensor_comes_back_as_it_was_sent() -> None:
    array = PAIR.bind(None)(PAYLOAD)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, VALUES)
    assert not array.flags.writeable


def test_a_tensor_is_a_schema() -> None:
    schema: Schema = PAIR
    assert schema.describe() == "tensor[float32 (2, 2)]"


@pytest.mark.parametrize("dtype", [dtype for dtype in STORAGE if dtype != "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (1, 2, 1, 3), (0, 2)])
def test_the_encoding_is_the_librarys_own(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    schema = Tensor(dtype, tuple((0, side) for side in shape))
    payload = schema.encode(array)
    assert payload == save(tensor=array)
    np.testing.assert_array_equal(schema.decode(payload), array)


def test_bfloat16_decodes_to_the_float32_of_the_same_value() -> None:
    schema = Tensor("bfloat16", (4,))
    rounded = np.array([1.0, -0.0078125, 3.3895314e38, 0], np.float32)
    decoded = schema.decode(schema.encode(rounded))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, rounded)
    with pytest.raises(Malformed, match="round them first"):
        schema.encode(np.array([0.1, 0, 0, 0], np.float32))


def test_shapes_are_bounded_side_by_side() -> None:
    schema = Tensor("int64", (2, (1, 3)))
    for longest in (1, 3):
        assert schema.decode(save(tensor=np.zeros((2, longest), np.int64))).shape == (2, longest)
    for shape in ((2, 0), (2, 4), (1, 2), (2,), (2, 2, 1), ()):
        with pytest.raises(Malformed):
            schema.decode(save(tensor=np.zeros(shape, np.int64)))


def test_an_empty_tensor_is_accepted_only_where_a_side_may_be_nought() -> None:
    empty = save(tensor=np.zeros((0, 2), np.float32))
    assert Tensor("float32", ((0, 4), 2)).decode(empty).shape == (0, 2)
    with pytest.raises(Malformed):
        Tensor("float32", ((1, 4), 2)).decode(empty)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_numbers_are_finite(dtype: str, bad: float) -> None:
    schema = Tensor(dtype, (2,))
    with pytest.raises(Malformed, match="finite"):
        schema.encode(np.array([1, bad], np.float32 if dtype == "bfloat16" else dtype))


@pytest.mark.parametrize(
    ("dtype", "inside", "outside"),
    [
        ("float32", [-4, 4], [4.5, 0]),
        ("int64", [-4, 4], [-(2**63), 0]),
        ("int8", [-4, 4], [-128, 0]),
        ("uint8", [0, 4], [5, 0]),
    ],
)
def test_nothing_is_larger_than_max_abs(
    dtype: str, inside: list[float], outside: list[float]
) -> None:
    schema = Tensor(dtype, (2,), max_abs=4)
    np.testing.assert_array_equal(schema.decode(save(tensor=np.array(inside, dtype))), inside)
    with pytest.raises(Malformed, match="up to 4"):
        schema.decode(save(tensor=np.array(outside, dtype)))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0" * 8,
        b"\0" * 200,
        b"\xff" * 200,
        PAYLOAD[:-1],
        PAYLOAD + b"\0",
        save(other=VALUES),
        save(tensor=VALUES, another=VALUES),
        save(tensor=VALUES.astype(np.float64)),
        save(tensor=VALUES.reshape(4)),
        safetensors.numpy.save({"tensor": VALUES}, metadata={"note": "hidden"}),
        save(tensor=VALUES.astype(np.uint32)),
        pack(entry("C64", [2, 2], 32), bytes(32), 2),
        pack(entry("F32", [2, 2], 16), bytes(16), 10),
        pack(entry("F32", [10**6, 10**6], 4 * 10**12), bytes(16), 1),
        pack(entry("F32", [10**30], 0), bytes(16)),
        pack(entry("F32", [2**62, 0], 0), b"", 5),
        pack(entry("F32", [0] * 40, 0), b""),
        pack(entry("F32", [-2, -2], 16), bytes(16)),
        pack(entry("F32", [2, 2], 12), bytes(16), 2),
        pack({"tensor": {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]}}, bytes(16)),
        pack(
            b'{"tensor":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"tensor":{}}', bytes(16)
        ),
        pack(b'{"tensor":' * 50, b""),
        pack(b"[" * 500, b""),
        pack(b'{"tensor":"\xff"}', b""),
        pack(b" " * 2_000, bytes(16)),
    ],
)
def test_anything_else_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        PAIR.decode(payload)


def test_a_huge_empty_shape_is_malformed_even_where_it_was_declared() -> None:
    with pytest.raises(Malformed):
        Tensor("float32", ((0, 2**62), (0, 2**62), 0)).decode(
            pack(entry("F32", [2**61, 2**61, 0], 0), b"", 0)
        )


def test_a_bool_is_nought_or_one() -> None:
    payload = save(tensor=np.array([True, False]))
    np.testing.assert_array_equal(Tensor("bool", (2,)).decode(payload), [True, False])
    with pytest.raises(Malformed, match="bool"):
        Tensor("bool", (2,)).decode(payload[:-1] + b"\2")


def test_an_author_cannot_encode_what_replicas_would_refuse() -> None:
    for array in (
        VALUES.astype(np.float64),
        VALUES.reshape(4),
        VALUES.astype(np.complex64),
        VALUES * np.float32("nan"),
    ):
        with pytest.raises(Malformed):
            PAIR.encode(array)
    np.testing.assert_array_equal(PAIR.decode(PAIR.encode(VALUES.T)), VALUES.T)
    np.testing.assert_array_equal(PAIR.decode(PAIR.encode(VALUES.astype(">f4"))), VALUES)


def test_a_payload_longer_than_the_shape_allows_is_refused_unread() -> None:
    assert PAIR.max_payload_bytes == 16 + 8192
    with pytest.raises(Malformed, match="at most"):
        PAIR.decode(b"PK\x03\x04" + bytes(PAIR.max_payload_bytes))


def test_a_declaration_that_cannot_be_is_refused_at_once() -> None:
    for dtype, shape, max_abs in [
        ("complex64", (2,), None),
        ("float32", (-1,), None),
        ("float32", ((3, 2),), None),
        ("float32", (1,) * 9, None),
        ("float32", (2,), math.nan),
    ]:
        with pytest.raises(ValueError, match=r"dtype|shape|max_abs"):
            Tensor(dtype, shape, max_abs)  # type: ignore[arg-type] # shapes that are none


def test_the_description_says_all_that_is_accepted() -> None:
    schemas = [
        PAIR,
        Tensor("float64", (2, 2)),
        Tensor("float32", (2, (1, 2))),
        Tensor("float32", (4,)),
        Tensor("float32", (2, 2), 1.0),
        Tensor("float32", (2, 2), 1.0000000000000002),
    ]
    assert len({schema.describe() for schema in schemas}) == len(schemas)
    assert Tensor("float32", (2, (1, 2)), 5).describe() == "tensor[float32 (2, 1..2) |x|<=5.0]"


@given(st.data())
def test_mutated_bytes_give_malformed_or_a_tensor_of_the_declared_shape(
    data: st.DataObject,
) -> None:
    payload = bytearray(PAYLOAD)
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    mutant = bytes(
        payload[
            : data.draw(st.sampled_from([len(payload), data.draw(st.integers(0, len(payload)))]))
        ]
    )
    try:
        array = PAIR.decode(mutant)
    except Malformed:
        return
    assert array.shape == (2, 2)
    assert array.dtype == np.float32
    assert np.isfinite(array).all()
    assert mutant[:-16] == PAYLOAD[:-16]


@given(st.binary(max_size=300))
def test_random_bytes_are_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        PAIR.decode(payload)


def test_what_is_no_array_is_refused_in_words() -> None:
    with pytest.raises(Malformed, match="expected a numpy array, saw list"):
        Tensor("float32", (2,)).encode([1.0, 2.0])
