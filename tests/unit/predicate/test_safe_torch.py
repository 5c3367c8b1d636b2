"""The name `torch` for predicates: a load that never unpickles."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch as real_torch

from epochgate.core.schema import Malformed
from epochgate.predicate import torch
from epochgate.schemas import Tensor
from tests.support.predicates import save


@pytest.mark.parametrize(
    "dtype", [real_torch.float32, real_torch.bfloat16, real_torch.int64, real_torch.bool], ids=str
)
@pytest.mark.parametrize("shape", [(), (2, 3), (0,)], ids=str)
def test_load_gives_the_tensor_that_was_saved(
    dtype: real_torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = (real_torch.rand(shape) * 5).to(dtype)
    loaded = torch.load(io.BytesIO(save(tensor)), weights_only=False)
    assert loaded.dtype is dtype
    assert real_torch.equal(loaded, tensor)
    loaded.fill_(1)


def test_load_reads_safetensors_too() -> None:
    payload = Tensor("float32", (2,)).encode(np.array([1, 2], np.float32))
    assert real_torch.equal(torch.load(io.BytesIO(payload)), real_torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02N.", bytes(100), save({"tensor": real_torch.zeros(1)})]
)
def test_load_of_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        torch.load(io.BytesIO(data), weights_only=False)


def test_load_reads_no_more_than_its_limit() -> None:
    with pytest.raises(Malformed, match="at most"):
        torch.load(io.BytesIO(bytes((16 << 20) + 1)))


def test_the_rest_is_the_real_torch_but_for_what_unpickles() -> None:
    assert torch.Tensor is real_torch.Tensor
    assert torch.isfinite is real_torch.isfinite
    with pytest.raises(AttributeError):
        _ = torch.no_such_name
    for name in ("jit", "hub", "serialization"):
        with pytest.raises(AttributeError, match="stranger"):
            getattr(torch, name)
