"""Exported programs run without the code they came from, and files that are none are refused in
words.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from epochgate.models import ModelError, load_model

pytest.importorskip("torch")
import torch

X = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


class Scale(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((4,), 3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(x, 0.5, self.training) * self.weight


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "scale.pt2"
    torch.export.save(torch.export.export(Scale().eval(), (torch.from_numpy(X),)), path)
    return path


def test_an_exported_program_is_served(file: Path) -> None:
    output = load_model(f"export:{file}").infer(X)
    assert output.dtype == np.float32
    assert np.array_equal(output, 3 * X)


def test_a_challenge_of_another_shape_is_not_answered_wrongly(file: Path) -> None:
    with pytest.raises(Exception, match=r"Guard failed|shape"):
        load_model(f"export:{file}").infer(X[:1])


def test_a_missing_file_is_told() -> None:
    with pytest.raises(
        ModelError, match=r"there is no such file: write one with torch\.export\.save"
    ):
        load_model("export:nowhere.pt2")


@pytest.mark.parametrize("content", [b"", b"no program", b"PK\x03\x04"])
def test_a_file_that_is_no_program_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wrong.pt2").write_bytes(content)
    with pytest.raises(ModelError, match=r"is not a program of torch\.export\.save"):
        load_model(f"export:{tmp_path / 'wrong.pt2'}")
