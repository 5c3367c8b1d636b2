"""Where a tensor lies in a file, and what becomes of its bytes."""

from __future__ import annotations

import numpy as np
import pytest

from epochgate.core.schema import Malformed
from epochgate.schemas.layout import STORAGE, Layout


@pytest.mark.parametrize("dtype", [name for name in STORAGE if name != "bfloat16"])
def test_a_tensor_is_a_view_of_the_files_bytes(dtype: str) -> None:
    expected = np.array([[0, 1, 1], [1, 0, 1]], STORAGE[dtype])
    data = b"head" + expected.tobytes() + b"tail"
    layout = Layout(dtype, (2, 3), 4)
    array = layout.read(data)
    assert layout.size_bytes == expected.nbytes
    assert array.dtype.name == dtype
    assert (array == expected).all()
    assert not array.flags.writeable


def test_bfloat16_becomes_the_float32_of_the_same_value() -> None:
    data = bytes.fromhex("803f 00c0 0000 807f".replace(" ", ""))  # 1, -2, 0, infinity
    layout = Layout("bfloat16", (4,), 0)
    assert layout.read(data).tolist() == [1.0, -2.0, 0.0, float("inf")]
    assert layout.read_bits(data).tolist() == [0x3F80, 0xC000, 0, 0x7F80]


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 1 << 20)])
def test_a_tensor_without_elements_takes_no_bytes(shape: tuple[int, ...]) -> None:
    layout = Layout("float32", shape, 0)
    assert layout.size_bytes == 0
    assert layout.read(b"").shape == shape


def test_a_shape_that_no_array_has_is_malformed() -> None:
    with pytest.raises(Malformed, match="shape"):
        Layout("float32", (0, 1 << 62, 1 << 62), 0).read(b"")


def test_a_bool_is_nought_or_one() -> None:
    with pytest.raises(Malformed, match="bools"):
        Layout("bool", (2,), 0).read(b"\1\2")
