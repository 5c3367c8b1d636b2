"""The Model port over torch: an array in, an array out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from epochgate.models.model_error import ModelError

if TYPE_CHECKING:
    import torch


class TorchModel:
    """A callable from one tensor to one, such as a `torch.nn.Module` in evaluation mode.

    It is called without gradients.

    Args:
        module: The callable.

    Example:
        >>> import torch
        >>> TorchModel(torch.nn.Identity().eval()).infer(np.ones(2, np.float32)).tolist()
        [1.0, 1.0]
    """

    def __init__(self, module: Callable[[torch.Tensor], object]) -> None:
        self.module = module

    def infer(self, challenge: NDArray[np.generic], /) -> NDArray[np.generic]:
        """Answer a challenge. Raise ModelError where the module returns anything but one tensor."""
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        with torch.inference_mode():
            output = self.module(torch.from_numpy(np.array(challenge)))
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the model returned {type(output).__name__}", "it must return one tensor"
            )
        array: NDArray[np.generic] = output.detach().cpu().numpy()
        return array
