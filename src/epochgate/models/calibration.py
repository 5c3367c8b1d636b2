"""What honest noise is for a model on this machine, and the tolerance that follows from it.

Every distance here is the score's own (`core/scoring.py`), measured from the output of the model as
it was loaded. What a variation of that model is made from is not known here: each is a Model like
any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
"""A tolerance is at least this many times the honest noise (SPEC section 7)."""
MOST_NOISE_PPM = 100_000
"""A tenth of the output. No rounding reaches it: a batch that moves an answer as far mixes its
rows, and is no batch.
"""
NETWORK = compute_network_id("calibration", 0)
TIMING = Timing(BlockNumber(0), 100, 6.0)
_REFERENCES = (PeerId(b"reference 1"), PeerId(b"reference 2"), PeerId(b"reference 3"))
_VARIATION = PeerId(b"variation")

Read = Callable[[NDArray[Any]], NDArray[Any]]
"""An output as a validator sees it."""


class CalibrationError(EpochgateError, ValueError):
    """A policy or a model that cannot be measured; the message says why and what to do."""


class Variation(msgspec.Struct, frozen=True):
    """One way to serve the model. `make` is called once; where it raises, its words say why there
    is no such variation.

    `is_honest` tells hardware and batching, which nobody can help, from a cheaper model.
    """

    name: str
    make: Callable[[], Model]
    is_honest: bool


class Measurement(msgspec.Struct, frozen=True):
    """A variation's distance and score in each challenge, scored with the policy's tolerance; none,
    and why.
    """

    name: str
    is_honest: bool
    distances_ppm: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()
    why_not: str = ""

    @property
    def largest_ppm(self) -> int:
        """Raises ValueError when nothing was measured."""
        return max(self.distances_ppm)

    @property
    def median_ppm(self) -> int:
        return get_lower_median(self.distances_ppm)


class Calibration(msgspec.Struct, frozen=True):
    """What was measured. `grid_ppm` is the distance of an output that lies one step of the grid off
    in every coordinate: two answers that differ by the least there is may be rounded apart by it.
    """

    tolerance_ppm: int
    grid_ppm: int
    measurements: tuple[Measurement, ...]

    @property
    def honest_ppm(self) -> int | None:
        """The largest honest noise, None where none was measured."""
        return max(
            (it.largest_ppm for it in self.measurements if it.is_honest and it.distances_ppm),
            default=None,
        )

    @property
    def noise_ppm(self) -> int:
        """What a tolerance has to bear: the honest noise, and never less than the grid's own."""
        return max(self.grid_ppm, self.honest_ppm or 0)

    @property
    def proposed_ppm(self) -> int:
        return compute_tolerance_ppm(self.noise_ppm)

    @property
    def is_wide_enough(self) -> bool:
        """Whether the policy's tolerance costs honest hosters nothing."""
        return self.tolerance_ppm >= NOISE_FACTOR * self.noise_ppm

    def get_unpunished(self, tolerance_ppm: int) -> tuple[str, ...]:
        """The cheaper models that would earn full marks in every challenge."""
        # A distance is rounded down, so one that reads as the tolerance may lie beyond it.
        cheaper = (it for it in self.measurements if not it.is_honest and it.distances_ppm)
        return tuple(it.name for it in cheaper if it.largest_ppm < tolerance_ppm)


def compute_tolerance_ppm(noise_ppm: int) -> int:
    """At least `NOISE_FACTOR` times the noise, which may be up to one more than it reads; rounded
    up to two digits.
    """
    least = NOISE_FACTOR * (noise_ppm + 1)
    step = int(10 ** max(0, len(str(least)) - 2))
    return -(-least // step) * step


def make_challenges(policy: Policy, count: int) -> list[NDArray[Any]]:
    """The challenges that the policy derives for epochs 0 to `count` - 1 of a network of its own.

    Raises CalibrationError when the policy derives none.
    """
    if policy.protocol.challenge is None:
        raise CalibrationError("the policy has no challenge, so there is no model to measure")
    schema = policy.protocol.derived
    if schema is None:
        raise CalibrationError(
            "the policy's challenge is chosen by its publisher: measure with a policy whose"
            " challenge is Derived(...) and of the same shape, and take over the tolerance"
        )
    return [schema.compute(_make_context(Epoch(epoch))) for epoch in range(count)]


def make_reader(policy: Policy) -> Read:
    """Outputs as the policy's openings carry them. The reader raises CalibrationError for one that
    no replica would take.
    """
    outputs = policy.protocol.outputs
    if outputs is None:
        raise CalibrationError("the policy has no hosters' opening, so no output to measure")
    payload = outputs.payload
    decode = payload.bind(_make_context(Epoch(0)))

    def read(output: NDArray[Any]) -> NDArray[Any]:
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
    """Measure every variation of `model` on `count` challenges; `report` is told of each before it
    runs.

    Raises CalibrationError when the model itself does not answer the policy's challenges.
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


def compare(reference: NDArray[Any], output: object, tolerance_ppm: int) -> Consensus:
    """The consensus of three who give the reference, which is then the centre, and one who gives
    `output`.
    """
    outputs: dict[PeerId, object] = dict.fromkeys(_REFERENCES, reference)
    return compute_consensus(
        {**outputs, _VARIATION: output}, (*_REFERENCES, _VARIATION), tolerance_ppm
    )


class InBatch:
    """The Model port over a model that is asked for `count` answers at once, all the same, of which
    the first is taken.
    """

    def __init__(self, model: Model, count: int) -> None:
        self._model = model
        self._count = count

    def infer(self, challenge: NDArray[Any]) -> NDArray[Any]:
        """Raises ValueError when there is no answer a row."""
        is_batch = challenge.shape[:1] == (1,)
        rows = challenge if is_batch else challenge[np.newaxis]
        output: NDArray[Any] = self._model.infer(np.repeat(rows, self._count, axis=0))
        if output.shape[:1] != (self._count,):
            raise ValueError(
                f"it takes no batch: {self._count} challenges at once gave an output of shape"
                f" {output.shape}"
            )
        return output[:1] if is_batch else output[0]


def _measure(
    variation: Variation,
    challenges: Sequence[NDArray[Any]],
    references: Sequence[NDArray[Any]],
    read: Read,
    tolerance_ppm: int,
) -> Measurement:
    name = variation.name
    is_honest = variation.is_honest
    try:
        model = variation.make()
        outputs = [read(model.infer(challenge)) for challenge in challenges]
    except Exception as error:  # noqa: BLE001 - a stranger's model may raise anything at all, and so may its variation
        return Measurement(name, is_honest, why_not=_first_line(error))
    seen = [
        compare(one, other, tolerance_ppm) for one, other in zip(references, outputs, strict=True)
    ]
    distances_ppm = tuple(
        consensus.distances_ppm.get(_VARIATION, MOST_NOISE_PPM) for consensus in seen
    )
    if is_honest and max(distances_ppm) >= MOST_NOISE_PPM:
        return Measurement(
            name, is_honest, why_not=f"{max(distances_ppm):,} ppm is another answer, and no noise"
        )
    return Measurement(
        name,
        is_honest,
        distances_ppm,
        tuple(consensus.scores[PeerId(_VARIATION)] for consensus in seen),
    )


def _compute_grid_ppm(reference: NDArray[Any]) -> int:
    centre = compare(reference, None, 0)
    values = centre.compute_centre_values().reshape(reference.shape)
    step: float = 2.0 ** (centre.exponent - GRID_BITS)
    beside = compare(values, values + step, 0)
    return beside.distances_ppm[PeerId(_VARIATION)]


def _make_context(epoch: Epoch) -> EpochContext:
    seed = hashlib.sha256(f"calibration {epoch}".encode()).digest()
    return EpochContext(NETWORK, TIMING, Roster(epoch, seed, ()))


def _first_line(error: Exception) -> str:
    words = (str(error).splitlines() or [""])[0]
    return (
        words
        if isinstance(error, CalibrationError | ValueError)
        else f"{type(error).__name__}: {words}"
    )
