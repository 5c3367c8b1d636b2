"""Outputs to scores, lists to weights, weights to pay: the same to the last bit on every node that
has the same set.

One rounding puts outputs on a grid of integers; every later step is integer arithmetic, so neither
the machine nor the order of a sum can show in a score. The formulas are those of
docs/spec.md#7-scores-and-pay; docs/scoring.md says what they are good for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.schema import Decoder, EpochContext, Malformed
from epochgate.core.types import PeerId

MAX_SCORE = 10**6
MAX_ELEMENTS = 1 << 20
"""Of an output: then a sum of squares stays below 2^63."""
MIN_HOSTERS = 3
"""Within tolerance, or there is no consensus: two can never say which of them is wrong."""
LIST_TOLERANCE = 10**4
"""How far an entry of a validator's list may lie from the recomputed one."""
TOTAL_PAY = 10**18
HOSTER_POT = TOTAL_PAY * 4 // 10
VALIDATOR_POT = TOTAL_PAY * 6 // 10

GRID_BITS = 18
GRID_LIMIT = (1 << 20) - 1
MIN_EXPONENT = -100
"""The grid is never finer than 2^-118. All below counts as zero, so a machine that flushes
denormals agrees.
"""
CHUNK_ELEMENTS = 2048
"""Coordinates at a time: 64 hosters' share of the grid then stays in the cache."""


class Consensus(msgspec.Struct, frozen=True):
    """Scores 0 to `MAX_SCORE` of all who committed, in order of author, and what explains them.

    `distances_ppm` holds, for each output that counted, its distance from the centre relative to
    the centre's own length, rounded down. `centre` is on the grid, flat, int32; None when no output
    counted.
    """

    scores: dict[PeerId, int]
    is_reached: bool
    distances_ppm: dict[PeerId, int]
    exponent: int
    centre: NDArray[np.int32] | None

    def compute_centre_values(self) -> NDArray[np.float64]:
        """The centre in the outputs' own unit, for a person to read. Empty when no output
        counted.
        """
        grid = np.empty(0, np.int32) if self.centre is None else self.centre
        return np.ldexp(grid.astype(np.float64), self.exponent - GRID_BITS)


def compute_hoster_scores(
    outputs: Mapping[PeerId, object], committed: Collection[PeerId], tolerance_ppm: int
) -> dict[PeerId, int]:
    """The scores of `compute_consensus` alone."""
    return compute_consensus(outputs, committed, tolerance_ppm).scores


