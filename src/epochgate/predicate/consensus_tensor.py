"""The upstream Hypertensor template's model of the challenge: a checked torch tensor."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, field_validator

from epochgate.schemas.layout import MAX_DIMENSIONS

MAX_ELEMENTS = 1 << 20
"""The most that scoring takes (docs/spec.md#7-scores-and-pay)."""


class ConsensusTensorModel(BaseModel):
    """A dense torch tensor of 1 to MAX_ELEMENTS real floats, all finite.

    Anything else raises pydantic's ValidationError.

    Example:
        >>> ConsensusTensorModel(tensor=torch.zeros(2, 2)).tensor.shape
        torch.Size([2, 2])
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    tensor: torch.Tensor

    @field_validator("tensor")
    @classmethod
    def check_tensor(cls, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is not torch.strided or tensor.is_meta or not tensor.is_floating_point():
            raise ValueError(
                f"expected a dense tensor of floats, saw {tensor.layout} {tensor.dtype}"
            )
        if not 1 <= tensor.numel() <= MAX_ELEMENTS or tensor.dim() > MAX_DIMENSIONS:
            raise ValueError(
                f"expected 1 to {MAX_ELEMENTS} elements, saw shape {tuple(tensor.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError("expected finite values, saw NaN or infinity")
        return tensor
