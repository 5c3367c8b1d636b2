"""The Model port over torch: an array in, an array out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from epochgate.models.model_error import ModelError

if TYPE_CHECKING:
    import torch


class TorchModel:
    """What takes a tensor and returns one, such as a `torch.nn.Module` in evaluation mode; it is
    asked without gradients.
    """

    def __init__(self, module: Callable[[torch.Tensor], object]) -> None:
        self.module = module

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        """Raises ModelError when the module returns anything but one tensor."""
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        with torch.inference_mode():
            output = self.module(torch.from_numpy(np.array(challenge)))
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the model returned {type(output).__name__}: it must return one tensor"
            )
        return output.detach().cpu().numpy()
