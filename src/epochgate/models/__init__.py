"""What a hoster serves: the default model, and any `torch.nn.Module` that a user names as `module:factory`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

DEFAULT_SEED = 20_240_229
"""Every hoster of a subnet has the same weights, or they could not agree."""


class ModelError(ValueError):
    """A model that cannot be served; the message says why and what to do."""


class TorchModel:
    """The Model port over a `torch.nn.Module`: an array in, an array out, in evaluation mode and without gradients."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module.eval()

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        """Raises ModelError when the module returns anything but one tensor."""
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        with torch.inference_mode():
            output = self._module(torch.from_numpy(np.array(challenge)))
        if not isinstance(output, torch.Tensor):
            raise ModelError(f"the model returned {type(output).__name__}: it must return one tensor")
        return output.detach().cpu().numpy()


def create_default_model(width: int = 64) -> TorchModel:
    """A small transformer over a sequence of vectors of `width` elements, such as the default challenge's (16, 64).

    Its weights follow from a seed of their own, and torch's own generator is left as it was.
    """
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(DEFAULT_SEED)
        layer = torch.nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=4 * width, dropout=0.0, batch_first=True)
        encoder = torch.nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
    return TorchModel(encoder)


def load_model(path: str | None = None) -> TorchModel:
    """The default model, or what `path` names: `module:factory`, a callable without arguments or a Module class.

    Modules are also looked for in the working directory. Raises ModelError.
    """
    if path is None:
        return create_default_model()
    import torch  # noqa: PLC0415 - heavy, and not part of a light installation

    factory = _find_factory(path)
    try:
        module = factory if isinstance(factory, torch.nn.Module) else factory()
    except Exception as error:
        raise ModelError(f"{path} failed to make a model: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{path} made a {type(module).__name__}: it must make a torch.nn.Module")
    return TorchModel(module)


def _find_factory(path: str) -> Any:
    module_name, colon, factory_name = path.partition(":")
    if not colon or not module_name or not factory_name:
        raise ModelError(f"{path!r} is no model: write module:factory, like my_models:make_model")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(f"there is no module {error.name!r}: run in its folder, or install it") from error
    except Exception as error:
        raise ModelError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(here)
    factory = getattr(module, factory_name, None)
    if factory is None:
        raise ModelError(f"module {module_name} has no {factory_name!r}")
    if not callable(factory):
        raise ModelError(f"{path} is a {type(factory).__name__}: it must be a callable that makes a torch.nn.Module")
    return factory
