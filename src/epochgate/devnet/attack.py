"""What adversaries earned in a run, beside the honest, and what they cost them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.table import Table

from epochgate.core.scoring import MAX_SCORE, TOTAL_PAY
from epochgate.devnet.cast import Actor
from epochgate.devnet.summary import EpochSummary, Transcript

REASONS_SHOWN = 3


class AttackOutcome(msgspec.Struct, frozen=True):
    """One kind of adversary in one run. Pay is in units of the chain's score, all epochs together: `earned` by the one that
    earned most, `honest_mean` by an honest node of the same role. `lowest_score` is the lowest that an honest validator gave
    an honest hoster's output, of 10^6. `denied` counts what all replicas refused."""

    adversary: str
    nodes: int
    earned: int
    honest_mean: int
    lowest_score: int
    complete: int
    epochs: int
    denied: dict[str, int]

    @property
    def is_harmless(self) -> bool:
        """The odd unit that division leaves over goes to one node a submission."""
        is_paid_less = self.earned <= self.honest_mean + self.epochs
        return is_paid_less and self.lowest_score == MAX_SCORE and self.complete == self.epochs


def compute_outcomes(transcript: Transcript, summaries: Sequence[EpochSummary]) -> list[AttackOutcome]:
    """One for each kind, in the order in which they were cast."""
    kinds: dict[str, list[Actor]] = {}
    for actor in transcript.cast.actors:
        if actor.adversary is not None:
            kinds.setdefault(actor.adversary, []).append(actor)
    denied: Counter[str] = Counter()
    for summary in summaries:
        denied.update(summary.denied)
    lowest = _find_lowest_score(transcript, summaries)
    return [
        AttackOutcome(
            adversary=kind,
            nodes=len(actors),
            earned=max(_add_pay(actor, summaries) for actor in actors),
            honest_mean=_compute_honest_mean(transcript, actors[0].role, summaries),
            lowest_score=lowest,
            complete=sum(summary.complete for summary in summaries),
            epochs=len(summaries),
            denied=dict(denied.most_common()),
        )
        for kind, actors in kinds.items()
    ]


def render_outcomes(outcomes: Sequence[AttackOutcome]) -> Table:
    table = Table(title="Adversaries", title_justify="left", title_style="bold", header_style="dim")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("adversary", "refused") else "right")
    for outcome in outcomes:
        table.add_row(*describe_outcome(outcome), style="green" if outcome.is_harmless else "bold red")
    return table


HEADINGS = ("adversary", "nodes", "earned", "honest mean", "lowest score", "complete", "refused")


def describe_outcome(outcome: AttackOutcome) -> tuple[str, ...]:
    """Its cells, in the order of HEADINGS. Pay is in epochs' worth of the whole chain's score."""
    reasons = list(outcome.denied.items())
    shown = ", ".join(f"{reason} {count:,}" for reason, count in reasons[:REASONS_SHOWN]) or "nothing"
    return (
        outcome.adversary,
        str(outcome.nodes),
        f"{outcome.earned / TOTAL_PAY:.4f}",
        f"{outcome.honest_mean / TOTAL_PAY:.4f}",
        f"{outcome.lowest_score:,}",
        f"{outcome.complete} of {outcome.epochs}",
        shown + (" ..." if len(reasons) > REASONS_SHOWN else ""),
    )


def render_markdown(outcomes: Sequence[AttackOutcome]) -> str:
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(describe_outcome, outcomes)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _add_pay(actor: Actor, summaries: Sequence[EpochSummary]) -> int:
    return sum(summary.scores.get(actor.peer_id, 0) for summary in summaries)


def _compute_honest_mean(transcript: Transcript, role: str, summaries: Sequence[EpochSummary]) -> int:
    honest = [actor for actor in transcript.cast.actors if actor.adversary is None and actor.role == role]
    return sum(_add_pay(actor, summaries) for actor in honest) // len(honest)


def _find_lowest_score(transcript: Transcript, summaries: Sequence[EpochSummary]) -> int:
    honest = set(transcript.cast.hosters) - transcript.cast.adversaries
    scored = [fact for summary in summaries for fact in transcript.get_scored(summary.epoch).values()]
    return min((fact.scores.get(peer_id, 0) for fact in scored for peer_id in honest), default=0)
