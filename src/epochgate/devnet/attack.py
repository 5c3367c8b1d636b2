"""What adversaries earned in a run, beside the honest, and what they cost them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from rich.table import Table

from epochgate.core.scoring import MAX_SCORE
from epochgate.devnet.summary import Chronicle, EpochSummary
from epochgate.observe.cast import Actor

REASONS_SHOWN = 3


class AttackOutcome(msgspec.Struct, frozen=True):
    """One kind of adversary in one run. Pay is in units of the chain's score, all epochs together:
    `earned` by the one that earned most, `honest_mean` by an honest node of the same role.
    `lowest_score` is the lowest that an honest validator gave an honest hoster's output, of 10^6.
    `denied` counts what all replicas refused.
    """

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
        return not any(self.find_harm())

    def find_harm(self) -> Iterator[str]:
        """What it gained or cost, a line each. The odd unit that division leaves over goes to one
        node a submission.
        """
        if self.earned > self.honest_mean + self.epochs:
            yield f"{self.adversary} was paid {self.pay}, more than an honest node"
        if self.lowest_score < MAX_SCORE:
            yield (
                f"{self.adversary} stood by as an honest hoster scored {self.lowest_score:,} of"
                f" {MAX_SCORE:,}"
            )
        if self.complete < self.epochs:
            yield (
                f"{self.adversary} stood by as {self.epochs - self.complete} of {self.epochs}"
                " epochs were incomplete"
            )

    @property
    def pay(self) -> str:
        """Against what an honest node of its role was paid."""
        if self.honest_mean:
            return f"{self.earned / self.honest_mean:.1%}"
        return "nobody was paid"


def compute_outcomes(
    chronicle: Chronicle, summaries: Sequence[EpochSummary]
) -> list[AttackOutcome]:
    """One for each kind, in the order in which they were cast."""
    kinds: dict[str, list[Actor]] = {}
    for actor in chronicle.cast.actors:
        if actor.adversary is not None:
            kinds.setdefault(actor.adversary, []).append(actor)
    denied: Counter[str] = Counter()
    for summary in summaries:
        denied.update(summary.denied)
    lowest = _find_lowest_score(chronicle, summaries)
    return [
        AttackOutcome(
            adversary=kind,
            nodes=len(actors),
            earned=max(_add_pay(actor, summaries) for actor in actors),
            honest_mean=_compute_honest_mean(chronicle, actors[0].role, summaries),
            lowest_score=lowest,
            complete=sum(summary.complete for summary in summaries),
            epochs=len(summaries),
            denied=dict(denied.most_common()),
        )
        for kind, actors in kinds.items()
    ]


HEADINGS = ("adversary", "what it does", "pay", "lowest score", "complete", "refused")
CAPTION = (
    "pay: against an honest node's of the same role; lowest score: that an honest hoster got;"
    " complete: epochs; refused: by all replicas of the subnet, which two adversaries share"
)


def render_outcomes(outcomes: Sequence[AttackOutcome], aims: Mapping[str, str]) -> Table:
    """`aims` says what each adversary does."""
    table = Table(title="Adversaries", title_justify="left", title_style="bold", header_style="dim")
    table.caption = CAPTION
    table.caption_justify = "left"
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in HEADINGS[2:5] else "left")
    for outcome in outcomes:
        table.add_row(
            *describe_outcome(outcome, aims), style="green" if outcome.is_harmless else "bold red"
        )
    return table


def describe_outcome(outcome: AttackOutcome, aims: Mapping[str, str]) -> tuple[str, ...]:
    """Its cells, in the order of HEADINGS."""
    reasons = list(outcome.denied.items())
    shown = (
        ", ".join(f"{reason} {count:,}" for reason, count in reasons[:REASONS_SHOWN]) or "nothing"
    )
    return (
        outcome.adversary if outcome.nodes == 1 else f"{outcome.adversary} ({outcome.nodes})",
        aims.get(outcome.adversary, ""),
        outcome.pay,
        f"{outcome.lowest_score:,}",
        f"{outcome.complete} of {outcome.epochs}",
        shown + (" ..." if len(reasons) > REASONS_SHOWN else ""),
    )


def render_markdown(outcomes: Sequence[AttackOutcome], aims: Mapping[str, str]) -> str:
    rows = [
        HEADINGS,
        ("---",) * len(HEADINGS),
        *(describe_outcome(outcome, aims) for outcome in outcomes),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def describe_end(outcomes: Sequence[AttackOutcome]) -> list[str]:
    """What all came to, a line each."""
    harm = [words for outcome in outcomes for words in outcome.find_harm()]
    return harm or [
        "no adversary was paid more than an honest node, lowered an honest score, or cost an epoch"
    ]


def _add_pay(actor: Actor, summaries: Sequence[EpochSummary]) -> int:
    return sum(summary.scores.get(actor.peer_id, 0) for summary in summaries)


def _compute_honest_mean(chronicle: Chronicle, role: str, summaries: Sequence[EpochSummary]) -> int:
    honest = [
        actor for actor in chronicle.cast.actors if actor.adversary is None and actor.role == role
    ]
    return sum(_add_pay(actor, summaries) for actor in honest) // len(honest)


def _find_lowest_score(chronicle: Chronicle, summaries: Sequence[EpochSummary]) -> int:
    honest = set(chronicle.cast.hosters) - chronicle.cast.adversaries
    scored = [
        fact for summary in summaries for fact in chronicle.get_scored(summary.epoch).values()
    ]
    return min((fact.scores.get(peer_id, 0) for fact in scored for peer_id in honest), default=0)
