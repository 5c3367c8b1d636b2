"""`module:factory`: a callable of the user's own that makes the model.

A model without tensors works without torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from epochgate.models.model_error import ModelError, describe
from epochgate.models.torch_model import TorchModel
from epochgate.ports import Model


def load_from_factory(name: str) -> Model:
    """Make the model that a name stands for.

    Args:
        name: `module:factory`. The factory is called without arguments and makes a
            `torch.nn.Module`, or any object with `infer(array) -> array`; such an object itself
            will do, too. Modules are also looked for in the working directory.

    Returns:
        The model; a torch module is put into evaluation mode.

    Raises:
        ModelError: There is no such module or factory, or it makes something else.
    """
    found = _find(name)
    model = _adapt(found)
    if model is not None:
        return model
    if not callable(found):
        raise ModelError(
            f"{name} is a {type(found).__name__}",
            "it must be a model, or a callable that makes one",
        )
    try:
        made = found()
    except Exception as error:
        raise ModelError(f"{name} failed to make a model: {describe(error)}") from error
    model = _adapt(made)
    if model is None:
        raise ModelError(
            f"{name} made a {type(made).__name__}",
            "it must make a torch.nn.Module, or an object with infer(array) -> array",
        )
    return model


def _adapt(made: Any) -> Model | None:
    """The Model port over an object, None where it cannot be one."""
    if isinstance(made, type):
        return None
    if callable(getattr(made, "infer", None)):
        model: Model = made
        return model
    torch = sys.modules.get("torch")  # there already, where somebody made a torch module
    if torch is not None and isinstance(made, torch.nn.Module):
        return TorchModel(made.eval())
    return None


def _find(name: str) -> Any:
    module_name, _, factory_name = name.partition(":")
    if not module_name or not factory_name:
        raise ModelError(
            f"{name!r} is not a model", "write module:factory, like my_models:make_model"
        )
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"there is no module {error.name!r}", "run in its folder, or install it"
        ) from error
    except Exception as error:
        raise ModelError(f"{module_name} cannot be imported: {describe(error)}") from error
    finally:
        sys.path.remove(folder)
    factory = getattr(module, factory_name, None)
    if factory is None:
        raise ModelError(f"module {module_name} has no {factory_name!r}")
    return factory
