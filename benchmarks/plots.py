"""The pictures of docs/scoring.md: `python -m benchmarks.plots`. The real scores, of the real
default model's outputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from epochgate.core.scoring import MAX_SCORE, Consensus, compute_consensus, compute_score
from epochgate.core.types import PeerId
from epochgate.models import load_model
from epochgate.models.calibration import InBatch, make_challenges
from epochgate.models.variants import CHEAPER, get_module
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import Model

FOLDER = Path(__file__).parents[1] / "docs" / "images"
TOLERANCE_PPM = INFERENCE_POLICY.scoring.tolerance_ppm
CHALLENGES = 6
HOSTERS = 16
LIE = -9.0
"""What every liar makes of the answer: all the same, and ten times its length away."""
NOISE = 1e-3
"""Of the honest among liars, a coordinate, relative to the answer's own size."""

GOOD = "#0072b2"
PARTLY = "#e69f00"
BAD = "#d55e00"
INK = "#444444"
STYLE = {
    # names inside the file follow from it, so that a rerun gives the same file
    "svg.hashsalt": "epochgate",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

Output = NDArray[np.float32]
Answer = Callable[[int], Output]
"""The output for the challenge of that number."""


def draw_score_by_distance() -> Figure:
    figure, axes = make_figure(6.4, 3.2)
    distances = np.linspace(0, 5, 1001)
    norm = 10**12
    tolerance_ppm = 1000
    scores = [
        compute_score(
            round((d * tolerance_ppm / 1e6) ** 2 * norm), norm=norm, tolerance_ppm=tolerance_ppm
        )
        for d in distances
    ]
    axes.plot(distances, scores, color=GOOD, linewidth=2)
    for at in (1, 1.5, 2, 4):
        distance = round((at * tolerance_ppm / 1e6) ** 2 * norm)
        score = compute_score(distance, norm=norm, tolerance_ppm=tolerance_ppm)
        axes.plot([at], [score], "o", color=GOOD)
        axes.annotate(f"{score:,}", (at, score), textcoords="offset points", xytext=(8, 6))
    axes.set(
        xlabel="distance from the centre, in tolerances",
        ylabel="score",
        xlim=(0, 5),
        ylim=(0, 1.1 * MAX_SCORE),
    )
    axes.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    return figure


def draw_hosters() -> Figure:
    """Each kind of hoster once among nine honest ones, on several challenges."""
    rows = list(measure_hosters())
    figure, axes = make_figure(7.6, 0.34 * len(rows) + 1.0)
    for index, (_, consensuses) in enumerate(reversed(rows)):
        distances = [max(it.distances_ppm[PeerId(b"x")], 0.5) for it in consensuses]
        scores = sorted(it.scores[PeerId(b"x")] for it in consensuses)
        median = scores[(len(scores) - 1) // 2]
        colour = GOOD if median == MAX_SCORE else PARTLY if median else BAD
        axes.plot(
            distances,
            [index] * len(distances),
            "o",
            color=colour,
            alpha=0.6,
            markersize=6,
            markeredgewidth=0,
        )
        axes.text(
            1.02,
            index,
            f"{median:,}",
            transform=axes.get_yaxis_transform(),
            va="center",
            ha="left",
            color=colour,
        )
        axes.axhline(index, color="#eeeeee", linewidth=0.8, zorder=0)
    for at, words in ((1, "tolerance "), (4, " four times")):
        axes.axvline(at * TOLERANCE_PPM, color=INK, linewidth=0.8, linestyle="--")
        axes.text(
            at * TOLERANCE_PPM,
            len(rows) - 0.3,
            words,
            fontsize=8,
            ha="right" if at == 1 else "left",
        )
    axes.text(1.02, len(rows) - 0.3, "score", transform=axes.get_yaxis_transform(), fontsize=8)
    axes.set_xscale("log")
    axes.set(
        xlabel="distance from the centre in ppm, 0 drawn at 0.5",
        xlim=(0.4, 2e7),
        ylim=(-0.6, len(rows)),
    )
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.tick_params(axis="y", length=0)
    return figure


def measure_hosters() -> Iterator[tuple[str, list[Consensus]]]:
    """Name, and the consensus on each challenge, in which the hoster in question is called x."""
    challenges = [
        np.asarray(challenge, np.float32)
        for challenge in make_challenges(INFERENCE_POLICY, CHALLENGES + 1)
    ]
    served = load_model()
    honest = [
        [InBatch(served, rows).infer(challenge) for rows in range(1, 10)]
        for challenge in challenges
    ]
    for name, answer in make_answers(challenges, served):
        consensuses = []
        for number in range(1, CHALLENGES + 1):
            outputs = {PeerId(bytes([i])): output for i, output in enumerate(honest[number])} | {
                PeerId(b"x"): answer(number)
            }
            consensuses.append(compute_consensus(outputs, outputs, TOLERANCE_PPM))
        yield name, consensuses


def infer(model: Model, challenge: Output) -> Output:
    return np.asarray(model.infer(challenge), np.float32)


def make_answers(challenges: list[Output], served: Model) -> Iterator[tuple[str, Answer]]:
    random = np.random.default_rng(7)

    def add_noise(relative: float, number: int) -> Output:
        output = infer(served, challenges[number])
        noise = relative * np.std(output) * random.standard_normal(output.shape)
        return np.asarray(output + noise, np.float32)

    def run(model: Model, number: int) -> Output:
        return infer(model, challenges[number])

    yield "honest: in a batch of 32", functools.partial(run, InBatch(served, 32))
    yield "noisy: 500 ppm", functools.partial(add_noise, 5e-4)
    yield "noisy: 2,000 ppm", functools.partial(add_noise, 2e-3)
    for name, change in CHEAPER.items():
        yield f"cheaper: {name}", functools.partial(run, change(load_model()))
    yield "lazy: one layer of two", functools.partial(run, drop_a_layer(load_model()))
    yield "lazy: last epoch's answer", lambda number: infer(served, challenges[number - 1])
    yield "lazy: zeros", lambda number: np.zeros_like(challenges[number])
    yield "lying: minus the answer", lambda number: -infer(served, challenges[number])
    yield (
        "lying: -9 times the answer",
        lambda number: np.float32(LIE) * infer(served, challenges[number]),
    )


def drop_a_layer(model: Model) -> Model:
    layers: Any = get_module(model).layers
    del layers[-1]
    return model


def draw_liars() -> Figure:
    """How far the result moves with 0 to 15 liars of 16, and what honest and liars are then
    paid.
    """
    counts = range(HOSTERS)
    measured = [measure_liars(count) for count in counts]
    figure, (above, below) = make_figure(6.8, 5.2, rows=2)
    for index, (name, colour, marker) in enumerate(
        (("mean", BAD, "s"), ("median, as scored", GOOD, "o"))
    ):
        above.plot(counts, [it[index] for it in measured], marker=marker, color=colour, label=name)
    above.set_yscale("log")
    above.set(ylabel="relative error of the result", ylim=(1e-4, 40))
    above.legend(frameon=False, loc="center right")
    for count in (1, 7):
        for index in (0, 1):
            value = measured[count][index]
            above.annotate(
                f"{value:.2g}",
                (count, value),
                textcoords="offset points",
                xytext=(-4, 9),
                ha="center",
                fontsize=9,
            )
    for index, (name, colour, marker) in enumerate(
        (("an honest hoster", GOOD, "o"), ("a liar", BAD, "s")), 2
    ):
        pairs = [
            (count, it[index])
            for count, it in zip(counts, measured, strict=True)
            if it[index] is not None
        ]
        below.plot(
            *zip(*pairs, strict=True), marker=marker, color=colour, label=name, linestyle=":"
        )
    below.set(
        xlabel=f"liars among {HOSTERS} hosters",
        ylabel="score",
        ylim=(-0.08 * MAX_SCORE, 1.15 * MAX_SCORE),
    )
    below.yaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    below.legend(frameon=False, loc="center left")
    for axes in (above, below):
        axes.axvspan(7.5, HOSTERS, color="#f3f3f3", zorder=0, linewidth=0)
        axes.set_xlim(-0.4, HOSTERS - 0.6)
        axes.set_xticks(list(counts))
    above.text(7.7, 1.6e-4, "no majority is honest", fontsize=9)
    return figure


def measure_liars(count: int) -> tuple[float, float, int | None, int | None]:
    """Relative errors of mean and centre, and the least score of an honest hoster and the best of a
    liar, if there is one.
    """
    (challenge,) = make_challenges(INFERENCE_POLICY, 1)
    answer = load_model().infer(challenge).astype(np.float64)
    random = np.random.default_rng(16)
    noise = NOISE * np.sqrt(np.mean(answer**2)) * random.standard_normal((HOSTERS, *answer.shape))
    outputs = {
        PeerId(bytes([i])): LIE * answer if i < count else answer + noise[i] for i in range(HOSTERS)
    }
    consensus = compute_consensus(outputs, outputs, round(5 * NOISE * 1e6))
    centre = consensus.compute_centre_values().reshape(answer.shape)
    errors = [
        float(np.linalg.norm(result - answer) / np.linalg.norm(answer))
        for result in (np.mean(list(outputs.values()), axis=0), centre)
    ]
    scores = list(consensus.scores.values())
    return (
        errors[0],
        errors[1],
        min(scores[count:], default=None),
        max(scores[:count], default=None),
    )


def make_figure(width: float, height: float, rows: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, 1, sharex=rows > 1)


PICTURES = {
    "score-by-distance": draw_score_by_distance,
    "hosters": draw_hosters,
    "liars": draw_liars,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, draw in PICTURES.items():
            path = FOLDER / f"{name}.svg"
            draw().savefig(path, metadata={"Date": None, "Creator": None})
            print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
