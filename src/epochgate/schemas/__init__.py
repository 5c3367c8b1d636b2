"""Schemas from bytes to checked values: maps by pydantic models, tensors from safetensors or
`torch.save` bytes. Nothing is ever unpickled.
"""

from epochgate.core.schema import Malformed
from epochgate.schemas.heartbeat import Heartbeat, ServerState
from epochgate.schemas.map import Map
from epochgate.schemas.tensor import Tensor

__all__ = ["Heartbeat", "Malformed", "Map", "ServerState", "Tensor"]
