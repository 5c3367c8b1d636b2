"""Models: the default one is the same everywhere, and what a user names is loaded or refused in words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from epochgate.inference import CHALLENGE, OUTPUT
from epochgate.models import ModelError, create_default_model, load_model

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).uniform(-1, 1, CHALLENGE.shape).astype(CHALLENGE.dtype)

USERS_FILE = """
import torch

class Doubler(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5, self.training) * 2

class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x

def make_number():
    return 7

def make_nothing():
    raise RuntimeError("no weights here")

a_number = 7
"""


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory, as a user has it."""
    name = f"users_models_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(USERS_FILE)
    monkeypatch.chdir(tmp_path)
    return name


def test_the_default_model_makes_of_a_challenge_an_output_that_the_policy_takes() -> None:
    output = load_model().infer(X)
    assert OUTPUT.decode(OUTPUT.encode(output)).shape == (16, 64)
    assert np.abs(output - X).max() > 0.1


def test_two_hosters_have_the_same_default_model_whatever_happened_before() -> None:
    torch.manual_seed(1)
    one = create_default_model().infer(X)
    torch.manual_seed(2)
    drawn = torch.rand(3)
    torch.manual_seed(2)
    two = create_default_model().infer(X)
    assert np.array_equal(one, two)
    assert torch.equal(torch.rand(3), drawn), "making a model must not move torch's own generator"


def test_the_default_model_tells_challenges_apart() -> None:
    model = load_model()
    assert not np.allclose(model.infer(X), model.infer(-X), atol=0.01)


def test_a_read_only_challenge_is_taken(users_module: str) -> None:
    challenge = X.copy()
    challenge.setflags(write=False)
    assert np.array_equal(load_model(f"{users_module}:Doubler").infer(challenge), 2 * X), "and in evaluation mode"


def test_the_working_directory_is_searched_only_while_loading(users_module: str) -> None:
    before = list(sys.path)
    load_model(f"{users_module}:Doubler")
    assert sys.path == before


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "write module:factory"),
        ("nothing:", "write module:factory"),
        ("no_such_module_anywhere:make", "there is no module 'no_such_module_anywhere'"),
        ("{users}:missing", "has no 'missing'"),
        ("{users}:a_number", "it must be a callable"),
        ("{users}:make_number", "it must make a torch.nn.Module"),
        ("{users}:make_nothing", "no weights here"),
    ],
)
def test_what_is_no_model_is_refused_in_words(users_module: str, path: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load_model(path.format(users=users_module))


def test_a_model_must_return_one_tensor(users_module: str) -> None:
    with pytest.raises(ModelError, match="must return one tensor"):
        load_model(f"{users_module}:Pair").infer(X)
