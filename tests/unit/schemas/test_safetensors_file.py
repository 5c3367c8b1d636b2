"""The safetensors file of one tensor: one encoding, the library's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save

from epochgate.core.schema import Malformed
from epochgate.schemas.layout import STORAGE
from epochgate.schemas.safetensors_file import MAX_HEADER_BYTES, encode, find_tensor


def make_file(header: object, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def describe_tensor(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> object:
    return {"tensor": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize("dtype", [name for name in STORAGE if name != "bfloat16"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0, 4)])
def test_it_is_written_and_read_as_the_library_does_it(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.ones(shape, STORAGE[dtype])
    file = encode(dtype, array)
    assert file == save({"tensor": array})
    layout = find_tensor(file)
    assert (layout.dtype, layout.shape) == (dtype, shape)
    assert file[layout.first_byte :] == array.tobytes()


@pytest.mark.parametrize(
    "file",
    [
        b"",
        bytes(7),
        bytes(8),
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * 1000,
        (1 << 63).to_bytes(8, "little"),
        make_file(b"{"),
        make_file(b"\xff\xfe"),
        make_file(b"[" * 400),
        make_file([]),
        make_file({}),
        make_file({"other": 1}),
        make_file({"__metadata__": {"a": "b"}} | {"tensor": {}}),
        make_file(describe_tensor("F8")),
        make_file(describe_tensor(shape=[-2])),
        make_file(describe_tensor(shape=[1] * 9)),
        make_file(describe_tensor(shape=[10**12])),
        make_file(describe_tensor(offsets=[0, 4])),
        make_file(describe_tensor()),  # right, but not padded as the library does it
    ],
)
def test_any_other_file_is_malformed(file: bytes) -> None:
    with pytest.raises(Malformed):
        find_tensor(file)


def test_bytes_behind_the_tensor_or_missing_from_it_are_malformed() -> None:
    file = encode("float32", np.ones((2,), "<f4"))
    for other in (file + b"\0", file[:-1], file[:8], file[:12]):
        with pytest.raises(Malformed):
            find_tensor(other)
