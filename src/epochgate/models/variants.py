"""Variants of a torch model: on other threads, in other precision, or made cheaper.

A hoster might serve one of them in place of the model. Each is made by changing a model that was
loaded for it, so it works for everything that loads a `torch.nn.Module`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from epochgate.models.model_error import ModelError
from epochgate.ports import Model

if TYPE_CHECKING:
    import torch

MIN_SCALE = 1e-30
"""Scales of a row of zeros are as small, and never 0."""


class OnThreads:
    """The Model port over a model that torch runs on `count` threads."""

    def __init__(self, model: Model, count: int) -> None:
        self._model = model
        self._count = count

    def infer(self, challenge: NDArray[np.generic], /) -> NDArray[np.generic]:
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        before = torch.get_num_threads()
        torch.set_num_threads(self._count)
        try:
            return self._model.infer(challenge)
        finally:
            torch.set_num_threads(before)


def run_in(precision: str, model: Model) -> Model:
    """Let a model compute in another precision, and answer in the one it had.

    Args:
        precision: "bfloat16" or "float16".
        model: The model to change.

    Returns:
        The same model.

    Raises:
        ModelError: There is no torch module behind the model.
    """
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    module = get_module(model)
    narrow = getattr(torch, precision)
    wide = next(
        (parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()),
        torch.float32,
    )
    module.to(narrow)
    module.register_forward_pre_hook(
        lambda _, given, named: (_cast(given, narrow), _cast(named, narrow)), with_kwargs=True
    )
    module.register_forward_hook(lambda _, __, output: _cast(output, wide))
    return model


def round_weights_to_bfloat16(model: Model) -> Model:
    """Round a model's weights to bfloat16, and compute as before.

    Args:
        model: The model to change.

    Returns:
        The same model.

    Raises:
        ModelError: There is no torch module behind the model.
    """
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    return _change_weights(model, lambda weight: weight.to(torch.bfloat16).to(weight.dtype))


def round_weights_to_integers(bits: int, model: Model) -> Model:
    """Round every matrix of a model to integers with a scale for each row, and compute as before.

    This is weight-only quantisation.

    Args:
        bits: The width of an integer.
        model: The model to change.

    Returns:
        The same model.

    Raises:
        ModelError: There is no torch module behind the model.
    """
    largest = (1 << (bits - 1)) - 1

    def change(weight: torch.Tensor) -> torch.Tensor:
        if weight.ndim < 2:
            return weight
        other_sides = tuple(range(1, weight.ndim))
        row_maxima = weight.abs().amax(dim=other_sides, keepdim=True)
        scale = row_maxima.clamp(min=MIN_SCALE) / largest
        return (weight / scale).round() * scale

    return _change_weights(model, change)


BFLOAT16 = "bfloat16"
CHEAPER: Mapping[str, Callable[[Model], Model]] = {
    "float16": functools.partial(run_in, "float16"),
    "bfloat16 weights": round_weights_to_bfloat16,
    BFLOAT16: functools.partial(run_in, BFLOAT16),
    "8-bit weights": functools.partial(round_weights_to_integers, 8),
    "4-bit weights": functools.partial(round_weights_to_integers, 4),
}
"""Each changes the model it is given, and returns it."""


def get_module(model: Model) -> torch.nn.Module:
    """The torch module behind a model. Raise ModelError where there is none."""
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    module = getattr(model, "module", None)
    if not isinstance(module, torch.nn.Module):
        raise ModelError("it is not a torch module, so its weights cannot be rounded here")
    return module


def _change_weights(model: Model, change: Callable[[torch.Tensor], torch.Tensor]) -> Model:
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    with torch.no_grad():
        for weight in get_module(model).parameters():
            if weight.is_floating_point():
                weight.copy_(change(weight))
    return model


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Float tensors in `dtype`, also inside tuples and dictionaries; everything else unchanged."""
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(dtype)
    if isinstance(value, tuple):
        return tuple(_cast(entry, dtype) for entry in value)
    if isinstance(value, dict):
        return {name: _cast(entry, dtype) for name, entry in value.items()}
    return value
