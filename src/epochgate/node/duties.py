"""Which duties fall due in an epoch, and between which blocks: a pure table.

Places in time are blocks of the chain with a share of one: 117.5 is in the middle of block 117.
Authors start a margin after a window opens and finish a margin before it closes; readers wait a
margin after it closed (docs/spec.md#3-time).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import msgspec

from epochgate.core.epoch import WHOLE_EPOCH, Timing, Window
from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import Rule
from epochgate.core.types import Epoch

PUBLISH_CHALLENGE = "publish-challenge"
SEE_CHALLENGE = "see-challenge"
COMMIT_OUTPUT = "commit-output"
OPEN_OUTPUT = "open-output"
OPEN_SCORES = "open-scores"
SEE_OPENINGS = "see-openings"
SEE_COMMITMENTS = "see-commitments"
COMMIT_SCORES = "commit-scores"
SUBMIT = "submit"
ATTEST = "attest"

SUBMIT_UNTIL = Fraction(2, 5)
"""Of the epoch: so late a submission still leaves the others a tenth of it to attest."""
ATTEST_UNTIL = Fraction(1, 2)
"""Of the epoch: validators' commitments of the epoch before the last may expire from 60 % on."""


class Duty(msgspec.Struct, frozen=True):
    """What a node has to do in `epoch`, from block `opens` up to but without `closes`.

    `rests_on` names the duty, and its epoch, whose result this one needs.
    """

    name: str
    epoch: Epoch
    opens: float
    closes: float
    rests_on: tuple[str, int] | None = None


def compute_duties(
    policy: Policy,
    timing: Timing,
    epoch: Epoch,
    roles: int,
    *,
    is_elected: bool,
    stand_in_rank: int | None = None,
) -> tuple[Duty, ...]:
    """The duties in `epoch` of a node on its roster, in the order in which they open.

    `roles` are bits of `Role`. `stand_in_rank` is the node's place among those who publish the
    challenge when the elected one does not, 0 first; None for a node that is not among them.
    """
    table = _Table(policy, timing, epoch)
    found = [*table.list_challenge(roles, is_elected, stand_in_rank)]
    if roles & HOSTER:
        found += table.list_hosting()
    if roles & VALIDATOR:
        found += table.list_validating()
    found += table.list_settling(is_elected)
    return tuple(
        sorted(
            (duty for duty in found if duty.opens < duty.closes),
            key=lambda duty: (duty.opens, duty.closes),
        )
    )


def select_left(duties: Iterable[Duty], block: float) -> tuple[Duty, ...]:
    """Those that are open at `block` or open later; a node that starts in mid-epoch joins at the
    first of them.
    """
    return tuple(duty for duty in duties if duty.closes > block)


class _Table:
    def __init__(self, policy: Policy, timing: Timing, epoch: Epoch) -> None:
        self.policy = policy
        self.timing = timing
        self.epoch = epoch
        self.start = float(timing.compute_first_block(epoch))
        self.end = float(timing.compute_first_block(Epoch(epoch + 1)))
        self.challenge = policy.protocol.challenge
        self.outputs = policy.protocol.outputs
        self.scores = policy.protocol.scores

    def list_challenge(
        self, roles: int, is_elected: bool, stand_in_rank: int | None
    ) -> Iterator[Duty]:
        rule = self.challenge
        if rule is None:
            return
        opens, closes = self._compute_authors_time(rule)
        if is_elected:
            yield Duty(PUBLISH_CHALLENGE, self.epoch, opens, closes)
        elif stand_in_rank is not None and rule.elected_until is not None:
            margin = self._compute_margin(rule)
            first = self.start + int(rule.elected_until * self.timing.blocks_per_epoch) + 1
            yield Duty(PUBLISH_CHALLENGE, self.epoch, first + (1 + stand_in_rank) * margin, closes)
        if roles:
            yield Duty(SEE_CHALLENGE, self.epoch, self._compute_readers_time(rule), self.end)

    def list_hosting(self) -> Iterator[Duty]:
        if self.outputs is None:
            return
        opens, closes = self._compute_authors_time(self.outputs.commit)
        if self.challenge is not None:
            opens = max(opens, self._compute_readers_time(self.challenge))
        yield Duty(COMMIT_OUTPUT, self.epoch, opens, closes)
        commit_epoch = self.outputs.compute_commit_epoch(self.epoch)
        if commit_epoch >= 0:
            opens, closes = self._compute_authors_time(self.outputs.reveal)
            yield Duty(OPEN_OUTPUT, self.epoch, opens, closes, (COMMIT_OUTPUT, commit_epoch))

    def list_validating(self) -> Iterator[Duty]:
        if self.outputs is None or self.scores is None:
            return
        commit_epoch = self.scores.compute_commit_epoch(self.epoch)
        if commit_epoch >= 0:
            reveal = self.scores.reveal
            opens, closes = self._compute_authors_time(reveal)
            yield Duty(OPEN_SCORES, self.epoch, opens, closes, (COMMIT_SCORES, commit_epoch))
            yield Duty(SEE_OPENINGS, self.epoch, self._compute_readers_time(reveal), self.end)
        opens, closes = self._compute_authors_time(self.scores.commit)
        opens = max(opens, self._compute_readers_time(self.outputs.reveal))
        yield Duty(COMMIT_SCORES, self.epoch, opens, closes)

    def list_settling(self, is_elected: bool) -> Iterator[Duty]:
        """Everybody waits for the epoch's first block to pass, by when all know whom the chain
        elected.
        """
        if self.epoch < 1 or self.outputs is None or self.scores is None:
            return
        if is_elected:
            name, until = (SUBMIT, SUBMIT_UNTIL)
        else:
            name, until = (ATTEST, ATTEST_UNTIL)
        yield Duty(
            name,
            self.epoch,
            self.start + 1,
            self.start + float(until * self.timing.blocks_per_epoch),
        )
        if self.scores.reveal.epochs_ago > 0:
            opens = self.start + self._compute_margin(self.scores.commit)
            yield Duty(
                SEE_COMMITMENTS,
                self.epoch,
                opens,
                self.start + float(ATTEST_UNTIL * self.timing.blocks_per_epoch),
            )

    def _compute_authors_time(self, rule: Rule) -> tuple[float, float]:
        blocks = _get_window(rule).bind(self.epoch, self.timing)
        margin = self._compute_margin(rule)
        return blocks.first + margin, blocks.last + 1 - margin

    def _compute_readers_time(self, rule: Rule) -> float:
        return _get_window(rule).bind(self.epoch, self.timing).last + 1 + self._compute_margin(rule)

    def _compute_margin(self, rule: Rule) -> float:
        return self.policy.compute_margin_seconds(rule, self.timing) / self.timing.block_seconds


def _get_window(rule: Rule) -> Window:
    return rule.during or WHOLE_EPOCH