def compute_consensus(
    outputs: Mapping[PeerId, object], committed: Collection[PeerId], tolerance_ppm: int
) -> Consensus:
    """Score every author in `committed` by how near its output is to the centre of all
    (docs/spec.md#7-scores-and-pay).

    An output that is no array of finite numbers, is empty, has more than `MAX_ELEMENTS`, or not the
    shape that most have (the smallest shape among equals), scores 0 and moves nothing; so does one
    whose author did not commit. Without `MIN_HOSTERS` and more than half of `committed` within
    tolerance all scores are 0.
    """
    authors = sorted(set(committed))
    arrays = _select_shape(
        {author: array for author in authors if (array := _read(outputs.get(author))) is not None}
    )
    if not arrays:
        return Consensus(dict.fromkeys(authors, 0), False, {}, 0, None)
    exponent = get_lower_median([_compute_exponent(array) for array in arrays.values()])
    centre, distances = _compare(list(arrays.values()), exponent)
    norm = centre.size + int(np.square(centre, dtype=np.int64).sum())
    scores = dict.fromkeys(authors, 0)
    for author, distance in zip(arrays, distances, strict=True):
        scores[author] = compute_score(distance, norm, tolerance_ppm)
    within = sum(score == MAX_SCORE for score in scores.values())
    is_reached = within >= MIN_HOSTERS and 2 * within > len(authors)
    return Consensus(
        scores=scores if is_reached else dict.fromkeys(authors, 0),
        is_reached=is_reached,
        distances_ppm={
            a: math.isqrt(d * 10**12 // norm) for a, d in zip(arrays, distances, strict=True)
        },
        exponent=exponent,
        centre=centre,
    )


def compute_score(distance: int, norm: int, tolerance_ppm: int) -> int:
    """`MAX_SCORE` within tolerance, from there falling with the fourth power of the distance, 0
    beyond four tolerances.

    `distance` is the sum of squared differences from the centre, `norm` the number of coordinates
    plus the centre's own sum of squares.
    """
    a = distance * 10**12
    b = tolerance_ppm**2 * norm
    if a <= b:
        return MAX_SCORE
    return MAX_SCORE * b**2 // a**2 if a <= 16 * b else 0


def get_lower_median(values: Sequence[int]) -> int:
    """An element, never an average. Raises IndexError when there is none."""
    return sorted(values)[(len(values) - 1) // 2]


def _read(output: object) -> NDArray[Any] | None:
    """The output, when it is an array of numbers that convert to float64 alike everywhere, and all
    of them finite.
    """
    if (
        not isinstance(output, np.ndarray)
        or output.dtype.kind not in "fiub"
        or output.dtype.itemsize > 8
    ):
        return None
    if not 1 <= output.size <= MAX_ELEMENTS:
        return None
    return (
        output if math.isfinite(output.min()) and math.isfinite(output.max()) else None
    )  # NaN spreads to both


def _select_shape(arrays: dict[PeerId, NDArray[Any]]) -> dict[PeerId, NDArray[Any]]:
    """The arrays of the commonest shape, flat. A policy's schema mostly allows one; where it allows
    more, most decide.
    """
    shapes = [array.shape for array in arrays.values()]
    shape = min(shapes, key=lambda shape: (-shapes.count(shape), shape), default=())
    return {author: array.reshape(-1) for author, array in arrays.items() if array.shape == shape}


def _compute_exponent(array: NDArray[Any]) -> int:
    """The least e with max|x| < 2^e. Zero has the least there is: it is what ever smaller outputs
    tend to.
    """
    peak = max(abs(float(array.min())), abs(float(array.max())))
    return max(math.frexp(peak)[1], MIN_EXPONENT) if peak else MIN_EXPONENT


def _compare(arrays: Sequence[NDArray[Any]], exponent: int) -> tuple[NDArray[np.int32], list[int]]:
    """The coordinate-wise lower median on the grid, and every array's sum of squared differences
    from it.
    """
    size = arrays[0].size
    middle = (len(arrays) - 1) // 2
    centre = np.empty(size, np.int32)
    distances = np.zeros(len(arrays), np.int64)
    for start in range(0, size, CHUNK_ELEMENTS):
        part = slice(start, start + CHUNK_ELEMENTS)
        grid = _quantise([array[part] for array in arrays], exponent)
        centre[part] = np.partition(np.ascontiguousarray(grid.T), middle, axis=1)[:, middle]
        distances += np.square(grid - centre[part], dtype=np.int64).sum(axis=1)
    return centre, distances.tolist()


def _quantise(rows: Sequence[NDArray[Any]], exponent: int) -> NDArray[np.int32]:
    """x * 2^(18 - E), rounded half to even and clipped: the one rounding. To scale by a power of
    two is exact, or so far out that it is clipped or rounds to zero.
    """
    scaled = np.empty((len(rows), rows[0].size), np.float64)
    scale = math.ldexp(1.0, GRID_BITS - exponent)
    with np.errstate(over="ignore", under="ignore"):
        for row, target in zip(rows, scaled, strict=True):
            np.multiply(row, scale, out=target, dtype=np.float64)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -GRID_LIMIT, GRID_LIMIT, out=scaled)
    return scaled.astype(np.int32)


def count_good_entries(entries: Sequence[int], reference: Sequence[int]) -> int:
    """What a validator's list is worth: how many entries lie within `LIST_TOLERANCE` of the
    recomputed list.

    Both hold one integer a roster hoster, in order of author. A list of another length, or with an
    entry outside 0 to `MAX_SCORE`, is worth nothing.
    """
    if len(entries) != len(reference) or not all(0 <= entry <= MAX_SCORE for entry in entries):
        return 0
    return sum(
        abs(entry - expected) <= LIST_TOLERANCE
        for entry, expected in zip(entries, reference, strict=True)
    )


def compute_pay(
    hosters: Mapping[PeerId, int],
    validators: Mapping[PeerId, int],
    hoster_pot: int = HOSTER_POT,
    validator_pot: int = VALIDATOR_POT,
) -> dict[PeerId, int]:
    """The submitted score of every author of either role, in order of author: its shares of both
    pots.

    All are 0 when a pot has nobody to pay. The chain divides by the sum, so an unpaid pot would
    fall to the other role and breaking consensus would pay. Raises ValueError for a negative weight
    or pot.
    """
    pay = dict.fromkeys(sorted(hosters.keys() | validators.keys()), 0)
    pots = ((hosters, hoster_pot), (validators, validator_pot))
    shares = [compute_shares(weights, pot) for weights, pot in pots]
    if all(sum(parts.values()) == pot for parts, (_, pot) in zip(shares, pots, strict=True)):
        for author, share in chain.from_iterable(parts.items() for parts in shares):
            pay[author] += share
    return pay


def compute_shares(weights: Mapping[PeerId, int], pot: int) -> dict[PeerId, int]:
    """`pot` in proportion to the weights, in order of author: the largest remainders, ties to the
    smaller author, get the units that are left, so it is paid out exactly; not at all when every
    weight is 0.
    """
    if pot < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("weights and pots must not be negative")
    whole = sum(weights.values())
    if not whole:
        return dict.fromkeys(sorted(weights), 0)
    parts = {author: divmod(weights[author] * pot, whole) for author in sorted(weights)}
    left = pot - sum(share for share, _ in parts.values())
    favoured = set(
        sorted(parts, key=lambda author: -parts[author][1])[:left]
    )  # stable, so equals stay in order of author
    return {author: share + (author in favoured) for author, (share, _) in parts.items()}


class ScoreList(msgspec.Struct, frozen=True):
    """The schema of a validator's list: each score four bytes, big-endian. Decodes to a tuple of
    integers.
    """

    max_entries: int = 16_000

    def bind(self, context: EpochContext) -> Decoder:
        return self.decode

    def decode(self, payload: bytes) -> tuple[int, ...]:
        count, rest = divmod(len(payload), 4)
        if rest or count > self.max_entries:
            raise Malformed(
                f"expected four bytes a score and at most {self.max_entries} scores, saw"
                f" {len(payload)} bytes"
            )
        scores = struct.unpack(f">{count}I", payload)
        if scores and max(scores) > MAX_SCORE:
            raise Malformed(f"expected scores up to {MAX_SCORE}, saw {max(scores)}")
        return scores

    def encode(self, scores: Sequence[int]) -> bytes:
        """Raises Malformed for what no replica would take."""
        try:
            payload = struct.pack(f">{len(scores)}I", *scores)
        except struct.error as error:
            raise Malformed(f"expected integers from 0 to {MAX_SCORE}: {error}") from None
        self.decode(payload)
        return payload

    def describe(self) -> str:
        return f"scores[up to {self.max_entries} of 0..{MAX_SCORE}]"
