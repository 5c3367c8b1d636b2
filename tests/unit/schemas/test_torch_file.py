"""Tensors by `torch.save`: one plain tensor is read, everything else is refused, and nothing is
ever unpickled.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from epochgate.core.schema import Malformed
from epochgate.schemas import Tensor
from epochgate.schemas.torch_file import MAX_MEMBERS, MAX_OVERHEAD_BYTES

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]
SHAPES = [(), (1,), (3,), (2, 2), (1, 2, 3), (2, 1, 2, 1, 3), (300,), (70_000,), (0,), (2, 0)]
PAIR = Tensor("float32", (2, 2))
ANY = Tensor("float32", ((0, 100), (0, 100)))


def save(value: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def rezip(
    change: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The zip of a good tensor, with its members changed."""
    with zipfile.ZipFile(io.BytesIO(PAYLOAD)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


PAYLOAD = save(torch.tensor([[1.0, -2.0], [3.5, 0.0]]))
PICKLE = "archive/data.pkl"
STORAGE = "archive/data/0"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_plain_tensor_comes_back_as_it_was_saved(
    dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    schema = Tensor(str(dtype).removeprefix("torch."), tuple((0, side) for side in shape))
    expected = tensor.float() if dtype is torch.bfloat16 else tensor
    array = schema.decode(save(tensor))
    assert array.shape == shape
    np.testing.assert_array_equal(array, expected.numpy())


def test_it_fits_the_overhead_that_a_schema_allows() -> None:
    assert len(PAYLOAD) - 16 <= MAX_OVERHEAD_BYTES // 2


def test_a_rewritten_zip_of_the_same_members_is_read() -> None:
    np.testing.assert_array_equal(PAIR.decode(rezip(lambda members: None)), PAIR.decode(PAYLOAD))


class Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "value",
    [
        torch.nn.Linear(2, 2),
        {"tensor": torch.zeros(2, 2)},
        [torch.zeros(2, 2)],
        torch.nn.Parameter(torch.zeros(2, 2)),
        torch.zeros(2, 2, requires_grad=True),
        torch.zeros(2, 2).as_subclass(Subclass),
        torch.zeros(4, 4)[::2, ::2],
        torch.zeros(4, 2)[:2],
        torch.zeros(4, 2)[2:],
        torch.arange(4.0).reshape(2, 2).T,
        torch.zeros(1).expand(2, 2),
        torch.zeros(2, 2, dtype=torch.complex64),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, 2, device="meta"),
        (torch.zeros(2, 2), torch.zeros(2, 2)),
        np.zeros((2, 2), np.float32),
        "text",
        None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_but_one_plain_tensor_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        ANY.decode(save(value))


def test_the_old_format_is_malformed() -> None:
    with pytest.raises(Malformed):
        PAIR.decode(save(torch.zeros(2, 2), _use_new_zipfile_serialization=False))


def test_ten_to_the_twelve_elements_in_a_kilobyte_and_a_half_are_malformed() -> None:
    payload = save(torch.zeros(1).expand(10**6, 10**6))
    assert len(payload) < 2000
    with pytest.raises(Malformed):
        Tensor("float32", ((0, 10**6), (0, 10**6))).decode(payload)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_are_finite(bad: float) -> None:
    with pytest.raises(Malformed, match="finite"):
        PAIR.decode(save(torch.tensor([[1.0, bad], [0.0, 0.0]])))


ran: list[str] = []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return ran.append, ("boom",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_bomb_is_malformed_and_does_not_run(protocol: int) -> None:
    bomb = pickle.dumps(Bomb(), protocol)
    for payload in (bomb, rezip(lambda members: members.update({PICKLE: bomb})), save(Bomb())):
        with pytest.raises(Malformed):
            PAIR.decode(payload)
    assert ran == []


def drop(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        del members[name]

    return change


@pytest.mark.parametrize(
    "change",
    [
        drop(PICKLE),
        drop(STORAGE),
        lambda members: members.update({"archive/data/1": b""}),
        lambda members: members.update({"elsewhere/version": b"3"}),
        lambda members: members.update({"archive/../evil": b""}),
        lambda members: members.update({"archive/byteorder": b"big"}),
        lambda members: members.update({STORAGE: bytes(12)}),
        lambda members: members.update({STORAGE: bytes(20)}),
        lambda members: members.update({PICKLE: members[PICKLE] + b"."}),
        lambda members: members.update({PICKLE: b"\x80\x02N."}),
        lambda members: members.update({PICKLE: bytes(5000)}),
        lambda members: members.update(
            {PICKLE: members[PICKLE].replace(b"K\x02K\x02\x86", b"J\xff\xff\xff\xffK\x02\x86")}
        ),
        lambda members: members.update(
            {PICKLE: members[PICKLE].replace(b"FloatStorage", b"EvilStorage")}
        ),
        lambda members: members.update({f"archive/version{i}": b"" for i in range(MAX_MEMBERS)}),
    ],
)
def test_a_changed_member_is_malformed(change: Callable[[dict[str, bytes]], None]) -> None:
    with pytest.raises(Malformed):
        PAIR.decode(rezip(change))


def test_compressed_members_are_malformed() -> None:
    with pytest.raises(Malformed, match="compressed"):
        PAIR.decode(rezip(lambda members: None, zipfile.ZIP_DEFLATED))


def test_a_member_named_twice_is_malformed() -> None:
    file = io.BytesIO(rezip(lambda members: None))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(STORAGE, bytes(16))
    with pytest.raises(Malformed, match="once"):
        PAIR.decode(file.getvalue())


def test_a_directory_that_claims_many_members_is_refused_unread() -> None:
    with pytest.raises(Malformed, match="at most"):
        PAIR.decode(
            PAYLOAD[:-22] + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, 1, 0, 0)
        )


def test_every_truncation_is_malformed() -> None:
    for length in range(len(PAYLOAD)):
        with pytest.raises(Malformed):
            PAIR.decode(PAYLOAD[:length])


def test_every_flipped_bit_gives_malformed_or_the_same_tensor() -> None:
    expected = PAIR.decode(PAYLOAD)
    for place in range(len(PAYLOAD)):
        mutant = bytearray(PAYLOAD)
        mutant[place] ^= 1 << place % 8
        try:
            array = PAIR.decode(bytes(mutant))
        except Malformed:
            continue
        np.testing.assert_array_equal(array, expected)


@given(st.data())
def test_a_mutated_pickle_gives_malformed_or_a_tensor_of_the_declared_shape(
    data: st.DataObject,
) -> None:
    def change(members: dict[str, bytes]) -> None:
        content = bytearray(members[PICKLE])
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(content) - 1))
            action = data.draw(st.sampled_from(["set", "cut", "insert"]))
            if action == "set":
                content[place] = data.draw(st.integers(0, 255))
            elif action == "cut":
                del content[place : place + data.draw(st.integers(1, 4))]
            else:
                content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
        members[PICKLE] = bytes(content)

    try:
        array = PAIR.decode(rezip(change))
    except Malformed:
        return
    assert array.shape == (2, 2)
    assert array.dtype == np.float32
