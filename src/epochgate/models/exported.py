"""`export:FILE.pt2`: a program that `torch.export.save` wrote, run without the Python code that it
came from.
"""

from __future__ import annotations

from pathlib import Path

from epochgate.models.model_error import ModelError, describe
from epochgate.models.torch_model import TorchModel


def load_exported(file: str) -> TorchModel:
    """Load an exported program, in evaluation mode or not, as it was when it was exported.

    Only a file of your own is safe, or one of somebody whose code you would run: a program may name
    any operator that torch has, and torch unpickles parts of it. No file that came over the network
    ever gets here.

    Args:
        file: The program's file; the program takes one tensor and returns one.

    Returns:
        The program as a model.

    Raises:
        ModelError: There is no such file, it is not such a program, or torch is not installed.
    """
    path = Path(file)
    if not path.is_file():
        raise ModelError(
            f"export:{file}: there is no such file",
            "write one with torch.export.save(torch.export.export(...))",
        )
    try:
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        program = torch.export.load(path)
        return TorchModel(program.module())
    except ImportError as error:
        raise ModelError(
            f"export:{file}: torch is needed to run it", "pip install 'epochgate[node]'"
        ) from error
    except Exception as error:
        raise ModelError(
            f"export:{file} is not a program of torch.export.save: {describe(error)}"
        ) from error
