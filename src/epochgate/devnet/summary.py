"""What happened in each epoch, from the facts that the nodes emitted: the devnet's result."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import TypeVar

import msgspec

from epochgate.core.policy import Policy
from epochgate.core.types import Epoch
from epochgate.devnet.faults import Absence, Expectations, select_excused
from epochgate.observe.cast import Cast
from epochgate.observe.events import (
    Attested,
    ChallengeSeen,
    ElectionChanged,
    EpochBegan,
    Event,
    Gathered,
    Line,
    Scored,
    Submitted,
    Verdicts,
)

Fact = TypeVar("Fact", bound=Event)


class EpochSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """One epoch. Peers are named by their peer ids.

    `commitments` and `openings` count the hosters whom every validator counted,
    `validator_openings` the validators whose opening of the epoch before everyone saw proven.
    `submitted_by`, `attested_by` and `scores` are about this epoch's submission, which is made in
    the next one. `denied` adds up all replicas.
    """

    epoch: Epoch
    elected: str | None
    challenge_author: str | None
    commitments: int
    openings: int
    validator_openings: int
    submitted_by: str | None
    attested_by: list[str]
    scores: dict[str, int]
    denied: dict[str, int]
    complete: bool
    excuses: list[str] = []
    """What it lacks because a fault was staged; `complete` is then all that the protocol promises
    under that fault.
    """
    root: str | None = None
    """The Merkle root, in hex, of the set that the scores were computed from."""


class Loss(msgspec.Struct, frozen=True):
    """A node that died in `epoch` without being asked to stop."""

    name: str
    epoch: Epoch
    why: str


class Chronicle:
    """The facts of all nodes as they came, and what they add up to."""

    def __init__(self, cast: Cast, policy: Policy, first_epoch: int = 0) -> None:
        self.cast = cast
        self._first_epoch = first_epoch
        self.losses: list[Loss] = []
        self.absences: list[Absence] = []
        """Staged on purpose, and an excuse for what could not be done meanwhile."""
        self._expected = Expectations(policy)
        self._facts: defaultdict[type[Event], list[tuple[str, Event]]] = defaultdict(list)

    def take(self, line: Line) -> None:
        """What an adversary claims to have seen counts for nothing."""
        if line.node in self.cast.adversaries and isinstance(
            line.fact, Scored | Gathered | ChallengeSeen
        ):
            return
        self._facts[type(line.fact)].append((line.node, line.fact))

    def get_facts(self, kind: type[Fact]) -> Iterator[tuple[str, Fact]]:
        """(peer id, fact) in the order in which they came."""
        for node, fact in self._facts[kind]:
            if isinstance(fact, kind):
                yield node, fact

    def is_settled(self, epoch: Epoch) -> bool:
        """Whether the submission about `epoch` is made and all other nodes have attested it."""
        submitter = self._get_submitter(epoch)
        attested_by = self._get_attestors(epoch)
        return (
            submitter is not None
            and set(attested_by) >= set(self.cast.peer_ids) - {submitter} - self.cast.adversaries
        )

    def get_scored(self, epoch: Epoch) -> dict[str, Scored]:
        """Every validator's own scores of the epoch's hosters."""
        return {node: fact for node, fact in self.get_facts(Scored) if fact.epoch == epoch}

    def compute_summary(self, epoch: Epoch) -> EpochSummary:
        scored = self.get_scored(epoch).values()
        submitted = self._get_submission(epoch)
        return EpochSummary(
            epoch=epoch,
            elected=self._get_elected(epoch),
            challenge_author=self._get_challenge_author(epoch),
            commitments=len(_meet(fact.commitments for fact in scored)),
            openings=len(_meet(fact.openings for fact in scored)),
            validator_openings=len(self._get_validator_openings(epoch)),
            submitted_by=self._get_submitter(epoch),
            attested_by=self._get_attestors(epoch),
            scores=submitted.scores if submitted else {},
            denied=self._count_denied(epoch),
            complete=not self.find_gaps(epoch),
            excuses=self.find_excuses(epoch),
            root=submitted.root if submitted else None,
        )

    def find_gaps(self, epoch: Epoch) -> list[str]:
        """Why the epoch is not complete, a line each; nothing when it is, as far as the staged
        faults leave it to be.
        """
        return [*self._find_work_gaps(epoch), *self._find_settlement_gaps(epoch)]

    def find_excuses(self, epoch: Epoch) -> list[str]:
        """What the epoch lacks because of a fault that was staged, a line each."""
        return list(self._find_excuses(epoch))

    def _find_work_gaps(self, epoch: Epoch) -> Iterator[str]:
        expected = self._expected
        cast = self.cast
        scored = self.get_scored(epoch)
        if expected.has_challenge and not any(
            fact.epoch == epoch for _, fact in self.get_facts(ChallengeSeen)
        ):
            yield "no challenge was proven"
        if expected.scores is None or expected.commitments is None or expected.openings is None:
            return
        yield from self._name_missing(
            "not all validators scored:", cast.validators, scored, epoch, expected.scores
        )
        committed = _meet(s.commitments for s in scored.values())
        opened = _meet(s.openings for s in scored.values())
        yield from self._name_missing(
            "no counted commitment of", cast.hosters, committed, epoch, expected.commitments
        )
        window = (
            expected.commitments[0],
            expected.openings[1],
        )  # who could not commit has nothing to open
        excused = select_excused(self.absences, epoch, expected.commitments)
        openers = [peer for peer in cast.hosters if peer not in excused]
        yield from self._name_missing("no counted opening of", openers, opened, epoch, window)
        if len({tuple(sorted(fact.scores.items())) for fact in scored.values()}) > 1:
            yield "the validators' scores differ"

    def _find_settlement_gaps(self, epoch: Epoch) -> Iterator[str]:
        expected = self._expected
        cast = self.cast
        if (
            epoch > self._first_epoch
            and expected.list_openings is not None
            and expected.scores is not None
        ):
            unable = select_excused(
                self.absences, Epoch(epoch - 1), expected.scores
            )  # who committed to no list opens none
            openers = [peer for peer in cast.validators if peer not in unable]
            seen = self._get_validator_openings(epoch)
            yield from self._name_missing(
                "no proven opening of", openers, seen, epoch, expected.list_openings
            )
        if expected.has_settlement:
            submitter = self._get_submitter(epoch)
            if submitter is not None:
                others = [peer for peer in cast.peer_ids if peer != submitter]
                attested_by = self._get_attestors(epoch)
                yield from self._name_missing(
                    "not attested by", others, attested_by, epoch, expected.attestations
                )
            elif not self._is_submitter_excused(epoch):
                yield "nobody submitted it"
        yield from (
            f"{loss.name} died: {loss.why}" for loss in self.losses if loss.epoch <= epoch + 1
        )

    def _find_excuses(self, epoch: Epoch) -> Iterator[str]:
        for absence in self.absences:
            if absence.gone < epoch + 1 and (absence.back is None or absence.back > epoch):
                if absence.back is None:
                    back = "did not come back"
                else:
                    back = f"was ready after {_say_place(absence.back)}"
                yield f"{self.cast.get_name(absence.peer_id)} was {absence.why}, and {back}"
        if (
            self._expected.has_settlement
            and self._get_submitter(epoch) is None
            and self._is_submitter_excused(epoch)
        ):
            yield f"nobody submitted its scores: only the node elected in epoch {epoch + 1} may"

    def _is_submitter_excused(self, epoch: Epoch) -> bool:
        elected = self._get_elected(Epoch(epoch + 1))
        return elected in self.cast.adversaries | select_excused(
            self.absences, epoch, self._expected.attestations
        )

    def _name_missing(
        self,
        words: str,
        expected: Iterable[str],
        seen: Iterable[str],
        epoch: Epoch,
        window: tuple[float, float],
    ) -> Iterator[str]:
        present = {*seen, *self.cast.adversaries, *select_excused(self.absences, epoch, window)}
        missing = [self.cast.get_name(peer) for peer in expected if peer not in present]
        if missing:
            yield f"{words} {', '.join(missing)}"

    def _get_elected(self, epoch: Epoch) -> str | None:
        """As it was told last: an epoch's first block may be reorged."""
        said = [
            fact.elected
            for _, fact in self.get_facts(EpochBegan)
            if fact.epoch == epoch and fact.elected is not None
        ]
        changed = [
            fact.elected for _, fact in self.get_facts(ElectionChanged) if fact.epoch == epoch
        ]
        return next(iter([*reversed(changed), *said]), None)

    def _get_challenge_author(self, epoch: Epoch) -> str | None:
        """The elected one, where a stand-in published it too."""
        authors = [fact.author for _, fact in self.get_facts(ChallengeSeen) if fact.epoch == epoch]
        elected = self._get_elected(epoch)
        if elected in authors:
            return elected
        return next(iter(authors), None)

    def _get_submission(self, epoch: Epoch) -> Submitted | None:
        """The last one: earlier ones went with blocks that were reorged."""
        return next((fact for _, fact in self._get_submissions(epoch)), None)

    def _get_submitter(self, epoch: Epoch) -> str | None:
        return next((node for node, _ in self._get_submissions(epoch)), None)

    def _get_submissions(self, epoch: Epoch) -> Iterator[tuple[str, Submitted]]:
        """The last one first."""
        return (
            (node, fact)
            for node, fact in reversed([*self.get_facts(Submitted)])
            if fact.scored_epoch == epoch
        )

    def _get_attestors(self, epoch: Epoch) -> list[str]:
        submitted = self._get_submission(epoch)
        if submitted is None:
            return []
        return sorted(
            {node for node, fact in self.get_facts(Attested) if fact.epoch == submitted.epoch}
        )

    def _get_validator_openings(self, epoch: Epoch) -> set[str]:
        return _meet(
            fact.validator_openings for _, fact in self.get_facts(Gathered) if fact.epoch == epoch
        )

    def _count_denied(self, epoch: Epoch) -> dict[str, int]:
        denied: Counter[str] = Counter()
        for _, fact in self.get_facts(Verdicts):
            if fact.epoch == epoch:
                denied.update(fact.denied)
        return dict(sorted(denied.items()))


def _say_place(place: float) -> str:
    return f"{place % 1:.0%} of epoch {int(place)}"


def _meet(lists: Iterable[list[str]]) -> set[str]:
    """What all of the lists have; nothing when there is none."""
    sets = [set(each) for each in lists]
    if sets:
        return reduce(set.intersection, sets)
    return set()
