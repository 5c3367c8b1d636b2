"""`epochgate attack`: every adversary on real subnets, and a table of what each one got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from epochgate.cli.adversaries import load_adversaries
from epochgate.cli.files import check_output_file, read_text_file, write_output_file
from epochgate.runtime.loading import InputError

BEGIN = "<!-- attack: begin -->\n"
END = "<!-- attack: end -->\n"


def attack(
    only: Annotated[
        list[str] | None,
        typer.Option(help="One adversary; may be given more than once. Default: all."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How many epochs each subnet lives.")] = 3,
    epoch_seconds: Annotated[float, typer.Option(min=5.0, help="An epoch's length.")] = 8.0,
    page: Annotated[
        Path | None, typer.Option(help="A Markdown page whose marked table is replaced.")
    ] = None,
) -> int:
    """Run every adversary; exit 0 only if none earned more than the honest, and none cost them a
    score or an epoch.
    """
    aims = {name: adversary.aim for name, adversary in load_adversaries().items()}
    names = _choose(only, aims)
    if page is not None:
        check_output_file(page, "--page")
        split_page(page)
    from epochgate.cli.attack_run import (  # noqa: PLC0415 - a node brings no devnet
        run_attacks,
        show_outcomes,
    )
    from epochgate.devnet.attack import render_markdown  # noqa: PLC0415 - likewise

    outcomes, failures = run_attacks(names, epochs, epoch_seconds)
    show_outcomes(outcomes, failures, aims)
    if page is not None:
        before, after = split_page(page)
        text = f"{before}{BEGIN}\n{render_markdown(outcomes, aims)}\n{END}{after}"
        write_output_file(page, "--page", text.encode())
    if failures or not all(outcome.is_harmless for outcome in outcomes):
        return 1
    return 0


def _choose(only: Sequence[str] | None, aims: Mapping[str, str]) -> list[str]:
    """The adversaries to run, in their usual order. Raises InputError for an unknown one."""
    if not only:
        return list(aims)
    for name in only:
        if name not in aims:
            raise InputError(
                f"--only {name}: there is no such adversary; there are {', '.join(aims)}"
            )
    return [name for name in aims if name in only]


def split_page(page: Path) -> tuple[str, str]:
    """The text before and after the table, which stands between two marks. Raises InputError."""
    text = read_text_file(page, "--page")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise InputError(
            f"--page {page}: it has no lines {BEGIN.strip()} and {END.strip()}",
            "put them where the table goes",
        )
    return before, after
