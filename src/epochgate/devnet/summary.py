"""What happened in each epoch, from the facts that the nodes emitted: the devnet's result."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import reduce
from typing import TypeVar

import msgspec

from epochgate.devnet.cast import Cast
from epochgate.events import Attested, ChallengeSeen, EpochBegan, Event, Gathered, Line, Scored, Submitted, Verdicts

Fact = TypeVar("Fact", bound=Event)


class EpochSummary(msgspec.Struct, frozen=True):
    """One epoch. Peers are named by their peer ids.

    `commitments` and `openings` count the hosters whom every validator counted, `validator_openings` the validators whose
    opening of the epoch before everyone saw proven. `submitted_by`, `attested_by` and `scores` are about this epoch's
    submission, which is made in the next one. `denied` adds up all replicas.
    """

    epoch: int
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


class Loss(msgspec.Struct, frozen=True):
    """A node that died in `epoch` without being asked to stop."""

    name: str
    epoch: int
    why: str


class Transcript:
    """The facts of all nodes as they came, and what they add up to."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.losses: list[Loss] = []
        self._facts: defaultdict[type[Event], list[tuple[str, Event]]] = defaultdict(list)

    def take(self, line: Line) -> None:
        self._facts[type(line.fact)].append((line.node, line.fact))

    def get_facts(self, kind: type[Fact]) -> Iterator[tuple[str, Fact]]:
        """(peer id, fact) in the order in which they came."""
        for node, fact in self._facts[kind]:
            if isinstance(fact, kind):
                yield node, fact

    def is_settled(self, epoch: int) -> bool:
        """Whether the submission about `epoch` is made and all other nodes have attested it."""
        submitter, attested_by = self._get_submitter(epoch), self._get_attestors(epoch)
        return submitter is not None and set(attested_by) >= set(self.cast.peer_ids) - {submitter}

    def get_scored(self, epoch: int) -> dict[str, Scored]:
        """Every validator's own scores of the epoch's hosters."""
        return {node: fact for node, fact in self.get_facts(Scored) if fact.epoch == epoch}

    def compute_summary(self, epoch: int) -> EpochSummary:
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
        )

    def find_gaps(self, epoch: int) -> list[str]:
        """Why the epoch is not complete, a line each; nothing when it is."""
        return list(self._find_gaps(epoch))

    def _find_gaps(self, epoch: int) -> Iterator[str]:
        scored, cast = self.get_scored(epoch), self.cast
        if not any(fact.epoch == epoch for _, fact in self.get_facts(ChallengeSeen)):
            yield "no challenge was proven"
        yield from self._name_missing("not all validators scored:", cast.validators, scored)
        yield from self._name_missing("no counted commitment of", cast.hosters, _meet(s.commitments for s in scored.values()))
        yield from self._name_missing("no counted opening of", cast.hosters, _meet(s.openings for s in scored.values()))
        if len({tuple(sorted(fact.scores.items())) for fact in scored.values()}) > 1:
            yield "the validators' scores differ"
        if epoch > 0:
            yield from self._name_missing("no proven opening of", cast.validators, self._get_validator_openings(epoch))
        submitter = self._get_submitter(epoch)
        if submitter is None:
            yield "nobody submitted it"
        else:
            others = [peer for peer in cast.peer_ids if peer != submitter]
            yield from self._name_missing("not attested by", others, self._get_attestors(epoch))
        yield from (f"{loss.name} died: {loss.why}" for loss in self.losses if loss.epoch <= epoch + 1)

    def _name_missing(self, words: str, expected: Iterable[str], seen: Iterable[str]) -> Iterator[str]:
        present = set(seen)
        missing = [self.cast.get_name(peer) for peer in expected if peer not in present]
        if missing:
            yield f"{words} {', '.join(missing)}"

    def _get_elected(self, epoch: int) -> str | None:
        said = (fact.elected for _, fact in self.get_facts(EpochBegan) if fact.epoch == epoch)
        return next((peer for peer in said if peer is not None), None)

    def _get_challenge_author(self, epoch: int) -> str | None:
        """The elected one, where a stand-in published it too."""
        authors = [fact.author for _, fact in self.get_facts(ChallengeSeen) if fact.epoch == epoch]
        elected = self._get_elected(epoch)
        return elected if elected in authors else next(iter(authors), None)

    def _get_submission(self, epoch: int) -> Submitted | None:
        return next((fact for _, fact in self.get_facts(Submitted) if fact.scored_epoch == epoch), None)

    def _get_submitter(self, epoch: int) -> str | None:
        return next((node for node, fact in self.get_facts(Submitted) if fact.scored_epoch == epoch), None)

    def _get_attestors(self, epoch: int) -> list[str]:
        submitted = self._get_submission(epoch)
        if submitted is None:
            return []
        return sorted({node for node, fact in self.get_facts(Attested) if fact.epoch == submitted.epoch})

    def _get_validator_openings(self, epoch: int) -> set[str]:
        return _meet(fact.validator_openings for _, fact in self.get_facts(Gathered) if fact.epoch == epoch)

    def _count_denied(self, epoch: int) -> dict[str, int]:
        denied: Counter[str] = Counter()
        for _, fact in self.get_facts(Verdicts):
            if fact.epoch == epoch:
                denied.update(fact.denied)
        return dict(sorted(denied.items()))


def _meet(lists: Iterable[list[str]]) -> set[str]:
    """What all of the lists have; nothing when there is none."""
    sets = [set(each) for each in lists]
    return reduce(set.intersection, sets) if sets else set()
