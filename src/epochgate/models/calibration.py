"""The honest noise of a model on this machine, and the tolerance that follows from it.

Every distance here is the score's own (`core/scoring.py`), measured from the output of the model as
it was loaded. A variation of that model is a Model like any other: how it was made is not known
here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.epoch import Timing
from epochgate.core.policy import Policy
from epochgate.core.record import compute_network_id
from epochgate.core.roster import Roster
from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.scoring import GRID_BITS, Consensus, compute_consensus, get_lower_median
from epochgate.core.types import BlockNumber, Epoch, PeerId
from epochgate.errors import EpochgateError
from epochgate.ports import Model

NOISE_FACTOR = 3
"""A tolerance is at least this many times the honest noise (docs/spec.md#7-scores-and-pay)."""
MAX_NOISE_PPM = 100_000
"""A tenth of the output, which no rounding reaches: a batch that moves an answer this far mixes its
rows.
"""
NETWORK = compute_network_id("calibration", 0)
TIMING = Timing(BlockNumber(0), blocks_per_epoch=100, block_seconds=6.0)
_REFERENCES = (PeerId(b"reference 1"), PeerId(b"reference 2"), PeerId(b"reference 3"))
_VARIATION = PeerId(b"variation")

Array = NDArray[np.generic]
Read = Callable[[Array], Array]
"""Turns an output into what a validator decodes of it."""


class CalibrationError(EpochgateError, ValueError):
    """A policy or a model that cannot be measured; the message says why and what to do."""


class Variation(msgspec.Struct, frozen=True):
    """One way to serve the model.

    `make` is called once; where it raises, its message says why there is no such variation.
    `is_honest` is True for other hardware and batching, which nobody can avoid, and False for a
    cheaper model.
    """

    name: str
    make: Callable[[], Model]
    is_honest: bool


class Measurement(msgspec.Struct, frozen=True):
    """A variation's distance and score in each challenge, scored with the policy's tolerance.

    Where nothing was measured both are empty, and `why_not` says why.
    """

    name: str
    is_honest: bool
    distances_ppm: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    why_not: str = ""

    @property
    def largest_ppm(self) -> int:
        """The largest distance. Raise ValueError where nothing was measured."""
        return max(self.distances_ppm)

    @property
    def median_ppm(self) -> int:
        """The lower median of the distances."""
        return get_lower_median(self.distances_ppm)


class Calibration(msgspec.Struct, frozen=True):
    """The measurements of all variations, and what follows for the policy's tolerance.

    `grid_ppm` is the distance of an output that is one step of the grid off in every coordinate:
    rounding may part two almost equal answers by that much.
    """

    tolerance_ppm: int
    grid_ppm: int
    measurements: tuple[Measurement, ...]

    @property
    def honest_ppm(self) -> int | None:
        """The largest honest noise, None where none was measured."""
        honest = [
            measurement.largest_ppm
            for measurement in self.measurements
            if measurement.is_honest and measurement.distances_ppm
        ]
        return max(honest, default=None)

    @property
    def noise_ppm(self) -> int:
        """The noise that a tolerance has to allow for: the honest one, at least the grid's."""
        return max(self.grid_ppm, self.honest_ppm or 0)

    @property
    def proposed_ppm(self) -> int:
        """A tolerance that follows from the noise."""
        return compute_tolerance_ppm(self.noise_ppm)

    @property
    def is_wide_enough(self) -> bool:
        """Whether the policy's tolerance costs honest hosters nothing."""
        return self.tolerance_ppm >= NOISE_FACTOR * self.noise_ppm

    def get_unpunished(self, tolerance_ppm: int) -> tuple[str, ...]:
        """The cheaper models that would earn full marks in every challenge."""
        cheaper = (
            measurement
            for measurement in self.measurements
            if not measurement.is_honest and measurement.distances_ppm
        )
        # a distance is rounded down, so one that equals the tolerance may be beyond it
        return tuple(
            measurement.name for measurement in cheaper if measurement.largest_ppm < tolerance_ppm
        )


def compute_tolerance_ppm(noise_ppm: int) -> int:
    """A tolerance of NOISE_FACTOR times the noise, rounded up to two digits.

    A noise is rounded down to whole ppm, so one more is allowed for.

    Args:
        noise_ppm: The noise, in parts per million of the output.

    Returns:
        The tolerance, likewise.

    Example:
        >>> compute_tolerance_ppm(40)
        130
    """
    least = NOISE_FACTOR * (noise_ppm + 1)
    step = int(10 ** max(0, len(str(least)) - 2))
    return -(-least // step) * step


def make_challenges(policy: Policy, count: int) -> list[Array]:
    """The challenges that a policy derives for the first epochs of a network made up for this.

    Args:
        policy: The policy.
        count: The number of epochs, from 0 on.

    Returns:
        One challenge for each epoch.

    Raises:
        CalibrationError: The policy derives no challenges.
    """
    if policy.protocol.challenge is None:
        raise CalibrationError("the policy has no challenge, so there is no model to measure")
    schema = policy.protocol.derived
    if schema is None:
        raise CalibrationError(
            "the policy's challenge is chosen by its publisher",
            "measure with a policy whose challenge is Derived(...) and of the same shape, and"
            " take over the tolerance",
        )
    return [schema.compute(_make_context(Epoch(epoch))) for epoch in range(count)]


def make_reader(policy: Policy) -> Read:
    """A reader of outputs as the policy's openings carry them.

    Args:
        policy: The policy.

    Returns:
        A function that takes an output and returns what a validator decodes of it. It raises
        CalibrationError for an output that no replica would take.

    Raises:
        CalibrationError: The policy has no opening of outputs.
    """
    outputs = policy.protocol.outputs
    if outputs is None:
        raise CalibrationError("the policy has no hosters' opening, so no output to measure")
    payload = outputs.payload
    decode = payload.bind(_make_context(Epoch(0)))

    def read(output: Array) -> Array:
        try:
            seen = decode(payload.encode(output))
        except Malformed as error:
            raise CalibrationError(f"the output does not fit the policy: {error}") from None
        if not isinstance(seen, np.ndarray):
            raise CalibrationError("the policy's outputs are not arrays, so none can be compared")
        return seen

    return read


def calibrate(
    policy: Policy,
    model: Model,
    variations: Iterable[Variation],
    count: int,
    report: Callable[[str], None],
) -> Calibration:
    """Measure every variation of a model.

    Args:
        policy: Derives the challenges, and has the tolerance to judge by.
        model: The model as it was loaded, from whose output distances are measured.
        variations: The other ways to serve it.
        count: The number of challenges.
        report: Called with the name of each variation before it runs.

    Returns:
        One measurement for each variation, in their order.

    Raises:
        CalibrationError: The policy derives no challenges, or the model does not answer them.
    """
    challenges = make_challenges(policy, count)
    read = make_reader(policy)
    tolerance_ppm = policy.scoring.tolerance_ppm
    report("the model as it is loaded")
    try:
        references = [read(model.infer(challenge)) for challenge in challenges]
    except CalibrationError:
        raise
    except Exception as error:
        raise CalibrationError(
            f"the model fails on the policy's challenge: {type(error).__name__}: {error}"
        ) from error
    measured = []
    for variation in variations:
        report(variation.name)
        measured.append(_measure(variation, challenges, references, read, tolerance_ppm))
    grid_ppm = max(_compute_grid_ppm(reference) for reference in references)
    return Calibration(tolerance_ppm, grid_ppm, tuple(measured))


def compare(reference: Array, output: object, tolerance_ppm: int) -> Consensus:
    """The consensus of three hosters that answer the reference, and one that answers `output`.

    The reference is the centre, for it is the answer of most.

    Args:
        reference: The model's own output.
        output: The variation's output; None for one that does not answer.
        tolerance_ppm: The tolerance to score by.

    Returns:
        The consensus of the four.
    """
    outputs: dict[PeerId, object] = dict.fromkeys(_REFERENCES, reference)
    return compute_consensus(
        {**outputs, _VARIATION: output}, (*_REFERENCES, _VARIATION), tolerance_ppm
    )


class InBatch:
    """The Model port over a model that answers `count` equal challenges in one batch.

    The first answer is taken.
    """

    def __init__(self, model: Model, count: int) -> None:
        self._model = model
        self._count = count

    def infer(self, challenge: Array, /) -> Array:
        """Answer a challenge. Raise ValueError where there is not one answer for each row."""
        is_batch = challenge.shape[:1] == (1,)
        rows = challenge
        if not is_batch:
            rows = challenge[np.newaxis]
        output = self._model.infer(np.repeat(rows, self._count, axis=0))
        if output.shape[:1] != (self._count,):
            raise ValueError(
                f"it takes no batch: {self._count} challenges at once gave an output of shape"
                f" {output.shape}"
            )
        if is_batch:
            return output[:1]
        first: Array = output[0]
        return first


def _measure(
    variation: Variation,
    challenges: Sequence[Array],
    references: Sequence[Array],
    read: Read,
    tolerance_ppm: int,
) -> Measurement:
    name = variation.name
    is_honest = variation.is_honest
    try:
        model = variation.make()
        outputs = [read(model.infer(challenge)) for challenge in challenges]
    except Exception as error:  # noqa: BLE001 - a stranger's model may raise anything
        return Measurement(name, is_honest, why_not=_first_line(error))
    seen = [
        compare(one, other, tolerance_ppm) for one, other in zip(references, outputs, strict=True)
    ]
    distances_ppm = tuple(
        consensus.distances_ppm.get(_VARIATION, MAX_NOISE_PPM) for consensus in seen
    )
    if is_honest and max(distances_ppm) >= MAX_NOISE_PPM:
        return Measurement(
            name, is_honest, why_not=f"{max(distances_ppm):,} ppm is another answer, and not noise"
        )
    return Measurement(
        name,
        is_honest,
        distances_ppm,
        tuple(consensus.scores[_VARIATION] for consensus in seen),
    )


def _compute_grid_ppm(reference: Array) -> int:
    centre = compare(reference, None, 0)
    values = centre.compute_centre_values().reshape(reference.shape)
    step: float = 2.0 ** (centre.exponent - GRID_BITS)
    beside = compare(values, values + step, 0)
    return beside.distances_ppm[_VARIATION]


def _make_context(epoch: Epoch) -> EpochContext:
    seed = hashlib.sha256(f"calibration {epoch}".encode()).digest()
    return EpochContext(NETWORK, TIMING, Roster(epoch, seed, ()))


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0]
    if isinstance(error, ValueError):
        return line
    return f"{type(error).__name__}: {line}"
