"""Every adversary among honest nodes, in virtual time: none earns more than the honest mean, and no honest score is lowered."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from epochgate import INFERENCE_POLICY
from epochgate.core import commitment, policy, roster, settlement
from epochgate.core.calendar import Moment
from epochgate.core.commitment import Opening, compute_commitment
from epochgate.core.policy import Policy, Scoring
from epochgate.core.receipt import ReceiptRule
from epochgate.core.record import Record, compute_key
from epochgate.core.roster import HOSTER, Member, Placement, Roster
from epochgate.core.scoring import MAX_SCORE
from epochgate.core.verdict import Verdict
from epochgate.devnet.adversaries import ADVERSARIES
from epochgate.devnet.adversaries.replicas import COVETED_KEYS, grind_key
from epochgate.engine.virtual_time import run_virtually
from epochgate.events import Scored
from epochgate.node import hoster
from epochgate.node.runner import Node
from epochgate.replica import Replica
from epochgate.wire import Post, decode_request
from people import meet
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


def let_loose(folder: Path, kind: str, count: int = 1, seed: int = 0, **options: object) -> Outcome:
    async def story(_rng: random.Random) -> Outcome:
        world = BadWorld(folder, kind, count, seed=seed, **options)
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


# What follows takes a defence away and shows that the attack then pays. A defence that no attack misses defends nothing.


def test_a_copier_is_paid_where_a_commitment_does_not_name_its_author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit_without_author(network: bytes, kind: str, epoch: int, _author: bytes, opening: Opening) -> bytes:
        return compute_commitment(network, kind, epoch, b"", opening)

    for module in (commitment, hoster):
        monkeypatch.setattr(module, "compute_commitment", commit_without_author)
    assert let_loose(tmp_path, "copier").earned > 0


@pytest.mark.parametrize("kind", ["latecomer", "early-bird"])
def test_who_keeps_no_window_is_paid_where_nobody_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    admit = Policy.admit

    def admit_at_any_time(policy: Policy, record: Record, now: Moment) -> Verdict:
        bound = now.postable.get(record.key)
        block = now.block if bound is None else min(max(now.block, bound.first), bound.last)
        return admit(policy, record, msgspec.structs.replace(now, block=block))

    monkeypatch.setattr(Policy, "admit", admit_at_any_time)
    monkeypatch.setattr(ReceiptRule, "_is_fitting", lambda rule, receipt: receipt.replica in rule.placement.replicas)
    assert let_loose(tmp_path, kind).earned > 0


def test_a_late_commitment_counts_where_one_receipt_proves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Placement, "to_prove", 1)
    outcome = let_loose(tmp_path, "two-faced", 2)
    assert outcome.earned > 0 or outcome.honest_mean == 0, "it is paid, or honest validators disagree"


def test_forged_commitments_lock_others_out_where_nobody_asks_who_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Replica.handle

    async def handle_for_anybody(replica: Replica, sender: bytes, data: bytes) -> bytes:
        request = decode_request(data)
        return await handle(replica, request.record.author if isinstance(request, Post) else sender, data)

    monkeypatch.setattr(Replica, "handle", handle_for_anybody)
    monkeypatch.setattr(policy, "is_signed_under", lambda *_: True)
    monkeypatch.setattr(policy, "is_signed_before", lambda *_: True)
    assert let_loose(tmp_path, "forger").lowered


def test_a_hoarder_hides_records_where_a_key_has_one_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "MAX_REPLICAS", 1)
    outcomes = [let_loose(make_folder(tmp_path / str(seed)), "hoarder", 2, seed) for seed in range(3)]
    assert any(outcome.lowered or outcome.scored < EPOCHS * len(HONEST_VALIDATORS) for outcome in outcomes)


@pytest.mark.parametrize("kind", ["lazy", "colluder"])
def test_any_answer_is_paid_where_everything_is_within_tolerance(tmp_path: Path, kind: str) -> None:
    lax = Policy(*INFERENCE_POLICY.rules, scoring=Scoring(tolerance_ppm=10**9))
    assert let_loose(tmp_path, kind, policy=lax).earned > 0


def test_an_empty_list_is_paid_where_every_list_weighs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "count_good_entries", lambda *_: 1)
    assert let_loose(tmp_path, "empty-scorer").earned > 0


def test_a_ground_peer_id_wins_a_place_by_distance_and_none_by_seed() -> None:
    """Among sixty nodes the key that was ground for it lies nearest, where nearness decides, as in Kademlia; by seed it
    is a replica as often as anybody."""
    squatter = grind_key()
    members = [Member(key.author, HOSTER) for key in (squatter, *(meet(f"villager {number}") for number in range(59)))]
    keys = [compute_key(name) for name in COVETED_KEYS]

    def measure(author: bytes, key: bytes) -> int:
        return int.from_bytes(compute_key(author.hex()), "big") ^ int.from_bytes(key, "big")

    nearest = [min(members, key=lambda member: measure(member.author, key)).author for key in keys]
    assert squatter.author in nearest
    rosters = [Roster(epoch, epoch.to_bytes(32, "big"), members) for epoch in range(300)]
    places = sum(squatter.author in roster.get_placement(key).replicas for roster in rosters for key in keys)
    assert 0.13 < places / 600 < 0.31, "13 of 60 are replicas, four standard errors either way"


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder
