"""Outputs to scores, lists to weights, weights to pay: the same to the last bit on every node that
has the same set.

One rounding puts outputs on a grid of integers; every later step is integer arithmetic, so neither
the machine nor the order of a sum can show in a score. The formulas are those of
docs/spec.md#7-scores-and-pay; docs/scoring.md explains them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from epochgate.core.schema import EpochContext, Malformed
from epochgate.core.types import FIXED_POINT_ONE, PeerId

MAX_SCORE = 10**6
MAX_ELEMENTS = 1 << 20
"""Elements of an output at most, so that a sum of squares on the grid stays below 2^63."""
MIN_HOSTERS = 3
"""Outputs within tolerance that a consensus needs: two can never say which of them is wrong."""
LIST_TOLERANCE = 10**4
"""The largest difference between a good entry of a validator's list and the recomputed one."""
TOTAL_PAY = FIXED_POINT_ONE
"""The pay of all nodes together."""
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


class Scoring(msgspec.Struct, frozen=True):
    """The tolerance by which outputs are scored, and the pots that are paid.

    Attributes:
        tolerance_ppm: An output has the full score up to this relative distance from the centre of
            all outputs, in parts per million. Three times the honest noise of the model, or more.
        hoster_pot: The pay of all hosters together, in units of the chain's score.
        validator_pot: The pay of all validators together. By default both make 10^18.

    >>> Scoring(tolerance_ppm=48).describe()
    'tolerance=48ppm pots=400000000000000000:600000000000000000'
    """

    tolerance_ppm: int = 1000
    hoster_pot: int = HOSTER_POT
    validator_pot: int = VALIDATOR_POT

    def describe(self) -> str:
        """One line that says all, for the policy's digest."""
        return f"tolerance={self.tolerance_ppm}ppm pots={self.hoster_pot}:{self.validator_pot}"


class Consensus(msgspec.Struct, frozen=True):
    """The scores of an epoch's hosters, and the distances that explain them.

    Attributes:
        scores: 0 to `MAX_SCORE` for each author that committed, in order of author.
        is_reached: Enough outputs were within tolerance. If not, all scores are 0.
        distances_ppm: For each output that counted, its distance from the centre relative to the
            centre's own length, in parts per million, rounded down.
        exponent: The grid's step is 2^(exponent - GRID_BITS) in the outputs' own unit.
        centre: The centre on the grid, flat; None when no output counted.
    """

    scores: dict[PeerId, int]
    is_reached: bool
    distances_ppm: dict[PeerId, int]
    exponent: int
    centre: NDArray[np.int32] | None

    def compute_centre_values(self) -> NDArray[np.float64]:
        """The centre in the outputs' own unit, flat, for a person to read; empty when no output
        counted.
        """
        if self.centre is None:
            return np.empty(0, np.float64)
        return np.ldexp(self.centre.astype(np.float64), self.exponent - GRID_BITS)


def compute_hoster_scores(
    outputs: Mapping[PeerId, object], committed: Collection[PeerId], tolerance_ppm: int
) -> dict[PeerId, int]:
    """The scores of `compute_consensus` alone."""
    return compute_consensus(outputs, committed, tolerance_ppm).scores


