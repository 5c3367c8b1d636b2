"""The name `torch` for predicates: the real module, except that nothing unpickles."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
import torch as real_torch

from epochgate.core.schema import Malformed
from epochgate.schemas.tensor import find_tensor

MAX_FILE_BYTES = 16 << 20

_UNPICKLERS = frozenset({"export", "hub", "jit", "package", "serialization"})
"""Parts of torch with a `load` of their own that runs code from the file."""


class SafeTorch:
    """Stands where predicates expect torch. Everything but `load` is the real torch's.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> real_torch.save(real_torch.ones(2), file)
        >>> _ = file.seek(0)
        >>> torch.load(file)
        tensor([1., 1.])
    """

    def load(
        self, file: BinaryIO, *_options: object, **_named_options: object
    ) -> real_torch.Tensor:
        """Read the tensor in a file, without unpickling.

        Args:
            file: A `torch.save` or safetensors file of at most MAX_FILE_BYTES, with one tensor.
            *_options: Options of `torch.load`, which change nothing.
            **_named_options: Likewise, `weights_only=False` included.

        Returns:
            The tensor, which shares no memory with the file.

        Raises:
            Malformed: The file holds anything else. No other error is raised.
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
