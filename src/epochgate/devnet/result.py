"""The end of a devnet: its scores as a table, and why an epoch was not complete."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from epochgate.devnet.cast import shorten
from epochgate.devnet.summary import EpochSummary, Transcript

UNIT = 10**18
"""The chain's scores are shares of this."""


def render_scores(transcript: Transcript, summaries: list[EpochSummary]) -> Table:
    """A row a node; two columns an epoch: how its output was judged, and what the chain pays."""
    table = Table(title="Scores", title_justify="left", title_style="bold", header_style="dim")
    table.add_column("node")
    table.add_column("peer")
    for summary in summaries:
        table.add_column(f"output, epoch {summary.epoch}", justify="right")
        table.add_column("pay", justify="right")
    for actor in transcript.cast.actors:
        cells = [cell for summary in summaries for cell in _render_cells(transcript, summary, actor.peer_id)]
        table.add_row(actor.name, shorten(actor.peer_id), *cells)
    return table


def render_verdicts(transcript: Transcript, summaries: list[EpochSummary]) -> Iterator[Text]:
    """A line an epoch: complete, or what it lacks; and why one that is complete pays nobody."""
    for summary in summaries:
        yield _render_verdict(transcript, summary)
        if summary.complete and not any(summary.scores.values()):
            why = "no validator's list was due yet, and one pot alone is never paid out"
            yield Text(f"epoch {summary.epoch} pays nobody: {why}")


def _render_cells(transcript: Transcript, summary: EpochSummary, peer_id: str) -> tuple[str, str]:
    scored = next(iter(transcript.get_scored(summary.epoch).values()), None)
    output = scored.scores.get(peer_id) if scored else None
    pay = summary.scores.get(peer_id)
    return ("" if output is None else f"{output:,}", "-" if pay is None else f"{pay / UNIT:.4f}")


def _render_verdict(transcript: Transcript, summary: EpochSummary) -> Text:
    if not summary.complete:
        gaps = "; ".join(transcript.find_gaps(summary.epoch))
        return Text(f"epoch {summary.epoch}: incomplete: {gaps}", style="bold red")
    name = transcript.cast.get_name
    return Text(
        f"epoch {summary.epoch}: complete: challenge by {name(summary.challenge_author or '')}, "
        f"{summary.commitments} committed, {summary.openings} opened, {summary.validator_openings} lists opened, "
        f"submitted by {name(summary.submitted_by or '')}, attested by {len(summary.attested_by)}",
        style="green",
    )
