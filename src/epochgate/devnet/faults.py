"""Faults that a devnet stages on purpose, and what its nodes still owe under them.

Places in time are epochs with a share of one: 1.45 is where 45 % of epoch 1 have passed.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from epochgate.core.epoch import WHOLE_EPOCH
from epochgate.core.policy import Policy
from epochgate.core.rule import Rule
from epochgate.core.types import Epoch

GONE_BEFORE = 0.05
"""So much of an epoch before its own the elected node is taken away: its duties of then are done.
"""
BACK_AT = LATE_AT = 0.5
"""When in its epoch the absent or late node is started."""
ATTESTING = (0.01, 0.5)
"""The part of the next epoch in which a submission is attested."""


class Faults(msgspec.Struct, frozen=True):
    """What to stage. `restart_at` is the share of an epoch at which a hoster is killed and started
    again.
    """

    restart_at: float | None = None
    has_absent_elected: bool = False
    has_late_node: bool = False

    def compute_most_away(self, epochs: int) -> int:
        """How many nodes are away at a time: a restart and an absence may fall into the
        same epoch.
        """
        if self.restart_at is not None:
            restarts = [epochs - 1]
        else:
            restarts = []
        if self.has_absent_elected:
            absences = [choose_absent_epoch(epochs)]
        else:
            absences = []
        places = [*restarts, *absences, *([0] if self.has_late_node else [])]
        return max(map(places.count, places), default=0)


class Outage(msgspec.Struct, frozen=True):
    """A node to be taken away at `gone` (None: it is not started with the others) and started at
    `back`.

    `is_excuse` says whether it owes nothing for the meantime. A node that restarts owes everything:
    its database has it.
    """

    peer_id: str
    gone: float | None
    back: float
    is_excuse: bool
    why: str


class Absence(msgspec.Struct, frozen=True):
    """A node was away from `gone` until it was ready again; `back` is None while it is not."""

    peer_id: str
    gone: float
    back: float | None
    why: str

    def excuses(self, opens: float, closes: float) -> bool:
        """Whether it was away for more than half of the time for something."""
        away = min(closes, closes if self.back is None else self.back) - max(opens, self.gone)
        return away > (closes - opens) / 2


Shares = tuple[float, float]
"""From where to where of an epoch, as shares of it."""


class Expectations:
    """When in an epoch the policy has hosters and validators do what its summary counts; None for
    what it does not have.
    """

    def __init__(self, policy: Policy) -> None:
        self.has_challenge = policy.protocol.challenge is not None
        outputs = policy.protocol.outputs
        scores = policy.protocol.scores
        self.has_settlement = outputs is not None and scores is not None
        self.commitments: Shares | None = None
        self.openings: Shares | None = None
        self.list_openings: Shares | None = None
        self.scores: Shares | None = None
        if outputs is not None:
            self.commitments = _get_window(outputs.commit)
            self.openings = _get_window(outputs.reveal)
        if scores is not None:
            self.list_openings = _get_window(scores.reveal)
        if outputs is not None and scores is not None:
            self.scores = _get_window(scores.commit)

    @property
    def attestations(self) -> tuple[float, float]:
        """Of the next epoch, counted from this one's start."""
        return 1 + ATTESTING[0], 1 + ATTESTING[1]


def plan_restart(peer_id: str, epochs: int, share: float) -> Outage:
    """In the last epoch; what is killed is started again at once."""
    place = epochs - 1 + share
    return Outage(
        peer_id, place, place, False, f"killed (SIGKILL) after {share:.0%} of epoch {epochs - 1}"
    )


def choose_absent_epoch(epochs: int) -> Epoch:
    """The second epoch, whose elected node also has a submission to make; where there is only one,
    the first.
    """
    return Epoch(min(1, epochs - 1))


def plan_absent_elected(peer_id: str, epoch: Epoch) -> Outage:
    """Before epoch 0 there is nothing but heartbeats to miss."""
    return Outage(
        peer_id,
        epoch - GONE_BEFORE,
        epoch + BACK_AT,
        True,
        f"elected in epoch {epoch} and taken away before it",
    )


def plan_late_node(peer_id: str) -> Outage:
    return Outage(peer_id, None, LATE_AT, True, f"started as late as {LATE_AT:.0%} of epoch 0")


def select_excused(
    absences: Iterable[Absence], epoch: Epoch, window: tuple[float, float]
) -> set[str]:
    """Who owes nothing in that part of the epoch."""
    opens = epoch + window[0]
    closes = epoch + window[1]
    return {absence.peer_id for absence in absences if absence.excuses(opens, closes)}


def _get_window(rule: Rule) -> Shares:
    window = rule.during or WHOLE_EPOCH
    return float(window.first), float(window.last)
