"""The Model port over torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from epochgate.models import ModelError, TorchModel

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def test_a_module_answers_an_array_with_an_array() -> None:
    answer = TorchModel(torch.nn.Tanh()).infer(X)
    assert (answer.shape, answer.dtype) == (X.shape, np.dtype(np.float32))
    assert np.allclose(answer.astype(np.float32), np.tanh(X))


def test_a_module_with_weights_is_asked_without_gradients() -> None:
    asked: list[bool] = []
    linear = torch.nn.Linear(3, 1)

    def see(tensor: torch.Tensor) -> object:
        asked.append(torch.is_grad_enabled())
        return linear(tensor)

    assert TorchModel(see).infer(X).shape == (2, 1)
    assert asked == [False]


def test_a_challenge_that_is_read_only_is_not_changed() -> None:
    challenge = X.copy()
    challenge.setflags(write=False)
    TorchModel(lambda tensor: tensor.zero_()).infer(challenge)
    assert np.array_equal(challenge, X)


def test_anything_but_one_tensor_is_refused() -> None:
    with pytest.raises(ModelError, match="returned tuple: it must return one tensor"):
        TorchModel(lambda tensor: (tensor, tensor)).infer(X)
