"""`export:FILE.pt2`: a program that `torch.export.save` wrote, run without the Python code that it
came from.
"""

from __future__ import annotations

from pathlib import Path

from epochgate.models.model_error import ModelError, describe
from epochgate.models.torch_model import TorchModel


def load_exported(file: str) -> TorchModel:
    """The program in `file`, one tensor in and one out. Raises ModelError.

    A file of your own, or of somebody you trust as you trust their code: a program may name any
    operator that torch has, and torch unpickles parts of it. Nothing that came over the network
    ever gets here.
    """
    path = Path(file)
    if not path.is_file():
        raise ModelError(
            f"export:{file}: there is no such file: write one with"
            " torch.export.save(torch.export.export(...))"
        )
    try:
        import torch  # noqa: PLC0415 - heavy, and not part of a light installation

        program = torch.export.load(path)
        return TorchModel(
            program.module()
        )  # it was exported in evaluation mode or not, and stays as it is
    except ImportError as error:
        raise ModelError(
            f"export:{file}: torch is needed to run it: pip install 'epochgate[node]'"
        ) from error
    except Exception as error:
        raise ModelError(
            f"export:{file} is no program of torch.export.save: {describe(error)}"
        ) from error
