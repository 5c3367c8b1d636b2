"""The name `torch` for predicates: the real one, but for `load`, which never unpickles."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import torch as real_torch

from epochgate.core.schema import Malformed
from epochgate.schemas.tensor import find_tensor

MAX_FILE_BYTES = 16 << 20

_UNPICKLERS = frozenset({"export", "hub", "jit", "package", "serialization"})
"""Parts of torch with a `load` of their own that runs what the file says."""


class SafeTorch:
    """Stands where predicates expect torch. All but `load` is the real torch's, looked up when it
    is used.
    """

    def load(self, file: BinaryIO, *_options: Any, **_named_options: Any) -> real_torch.Tensor:
        """The tensor in a `torch.save` or safetensors file. Raises Malformed, and nothing else.

        The options of `torch.load` are taken and change nothing: `weights_only=False` never
        unpickles either.
        """
        data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Malformed(f"expected a tensor file of at most {MAX_FILE_BYTES} bytes")
        layout = find_tensor(data)
        bits = layout.read_bits(data).copy()
        if layout.dtype == "bfloat16":  # numpy has none, so the bits travel as integers
            return real_torch.from_numpy(bits.view(np.int16)).view(real_torch.bfloat16)
        return real_torch.from_numpy(bits)

    def __getattr__(self, name: str) -> Any:
        if name in _UNPICKLERS:
            raise AttributeError(
                f"torch.{name} can run what a stranger sends: a predicate may not use it"
            )
        return getattr(real_torch, name)

    def __repr__(self) -> str:
        return "<torch with a load that never unpickles>"


torch = SafeTorch()
