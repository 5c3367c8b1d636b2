"""The end of a devnet: its scores as a table, and why an epoch was not complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from epochgate.core.scoring import TOTAL_PAY
from epochgate.core.types import Epoch
from epochgate.devnet.summary import Chronicle, EpochSummary
from epochgate.observe.cast import shorten

EPOCHS_PER_TABLE = 3
"""So many fit into 100 columns."""


def render_scores(chronicle: Chronicle, summaries: Sequence[EpochSummary]) -> Iterator[Table]:
    """A row a node; two columns an epoch: how its output was judged, and its share of what the
    chain pays.
    """
    for first in range(0, len(summaries), EPOCHS_PER_TABLE):
        shown = summaries[first : first + EPOCHS_PER_TABLE]
        table = Table(title="Scores", title_justify="left", title_style="bold", header_style="dim")
        table.add_column("node")
        table.add_column("peer")
        for summary in shown:
            table.add_column(f"epoch {summary.epoch}\noutput", justify="right")
            table.add_column("\npay", justify="right")
        for actor in chronicle.cast.actors:
            cells = [
                cell
                for summary in shown
                for cell in _render_cells(chronicle, summary, actor.peer_id)
            ]
            table.add_row(actor.name, shorten(actor.peer_id), *cells)
        yield table


def render_verdicts(chronicle: Chronicle, summaries: Sequence[EpochSummary]) -> Iterator[Text]:
    """A line an epoch: complete, or what it lacks; and why one that is complete pays nobody."""
    for summary in summaries:
        yield _render_verdict(chronicle, summary)
        yield from (Text(f"  on purpose: {words}", style="magenta") for words in summary.excuses)
        if (
            summary.submitted_by is not None
            and summary.complete
            and not any(summary.scores.values())
        ):
            yield Text(
                f"epoch {summary.epoch} pays nobody: {_say_why_unpaid(chronicle, summary.epoch)}"
            )


def _render_cells(chronicle: Chronicle, summary: EpochSummary, peer_id: str) -> tuple[str, str]:
    scored = next(iter(chronicle.get_scored(summary.epoch).values()), None)
    if scored:
        output = scored.scores.get(peer_id)
    else:
        output = None
    pay = summary.scores.get(peer_id)
    return (
        "" if output is None else f"{output:,}",
        "-" if pay is None else f"{pay / TOTAL_PAY:.4f}",
    )


def _say_why_unpaid(chronicle: Chronicle, epoch: Epoch) -> str:
    """Both pots are paid out, or neither, for the chain would give the whole to the other role."""
    if not any(
        score for scored in chronicle.get_scored(epoch).values() for score in scored.scores.values()
    ):
        return "no three hosters agree, so no output counts, and one pot alone is never paid out"
    if epoch == 0:
        return "no validator's list was due yet, and one pot alone is never paid out"
    return "no validator's list of the epoch before counts, and one pot alone is never paid out"


def _render_verdict(chronicle: Chronicle, summary: EpochSummary) -> Text:
    if not summary.complete:
        gaps = "; ".join(chronicle.find_gaps(summary.epoch))
        return Text(f"epoch {summary.epoch}: incomplete: {gaps}", style="bold red")
    name = chronicle.cast.get_name
    if summary.excuses:
        verdict = "complete, as far as its faults leave it to be"
    else:
        verdict = "complete"
    if summary.challenge_author:
        challenge = f"challenge by {name(summary.challenge_author)}, "
    else:
        challenge = ""
    counts = (
        f"{summary.commitments} committed, {summary.openings} opened, {summary.validator_openings}"
        " lists opened"
    )
    if summary.submitted_by:
        submission = (
            f", submitted by {name(summary.submitted_by)}, attested by {len(summary.attested_by)}"
        )
    else:
        submission = ""
    return Text(f"epoch {summary.epoch}: {verdict}: {challenge}{counts}{submission}", style="green")