def compute_consensus(
    outputs: Mapping[PeerId, object], committed: Collection[PeerId], tolerance_ppm: int
) -> Consensus:
    """Score every author that committed by how near its output is to the centre of all
    (docs/spec.md#7-scores-and-pay).

    An output counts when it is a numpy array of bools, integers or floats of at most 64 bits, all
    of them finite, with 1 to `MAX_ELEMENTS` elements, in the shape that most outputs have (the
    smallest shape among equals), by an author that committed. Any other scores 0 and moves nothing.
    The centre is the lower median of each coordinate.

    Args:
        outputs: The verified outputs by author, as the schema decoded them: arrays of any shape and
            dtype, or anything else.
        committed: All authors whose commitments count, whether or not they opened.
        tolerance_ppm: The relative distance at full score, in parts per million.

    Returns:
        The consensus. All its scores are 0 unless the outputs within tolerance are at least
        `MIN_HOSTERS`, and more than half of `committed`.
    """
    authors = sorted(set(committed))
    # Stops "one NaN that spoils all, a wrong shape".
    arrays = _select_shape(_find_arrays(outputs, authors))
    no_scores = dict.fromkeys(authors, 0)
    if not arrays:
        return Consensus(no_scores, False, {}, 0, None)
    exponent = get_lower_median([_compute_exponent(array) for array in arrays.values()])
    centre, squares = _compare(list(arrays.values()), exponent)
    norm = centre.size + int(np.square(centre, dtype=np.int64).sum())
    scores = dict(no_scores)
    distances_ppm = {}
    for author, distance in zip(arrays, squares, strict=True):
        scores[author] = compute_score(distance, norm=norm, tolerance_ppm=tolerance_ppm)
        distances_ppm[author] = math.isqrt(distance * 10**12 // norm)
    within = sum(score == MAX_SCORE for score in scores.values())
    # Stops "two that disagree and are both paid", and "openings held back so that a minority is
    # most of what is left": half of the commitments, not of the openings.
    is_reached = within >= MIN_HOSTERS and 2 * within > len(authors)
    if not is_reached:
        scores = no_scores
    return Consensus(scores, is_reached, distances_ppm, exponent, centre)


def compute_score(distance: int, *, norm: int, tolerance_ppm: int) -> int:
    """Score one output.

    Args:
        distance: The sum of squared differences from the centre, on the grid.
        norm: The number of coordinates plus the centre's own sum of squares.
        tolerance_ppm: The relative distance at full score, in parts per million.

    Returns:
        `MAX_SCORE` within tolerance; from there a score that falls with the fourth power of the
        distance; 0 beyond four tolerances.
    """
    a = distance * 10**12
    b = tolerance_ppm**2 * norm
    if a <= b:
        return MAX_SCORE
    if a <= 16 * b:
        return MAX_SCORE * b**2 // a**2
    return 0


def get_lower_median(values: Sequence[int]) -> int:
    """The lower median: an element, never an average. Raises IndexError when there is none."""
    return sorted(values)[(len(values) - 1) // 2]


def _find_arrays(
    outputs: Mapping[PeerId, object], authors: Sequence[PeerId]
) -> dict[PeerId, NDArray[Any]]:
    """The outputs of `authors` that can be scored, of any shape."""
    arrays = {}
    for author in authors:
        output = outputs.get(author)
        if isinstance(output, np.ndarray) and _is_scorable(output):
            arrays[author] = output
    return arrays


def _is_scorable(array: NDArray[Any]) -> bool:
    """Whether the numbers convert to float64 alike on every machine, and all are finite."""
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        return False
    if not 1 <= array.size <= MAX_ELEMENTS:
        return False
    # NaN spreads to both extremes
    return math.isfinite(array.min()) and math.isfinite(array.max())


def _select_shape(arrays: dict[PeerId, NDArray[Any]]) -> dict[PeerId, NDArray[Any]]:
    """The arrays of the commonest shape, flat. A policy's schema mostly allows one; where it allows
    more, most outputs decide.
    """
    shapes = [array.shape for array in arrays.values()]
    shape = min(shapes, key=lambda shape: (-shapes.count(shape), shape), default=())
    return {author: array.reshape(-1) for author, array in arrays.items() if array.shape == shape}


def _compute_exponent(array: NDArray[Any]) -> int:
    """The least e with max|x| < 2^e, and not below `MIN_EXPONENT`, which an array of zeros has too:
    it is what ever smaller outputs tend to.
    """
    peak = max(abs(float(array.min())), abs(float(array.max())))
    if not peak:
        return MIN_EXPONENT
    return max(math.frexp(peak)[1], MIN_EXPONENT)


def _compare(arrays: Sequence[NDArray[Any]], exponent: int) -> tuple[NDArray[np.int32], list[int]]:
    """The lower median of each coordinate on the grid, and every array's sum of squared differences
    from it.
    """
    size = arrays[0].size
    middle = (len(arrays) - 1) // 2
    centre = np.empty(size, np.int32)
    squares = np.zeros(len(arrays), np.int64)
    for start in range(0, size, CHUNK_ELEMENTS):
        part = slice(start, start + CHUNK_ELEMENTS)
        grid = _quantise([array[part] for array in arrays], exponent)
        centre[part] = np.partition(np.ascontiguousarray(grid.T), middle, axis=1)[:, middle]
        squares += np.square(grid - centre[part], dtype=np.int64).sum(axis=1)
    return centre, squares.tolist()


def _quantise(rows: Sequence[NDArray[Any]], exponent: int) -> NDArray[np.int32]:
    """x * 2^(18 - E), rounded half to even and clipped: the one rounding.

    Scaling by a power of two is exact, except where the result is clipped or rounds to zero anyway.
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
    """Weigh a validator's list.

    Args:
        entries: The list that the validator opened: one score for each hoster on the roster, in
            order of author.
        reference: The recomputed list, likewise.

    Returns:
        How many entries lie within `LIST_TOLERANCE` of the recomputed ones; 0 for a list of another
        length, or with an entry outside 0 to `MAX_SCORE`.
    """
    # Stops "a list that is empty, of unknown peers, or all equal".
    if len(entries) != len(reference) or not all(0 <= entry <= MAX_SCORE for entry in entries):
        return 0
    return sum(
        abs(entry - expected) <= LIST_TOLERANCE
        for entry, expected in zip(entries, reference, strict=True)
    )


def compute_pay(
    hosters: Mapping[PeerId, int],
    validators: Mapping[PeerId, int],
    *,
    hoster_pot: int = HOSTER_POT,
    validator_pot: int = VALIDATOR_POT,
) -> dict[PeerId, int]:
    """Divide both pots among the nodes.

    Args:
        hosters: The score of each hoster.
        validators: The good entries of each validator's list.
        hoster_pot: The pay of all hosters together.
        validator_pot: The pay of all validators together.

    Returns:
        The pay of every author of either role, in order of author: its shares of both pots. All are
        0 when a pot has nobody to pay.

    Raises:
        ValueError: A weight or a pot is negative.
    """
    pay = dict.fromkeys(sorted(hosters.keys() | validators.keys()), 0)
    hoster_shares = compute_shares(hosters, hoster_pot)
    validator_shares = compute_shares(validators, validator_pot)
    # Stops "one role's pay broken for the other's gain": the chain divides by the sum of all pay,
    # so a pot that nobody gets would fall to the other role.
    if sum(hoster_shares.values()) != hoster_pot or sum(validator_shares.values()) != validator_pot:
        return pay
    for shares in (hoster_shares, validator_shares):
        for author, share in shares.items():
            pay[author] += share
    return pay


def compute_shares(weights: Mapping[PeerId, int], pot: int) -> dict[PeerId, int]:
    """Divide a pot in proportion to weights, to the last unit.

    Args:
        weights: By author, none of them negative.
        pot: The units to divide.

    Returns:
        Each author's share, in order of author. Units that are left after rounding down go to the
        largest remainders, and among equals to the smaller author. All shares are 0 when all
        weights are.

    Raises:
        ValueError: A weight or the pot is negative.
    """
    if pot < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("weights and pots must not be negative")
    authors = sorted(weights)
    whole = sum(weights.values())
    if not whole:
        return dict.fromkeys(authors, 0)
    shares = {author: weights[author] * pot // whole for author in authors}
    # Stops "totals that lose units".
    left = pot - sum(shares.values())
    # a stable sort: equal remainders stay in order of author
    by_remainder = sorted(authors, key=lambda author: -(weights[author] * pot % whole))
    for author in by_remainder[:left]:
        shares[author] += 1
    return shares


class ScoreList(msgspec.Struct, frozen=True):
    """The schema of a validator's list: a score for each hoster on the roster, in order of author.

    On the wire a score is four bytes, big-endian. A payload decodes to a tuple of integers.

    Attributes:
        max_entries: The largest number of scores in a list.

    >>> ScoreList().encode((1_000_000, 0)).hex()
    '000f424000000000'
    >>> ScoreList().decode(bytes.fromhex("000f424000000000"))
    (1000000, 0)
    """

    max_entries: int = 16_000

    def bind(self, context: EpochContext) -> Callable[[bytes], tuple[int, ...]]:
        """The decoder, which is the same in every epoch."""
        return self.decode

    def decode(self, payload: bytes) -> tuple[int, ...]:
        """The scores. Raises Malformed, and nothing else."""
        # Stops "truncated and bit-flipped records".
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

    def encode(self, value: object) -> bytes:
        """The payload of a tuple or list of scores. Raises Malformed for a list that no replica
        would accept.
        """
        if not isinstance(value, Sequence):
            raise Malformed(f"expected a list of scores, saw {type(value).__name__}")
        try:
            payload = struct.pack(f">{len(value)}I", *value)
        except struct.error as error:
            raise Malformed(f"expected integers from 0 to {MAX_SCORE}: {error}") from None
        self.decode(payload)
        return payload

    def describe(self) -> str:
        """The number of scores, and their range."""
        return f"scores[up to {self.max_entries} of 0..{MAX_SCORE}]"
