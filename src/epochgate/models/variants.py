"""The same torch model on other hardware's terms, or cheaper: what a hoster might serve in its
place.

A variant is made by changing a model that was loaded for it, so it works for whatever loads a
`torch.nn.Module`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from epochgate.models.model_error import ModelError
from epochgate.ports import Model

if TYPE_CHECKING:
    import torch


class OnThreads:
    """The Model port over a model that torch runs on `count` threads."""

    def __init__(self, model: Model, count: int) -> None:
        self._model = model
        self._count = count

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        before = torch.get_num_threads()
        torch.set_num_threads(self._count)
        try:
            output: NDArray[Any] = self._model.infer(challenge)
        finally:
            torch.set_num_threads(before)
        return output


def run_in(precision: str, model: Model) -> Model:
    """`model` with weights and arithmetic in `precision`, "bfloat16" or "float16"; it answers in
    the precision it had.

    Raises ModelError for a model that is no torch module.
    """
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    module = get_module(model)
    narrow = getattr(torch, precision)
    wide = next(
        (each.dtype for each in module.parameters() if each.is_floating_point()), torch.float32
    )
    module.to(narrow)
    module.register_forward_pre_hook(
        lambda _, given, named: (_cast(given, narrow), _cast(named, narrow)), with_kwargs=True
    )
    module.register_forward_hook(lambda _, __, output: _cast(output, wide))
    return model


def round_weights_to_bfloat16(model: Model) -> Model:
    """`model` with weights that went through bfloat16, and arithmetic as before. Raises ModelError
    like `run_in`.
    """
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    return _change_weights(model, lambda weight: weight.to(torch.bfloat16).to(weight.dtype))


def round_weights_to_integers(bits: int, model: Model) -> Model:
    """`model` with every matrix rounded to integers of `bits` bits and a scale a row, as
    weight-only quantisation does it; arithmetic as before. Raises ModelError like `run_in`.
    """
    most = (1 << (bits - 1)) - 1

    def change(weight: torch.Tensor) -> torch.Tensor:
        if weight.ndim < 2:
            return weight
        scale = (
            weight.abs().amax(dim=tuple(range(1, weight.ndim)), keepdim=True).clamp(min=1e-30)
            / most
        )
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
    """The torch module behind `model`. Raises ModelError where there is none."""
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    module = getattr(model, "module", None)
    if not isinstance(module, torch.nn.Module):
        raise ModelError("it is no torch module, so its weights cannot be rounded here")
    return module


def _change_weights(model: Model, change: Callable[[torch.Tensor], torch.Tensor]) -> Model:
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    with torch.no_grad():
        for weight in get_module(model).parameters():
            if weight.is_floating_point():
                weight.copy_(change(weight))
    return model


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Float tensors in `dtype`, also those inside tuples and dictionaries; all else as it is."""
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(_cast(each, dtype) for each in value)
    if isinstance(value, dict):
        return {name: _cast(each, dtype) for name, each in value.items()}
    return value
