"""Models that a user's own code makes: torch modules, and any object with `infer`; what is neither
is refused in words.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from epochgate.models import ModelError, load_model
from epochgate.policies.inference import CHALLENGE

X = np.random.default_rng(0).uniform(-1, 1, CHALLENGE.shape).astype(CHALLENGE.dtype)

TORCH_FILE = """
import torch

class Doubler(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5, self.training) * 2

class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x

doubler = Doubler()
"""

PLAIN_FILE = """
class Echo:
    def infer(self, challenge):
        return challenge

class Bound:
    def __init__(self, factor):
        self.factor = factor

    def infer(self, challenge):
        return challenge * self.factor

def make_tripler():
    return Bound(3)

def make_number():
    return 7

def make_nothing():
    raise RuntimeError("no weights here")

tripler = Bound(3)
a_number = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The end of the names of two modules in the working directory, as a user has them."""
    name = tmp_path.name.replace("-", "_")
    (tmp_path / f"torch_{name}.py").write_text(TORCH_FILE)
    (tmp_path / f"plain_{name}.py").write_text(PLAIN_FILE)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("path", ["torch_{}:Doubler", "torch_{}:doubler"])
def test_a_torch_module_is_served_in_evaluation_mode(folder: str, path: str) -> None:
    pytest.importorskip("torch")
    challenge = X.copy()
    challenge.setflags(write=False)
    assert np.array_equal(load_model(path.format(folder)).infer(challenge), 2 * X)


def test_a_torch_module_must_return_one_tensor(folder: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ModelError, match="must return one tensor"):
        load_model(f"torch_{folder}:Pair").infer(X)


@pytest.mark.parametrize(("path", "factor"), [("Echo", 1), ("make_tripler", 3), ("tripler", 3)])
def test_any_object_that_infers_is_served(folder: str, path: str, factor: int) -> None:
    assert np.array_equal(load_model(f"plain_{folder}:{path}").infer(X), factor * X)


def test_a_subnet_without_tensors_needs_no_torch(folder: str) -> None:
    program = (
        "import sys\nfrom epochgate.models import"
        f" load_model\nload_model('plain_{folder}:Echo')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert done.stdout == "False\n"


def test_the_working_directory_is_searched_only_while_loading(folder: str) -> None:
    before = list(sys.path)
    load_model(f"plain_{folder}:Echo")
    assert sys.path == before


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "write module:factory, export:FILE.pt2 or transformers:FOLDER"),
        ("nothing:", "write module:factory"),
        ("no_such_module_anywhere:make", "there is no module 'no_such_module_anywhere'"),
        ("plain_{}:missing", "has no 'missing'"),
        ("plain_{}:a_number", "it must be a model, or a callable that makes one"),
        (
            "plain_{}:make_number",
            "made a int: it must make a torch.nn.Module, or an object with infer",
        ),
        ("plain_{}:make_nothing", "no weights here"),
    ],
)
def test_what_is_no_model_is_refused_in_words(folder: str, path: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(path.format(folder))
