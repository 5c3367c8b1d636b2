"""The upstream template's model of the challenge."""

from __future__ import annotations

import numpy as np
import pytest
import torch as real_torch

from epochgate.predicate import ConsensusTensorModel, ValidationError


@pytest.mark.parametrize(
    "tensor",
    [
        None,
        [1.0],
        np.zeros(2),
        real_torch.zeros(2, dtype=real_torch.int64),
        real_torch.zeros(2, dtype=real_torch.complex64),
        real_torch.zeros(0),
        real_torch.tensor([1.0, float("nan")]),
        real_torch.tensor([float("-inf")]),
        real_torch.zeros(1).expand(1 << 21),
        real_torch.zeros(2).to_sparse(),
        real_torch.zeros(2, device="meta"),
        real_torch.zeros([1] * 9),
    ],
    ids=lambda tensor: type(tensor).__name__,
)
def test_the_consensus_tensor_is_dense_finite_floats(tensor: object) -> None:
    for good in (
        real_torch.rand(()),
        real_torch.rand(2, 2),
        real_torch.ones(3, dtype=real_torch.bfloat16),
    ):
        assert ConsensusTensorModel(tensor=good).tensor is good
    with pytest.raises(ValidationError):
        ConsensusTensorModel.model_validate({"tensor": tensor})
