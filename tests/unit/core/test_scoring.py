"""Scores: docs/spec.md#7-scores-and-pay to the last bit, whatever the machine, the order or the
liars.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochgate.core.schema import Malformed
from epochgate.core.scoring import (
    LIST_TOLERANCE,
    MAX_ELEMENTS,
    MAX_SCORE,
    MIN_EXPONENT,
    ScoreList,
    compute_consensus,
    compute_hoster_scores,
    compute_pay,
    compute_score,
    compute_shares,
    count_good_entries,
    get_lower_median,
)
from epochgate.core.types import PeerId
from tests.support.identities import make_context

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "scores.json").read_text())
ANSWER = [0.5, -0.25, 0.125, -0.75]
TOLERANCE_PPM = 1000
ALICE, BOB, CAROL, DAVE, ERIN, FRANK, GRACE, VICTOR, GOOD = (
    PeerId(name)
    for name in (
        b"alice",
        b"bob",
        b"carol",
        b"dave",
        b"erin",
        b"frank",
        b"grace",
        b"victor",
        b"good",
    )
)
AUTHOR_A, AUTHOR_B, AUTHOR_C = (PeerId(name) for name in (b"a", b"b", b"c"))
NAMES = [ALICE, BOB, CAROL, DAVE, ERIN, FRANK, GRACE]


def compute_plainly(
    outputs: Mapping[PeerId, np.ndarray], committed: list[PeerId], tolerance_ppm: int
) -> dict[PeerId, int]:
    """The formulas of docs/spec.md#7-scores-and-pay again, in fractions, for outputs that are all
    well-formed and of one shape.
    """
    values = {
        author: [Fraction(x.item()) for x in np.ravel(outputs[author])]
        for author in outputs
        if author in committed
    }
    peaks = sorted(max(map(abs, xs)) for xs in values.values())
    exponent = (
        max(math.frexp(peaks[(len(peaks) - 1) // 2])[1], MIN_EXPONENT)
        if peaks[(len(peaks) - 1) // 2]
        else MIN_EXPONENT
    )
    limit = 2**20 - 1
    grid = {
        a: [max(-limit, min(limit, round(x * Fraction(2) ** (18 - exponent)))) for x in xs]
        for a, xs in values.items()
    }
    centre = [sorted(column)[(len(grid) - 1) // 2] for column in zip(*grid.values(), strict=True)]
    b = tolerance_ppm**2 * (len(centre) + sum(c * c for c in centre))
    scores = dict.fromkeys(committed, 0)
    for author, row in grid.items():
        a = 10**12 * sum((q - c) ** 2 for q, c in zip(row, centre, strict=True))
        scores[author] = 10**6 if a <= b else 10**6 * b**2 // a**2 if a <= 16 * b else 0
    within = sum(score == 10**6 for score in scores.values())
    return scores if within >= 3 and 2 * within > len(committed) else dict.fromkeys(committed, 0)


def make_array(spec: dict[str, Any]) -> np.ndarray:
    return (
        np.array([float(value) for value in spec["values"]])
        .astype(spec["dtype"])
        .reshape(spec["shape"])
    )


def answer(*values: float, dtype: str = "float32") -> np.ndarray:
    return np.array(values or ANSWER, dtype)


def agree(*names: PeerId) -> dict[PeerId, np.ndarray]:
    return {name: answer() for name in names}


@pytest.mark.parametrize("case", VECTORS["hosters"], ids=lambda case: case["name"])
def test_the_fixed_vectors_hold(case: dict[str, Any]) -> None:
    outputs = {PeerId(name.encode()): make_array(spec) for name, spec in case["outputs"].items()}
    consensus = compute_consensus(
        outputs, [PeerId(name.encode()) for name in case["committed"]], case["tolerance_ppm"]
    )

    assert {author.decode(): score for author, score in consensus.scores.items()} == case["scores"]
    assert consensus.is_reached == case["is_reached"]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_the_formulas_in_fractions(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 7))
    size = data.draw(st.integers(1, 5))
    scale = 2.0 ** data.draw(st.integers(-90, 90))
    centre = data.draw(st.lists(st.floats(-2, 2, width=32), min_size=size, max_size=size))
    noise = st.floats(-4e-3, 4e-3) | st.floats(-1e6, 1e6)
    outputs = {
        NAMES[i]: np.array([c + data.draw(noise) for c in centre]) * scale for i in range(count)
    }
    committed = NAMES[: data.draw(st.integers(count, 7))]

    assert compute_hoster_scores(outputs, committed, TOLERANCE_PPM) == compute_plainly(
        outputs, committed, TOLERANCE_PPM
    )


def test_outputs_longer_than_a_chunk_are_scored_as_a_whole() -> None:
    random = np.random.default_rng(3)
    base = random.standard_normal(5000)
    outputs = {name: base + 1e-3 * i * random.standard_normal(5000) for i, name in enumerate(NAMES)}

    scores = compute_hoster_scores(outputs, NAMES, TOLERANCE_PPM * 5)

    assert scores == compute_plainly(outputs, NAMES, TOLERANCE_PPM * 5)
    assert 0 < min(scores.values()) < MAX_SCORE


@given(st.permutations(NAMES), st.permutations(NAMES))
@settings(max_examples=20, deadline=None)
def test_the_order_in_which_records_came_shows_nowhere(
    outputs_order: list[PeerId], committed_order: list[PeerId]
) -> None:
    outputs = {name: answer() + np.float32(2e-4 * i * i) for i, name in enumerate(NAMES)}

    expected = compute_consensus(outputs, NAMES, 5000)
    seen = compute_consensus(
        {PeerId(name): outputs[name] for name in outputs_order}, committed_order, 5000
    )

    assert list(seen.scores.items()) == list(expected.scores.items())
    assert seen.distances_ppm == expected.distances_ppm
    assert expected.is_reached


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_minority_of_liars_moves_nobody_further_than_the_honest_spread(
    data: st.DataObject,
) -> None:
    honest_count = data.draw(st.integers(3, 4))
    wobble = st.floats(-2e-4, 2e-4)
    honest = {
        name: np.array([x + data.draw(wobble) for x in ANSWER]) for name in NAMES[:honest_count]
    }
    lie = st.lists(st.floats() | st.floats(-1, 1), min_size=4, max_size=4)
    liars = {name: np.array(data.draw(lie)) for name in NAMES[honest_count : 2 * honest_count - 1]}

    consensus = compute_consensus(honest | liars, [*honest, *liars], 5000)

    scale = 2.0 ** (18 - consensus.exponent)
    grid = np.rint(np.stack(list(honest.values())) * scale).astype(int)
    spread = int(((grid.max(axis=0) - grid.min(axis=0)) ** 2).sum())
    assert consensus.centre is not None
    norm = 4 + int(np.square(consensus.centre, dtype=np.int64).sum())
    assert (grid.min(axis=0) <= consensus.centre).all()
    assert (consensus.centre <= grid.max(axis=0)).all()
    for name in honest:
        assert consensus.scores[PeerId(name)] >= compute_score(
            spread, norm=norm, tolerance_ppm=5000
        )


def test_one_huge_outlier_neither_flattens_nor_shifts_the_rest() -> None:
    outputs = {**agree(*NAMES[:4]), ERIN: answer(1e38, -1e38, 1e38, 1e38)}
    outputs[DAVE] = answer(0.5, -0.25, 0.125, -0.749)

    scores = compute_hoster_scores(outputs, list(outputs), TOLERANCE_PPM)

    assert scores[ALICE] == scores[BOB] == scores[CAROL] == MAX_SCORE
    assert 0 < scores[DAVE] < MAX_SCORE
    assert scores[ERIN] == 0


@pytest.mark.parametrize(
    ("what", "bad"),
    [
        ("missing", None),
        ("a NaN", answer(0.5, math.nan, 0.125, -0.75)),
        ("an infinity", answer(0.5, math.inf, 0.125, -0.75)),
        ("minus infinity", answer(0.5, -math.inf, 0.125, -0.75)),
        ("another shape", answer().reshape(2, 2)),
        ("another length", answer(*ANSWER, 0.5)),
        ("empty", np.empty(0, np.float32)),
        ("complex", np.array(ANSWER, "complex64")),
        ("as wide as this machine likes", np.array(ANSWER, "longdouble")),
        ("text", np.array(["0.5"] * 4)),
        ("objects", np.array(ANSWER, object)),
        ("no array", ANSWER),
    ],
)
def test_what_cannot_be_scored_gets_nothing_and_moves_nothing(what: str, bad: object) -> None:
    good: dict[PeerId, object] = {
        ALICE: answer(),
        BOB: answer(),
        CAROL: answer(0.5005, -0.25, 0.125, -0.75),
    }
    committed = [*good, DAVE]
    expected = compute_consensus(good, committed, TOLERANCE_PPM)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = compute_consensus({**good, DAVE: bad}, committed, TOLERANCE_PPM)

    assert seen.scores == expected.scores
    assert seen.distances_ppm == expected.distances_ppm
    assert seen.is_reached
    assert seen.scores[DAVE] == 0


def test_an_output_without_a_counted_commitment_moves_nothing() -> None:
    outputs = {
        ALICE: answer(),
        BOB: answer(0.6, -0.25, 0.125, -0.75),
        CAROL: answer(),
        DAVE: answer(),
    }
    strangers = {PeerId(bytes([i])): answer(0.6, -0.25, 0.125, -0.75) for i in range(9)}

    scores = compute_hoster_scores(outputs | strangers, list(outputs), TOLERANCE_PPM)

    assert scores == {ALICE: MAX_SCORE, BOB: 0, CAROL: MAX_SCORE, DAVE: MAX_SCORE}


@pytest.mark.parametrize(
    ("within", "astray", "silent", "is_reached"),
    [
        (0, 0, 0, False),
        (0, 0, 3, False),
        (1, 0, 0, False),
        (2, 0, 0, False),
        (2, 1, 0, False),
        (3, 0, 0, True),
        (3, 2, 0, True),
        (3, 0, 2, True),
        (3, 0, 3, False),
        (3, 2, 1, False),
        (4, 0, 3, True),
        (4, 0, 4, False),
    ],
)
def test_consensus_needs_three_and_more_than_half_of_who_committed(
    within: int, astray: int, silent: int, is_reached: bool
) -> None:
    outputs = {PeerId(b"good%d" % i): answer() for i in range(within)}
    outputs |= {PeerId(b"bad%d" % i): answer(0.1 + i, 0.2, 0.3, 0.4) for i in range(astray)}
    committed = [*outputs, *(PeerId(b"silent%d" % i) for i in range(silent))]

    consensus = compute_consensus(outputs, committed, TOLERANCE_PPM)

    assert consensus.is_reached == is_reached
    assert consensus.scores == {
        a: MAX_SCORE * (is_reached and a.startswith(GOOD)) for a in sorted(committed)
    }


def test_naming_a_commitment_twice_counts_once() -> None:
    outputs = agree(*NAMES[:3])

    assert compute_consensus(outputs, [*outputs, *outputs, DAVE, DAVE], TOLERANCE_PPM).is_reached


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "float64", ">f4", ">f8", "int8", "int64", "<i2", "bool", "uint64"],
)
def test_the_same_numbers_score_the_same_in_any_dtype(dtype: str) -> None:
    values = [1, 0, 1, 1] if dtype in {"bool", "uint64"} else [3, -5, 0, 64]
    outputs: dict[PeerId, np.ndarray] = {
        PeerId(name): np.array(values, "float64") for name in NAMES[:3]
    }

    outputs[CAROL] = np.array(values, dtype)

    consensus = compute_consensus(outputs, list(outputs), 0)
    assert consensus.is_reached
    assert consensus.distances_ppm == {ALICE: 0, BOB: 0, CAROL: 0}


def test_neither_layout_in_memory_nor_dimensions_matter() -> None:
    square = np.arange(12.0).reshape(3, 4)
    outputs = {
        ALICE: square,
        BOB: np.asfortranarray(square),
        CAROL: np.repeat(square, 2, axis=1)[:, ::2],
    }

    assert compute_hoster_scores(outputs, list(outputs), 0) == dict.fromkeys(outputs, MAX_SCORE)


def test_the_shape_that_most_have_is_the_right_one_and_a_tie_is_settled() -> None:
    long = answer(1, 2, 3)
    short = answer(1, 2)

    assert compute_consensus(
        {AUTHOR_A: short, AUTHOR_B: long, AUTHOR_C: long}, [AUTHOR_A, AUTHOR_B, AUTHOR_C], 1
    ).distances_ppm.keys() == {AUTHOR_B, AUTHOR_C}
    assert compute_consensus(
        {AUTHOR_A: long, AUTHOR_B: short}, [AUTHOR_A, AUTHOR_B], 1
    ).distances_ppm.keys() == {AUTHOR_B}


def test_outputs_of_more_elements_than_the_sums_hold_are_not_scored() -> None:
    outputs = {name: np.ones(MAX_ELEMENTS + 1, np.int8) for name in NAMES[:3]}

    assert compute_hoster_scores(outputs, list(outputs), TOLERANCE_PPM) == dict.fromkeys(outputs, 0)


@pytest.mark.parametrize("tiny", [0.0, -0.0, 5e-324, 1e-45, 2.0**-120])
def test_zero_and_what_is_too_small_to_count_are_the_same_answer(tiny: float) -> None:
    outputs = {ALICE: np.zeros(3), BOB: np.zeros(3), CAROL: np.array([tiny, -tiny, 0.0])}

    consensus = compute_consensus(outputs, list(outputs), 0)

    assert consensus.scores == dict.fromkeys(outputs, MAX_SCORE)
    assert consensus.exponent == MIN_EXPONENT


def test_small_outputs_have_a_grid_as_fine_as_large_ones() -> None:
    for scale in (2.0**-80, 1.0, 2.0**900):
        outputs = {name: np.array(ANSWER) * scale for name in NAMES[:3]}
        outputs[DAVE] = np.array([0.502, -0.25, 0.125, -0.75]) * scale

        assert 0 < compute_hoster_scores(outputs, list(outputs), TOLERANCE_PPM)[DAVE] < MAX_SCORE


def test_the_largest_floats_neither_overflow_nor_warn() -> None:
    most = np.finfo(np.float64).max
    outputs = {
        ALICE: answer(),
        BOB: answer(),
        CAROL: answer(),
        DAVE: np.array([most, -most, most, 0.0]),
    }

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = compute_hoster_scores(outputs, list(outputs), TOLERANCE_PPM)
        assert compute_consensus(
            {PeerId(name): np.array([most, -most]) for name in NAMES}, NAMES, 0
        ).is_reached

    assert scores[DAVE] == 0
    assert scores[ALICE] == MAX_SCORE


def test_sums_hold_for_the_most_elements_at_the_clip() -> None:
    outputs = {
        name: np.full(MAX_ELEMENTS, value, np.int8)
        for name, value in zip(NAMES[:4], (1, 1, 1, -127), strict=True)
    }

    consensus = compute_consensus(outputs, list(outputs), TOLERANCE_PPM)

    assert consensus.scores[ALICE] == MAX_SCORE
    assert consensus.scores[DAVE] == 0
    distance = MAX_ELEMENTS * (2**20 - 1 + 2**17) ** 2
    assert consensus.distances_ppm[DAVE] == math.isqrt(
        distance * 10**12 // (MAX_ELEMENTS * (1 + 2**34))
    )


@pytest.mark.parametrize(
    ("shift", "score"),
    [
        ((2**16, 1, 0, 0), MAX_SCORE),  # A = B exactly
        ((2**16, 1, 1, 0), 999_999),  # one step of the grid beyond
        ((2**18, 4, 0, 0), 3906),  # A = 16 B exactly: 10^6 / 256
        ((2**18, 4, 1, 0), 0),
    ],
)
def test_both_edges_of_the_score_are_exact(shift: tuple[int, ...], score: int) -> None:
    peak = answer(
        2**17, 0, 0, 0, dtype="float64"
    )  # 4 D = M = 4 + 2^34 is A = B at a tolerance of a half
    outputs = {ALICE: peak, BOB: peak, CAROL: peak, DAVE: peak - np.array(shift)}

    assert compute_hoster_scores(outputs, list(outputs), 500_000)[DAVE] == score


def test_the_centre_explains_in_the_outputs_own_unit() -> None:
    consensus = compute_consensus(
        agree(*NAMES[:3]) | {DAVE: answer(0, 0, 0, 0)}, NAMES[:4], TOLERANCE_PPM
    )

    assert consensus.compute_centre_values().tolist() == ANSWER
    assert consensus.distances_ppm[DAVE] == 999_999
    assert compute_consensus({}, NAMES, 1).compute_centre_values().size == 0


@pytest.mark.parametrize(
    ("values", "median"),
    [([3], 3), ([4, 3], 3), ([5, 1, 3], 3), ([9, 1, 5, 3], 3), ([-1, -5, -3], -3)],
)
def test_the_lower_median_is_an_element(values: list[int], median: int) -> None:
    assert get_lower_median(values) == median


# --- lists


@pytest.mark.parametrize(
    ("entries", "reference", "good"),
    [
        ((), (), 0),
        ((5,), (), 0),
        ((0, 500_000, MAX_SCORE), (0, 500_000, MAX_SCORE), 3),
        ((LIST_TOLERANCE, 500_000, MAX_SCORE), (0, 500_000, MAX_SCORE), 3),
        ((LIST_TOLERANCE + 1, 500_000, MAX_SCORE - LIST_TOLERANCE), (0, 500_000, MAX_SCORE), 2),
        ((0, 489_999, MAX_SCORE - LIST_TOLERANCE - 1), (0, 500_000, MAX_SCORE), 1),
        ((0, 500_000), (0, 500_000, MAX_SCORE), 0),
        ((0, 500_000, MAX_SCORE, 0), (0, 500_000, MAX_SCORE), 0),
        ((0, 500_000, MAX_SCORE + 1), (0, 500_000, MAX_SCORE), 0),
        ((-1, 500_000, MAX_SCORE), (0, 500_000, MAX_SCORE), 0),
    ],
)
def test_a_list_is_worth_its_good_entries(
    entries: tuple[int, ...], reference: tuple[int, ...], good: int
) -> None:
    assert count_good_entries(entries, reference) == good


@settings(deadline=None)
@given(st.lists(st.integers(0, MAX_SCORE), max_size=40))
def test_a_list_survives_its_encoding(scores: list[int]) -> None:
    assert ScoreList().decode(ScoreList().encode(scores)) == tuple(scores)


def test_a_score_takes_four_bytes_with_the_highest_first() -> None:
    assert ScoreList().encode([1, MAX_SCORE]) == bytes.fromhex("00000001 000f4240")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"\0\0\0", "saw 3 bytes"),
        (b"\0\0\0\1\0", "saw 5 bytes"),
        (b"\0" * 16, "at most 3 scores"),
        (b"\0\0\0\1\0\x0f\x42\x41", "saw 1000001"),
        (b"\xff" * 4, "saw 4294967295"),
    ],
)
def test_a_malformed_list_is_refused_in_words(payload: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        ScoreList(max_entries=3).bind(make_context())(payload)


@pytest.mark.parametrize("scores", [[MAX_SCORE + 1], [-1], [1 << 32], [0.5], [0] * 4])
def test_only_what_replicas_take_is_encoded(scores: list[int]) -> None:
    with pytest.raises(Malformed):
        ScoreList(max_entries=3).encode(scores)


@pytest.mark.parametrize("value", [None, 7, {1, 2}, "12", object()])
def test_only_a_sequence_of_scores_is_a_list(value: object) -> None:
    with pytest.raises(Malformed):
        ScoreList().encode(value)


def test_a_list_describes_itself() -> None:
    assert ScoreList().describe() == "scores[up to 16000 of 0..1000000]"


# --- pay


@pytest.mark.parametrize("case", VECTORS["pay"], ids=lambda case: case["name"])
def test_the_fixed_pay_holds(case: dict[str, Any]) -> None:
    hosters, validators = (
        {name.encode(): weight for name, weight in case[role].items()}
        for role in ("hosters", "validators")
    )

    hoster_pot, validator_pot = case["pots"]
    pay = compute_pay(hosters, validators, hoster_pot=hoster_pot, validator_pot=validator_pot)

    assert {author.decode(): score for author, score in pay.items()} == case["pay"]


weights = st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(0, MAX_SCORE), max_size=8)


@settings(deadline=None)
@given(weights, weights, st.randoms(use_true_random=False))
def test_pots_are_paid_to_the_last_unit_or_not_at_all(
    hosters: dict[PeerId, int], validators: dict[PeerId, int], random: Any
) -> None:
    pay = compute_pay(hosters, validators)
    shuffled_hosters = dict(random.sample(list(hosters.items()), len(hosters)))
    shuffled_validators = dict(random.sample(list(validators.items()), len(validators)))
    again = compute_pay(shuffled_hosters, shuffled_validators)

    assert sum(pay.values()) == (
        10**18 if any(hosters.values()) and any(validators.values()) else 0
    )
    assert list(pay) == sorted(hosters.keys() | validators.keys())
    assert list(again.items()) == list(pay.items())


@settings(deadline=None)
@given(
    st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(0, 9), min_size=1, max_size=6),
    st.integers(0, 50),
)
def test_no_share_is_a_whole_unit_off_its_proportion(weights: dict[PeerId, int], pot: int) -> None:
    shares = compute_shares(weights, pot)
    whole = sum(weights.values())

    for author, weight in weights.items():
        exact = Fraction(weight * pot, whole) if whole else Fraction(0)
        assert exact - 1 < shares[author] < exact + 1
        assert shares[author] == 0 or weight > 0


def test_the_largest_remainder_wins_and_ties_go_to_the_smaller_author() -> None:
    assert compute_shares({AUTHOR_C: 1, AUTHOR_B: 1, AUTHOR_A: 1}, 11) == {
        AUTHOR_A: 4,
        AUTHOR_B: 4,
        AUTHOR_C: 3,
    }
    assert compute_shares({AUTHOR_A: 1, AUTHOR_B: 3}, 2) == {AUTHOR_A: 1, AUTHOR_B: 1}
    assert compute_shares({AUTHOR_A: 5, AUTHOR_B: 1, AUTHOR_C: 1}, 3) == {
        AUTHOR_A: 2,
        AUTHOR_B: 1,
        AUTHOR_C: 0,
    }


def test_a_pot_of_nothing_need_not_be_paid() -> None:
    pay = compute_pay({ALICE: 3}, {VICTOR: 0}, hoster_pot=100, validator_pot=0)
    assert pay == {ALICE: 100, VICTOR: 0}


@pytest.mark.parametrize(("weights", "pot"), [({ALICE: -1, BOB: 2}, 10), ({ALICE: 1}, -10)])
def test_nothing_negative_is_shared(weights: dict[PeerId, int], pot: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        compute_shares(weights, pot)
