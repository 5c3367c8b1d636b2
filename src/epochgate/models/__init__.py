"""The models that a hoster may serve: the default one, one that a factory makes, an exported
program, or a language model.

Each kind of model has a module; torch and transformers are imported only where one of theirs is
loaded.
"""

from __future__ import annotations

from epochgate.models.default import create_default_model
from epochgate.models.exported import load_exported
from epochgate.models.factory import load_from_factory
from epochgate.models.language import load_language_model
from epochgate.models.model_error import ModelError
from epochgate.models.torch_model import TorchModel
from epochgate.ports import Model

__all__ = ["ModelError", "TorchModel", "create_default_model", "load_model"]

EXPORTED = "export:"
LANGUAGE = "transformers:"
SPELLINGS = "module:factory, export:FILE.pt2 or transformers:FOLDER"


def load_model(name: str | None = None) -> Model:
    """Load a model from this machine; nothing is fetched from elsewhere.

    Args:
        name: `module:factory`, `export:FILE.pt2` or `transformers:FOLDER?output=...`; None for the
            default model.

    Returns:
        A model whose `infer` takes the policy's challenge and returns the output.

    Raises:
        ModelError: there is no such model here, it cannot be loaded, or what it needs is missing.
    """
    if name is None:
        return create_default_model()
    if name.startswith(EXPORTED):
        return load_exported(name.removeprefix(EXPORTED))
    if name.startswith(LANGUAGE):
        return load_language_model(name.removeprefix(LANGUAGE))
    if ":" not in name:
        raise ModelError(f"{name!r} is not a model", f"write {SPELLINGS}")
    return load_from_factory(name)
