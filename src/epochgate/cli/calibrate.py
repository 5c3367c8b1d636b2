"""`epochgate calibrate`: measure the honest noise on this machine, and propose a tolerance."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from epochgate.models import load_model
from epochgate.models.calibration import (
    NOISE_FACTOR,
    Calibration,
    InBatch,
    Measurement,
    Variation,
    calibrate,
    compute_tolerance_ppm,
)
from epochgate.models.variants import BFLOAT16, CHEAPER, OnThreads
from epochgate.ports import Model
from epochgate.runtime.loading import DEFAULT_POLICY, load_policy
from epochgate.runtime.settings import explain

BATCHES = (2, 8, 32)
COLUMNS = 100


def calibrate_model(
    model: Annotated[str | None, typer.Option(help=explain("model"))] = None,
    policy: Annotated[str, typer.Option(help=explain("policy"))] = DEFAULT_POLICY,
    runs: Annotated[
        int, typer.Option(min=1, help="On how many challenges each variation is measured.")
    ] = 8,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Another, cheaper model to measure, named like --model; may be given again."
        ),
    ] = None,
) -> int:
    """Measure how far honest answers of a model differ here, and propose a tolerance; exit 1 if the
    policy's is too small.
    """
    found = load_policy(policy)
    served = load_model(model)
    others = [(name, load_model(name)) for name in against or ()]
    variations = list(_make_variations(served, functools.partial(load_model, model), others))
    with Console(stderr=True).status("") as status:
        seen = calibrate(
            found, served, variations, runs, lambda name: status.update(f"running {name}")
        )
    console = Console(width=COLUMNS, highlight=False, markup=False)
    console.print(_render(seen))
    for line in _conclude(seen):
        console.print(line)
    if seen.is_wide_enough:
        return 0
    return 1


def _make_variations(
    served: Model, load: Callable[[], Model], others: Sequence[tuple[str, Model]]
) -> Iterator[Variation]:
    """Honest variations share the model that is served; a cheaper one changes a copy of its own,
    which `load` makes.
    """
    for threads in sorted({1, 2, 4, os.cpu_count() or 1}):
        name = "1 thread"
        if threads > 1:
            name = f"{threads} threads"
        yield Variation(name, functools.partial(OnThreads, served, threads), is_honest=True)
    for rows in BATCHES:
        yield Variation(
            f"in a batch of {rows}", functools.partial(InBatch, served, rows), is_honest=True
        )
    for name, change in CHEAPER.items():
        yield Variation(name, functools.partial(_change, load, change), is_honest=False)
    for name, other in others:
        yield Variation(name, functools.partial(_get, other), is_honest=False)


def _get(model: Model) -> Model:
    return model


def _change(load: Callable[[], Model], change: Callable[[Model], Model]) -> Model:
    return change(load())


def _render(seen: Calibration) -> Table:
    title = f"distances in ppm, and the least score at the policy's {seen.tolerance_ppm:,} ppm"
    table = Table(
        box=None,
        pad_edge=False,
        header_style="dim",
        title=title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column("served as", width=20)
    for heading, width in (("median", 8), ("largest", 8), ("score", 10)):
        table.add_column(heading, width=width, justify="right")
    table.add_column("", width=46)
    for measurement in seen.measurements:
        table.add_row(*_describe(measurement))
    table.add_row(
        "the grid of scores", "", f"{seen.grid_ppm:,}", "", "the least step there is", style="dim"
    )
    return table


def _describe(measurement: Measurement) -> Iterator[Text]:
    """The cells of its row."""
    if measurement.why_not:
        style = "dim"
        cells = [measurement.name, "", "", "", f"not measured: {measurement.why_not}"]
    else:
        style = "yellow"
        kind = "cheaper"
        if measurement.is_honest:
            style = "green"
            kind = "honest"
        cells = [
            measurement.name,
            f"{measurement.median_ppm:,}",
            f"{measurement.largest_ppm:,}",
            f"{min(measurement.scores):,}",
            kind,
        ]
    yield from (Text(cell, style) for cell in cells)


def _conclude(seen: Calibration) -> Iterator[str]:
    """The sentences below the table."""
    noise = "not measured"
    if seen.honest_ppm is not None:
        noise = f"{seen.honest_ppm:,} ppm"
    yield (
        f"\nhonest noise: {noise} on this machine. Measure on other hosters' machines too, and take"
        " the largest."
    )
    yield (
        f"A tolerance of at least {NOISE_FACTOR} times the noise, or the grid's step where that is"
        " more:\n"
    )
    yield f"    Policy(..., scoring=Scoring(tolerance_ppm={seen.proposed_ppm}))\n"
    if not seen.is_wide_enough:
        yield (
            f"The policy's {seen.tolerance_ppm:,} ppm is less than that: honest hosters may lose"
            " by it."
        )
    tolerances = {"the policy's": seen.tolerance_ppm, "the proposed": seen.proposed_ppm}
    for name, tolerance_ppm in tolerances.items():
        passing = ", ".join(seen.get_unpunished(tolerance_ppm)) or "none of them"
        yield f"Cheaper models with full marks at {name} {tolerance_ppm:,} ppm: {passing}."
    for measurement in seen.measurements:
        if measurement.name == BFLOAT16 and measurement.distances_ppm:
            needed = compute_tolerance_ppm(measurement.largest_ppm)
            passing = ", ".join(seen.get_unpunished(needed))
            yield (
                f"Hosters that may run in {BFLOAT16} need {needed:,} ppm, with full marks for:"
                f" {passing}."
            )
