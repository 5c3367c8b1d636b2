"""The devnet as a picture: where the epoch stands, what each node does, and what happened last."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec
from rich.console import Group, RenderableType
from rich.rule import Rule as Line
from rich.table import Table
from rich.text import Text

from epochgate.core.epoch import WHOLE_EPOCH, EpochData
from epochgate.core.policy import Policy
from epochgate.core.rule import Rule
from epochgate.core.types import Epoch
from epochgate.observe.cast import Cast, shorten
from epochgate.observe.describe import describe_challenge, describe_epoch, describe_fact, is_bad
from epochgate.observe.events import (
    AnyEvent,
    Attested,
    ChallengeSeen,
    DutyBegan,
    DutyDone,
    DutyMissed,
    ElectionChanged,
    EpochBegan,
    NodeReady,
    NodeStopped,
    NodeWarning,
    Stored,
    Submitted,
)

COLUMNS = 100
BAR_COLUMNS = 60
LAST_FACTS = 6
LOOKING_DUTIES = frozenset({"see-challenge", "see-openings", "see-commitments"})
"""Done aside, while the duty that the row shows goes on."""


class Row(msgspec.Struct):
    """What the screen knows of one node."""

    state: str = "starting"
    mark: str = " "
    duty: str = ""
    receipts: str = ""
    epoch: Epoch | None = None
    style: str = "dim"


class Screen:
    """Takes facts, gives pictures. It knows nothing of processes or time."""

    def __init__(self, cast: Cast, policy: Policy, epochs: int) -> None:
        self._cast = cast
        self._policy = policy
        self._epochs = epochs
        self._rows = {actor.peer_id: Row() for actor in cast.actors}
        self._last: deque[tuple[str, str]] = deque(maxlen=LAST_FACTS)
        self._elected: dict[int, str | None] = {}
        self._challenges: set[tuple[int, str]] = set()

    def take(self, node: str, fact: AnyEvent) -> str | None:
        """Returns the fact in a line of words when it is worth one."""
        row = self._rows.get(node)
        if row is None:
            return None
        if getattr(fact, "duty", None) not in LOOKING_DUTIES:
            _update(row, fact)
        if isinstance(fact, EpochBegan | ElectionChanged | ChallengeSeen):
            return self._take_common(fact)
        words = describe_fact(fact, self._cast)
        if words is None or (isinstance(fact, NodeWarning) and not self._is_up):
            return None  # while nodes start they miss each other, and say so
        return self.note(f"{self._cast.get_name(node):<12} {words}", "red" if is_bad(fact) else "")

    def _take_common(self, fact: EpochBegan | ElectionChanged | ChallengeSeen) -> str | None:
        """What all nodes see alike is worth one line."""
        if isinstance(fact, EpochBegan):
            if self._elected.get(fact.epoch) is not None or (
                fact.elected is None and fact.epoch in self._elected
            ):
                return None
            self._elected[fact.epoch] = fact.elected
            return self.note(describe_epoch(fact, self._cast))
        if isinstance(fact, ElectionChanged):
            if self._elected.get(fact.epoch) == fact.elected:
                return None
            self._elected[fact.epoch] = fact.elected
            return self.note(describe_fact(fact, self._cast) or "")
        if (fact.epoch, fact.author) in self._challenges:
            return None
        self._challenges.add((fact.epoch, fact.author))
        return self.note(describe_challenge(fact, self._cast))

    def note(self, words: str, style: str = "") -> str:
        """Put a line of words among the last facts."""
        self._last.append((words, style))
        return words

    def note_fault(self, node: str, state: str, words: str) -> str:
        """A node that is taken away or started on purpose."""
        self._rows[node] = Row(state=state, duty=words, style="magenta")
        return self.note(f"{self._cast.get_name(node):<12} {words}", "magenta")

    def note_death(self, node: str, why: str) -> str:
        self._rows[node] = Row(state="died", duty=why, mark="✗", style="bold red")
        return self.note(f"{self._cast.get_name(node):<12} died: {why}", "bold red")

    @property
    def _is_up(self) -> bool:
        return all(row.state != "starting" for row in self._rows.values())

    def render(self, now: EpochData | None) -> RenderableType:
        """`now` is None while the subnet has not started."""
        facts = [
            Text(words, style=style, overflow="ellipsis", no_wrap=True)
            for words, style in self._last
        ]
        line = Line(style="dim")
        parts: list[RenderableType] = [
            *self._render_epoch(now),
            line,
            self._render_nodes(now),
            line,
            *facts,
        ]
        return Group(*parts)

    def _render_epoch(self, now: EpochData | None) -> Iterator[Text]:
        if now is None:
            ready = sum(row.state != "starting" for row in self._rows.values())
            yield Text(f"epochgate devnet   {ready} of {len(self._rows)} nodes ready", style="bold")
            return
        elected = self._elected.get(now.epoch)
        if elected:
            name = self._cast.get_name(elected)
        else:
            name = "nobody yet"
        if now.epoch < self._epochs:
            place = f"epoch {now.epoch} of {self._epochs}"
        else:
            place = "settling the last epoch"
        yield Text.assemble(
            ("epochgate devnet", "bold"),
            f"   {place}   block {now.blocks_elapsed:>3}/{now.block_per_epoch}"
            f"   {now.seconds_remaining:4.1f} s left   elected {name}",
        )
        width = max(len(rule.kind) for rule in self._policy.rules)
        for rule in self._policy.rules:
            if rule.during is not None:
                yield Text(f"{rule.kind.rjust(width)} ", style="dim").append_text(
                    _render_window(rule, now.percent_complete)
                )

    def _render_nodes(self, now: EpochData | None) -> Table:
        table = Table(box=None, pad_edge=False, width=COLUMNS, header_style="dim")
        for heading, width in (("node", 12), ("peer", 8), ("", 1), ("duty", 60), ("receipts", 9)):
            table.add_column(heading, width=width, no_wrap=True, overflow="ellipsis")
        for actor in self._cast.actors:
            row = self._rows[actor.peer_id]
            is_old = now is not None and row.epoch is not None and row.epoch < now.epoch
            duty = self._cast.name_peers(
                f"{row.duty} (epoch {row.epoch})" if is_old and row.duty else row.duty or row.state
            )
            if is_old:
                style = "dim"
            else:
                style = row.style
            table.add_row(
                actor.name,
                shorten(actor.peer_id),
                Text(row.mark, style),
                Text(duty, style),
                row.receipts,
            )
        return table


def _render_window(rule: Rule, percent_complete: float) -> Text:
    """The window as a bar in its epoch; what has passed is dim, and a mark stands where the epoch
    is.
    """
    cursor = min(BAR_COLUMNS - 1, int(percent_complete * BAR_COLUMNS))
    window = rule.during or WHOLE_EPOCH
    left = round(window.first * BAR_COLUMNS)
    right = round(window.last * BAR_COLUMNS)
    bar = Text()
    for column in range(BAR_COLUMNS):
        is_open = left <= column < right
        if column == cursor:
            bar.append("█" if is_open else "│", style="bold green" if is_open else "white")
        else:
            bar.append(
                "━" if is_open else "·", style="dim" if column < cursor or not is_open else "cyan"
            )
    return bar


def _update(row: Row, fact: AnyEvent) -> None:
    match fact:
        case NodeReady():
            row.state = "ready"
            row.style = ""
        case NodeStopped():
            row.state = "stopped"
            row.mark = " "
            row.duty = ""
            row.style = "dim"
        case DutyBegan(epoch=epoch, duty=duty):
            row.epoch = epoch
            row.mark = "●"
            row.duty = duty
            row.style = "yellow"
        case DutyDone(epoch=epoch, duty=duty, detail=detail):
            if detail:
                words = f"{duty}: {detail}"
            else:
                words = duty
            row.epoch = epoch
            row.mark = "✓"
            row.duty = words
            row.style = "green"
        case DutyMissed(epoch=epoch, duty=duty, why=why):
            row.epoch = epoch
            row.mark = "✗"
            row.duty = f"{duty}: {why}"
            row.style = "bold red"
        case Stored(receipts=receipts, k=k):
            row.receipts = f"{receipts}/{k}"
        case Submitted(epoch=epoch):
            row.epoch = epoch
            row.mark = "✓"
            row.duty = "submit"
            row.style = "green"
        case Attested(epoch=epoch):
            row.epoch = epoch
            row.mark = "✓"
            row.duty = "attest"
            row.style = "green"
