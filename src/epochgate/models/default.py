"""The model of a subnet that brings none."""

from __future__ import annotations

from epochgate.models.torch_model import TorchModel

DEFAULT_SEED = 20_240_229
"""All hosters of a subnet have the same weights, or they could not agree."""


def create_default_model(width: int = 64) -> TorchModel:
    """A small transformer over a sequence of vectors, for trying things out.

    Its weights follow from a seed of their own, and torch's generator is left as it was.

    Args:
        width: The elements of a vector; the default challenge has the shape (16, 64).

    Returns:
        A model that takes float32 of shape (sequence, width) and returns the same.
    """
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(DEFAULT_SEED)
        layer = torch.nn.TransformerEncoderLayer(
            width, nhead=4, dim_feedforward=4 * width, dropout=0.0, batch_first=True
        )
        encoder = torch.nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
    return TorchModel(encoder.eval())
