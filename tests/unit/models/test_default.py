"""The default model is the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from epochgate.models import create_default_model, load_model
from epochgate.policies.inference import CHALLENGE, OUTPUT

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).uniform(-1, 1, CHALLENGE.shape).astype(CHALLENGE.dtype)


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
