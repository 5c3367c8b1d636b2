"""Variants of a torch model: the same answers on other threads, worse ones from rounded weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from epochgate.models import ModelError, load_model
from epochgate.models.calibration import Array, make_challenges
from epochgate.models.variants import (
    CHEAPER,
    OnThreads,
    get_module,
    round_weights_to_integers,
    run_in,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import Model

(CHALLENGE,) = make_challenges(INFERENCE_POLICY, 1)


def compute_error(model: Model) -> float:
    expected = load_model().infer(CHALLENGE).astype(np.float64)
    output = model.infer(CHALLENGE).astype(np.float64)
    return float(np.linalg.norm(output - expected) / np.linalg.norm(expected))


def test_threads_are_set_for_one_answer_and_put_back() -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    class Looking:
        def infer(self, challenge: Array) -> Array:
            seen.append(torch.get_num_threads())
            raise RuntimeError

    for count in (1, 3):
        with pytest.raises(RuntimeError):
            OnThreads(Looking(), count).infer(CHALLENGE)

    assert seen == [1, 3]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("change", CHEAPER.values(), ids=CHEAPER)
def test_a_cheaper_model_answers_in_the_same_shape_and_almost_the_same_way(
    change: Callable[[Model], Model],
) -> None:
    output = change(load_model()).infer(CHALLENGE)

    assert (output.dtype, output.shape) == (np.dtype(np.float32), (16, 64))
    assert 1e-4 < compute_error(change(load_model())) < 0.1


def test_fewer_bits_are_further_off() -> None:
    errors = [compute_error(round_weights_to_integers(bits, load_model())) for bits in (12, 8, 4)]
    assert errors == sorted(errors)


def test_rounded_weights_are_on_a_grid_of_as_many_values_as_the_bits_have() -> None:
    module = get_module(round_weights_to_integers(4, load_model()))
    matrix = next(weight for weight in module.parameters() if weight.ndim == 2)
    assert max(len(row.unique()) for row in matrix) <= 15


def test_narrow_arithmetic_is_narrow_inside() -> None:
    model = run_in("bfloat16", load_model())
    assert {weight.dtype for weight in get_module(model).parameters()} == {torch.bfloat16}


def test_what_is_no_torch_module_cannot_be_rounded() -> None:
    class Plain:
        def infer(self, challenge: Array) -> Array:
            return challenge

    with pytest.raises(ModelError, match="not a torch module"):
        run_in("bfloat16", Plain())
