"""Calibration: honest noise measured as scores measure it, on models whose noise is known because
it is made here.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from epochgate import HOSTER, INFERENCE_POLICY, Policy, Rule, epochs
from epochgate.core.scoring import MAX_SCORE
from epochgate.models.calibration import (
    Calibration,
    CalibrationError,
    InBatch,
    Measurement,
    Variation,
    calibrate,
    compare,
    compute_tolerance_ppm,
    make_challenges,
    make_reader,
)
from epochgate.policies.inference import OUTPUT
from epochgate.ports import Model


class Scaled:
    """A model that answers with the challenge times `factor`: then the distance from a factor of 1
    is known exactly.
    """

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        return challenge * np.float32(self.factor)


class Failing:
    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        raise RuntimeError("out of memory\nand much more")


def say_nothing(name: str) -> None:
    pass


def vary(name: str, model: Model, *, is_honest: bool = True) -> Variation:
    return Variation(name, lambda: model, is_honest)


def measure(
    *variations: Variation, policy: Policy = INFERENCE_POLICY, model: Model | None = None
) -> Calibration:
    return calibrate(policy, model or Scaled(), variations, 3, say_nothing)


def replace_schema(kind: str, schema: object) -> Policy:
    rules = [
        msgspec.structs.replace(rule, schema=schema) if rule.kind == kind else rule
        for rule in INFERENCE_POLICY.rules
    ]
    return Policy(*rules)


def test_a_distance_is_the_scores_own() -> None:
    (half_a_percent,) = measure(vary("scaled", Scaled(1.005))).measurements

    assert half_a_percent.distances_ppm == pytest.approx((5000, 5000, 5000), abs=5)
    assert half_a_percent.scores == (0, 0, 0)
    (within,) = measure(vary("scaled", Scaled(1.0005))).measurements
    assert within.scores == (MAX_SCORE,) * 3


def test_the_reference_is_the_centre_whatever_lies_beside_it() -> None:
    reference = np.array([1.0, -1.0, 0.5])
    for factor in (0.5, 2.0):
        assert (
            compare(reference, reference * factor, 1000).compute_centre_values().tolist()
            == reference.tolist()
        )


def test_the_largest_honest_noise_decides_and_cheaper_models_do_not() -> None:
    seen = measure(
        vary("2 threads", Scaled(1.0001)),
        vary("4 threads", Scaled(1.0002)),
        vary("cheap", Scaled(1.002), is_honest=False),
    )

    assert seen.honest_ppm == pytest.approx(200, abs=5)
    assert 3 * seen.noise_ppm < seen.proposed_ppm < 700
    assert seen.is_wide_enough
    assert seen.get_unpunished(seen.proposed_ppm) == ()
    assert seen.get_unpunished(2100) == ("cheap",)


def test_without_noise_the_grid_decides() -> None:
    seen = measure(vary("2 threads", Scaled()))

    assert seen.honest_ppm == 0
    assert seen.noise_ppm == seen.grid_ppm > 0
    assert 3 * seen.grid_ppm < seen.proposed_ppm < 100


def test_a_tolerance_below_three_times_the_noise_is_told() -> None:
    assert not measure(vary("2 threads", Scaled(1.0005))).is_wide_enough


def test_a_variation_that_cannot_be_made_or_run_says_why_and_counts_for_nothing() -> None:
    def make() -> Model:
        raise ValueError("no torch module")

    unmade, unrun, other = measure(
        Variation("cheap", make, is_honest=False),
        vary("busy", Failing()),
        vary("rude", Scaled(float("nan"))),
    ).measurements

    assert unmade.why_not == "no torch module"
    assert unrun.why_not == "RuntimeError: out of memory"
    assert other.why_not.startswith("the output does not fit the policy: expected finite values")


def test_an_honest_variation_that_gives_another_answer_is_no_noise() -> None:
    seen = measure(vary("in a batch of 2", Scaled(2.0)))

    assert seen.measurements[0].why_not.endswith("ppm is another answer, and not noise")
    assert seen.honest_ppm is None


def test_a_model_that_does_not_answer_is_told_in_words() -> None:
    with pytest.raises(
        CalibrationError, match="fails on the policy's challenge: RuntimeError: out of memory"
    ):
        measure(model=Failing())
    with pytest.raises(CalibrationError, match="does not fit the policy: expected finite"):
        measure(model=Scaled(float("inf")))


def test_a_policy_that_derives_no_challenge_is_told_in_words() -> None:
    chosen = replace_schema("consensus", OUTPUT)
    with pytest.raises(CalibrationError, match="chosen by its publisher"):
        make_challenges(chosen, 1)
    with pytest.raises(CalibrationError, match="no challenge"):
        make_challenges(Policy(Rule("note", by=HOSTER, ttl=epochs(1), schema=OUTPUT)), 1)
    with pytest.raises(CalibrationError, match="so no output to measure"):
        make_reader(replace_schema("hoster-reveal", INFERENCE_POLICY.rules[0].schema))


def test_every_epoch_has_a_challenge_of_its_own_and_the_same_each_time() -> None:
    one, two = make_challenges(INFERENCE_POLICY, 2)

    assert one.shape == two.shape == (16, 64)
    assert not np.array_equal(one, two)
    assert np.array_equal(one, make_challenges(INFERENCE_POLICY, 1)[0])


class Rows:
    """Answers a batch row by row, and remembers how many it was asked for."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.asked: tuple[int, ...] = ()

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        self.asked = challenge.shape
        if challenge.ndim == self.dimensions:
            return np.asarray(challenge.sum(axis=-1, keepdims=True))
        return np.asarray(challenge.sum(keepdims=True))


def test_a_challenge_without_a_batch_gets_one_in_front() -> None:
    model = Rows(3)
    assert InBatch(model, 4).infer(np.ones((2, 3), np.float32)).tolist() == [[3.0], [3.0]]
    assert model.asked == (4, 2, 3)


def test_a_challenge_that_is_a_batch_of_one_is_repeated() -> None:
    model = Rows(2)
    assert InBatch(model, 4).infer(np.ones((1, 3), np.float32)).tolist() == [[3.0]]
    assert model.asked == (4, 3)


def test_a_model_that_takes_no_batch_is_not_asked_to() -> None:
    with pytest.raises(ValueError, match="takes no batch"):
        InBatch(Rows(2), 4).infer(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("noise_ppm", "tolerance_ppm"), [(0, 3), (1, 6), (15, 48), (32, 99), (33, 110), (1090, 3300)]
)
def test_a_tolerance_is_three_times_the_noise_rounded_up(
    noise_ppm: int, tolerance_ppm: int
) -> None:
    assert compute_tolerance_ppm(noise_ppm) == tolerance_ppm


def test_a_distance_that_reads_as_the_tolerance_may_lie_beyond_it() -> None:
    seen = Calibration(1000, 0, (Measurement("cheap", False, (1000,), (999_999,)),))

    assert seen.get_unpunished(1000) == ()
    assert seen.get_unpunished(1001) == ("cheap",)
