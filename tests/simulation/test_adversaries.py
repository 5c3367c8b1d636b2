"""Every adversary among honest nodes, in virtual time: none earns more than the honest mean, and no honest score is lowered."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from epochgate.core.roster import HOSTER
from epochgate.core.scoring import MAX_SCORE
from epochgate.devnet.adversaries import ADVERSARIES
from epochgate.engine.virtual_time import run_virtually
from epochgate.events import Scored
from epochgate.node.runner import Node
from simulation.world import Resident, World

HONEST_HOSTERS = ("alice", "bob", "carol", "dave", "erin")
HONEST_VALIDATORS = ("victor", "vera", "vito")
VILLAINS = ("mallory", "marvin")
EPOCHS = 3


class BadWorld(World):
    """A world in which the villains are all of one kind; with two of ten nodes f is 3, so they are a minority at every key."""

    def __init__(self, folder: Path, kind: str, count: int, **options: object) -> None:
        self.adversary = ADVERSARIES[kind]
        self.villains = VILLAINS[:count]
        is_hoster = bool(self.adversary.role & HOSTER)
        hosters = HONEST_HOSTERS + (self.villains if is_hoster else ())
        validators = HONEST_VALIDATORS + (() if is_hoster else self.villains)
        super().__init__(folder, hosters=hosters, validators=validators, **options)  # type: ignore[arg-type]

    def prepare(self, resident: Resident, node: Node) -> None:
        if resident.name in self.villains:
            self.adversary.corrupt(node)

    async def measure_pay(self) -> dict[str, int]:
        """What each node was paid in all, in units of the chain's score."""
        on_chain = [found for epoch in range(1, EPOCHS + 1) if (found := await self.chain.get_submission(epoch))]
        scores = [found.submission.scores for found in on_chain if found.is_attested]
        return {name: sum(paid.get(it.key.author, 0) for paid in scores) for name, it in self.residents.items()}

    def find_lowered(self) -> list[str]:
        """Honest scores that an honest validator saw below the full one."""
        seen = [(name, fact) for name in HONEST_VALIDATORS for fact in self[name].get(Scored)]
        return [
            f"{hoster} has {fact.scores[self[hoster].peer_id]} in epoch {fact.epoch} by {name}"
            for name, fact in seen
            for hoster in HONEST_HOSTERS
            if fact.scores[self[hoster].peer_id] != MAX_SCORE
        ]


class Outcome:
    def __init__(self, kind: str, pay: dict[str, int], lowered: list[str], scored: int, villains: tuple[str, ...]) -> None:
        honest = HONEST_HOSTERS if ADVERSARIES[kind].role & HOSTER else HONEST_VALIDATORS
        self.honest_mean = sum(pay[name] for name in honest) // len(honest)
        self.earned = max(pay[name] for name in villains)
        self.lowered = lowered
        self.scored = scored
        self.pay = pay


def let_loose(folder: Path, kind: str, count: int = 1, seed: int = 0) -> Outcome:
    async def story(_rng: random.Random) -> Outcome:
        world = BadWorld(folder, kind, count, seed=seed)
        await world.start()
        await world.run_until(EPOCHS, 60)
        scored = sum(len(world[name].get(Scored)) for name in HONEST_VALIDATORS)
        outcome = Outcome(kind, await world.measure_pay(), world.find_lowered(), scored, world.villains)
        await world.stop()
        return outcome

    return run_virtually(story, seed)


PAID_AS_HONEST = {"forger", "flooder", "poisoner", "hoarder", "squatter", "absent-elected"}
"""They do their work as well: what they do besides is to cost others, and gains nothing. All others earn nothing at all,
but for the replayer's first epoch, in which it has nothing to replay yet."""


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ADVERSARIES)
def test_no_adversary_earns_more_than_the_honest_mean_or_lowers_an_honest_score(tmp_path: Path, kind: str, count: int) -> None:
    outcome = let_loose(tmp_path, kind, count)
    assert outcome.scored == EPOCHS * len(HONEST_VALIDATORS), "every epoch is scored by every honest validator"
    assert outcome.lowered == []
    assert outcome.honest_mean > 0
    assert outcome.earned <= outcome.honest_mean + EPOCHS, "the odd unit of 10^18 a submission goes to the smallest author"
    if kind not in PAID_AS_HONEST:
        assert outcome.earned == 0, outcome.pay
